//! The daemon on a fleet of its own: three repositories, many issues, people who
//! change their minds, restarts, kills.
//!
//! The binary, git, hosts, boxes and SQLite are real; only the agent follows a script.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod judge;
mod kills;
mod sampler;
mod story;
mod world;
