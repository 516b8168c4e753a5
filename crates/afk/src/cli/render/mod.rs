//! The text that people read, made by pure functions.
//!
//! Outside text passes through [`super::words::line`] or [`super::words::printable`], so that it
//! can neither move the cursor nor hide.

mod demo;
mod doctor;
mod doorbells;
mod explain;
mod issue;
mod live;
mod logs;
mod phrases;
mod replay;
mod runs;
mod show;
mod status;
mod t3;
mod timeline;
mod verify;

#[cfg(test)]
pub(super) mod samples;

pub(super) use demo::demo;
pub(super) use doctor::doctor;
pub(super) use doorbells::doorbells;
pub(super) use explain::explanation;
pub(super) use issue::{issue, issues};
pub(super) use live::{board, news};
pub(super) use logs::{OpenTools, turn_begun, turn_over};
pub(super) use replay::replayed;
pub(super) use runs::runs;
pub(super) use show::page;
pub(super) use status::status;
pub(super) use t3::{t3_checked, t3_paired};
pub(super) use verify::{Check, State, VerifyPage, verified};
