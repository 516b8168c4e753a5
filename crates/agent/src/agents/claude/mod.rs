//! The Claude CLI: how a turn is started, its stream read and its end judged.
//!
//! Pure: see [`command`] for the invocation,
//! [`session`] for the conversation it belongs to, [`stream`] for the events,
//! [`outcome`] for the end, [`text`] for what outside text must go through first.

pub mod command;
pub mod outcome;
pub mod session;
pub mod stream;
pub mod text;

mod wire;
