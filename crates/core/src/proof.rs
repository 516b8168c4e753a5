//! The proof: does the change's test fail without the change and pass with it?
//!
//! The control plane compares trees with one command; it knows no language and selects no tests.
//! [`next`] is a total function of the inputs and the results so far: it names the runs that are
//! still needed, or decides. The order of its questions is fixed, so that results may arrive in any
//! order and further ones change nothing. A run that could not be made is never proof: the proof is
//! refused for that reason, and the caller may drop the result and try again, a limited number of
//! times.
//!
//! Reading order: [`policy`] and [`classes`] for what a path is, [`test_changes`] and [`manifest`]
//! for what a change does to the tests and to what runs them, [`trees`] for the trees, [`result`]
//! for the result of a run, `decide` and `before` for the rules, [`report`] for the answer.
//!
//! [`classes`]: PathClass

mod before;
mod by_report;
mod classes;
mod decide;
mod fetch;
pub mod junit;
mod lacks;
mod manifest;
pub mod permits;
pub mod policy;
mod question;
pub mod recipe;
mod refusal;
pub mod report;
pub mod result;
mod split;
mod test_changes;
#[cfg(test)]
mod tests;
mod trees;

pub use classes::PathClass;
pub use decide::{BaseStep, base, next};
pub use fetch::Fetch;
pub use junit::{JunitReport, TestOutcome};
pub use lacks::Lacks;
pub use permits::{Permit, Permits, Permitted};
pub use policy::{
    ExistingTests, Least, ProofPolicy, ProofPolicyConfig, ProofPolicyError, RedMeans,
    RequireRedProof, Verify,
};
pub use recipe::{StartTree, TreeRecipe};
pub use refusal::{ProofRefusal, Untestable};
pub use report::{
    NoRed, PathReport, ProofOutcome, ProofReport, RedKind, RemovedLines, Reservation, RunReport,
    Strength,
};
pub use result::{
    Conditions, CouldNotRun, ProofResults, ResultKey, RunKind, RunRecord, RunResult, TreeRole,
};
pub use split::SplitFault;
pub use test_changes::TestFate;
pub use trees::UNREADABLE;

use crate::change::{Blobs, Diff};
use crate::digest::Digest;
use crate::ids::Oid;

/// What a proof is about.
#[derive(Debug, Clone, Copy)]
pub struct ProofInputs<'a> {
    /// The repo's policy.
    pub policy: &'a ProofPolicy,
    /// The raw diff of the base's tree and the candidate's. For a corrective change the base has
    /// nothing of what the run landed before, so that the whole of its work is proved.
    pub diff: &'a Diff,
    /// For a corrective change, what it changes of what the run landed before; otherwise none.
    pub since: Option<&'a Diff>,
    /// The raw diff from the base's tree to the base with the agent's first commit merged in;
    /// `None` if there is no such commit or it does not merge.
    pub first: Option<&'a Diff>,
    /// The blobs that the diffs refer to.
    pub blobs: &'a Blobs,
    /// What trusted people allowed for its issue.
    pub permits: &'a Permits,
    /// What its runs may reach.
    pub conditions: &'a Conditions,
}

impl ProofInputs<'_> {
    /// The diff of the newest change alone.
    fn newest(&self) -> &Diff {
        self.since.unwrap_or(self.diff)
    }
}

/// The next step of a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofStep {
    /// These runs are needed, the most informative first; they may run side by side.
    Run(Vec<Wanted>),
    /// It is decided.
    Decided(Box<ProofReport>),
}

/// A run that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Of which tree.
    pub role: TreeRole,
    /// Which run.
    pub kind: RunKind,
    /// How to make the tree, if it does not exist yet.
    pub recipe: TreeRecipe,
    /// What to run.
    pub argv: Vec<String>,
    /// The digest of what is run and read, and of what it may reach.
    pub command: Digest,
}

impl Wanted {
    /// The key of its result, once the tree exists.
    pub fn key(&self, tree: Oid) -> ResultKey {
        ResultKey { kind: self.kind, tree, command: self.command.clone() }
    }
}
