//! Guardrails and proof of the candidate.
//!
//! Both judge raw trees and blobs in the mirror. The proof names the command runs that it needs.
//! Each is a job on a fresh checkout of its tree, keyed by tree and command, so that it is found
//! again. Its result is remembered, so that `verify` on one base serves all runs that start there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use afk_core::change::{Blobs, Diff, TreePath};
use afk_core::digest::Digest;
use afk_core::ids::{JobKey, JobOf, Oid};
use afk_core::plan::Refusal;
use afk_core::proof::{
    self, CouldNotRun, JunitReport, NeededRun, Permits, Permitted, ProofInputs, ProofOutcome,
    ProofPolicy, ProofReport, ProofResults, ProofStep, ResultKey, RunKind, RunRecord, RunResult,
    StartTree,
};
use afk_core::run::{AttemptRefusal, Candidate, Transition};
use afk_core::trust::Trust;

use super::fetch::FetchState;
use super::{Acted, Pass, Watch};
use crate::ports::{
    CommitText, IssueView, Job, JobEnd, JobKind, Limit, MemoKey, PortError, PortResult,
};

/// Blobs of more bytes than this are judged by their size alone.
pub(super) const READ_LIMIT: u64 = 4 << 20;
/// How many symbolic links in a row are followed from a file that the policy names.
const MAX_LINKS: u32 = 8;
/// How many scripts in a row are followed from what `verify` names, each called by the one before.
const MAX_CALLS: u32 = 3;
/// The most scripts that are followed at each of these steps.
const MAX_SCRIPTS: usize = 200;
/// Files of more bytes than this are not searched for the scripts that they call.
const SCRIPT_LIMIT: u64 = 256 << 10;

/// The candidate's change, as the core judges it.
pub(super) struct Change {
    pub(super) policy: ProofPolicy,
    /// The commit that the whole of the run's work is compared with.
    base: Oid,
    /// The whole of the run's work: from `base` to the candidate.
    diff: Diff,
    /// The candidate's own part of that work, if the run landed something before.
    since: Option<Diff>,
    /// What the agent's first commit alone changes on `base`; none if there is none, or if it does
    /// not merge.
    first: Option<Diff>,
    pub(super) blobs: Blobs,
    pub(super) commits: Vec<CommitText>,
}

impl Change {
    /// What the candidate changes beyond what the run landed before.
    pub(super) fn newest(&self) -> &Diff {
        self.since.as_ref().unwrap_or(&self.diff)
    }
}

