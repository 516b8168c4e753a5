//! The coding agents: how each is started and how its output is read.
//!
//! Everything here is a translation without I/O: a request becomes an [`Invocation`], output bytes
//! become [`AgentEvent`]s, and the last of them together with the end of the process becomes a
//! [`TurnOutcome`]. The host runs the process. The one exception is the scripted agent's own
//! program, which the binary re-executes as a hidden subcommand.

pub mod claude;
pub mod event;
pub mod invocation;
pub mod lines;
pub mod outcome;
pub mod scripted;
pub mod turn;

pub use event::{AgentEvent, LimitHit, TokenUsage, TurnEnd, TurnUsage};
pub use invocation::Invocation;
pub use outcome::{Exit, FailReason, Lack, Recovery, TurnOutcome};
pub use turn::{AgentKind, TurnReader};
