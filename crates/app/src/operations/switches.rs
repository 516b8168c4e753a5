//! The switches of the store, set and lifted by a person.

use std::time::{Duration, Instant};

use afk_core::checkout::Machine;
use afk_core::freeze::{self, Paging};
use afk_core::ids::{At, JobKey, RepoName};
use afk_core::run::Run;
use afk_engine::ports::{
    Executor, PortError, PortResult, Store as _, StoredRun, Switch, SwitchState,
};

use crate::operator::Operator;
use crate::{App, Error};

/// How long agents and jobs on this machine may take to stop.
pub(super) const STOPPED_WITHIN: Duration = Duration::from_secs(10);
/// The same where agents work on another machine: whether such an agent has stopped shows by its
/// workspace, in which nothing must have changed for 15 seconds.
const FAR_STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// The pauses between two looks at what is left.
const PAUSE: Duration = Duration::from_millis(100);
const FAR_PAUSE: Duration = Duration::from_secs(1);

/// The result of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckOutcome {
    /// The repo is not frozen.
    NotFrozen,
    /// A person froze it; such a freeze does not ring.
    ByPerson,
    /// Somebody acknowledged it before.
    Before {
        /// Who acknowledged it.
        by: String,
    },
    /// It is acknowledged now, and no longer rings.
    Now,
}

/// What [`resume`] lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiftedSwitches {
    /// Whether a halt was in force.
    pub halt: bool,
    /// Whether a pause was in force.
    pub pause: bool,
}

/// The result of stopping everything.
#[derive(Debug, Clone)]
pub struct StopReport {
    /// How many runs were live.
    pub runs: usize,
    /// Agents and jobs that were still alive when the time was up.
    pub alive: Vec<JobKey>,
    /// How long it took.
    pub took: Duration,
}

/// Sets a switch of the store in the person's name, with the reason `why`.
pub async fn throw(operator: &Operator, switch: &Switch, why: &str, now: At) -> Result<(), Error> {
    let state =
        SwitchState { by: operator.person.login.clone(), at: now, why: why.trim().to_owned() };
    Ok(operator.store.throw(switch, &state).await?)
}

/// Lifts halt and pause; freezes of repos stay.
pub async fn resume(operator: &Operator, now: At) -> Result<LiftedSwitches, Error> {
    let before = operator.store.switches().await?;
    for switch in [Switch::Halt, Switch::Pause] {
        operator.store.lift(&switch, &operator.person.login, now).await?;
    }
    Ok(LiftedSwitches { halt: before.halt.is_some(), pause: before.pause.is_some() })
}

/// Lifts the freeze of a repo; returns whether it was frozen.
pub async fn unfreeze(operator: &Operator, repo: &RepoName, now: At) -> Result<bool, Error> {
    let frozen = operator.store.switches().await?.freeze_of(repo).is_some();
    operator.store.lift(&Switch::Freeze(repo.clone()), &operator.person.login, now).await?;
    Ok(frozen)
}

/// Acknowledges the freeze of a repo, so that it stops ringing.
pub async fn acknowledge(
    operator: &Operator,
    repo: &RepoName,
    now: At,
) -> Result<AckOutcome, Error> {
    let by = freeze::Acknowledgement { by: operator.person.login.clone(), at: now };
    let freeze = operator.store.acknowledge(repo, &by).await?;
    Ok(match freeze.map(|freeze| freeze.paging) {
        None => AckOutcome::NotFrozen,
        Some(None) => AckOutcome::ByPerson,
        Some(Some(Paging { acknowledged: Some(other), .. })) if other != by => {
            AckOutcome::Before { by: other.by }
        }
        Some(Some(_)) => AckOutcome::Now,
    })
}

/// Stops the agents and jobs of all live runs, and waits until they are gone or the time is up.
///
/// A process that works the store obeys a halt by itself. This is for a store that no process
/// works, where agents would go on under their hosts.
pub async fn stop_all(app: &App) -> Result<StopReport, Error> {
    let begun = Instant::now();
    let ports = app.engine.ports();
    let live = ports.store.live().await?;
    let machine = |stored: &StoredRun| ports.executor.machine(&stored.run.issue.repo).ok();
    let far = live.iter().any(|stored| matches!(machine(stored), Some(Machine::Far { .. })));
    let (within, pause) =
        if far { (FAR_STOPPED_WITHIN, FAR_PAUSE) } else { (STOPPED_WITHIN, PAUSE) };
    loop {
        let (mut alive, mut failed) = (Vec::new(), None);
        // A failure is kept for later: one run must not keep the others from being stopped.
        for stored in &live {
            let (run, repo) = (stored.run.id, &stored.run.issue.repo);
            match ports.jobs.alive(run).await {
                Ok(left) if left.is_empty() => {}
                Ok(left) => {
                    failed = failed.or(ports.jobs.stop(run).await.err());
                    alive.extend(left);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
            match alive_far(&*ports.executor, &stored.run).await {
                Ok(left) if left.is_empty() => {}
                Ok(left) => {
                    failed = failed.or(ports.executor.stop(repo, run).await.err());
                    alive.extend(left);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let (over, took) = (begun.elapsed() >= within, begun.elapsed());
        match failed {
            Some(error) if over => return Err(error.into()),
            None if over || alive.is_empty() => {
                return Ok(StopReport { runs: live.len(), alive, took });
            }
            Some(_) | None => {}
        }
        tokio::time::sleep(pause).await;
    }
}

/// The run's turns that are at work on another machine. An error if nobody can be asked.
async fn alive_far(executor: &dyn Executor, run: &Run) -> PortResult<Vec<JobKey>> {
    let repo = &run.issue.repo;
    if run.is_elsewhere(executor.checkout(repo)?, &executor.machine(repo)?) {
        return Err(PortError::transient(run.out_of_reach()));
    }
    executor.alive(repo, run.id).await
}
