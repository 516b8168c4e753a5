//! Housekeeping: what nobody waits for and what would pile up if nobody did it.
//!
//! Done by a daemon once in a while, never by a pass. Each chore has a bound and stands by
//! itself: what fails or takes too long is logged and done the next time. When it was done
//! last is a lease in the store that is left to run out, so that neither a restart nor a
//! second control plane does it twice, and none that starts again and again puts it off for
//! ever. How far it came with the mirrors is remembered there, too: the next time goes on
//! from there.

use std::time::Duration;

use afk_core::ids::RepoName;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::bounds::{later, within};
use crate::dispatch::needed;
use crate::ports::{MemoKey, PortResult};

/// How often it is done.
const EVERY: Duration = Duration::from_hours(1);
/// How long after a start at the earliest, so that a restart is not slowed by it.
const SETTLE: SignedDuration = SignedDuration::from_mins(1);
/// How often it is looked whether it is time, where it was not.
const LOOK: SignedDuration = SignedDuration::from_mins(5);
/// How long all of it may take: no mirror is begun after this.
const BOUND: SignedDuration = SignedDuration::from_mins(20);
/// How long one chore may take, of which each mirror is one.
const CHORE: SignedDuration = SignedDuration::from_mins(10);
/// The lease that says when it was done last.
const KEY: &str = "house";

/// What housekeeping came to.
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
    /// Mirrors that are left for the next time.
    pub left: u32,
}

impl Engine {
    /// Does the chores whenever it is time, until `stop`.
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
            let taken = self.ports.store.lease(KEY, &owner, EVERY, now);
            let due = within(clock, LOOK, "reading when it was done", taken).await;
            let due = due.unwrap_or_else(|error| {
                tracing::warn!(error = error.chain(), "not known when housekeeping was done last");
                None
            });
            if due.is_none() {
                next = later(now, LOOK);
                continue;
            }
            next = later(now, SignedDuration::try_from(EVERY).unwrap_or(LOOK));
            let done = tokio::select! {
                done = self.do_chores(stop) => done,
                () = stop.cancelled() => return,
            };
            let took = clock.now().duration_since(now).unsigned_abs().as_millis();
            let duration_ms = u64::try_from(took).unwrap_or(u64::MAX);
            match done {
                Ok(done) => tracing::info!(
                    packed = done.packed,
                    swept = done.swept,
                    pruned = done.pruned,
                    failed = done.failed,
                    left = done.left,
                    duration_ms,
                    "housekeeping done"
                ),
                Err(error) => tracing::warn!(error = error.chain(), "housekeeping not done"),
            }
        }
    }

    /// Removes what is kept past its limit, and leftovers of settled runs; packs the
    /// mirrors that need it. Stops between two things when `cancel` says so.
    pub async fn do_chores(&self, cancel: &CancellationToken) -> PortResult<Housework> {
        let (clock, ports) = (&*self.ports.clock, &self.ports);
        let began = clock.now();
        let mut done = Housework::default();
        let facts = async { Ok((ports.store.live().await?, ports.store.switches().await?)) };
        let (stored, switches) = within(clock, CHORE, "reading the store", facts).await?;
        // Where the switches cannot be read, nobody knows what a freeze holds.
        let live = needed(&stored, &switches);
        if let Err(error) = within(clock, CHORE, "cleaning", ports.git.clean(&live)).await {
            tracing::warn!(error = error.chain(), "kept workspaces not cleaned");
            done.failed += 1;
        }
        match within(clock, CHORE, "sweeping", ports.jobs.sweep(&live)).await {
            Ok(swept) => done.swept = swept,
            Err(error) => {
                tracing::warn!(error = error.chain(), "leftover jobs not removed");
                done.failed += 1;
            }
        }
        match within(clock, CHORE, "pruning", ports.archive.prune()).await {
            Ok(pruned) => done.pruned = pruned,
            Err(error) => {
                tracing::warn!(error = error.chain(), "kept transcripts not cleaned");
                done.failed += 1;
            }
        }
        let until = later(began, BOUND);
        let mirrors = self.mirrors().await;
        for (n, repo) in mirrors.iter().enumerate() {
            if cancel.is_cancelled() || clock.now() >= until {
                done.left = u32::try_from(mirrors.len() - n).unwrap_or(u32::MAX);
                break;
            }
            let within_bound = cancel.child_token();
            let tidy = ports.git.tidy(repo, &within_bound);
            let tidied = within(clock, CHORE, format!("packing the mirror of {repo}"), tidy).await;
            within_bound.cancel();
            // What needed nothing is looked at again in no time.
            let mut is_work = true;
            match tidied {
                Ok(packed) => {
                    done.packed += u32::from(packed);
                    is_work = packed;
                }
                Err(error) => {
                    tracing::warn!(repo = %repo, error = error.chain(), "mirror not packed");
                    done.failed += 1;
                }
            }
            if is_work {
                self.remember_mirror(repo).await;
            }
        }
        Ok(done)
    }

    /// The configured repos, beginning after the mirror that was packed last.
    async fn mirrors(&self) -> Vec<RepoName> {
        let key = last_mirror();
        let recall = self.ports.store.recall(&key);
        let last = within(&*self.ports.clock, CHORE, "reading how far it came", recall).await;
        let last = last.unwrap_or_else(|error| {
            tracing::warn!(error = error.chain(), "not known which mirror was packed last");
            None
        });
        let last: Option<RepoName> = last.and_then(|last| serde_json::from_value(last).ok());
        let (config, _) = self.ports.settings.current();
        let mut repos: Vec<RepoName> = config.repos.keys().cloned().collect();
        // In order already.
        let done = last.map_or(0, |last| repos.partition_point(|repo| *repo <= last));
        repos.rotate_left(done);
        repos
    }

    async fn remember_mirror(&self, repo: &RepoName) {
        let (store, clock) = (&self.ports.store, &*self.ports.clock);
        let (key, value) = (last_mirror(), serde_json::json!(repo));
        let remember = store.remember(&key, &value, clock.now());
        if let Err(error) = within(clock, CHORE, "noting how far it came", remember).await {
            tracing::warn!(error = error.chain(), "not noted which mirror was packed last");
        }
    }
}

/// What the mirror that was packed last is remembered by.
fn last_mirror() -> MemoKey {
    let word = |word: &str| word.to_owned();
    MemoKey { kind: word("housekeeping"), tree: word("mirrors"), command: word("last") }
}
