//! Commits on a default branch that claim to be a run's, and that the control plane did not push.
//!
//! A commit claims it by the run's trailer, read as git reads trailers, so that the message that a
//! revert quotes claims nothing. People may do what they like with what we pushed: a cherry-pick, a
//! rebase, a squashed pull request and a rewritten history carry the trailers of an attempt that
//! landed or that people were asked to merge, and count as its copies. Any other claim means that
//! somebody pushes in a run's name (ADR 35).

use std::collections::{BTreeMap, BTreeSet};

use super::agent_landing::reached;
use super::{BranchCommit, Candidate, Run};
use crate::ids::{Oid, RunId};
use crate::message::{ATTEMPT_TRAILER, RUN_TRAILER, trailer};
use crate::proof::ProofReport;

/// The runs that `since` name in their trailers.
pub fn claimed_runs(since: &[BranchCommit<'_>]) -> BTreeSet<RunId> {
    since.iter().filter_map(|one| run_of(one)).collect()
}

/// The newest commit that claims to be a run's and that the control plane did not push. `since` are
/// the commits of `head` to search, newest first; `runs` holds those runs that they name and that
/// this store knows.
///
/// A run that the store does not know may be another store's, whose commits a merge may bring in:
/// such a commit only counts if it was pushed to this very branch.
pub fn forged_commit<'a>(
    head: &Oid,
    since: &[BranchCommit<'a>],
    runs: &BTreeMap<RunId, Run>,
) -> Option<&'a Oid> {
    let by_id: BTreeMap<&Oid, &BranchCommit<'_>> = since.iter().map(|one| (one.id, one)).collect();
    let line = first_parents(&by_id, head);
    let is_ours = |one: &BranchCommit<'_>| {
        let run = run_of(one).and_then(|run| runs.get(&run));
        run.is_some_and(|run| run.put(one.id, attempt_of(one)))
    };
    // With `history = "merge"` a candidate brings the agent's commits, whatever their trailers say.
    let brought = since.iter().filter(|one| is_ours(one)).flat_map(|one| {
        let (below, beside) = one.parents.split_at(one.parents.len().min(1));
        let (below, beside) = (reached(&by_id, below), reached(&by_id, beside));
        beside.into_iter().filter(move |id| !below.contains(id))
    });
    let brought: BTreeSet<&Oid> = brought.collect();
    let is_foreign = |one: &&BranchCommit<'a>| match run_of(one) {
        None => false,
        Some(_) if is_ours(one) || brought.contains(one.id) => false,
        Some(run) => runs.contains_key(&run) || line.contains(one.id),
    };
    since.iter().find(is_foreign).map(|one| one.id)
}

impl Run {
    /// Whether a commit that names `attempt` of this run came to the default branch by the control
    /// plane, by people who were asked to merge it, or as a copy of what did.
    fn put(&self, commit: &Oid, attempt: Option<u32>) -> bool {
        let pushed = |one: &Candidate| {
            // A proved one also counts if it arrived after the remote was read for it in vain.
            let accepted = one.proof.as_ref().is_some_and(ProofReport::accepted);
            one.commit == *commit && (one.sent_at.is_some() || accepted)
        };
        let there = |one: &Candidate| one.landed_at.is_some() || one.pull.is_some();
        self.agent_lands()
            || self.candidates().any(|(_, one)| pushed(one))
            || self
                .attempts
                .iter()
                .any(|of| attempt == Some(of.n) && of.candidates.iter().any(there))
    }
}

fn run_of(one: &BranchCommit<'_>) -> Option<RunId> {
    trailer(one.message, RUN_TRAILER)?.parse().ok()
}

fn attempt_of(one: &BranchCommit<'_>) -> Option<u32> {
    trailer(one.message, ATTEMPT_TRAILER)?.parse().ok()
}

/// `head` and the commits below it that first parents lead to.
fn first_parents<'a>(
    since: &BTreeMap<&'a Oid, &BranchCommit<'a>>,
    head: &Oid,
) -> BTreeSet<&'a Oid> {
    let mut line = BTreeSet::new();
    let mut at = since.get_key_value(head);
    while let Some((id, one)) = at
        && line.insert(*id)
    {
        at = one.parents.first().and_then(|parent| since.get_key_value(parent));
    }
    line
}
