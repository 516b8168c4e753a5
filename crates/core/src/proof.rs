//! The proof: does the change's test fail without the change and pass with it?
//!
//! The control plane compares trees with one command; it knows no language and selects no tests.
//! [`next`] is a total function of the inputs and the results so far: it names the runs that are
//! still needed, or decides. The order of its questions is fixed, so that results may arrive in any
//! order and further ones change nothing. A run that could not be made is never proof: the proof is
//! refused for that reason, and the caller may drop the result and try again, a limited number of
//! times.
//!
//! Reading order: [`policy`] for what counts as a test, [`recipe`] for the trees, [`result`] for
//! the result of a run, `decide` for the rules, [`report`] for the answer.

mod decide;
pub mod junit;
pub mod policy;
pub mod recipe;
mod refusal;
pub mod report;
pub mod result;
mod split;
#[cfg(test)]
mod tests;

pub use decide::next;
pub use junit::{JunitReport, TestOutcome};
pub use policy::{
    PathClass, ProofPolicy, ProofPolicyConfig, ProofPolicyError, RedMeans, RequireRedProof, Verify,
};
pub use recipe::{StartTree, TreeRecipe};
pub use refusal::ProofRefusal;
pub use report::{ProofOutcome, ProofReport, RedKind, RemovedLines, RunReport, Strength};
pub use result::{
    Conditions, CouldNotRun, ProofResults, ResultKey, RunKind, RunRecord, RunResult, TreeRole,
};
pub use split::SplitFault;

use crate::change::{Blobs, Diff};
use crate::digest::Digest;
use crate::ids::Oid;

/// What a proof is about.
#[derive(Debug, Clone, Copy)]
pub struct ProofInputs<'a> {
    /// The repo's policy.
    pub policy: &'a ProofPolicy,
    /// The raw diff of the base's tree and the candidate's.
    pub diff: &'a Diff,
    /// The raw diff from the base's tree to the base with the agent's first commit merged in;
    /// `None` if there is no such commit or it does not merge.
    pub first: Option<&'a Diff>,
    /// The blobs that both diffs refer to.
    pub blobs: &'a Blobs,
    /// Whether the candidate fixes a landed commit that went red: then that red verdict is its red
    /// proof.
    pub corrective: bool,
    /// What its runs may reach.
    pub conditions: &'a Conditions,
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
