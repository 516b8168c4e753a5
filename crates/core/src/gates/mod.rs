//! What may be dispatched: the gates, the order, and their explanation.
//!
//! One predicate serves dispatch ([`next`]), the check just before a thread is created, and `afk
//! explain` ([`explain`]), so that explanations match decisions. It is level-triggered: [`next`] is
//! called again with every fact that it wanted, and keeps nothing between calls. Admission itself
//! is the store's, which checks lock, freeze, capacity and spending again in one transaction.

mod check;
mod explain;
mod facts;
mod next;

pub use check::{Gate, GateVerdict};
pub use explain::{Explanation, GateResult, explain, look_again};
pub use facts::{
    BaseHealth, DispatchPolicy, Dispatcher, Fact, Fleet, Needed, PausedBy, RemoteFacts, RepoFacts,
    SwitchReading,
};
pub use next::{DispatchStep, Rank, next};

pub use crate::trust::TrustPolicy;

#[cfg(test)]
mod tests;
