//! Guardrails and proof of the candidate.
//!
//! Both judge raw trees and blobs in the mirror. The proof names the runs that it needs; each is a
//! job on a fresh checkout of its tree, keyed by tree and command, so that it is found again, and
//! its result is remembered, so that the base is run once for all its runs.

use std::path::Path;
use std::time::Duration;

use afk_core::change::{Blobs, Diff};
use afk_core::ids::{JobKey, JobOf, Oid};
use afk_core::plan::Refusal;
use afk_core::proof::{
    self, CouldNotRun, JunitReport, ProofInputs, ProofOutcome, ProofPolicy, ProofReport,
    ProofResults, ProofStep, ResultKey, RunKind, RunRecord, RunResult, StartTree, Wanted,
};
use afk_core::run::{Candidate, Refused, Transition};

use super::{Acted, Pass, Watch};
use crate::ports::{CommitText, Job, JobEnd, JobKind, MemoKey, PortError, PortResult};

/// Larger blobs are judged by their size only.
pub(super) const READ_LIMIT: u64 = 4 << 20;

/// The candidate's change, as the core judges it.
pub(super) struct Change {
    pub(super) policy: ProofPolicy,
    pub(super) diff: Diff,
    first: Option<Diff>,
    pub(super) blobs: Blobs,
    pub(super) commits: Vec<CommitText>,
}

impl Pass<'_> {
    /// Checks the guardrails, then continues the proof.
    pub(super) async fn judge(&mut self) -> PortResult<Acted> {
        let Some(candidate) = self.run.candidate().cloned() else { return Ok(Acted::Again) };
        if let Some(report) = &candidate.proof {
            // The process died after the proof and before the refusal was recorded.
            return match refusal(report) {
                Some(refused) => self.refuse(refused).await,
                None => Ok(Acted::Again),
            };
        }
        self.judge_commit(&candidate).await
    }

    /// The same for what landed before it was judged. A refusal is for people: the commit is on the
    /// default branch.
    pub(super) async fn prove_landed(&mut self) -> PortResult<Acted> {
        let landed = self.run.landed().filter(|landed| landed.proof.is_none()).cloned();
        let Some(landed) = landed else { return Ok(Acted::Again) };
        if self.run.candidate().is_some() {
            let short = landed.commit.short();
            return Err(PortError::permanent(format!(
                "{short} landed without a proof, and later work was built on it"
            )));
        }
        self.judge_commit(&landed).await
    }

    async fn judge_commit(&mut self, candidate: &Candidate) -> PortResult<Acted> {
        let change = self.change(candidate).await?;
        if candidate.guardrails.is_none() {
            return self.guard(candidate, &change).await;
        }
        let conditions = self.config.conditions(&self.repo);
        let inputs = ProofInputs {
            policy: &change.policy,
            diff: &change.diff,
            first: change.first.as_ref(),
            blobs: &change.blobs,
            corrective: self.is_corrective(),
            conditions: &conditions,
        };
        let mut results = ProofResults::default();
        loop {
            match proof::next(&inputs, &results) {
                ProofStep::Decided(report) => return self.proved(*report).await,
                ProofStep::Run(wanted) => {
                    if !self.run_all(candidate, wanted, &mut results).await? {
                        return Ok(Acted::wait(Watch::Jobs, None));
                    }
                }
            }
        }
    }

    async fn proved(&mut self, report: ProofReport) -> PortResult<Acted> {
        let refused = refusal(&report).filter(|_| self.run.candidate().is_some());
        self.commit(Transition::Proved { report: Box::new(report) }).await?;
        match refused {
            None => Ok(Acted::Again),
            Some(refused) => self.refuse(refused).await,
        }
    }

    async fn change(&self, candidate: &Candidate) -> PortResult<Change> {
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let policy =
            self.repo.proof_policy().map_err(|error| PortError::permanent(error.to_string()))?;
        let diff = self.diff(&candidate.base, &candidate.commit).await?;
        let commits = git.commits(repo, &candidate.base, &candidate.head).await?;
        let first = match commits.last() {
            Some(first) => self.first_alone(&candidate.base, &first.id).await?,
            None => None,
        };
        let mut wanted = diff.blobs();
        wanted.extend(first.iter().flat_map(Diff::blobs));
        let blobs = git.blobs(repo, &wanted, READ_LIMIT).await?;
        Ok(Change { policy, diff, first, blobs, commits })
    }

    /// What the agent's first commit alone changes on the base; none if it does not merge.
    async fn first_alone(&self, base: &Oid, first: &Oid) -> PortResult<Option<Diff>> {
        match self.ports().git.merge(&self.run.issue.repo, base, first).await? {
            crate::ports::Merge::Clean { tree } => self.diff(base, &tree).await.map(Some),
            crate::ports::Merge::Conflict { .. } => Ok(None),
        }
    }

    pub(super) async fn diff(&self, old: &Oid, new: &Oid) -> PortResult<Diff> {
        let raw = self.ports().git.raw_diff(&self.run.issue.repo, old, new).await?;
        Diff::parse(&raw).map_err(|error| PortError::permanent(error.to_string()))
    }

    /// Whether every needed run has its result; starts those that do not.
    async fn run_all(
        &self,
        candidate: &Candidate,
        wanted: Vec<Wanted>,
        results: &mut ProofResults,
    ) -> PortResult<bool> {
        let mut all = true;
        for run in wanted {
            let tree = self.tree_for(candidate, &run, results).await?;
            let key = run.key(tree.clone());
            match self.result(&run, &key, tree).await? {
                Some(record) => {
                    results.runs.insert(key, record);
                }
                None => all = false,
            }
        }
        Ok(all)
    }

    async fn tree_for(
        &self,
        candidate: &Candidate,
        run: &Wanted,
        results: &mut ProofResults,
    ) -> PortResult<Oid> {
        if let Some(tree) = results.trees.get(&run.role) {
            return Ok(tree.clone());
        }
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let start = match run.recipe.start {
            StartTree::Base => git.tree(repo, &candidate.base).await?,
            StartTree::Candidate => candidate.tree.clone(),
        };
        let tree = git.compose(repo, &start, &run.recipe).await?;
        results.trees.insert(run.role, tree.clone());
        Ok(tree)
    }

    async fn result(
        &self,
        run: &Wanted,
        key: &ResultKey,
        tree: Oid,
    ) -> PortResult<Option<RunRecord>> {
        let store = &self.ports().store;
        let memo = memo_key(key);
        let known = store.recall(&memo).await?;
        if let Some(record) = known.and_then(|known| serde_json::from_value(known).ok()) {
            return Ok(Some(record));
        }
        // The whole id: an agent could make two trees whose ids begin alike, so that one is judged
        // by the other's result.
        let subject = format!("{tree}.{}", key.command.short());
        let job = Job {
            key: JobKey::new(self.run.id, job_of(key.kind), &subject),
            run: self.run.id,
            repo: self.run.issue.repo.clone(),
            kind: JobKind::Judge { tree },
            argv: run.argv.clone(),
            timeout: Duration::from_secs(self.repo.verify_timeout_seconds),
            network: self.repo.network.verify,
        };
        let job_key = job.key.clone();
        let Some(end) = self.job(job).await? else { return Ok(None) };
        let report = match &self.repo.proof.junit {
            Some(file) => self.ports().jobs.left(self.run.id, &job_key, Path::new(file)).await?,
            None => None,
        };
        let record = run_record(&end, report.as_deref());
        if record.result.worth_remembering() {
            let value = serde_json::to_value(&record).map_err(PortError::permanent)?;
            store.remember(&memo, &value, self.now()).await?;
        }
        Ok(Some(record))
    }
}

