//! The engine's ports over a [`World`], for tests of the loop.
//!
//! Each call is written down by name, may be told to fail once, and then asks the
//! world. No decision is taken here.

mod long;
mod outside;
mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use afk_engine::ports::{PortError, PortResult, Ports};
use jiff::SignedDuration;
use tokio::sync::watch;

use crate::world::{Fault, When, World};

/// What a task ends with when the process is made to die in it.
#[derive(Debug)]
pub struct Killed;

/// A world that ports share.
#[derive(Clone)]
pub struct Sim {
    world: Arc<Mutex<World>>,
    /// Counts the steps of time, for those who sleep.
    ticks: Arc<watch::Sender<u64>>,
}

impl Sim {
    /// Shares `world`.
    pub fn new(world: World) -> Self {
        let (ticks, _) = watch::channel(0);
        Self { world: Arc::new(Mutex::new(world)), ticks: Arc::new(ticks) }
    }

    /// The ports over it.
    pub fn ports(&self) -> Ports {
        let sim = Arc::new(self.clone());
        Ports {
            clock: sim.clone(),
            ids: sim.clone(),
            settings: sim.clone(),
            store: sim.clone(),
            tracker: sim.clone(),
            executor: sim.clone(),
            jobs: sim.clone(),
            git: sim.clone(),
            notifier: sim.clone(),
            archive: sim,
        }
    }

    /// Looks at the world, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.lock())
    }

    /// Lets time pass, and wakes who sleeps.
    pub fn advance(&self, by: SignedDuration) {
        self.lock().advance(by);
        self.ticks.send_modify(|ticks| *ticks += 1);
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One port call: written down, failed if that was asked for, else done.
    fn call<T>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut World) -> PortResult<T>,
    ) -> PortResult<T> {
        let mut world = self.lock();
        let Some(fault) = world.enter(name) else { return act(&mut world) };
        if fault.when == When::After {
            // Whatever it answers is lost.
            let _ = act(&mut world);
        }
        if fault.kills {
            drop(world);
            std::panic::resume_unwind(Box::new(Killed));
        }
        Err(PortError::transient(format!("{name} failed: {:?}", fault.when)))
    }
}

impl World {
    /// Writes a call down; the fault that it must suffer.
    fn enter(&mut self, name: &'static str) -> Option<Fault> {
        if let Some(only) = self.only {
            assert!(name.starts_with(only), "{name} was called, and only {only} may be");
        }
        let n = self.calls.len();
        self.calls.push(name);
        self.fault.filter(|fault| fault.call == n)
    }
}
