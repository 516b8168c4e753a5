//! The Claude CLI: how a process is started, spoken to, its stream read and the end of
//! a turn judged.
//!
//! Pure: see [`command`] for the invocation, [`control`] for what is said to it,
//! [`session`] for the conversation it belongs to, [`stream`] for the events,
//! [`outcome`] for the end, [`text`] for what outside text must go through first.

pub mod command;
pub mod control;
pub mod outcome;
pub mod session;
pub mod stream;
pub mod text;

mod wire;
