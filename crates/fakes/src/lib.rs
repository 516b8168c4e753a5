//! Fake servers over the simulator's [`World`](afk_sim::world::World): what the adapters talk to in
//! their tests, and the demo on a forge.
//!
//! One model, two doors: whatever a story of the simulator can do to the world, these servers show
//! over HTTP. What they take and answer is checked against the official descriptions.

// Support for tests, in which a panic is a verdict.
#![allow(clippy::missing_panics_doc, clippy::return_self_not_must_use)]

mod bare;
mod forge;
pub mod forgejo;
mod frame;
mod git_http;
pub mod github;
mod hmac;
mod pulls;
pub mod t3;

pub use bare::MergeAs;
pub use forge::{Delivery, Flaw, ForgeFake, Unfinished};
pub use frame::{Fault, Recorded};
pub use git_http::GitAsked;
