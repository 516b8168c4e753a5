//! The engine: passes that observe, plan and act, and the driver that wakes them.
//!
//! Knows the world only through [`ports`]. A *tick* admits new issues; a *pass* works one run; the
//! [`driver`] gives each live run a task of its own, so that a failing repo affects no other.
//! Everything is level-triggered: any pass may be the first after a crash.
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

/// The loop, over one set of ports.
#[derive(Clone)]
pub struct Engine {
    ports: Ports,
    /// Stages that are polled, with pauses.
    stages: Arc<Paced>,
    /// Our name in leases, unique for each process.
    owner: Arc<str>,
    /// Repos that recently could not be read.
    troubles: Arc<Mutex<Troubles>>,
    /// Recent findings about what runs need.
    findings: Arc<Mutex<dispatch::Findings>>,
    /// The same trackers as in the ports, for reading many repos.
    trackers: Arc<Limited>,
    /// Comments that were read already.
    comments_read: Arc<Mutex<CommentsRead>>,
    /// Repos that something happened in, which ends waits.
    wakes: Arc<Wakes>,
    /// Requests, which end waits.
    requests: Arc<NewestRequests>,
    /// The runs that this process works, and when it was awake.
    own: Arc<Mutex<OwnWork>>,
    /// What was read of candidates that are being judged.
    judged: Arc<Mutex<pass::Judged>>,
}

impl Engine {
    /// An engine over `ports` that uses `owner` in its leases.
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
            judged: Arc::default(),
        }
    }

    /// Something happened in `repo`: whatever waits for it reads now. Cheap, and may be called as
    /// often as anybody likes.
    pub fn wake(&self, repo: &RepoName) {
        let (config, _) = self.ports.settings.current();
        if config.repos.contains_key(repo) {
            self.stages.wake(repo);
            self.wakes.wake(repo);
        }
    }

    /// The ports that it works through.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    fn comments_read(&self) -> MutexGuard<'_, CommentsRead> {
        self.comments_read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, OwnWork> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judged(&self) -> MutexGuard<'_, pass::Judged> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn findings(&self) -> MutexGuard<'_, dispatch::Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The repos that recently could not be read.
    pub fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
