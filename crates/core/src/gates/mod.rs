//! What may be dispatched: the gates, the order, and their explanation.
//!
//! One predicate serves dispatch ([`next`]), the check just before a thread is
//! created and `afk explain` ([`explain`]), so that what is explained is what is
//! done. It is level-triggered: [`next`] is asked again with every fact it asked
//! for, and holds nothing between calls. Admission itself is the store's, which
//! rechecks lock, freeze, capacity and spend in one transaction.

mod check;
mod explain;
mod facts;
mod next;

pub use check::{Gate, GateVerdict};
pub use explain::{Explanation, GateResult, explain};
pub use facts::{
    Answer, BaseHealth, DispatchPolicy, Dispatcher, Fleet, Needed, Pause, RemoteFacts, RepoFacts,
    Switch,
};
pub use next::{Next, Rank, next};

pub use crate::trust::TrustPolicy;

#[cfg(test)]
mod tests;
