//! The task of a live run: it holds the run's lease and works it pass by pass.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::time::Duration;

use afk_core::ids::{IssueRef, RunId};
use afk_core::trouble;
use jiff::SignedDuration;
use tokio::task::JoinSet;

use super::{STORE, lease_key};
use crate::Engine;
use crate::bounds::{later, within};
use crate::pass::{Next, Wait, Watch};
use crate::ports::{LiveRun, PortResult};
use crate::requests::RequestWatch;
use crate::switches::Brake;
use crate::wakes::WakeWatch;

/// How often a lease is renewed.
const RENEW: SignedDuration = SignedDuration::from_secs(10);

/// What ends a run's wait from outside.
struct WakeSources {
    requests: RequestWatch,
    wakes: WakeWatch,
}

impl Engine {
    /// Starts a task for every live run that neither a task here nor another control plane works.
    /// Returns the runs that hold the lock of their repo.
    pub(super) async fn adopt(
        &self,
        brake: &Brake,
        tasks: &mut JoinSet<()>,
        run_of: &mut HashMap<tokio::task::Id, RunId>,
    ) -> PortResult<BTreeSet<RunId>> {
        let clock = &*self.ports.clock;
        let live = within(clock, STORE, "reading live runs", self.ports.store.live_runs()).await?;
        let at_work = live.iter().filter(|one| one.holds_lock).map(|one| one.run).collect();
        self.requests.forget_others(|run| live.iter().any(|one| one.run == *run));
        for LiveRun { run, issue, .. } in live {
            if run_of.values().any(|known| *known == run) {
                continue;
            }
            let lease = self.lease(run, clock.now());
            if let Some(generation) = within(clock, STORE, "leasing a run", lease).await? {
                self.own().take_up(run);
                let (engine, brake) = (self.clone(), brake.clone());
                let work = async move { engine.work(run, &issue, generation, &brake).await };
                let task = tasks.spawn(work);
                run_of.insert(task.id(), run);
            }
        }
        Ok(at_work)
    }

    /// Works `run` pass by pass until it is settled, the lease is lost or we shut down.
    async fn work(&self, run: RunId, issue: &IssueRef, mut generation: u64, brake: &Brake) {
        let (repo, issue) = (&issue.repo, issue.number);
        let mut failures = 0;
        let mut woken =
            WakeSources { requests: self.requests.watch(run), wakes: self.wakes.watch(repo) };
        loop {
            woken.requests.mark_read();
            woken.wakes.mark_read();
            let wait = match self.pass_leased(run, generation, brake).await {
                None | Some(Ok(Next::Settled)) => break,
                Some(Ok(Next::Wait(wait))) => {
                    failures = 0;
                    wait
                }
                Some(Err(error)) => {
                    failures += 1;
                    let pause = SignedDuration::from_secs((1_i64 << failures.min(6)).min(60));
                    let now = self.ports.clock.now();
                    let until = error.reset().map_or_else(
                        || later(now, pause),
                        |reset| trouble::retry_at(failures, Some(reset), now),
                    );
                    let why = error.chain();
                    tracing::warn!(run.id = %run, %repo, issue, error = why, "pass failed, will try again");
                    Wait { until: Some(until), watch: Watch::Nothing }
                }
            };
            if self.wait(run, &wait, brake, &mut woken).await.is_break() {
                break;
            }
            self.settle_sleep().await;
            match self.lease(run, self.ports.clock.now()).await {
                Ok(Some(renewed)) => generation = renewed,
                Ok(None) => break,
                // The commit is fenced anyway; the pass finds out.
                Err(error) => {
                    tracing::warn!(run.id = %run, %repo, issue, error = error.chain(), "lease not renewed");
                }
            }
        }
        if let Err(error) = self.ports.store.unlease(&lease_key(run), &self.owner).await {
            tracing::warn!(run.id = %run, %repo, issue, error = error.chain(), "lease not released");
        }
    }

    /// Runs one pass and renews the lease meanwhile; none if the lease was lost on the way.
    pub(super) async fn pass_leased(
        &self,
        run: RunId,
        generation: u64,
        brake: &Brake,
    ) -> Option<PortResult<Next>> {
        let renew = async {
            loop {
                let now = self.ports.clock.now();
                self.ports.clock.sleep_until(later(now, RENEW)).await;
                if let Ok(None) = self.lease(run, self.ports.clock.now()).await {
                    break;
                }
            }
        };
        tokio::select! {
            next = self.pass(run, generation, brake) => Some(next),
            () = renew => None,
        }
    }

    /// Waits for what the pass named, at most until the next poll and never longer than 30 s. A
    /// changed switch, a request to the run, or news of its repo also ends the wait.
    async fn wait(
        &self,
        run: RunId,
        wait: &Wait,
        brake: &Brake,
        woken: &mut WakeSources,
    ) -> ControlFlow<()> {
        let mut switched = brake.subscribe();
        let now = self.ports.clock.now();
        let poll = self.ports.settings.current().0.poll_seconds.clamp(1, 30);
        let latest = later(now, SignedDuration::from_secs(poll.cast_signed()));
        let until = wait.until.map_or(latest, |until| until.min(latest));
        let at_most = until.duration_since(now).try_into().unwrap_or(Duration::ZERO);
        let changed = async {
            match &wait.watch {
                Watch::Nothing => std::future::pending().await,
                Watch::Turn { repo, key } => {
                    self.ports.executor.changed(repo, key, at_most).await;
                }
                Watch::Jobs => self.ports.jobs.changed(run, at_most).await,
            }
        };
        let shutdown = brake.shutdown();
        tokio::select! {
            () = changed => ControlFlow::Continue(()),
            () = self.ports.clock.sleep_until(until) => ControlFlow::Continue(()),
            _ = switched.changed() => ControlFlow::Continue(()),
            () = woken.requests.changed() => ControlFlow::Continue(()),
            () = woken.wakes.changed() => ControlFlow::Continue(()),
            () = shutdown.cancelled() => ControlFlow::Break(()),
        }
    }
}
