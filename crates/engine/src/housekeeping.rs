//! Housekeeping: work that nobody waits for and that would pile up otherwise.
//!
//! A daemon does it once an hour, and so does the end of a tick, where only ticks work the store; a
//! pass never does. Each chore has its own bound: one that fails or takes too long is logged and
//! repeated the next time. When it was last done is recorded as a lease in the store that is left
//! to expire, so that neither a restart nor a second control plane repeats it too early, and
//! frequent restarts cannot postpone it for ever. The last packed mirror is stored, too, and the
//! next time continues after it.

use std::time::Duration;

use afk_core::ids::{At, JobOf, RepoName};
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::bounds::{later, within};
use crate::dispatch::needed;
use crate::ports::{MemoKey, PortResult};

/// Time between two rounds of housekeeping.
const EVERY: Duration = Duration::from_hours(1);
/// Minimum time after a start, so that a restart is not slowed down.
const SETTLE: SignedDuration = SignedDuration::from_mins(1);
/// How often a daemon checks whether housekeeping is due.
const LOOK: SignedDuration = SignedDuration::from_mins(5);
/// Time limit of all chores: no mirror is begun after this. A single chore may take half of it;
/// each mirror is a chore.
const BOUND: SignedDuration = SignedDuration::from_mins(20);
/// The same limit at the end of a tick, which the next tick may be waiting for.
const TICK: SignedDuration = SignedDuration::from_mins(4);
/// Time limit of one read or write of the store.
const STORE: SignedDuration = SignedDuration::from_mins(1);
/// How long the result of a job is remembered. Without it the job is done again: nothing else in a
/// run depends on it.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The lease that records when housekeeping was last done.
const KEY: &str = "house";

/// The result of housekeeping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HousekeepingReport {
    /// Mirrors that were packed.
    pub packed: u32,
    /// Runs whose leftover jobs were removed.
    pub swept: u32,
    /// Transcripts that were removed.
    pub pruned: u32,
    /// Results of jobs that were forgotten.
    pub forgotten: u64,
    /// Chores that failed.
    pub failed: u32,
    /// Mirrors that were not reached in time and are left for the next round.
    pub left: u32,
}

impl Engine {
    /// Does the chores whenever they are due, until `stop`.
    pub async fn housekeeping(&self, stop: &CancellationToken) {
        let clock = &*self.ports.clock;
        let mut next = later(clock.now(), SETTLE);
        loop {
            tokio::select! {
                () = clock.sleep_until(next) => {}
                () = stop.cancelled() => return,
            }
            let now = clock.now();
            if self.is_due(now).await {
                next = later(now, SignedDuration::try_from(EVERY).unwrap_or(LOOK));
                self.do_in(BOUND, stop).await;
            } else {
                next = later(now, LOOK);
            }
        }
    }

    /// Does the chores at the end of a tick, if they are due; otherwise costs one call of the
    /// store.
    pub async fn do_due_chores(&self, stop: &CancellationToken) {
        if !stop.is_cancelled() && self.is_due(self.ports.clock.now()).await {
            self.do_in(TICK, stop).await;
        }
    }

    /// Whether housekeeping is due. If it is, it is taken: no other process finds it due as well.
    async fn is_due(&self, now: At) -> bool {
        // The name of no process, so that nobody takes the lease over because its owner is dead.
        let owner = format!("kept at {now} by {}", self.owner);
        let taken = self.ports.store.lease(KEY, &owner, EVERY, now);
        let what = "reading the time of the last housekeeping";
        let due = within(&*self.ports.clock, LOOK, what, taken).await;
        due.unwrap_or_else(|error| {
            tracing::warn!(error = error.chain(), "time of the last housekeeping unknown");
            None
        })
        .is_some()
    }

    /// Does the chores within `bound`, and logs the result.
    async fn do_in(&self, bound: SignedDuration, stop: &CancellationToken) {
        let clock = &*self.ports.clock;
        let began = clock.now();
        let done = tokio::select! {
            done = self.do_chores(bound, stop) => done,
            () = stop.cancelled() => return,
        };
        let took = clock.now().duration_since(began).unsigned_abs().as_millis();
        let duration_ms = u64::try_from(took).unwrap_or(u64::MAX);
        match done {
            Ok(done) => tracing::info!(
                packed = done.packed,
                swept = done.swept,
                pruned = done.pruned,
                forgotten = done.forgotten,
                failed = done.failed,
                left = done.left,
                duration_ms,
                "housekeeping done"
            ),
            Err(error) => tracing::warn!(error = error.chain(), "housekeeping not done"),
        }
    }