impl Pass<'_> {
    /// Checks the guardrails, then continues the proof.
    pub(super) async fn judge(&mut self) -> PortResult<Acted> {
        let Some(candidate) = self.run.candidate().cloned() else { return Ok(Acted::Again) };
        if let Some(report) = &candidate.proof {
            // A process that died after recording the proof has not recorded the refusal.
            return match self.refusal(report) {
                Some(refused) => self.refuse(refused).await,
                None => Ok(Acted::Again),
            };
        }
        self.judge_commit(&candidate).await
    }

    /// Checks and proves a commit that landed before it was judged. A refusal is for people,
    /// because the commit is on the default branch already.
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
        let change = self.known_change(candidate).await?;
        if candidate.guardrails.is_none() {
            return self.guard(candidate, &change).await;
        }
        let conditions = self.config.conditions(&self.repo);
        let mut permits = self.config.permits();
        let mut results = ProofResults::default();
        let mut asked_people = false;
        let mut unheeded = BTreeMap::new();
        loop {
            let inputs = ProofInputs {
                policy: &change.policy,
                diff: &change.diff,
                since: change.since.as_ref(),
                first: change.first.as_ref(),
                blobs: &change.blobs,
                permits: &permits,
                conditions: &conditions,
            };
            match proof::next(&inputs, &results) {
                // The tracker is read only if a person's permit could change the decision.
                ProofStep::Decided(report) if report.permit.is_some() && !asked_people => {
                    (permits, unheeded) = self.permits_and_others().await?;
                    asked_people = true;
                }
                ProofStep::Decided(mut report) => {
                    report.unheeded =
                        report.permit.as_ref().and_then(|label| unheeded.remove(label));
                    return self.proved(*report).await;
                }
                ProofStep::Run(wanted) => {
                    let (base, policy) = (&change.base, &change.policy);
                    if !self.run_all(candidate, base, policy, wanted, &mut results).await? {
                        return Ok(Acted::wait(Watch::Jobs, None));
                    }
                }
            }
        }
    }

    /// What trusted people permit for the run's issue, by the labels that it has now.
    pub(super) async fn permits(&self) -> PortResult<Permits> {
        Ok(self.permits_and_others().await?.0)
    }

    /// The permits, and for each label that is on the issue but permits nothing, why that is.
    async fn permits_and_others(&self) -> PortResult<(Permits, BTreeMap<String, String>)> {
        let issue = &self.run.issue;
        self.ports().tracker.forget(issue);
        let view = self.ports().tracker.issue(issue).await?;
        let (mut permits, mut others) = (self.config.permits(), BTreeMap::new());
        permits.no_test_needed = self.permitted(&view, &permits.no_test_label, &mut others).await?;
        permits.tests_may_change = self.permitted(&view, &permits.tests_label, &mut others).await?;
        Ok((permits, others))
    }

    async fn permitted(
        &self,
        view: &IssueView,
        label: &str,
        others: &mut BTreeMap<String, String>,
    ) -> PortResult<Option<Permitted>> {
        if !view.issue.has(label) {
            return Ok(None);
        }
        let issue = &self.run.issue;
        match self.engine.trust_in(&self.config, issue, view, label).await {
            Trust::Trusted { by, at, .. } => {
                Ok(Some(Permitted { label: label.to_owned(), by, at }))
            }
            Trust::Refused { why } if why.is_unknown() => {
                Err(PortError::transient(format!("the label {label} allows nothing yet: {why}")))
            }
            Trust::Refused { why } => {
                tracing::info!(run.id = %self.run.id, label, %why, "the label is ignored");
                others.insert(label.to_owned(), why.about(label));
                Ok(None)
            }
        }
    }

    async fn proved(&mut self, report: ProofReport) -> PortResult<Acted> {
        let refused = self.refusal(&report).filter(|_| self.run.candidate().is_some());
        self.commit(Transition::Proved { report: Box::new(report) }).await?;
        match refused {
            None => Ok(Acted::Again),
            Some(refused) => self.refuse(refused).await,
        }
    }

    /// The refusal of a proof; none if it accepts. A head that was handed over because it lacked a
    /// person's permit, and comes back unchanged with a permit label that does not count, is for
    /// people again: no corrective turn is paid for it.
    fn refusal(&self, report: &ProofReport) -> Option<AttemptRefusal> {
        let refused = refusal(report)?;
        let theirs = report.unheeded.is_some() && self.run.is_untouched_resumption();
        let why = if theirs { Refusal::Setup } else { refused.why };
        Some(AttemptRefusal { why, ..refused })
    }

    async fn known_change(&self, candidate: &Candidate) -> PortResult<Arc<Change>> {
        let (run, commit) = (self.run.id, &candidate.commit);
        let known = self.engine.candidate_cache().change(run, commit, &self.repo);
        if let Some(change) = known {
            return Ok(change);
        }
        let change = Arc::new(self.change(candidate).await?);
        self.engine.candidate_cache().keep(run, commit.clone(), self.repo.clone(), &change);
        Ok(change)
    }

    async fn change(&self, candidate: &Candidate) -> PortResult<Change> {
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let mut policy = self.policy(&candidate.base).await?;
        let commits = git.commits(repo, candidate.since(), &candidate.head).await?;
        let base = self.base_without_own(&candidate.base, &candidate.commit).await?;
        let diff = self.diff(&base, &candidate.commit).await?;
        let since = if base == candidate.base {
            None
        } else {
            // What the run landed before may no longer call a script that ran the tests.
            self.add_scripts(&base, &mut policy).await?;
            Some(self.diff(&candidate.base, &candidate.commit).await?)
        };
        policy.forget_shadows(&diff);
        let first = match self.first_commit(candidate, &commits).await? {
            Some(first) => self.first_alone(&base, &first).await?,
            None => None,
        };
        let mut wanted = diff.blobs();
        wanted.extend(first.iter().chain(&since).flat_map(Diff::blobs));
        let blobs = git.blobs(repo, &wanted, READ_LIMIT).await?;
        Ok(Change { policy, base, diff, since, first, blobs, commits })
    }

    /// The repo's proof policy. If a file that it names is a symbolic link in `base`, the link's
    /// target is protected, too. Scripts that `verify` runs in `base` without naming them are added,
    /// and the paths of new files that would be run in place of what they name.
    async fn policy(&self, base: &Oid) -> PortResult<ProofPolicy> {
        let mut policy =
            self.repo.proof_policy().map_err(|error| PortError::permanent(error.to_string()))?;
        let named: BTreeSet<TreePath> = policy.named().cloned().collect();
        for path in self.linked(base, named).await? {
            policy.name(path);
        }
        self.add_scripts(base, &mut policy).await?;
        Ok(policy)
    }

    /// Adds the scripts to `policy` that `verify` runs in `base` without naming them.
    async fn add_scripts(&self, base: &Oid, policy: &mut ProofPolicy) -> PortResult<()> {
        let scripts = self.scripts(base, policy).await?;
        if !scripts.is_empty() {
            policy.add_scripts(self.linked(base, scripts.clone()).await?);
            policy.add_scripts(scripts);
        }
        Ok(())
    }

    /// What `paths` lead to in `base`, where they or folders on the way to them are links.
    async fn linked(
        &self,
        base: &Oid,
        paths: BTreeSet<TreePath>,
    ) -> PortResult<BTreeSet<TreePath>> {
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let (mut open, mut found) = (paths, BTreeSet::<TreePath>::new());
        for _ in 0..MAX_LINKS {
            // A folder on the way may be the link.
            let folders: Vec<TreePath> =
                open.iter().flat_map(|path| path.folders().filter_map(TreePath::new)).collect();
            let mut all = open.clone();
            all.extend(folders);
            let links = git.links(repo, base, &all).await?;
            let mut next = BTreeSet::new();
            for path in &open {
                let targets = links.iter().filter_map(|(link, target)| path.through(link, target));
                next.extend(targets.filter(|to| !found.contains(to)));
            }
            if next.is_empty() {
                break;
            }
            found.extend(next.iter().cloned());
            open = next;
        }
        Ok(found)
    }

    /// The scripts that `verify` runs in `base` without naming them, and those that these run. Adds
    /// to `policy` where new files would shadow what the files that are read here name.
    async fn scripts(
        &self,
        base: &Oid,
        policy: &mut ProofPolicy,
    ) -> PortResult<BTreeSet<TreePath>> {
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let (mut open, mut found) = (policy.searched(), BTreeSet::<TreePath>::new());
        for _ in 0..MAX_CALLS {
            if open.is_empty() {
                break;
            }
            let texts = git.contents(repo, base, &open, SCRIPT_LIMIT).await?;
            for (path, content) in &texts {
                let shadows = policy.shadows_in(path, &String::from_utf8_lossy(content));
                policy.add_shadows(shadows);
            }
            let called = texts.iter().flat_map(|(path, content)| {
                policy.scripts_in(path, &String::from_utf8_lossy(content))
            });
            open = called.filter(|path| !found.contains(path)).take(MAX_SCRIPTS).collect();
            found.extend(open.iter().cloned());
        }
        Ok(found)
    }

    /// The agent's first commit, whose lines may be the test where tests are among the code.
    async fn first_commit(
        &self,
        candidate: &Candidate,
        commits: &[CommitText],
    ) -> PortResult<Option<Oid>> {
        let landed = self.run.landed_before(&candidate.commit);
        let Some(first) = landed.first() else {
            return Ok(commits.last().map(|commit| commit.id.clone()));
        };
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let commits = git.commits(repo, &first.base, &first.head).await?;
        Ok(commits.last().map(|commit| commit.id.clone()))
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

    /// Puts the results of the `wanted` runs into `results`; returns whether all of them are there.
    /// Starts runs that have none, at most [`crate::ports::Jobs::side_by_side`] at once.
    pub(super) async fn run_all(
        &self,
        candidate: &Candidate,
        base: &Oid,
        policy: &ProofPolicy,
        wanted: Vec<NeededRun>,
        results: &mut ProofResults,
    ) -> PortResult<bool> {
        let mut absent = Vec::new();
        let mut free = self.ports().jobs.side_by_side().max(1);
        let mut all = true;
        for run in wanted {
            let tree = self.tree_for(candidate, base, &run, results).await?;
            let key = run.key(tree.clone());
            match self.known(&key).await? {
                Some(record) => {
                    results.runs.insert(key, record);
                }
                None => absent.push((run, key, tree)),
            }
        }
        for (run, key, tree) in absent {
            // Even without a free core a job that is over can be read.
            let may_start = free > 0;
            let fetched = match self.fetched(candidate, policy, &tree, may_start).await? {
                FetchState::Nothing => None,
                FetchState::Kept(kept) => Some(kept),
                FetchState::Failed(record) => {
                    results.runs.insert(key, record);
                    continue;
                }
                FetchState::NotYet => {
                    free = free.saturating_sub(1);
                    all = false;
                    continue;
                }
            };
            let job = self.proof_job(base, &run, &key, tree, fetched);
            if let Some(end) = self.job_if(job.clone(), may_start).await? {
                let record = self.ended(&job, &key, &end).await?;
                results.runs.insert(key, record);
            } else {
                free = free.saturating_sub(1);
                all = false;
            }
        }
        Ok(all)
    }

    async fn tree_for(
        &self,
        candidate: &Candidate,
        base: &Oid,
        run: &NeededRun,
        results: &mut ProofResults,
    ) -> PortResult<Oid> {
        if let Some(tree) = results.trees.get(&run.role) {
            return Ok(tree.clone());
        }
        let known = self.engine.candidate_cache().tree(self.run.id, &candidate.commit, &run.recipe);
        if let Some(tree) = known {
            results.trees.insert(run.role, tree.clone());
            return Ok(tree);
        }
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let start = match run.recipe.start {
            StartTree::Base => git.tree(repo, base).await?,
            StartTree::Candidate => candidate.tree.clone(),
        };
        let tree = git.compose(repo, &start, &run.recipe).await?;
        results.trees.insert(run.role, tree.clone());
        let (commit, recipe) = (&candidate.commit, run.recipe.clone());
        self.engine.candidate_cache().keep_tree(self.run.id, commit, recipe, tree.clone());
        Ok(tree)
    }

    /// The remembered result of a run, if there is one.
    async fn known(&self, key: &ResultKey) -> PortResult<Option<RunRecord>> {
        let known = self.ports().store.recall(&memo_key(key)).await?;
        Ok(known.and_then(|known| serde_json::from_value(known).ok()))
    }

    fn proof_job(
        &self,
        base: &Oid,
        run: &NeededRun,
        key: &ResultKey,
        tree: Oid,
        fetched: Option<Digest>,
    ) -> Job {
        // The whole id: an agent could make two trees whose ids begin alike, so that one is judged
        // by the other's result.
        let nth = match key.kind {
            RunKind::Verify(nth) if nth > 2 => format!(".{nth}"),
            RunKind::Verify(_) | RunKind::Build => String::new(),
        };
        let subject = format!("{tree}.{}{nth}", key.command.short());
        Job {
            key: JobKey::new(self.run.id, job_of(key.kind), &subject),
            run: self.run.id,
            repo: self.run.issue.repo.clone(),
            kind: JobKind::Judge {
                tree,
                history: self.repo.proof.git.then(|| base.clone()),
                fetched,
            },
            argv: run.argv.clone(),
            timeout: Duration::from_secs(self.repo.verify_timeout_seconds),
            network: self.repo.network.verify,
        }
    }

    /// The record of a run that is over. Stores it if it is worth remembering.
    async fn ended(&self, job: &Job, key: &ResultKey, end: &JobEnd) -> PortResult<RunRecord> {
        let report = match &self.repo.proof.junit {
            Some(file) => self.ports().jobs.left(self.run.id, &job.key, Path::new(file)).await?,
            None => None,
        };
        let record = run_record(end, report.as_deref());
        if record.result.is_reusable() {
            let value = serde_json::to_value(&record).map_err(PortError::permanent)?;
            self.ports().store.remember(&memo_key(key), &value, self.now()).await?;
        }
        Ok(record)
    }
}

