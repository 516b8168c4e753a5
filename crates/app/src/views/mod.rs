//! What people can read, as values that every interface shows in its own way: a page of text, a
//! JSON document, a web page. Nothing here changes anything.

mod diff;
mod doorbells;
mod explain;
mod replay;
mod run;
mod show;
mod status;

pub use afk_remote::ForgeLimits;
pub use diff::RunDiff;
pub use doorbells::SilentDoorbell;
pub use explain::Explained;
pub use replay::{Chain, KeptRows, ReplayPage};
pub use run::{AskView, ErrorView, RunView, branch, cause, is_halted, outcome, release_again};
pub use show::{RunFiles, RunPage, journal};
pub(crate) use show::{is_queued_again, is_released};
pub use status::{FromTrackers, HandedOver, ReadyIssue, Status, UnreadableRepo};
