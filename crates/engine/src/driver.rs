//! Gives each live run a task, wakes it when something changes, and keeps the
//! rest going: switches, requests, dispatch, doorbells, the note that a control plane runs.
//!
//! A task holds the lease of its run and works it pass by pass. It is the only
//! place that waits; passes never do. Whatever a task was doing when the process
//! died, the next one starts from the store.

mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use afk_core::config::Policy;
use afk_core::elapsed::uncovered;
use afk_core::ids::{At, IssueRef, RunId};
use afk_core::run::{Run, Transition};
use jiff::SignedDuration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::ports::{Commit, Committed, PortError, PortResult, StoredRun};
use crate::switches::Brake;

/// How long a lease lasts without renewal: another control plane may go on after it.
const LEASE: Duration = Duration::from_secs(30);
/// How often switches and requests are read: people are obeyed within two seconds.
const BEAT: SignedDuration = SignedDuration::from_millis(500);
/// How often it is noted that a control plane runs.
const NOTE: SignedDuration = SignedDuration::from_secs(30);
/// A silence longer than this between two notes means that no control plane ran.
const AWAY: SignedDuration = SignedDuration::from_mins(10);
/// How often an absence is offered to a run that moves meanwhile.
const ABSENCE_TRIES: u32 = 5;
/// How long a shutdown waits for passes to come to rest.
const DRAIN: SignedDuration = SignedDuration::from_secs(8);

/// When the driver stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When it is told to.
    Shutdown,
    /// When this run is settled, or told to.
    Settled(RunId),
    /// When every run that it could lease is settled and nothing is left to dispatch.
    Idle,
}

/// What the driver does beside working live runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drive {
    /// Whether it looks for new issues.
    pub dispatch: bool,
    /// When it stops.
    pub until: Until,
}

impl Engine {
    /// Drives runs until `drive.until`, or until `shutdown`.
    pub async fn drive(&self, drive: Drive, shutdown: &CancellationToken) -> PortResult<()> {
        let brake = Brake::new(shutdown.clone());
        brake.read(&*self.ports.store).await;
        self.obeying(&brake, Box::pin(self.drive_under(&brake, drive, shutdown))).await
    }

    async fn drive_under(
        &self,
        brake: &Brake,
        drive: Drive,
        shutdown: &CancellationToken,
    ) -> PortResult<()> {
        self.note_running().await?;
        let mut tasks = JoinSet::new();
        let mut working = HashMap::new();
        let mut next_look = self.ports.clock.now();
        let mut next_beat = later(next_look, NOTE);
        let mut in_force = self.ports.settings.current();
        while !shutdown.is_cancelled() {
            let now = self.ports.clock.now();
            brake.read(&*self.ports.store).await;
            if now >= next_beat || now >= next_look {
                // Whoever reads the note sees by it that the trackers were looked at.
                next_beat = later(now, NOTE);
                if let Err(error) = self.note_running().await {
                    tracing::warn!(error = error.chain(), "not noted that a control plane runs");
                }
            }
            let newest = self.ports.settings.current();
            if !same(&newest, &in_force) {
                // Whoever arms, enrols or mends is not made to wait for the poll.
                in_force = newest;
                next_look = now;
            }
            let mut dispatched = 0;
            let looks = now >= next_look;
            if looks {
                let poll = in_force.0.poll_seconds;
                next_look = later(now, SignedDuration::from_secs(poll.cast_signed()));
                self.hear_or_warn(brake).await;
            }
            if drive.dispatch && looks {
                // A store or a tracker that is away for a moment ends no control plane.
                match self.dispatch(brake).await {
                    Ok(done) => dispatched = done.admitted.len(),
                    Err(error) if drive.until == Until::Idle && working.is_empty() => {
                        return Err(error);
                    }
                    Err(error) => {
                        tracing::warn!(error = error.chain(), "nothing dispatched, will try again");
                    }
                }
            }
            let adopted = self.adopt(brake, &mut tasks, &mut working).await;
            if let Err(error) = &adopted {
                tracing::warn!(error = error.chain(), "live runs unreadable, will try again");
            }
            if let Err(error) = self.ring().await {
                tracing::warn!(error = error.chain(), "outbox unreadable");
            }
            let over = match drive.until {
                Until::Shutdown => false,
                Until::Settled(run) => self.is_settled(run).await.unwrap_or(false),
                Until::Idle => adopted.is_ok() && working.is_empty() && dispatched == 0,
            };
            if over {
                break;
            }
            tokio::select! {
                () = self.ports.clock.sleep_until(later(now, BEAT)) => {}
                Some(done) = tasks.join_next_with_id() => {
                    let id = match &done {
                        Ok((id, ())) => *id,
                        Err(error) => {
                            tracing::error!(%error, "the task of a run broke off, it is begun anew");
                            error.id()
                        }
                    };
                    if working.remove(&id).is_some() {
                        // A repo is free: do not let its next issue wait for the poll.
                        next_look = now;
                    }
                }
                () = shutdown.cancelled() => {}
            }
        }
        // What the last pass left to ring may be newer than the last look.
        if let Err(error) = self.ring().await {
            tracing::warn!(error = error.chain(), "outbox unreadable");
        }
        shutdown.cancel();
        let deadline = later(self.ports.clock.now(), DRAIN);
        tokio::select! {
            () = async { while tasks.join_next().await.is_some() {} } => {}
            () = self.ports.clock.sleep_until(deadline) => tasks.shutdown().await,
        }
        Ok(())
    }