fn run_record(end: &JobEnd, report: Option<&[u8]>) -> RunRecord {
    let sandbox = |detail: &str| CouldNotRun::Sandbox { detail: detail.to_owned() };
    let result = match (end.code, end.limit, &end.could_not_run) {
        (Some(code), None, None) => RunResult::from_exit_code(code),
        (_, Some(limit), _) => RunResult::CouldNotRun { why: over(limit) },
        (_, None, Some(why)) => RunResult::CouldNotRun { why: sandbox(why) },
        (None, None, None) => {
            RunResult::CouldNotRun { why: sandbox("it ended without an exit code") }
        }
    };
    let report = report
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| JunitReport::parse(text).ok());
    let (started, ended) = end.span;
    let millis = ended.duration_since(started).as_millis().max(0);
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    RunRecord { result, tail: end.tail.clone(), millis, report }
}

/// The end of a run that exceeded a limit. A run that hangs, eats memory or prints without end does
/// so because of the tree that is judged.
const fn over(limit: Limit) -> CouldNotRun {
    match limit {
        Limit::Time => CouldNotRun::Timeout,
        Limit::Memory => CouldNotRun::OutOfMemory,
        Limit::Processes => CouldNotRun::TooManyProcesses,
        Limit::Output => CouldNotRun::TooMuchOutput,
    }
}

