//! The simulator: one [`World`](world::World), fakes of every port over it, stories, and the
//! explorer that draws stories from seeds.

// This is support for tests, in which a panic is a verdict.
#![allow(clippy::missing_panics_doc, clippy::return_self_not_must_use)]
// Without stories, nobody calls the parts of the world that only they use.
#![cfg_attr(not(feature = "stories"), allow(dead_code))]

#[cfg(feature = "stories")]
pub mod explore;
pub mod fakes;
#[cfg(feature = "stories")]
pub mod sites;
#[cfg(feature = "stories")]
pub mod story;
pub mod world;
