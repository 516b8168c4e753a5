//! Long work: turns of an agent, and jobs that judge what it left.
//!
//! Started or attached to by key, never twice. A job outlives the control plane
//! that started it; whoever comes next finds it by the same key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use afk_core::ask::{Answer, Asked};
use afk_core::change::TreePath;
use afk_core::checkout::Checkout;
use afk_core::digest::Digest;
use afk_core::ids::{At, JobKey, Oid, RepoName, RunId, ThreadId};
use afk_core::network::AgentNetwork;
use afk_core::run::{TurnCost, TurnSeen};
use afk_core::usd::Usd;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::PortResult;

/// A turn to be started.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// Its key.
    pub key: JobKey,
    /// The run.
    pub run: RunId,
    /// The repo, whose configuration names the executor.
    pub repo: RepoName,
    /// The run's thread.
    pub thread: ThreadId,
    /// The turn's number, from 1.
    pub n: u32,
    /// What is asked.
    pub prompt: String,
    /// The same with rules and issue, where the conversation has to be opened anew.
    pub anew: String,
    /// What it may cost.
    pub budget: Usd,
    /// When it must be over.
    pub deadline: Duration,
    /// What the repo lets it reach; its executor's own configuration may allow less.
    pub network: AgentNetwork,
}

/// A turn as its executor shows it, with what people like to see live.
#[derive(Debug, Clone)]
pub struct TurnReport {
    /// What decides.
    pub seen: TurnSeen,
    /// Tokens so far: into the model and out of it.
    pub tokens: (u64, u64),
    /// Cost so far, as far as it is known.
    pub cost: Option<Usd>,
    /// What it has streamed so far, at list prices; none if that is not known, or it is over.
    pub streamed: Option<TurnCost>,
    /// The last thing it said or did, one short line.
    pub last: Option<String>,
    /// Where people can watch the thread and steer it, if anywhere.
    pub link: Option<String>,
    /// SHA-256 of the transcript so far, in hex, once the turn is over.
    pub transcript: Option<String>,
}

impl TurnReport {
    /// What the agent waits to be told, oldest first.
    pub fn asks(&self) -> &[Asked] {
        match &self.seen {
            TurnSeen::Running { asks, .. } => asks,
            TurnSeen::Absent | TurnSeen::Ended { .. } | TurnSeen::Unknown => &[],
        }
    }
}

/// A part of what an agent wrote in a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// Whose lines they are, as its executor calls that kind of agent: who shows them reads
    /// them by it.
    pub agent: String,
    /// A bounded part of them, which may begin and end within one; empty at the end so far.
    pub bytes: Vec<u8>,
    /// How many bytes are missing in the middle of the turn, where a note stands for them:
    /// what is kept past its workspace is bounded.
    pub cut: u64,
}

/// Who runs the agent.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Where its agents work on `repo`, and by that who lands. Touches nothing.
    fn checkout(&self, repo: &RepoName) -> PortResult<Checkout>;
    /// Whether a turn could be started for `repo`: the agent's program is there and, as far as
    /// that can be told without asking the model, signed in. Reads only, within a moment; an
    /// error says how to mend what is missing.
    async fn ready(&self, repo: &RepoName) -> PortResult<()>;
    /// Starts the turn, or finds it under way by its key.
    async fn start(&self, turn: &TurnRequest) -> PortResult<()>;
    /// How the turn is.
    async fn observe(&self, repo: &RepoName, key: &JobKey) -> PortResult<TurnReport>;
    /// Tells the agent what it asked by `request`. Fine to repeat: the first answer counts,
    /// and one to a request that is no longer open is passed over.
    async fn answer(
        &self,
        repo: &RepoName,
        key: &JobKey,
        request: &str,
        answer: &Answer,
    ) -> PortResult<()>;
    /// Tells the turn to stop; returns within a moment. Asked again, it insists.
    async fn interrupt(&self, repo: &RepoName, key: &JobKey) -> PortResult<()>;
    /// The keys of the turns of `run` that are at work where no process of this machine shows
    /// them: those are told by [`Jobs::alive`]. A turn that was told to stop, or says that it is
    /// over, is alive as long as its agent may still do something.
    async fn alive(&self, repo: &RepoName, run: RunId) -> PortResult<Vec<JobKey>>;
    /// Stops every such turn; returns when they were told. Asked again, it insists.
    async fn stop(&self, repo: &RepoName, run: RunId) -> PortResult<()>;
    /// What the agent wrote in the turn, from `offset` of it on; none where it has not
    /// begun, or nothing of it is kept. Reads only, wherever it lies by now.
    async fn transcript(
        &self,
        repo: &RepoName,
        key: &JobKey,
        offset: u64,
    ) -> PortResult<Option<Transcript>>;
    /// Returns when the turn may have changed, or after `at_most`.
    async fn changed(&self, repo: &RepoName, key: &JobKey, at_most: Duration);
}

