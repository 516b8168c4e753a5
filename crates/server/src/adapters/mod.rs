//! The ports of the engine, made real.

pub mod git;
pub mod local_tracker;
pub mod store_port;
