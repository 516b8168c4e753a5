//! Fake servers over the simulator's [`World`](afk_sim::world::World), for tests of the adapters
//! and for the demo on a forge.
//!
//! The world is the one model, and these servers are another way into it: whatever a story of the
//! simulator does to the world, they show over HTTP. What they take and answer is checked against
//! the official descriptions.

// This is support for tests, in which a panic is a verdict.
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
pub use forge::{Delivery, Flaw, ForgeFake, UnfinishedJob};
pub use frame::{Fault, Recorded};
pub use git_http::RecordedGitRequest;