fn run_record(end: &JobEnd, report: Option<&[u8]>) -> RunRecord {
    let result = match (end.code, &end.could_not_run) {
        (Some(code), None) => RunResult::from_exit_code(code),
        (_, Some(_)) if end.timed_out => RunResult::CouldNotRun { why: CouldNotRun::Timeout },
        (_, Some(why)) => {
            RunResult::CouldNotRun { why: CouldNotRun::Sandbox { detail: why.clone() } }
        }
        (None, None) => RunResult::CouldNotRun {
            why: CouldNotRun::Sandbox { detail: "it ended without an exit code".to_owned() },
        },
    };
    let report = report
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| JunitReport::parse(text).ok());
    RunRecord { result, tail: end.tail.clone(), report }
}

/// The refusal of a proof; none if it accepts.
fn refusal(report: &ProofReport) -> Option<Refused> {
    let why = match &report.outcome {
        ProofOutcome::Accepted(_) => return None,
        ProofOutcome::Refused(refusal) => refused_as(refusal),
    };
    let output = report.telling_tail().unwrap_or_default().to_owned();
    Some(Refused { why, detail: report.headline(), output, conflict: None })
}

/// What the loop does about a refused proof.
fn refused_as(refusal: &proof::ProofRefusal) -> Refusal {
    use proof::ProofRefusal as Why;
    match refusal {
        Why::CandidateFails | Why::Breaks { .. } => Refusal::Verify,
        // An agent's test may hang or crash; a missing command is our fault.
        Why::CouldNotRun { why: CouldNotRun::Timeout | CouldNotRun::Signal { .. }, .. } => {
            Refusal::Verify
        }
        Why::CouldNotRun {
            why: CouldNotRun::NotExecutable | CouldNotRun::NotFound | CouldNotRun::Sandbox { .. },
            ..
        } => Refusal::Setup,
        Why::BaseFails | Why::NoReport { .. } => Refusal::Setup,
        Why::Protected { .. }
        | Why::DeletedTests { .. }
        | Why::NoTest
        | Why::NotSplit { .. }
        | Why::Vacuous { .. }
        | Why::Flaky { .. }
        | Why::DoesNotBuild { .. }
        | Why::NoRedTest => Refusal::Proof,
    }
}

const fn job_of(kind: RunKind) -> JobOf {
    match kind {
        RunKind::Verify => JobOf::Verify,
        RunKind::VerifyAgain => JobOf::VerifyAgain,
        RunKind::Build => JobOf::VerifyBuild,
    }
}

fn memo_key(key: &ResultKey) -> MemoKey {
    MemoKey {
        kind: job_of(key.kind).word().to_owned(),
        tree: key.tree.to_string(),
        command: key.command.to_string(),
    }
}
