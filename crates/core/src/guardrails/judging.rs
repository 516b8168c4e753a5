//! Judges a landing step by step: its final tree, then each commit that is published below it.
//!
//! The caller reads the blobs of one commit at a time, so that no history is in memory as a whole.
//! Where the agent's commits are squashed, only the final tree counts: nobody ever sees the rest.

use std::collections::BTreeSet;

use super::breach::{Breach, MessageOf};
use super::header;
use super::{GuardrailReport, Guardrails};
use crate::change::{Blobs, Diff, TreePath};
use crate::ids::{Oid, RunId};
use crate::message::{ATTEMPT_TRAILER, RUN_TRAILER};
use crate::proof::ProofPolicy;

/// Maximum number of commits below a landing that are judged; more are a breach.
pub const MAX_COMMITS: usize = 500;

/// A commit that is published below the one that lands.
#[derive(Debug, Clone, Copy)]
pub struct OwnCommit<'a> {
    /// The commit's id.
    pub id: &'a Oid,
    /// The ids of its parents, first parent first.
    pub parents: &'a [Oid],
    /// The header as it stands in the object; `None` if it is not UTF-8.
    pub header: Option<&'a str>,
    /// The message; `None` if it is not UTF-8.
    pub message: Option<&'a str>,
    /// Whether its header or message holds a secret that the control plane knows.
    pub holds_known_secret: bool,
}

/// A landing that is being judged, with what was found so far.
#[derive(Debug)]
pub struct Judging<'a> {
    rails: &'a Guardrails,
    proof: &'a ProofPolicy,
    run: RunId,
    report: GuardrailReport,
    published: u64,
    /// The new paths that [`Judging::ignores`] was told about, and those of them that the base
    /// ignores.
    asked: BTreeSet<TreePath>,
    ignored: BTreeSet<TreePath>,
}

impl Guardrails {
    /// Begins to judge what `run` would land.
    pub fn judge<'a>(&'a self, proof: &'a ProofPolicy, run: RunId) -> Judging<'a> {
        let report = GuardrailReport::default();
        let (asked, ignored) = (BTreeSet::new(), BTreeSet::new());
        Judging { rails: self, proof, run, report, published: 0, asked, ignored }
    }
}

impl Judging<'_> {
    /// Returns the new paths of `diff` that [`Judging::ignores`] was not told about yet. A path
    /// that is still unknown when the diff is judged counts as not ignored.
    pub fn not_yet_told(&self, diff: &Diff) -> BTreeSet<TreePath> {
        let new = diff.changes.iter().filter(|change| change.old.is_none());
        new.map(|change| &change.path).filter(|path| !self.asked.contains(*path)).cloned().collect()
    }

    /// Tells that of the paths `asked`, the base ignores those in `ignored`.
    pub fn ignores(&mut self, asked: BTreeSet<TreePath>, ignored: BTreeSet<TreePath>) {
        self.asked.extend(asked);
        self.ignored.extend(ignored);
    }

    /// Judges the diff from the base to the final tree of the landing.
    pub fn end(&mut self, diff: &Diff, blobs: &Blobs) {
        self.report.stats =
            self.rails.check_diff(self.proof, &self.ignored, diff, blobs, &mut self.report);
    }

    /// Judges the message of the commit that lands. Not to be called if that is one of the agent's
    /// own commits, which [`Judging::commit`] judges.
    pub fn message(&mut self, message: &str) {
        let run = self.run.to_string();
        let of_another = |key: &str, value: &str| {
            let ours = key.eq_ignore_ascii_case(RUN_TRAILER) && value == run
                || key.eq_ignore_ascii_case(ATTEMPT_TRAILER);
            key.starts_with("afk-") && !ours
        };
        self.rails.check_message(&MessageOf::Candidate, message, &of_another, &mut self.report);
    }

    /// Returns whether this many commits can be judged one by one; too many are a breach.
    pub fn takes(&mut self, commits: usize) -> bool {
        let (commits, limit) = (commits as u64, MAX_COMMITS as u64);
        if commits > limit {
            self.report.add(Breach::TooManyCommits { commits, limit });
        }
        commits <= limit
    }

    /// Judges one commit below the landing.
    ///
    /// `diff` is against its first parent; for a merge it has only the paths that differ from
    /// *every* parent ([`Diff::also_in`]): a path that is as in one of the parents came from there,
    /// and that parent is in the base's history or is judged by itself.
    ///
    /// `lands_itself` says whether the agent itself pushes its commits to the default branch, and
    /// so has to name the run in them.
    pub fn commit(
        &mut self,
        commit: &OwnCommit<'_>,
        diff: &Diff,
        blobs: &Blobs,
        lands_itself: bool,
    ) {
        let mut own = GuardrailReport::default();
        let of = MessageOf::Commit(commit.id.clone());
        let author = commit.header.and_then(header::author_address);
        let run = self.run.to_string();
        let speaks = |key: &str, value: &str| {
            if key.starts_with("afk-") {
                !(lands_itself && key.eq_ignore_ascii_case(RUN_TRAILER) && value == run)
            } else {
                // The author may sign off for themselves, and for nobody else.
                !author.is_some_and(|author| value.contains(&format!("<{author}>")))
            }
        };
        match commit.message {
            Some(text) => self.rails.check_message(&of, text, &speaks, &mut own),
            None => own.add(Breach::MessageNotText { of }),
        }
        // Breaches of a message name their commit already; those below are wrapped.
        for breach in std::mem::take(&mut own.breaches) {
            self.report.add(breach);
        }
        for fault in header::faults(commit.header, self.rails.built_in.secrets) {
            own.add(fault);
        }
        if commit.holds_known_secret {
            own.add(Breach::KnownSecret);
        }
        if commit.parents.is_empty() {
            own.add(Breach::OtherHistory);
        }
        let size = self.rails.check_diff(self.proof, &self.ignored, diff, blobs, &mut own);
        self.published = self.published.saturating_add(size.bytes);
        for what in own.breaches {
            let commit = commit.id.clone();
            self.report.add(Breach::InCommit { commit, what: Box::new(what) });
        }
        self.report.further += own.further;
    }

    /// Returns what was found.
    pub fn report(mut self) -> GuardrailReport {
        let limit = self.rails.policy.max_diff_bytes.max(super::MAX_UNCOUNTED_BYTES);
        let bytes = self.published;
        if bytes > limit {
            self.report.add(Breach::HistoryTooLarge { bytes, limit });
        }
        self.report
    }
}
