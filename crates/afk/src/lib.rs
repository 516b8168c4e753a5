//! The `afk` program: its command line, its output, and the demo. `main` starts it; `afk-app` does
//! what the commands ask for.

pub mod cli;
pub mod demo;
mod memory;
pub mod scripted;
