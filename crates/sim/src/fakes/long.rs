//! Executor, jobs, stages, pull requests and git, over the world.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afk_core::ask::Answer;
use afk_core::change::{Blobs, TreePath};
use afk_core::checkout::{Checkout, Machine};
use afk_core::digest::Digest;
use afk_core::ids::{IssueRef, JobKey, Oid, RepoName, RunId};
use afk_core::proof::TreeRecipe;
use afk_core::run::PullSeen;
use afk_engine::ports::{
    CommitSpec, CommitText, Executor, FetchedHead, FileAt, Git, Job, JobState, Jobs, LandingSearch,
    Merge, PortResult, Prepared, PullRequests, PullSpec, Push, StageQuery, StageReport, Stages,
    Transcript, TurnReport, TurnRequest,
};
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::Sim;

#[async_trait]
impl Executor for Sim {
    fn checkout(&self, repo: &RepoName) -> PortResult<Checkout> {
        Ok(self.with(|world| world.agents.checkout(repo)))
    }

    fn machine(&self, repo: &RepoName) -> PortResult<Machine> {
        Ok(self.with(|world| world.agents.machine(repo)))
    }

    async fn ready(&self, _repo: &RepoName) -> PortResult<()> {
        self.call("executor.ready", |world| world.agent_ready()).await
    }

    async fn start(&self, turn: &TurnRequest) -> PortResult<()> {
        self.call("executor.start", |world| world.start_turn(turn)).await
    }

    async fn observe(&self, _repo: &RepoName, key: &JobKey) -> PortResult<TurnReport> {
        self.call("executor.observe", |world| Ok(world.observe_turn(key))).await
    }

    async fn interrupt(&self, _repo: &RepoName, key: &JobKey) -> PortResult<()> {
        self.call("executor.interrupt", |world| world.interrupt_turn(key)).await
    }

    async fn alive(&self, _repo: &RepoName, run: RunId) -> PortResult<Vec<JobKey>> {
        self.call("executor.alive", |world| Ok(world.reached_far(run))).await
    }

    async fn stop(&self, _repo: &RepoName, run: RunId) -> PortResult<()> {
        self.call("executor.stop", |world| {
            world.stop_far(run);
            Ok(())
        })
        .await
    }

    async fn answer(
        &self,
        _repo: &RepoName,
        key: &JobKey,
        _request: &str,
        answer: &Answer,
    ) -> PortResult<()> {
        self.call("executor.answer", |world| world.answer_turn(key, answer)).await
    }

    /// Scripted agents write no transcript.
    async fn transcript(
        &self,
        _repo: &RepoName,
        _key: &JobKey,
        _offset: u64,
    ) -> PortResult<Option<Transcript>> {
        self.call("executor.transcript", |_| Ok(None)).await
    }

    async fn changed(&self, _repo: &RepoName, _key: &JobKey, _at_most: Duration) {
        self.next_tick().await;
    }
}

#[async_trait]
impl Jobs for Sim {
    async fn ready(&self) -> PortResult<()> {
        self.call("jobs.ready", |world| world.jobs_ready()).await
    }

    fn side_by_side(&self) -> usize {
        2
    }

    async fn start(&self, job: &Job) -> PortResult<()> {
        self.call("jobs.start", |world| world.start_job(job)).await
    }

    async fn observe(&self, run: RunId, key: &JobKey) -> PortResult<JobState> {
        self.call("jobs.observe", |world| Ok(world.observe_job(run, key))).await
    }

    async fn left(
        &self,
        run: RunId,
        key: &JobKey,
        _file: &std::path::Path,
    ) -> PortResult<Option<Vec<u8>>> {
        self.call("jobs.left", |world| Ok(world.report_of(run, key))).await
    }

    async fn fetched(&self, repo: &RepoName, key: &Digest) -> PortResult<bool> {
        self.call("jobs.fetched", |world| Ok(world.is_fetched(repo, key))).await
    }

    async fn keep_fetched(&self, job: &Job) -> PortResult<bool> {
        self.call("jobs.keep_fetched", |world| world.keep_fetched(job)).await
    }

    async fn sweep(&self, live: &BTreeSet<RunId>, busy: &BTreeSet<RepoName>) -> PortResult<u32> {
        self.call("jobs.sweep", |world| {
            world.jobs.spared.clone_from(live);
            world.jobs.busy.clone_from(busy);
            Ok(0)
        })
        .await
    }

    async fn alive(&self, run: RunId) -> PortResult<Vec<JobKey>> {
        self.call("jobs.alive", |world| Ok(world.alive_here(run))).await
    }

    async fn stop(&self, run: RunId) -> PortResult<()> {
        self.call("jobs.stop", |world| {
            world.stop_jobs(run);
            Ok(())
        })
        .await
    }

