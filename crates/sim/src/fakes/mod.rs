//! The engine's ports over a [`World`], for tests of the loop.
//!
//! Each call is recorded by name, may be told to fail once, and then asks the world. Nothing is
//! decided here.

mod bad;
mod beside;
mod gate;
mod long;
mod outside;
mod store;
mod ticks;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use afk_core::ids::RepoName;
use afk_engine::ports::{PortError, PortErrorKind, PortResult, Ports};
pub use bad::Bad;
pub use beside::{Jumping, MemoryNotes, MemorySecrets};
use gate::Door;
pub use gate::{Fate, Gate, Waiting};
use jiff::SignedDuration;
use ticks::Ticks;

use crate::world::{Fault, When, World};

/// The panic payload of a task in which the process is made to die.
#[derive(Debug)]
pub struct Killed;

/// A world that ports share, and where their calls wait.
#[derive(Clone)]
pub struct Sim {
    world: Arc<Mutex<World>>,
    /// Counts the steps of time, for whoever sleeps.
    ticks: Ticks,
    /// The way through the gate, if somebody lets calls through one by one.
    door: Option<Door>,
    /// Effects of calls that broke off before their effect came.
    late: Arc<Mutex<Vec<Effect>>>,
    /// The repo that the current tracker call is about.
    about: Option<RepoName>,
}

/// An effect that has not come yet.
type Effect = Box<dyn FnOnce(&mut World) + Send>;

/// Reads that another machine answers, which may answer from an old copy.
pub const FAR: [&str; 8] = [
    "tracker.ready",
    "tracker.labelled",
    "tracker.issue",
    "tracker.permission",
    "tracker.blocker",
    "tracker.comments",
    "tracker.comments_since",
    "executor.observe",
];

/// Calls whose effect may come after the call broke off.
pub const LATE: [&str; 2] = ["doorbells.ring", "tracker.comment"];

/// Lists, which may be answered in another order and with every entry twice.
pub const MANY: [&str; 4] =
    ["tracker.ready", "tracker.labelled", "tracker.comments", "tracker.comments_since"];

impl Fate {
    /// Whether this fate makes any difference to the call `name`.
    pub fn bites(self, name: &str) -> bool {
        match self {
            Self::Done => false,
            Self::Late | Self::DiesLate => LATE.contains(&name),
            Self::Stale => FAR.contains(&name),
            Self::Twice => MANY.contains(&name),
            Self::Before(_) | Self::After(_) | Self::DiesBefore | Self::DiesAfter => true,
        }
    }
}