    /// Removes what is kept past its limit and the leftovers of settled runs, and packs the mirrors
    /// that need it. Begins no mirror after `bound` or once `cancel` is cancelled. A chore that
    /// fails is counted and logged; the only error is a store that cannot be read.
    pub fn do_chores<'a>(
        &'a self,
        bound: SignedDuration,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, PortResult<HousekeepingReport>> {
        Box::pin(async move {
            let (clock, ports) = (&*self.ports.clock, &self.ports);
            let until = later(clock.now(), bound);
            let chore = bound / 2;
            let mut done = HousekeepingReport::default();
            let facts = async { Ok((ports.store.live().await?, ports.store.switches().await?)) };
            let (stored, switches) = within(clock, STORE, "reading the store", facts).await?;
            // Only the switches tell which workspaces a freeze still needs.
            let live = needed(&stored, &switches);
            let clean = Box::pin(async {
                let retriable = self.retriable(&stored).await?;
                ports.git.clean(&live, &retriable).await
            });
            if let Err(error) = within(clock, chore, "cleaning", clean).await {
                tracing::warn!(error = error.chain(), "kept workspaces not cleaned");
                done.failed += 1;
            }
            let sweep = async {
                // Read again: a run that began meanwhile uses the caches of its repo. One that waits
                // for people does not.
                let stored = ports.store.live().await?;
                let at_work = stored.iter().map(|stored| &stored.run);
                let at_work = at_work.filter(|run| run.holds_lock() || run.wants_lock());
                let busy = at_work.map(|run| run.issue.repo.clone()).collect();
                ports.jobs.sweep(&live, &busy).await
            };
            match within(clock, chore, "sweeping", sweep).await {
                Ok(swept) => done.swept = swept,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "leftover jobs not removed");
                    done.failed += 1;
                }
            }
            match within(clock, chore, "pruning", ports.archive.prune()).await {
                Ok(pruned) => done.pruned = pruned,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "kept transcripts not cleaned");
                    done.failed += 1;
                }
            }
            match within(clock, chore, "forgetting old results", self.forget_results()).await {
                Ok(forgotten) => done.forgotten = forgotten,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "old results not forgotten");
                    done.failed += 1;
                }
            }
            let mirrors = self.mirrors().await;
            for (n, repo) in mirrors.iter().enumerate() {
                if cancel.is_cancelled() || clock.now() >= until {
                    done.left = u32::try_from(mirrors.len() - n).unwrap_or(u32::MAX);
                    break;
                }
                let within_bound = cancel.child_token();
                let tidy = ports.git.tidy(repo, &within_bound);
                let tidied =
                    within(clock, chore, format!("packing the mirror of {repo}"), tidy).await;
                within_bound.cancel();
                // Only a mirror that took time moves the place where the next time begins.
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
        })
    }

    /// Forgets old results of jobs. What else is remembered stays: it is small, and decisions rest
    /// on it, such as how often `verify` has failed on a base.
    async fn forget_results(&self) -> PortResult<u64> {
        let before = self.ports.clock.now().checked_sub(REMEMBERED).unwrap_or(At::MIN);
        // The kinds are named after the jobs, all of which begin like this one.
        self.ports.store.forget_results(JobOf::Verify.word(), before).await
    }

    /// The configured repos, starting after the mirror that was packed last.
    async fn mirrors(&self) -> Vec<RepoName> {
        let key = last_mirror();
        let recall = self.ports.store.recall(&key);
        let last =
            within(&*self.ports.clock, STORE, "reading the last packed mirror", recall).await;
        let last = last.unwrap_or_else(|error| {
            tracing::warn!(error = error.chain(), "cannot read which mirror was packed last");
            None
        });
        let last: Option<RepoName> = last.and_then(|last| serde_json::from_value(last).ok());
        let (config, _) = self.ports.settings.current();
        let mut repos: Vec<RepoName> = config.repos.keys().cloned().collect();
        // Sorted already.
        let done = last.map_or(0, |last| repos.partition_point(|repo| *repo <= last));
        repos.rotate_left(done);
        repos
    }

    async fn remember_mirror(&self, repo: &RepoName) {
        let (store, clock) = (&self.ports.store, &*self.ports.clock);
        let (key, value) = (last_mirror(), serde_json::json!(repo));
        let remember = store.remember(&key, &value, clock.now());
        if let Err(error) = within(clock, STORE, "storing the last packed mirror", remember).await {
            tracing::warn!(error = error.chain(), "cannot record which mirror was packed last");
        }
    }
}

/// The key under which the last packed mirror is stored.
fn last_mirror() -> MemoKey {
    let word = |word: &str| word.to_owned();
    MemoKey { kind: word("housekeeping"), tree: word("mirrors"), command: word("last") }
}
