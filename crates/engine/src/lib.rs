//! The engine: passes that observe, plan and act, and the driver that wakes them.
//!
//! Knows the world only through [`ports`]. A *tick* admits new issues; a *pass*
//! works one run; the [`driver`] gives each live run a task of its own, so that
//! one repo's trouble stays its own. Everything is level-triggered: any pass may
//! be the first after a crash.
//!
//! Reading order: [`pass`], then [`tick`], then [`driver`].

pub mod dispatch;
pub mod driver;
pub mod house;
pub mod outbox;
pub mod pages;
pub mod pass;
pub mod ports;
pub mod show;
pub mod switches;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use afk_core::ids::{At, RunId};
use afk_core::trouble::Troubles;
use ports::Ports;

/// The id of our own account where the tracker is local; forges tell theirs.
pub const OWN_ACCOUNT: &str = "afk";

/// The loop, over one set of ports.
#[derive(Clone)]
pub struct Engine {
    ports: Ports,
    /// Who we are in leases: one name a process.
    owner: Arc<str>,
    /// Runs that are being stopped, and since when: what an interrupt cannot stop
    /// is given up on after a grace.
    stopping: Arc<Mutex<HashMap<RunId, At>>>,
    /// Repos that could not be read of late.
    troubles: Arc<Mutex<Troubles>>,
}

impl Engine {
    /// An engine over `ports` that signs its leases with `owner`.
    pub fn new(ports: Ports, owner: &str) -> Self {
        Self { ports, owner: owner.into(), stopping: Arc::default(), troubles: Arc::default() }
    }

    /// The ports that it works through.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The repos that could not be read of late.
    pub fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping_since(&self, run: RunId) -> Option<At> {
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner).get(&run).copied()
    }

    fn note_stopping(&self, run: RunId, now: At) {
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner).entry(run).or_insert(now);
    }

    fn forget_stopping(&self, run: RunId) {
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
    }
}