impl Sim {
    /// Ports over `world`, without a gate.
    pub fn new(world: World) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
            ticks: Ticks::default(),
            door: None,
            late: Arc::default(),
            about: None,
        }
    }

    /// The same world for control plane `plane`, whose calls wait at `gate`.
    pub fn behind(&self, gate: &Gate, plane: usize) -> Self {
        Self { door: Some(Door { gate: gate.clone(), plane }), ..self.clone() }
    }

    /// The same world, for a tracker call about `repo`.
    fn about(&self, repo: &RepoName) -> Self {
        Self { about: Some(repo.clone()), ..self.clone() }
    }

    /// The ports over the world.
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
            stages: sim.clone(),
            pulls: sim.clone(),
            git: sim.clone(),
            doorbells: sim.clone(),
            archive: sim,
        }
    }

    /// Looks at the world, or changes it, without a port call.
    pub fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.lock())
    }

    /// Moves the clock on, and wakes everything that sleeps.
    pub fn advance(&self, by: SignedDuration) {
        self.lock().advance(by);
        self.ticks.pass();
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one port call: waits while it is to hang and until the gate lets it through, records
    /// it, and fails it where that was asked for.
    async fn call<T>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut World) -> PortResult<T>,
    ) -> PortResult<T> {
        self.hang(name).await;
        let Some(door) = &self.door else {
            return self.noted(0, name, || self.call_now(name, act));
        };
        let fate = door.enter(name, self.with(|world| world.now)).await;
        self.suffer(door, fate, name, act).await
    }

    /// Makes a call; one to a tracker is recorded there with its answer, too.
    fn noted<T>(
        &self,
        plane: usize,
        name: &'static str,
        call: impl FnOnce() -> PortResult<T>,
    ) -> PortResult<T> {
        let Some(repo) = &self.about else { return call() };
        self.with(|world| world.asks(repo));
        let answer = call();
        let reset = answer.as_ref().err().and_then(PortError::reset);
        self.with(|world| world.asked(plane, name, reset));
        answer
    }

    /// Waits as long as the call `name` is among those that hang.
    async fn hang(&self, name: &str) {
        let hangs = |world: &mut World| world.hanging.iter().any(|begin| name.starts_with(begin));
        while self.with(hangs) {
            self.next_tick().await;
        }
    }

    /// Like [`Sim::call`], for a call whose effect may come after the call broke off.
    async fn effect<T>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut World) -> PortResult<T> + Send + 'static,
    ) -> PortResult<T> {
        self.hang(name).await;
        let Some(door) = &self.door else {
            return self.noted(0, name, || self.call_now(name, act));
        };
        let fate = door.enter(name, self.with(|world| world.now)).await;
        if matches!(fate, Fate::Late | Fate::DiesLate) && LATE.contains(&name) {
            // Its answer will be lost, whatever it is.
            let effect: Effect = Box::new(|world| drop(act(world)));
            self.late.lock().unwrap_or_else(PoisonError::into_inner).push(effect);
            if fate == Fate::DiesLate {
                door.die().await;
            }
            return Err(PortError::transient(format!("{name} was not answered in time")));
        }
        self.suffer(door, fate, name, act).await
    }

    /// Lets the late effects come.
    pub fn happen_late(&self) {
        let late = std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner));
        for effect in late {
            self.with(effect);
        }
    }

    async fn suffer<T>(
        &self,
        door: &Door,
        fate: Fate,
        name: &'static str,
        act: impl FnOnce(&mut World) -> PortResult<T>,
    ) -> PortResult<T> {
        if matches!(fate, Fate::DiesBefore | Fate::DiesAfter | Fate::DiesLate) {
            if fate != Fate::DiesBefore {
                let _ = self.call_now(name, act);
            }
            door.die().await;
            return Err(PortError::transient("the process died"));
        }
        self.noted(door.plane, name, || match fate {
            Fate::Stale if FAR.contains(&name) => {
                self.with(World::swap_stale);
                let answer = self.call_now(name, act);
                self.with(World::swap_stale);
                answer
            }
            Fate::Twice => {
                self.with(|world| world.tracker.twice = true);
                let answer = self.call_now(name, act);
                self.with(|world| world.tracker.twice = false);
                answer
            }
            Fate::Before(kind) => Err(PortError::new(kind, format!("{name} failed"))),
            Fate::After(_) | Fate::Late => {
                let kind = match fate {
                    Fate::After(kind) => kind,
                    _ => PortErrorKind::Transient,
                };
                // Its answer is lost, whatever it is.
                let _ = self.call_now(name, act);
                Err(PortError::new(kind, format!("the answer of {name} was lost")))
            }
            Fate::Done | Fate::Stale | Fate::DiesBefore | Fate::DiesAfter | Fate::DiesLate => {
                self.call_now(name, act)
            }
        })
    }

    fn call_now<T>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut World) -> PortResult<T>,
    ) -> PortResult<T> {
        let mut world = self.lock();
        let fault = world.enter(name);
        if world.broken.contains(name) {
            return Err(PortError::transient(format!("{name} is out of order")));
        }
        if world.refusing.contains(name) {
            return Err(PortError::permanent(format!("{name} does not let us in")));
        }
        let Some(fault) = fault else {
            return match world.bad {
                Some(bad) => bad.around(&mut world, name, act),
                None => act(&mut world),
            };
        };
        if fault.when == When::After {
            // Its answer is lost, whatever it is.
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
    /// Records a call, and returns the fault that it must suffer.
    fn enter(&mut self, name: &'static str) -> Option<Fault> {
        if let Some(only) = self.only {
            assert!(name.starts_with(only), "{name} was called, and only {only} may be");
        }
        let n = self.calls.len();
        self.calls.push(name);
        self.fault.filter(|fault| fault.call == n)
    }
}
