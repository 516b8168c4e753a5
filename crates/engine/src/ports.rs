//! What the engine needs of the world. Adapters implement these traits; the engine knows nothing
//! else of the world.
//!
//! Every call may fail, answer late or be repeated. A call that creates something takes the key by
//! which it is found again, so that calling twice creates one.

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
pub use git::{CommitSpec, CommitText, Fetched, FileAt, Git, Merge, Prepared, Push, Tried};
pub use jobs::{
    Executor, Job, JobEnd, JobKind, JobState, Jobs, Limit, ResetStep, Transcript, TurnReport,
    TurnRequest,
};
pub use pulls::{PullRequests, PullSpec};
pub use stages::{StageQuery, StageReport, Stages};
pub use store::{
    Admission, AdmitLimits, AdmitRefusal, Commit, Committed, DayCaps, DoorbellSend, Filter, Freeze,
    JournalRow, LiveRun, Looked, MemoKey, OpenRequest, Outgoing, Page, Requested, Spent, Store,
    StoredRun, Switch, SwitchState, Switches,
};
pub use tracker::{ByRepo, IssueView, Labels, Tracker};

/// The time, and waiting for it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> At;
    /// Returns at `at` or later.
    async fn sleep_until(&self, at: At);
}

/// Ids that are not derived.
pub trait Ids: Send + Sync {
    /// A fresh run id.
    fn run(&self) -> RunId;
}

/// The configuration in force.
pub trait Settings: Send + Sync {
    /// The last valid configuration, and why dispatch pauses if the newest file is invalid.
    fn current(&self) -> (Arc<Policy>, Option<String>);
}

/// The doorbells of the configuration, or those of one kind, each by its name.
#[async_trait]
pub trait Doorbells: Send + Sync {
    /// Rings the doorbell of that name; done again, under the same stable id, until it
    /// answered well once. A name that is not configured any more is not found.
    async fn ring(&self, name: &str, doorbell: &Doorbell) -> PortResult<()>;
}

/// Where evidence bundles and transcripts are kept, which outlive their runs.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Keeps the bundle, replacing an earlier one.
    async fn keep(&self, evidence: &Evidence) -> PortResult<()>;
    /// Removes kept transcripts, oldest first, past the configured limit; returns how many.
    async fn prune(&self) -> PortResult<u32>;
}

/// Journals as they were hashed, for bundles that contain them.
#[async_trait]
pub trait Journals: Send + Sync {
    /// Every row of the run's journal, oldest first.
    async fn chain(&self, run: RunId) -> PortResult<Vec<Link>>;
}

/// What an adapter keeps between processes, such as the thread that it opened for a run. All of it
/// is derived and may vanish: whoever finds nothing makes it again.
#[async_trait]
pub trait Notes: Send + Sync {
    /// The note of that key, if there is one. A kind belongs to one adapter.
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

/// Where secrets come from. Each is read when it is used, so that a rotated one takes effect at
/// once.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The secret, without trailing white space. An error only names the source.
    async fn read(&self, source: &SecretSource) -> PortResult<SecretString>;
}

/// All the ports of an engine.
#[derive(Clone)]
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// The configuration.
    pub settings: Arc<dyn Settings>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The trackers.
    pub tracker: Arc<dyn Tracker>,
    /// The executors.
    pub executor: Arc<dyn Executor>,
    /// Long work other than turns.
    pub jobs: Arc<dyn Jobs>,
    /// The stages that are polled.
    pub stages: Arc<dyn Stages>,
    /// Pull requests.
    pub pulls: Arc<dyn PullRequests>,
    /// Mirrors, workspaces and the default branch.
    pub git: Arc<dyn Git>,
    /// The doorbells.
    pub doorbells: Arc<dyn Doorbells>,
    /// The evidence.
    pub archive: Arc<dyn Archive>,
}
