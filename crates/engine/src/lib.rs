//! The engine: passes that observe, plan and act, and the driver that wakes them.
//!
//! The engine does all I/O through [`ports`]. A *tick* admits runs for ready issues; a *pass* works
//! one run; the [`driver`] gives each live run a task of its own, so that a failing repo affects no
//! other. Everything is level-triggered: any pass may be the first after a crash.
//!
//! Reading order: [`pass`], then [`dispatch`], then [`driver`].

mod bounds;
mod comments;
pub mod dispatch;
pub mod driver;
pub mod housekeeping;
mod limits;
pub mod outbox;
mod paced;
pub mod pages;
pub mod pass;
pub mod ports;
mod requests;
pub mod router;
pub mod show;
pub mod switches;
mod wakes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use afk_core::ids::RepoName;
use afk_core::steer::CommentsRead;
use afk_core::trouble::Troubles;
use driver::OwnWork;
use limits::Limited;
use paced::Paced;
use ports::Ports;
use requests::NewestRequests;
use wakes::Wakes;

/// The control loop over one set of ports. Clones share all state.
#[derive(Clone)]
pub struct Engine {
    ports: Ports,
    /// The polled stages of the ports, with a pause between two polls.
    stages: Arc<Paced>,
    /// This process's name in leases; unique to it.
    owner: Arc<str>,
    /// Repos that recently could not be read, and when to try each again.
    troubles: Arc<Mutex<Troubles>>,
    /// Whether agents, jobs and git remotes were usable when they were last checked.
    findings: Arc<Mutex<dispatch::Findings>>,
    /// The tracker of the ports with its concrete type, for calls that read many repos at once.
    trackers: Arc<Limited>,
    /// Comments that were followed already, by repo.
    comments_read: Arc<Mutex<CommentsRead>>,
    /// Wake-ups by repo; one ends the waits of that repo's runs and trackers.
    wakes: Arc<Wakes>,
    /// The newest request to each run; a new one ends that run's wait.
    requests: Arc<NewestRequests>,
    /// The runs that this process works, and when it was awake.
    own: Arc<Mutex<OwnWork>>,
    /// Changes and trees of candidates that are being judged, kept from pass to pass.
    candidate_cache: Arc<Mutex<pass::CandidateCache>>,
}

impl Engine {
    /// Creates an engine over `ports` that holds leases as `owner`.
    pub fn new(mut ports: Ports, owner: &str) -> Self {
        let trackers = Arc::new(Limited::new(ports.tracker, Arc::clone(&ports.clock)));
        ports.tracker = trackers.clone();
        let stages = Paced::new(Arc::clone(&ports.stages), Arc::clone(&ports.clock));
        Self {
            ports,
            stages: Arc::new(stages),
            owner: owner.into(),
            troubles: Arc::default(),
            findings: Arc::default(),
            trackers,
            comments_read: Arc::default(),
            wakes: Arc::default(),
            requests: Arc::default(),
            own: Arc::default(),
            candidate_cache: Arc::default(),
        }
    }

    /// Tells the engine that something happened in `repo`: whatever waits for it reads now. Cheap,
    /// and safe to call at any rate; a repo that is not configured is ignored.
    pub fn wake(&self, repo: &RepoName) {
        let (config, _) = self.ports.settings.current();
        if config.repos.contains_key(repo) {
            self.stages.wake(repo);
            self.wakes.wake(repo);
        }
    }

    /// Returns the ports that the engine works through.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    fn comments_read(&self) -> MutexGuard<'_, CommentsRead> {
        self.comments_read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, OwnWork> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn candidate_cache(&self) -> MutexGuard<'_, pass::CandidateCache> {
        self.candidate_cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn findings(&self) -> MutexGuard<'_, dispatch::Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks and returns the repos that recently could not be read.
    pub fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
