//! Long work: an agent's turns, and the jobs that judge what a turn left.
//!
//! Each is started under a key, and found under it when it is started again, so that it never runs
//! twice. It outlives the control plane that started it; the next one finds it by the same key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use afk_core::ask::{Answer, PendingQuestion};
use afk_core::change::TreePath;
use afk_core::checkout::{Checkout, Machine};
use afk_core::digest::Digest;
use afk_core::ids::{At, JobKey, JobOf, Oid, RepoName, RunId, ThreadId};
use afk_core::network::AgentNetwork;
use afk_core::run::{TurnCost, TurnSeen};
use afk_core::usd::Usd;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{PortError, PortResult};

/// A turn to be started.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// The key under which the turn is found again.
    pub key: JobKey,
    /// The run that the turn belongs to.
    pub run: RunId,
    /// The run's repo, whose configuration names the executor.
    pub repo: RepoName,
    /// The run's thread: the conversation that all its turns continue.
    pub thread: ThreadId,
    /// The turn's number, from 1.
    pub n: u32,
    /// What the agent is asked on the thread as it stands.
    pub prompt: String,
    /// The same with rules and issue, for when the thread has to be opened anew.
    pub opening_prompt: String,
    /// The most that the turn may cost.
    pub budget: Usd,
    /// How long the turn may take, counted from its start.
    pub deadline: Duration,
    /// The network that the repo allows the agent; the executor's own configuration may allow less.
    pub network: AgentNetwork,
}

/// A turn as its executor shows it: what the loop decides on, and what people watch live.
#[derive(Debug, Clone)]
pub struct TurnReport {
    /// The state of the turn, which the loop decides on.
    pub seen: TurnSeen,
    /// Tokens so far: into the model, and out of it.
    pub tokens: (u64, u64),
    /// Cost so far; none if it is not known.
    pub cost: Option<Usd>,
    /// Cost of what the turn has streamed so far, at list prices; none if that is not known, or if
    /// the turn is over.
    pub streamed: Option<TurnCost>,
    /// The last thing that the agent said or did, as one short line.
    pub last: Option<String>,
    /// Where people can watch the thread and steer it, if anywhere.
    pub link: Option<String>,
    /// SHA-256 of the transcript so far, in hex, once the turn is over.
    pub transcript: Option<String>,
}

impl TurnReport {
    /// Returns the agent's open questions, oldest first.
    pub fn asks(&self) -> &[PendingQuestion] {
        match &self.seen {
            TurnSeen::Running { asks, .. } => asks,
            TurnSeen::Absent | TurnSeen::Ended { .. } | TurnSeen::Unknown => &[],
        }
    }
}

/// A part of what an agent wrote in a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// The kind of agent that wrote the lines, by its executor's name for it. It tells a reader in
    /// which format they are.
    pub agent: String,
    /// A bounded part of the lines, which may begin and end within one; empty where nothing more
    /// has been written so far.
    pub bytes: Vec<u8>,
    /// How many bytes are missing in the middle of the turn, where a note stands in their place:
    /// the size of a transcript that outlives its workspace is bounded.
    pub cut: u64,
}

