//! The heartbeat: the note in the store that a control plane runs, and what is taken off the
//! clocks of runs for a stretch in which none did.
//!
//! A run that this process works had a control plane for as long as the process was awake,
//! however long the note itself took: only while the machine slept was nobody there.

use std::collections::BTreeSet;

use afk_core::elapsed::uncovered;
use afk_core::ids::{At, RunId};
use afk_core::run::{Run, Transition};
use jiff::SignedDuration;
use tokio::sync::watch;

use super::BEAT;
use crate::Engine;
use crate::bounds::{later, within};
use crate::ports::{Commit, Committed, PortError, PortResult, StoredRun};

/// How often it is noted that a control plane runs.
const NOTE: SignedDuration = SignedDuration::from_secs(30);
/// How long the note may take.
const BOUND: SignedDuration = SignedDuration::from_mins(1);
/// A silence longer than this between two notes means that no control plane ran.
const AWAY: SignedDuration = SignedDuration::from_mins(10);
/// How often an absence is offered to a run that moves meanwhile.
const ABSENCE_TRIES: u32 = 5;

/// The runs that this process works, and when it was awake to do so.
#[derive(Debug, Default)]
pub(crate) struct OwnWork {
    runs: BTreeSet<RunId>,
    awake: Option<At>,
    /// The newest stretch in which the process did not go on.
    slept: Option<(At, At)>,
    /// That stretch is not taken off the clocks yet.
    is_owed: bool,
}

impl OwnWork {
    /// This process works `run` from now on.
    pub(super) fn take_up(&mut self, run: RunId) {
        self.runs.insert(run);
    }

    /// It works `run` no more.
    pub(super) fn leave(&mut self, run: RunId) {
        self.runs.remove(&run);
    }

    /// Notes that the process goes on; whether a stretch in which it did not is owed to the
    /// clocks of its runs.
    fn is_awake(&mut self, now: At) -> bool {
        if let Some(last) = self.awake.replace(now)
            && now.duration_since(last) > AWAY
        {
            self.slept = Some((last, now));
            self.is_owed = true;
        }
        self.is_owed
    }

    /// The part of `from..to`, in which nothing was noted, that `run` was left alone for.
    fn absence(&self, run: RunId, from: At, to: At) -> Option<(At, At)> {
        if !self.runs.contains(&run) {
            return Some((from, to));
        }
        let (slept, woke) = self.slept?;
        let (from, to) = (from.max(slept), to.min(woke));
        (from < to).then_some((from, to))
    }
}

impl Engine {
    /// Notes that a control plane runs, each half minute and where a look at the trackers
    /// is `begun`: whoever reads the note sees by it that they were looked at.
    pub(super) async fn heartbeat(&self, mut begun: watch::Receiver<u64>) {
        let clock = &*self.ports.clock;
        let awake = async {
            loop {
                clock.sleep_until(later(clock.now(), BEAT)).await;
                self.own().is_awake(clock.now());
            }
        };
        let notes = async {
            loop {
                tokio::select! {
                    biased;
                    Ok(()) = begun.changed() => {}
                    () = clock.sleep_until(later(clock.now(), NOTE)) => {}
                }
                if let Err(error) = self.note_running().await {
                    tracing::warn!(error = error.chain(), "not noted that a control plane runs");
                }
            }
        };
        tokio::join!(awake, notes);
    }

    /// Takes off the clocks what the machine slept, before a run is looked at again.
    pub(super) async fn settle_sleep(&self) {
        let now = self.ports.clock.now();
        let is_owed = self.own().is_awake(now);
        if is_owed && let Err(error) = self.note_running().await {
            tracing::warn!(error = error.chain(), "not noted that the machine slept");
        }
    }

    /// Notes that a control plane runs, after the stretch in which none did was taken off
    /// every live run's clocks: a crash between the two takes it off again, to no effect.
    pub(super) async fn note_running(&self) -> PortResult<()> {
        let now = self.ports.clock.now();
        self.own().is_awake(now);
        let note = async {
            let Some(from) = self.ports.store.beat(now, AWAY).await? else { return Ok(()) };
            for StoredRun { run, version } in self.ports.store.live().await? {
                let absence = self.own().absence(run.id, from, now);
                if let Some((from, to)) = absence {
                    self.record_absence(run, version, from, to).await?;
                }
            }
            self.ports.store.beat(now, SignedDuration::MAX).await.map(drop)
        };
        within(&*self.ports.clock, BOUND, "noting that a control plane runs", note).await?;
        self.own().is_owed = false;
        Ok(())
    }

    /// Takes what of `from..to` no pause covers yet off the clocks of `run`.
    async fn record_absence(
        &self,
        mut run: Run,
        mut version: u64,
        from: At,
        to: At,
    ) -> PortResult<()> {
        let (id, now) = (run.id, self.ports.clock.now());
        // Whoever else holds the lease was there to act, or records it by itself.
        let Some(generation) = self.lease(id, now).await? else { return Ok(()) };
        for _ in 0..ABSENCE_TRIES {
            if run.settled_at.is_some() {
                // Somebody brought it to its end since it was listed.
                return Ok(());
            }
            // A run that was admitted meanwhile was not there to wait.
            let from = from.max(run.admitted_at);
            let Some(from) = uncovered(from, to, &run.pauses) else { return Ok(()) };
            let transition = Transition::Away { from, to };
            run.apply(now, transition.clone());
            let commit = Commit::new(run, version, generation, transition, now);
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
}
