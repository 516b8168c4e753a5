//! One turn of the agent: its command line, its process, its stream of output, and its end.
//!
//! [`command`], [`stream`] and [`closing`] are pure; [`run`] starts the process and carries its
//! output into the conversation's log.

pub mod closing;
pub mod command;
pub mod run;
pub mod stream;
