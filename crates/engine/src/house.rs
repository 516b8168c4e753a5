//! Keeping house: what nobody waits for and what would pile up if nobody did it.
//!
//! Done by a daemon once in a while, never by a pass. Each thing is done on its own: what
//! fails is logged and tried again the next time. When it was done last is a lease in the
//! store that is left to run out, so that neither a restart nor a second control plane does
//! it twice, and none that starts again and again puts it off for ever.

use std::time::Duration;

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::dispatch::needed;
use crate::driver::later;
use crate::ports::PortResult;

/// How often house is kept.
const EVERY: Duration = Duration::from_hours(1);
/// How long after a start at the earliest, so that a restart is not slowed by it.
const SETTLE: SignedDuration = SignedDuration::from_mins(1);
/// How often it is asked whether it is time, where it was not.
const LOOK: SignedDuration = SignedDuration::from_mins(5);
/// How long it may take.
const BOUND: SignedDuration = SignedDuration::from_mins(20);
/// The lease that says when it was done last.
const KEY: &str = "house";

/// What keeping house came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Housework {
    /// Mirrors that were packed.
    pub packed: u32,
    /// Runs whose leftover jobs were removed.
    pub swept: u32,
    /// Transcripts that were removed.
    pub pruned: u32,
    /// Things that could not be done.
    pub failed: u32,
}

impl Engine {
    /// Keeps house whenever it is time, until `stop`.
    pub async fn housekeeping(&self, stop: &CancellationToken) {
        let clock = &*self.ports.clock;
        let mut next = later(clock.now(), SETTLE);
        loop {
            tokio::select! {
                () = clock.sleep_until(next) => {}
                () = stop.cancelled() => return,
            }
            let now = clock.now();
            // No process of that name can be found dead, so that none is missed.
            let owner = format!("kept at {now} by {}", self.owner);
            let taken = self.ports.store.lease(KEY, &owner, EVERY, now).await;
            let due = taken.unwrap_or_else(|error| {
                tracing::warn!(error = error.chain(), "not known when house was kept last");
                None
            });
            if due.is_none() {
                next = later(now, LOOK);
                continue;
            }
            next = later(now, SignedDuration::try_from(EVERY).unwrap_or(LOOK));
            let within = stop.child_token();
            let done = tokio::select! {
                done = self.keep_house(&within) => Some(done),
                () = clock.sleep_until(later(now, BOUND)) => None,
                () = stop.cancelled() => return,
            };
            let took = clock.now().duration_since(now).unsigned_abs().as_millis();
            let duration_ms = u64::try_from(took).unwrap_or(u64::MAX);
            match done {
                Some(Ok(done)) => tracing::info!(
                    packed = done.packed,
                    swept = done.swept,
                    pruned = done.pruned,
                    failed = done.failed,
                    duration_ms,
                    "house kept"
                ),
                Some(Err(error)) => tracing::warn!(error = error.chain(), "house not kept"),
                None => {
                    within.cancel();
                    tracing::warn!(duration_ms, "house not kept to the end: it took too long");
                }
            }
        }
    }

    /// Removes what is kept past its limit, and leftovers of settled runs; packs the
    /// mirrors that need it. Stops between two things when `cancel` says so.
    pub async fn keep_house(&self, cancel: &CancellationToken) -> PortResult<Housework> {
        let mut done = Housework::default();
        let stored = self.ports.store.live().await?;
        // Where the switches cannot be read, nobody knows what a freeze holds.
        let live = needed(&stored, &self.ports.store.switches().await?);
        if let Err(error) = self.ports.git.clean(&live).await {
            tracing::warn!(error = error.chain(), "kept workspaces not cleaned");
            done.failed += 1;
        }
        match self.ports.jobs.sweep(&live).await {
            Ok(swept) => done.swept = swept,
            Err(error) => {
                tracing::warn!(error = error.chain(), "leftover jobs not removed");
                done.failed += 1;
            }
        }
        match self.ports.archive.prune().await {
            Ok(pruned) => done.pruned = pruned,
            Err(error) => {
                tracing::warn!(error = error.chain(), "kept transcripts not cleaned");
                done.failed += 1;
            }
        }
        let (config, _) = self.ports.settings.current();
        for repo in config.repos.keys() {
            if cancel.is_cancelled() {
                break;
            }
            match self.ports.git.tidy(repo, cancel).await {
                Ok(packed) => done.packed += u32::from(packed),
                Err(error) => {
                    tracing::warn!(repo = %repo, error = error.chain(), "mirror not packed");
                    done.failed += 1;
                }
            }
        }
        Ok(done)
    }
}
