//! Keeps a control plane going: tasks side by side, each with its own bounds, none of which can
//! hold up another.
//!
//! | task | purpose |
//! | --- | --- |
//! | switches, requests | read twice a second, so that they take effect within two seconds |
//! | heartbeat ([`heartbeat`]) | records that a control plane runs |
//! | trackers ([`trackers`]) | follows comments and dispatches |
//! | doorbells ([`crate::outbox`]) | rings what transitions left in the outbox |
//! | housekeeping ([`crate::housekeeping`]) | removes and packs, once an hour |
//! | one for each run ([`work`]) | holds the run's lease and works it pass by pass |
//!
//! [`Engine::drive`] starts them, adopts live runs and knows when to stop. A pass never waits: the
//! task of its run does, between two passes. Whatever a task was doing when the process died, the
//! next process starts from the store.

mod heartbeat;
mod retries;
mod trackers;
mod work;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use afk_core::ids::{At, IssueRef, RunId};
use futures_util::future::{BoxFuture, join_all};
use jiff::SignedDuration;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::bounds::{later, within};
use crate::dispatch::HomeListing;
use crate::outbox::RingCounts;
use crate::ports::{LiveRun, PortResult};
use crate::switches::Brake;

pub(crate) use heartbeat::OwnWork;
use trackers::Looks;

/// How long a lease lasts without renewal; then another control plane may take over.
const LEASE: Duration = Duration::from_secs(30);
/// How often switches and requests are read: they take effect within two seconds.
pub(crate) const BEAT: SignedDuration = SignedDuration::from_millis(500);
/// Time limit of one call of the store by the driver.
const STORE: SignedDuration = SignedDuration::from_secs(30);
/// How long a failed task rests before it is restarted.
const REST: SignedDuration = SignedDuration::from_secs(5);
/// How long a shutdown waits for passes to finish.
const DRAIN: SignedDuration = SignedDuration::from_secs(8);

/// When the driver stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At the shutdown. Only a driver of this kind does housekeeping; one that ends by itself
    /// leaves that to its caller.
    Shutdown,
    /// When this run is settled, or at the shutdown.
    Settled(RunId),
    /// When every run that it could lease is settled and nothing is left to dispatch, or at the
    /// shutdown.
    Idle,
}

/// What the driver does besides working live runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drive {
    /// Whether the driver looks for ready issues and admits runs for them.
    pub dispatch: bool,
    /// When the driver stops.
    pub until: Until,
}

/// A task of the driver that does not belong to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Duty {
    Switches,
    Requests,
    Heartbeat,
    Trackers,
    Doorbells,
    Housekeeping,
}

impl Duty {
    const ALL: [Self; 6] = [
        Self::Switches,
        Self::Requests,
        Self::Heartbeat,
        Self::Trackers,
        Self::Doorbells,
        Self::Housekeeping,
    ];
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Switches => "switches",
            Self::Requests => "requests",
            Self::Heartbeat => "heartbeat",
            Self::Trackers => "trackers",
            Self::Doorbells => "doorbells",
            Self::Housekeeping => "housekeeping",
        })
    }
}

/// What the tasks of one driver share.
#[derive(Clone)]
struct Shared {
    drive: Drive,
    brake: Brake,
    looks: Looks,
    /// Cancelled when no run's task is left: the doorbells then ring what is in the outbox, and
    /// end.
    last_ring: CancellationToken,
}

/// The running tasks.
#[derive(Default)]
struct Tasks {
    duties: JoinSet<()>,
    duty_of: HashMap<Id, Duty>,
    runs: JoinSet<()>,
    run_of: HashMap<Id, RunId>,
}