    async fn renew(&self, _run: RunId) -> PortResult<()> {
        self.call("jobs.renew", |_| Ok(())).await
    }

    async fn changed(&self, _run: RunId, _at_most: Duration) {
        self.next_tick().await;
    }

    async fn forget(&self, run: RunId, key: &JobKey) -> PortResult<()> {
        self.call("jobs.forget", |world| world.forget_job(run, key)).await
    }
}

#[async_trait]
impl Stages for Sim {
    async fn poll(&self, query: &StageQuery) -> PortResult<StageReport> {
        self.call("stages.poll", |world| world.poll_stage(query)).await
    }
}

#[async_trait]
impl PullRequests for Sim {
    async fn open(&self, pull: &PullSpec) -> PortResult<PullSeen> {
        self.call("pullrequests.open", |world| world.open_pull(pull)).await
    }

    async fn look(&self, repo: &RepoName, branch: &str) -> PortResult<PullSeen> {
        self.call("pullrequests.look", |world| world.look_at_pull(repo, branch)).await
    }

    async fn close(&self, repo: &RepoName, branch: &str) -> PortResult<()> {
        self.call("pullrequests.close", |world| world.close_pull(repo, branch)).await
    }
}

#[async_trait]
impl Git for Sim {
    fn remote(&self, repo: &RepoName) -> String {
        match self.with(|world| world.git.servers.get(repo).cloned()) {
            Some(server) => format!("https://{server}/{repo}.git"),
            None => format!("/srv/git/{repo}.git"),
        }
    }

    async fn prepare(
        &self,
        repo: &RepoName,
        issue: &IssueRef,
        run: RunId,
        on: Option<&Oid>,
        _cancel: &CancellationToken,
    ) -> PortResult<Prepared> {
        self.call("git.prepare", |world| world.prepare(repo, issue, run, on)).await
    }

    async fn prepare_mirror(
        &self,
        repo: &RepoName,
        _cancel: &CancellationToken,
    ) -> PortResult<Prepared> {
        self.call("git.prepare_mirror", |world| world.prepare_mirror(repo)).await
    }

    async fn fetch_head(
        &self,
        _repo: &RepoName,
        run: RunId,
        _n: u32,
        _cancel: &CancellationToken,
    ) -> PortResult<FetchedHead> {
        self.call("git.fetch_head", |world| world.fetch_head(run)).await
    }

    async fn transplant(
        &self,
        _repo: &RepoName,
        onto: &Oid,
        from: &Oid,
        head: &Oid,
    ) -> PortResult<Merge> {
        self.call("git.transplant", |world| world.transplant(onto, from, head)).await
    }

    async fn contains(&self, _repo: &RepoName, commit: &Oid, below: &Oid) -> PortResult<bool> {
        self.call("git.contains", |world| Ok(world.git.contains(commit, below))).await
    }

    async fn file_at(
        &self,
        _repo: &RepoName,
        commit: &Oid,
        path: &str,
        limit: u64,
    ) -> PortResult<FileAt> {
        self.call("git.file_at", |world| world.file_at(commit, path, limit)).await
    }

    async fn links(
        &self,
        _repo: &RepoName,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
    ) -> PortResult<BTreeMap<TreePath, Vec<u8>>> {
        self.call("git.links", |world| world.links(commit, paths)).await
    }

    async fn contents(
        &self,
        _repo: &RepoName,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
        limit: u64,
    ) -> PortResult<BTreeMap<TreePath, Vec<u8>>> {
        self.call("git.contents", |world| world.contents(commit, paths, limit)).await
    }

    async fn keep_head(
        &self,
        _repo: &RepoName,
        run: RunId,
        name: &str,
        _cancel: &CancellationToken,
    ) -> PortResult<Oid> {
        self.call("git.keep_head", |world| world.keep_head(run, name)).await
    }

    async fn default_head(
        &self,
        repo: &RepoName,
        branch: &str,
        _cancel: &CancellationToken,
    ) -> PortResult<Oid> {
        self.call("git.default_head", |world| world.default_head(repo, branch)).await
    }

    async fn remote_head(&self, repo: &RepoName, _cancel: &CancellationToken) -> PortResult<Oid> {
        while self.with(|world| world.git.hanging.contains(repo)) {
            self.next_tick().await;
        }
        self.call("git.remote_head", |world| world.remote_head(repo)).await
    }

    async fn merge(&self, _repo: &RepoName, base: &Oid, head: &Oid) -> PortResult<Merge> {
        self.call("git.merge", |world| world.merge(base, head)).await
    }

