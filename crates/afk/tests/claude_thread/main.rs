//! The real Claude CLI as a long-lived thread, in two versions that count costs differently.
//!
//! Later turns go to the process of the first, no budget is overspent by more than a
//! call, after crashes and halts the same conversation goes on, and what the agent asks is
//! answered.
//!
//! If a version cannot be installed, a visible line says so, and with `CI` set that is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]
#![allow(clippy::unnecessary_debug_formatting, reason = "TOML quotes as Rust does")]
#![allow(unreachable_pub, reason = "shared by the modules of a test")]

mod anew;
mod ask;
mod budget;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod credential;
mod held;
mod limit;
mod turns;
