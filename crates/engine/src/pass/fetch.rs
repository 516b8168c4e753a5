//! Fetches what a tree that is to be judged needs from outside: before its first run, and once for
//! all trees with the same manifests and lock files.
//!
//! The job is keyed by the candidate and by the files that it may read; what it downloaded is kept
//! under the latter alone, and is read-only for the runs. A command that fails is tried a second
//! time, because the network may have been at fault.

use std::time::Duration;

use afk_core::digest::Digest;
use afk_core::ids::{JobKey, JobOf, Oid};
use afk_core::proof::{CouldNotRun, Fetch, ProofPolicy, RunRecord, RunResult};
use afk_core::run::Candidate;

use super::Pass;
use crate::ports::{Job, JobEnd, JobKind, PortResult};

/// How often the command is tried for one candidate.
const TRIES: u32 = 2;

/// Whether what a tree needs from outside is there.
pub(super) enum FetchState {
    /// Nothing is fetched for this repo.
    Nothing,
    /// It is there, kept under this key.
    Kept(Digest),
    /// It is being fetched, or no core is free for that.
    NotYet,
    /// The command failed each time; every run on the tree has this record as its result.
    Failed(RunRecord),
}

impl Pass<'_> {
    /// Ensures that what `tree` needs is there; starts nothing unless it `may_start`.
    pub(super) async fn fetched(
        &self,
        candidate: &Candidate,
        policy: &ProofPolicy,
        tree: &Oid,
        may_start: bool,
    ) -> PortResult<FetchState> {
        let Some(fetch) = self.to_fetch(candidate, policy, tree).await? else {
            return Ok(FetchState::Nothing);
        };
        let jobs = &self.ports().jobs;
        if jobs.fetched(&self.run.issue.repo, &fetch.key).await? {
            return Ok(FetchState::Kept(fetch.key));
        }
        let mut failed = None;
        for nth in 1..=TRIES {
            let job = self.fetch_job(candidate, &fetch, tree, nth);
            match self.job_if(job.clone(), may_start).await? {
                None => return Ok(FetchState::NotYet),
                Some(JobEnd { code: Some(0), could_not_run: None, .. }) => {
                    return Ok(if jobs.keep_fetched(&job).await? {
                        FetchState::Kept(fetch.key)
                    } else {
                        jobs.forget(job.run, &job.key).await?;
                        FetchState::NotYet
                    });
                }
                Some(end) => failed = Some(end),
            }
        }
        Ok(failed.map_or(FetchState::NotYet, |end| FetchState::Failed(not_fetched(&fetch, &end))))
    }

    async fn to_fetch(
        &self,
        candidate: &Candidate,
        policy: &ProofPolicy,
        tree: &Oid,
    ) -> PortResult<Option<Fetch>> {
        if policy.config().fetch.is_none() {
            return Ok(None);
        }
        let (run, commit) = (self.run.id, &candidate.commit);
        let known = self.engine.candidate_cache().fetch(run, commit, tree);
        if known.is_some() {
            return Ok(known);
        }
        let files = self.diff(&tree.empty_tree(), tree).await?;
        let fetch = policy.fetch(&files, &self.config.conditions(&self.repo));
        if let Some(fetch) = &fetch {
            self.engine.candidate_cache().keep_fetch(run, commit, tree, fetch);
        }
        Ok(fetch)
    }

    fn fetch_job(&self, candidate: &Candidate, fetch: &Fetch, tree: &Oid, nth: u32) -> Job {
        // The candidate is part of the key, so that what failed for one is tried for the next.
        let subject = format!("{}.{}.{nth}", candidate.commit, fetch.key.short());
        Job {
            key: JobKey::new(self.run.id, JobOf::Fetch, &subject),
            run: self.run.id,
            repo: self.run.issue.repo.clone(),
            kind: JobKind::Fetch {
                tree: tree.clone(),
                reads: fetch.reads.clone(),
                key: fetch.key.clone(),
            },
            argv: fetch.argv.clone(),
            timeout: Duration::from_secs(self.repo.verify_timeout_seconds),
            network: true,
        }
    }
}

/// The record of a run whose tree lacks what it needs.
fn not_fetched(fetch: &Fetch, end: &JobEnd) -> RunRecord {
    let command = fetch.argv.join(" ");
    let detail = match (&end.could_not_run, end.code) {
        (Some(why), _) => format!("`{command}` could not run: {why}"),
        (None, Some(code)) => format!("`{command}` fails (exit code {code})"),
        (None, None) => format!("`{command}` ended without an exit code"),
    };
    RunRecord {
        result: RunResult::CouldNotRun { why: CouldNotRun::NotFetched { detail } },
        tail: end.tail.clone(),
        millis: 0,
        report: None,
    }
}
