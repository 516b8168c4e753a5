//! The Claude CLI: starting a process, talking to it, reading its stream and judging the end of a
//! turn.
//!
//! Nothing here does I/O. See [`command`] for the invocation, [`control`] for the protocol,
//! [`session`] for the conversation, [`stream`] for the events, [`outcome`] for the end, [`text`]
//! for making outside text inert.

pub mod command;
pub mod control;
pub mod outcome;
pub mod session;
pub mod stream;
pub mod text;

mod wire;
