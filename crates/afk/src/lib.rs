//! The `afk` program: its command line, what it prints, and the demo. `main` starts it;
//! what a command asks for is answered by `afk-app`.

pub mod cli;
pub mod demo;
pub mod scripted;
