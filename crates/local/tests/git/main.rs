//! Git against real gits: an origin on disk, clones as a hostile agent leaves them.
//!
//! Every test runs with each git that is installed (`GITS` takes others, split by
//! colons). An attack's canary is shown to fire with plain git wherever it does.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod fixture;
mod hostile;
mod ignored;
mod landing;
mod limits;
mod mirror;
mod reset;
mod tree;