/// Runs the turns of agents.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Returns where its agents work on `repo`, which determines who lands. Does no I/O.
    fn checkout(&self, repo: &RepoName) -> PortResult<Checkout>;
    /// Returns the machine that its agents work on for `repo`. Does no I/O.
    fn machine(&self, _repo: &RepoName) -> PortResult<Machine> {
        Ok(Machine::This)
    }
    /// Checks whether a turn could be started for `repo`: the agent's program is there and, as far
    /// as that can be told without asking the model, signed in. Reads only, and within seconds; the
    /// error says how to fix what is missing.
    async fn ready(&self, repo: &RepoName) -> PortResult<()>;
    /// Starts the turn; does nothing if it was started under this key before.
    async fn start(&self, turn: &TurnRequest) -> PortResult<()>;
    /// Returns the state of the turn.
    async fn observe(&self, repo: &RepoName, key: &JobKey) -> PortResult<TurnReport>;
    /// Answers the question that the agent asked as `request`. Safe to repeat: the first answer
    /// counts, and one to a question that is no longer open is ignored.
    async fn answer(
        &self,
        repo: &RepoName,
        key: &JobKey,
        request: &str,
        answer: &Answer,
    ) -> PortResult<()>;
    /// Tells the turn to stop; returns within a moment. A repeated call may use stronger means.
    async fn interrupt(&self, repo: &RepoName, key: &JobKey) -> PortResult<()>;
    /// Returns the keys of the turns of `run` that are at work somewhere else than on this machine,
    /// whose own are in [`Jobs::alive`]. A turn that was told to stop, or that says it is over,
    /// is alive for as long as its agent may still do something.
    async fn alive(&self, repo: &RepoName, run: RunId) -> PortResult<Vec<JobKey>>;
    /// Tells every turn that [`Executor::alive`] lists to stop; returns once they are told. A
    /// repeated call may use stronger means.
    async fn stop(&self, repo: &RepoName, run: RunId) -> PortResult<()>;
    /// Returns a part of what the agent wrote in the turn, from byte `offset` on; none if the turn
    /// has not begun, or if nothing of it is kept. Reads only, from the workspace or from what was
    /// kept of it.
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
    /// Does one step of resetting the run's clone, in which nothing is at work.
    Reset {
        /// The step.
        step: ResetStep,
    },
    /// Runs a command on a fresh checkout of a tree, to judge it.
    Judge {
        /// The id of the tree.
        tree: Oid,
        /// The commit whose history and tags the checkout has; none for a checkout without `.git`.
        history: Option<Oid>,
        /// The key of the fetched files that the box gets, see [`Jobs::keep_fetched`]; none if
        /// nothing is fetched for the repo.
        fetched: Option<Digest>,
    },
    /// Downloads what a tree needs from outside, such as its dependencies. The box has a network,
    /// an empty home, and a checkout in which only some files have their content, so that no code
    /// of the repository runs in it.
    Fetch {
        /// The id of the tree.
        tree: Oid,
        /// The files that have their content, and whether each is executable.
        reads: BTreeMap<TreePath, bool>,
        /// The key under which the result is kept.
        key: Digest,
    },
    /// Runs a stage on a clean clone of a commit.
    Stage {
        /// The commit.
        commit: Oid,
        /// Whether the default branch has the commit. What a stage of any other commit leaves must
        /// never get into a cache that later proofs read.
        landed: bool,
    },
    /// Runs a hook in the run's clone.
    Hook,
}

/// One command of a reset. The variants are in the order in which a reset does them: no step loses
/// what an earlier one kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResetStep {
    /// Removes the lock files of a git that was killed. This step is also done alone, before a turn
    /// that follows a killed one.
    Unlock,
    /// Aborts an operation that git began and did not finish, such as a rebase.
    Abandon,
    /// Adds every file that is not ignored to the index.
    Add,
    /// Commits the index on top of what is checked out.
    Commit,
    /// Sets branch, index and files to a commit.
    Checkout {
        /// That commit.
        onto: Oid,
    },
    /// Removes files that a commit does not have; ignored ones stay.
    Clean {
        /// That commit.
        onto: Oid,
    },
}

/// A job to be started.
#[derive(Debug, Clone)]
pub struct Job {
    /// The key under which the job is found again.
    pub key: JobKey,
    /// The run that the job belongs to.
    pub run: RunId,
    /// The run's repo.
    pub repo: RepoName,
    /// What the job works on.
    pub kind: JobKind,
    /// The command and its arguments; empty where the kind implies them.
    pub argv: Vec<String>,
    /// How long the job may run before it is stopped.
    pub timeout: Duration,
    /// Whether its box has a network.
    pub network: bool,
}

/// The state of a job.
#[derive(Debug, Clone)]
pub enum JobState {
    /// No job has this key: it was not started, or it was forgotten.
    Absent,
    /// The job is at work.
    Running,
    /// The job is over.
    Ended(JobEnd),
    /// The job has no result, and nothing of it is at work: its host died, or it never ran because
    /// of something that is no fault of its own.
    Lost,
}

/// A resource of which a job may use a limited amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// Running time: [`Job::timeout`].
    Time,
    /// Memory of all its processes together.
    Memory,
    /// The number of its processes and their threads.
    Processes,
    /// The size of its output.
    Output,
}