impl Engine {
    /// Drives runs until `drive.until`, or until `shutdown`.
    pub fn drive<'a>(
        &'a self,
        drive: Drive,
        shutdown: &'a CancellationToken,
    ) -> BoxFuture<'a, PortResult<()>> {
        Box::pin(async move {
            let brake = Brake::new(shutdown.clone());
            brake.read(&self.ports).await;
            // Before any run is adopted: of a run that this process works, only the time in which
            // the process slept is recorded as an absence.
            Box::pin(self.note_running()).await?;
            let (looks, last_ring) = (Looks::default(), CancellationToken::new());
            let shared = Shared { drive, brake, looks, last_ring };
            let mut tasks = Tasks::default();
            for duty in Duty::ALL {
                self.begin(&mut tasks, &shared, duty, SignedDuration::ZERO);
            }
            let driven = Box::pin(self.supervise(&mut tasks, &shared, shutdown)).await;
            shutdown.cancel();
            Box::pin(self.drain(&mut tasks, &shared)).await;
            driven
        })
    }

    /// Adopts runs, and restarts failed tasks, until the driver stops.
    async fn supervise(
        &self,
        tasks: &mut Tasks,
        shared: &Shared,
        shutdown: &CancellationToken,
    ) -> PortResult<()> {
        let Shared { drive, brake, looks, .. } = shared;
        let mut looked = looks.results();
        let mut at_work = BTreeSet::new();
        while !shutdown.is_cancelled() {
            let adopted = self.adopt(brake, &mut tasks.runs, &mut tasks.run_of).await;
            match &adopted {
                Ok(runs) => {
                    if !at_work.is_subset(runs) {
                        // A repo is free: its next issue should not wait for the poll.
                        looks.request();
                    }
                    at_work.clone_from(runs);
                }
                Err(error) => {
                    let error = error.chain();
                    tracing::warn!(error, "cannot read the live runs; will try again");
                }
            }
            let over = match drive.until {
                Until::Shutdown => false,
                Until::Settled(run) => self.is_settled(run).await.unwrap_or(false),
                Until::Idle if adopted.is_err() || !tasks.run_of.is_empty() => false,
                Until::Idle if drive.dispatch => looks.found_nothing()?,
                Until::Idle => true,
            };
            if over {
                break;
            }
            let beat = later(self.ports.clock.now(), BEAT);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                Some(done) = tasks.runs.join_next_with_id() => {
                    let id = match &done {
                        Ok((id, ())) => *id,
                        Err(error) => {
                            tracing::error!(%error, "the task of a run failed and is restarted");
                            error.id()
                        }
                    };
                    if let Some(run) = tasks.run_of.remove(&id) {
                        self.own().leave(run);
                    }
                }
                Some(done) = tasks.duties.join_next_with_id() => {
                    let id = done.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id);
                    if let Some(duty) = tasks.duty_of.remove(&id).filter(|_| done.is_err()) {
                        tracing::error!(%duty, "a task of the driver failed and is restarted");
                        self.begin(tasks, shared, duty, REST);
                    }
                }
                _ = looked.changed() => {}
                () = self.ports.clock.sleep_until(beat) => {}
            }
        }
        Ok(())
    }

    /// Starts the task of `duty` after `rest`. It ends at the shutdown; the doorbells' task ends
    /// once it has rung what the last runs left.
    fn begin(&self, tasks: &mut Tasks, shared: &Shared, duty: Duty, rest: SignedDuration) {
        let (engine, shared) = (self.clone(), shared.clone());
        let work = async move {
            let shutdown = shared.brake.shutdown();
            if rest.is_positive() {
                engine.ports.clock.sleep_until(later(engine.ports.clock.now(), rest)).await;
            }
            let until_shutdown = async {
                match duty {
                    Duty::Switches => engine.read_switches(&shared.brake).await,
                    Duty::Requests => engine.read_requests().await,
                    Duty::Heartbeat => engine.heartbeat(shared.looks.begun()).await,
                    Duty::Trackers => engine.watch_trackers(&shared).await,
                    Duty::Doorbells => engine.ring_until(&shared.last_ring).await,
                    Duty::Housekeeping if shared.drive.until == Until::Shutdown => {
                        engine.housekeeping(&shutdown).await;
                    }
                    Duty::Housekeeping => {}
                }
            };
            if duty == Duty::Doorbells {
                until_shutdown.await;
            } else {
                shutdown.run_until_cancelled(until_shutdown).await;
            }
        };
        let task = tasks.duties.spawn(work);
        tasks.duty_of.insert(task.id(), duty);
    }

    /// Waits for passes to finish, and for the doorbells that they left, within a bound.
    async fn drain(&self, tasks: &mut Tasks, shared: &Shared) {
        let deadline = later(self.ports.clock.now(), DRAIN);
        let rest = async {
            while tasks.runs.join_next().await.is_some() {}
            shared.last_ring.cancel();
            while tasks.duties.join_next().await.is_some() {}
        };
        tokio::select! {
            biased;
            () = rest => {}
            () = self.ports.clock.sleep_until(deadline) => {
                tasks.runs.shutdown().await;
                tasks.duties.shutdown().await;
            }
        }
        for run in tasks.run_of.values() {
            self.own().leave(*run);
        }
    }

    /// Reads the switches twice a second, for ever.
    async fn read_switches(&self, brake: &Brake) -> ! {
        loop {
            self.ports.clock.sleep_until(later(self.ports.clock.now(), BEAT)).await;
            brake.read(&self.ports).await;
        }
    }

    /// Reads requests twice a second, for ever.
    async fn read_requests(&self) -> ! {
        let (clock, store) = (&*self.ports.clock, &*self.ports.store);
        loop {
            clock.sleep_until(later(clock.now(), BEAT)).await;
            let read = within(clock, STORE, "reading requests", self.requests.read(store)).await;
            if let Err(error) = read {
                // Each pass reads the requests of its run anyway.
                tracing::warn!(error = error.chain(), "requests unreadable");
            }
        }
    }

    async fn is_settled(&self, run: RunId) -> PortResult<bool> {
        let load = self.ports.store.load(run);
        let stored = within(&*self.ports.clock, STORE, "reading the run", load).await?;
        Ok(stored.is_none_or(|stored| stored.run.settled_at.is_some()))
    }

    /// Takes or renews the lease on `run`.
    pub(crate) async fn lease(&self, run: RunId, now: At) -> PortResult<Option<u64>> {
        self.ports.store.lease(&lease_key(run), &self.owner, LEASE, now).await
    }

    /// Runs one tick: admits what may be dispatched (if `dispatch`), gives each live run that it
    /// can lease one pass, and rings the doorbells that are due. Switches and requests are read
    /// meanwhile, so that they take effect however long a step takes.
    pub fn tick<'a>(
        &'a self,
        dispatch: bool,
        shutdown: &'a CancellationToken,
    ) -> BoxFuture<'a, PortResult<TickReport>> {
        Box::pin(async move {
            let brake = Brake::new(shutdown.clone());
            brake.read(&self.ports).await;
            tokio::select! {
                biased;
                done = Box::pin(self.tick_under(&brake, dispatch)) => done,
                never = self.read_switches(&brake) => never,
                never = self.read_requests() => never,
            }
        })
    }

    async fn tick_under(&self, brake: &Brake, dispatch: bool) -> PortResult<TickReport> {
        self.note_running().await?;
        let mut ticked = TickReport::default();
        self.look_everywhere(brake, dispatch, &mut ticked).await;
        for LiveRun { run, .. } in self.ports.store.live_runs().await? {
            let now = self.ports.clock.now();
            let Some(generation) = self.lease(run, now).await? else {
                ticked.elsewhere.push(run);
                continue;
            };
            match self.pass_leased(run, generation, brake).await {
                Some(Ok(_)) => ticked.passed.push(run),
                Some(Err(error)) => ticked.failed.push((run, error.chain())),
                None => ticked.elsewhere.push(run),
            }
            self.ports.store.unlease(&lease_key(run), &self.owner).await?;
        }
        ticked.doorbells = self.ring().await?;
        Ok(ticked)
    }

    /// Looks at every home, side by side, and dispatches what was found. A failure is reported in
    /// `ticked` and is no error, because it must not keep live runs from their passes.
    async fn look_everywhere(&self, brake: &Brake, dispatch: bool, ticked: &mut TickReport) {
        let homes = self.homes();
        let looks = homes.values().map(|repos| self.look(brake, repos, dispatch));
        let (mut listed, mut failed) = (HomeListing::default(), None);
        for look in join_all(looks).await {
            match look {
                Ok(more) => listed.add(more),
                Err(error) => failed = Some(error),
            }
        }
        let dispatched = self.dispatch(brake, listed).await;
        ticked.admitted = dispatched.admitted;
        ticked.would_admit = dispatched.would_admit;
        if let Some(error) = dispatched.failed.or(failed) {
            tracing::warn!(error = error.chain(), "not all dispatched, will try again");
            ticked.not_dispatched = Some(error.chain());
        }
    }
}

/// What one tick did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TickReport {
    /// Runs that were admitted.
    pub admitted: Vec<RunId>,
    /// Issues that would have been admitted if shadow mode were off.
    pub would_admit: Vec<IssueRef>,
    /// Why not everything was dispatched, if a look at a tracker or the dispatch itself failed.
    pub not_dispatched: Option<String>,
    /// Runs that had a pass.
    pub passed: Vec<RunId>,
    /// Runs that had no pass, because another control plane holds or took their lease.
    pub elsewhere: Vec<RunId>,
    /// Runs whose pass failed, and why.
    pub failed: Vec<(RunId, String)>,
    /// How many of the doorbells that were due rang.
    pub doorbells: RingCounts,
}

/// The key of the lease that a process holds on a run while it works it.
pub fn lease_key(run: RunId) -> String {
    format!("run:{run}")
}