    /// One tick: admit what may be dispatched, one pass a live run, ring what is due.
    pub async fn tick(&self, dispatch: bool, shutdown: &CancellationToken) -> PortResult<Ticked> {
        let brake = Brake::new(shutdown.clone());
        brake.read(&*self.ports.store).await;
        self.obeying(&brake, Box::pin(self.tick_under(&brake, dispatch))).await
    }

    /// Does `work` and reads switches and requests beside it, so that people reach what
    /// is under way however long a step of it takes.
    async fn obeying<T>(&self, brake: &Brake, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            let beat = async {
                let next = later(self.ports.clock.now(), BEAT);
                self.ports.clock.sleep_until(next).await;
                brake.read(&*self.ports.store).await;
                self.asked.read(&*self.ports.store).await;
            };
            tokio::select! {
                done = &mut work => return done,
                () = beat => {}
            }
        }
    }

    async fn tick_under(&self, brake: &Brake, dispatch: bool) -> PortResult<Ticked> {
        self.note_running().await?;
        let mut ticked = Ticked::default();
        self.hear_or_warn(brake).await;
        if dispatch {
            match self.dispatch(brake).await {
                Ok(dispatched) => {
                    ticked.admitted = dispatched.admitted;
                    ticked.would = dispatched.would;
                }
                // Runs in flight go on whatever keeps new ones from beginning.
                Err(error) => {
                    tracing::warn!(error = error.chain(), "nothing dispatched, will try again");
                    ticked.not_dispatched = Some(error.chain());
                }
            }
        }
        for stored in self.ports.store.live().await? {
            let run = stored.run.id;
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
        let (rung, not_rung) = self.ring().await?;
        ticked.rung = rung;
        ticked.not_rung = not_rung;
        Ok(ticked)
    }

    /// Hears comments; what keeps them from being read keeps nothing else.
    async fn hear_or_warn(&self, brake: &Brake) {
        if let Err(error) = self.hear(brake).await {
            tracing::warn!(error = error.chain(), "comments not heard, will try again");
        }
    }

    /// Notes that a control plane runs, after the stretch in which none did was taken off
    /// every live run's clocks: a crash between the two takes it off again, to no effect.
    async fn note_running(&self) -> PortResult<()> {
        let now = self.ports.clock.now();
        let Some(from) = self.ports.store.beat(now, AWAY).await? else { return Ok(()) };
        for StoredRun { run, version } in self.ports.store.live().await? {
            self.record_absence(run, version, from, now).await?;
        }
        self.ports.store.beat(now, SignedDuration::MAX).await.map(drop)
    }

    /// Takes what of `from..to` no pause covers yet off the clocks of `run`.
    async fn record_absence(
        &self,
        mut run: Run,
        mut version: u64,
        from: At,
        to: At,
    ) -> PortResult<()> {
        let id = run.id;
        // Whoever holds the lease was there to act, or records it by itself.
        let Some(generation) = self.lease(id, to).await? else { return Ok(()) };
        for _ in 0..ABSENCE_TRIES {
            if run.settled_at.is_some() {
                // Somebody brought it to its end since it was listed.
                return Ok(());
            }
            // A run that was admitted meanwhile was not there to wait.
            let from = from.max(run.admitted_at);
            let Some(from) = uncovered(from, to, &run.pauses) else { return Ok(()) };
            let transition = Transition::Away { from, to };
            run.apply(to, transition.clone());
            let commit = Commit::new(run, version, generation, transition, to);
            match self.ports.store.commit(commit).await? {
                Committed::Yes { .. } | Committed::Fenced => return Ok(()),
                Committed::Conflict => {}
            }
            let Some(newest) = self.ports.store.load(id).await? else { return Ok(()) };
            (run, version) = (newest.run, newest.version);
        }
        Err(PortError::transient(format!(
            "the absence is not recorded: run {id} moves all the time"
        )))
    }

    async fn is_settled(&self, run: RunId) -> PortResult<bool> {
        let stored = self.ports.store.load(run).await?;
        Ok(stored.is_none_or(|stored| stored.run.settled_at.is_some()))
    }

    /// Takes or renews the lease on `run`.
    pub(crate) async fn lease(&self, run: RunId, now: At) -> PortResult<Option<u64>> {
        self.ports.store.lease(&lease_key(run), &self.owner, LEASE, now).await
    }
}

/// What one tick did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Runs that were admitted.
    pub admitted: Vec<RunId>,
    /// Issues that would have been admitted, were there no shadow.
    pub would: Vec<IssueRef>,
    /// Why nothing could be dispatched, where looking for issues failed.
    pub not_dispatched: Option<String>,
    /// Runs that had a pass.
    pub passed: Vec<RunId>,
    /// Runs that another control plane works.
    pub elsewhere: Vec<RunId>,
    /// Runs whose pass failed, and why.
    pub failed: Vec<(RunId, String)>,
    /// Doorbells that rang.
    pub rung: u32,
    /// Doorbells that did not, and will be tried again.
    pub not_rung: u32,
}

/// Whether two readings of the configuration are the same to dispatch.
fn same(a: &(Arc<Policy>, Option<String>), b: &(Arc<Policy>, Option<String>)) -> bool {
    (Arc::ptr_eq(&a.0, &b.0) || a.0 == b.0) && a.1.is_some() == b.1.is_some()
}

fn lease_key(run: RunId) -> String {
    format!("run:{run}")
}

/// `at` and `by` more, or the end of time.
pub(crate) fn later(at: At, by: SignedDuration) -> At {
    at.checked_add(by).unwrap_or(At::MAX)
}