    async fn commit(&self, _repo: &RepoName, spec: &CommitSpec) -> PortResult<Oid> {
        self.call("git.commit", |world| world.make_commit(spec)).await
    }

    async fn message(&self, _repo: &RepoName, commit: &Oid) -> PortResult<String> {
        self.call("git.message", |world| world.commit_of(commit).map(|commit| commit.message)).await
    }

    async fn tree(&self, _repo: &RepoName, commit: &Oid) -> PortResult<Oid> {
        self.call("git.tree", |world| world.commit_of(commit).map(|commit| commit.tree)).await
    }

    async fn raw_diff(&self, _repo: &RepoName, old: &Oid, new: &Oid) -> PortResult<Vec<u8>> {
        self.call("git.raw_diff", |world| world.raw_diff(old, new)).await
    }

    async fn ignored(
        &self,
        _repo: &RepoName,
        base: &Oid,
        paths: &BTreeSet<TreePath>,
    ) -> PortResult<BTreeSet<TreePath>> {
        self.call("git.ignored", |world| Ok(world.ignored(base, paths))).await
    }

    async fn blobs(&self, _repo: &RepoName, ids: &BTreeSet<Oid>, _limit: u64) -> PortResult<Blobs> {
        self.call("git.blobs", |world| world.blobs(ids)).await
    }

    async fn commits(
        &self,
        _repo: &RepoName,
        base: &Oid,
        head: &Oid,
    ) -> PortResult<Vec<CommitText>> {
        self.call("git.commits", |world| Ok(world.commits(base, head))).await
    }

    async fn descendants(
        &self,
        repo: &RepoName,
        branch: &str,
        commit: &Oid,
        at_most: usize,
    ) -> PortResult<Vec<CommitText>> {
        self.call("git.descendants", |world| {
            if world.is_renamed(repo, branch) {
                return Ok(Vec::new());
            }
            let head = world.default_head(repo, branch)?;
            Ok(world.descendants(head, commit, at_most))
        })
        .await
    }

    async fn compose(&self, _repo: &RepoName, start: &Oid, recipe: &TreeRecipe) -> PortResult<Oid> {
        self.call("git.compose", |world| world.compose(start, recipe)).await
    }

    async fn push(
        &self,
        repo: &RepoName,
        branch: &str,
        commit: &Oid,
        _cancel: &CancellationToken,
    ) -> PortResult<Push> {
        self.call("git.push", |world| {
            if !branch.starts_with("afk/try/") {
                world.default_head(repo, branch)?;
            }
            Ok(world.push(repo, branch, commit))
        })
        .await
    }

    async fn head(
        &self,
        repo: &RepoName,
        branch: &str,
        _cancel: &CancellationToken,
    ) -> PortResult<Option<Oid>> {
        self.call("git.head", |world| Ok(world.head(repo, branch))).await
    }

    async fn remove_branch(
        &self,
        repo: &RepoName,
        branch: &str,
        _cancel: &CancellationToken,
    ) -> PortResult<()> {
        self.call("git.remove_branch", |world| {
            world.git.branches.remove(&(repo.clone(), branch.to_owned()));
            Ok(())
        })
        .await
    }

    async fn landed(
        &self,
        repo: &RepoName,
        branch: &str,
        tried: &LandingSearch<'_>,
        _cancel: &CancellationToken,
    ) -> PortResult<Option<Oid>> {
        let LandingSearch { run, attempt, candidate, base } = *tried;
        self.call("git.landed", |world| {
            if world.is_renamed(repo, branch) {
                return Ok(None);
            }
            let head = world.default_head(repo, branch)?;
            Ok(world.landed(&head, base, candidate, run, attempt))
        })
        .await
    }

    async fn keep(
        &self,
        _repo: &RepoName,
        _run: RunId,
        _name: &str,
        _commit: &Oid,
    ) -> PortResult<()> {
        self.call("git.keep", |_| Ok(())).await
    }

    async fn release(
        &self,
        _repo: &RepoName,
        run: RunId,
        _judged: &[Oid],
        forensics: bool,
    ) -> PortResult<()> {
        self.call("git.release", |world| {
            world.release(run, forensics);
            Ok(())
        })
        .await
    }

    async fn clean(&self, live: &BTreeSet<RunId>, retriable: &BTreeSet<RunId>) -> PortResult<()> {
        self.call("git.clean", |world| {
            world.git.spared.clone_from(live);
            world.git.retriable.clone_from(retriable);
            Ok(())
        })
        .await
    }

    async fn tidy(&self, repo: &RepoName, _cancel: &CancellationToken) -> PortResult<bool> {
        self.with(|world| world.git.tidied.push(repo.clone()));
        self.call("git.tidy", |_| Ok(true)).await
    }
}
