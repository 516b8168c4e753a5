//! The coding agents: how each is started and how its output is read.
//!
//! Everything here is a translation and does no input or output of its own: a
//! request becomes an [`Invocation`], output bytes become [`AgentEvent`]s, and
//! the last of them with the way the process ended becomes a [`TurnOutcome`].
//! Running the process is the host's. The one exception is the scripted agent's
//! own program, which the binary re-executes as a hidden subcommand.

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
