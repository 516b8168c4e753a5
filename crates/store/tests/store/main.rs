//! The store on real files: races, fences, crashes, and files that are not ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod backup;
mod decisions;
mod files;
mod freezes;
mod holds;
mod port;
mod support;
