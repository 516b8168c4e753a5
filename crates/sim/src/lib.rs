//! The simulator: one [`World`](world::World), a fake of each port over it, stories, and the explorer
//! that tells stories by seed.

// Support for tests, in which a panic is a verdict.
#![allow(clippy::missing_panics_doc, clippy::return_self_not_must_use)]
// What only stories look at.
#![cfg_attr(not(feature = "stories"), allow(dead_code))]

#[cfg(feature = "stories")]
pub mod explore;
pub mod fakes;
#[cfg(feature = "stories")]
pub mod sites;
#[cfg(feature = "stories")]
pub mod story;
pub mod world;
