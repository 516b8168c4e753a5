//! The relay: a small process beside the agent in its box that speaks the agent's protocol.
//!
//! Agents with a two-way protocol (ACP, `codex app-server`) must be answered at once, and the
//! control plane may die or be slow. So one relay a turn starts the agent, holds the dialogue, and
//! logs each message on its standard output, which the host keeps. All decisions are made by
//! [`Dialogue`], a machine without I/O, which the control plane runs again over the log: both come
//! to the same events, questions and end.

pub mod codec;
pub mod command;
pub mod dialogue;
pub mod program;
pub mod state;
pub mod wire;

pub use dialogue::Dialogue;
pub use program::main;
pub use state::RelayState;
