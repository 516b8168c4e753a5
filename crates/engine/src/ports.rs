//! The traits through which the engine reaches everything outside it. Adapters implement them.
//!
//! Every call may fail, answer late or be repeated. A call that creates something takes the key
//! under which it is found again, so that calling twice creates one.

mod error;
mod git;
mod jobs;
mod pulls;
mod stages;
mod store;
mod tracker;

use std::sync::Arc;

use afk_core::chain::Link;
use afk_core::config::Policy;
use afk_core::doorbell::Doorbell;
use afk_core::evidence::Evidence;
use afk_core::ids::{At, RunId};
use afk_core::secret::SecretSource;
use async_trait::async_trait;
use secrecy::SecretString;

pub use error::{PortError, PortErrorKind, PortResult};
pub use git::{
    CommitSpec, CommitText, FetchedHead, FileAt, Git, LandingSearch, Merge, Prepared, Push,
};
pub use jobs::{
    Executor, Job, JobEnd, JobKind, JobState, Jobs, Limit, ResetStep, Transcript, TurnReport,
    TurnRequest, run_and_turn,
};
pub use pulls::{PullRequests, PullSpec};
pub use stages::{StageQuery, StageReport, Stages};
pub use store::{
    Admission, AdmitLimits, AdmitRefusal, CheckSpan, Commit, Committed, DayCaps, DoorbellSend,
    Filter, Freeze, JournalRow, LiveRun, MemoKey, OpenRequest, Outgoing, Page, Requested, Spent,
    Store, StoredRun, Switch, SwitchState, Switches,
};
pub use tracker::{ByRepo, IssueView, Labels, Tracker};

/// The clock: all time and all waiting in the engine goes through it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> At;
    /// Returns at `at` or later.
    async fn sleep_until(&self, at: At);
}

/// Makes the ids that cannot be derived from anything else: those of runs.
pub trait Ids: Send + Sync {
    /// Returns a fresh run id.
    fn run(&self) -> RunId;
}

/// The configuration in force.
pub trait Settings: Send + Sync {
    /// Returns the last valid configuration, and what is wrong with the newest file if that is
    /// invalid. Nothing is dispatched while it is.
    fn current(&self) -> (Arc<Policy>, Option<String>);
}

/// Rings doorbells by their names in the configuration. Implemented for all of them
/// ([`crate::router::RoutedDoorbells`]) and for those of one kind.
#[async_trait]
pub trait Doorbells: Send + Sync {
    /// Delivers the message `doorbell` by the doorbell called `name`. The outbox repeats the call,
    /// with the same `doorbell.id`, until one succeeds. The error is `NotFound` if no doorbell of
    /// that name is configured any more.
    async fn ring(&self, name: &str, doorbell: &Doorbell) -> PortResult<()>;
}

/// Keeps evidence bundles and transcripts, which outlive their runs.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Keeps the bundle, replacing an earlier one of the same run.
    async fn keep(&self, evidence: &Evidence) -> PortResult<()>;
    /// Removes kept transcripts, oldest first, past the configured limit; returns how many.
    async fn prune(&self) -> PortResult<u32>;
}

/// Reads journals byte for byte as they were hashed, for evidence bundles that contain them.
#[async_trait]
pub trait Journals: Send + Sync {
    /// Returns every row of the run's journal, oldest first.
    async fn chain(&self, run: RunId) -> PortResult<Vec<Link>>;
}

/// Notes that an adapter keeps across processes, such as the thread that it opened for a run. A
/// note is derived data and may vanish: an adapter that finds none derives it again.
#[async_trait]
pub trait Notes: Send + Sync {
    /// Returns the note under `key`, if there is one. Each `kind` belongs to one adapter.
    async fn read(&self, kind: &str, key: &str) -> PortResult<Option<serde_json::Value>>;
    /// Writes the note, replacing an older one.
    async fn write(
        &self,
        kind: &str,
        key: &str,
        value: &serde_json::Value,
        now: At,
    ) -> PortResult<()>;
}

/// Reads secrets from their sources. A secret is read each time it is used, so that a rotated one
/// takes effect at once.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Returns the secret, without trailing white space. An error names only the source.
    async fn read(&self, source: &SecretSource) -> PortResult<SecretString>;
}

/// All the ports of an engine.
#[derive(Clone)]
pub struct Ports {
    /// The time, and waiting for it.
    pub clock: Arc<dyn Clock>,
    /// Fresh run ids.
    pub ids: Arc<dyn Ids>,
    /// The configuration in force.
    pub settings: Arc<dyn Settings>,
    /// Runs, journal, outbox, leases and switches.
    pub store: Arc<dyn Store>,
    /// The issue trackers of all repos.
    pub tracker: Arc<dyn Tracker>,
    /// The executors of all repos, which run agents' turns.
    pub executor: Arc<dyn Executor>,
    /// Long work other than turns: checks of candidates, stages that run a command, hooks.
    pub jobs: Arc<dyn Jobs>,
    /// The stages that are polled, such as CI and deployments.
    pub stages: Arc<dyn Stages>,
    /// Pull requests, for repos whose landing people decide.
    pub pulls: Arc<dyn PullRequests>,
    /// Mirrors, workspaces and the default branch.
    pub git: Arc<dyn Git>,
    /// The doorbells of the configuration.
    pub doorbells: Arc<dyn Doorbells>,
    /// Evidence bundles and kept transcripts.
    pub archive: Arc<dyn Archive>,
}