/// How a job ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobEnd {
    /// The exit code, or 128 + n after a signal n that was not ours; none if the job was ended from
    /// outside or never began.
    pub code: Option<i32>,
    /// Why there is no exit code, such as a limit, a stop, or a box that could not start.
    pub could_not_run: Option<String>,
    /// The limit that the job exceeded, if one ended it: then the command is to blame, not the
    /// machine.
    pub limit: Option<Limit>,
    /// Whether the control plane stopped the job.
    pub stopped: bool,
    /// Standard output from its beginning, bounded.
    pub stdout: Vec<u8>,
    /// The ends of standard output and standard error as one text for people, bounded.
    pub tail: String,
    /// When the job started and when it ended.
    pub span: (At, At),
    /// The strength of the sandbox that the job ran in, as text for people and for evidence.
    pub sandbox: String,
}

/// Long work other than turns.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Checks whether jobs could run here: the sandbox is as strong as it must be, and the disk has
    /// room. Reads only, and within seconds; the error says how to fix what is missing.
    async fn ready(&self) -> PortResult<()>;
    /// Returns how many jobs of one proof run side by side at most. Does no I/O.
    fn side_by_side(&self) -> usize;
    /// Starts the job; does nothing if it was started under this key before. A job that judges a
    /// tree or fetches for one is not started, and stays absent, while jobs of all runs fill the
    /// machine's places for them.
    async fn start(&self, job: &Job) -> PortResult<()>;
    /// Returns the state of the job.
    async fn observe(&self, run: RunId, key: &JobKey) -> PortResult<JobState>;
    /// Reads a file that the job left in its folder; none if there is no such plain file.
    async fn left(&self, run: RunId, key: &JobKey, file: &Path) -> PortResult<Option<Vec<u8>>>;
    /// Returns whether the files fetched for `repo` under this key are kept.
    async fn fetched(&self, repo: &RepoName, key: &Digest) -> PortResult<bool>;
    /// Keeps what a [`JobKind::Fetch`] that is over has downloaded, except what a program would
    /// execute merely because it lies in a cache. Safe to repeat. False if the files are gone.
    async fn keep_fetched(&self, job: &Job) -> PortResult<bool>;
    /// Returns the keys of everything of `run` that is alive on this machine, turns included.
    async fn alive(&self, run: RunId) -> PortResult<Vec<JobKey>>;
    /// Tells everything of `run` that is alive on this machine to stop; returns once it is told.
    async fn stop(&self, run: RunId) -> PortResult<()>;
    /// Tells the hosts of `run` that a control plane is still there; without that they stop their
    /// jobs after a while.
    async fn renew(&self, run: RunId) -> PortResult<()>;
    /// Returns when something of `run` may have ended, when there is a place for a job that was not
    /// started for lack of one, or after `at_most`.
    async fn changed(&self, run: RunId, at_most: Duration);
    /// Removes the leftovers of jobs whose runs are neither `live` nor kept, fetched files that
    /// have not been used for long, and build caches past their limit, except caches of `busy`
    /// repos. Returns the number of runs whose leftovers were removed.
    async fn sweep(&self, live: &BTreeSet<RunId>, busy: &BTreeSet<RepoName>) -> PortResult<u32>;
    /// Forgets a job that is over, so that its key may be used again.
    async fn forget(&self, run: RunId, key: &JobKey) -> PortResult<()>;
}

/// Returns the run and the turn's number in a turn's key; a permanent error for another key.
pub fn run_and_turn(key: &JobKey) -> PortResult<(RunId, u32)> {
    let turn = key.parts().filter(|(_, of, _)| *of == JobOf::Turn);
    let parts = turn.and_then(|(run, _, n)| Some((run, n.parse().ok()?)));
    parts.ok_or_else(|| PortError::permanent(format!("{key} is not the key of a turn")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_of_a_turn_has_a_turn() {
        let run = RunId::new(uuid::Uuid::from_u128(7));
        let of = |of: JobOf, subject: &str| run_and_turn(&JobKey::new(run, of, subject));
        assert_eq!(of(JobOf::Turn, "3").unwrap(), (run, 3));
        for (kind, subject) in [(JobOf::Thread, "3"), (JobOf::Turn, "x"), (JobOf::Turn, "3.x")] {
            let error = of(kind, subject).unwrap_err();
            assert!(error.to_string().ends_with("is not the key of a turn"), "{error}");
        }
    }
}
