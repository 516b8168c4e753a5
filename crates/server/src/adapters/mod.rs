//! The ports of the engine, made real.

pub mod git;
