//! The heartbeat: a note in the store that a control plane runs. The time in which none ran is
//! taken off the clocks of runs.
//!
//! A run that this process works had a control plane for as long as the process was awake, even if
//! writing the note took long: only while the machine slept was the run alone.

use std::collections::BTreeSet;

use afk_core::elapsed::{standstills, uncovered};
use afk_core::ids::{At, RunId};
use afk_core::run::{Run, Transition};
use jiff::SignedDuration;
use tokio::sync::watch;

use super::BEAT;
use crate::Engine;
use crate::bounds::{later, within};
use crate::ports::{Commit, Committed, PortError, PortResult, StoredRun};

/// Time between two notes.
const NOTE: SignedDuration = SignedDuration::from_secs(30);
/// Time limit of writing the note.
const BOUND: SignedDuration = SignedDuration::from_mins(1);
/// A gap longer than this between two notes means that no control plane ran.
const AWAY: SignedDuration = SignedDuration::from_mins(10);
/// How often recording an absence is tried on a run that changes meanwhile.
const ABSENCE_TRIES: u32 = 5;

/// The runs that this process works, and when it was awake.
#[derive(Debug, Default)]
pub(crate) struct OwnWork {
    runs: BTreeSet<RunId>,
    awake: Option<At>,
    /// The newest interval in which the process did not run.
    slept: Option<(At, At)>,
    /// Whether that interval still has to be taken off the clocks.
    is_owed: bool,
}

impl OwnWork {
    /// Records that this process works `run` from now on.
    pub(super) fn take_up(&mut self, run: RunId) {
        self.runs.insert(run);
    }

    /// Records that this process no longer works `run`.
    pub(super) fn leave(&mut self, run: RunId) {
        self.runs.remove(&run);
    }

    /// Records that the process runs; returns whether an interval in which it did not must be taken
    /// off the clocks of its runs.
    fn is_awake(&mut self, now: At) -> bool {
        if let Some(last) = self.awake.replace(now)
            && now.duration_since(last) > AWAY
        {
            self.slept = Some((last, now));
            self.is_owed = true;
        }
        self.is_owed
    }

    /// The part of `from..to`, in which no note was written, during which no control plane was
    /// there for `run`.
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
    /// Writes a note every half minute and when a look at the trackers is `begun`, so that the note
    /// also shows when they were last read.
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
                    tracing::warn!(error = error.chain(), "heartbeat not written");
                }
            }
        };
        tokio::join!(awake, notes);
    }

    /// Takes the machine's sleep off the clocks before a run is looked at again.
    pub(super) async fn settle_sleep(&self) {
        let now = self.ports.clock.now();
        let is_owed = self.own().is_awake(now);
        if is_owed && let Err(error) = self.note_running().await {
            tracing::warn!(error = error.chain(), "could not record that the machine slept");
        }
    }

    /// Writes a note. If none was written for longer than [`AWAY`], first takes that gap off the
    /// clocks of live runs; doing so again after a crash between the two has no effect.
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
        within(&*self.ports.clock, BOUND, "writing the heartbeat", note).await?;
        self.own().is_owed = false;
        Ok(())
    }

    /// Records `from..to` as an absence, from the first moment that is not covered yet by another
    /// absence, or by a halt or freeze. A wait of the run itself covers nothing: it goes on in an
    /// absence, and may have a limit of its own.
    async fn record_absence(
        &self,
        mut run: Run,
        mut version: u64,
        from: At,
        to: At,
    ) -> PortResult<()> {
        let (id, now) = (run.id, self.ports.clock.now());
        // Another holder of the lease was there to act, or records the absence itself.
        let Some(generation) = self.lease(id, now).await? else { return Ok(()) };
        for _ in 0..ABSENCE_TRIES {
            if run.settled_at.is_some() {
                // The run was settled after it was listed.
                return Ok(());
            }
            // A run that was admitted meanwhile did not wait.
            let from = from.max(run.admitted_at);
            let Some(from) = uncovered(from, to, &standstills(&run.pauses)) else { return Ok(()) };
            let transition = Transition::Away { from, to };
            run.apply(now, transition.clone());
            let commit = Commit::new(run, version, generation, transition, now);
            match self.ports.store.commit(commit).await? {
                Committed::Yes { .. } | Committed::Fenced => return Ok(()),
                Committed::Conflict | Committed::Refused(_) => {}
            }
            let Some(newest) = self.ports.store.load(id).await? else { return Ok(()) };
            (run, version) = (newest.run, newest.version);
        }
        Err(PortError::transient(format!("absence not recorded: run {id} keeps changing")))
    }
}
