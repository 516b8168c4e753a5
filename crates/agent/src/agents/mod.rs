//! The coding agents: how each is started and how its output is read.
//!
//! Everything here is a translation without I/O: a request becomes an [`Invocation`], output bytes
//! become [`AgentEvent`]s, and the last event together with the end of the process becomes a
//! [`TurnOutcome`]. The host runs the process. The only I/O is in the programs of the scripted
//! agent and of the relay, which the binary re-executes as hidden subcommands.

pub mod acp;
pub mod ask;
pub mod claude;
pub mod codex;
pub mod event;
pub mod generic;
pub mod invocation;
mod json;
pub mod lines;
pub mod outcome;
pub mod relay;
pub mod scripted;
pub mod turn;

pub use event::{AgentEvent, LimitHit, TokenUsage, TurnEnd, TurnUsage};
pub use invocation::Invocation;
pub use outcome::{Exit, FailReason, Recovery, TurnOutcome, UnmetNeed};
pub use turn::{AgentKind, TurnReader};