/// What a job works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobKind {
    /// Lists what is not committed in the run's clone.
    Status,
    /// Does one step of resetting the run's idle clone.
    Reset {
        /// Which.
        step: ResetStep,
    },
    /// Runs a command on a fresh checkout of a tree, to judge it.
    Judge {
        /// The tree.
        tree: Oid,
        /// The commit whose history and tags stand beside it; none if it has no `.git`.
        history: Option<Oid>,
        /// By which key what it needs from outside is kept, see [`Jobs::keep_fetched`].
        fetched: Option<Digest>,
    },
    /// Brings what a tree needs from outside. It has a network, an empty home, and a checkout in
    /// which only some files have their content, so that it runs no code of the repository.
    Fetch {
        /// The tree.
        tree: Oid,
        /// The files that have their content, and whether they may be run.
        reads: BTreeMap<TreePath, bool>,
        /// By what its result is kept.
        key: Digest,
    },
    /// Runs a stage on a clean clone of a commit.
    Stage {
        /// The commit.
        commit: Oid,
        /// Whether the default branch has it. What a stage of another commit leaves must
        /// never be in a cache that later proofs read.
        landed: bool,
    },
    /// Runs a hook in the run's clone.
    Hook,
}

/// One command of a reset, in their order: none loses what the ones before it kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResetStep {
    /// Removes the locks that a git which was killed left behind. Alone it is done before a
    /// turn that follows one that was killed.
    Unlock,
    /// Aborts what a git had begun and not finished, such as a rebase.
    Abandon,
    /// Adds every file that is not ignored to the index.
    Add,
    /// Commits the index on top of what is checked out.
    Commit,
    /// Sets branch, index and files to this commit.
    Checkout {
        /// Which.
        onto: Oid,
    },
    /// Removes files that this commit does not know; ignored ones stay.
    Clean {
        /// Which.
        onto: Oid,
    },
}

/// A job to be started.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its key.
    pub key: JobKey,
    /// The run.
    pub run: RunId,
    /// The repo.
    pub repo: RepoName,
    /// What it works on.
    pub kind: JobKind,
    /// The command; empty where the kind implies it.
    pub argv: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether it reaches the network.
    pub network: bool,
}

/// The state of a job.
#[derive(Debug, Clone)]
pub enum JobState {
    /// There is none.
    Absent,
    /// At work.
    Running,
    /// Over.
    Ended(JobEnd),
    /// Its host died, and everything it had started is gone.
    Lost,
}

/// What a job may use only so much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// Time.
    Time,
    /// Memory.
    Memory,
    /// Processes and their threads.
    Processes,
    /// Output.
    Output,
}

/// How a job ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobEnd {
    /// The exit code; none where it did not exit by itself.
    pub code: Option<i32>,
    /// Why it did not exit by itself: a timeout, a signal, a limit.
    pub could_not_run: Option<String>,
    /// Which limit that was, where it was one: then the end is its own, and no fault of the machine.
    pub limit: Option<Limit>,
    /// Whether we stopped it.
    pub stopped: bool,
    /// The whole of standard output, bounded; where it failed its tail is shown.
    pub stdout: Vec<u8>,
    /// The end of both streams, for people, bounded.
    pub tail: String,
    /// When it started and ended.
    pub span: (At, At),
    /// The strength of the sandbox it ran in.
    pub sandbox: String,
}

/// Long work other than turns.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Whether jobs could be run here: the sandbox is as strong as it must be, and the disk has
    /// room. Reads only, within a moment; an error says how to mend what is missing.
    async fn ready(&self) -> PortResult<()>;
    /// How many jobs of one proof are run side by side. Touches nothing.
    fn side_by_side(&self) -> usize;
    /// Starts the job, or finds it by its key. One that judges a tree or fetches for it stays absent
    /// while as many of all runs are at work as there are places for.
    async fn start(&self, job: &Job) -> PortResult<()>;
    /// The state of the job.
    async fn observe(&self, run: RunId, key: &JobKey) -> PortResult<JobState>;
    /// A file that the job left in its folder; none where there is no such plain file.
    async fn left(&self, run: RunId, key: &JobKey, file: &Path) -> PortResult<Option<Vec<u8>>>;
    /// Whether what was fetched for `repo` under this key is kept.
    async fn fetched(&self, repo: &RepoName, key: &Digest) -> PortResult<bool>;
    /// Keeps what a [`JobKind::Fetch`] that is over has brought, but nothing that a program would
    /// run because it lies in a cache. Fine to repeat. False if it is gone.
    async fn keep_fetched(&self, job: &Job) -> PortResult<bool>;
    /// The keys of everything of `run` that is alive on this machine, turns included.
    async fn alive(&self, run: RunId) -> PortResult<Vec<JobKey>>;
    /// Stops everything of `run` that is alive on this machine; returns when it was told.
    async fn stop(&self, run: RunId) -> PortResult<()>;
    /// Tells the hosts of `run` that a control plane is still there.
    async fn renew(&self, run: RunId) -> PortResult<()>;
    /// Returns when something of `run` may have ended, or there is a place for what was not started
    /// for want of one, or after `at_most`.
    async fn changed(&self, run: RunId, at_most: Duration);
    /// Removes what is left of jobs of runs that are neither `live` nor kept, what was fetched and not
    /// used for long, and build caches past their limit, but none of a repo that is `busy`; gives of
    /// how many runs.
    async fn sweep(&self, live: &BTreeSet<RunId>, busy: &BTreeSet<RepoName>) -> PortResult<u32>;
    /// Forgets a job that is over, so that its key may be used again.
    async fn forget(&self, run: RunId, key: &JobKey) -> PortResult<()>;
}
