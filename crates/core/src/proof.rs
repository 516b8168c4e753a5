//! The proof: does the change's test fail without the change and pass with it?
//!
//! The control plane compares trees with one command; it knows no language and selects no tests.
//! [`next`] is a total function of the inputs and the results so far: it names the runs that are
//! still needed, or decides. The order of its questions is fixed, so results may arrive in any
//! order, and results that arrive after the decision do not change it. A run that could not be made
//! is never proof: the proof is refused for that reason, and the caller may drop the result and try
//! again, a limited number of times.
//!
//! Reading order: [`policy`] and [`classes`] for how paths are classified, [`test_changes`],
//! [`skips`], [`lost_tests`], [`manifest`], [`scripts`] and [`grown`] for what a change does to the
//! tests and to what runs them, [`trees`] for the trees, [`result`] for the result of a run,
//! `decide` and `before` for the rules, [`report`] for the answer.
//!
//! [`classes`]: PathClass

mod before;
mod by_report;
mod classes;
mod decide;
mod fetch;
mod grown;
pub mod junit;
mod lost_tests;
mod manifest;
mod missing_dependency;
mod obligation;
pub mod permits;
pub mod policy;
pub mod recipe;
mod refusal;
pub mod report;
pub mod result;
mod scripts;
mod skips;
mod split;
mod test_changes;
#[cfg(test)]
mod tests;
mod trees;

pub use classes::PathClass;
pub use decide::{BaseStep, base, next};
pub use fetch::Fetch;
pub use junit::{JunitReport, TestOutcome};
pub use missing_dependency::MissingDependency;
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

/// Everything that a proof depends on besides the results of its runs.
#[derive(Debug, Clone, Copy)]
pub struct ProofInputs<'a> {
    /// The repo's compiled proof policy.
    pub policy: &'a ProofPolicy,
    /// The raw diff from the base's tree to the candidate's. For a corrective change, the base is
    /// without everything that the run landed before, so that the whole of the run's work is
    /// proved.
    pub diff: &'a Diff,
    /// The raw diff of the corrective change alone, on top of what the run landed before; `None` if
    /// the run has landed nothing before.
    pub since: Option<&'a Diff>,
    /// The raw diff from the base's tree to the base with the agent's first commit merged in;
    /// `None` if there is no such commit or it does not merge.
    pub first: Option<&'a Diff>,
    /// The blobs that the diffs refer to.
    pub blobs: &'a Blobs,
    /// What trusted people allowed for the change's issue.
    pub permits: &'a Permits,
    /// What the proof's runs may reach outside their trees.
    pub conditions: &'a Conditions,
}

impl ProofInputs<'_> {
    /// Returns the diff of the newest change alone: the corrective change if there is one.
    fn newest(&self) -> &Diff {
        self.since.unwrap_or(self.diff)
    }
}

/// The next step of a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofStep {
    /// These runs are needed, the most informative first; they may run in parallel.
    Run(Vec<NeededRun>),
    /// No further run is needed; the decision and its reasons.
    Decided(Box<ProofReport>),
}

/// A run that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededRun {
    /// The tree to run on.
    pub role: TreeRole,
    /// Which of that tree's runs this is.
    pub kind: RunKind,
    /// How to make the tree, if it does not exist yet.
    pub recipe: TreeRecipe,
    /// The command to run.
    pub argv: Vec<String>,
    /// The digest of the command, of the policy's `junit` path and `fetch` command, and of the
    /// conditions; part of [`ResultKey`].
    pub command: Digest,
}

impl NeededRun {
    /// Returns the key under which the result of this run on `tree` is remembered.
    pub fn key(&self, tree: Oid) -> ResultKey {
        ResultKey { kind: self.kind, tree, command: self.command.clone() }
    }
}
