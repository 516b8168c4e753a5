//! Git against real gits: an origin on disk, clones as a hostile agent leaves them.
//!
//! Every test runs with each git that is installed (`GITS` takes others, separated by colons). An
//! attack must fire its canary with plain git where it works there, so that the test can fail.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod fixture;
mod hostile;
mod ignored;
mod landing;
mod limits;
mod mirror;
mod reset;
mod tree;
