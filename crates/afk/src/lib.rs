//! The `afk` program as a library: its command line, its output, and the demo. `main.rs` starts it;
//! the crate `afk-app` does what the commands ask for.

pub mod cli;
pub mod demo;
mod descriptors;
mod memory;
mod privacy;
pub mod scripted;
