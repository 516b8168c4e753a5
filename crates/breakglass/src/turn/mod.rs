//! One turn of the agent: the command line, the stream, and the process in between.
//!
//! [`command`], [`stream`] and [`closing`] are pure; [`run`] starts the process and carries its output into the
//! conversation's log.

pub mod closing;
pub mod command;
pub mod run;
pub mod stream;
