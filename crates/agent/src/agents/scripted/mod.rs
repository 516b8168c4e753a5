//! The scripted agent: a real process that does what a script says, without a model.
//!
//! It serves trials of an installation and tests of everything around an agent: it really edits,
//! runs and commits, and it misbehaves on request. It always says that it is scripted: in its
//! events, and as the author of its commits. The binary re-executes itself as `afk scripted-agent
//! SCRIPT --turn N --session ID`, with the prompt on standard input and
//! [`AgentEvent`](crate::agents::AgentEvent) lines on standard output. It keeps no state: the
//! caller says which turn it is.

pub mod command;
pub mod program;
pub mod script;
pub mod stream;

mod session;
mod steps;

pub use program::main;