/// The refusal of a proof; none if it accepts.
fn refusal(report: &ProofReport) -> Option<AttemptRefusal> {
    let why = match &report.outcome {
        ProofOutcome::Accepted(_) => return None,
        ProofOutcome::Refused(refusal) => refused_as(refusal),
    };
    let output = report.decisive_tail().unwrap_or_default().to_owned();
    Some(AttemptRefusal { why, detail: report.headline(), output, conflict: None })
}

/// The kind of refusal, by which the loop decides whether the agent gets a corrective turn.
fn refused_as(refusal: &proof::ProofRefusal) -> Refusal {
    use proof::ProofRefusal as Why;
    if refusal.is_of_the_base() {
        return Refusal::Setup;
    }
    match refusal {
        Why::CandidateFails | Why::Breaks { .. } => Refusal::Verify,
        // An agent's test may hang, crash or exceed a limit; a missing command is no fault of it.
        Why::CouldNotRun {
            why:
                CouldNotRun::Timeout
                | CouldNotRun::Signal { .. }
                | CouldNotRun::OutOfMemory
                | CouldNotRun::TooManyProcesses
                | CouldNotRun::TooMuchOutput,
            ..
        } => Refusal::Verify,
        Why::CouldNotRun {
            why: CouldNotRun::NotExecutable | CouldNotRun::NotFound | CouldNotRun::Sandbox { .. },
            ..
        } => Refusal::Setup,
        // What the base needs was fetched before any turn. If it fails for another tree, the
        // agent's lock file may not fit its manifest.
        Why::CouldNotRun { why: CouldNotRun::NotFetched { .. }, .. } => Refusal::Proof,
        Why::BaseFails | Why::NoReport { .. } | Why::NothingToTest { .. } => Refusal::Setup,
        Why::Protected { .. }
        | Why::DeletedTests { .. }
        | Why::NoTest
        | Why::JudgeTurnsGreen { .. }
        | Why::TakenBack
        | Why::TestsNotRun { .. }
        | Why::HidesFailures { .. }
        | Why::NeedsItsRunner { .. }
        | Why::ChangesTests { .. }
        | Why::TooWeak { .. }
        | Why::NotSplit { .. }
        | Why::Vacuous { .. }
        | Why::Flaky { .. }
        | Why::DoesNotBuild { .. }
        | Why::NoRedTest => Refusal::Proof,
    }
}

const fn job_of(kind: RunKind) -> JobOf {
    match kind {
        RunKind::Verify(1) => JobOf::Verify,
        RunKind::Verify(_) => JobOf::VerifyAgain,
        RunKind::Build => JobOf::VerifyBuild,
    }
}

fn memo_key(key: &ResultKey) -> MemoKey {
    MemoKey {
        kind: match key.kind {
            RunKind::Verify(nth) if nth > 2 => format!("verify-{nth}"),
            kind => job_of(kind).word().to_owned(),
        },
        tree: key.tree.to_string(),
        command: key.command.to_string(),
    }
}
