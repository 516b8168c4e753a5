//! One world for tests: trackers, agents, jobs, git, the store and doorbells, all as plain data.
//!
//! The data is separate from the ports (`crate::fakes`), so that other ports may be built over the
//! same world. It is deterministic: the same calls give the same ids and the same bytes. It is
//! strict: a call that no real system would accept is refused and recorded in [`World::wrong`],
//! which every test expects to be empty. Nothing happens by itself: a test lets agents and jobs
//! work with [`World::step`].

mod agents;
mod far;
mod git;
mod hooks;
mod jobs;
mod limits;
mod others;
mod outbox;
mod pulls;
mod stages;
mod store;
mod tracker;
mod workspaces;

use std::collections::BTreeSet;

use afk_core::config::Policy;
use afk_core::evidence::Evidence;
use afk_core::ids::{At, RepoName, RunId};
use jiff::SignedDuration;

pub use agents::{Act, AgentTurn, Agents, Asks, Script, TurnState};
pub use git::{Files, GitCommit, GitWorld, PushFate};
pub use hooks::{Hook, HookSays, HookWorld, ReceivedHook};
#[cfg(feature = "stories")]
pub(crate) use jobs::{BREAKS, VOIDS};
pub use jobs::{JobRecord, JobWorld};
pub use limits::{Limits, TrackerCall};
pub use others::Claimed;
pub use outbox::{Doorbells, Hold, Send};
pub use pulls::{PullRecord, PullWorld};
pub use stages::{Poll, Says, StageWorld};
pub use store::{KeptRun, Lease, Row, StoreWorld};
pub use tracker::own;
pub use tracker::{IssueRecord, TrackerWorld, person};
pub use workspaces::Workspace;

/// Everything outside the loop.
#[derive(Debug, Clone)]
pub struct World {
    /// The current time, which stands still until somebody moves it.
    pub now: At,
    /// How much time has passed. A clock that is set back takes nothing off, as with the clock by
    /// which real processes sleep.
    pub passed: SignedDuration,
    /// The configuration in force.
    pub config: Policy,
    /// What is wrong with the newest configuration file, where [`World::config`] is an older one.
    pub bad_config: Option<String>,
    /// Runs, journals, leases, switches and the outbox.
    pub store: StoreWorld,
    /// Every repo's issues.
    pub tracker: TrackerWorld,
    /// Webhooks that the forges would send, and which of them were received.
    pub hooks: HookWorld,
    /// The agents and their turns.
    pub agents: Agents,
    /// Jobs, which are all long work but turns.
    pub jobs: JobWorld,
    /// The stages that are polled.
    pub stages: StageWorld,
    /// Pull requests.
    pub pulls: PullWorld,
    /// Remotes, mirrors and workspaces.
    pub git: GitWorld,
    /// The doorbells.
    pub doorbells: Doorbells,
    /// Every evidence bundle that was kept, oldest first; one that was kept twice is there twice.
    pub archive: Vec<Evidence>,
    /// The name of every port call, in order.
    pub calls: Vec<&'static str>,
    /// The one call that fails.
    pub fault: Option<Fault>,
    /// Names of calls that fail with a transient error, each time.
    pub broken: BTreeSet<&'static str>,
    /// Names of calls that fail with a permanent error, each time.
    pub refusing: BTreeSet<&'static str>,
    /// Calls that are never answered while this holds a prefix of their name.
    pub hanging: BTreeSet<&'static str>,
    /// The fault that the loop is made to have, if any.
    pub bad: Option<crate::fakes::Bad>,
    /// Only ports whose name starts with this may be called; any other panics.
    pub only: Option<&'static str>,
    /// Calls that no real system would accept. Empty at the end of every good story.
    pub wrong: Vec<String>,
    run_ids: u64,
}

/// A failure of one port call, by its place in [`World::calls`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Index in [`World::calls`] of the call that fails, from 0.
    pub call: usize,
    /// Whether the call has its effect before it fails.
    pub when: When,
    /// Whether the process dies, instead of getting an error.
    pub kills: bool,
}

/// When a failing call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before it did anything.
    Before,
    /// After its effect: only the answer is lost.
    After,
}

impl World {
    /// An empty world under `config`, at `now`.
    pub fn new(config: Policy, now: At) -> Self {
        Self {
            now,
            passed: SignedDuration::ZERO,
            config,
            bad_config: None,
            store: StoreWorld::default(),
            tracker: TrackerWorld::default(),
            hooks: HookWorld::default(),
            agents: Agents::default(),
            jobs: JobWorld::default(),
            stages: StageWorld::default(),
            pulls: PullWorld::default(),
            git: GitWorld::default(),
            doorbells: Doorbells::default(),
            archive: Vec::new(),
            calls: Vec::new(),
            fault: None,
            broken: BTreeSet::new(),
            refusing: BTreeSet::new(),
            hanging: BTreeSet::new(),
            bad: None,
            only: None,
            wrong: Vec::new(),
            run_ids: 0,
        }
    }

    /// Returns a new run id. Its first bits are a counter, where real ids have the time.
    pub fn fresh_run(&mut self) -> RunId {
        self.run_ids += 1;
        RunId::new(uuid::Uuid::from_u128((u128::from(self.run_ids) << 96) | 7))
    }

    /// Lets every agent, job and stage do its work and end, unless it hangs, and people merge pull
    /// requests if [`PullWorld::merging`] is set.
    pub fn step(&mut self) {
        self.step_turns();
        self.step_jobs();
        self.stages.step();
        self.step_pulls();
    }

    /// Moves the clock on, or sets it back if `by` is negative.
    pub fn advance(&mut self, by: SignedDuration) {
        self.passed += by.max(SignedDuration::ZERO);
        self.now = self.now.checked_add(by).unwrap_or(At::MAX);
    }

    /// Makes the trackers of these repos, and of no others, fail to answer.
    pub fn mute_trackers(&mut self, repos: impl IntoIterator<Item = RepoName>) {
        self.tracker.mute = repos.into_iter().collect::<BTreeSet<_>>();
    }

    pub(crate) fn complain(&mut self, what: String) -> afk_engine::ports::PortError {
        self.wrong.push(what.clone());
        afk_engine::ports::PortError::permanent(what)
    }
}
