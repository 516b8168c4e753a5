//! One pass over one run: observe, record, plan, act, until there is nothing to
//! do but wait.
//!
//! A pass gets only the run's id and its lease. What later passes must not lose is committed before
//! anything is planned on it; every act is idempotent, so that a pass that died half way is simply
//! repeated. A pass never waits: long work is a job, and a pass that finds one in progress ends.

mod act;
mod answer;
mod base_check;
mod base_gate;
mod base_told;
mod brought;
mod comment;
mod conclude;
mod dropped;
mod fetch;
mod guard;
mod hold;
mod impede;
mod judge;
mod judged;
mod land;
mod observe;
mod pull;
mod requests;
mod reset;
mod resume;
mod stages;
mod tried;
mod turns;
mod workflow;

pub use base_told::{BaseAnswer, BaseReport};
pub(crate) use judged::CandidateCache;
pub use requests::budget_room;

use std::sync::Arc;

use afk_core::config::{Policy, Repo};
use afk_core::elapsed::{Standstill, show_set_back};
use afk_core::ids::{At, JobKey, RepoName, RunId};
use afk_core::impediment::{self, Impediment};
use afk_core::plan::{Plan, Situation, Waiting, plan};
use afk_core::replay::Context;
use afk_core::run::{Observation, Run, Transition, record};
use afk_core::shared::Shared;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::ports::{
    AdmitLimits, AdmitRefusal, Commit, Committed, Job, JobEnd, JobState, PortError, PortErrorKind,
    PortResult, Ports,
};
use crate::switches::Brake;

/// Maximum number of steps in one pass; then others have their turn, whatever is left to do.
const MAX_STEPS: u32 = 64;

/// What a run needs after a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing, for ever: the run is settled, or the store does not have it.
    Settled,
    /// Another pass, after a wait.
    Wait(Wait),
}

/// What to wait for before the next pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The latest time of the next pass; none leaves it to the poll.
    pub until: Option<At>,
    /// What else ends the wait, besides what ends every wait: switches, requests, news of the repo.
    pub watch: Watch,
}

/// What is watched while a run waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// Nothing in particular.
    Nothing,
    /// A turn, until it may have changed.
    Turn {
        /// The repo whose executor runs the turn.
        repo: RepoName,
        /// The turn's key.
        key: JobKey,
    },
    /// The run's jobs, until one of them may have ended.
    Jobs,
}

/// The result of a step.
enum Acted {
    /// Look again.
    Again,
    /// Nothing more to do now.
    Rest(Next),
}

impl Acted {
    fn wait(watch: Watch, until: Option<At>) -> Self {
        Wait { until, watch }.into()
    }

    /// The same result, but a wait ends at `latest`.
    fn no_later_than(self, latest: At) -> Self {
        match self {
            Self::Rest(Next::Wait(Wait { until, watch })) => {
                let until = until.map_or(latest, |until| until.min(latest));
                Self::wait(watch, Some(until))
            }
            other => other,
        }
    }
}

impl From<Wait> for Acted {
    fn from(wait: Wait) -> Self {
        Self::Rest(Next::Wait(wait))
    }
}

/// One run in one step of a pass.
struct Pass<'a> {
    engine: &'a Engine,
    brake: &'a Brake,
    config: Arc<Policy>,
    repo: Shared<Repo>,
    /// Whether the repo has no table in the configuration any more; `repo` is a stand-in then.
    dropped: bool,
    run: Run,
    version: u64,
    generation: u64,
    /// What was seen, and what was planned on it; stored with each transition that is committed.
    context: serde_json::Value,
    /// What the record is to show although the step succeeds: what the run waits for or else the
    /// first failure that did not hold the step up.
    noted: Option<Impediment>,
}

impl Engine {
    /// Works `run` until it waits for something or is settled.
    pub(crate) async fn pass(
        &self,
        run: RunId,
        generation: u64,
        brake: &Brake,
    ) -> PortResult<Next> {
        for _ in 0..MAX_STEPS {
            let Some(stored) = self.ports.store.load(run).await? else {
                return Ok(Next::Settled);
            };
            if stored.run.settled_at.is_some() {
                return Ok(Next::Settled);
            }
            let (config, _) = self.ports.settings.current();
            let name = &stored.run.issue.repo;
            let table = config.repos.get(name).cloned();
            let dropped = table.is_none();
            let repo = table.unwrap_or_else(|| dropped::placeholder_table().into());
            let (run, version) = (stored.run, stored.version);
            let (config, repo) = workflow::in_force(config, repo, &run);
            let context = serde_json::Value::Null;
            let mut pass = Pass {
                engine: self,
                brake,
                config,
                repo,
                dropped,
                run,
                version,
                generation,
                context,
                noted: None,
            };
            if let Acted::Rest(next) = pass.step().await? {
                return Ok(next);
            }
        }
        Ok(Next::Wait(Wait { until: Some(self.ports.clock.now()), watch: Watch::Nothing }))
    }
}

impl Pass<'_> {
    /// Takes one step, and records what impeded it, if anything did.
    async fn step(&mut self) -> PortResult<Acted> {
        match self.look_and_act().await {
            Ok(acted) => self.record_success(acted).await,
            Err(error) => self.record_failure(error).await,
        }
    }

    async fn look_and_act(&mut self) -> PortResult<Acted> {
        if show_set_back(&self.run.pauses, self.now()) {
            self.commit(Transition::ClockSetBack).await?;
            return Ok(Acted::Again);
        }
        let (mut seen, broke_off) = self.observe().await;
        if self.record(&seen).await? {
            return Ok(Acted::Again);
        }
        let (situation, plan) = self.decide(&seen)?;
        if self.config.shadow {
            tracing::info!(run.id = %self.run.id, plan = ?plan, "shadow: would have been done");
            if let Some(error) = broke_off {
                self.note(&error, "not everything could be read");
            }
            return Ok(Acted::wait(Watch::Nothing, None));
        }
        if let Some(error) = broke_off {
            // A pass that did not see everything does not settle an end.
            if matches!(plan, Plan::Settle | Plan::Wait { reason: Waiting::Ports }) {
                self.keep_clocks(plan, &seen).await?;
                self.keep_shown(&seen).await?;
                return Err(error);
            }
            self.note(&error, "not everything could be read");
        }
        if let Err(error) = self.answer_requests(&seen).await {
            if plan == Plan::Settle {
                return Err(error);
            }
            self.note(&error, "requests not answered");
        }
        // `Find` and `Confirm` read the remote for a push, between the stop and the end.
        let stopping = matches!(plan, Plan::Interrupt | Plan::Settle | Plan::Find | Plan::Confirm);
        if self.run.stopping_since.is_some() && !stopping {
            // The next thing that is stopped has its own grace.
            self.commit(Transition::Stopped).await?;
        }
        self.keep_clocks(plan, &seen).await?;
        self.keep_shown(&seen).await?;
        let acted = if plan == Plan::Confirm {
            match self.confirm().await {
                Ok(Some(acted)) => return Ok(acted),
                Ok(None) => {
                    seen.landing_confirmed = true;
                    let (situation, plan) = self.decide(&seen)?;
                    return self.act(plan, &situation, &seen).await;
                }
                Err(error) => Err(error),
            }
        } else {
            self.act(plan, &situation, &seen).await
        };
        match acted {
            Err(error) if reads(plan) && error.kind != PortErrorKind::Cancelled => {
                // Whether to go on trying is for the plan to decide.
                seen.remote_unreadable = Some(impediment::kept(&error.chain()));
                let (situation, plan) = self.decide(&seen)?;
                if reads(plan) {
                    return Err(error);
                }
                self.act(plan, &situation, &seen).await
            }
            acted => acted,
        }
    }

    /// Records those of the observations that later passes must not lose; returns whether there
    /// were any.
    async fn record(&mut self, seen: &Observation) -> PortResult<bool> {
        let context = self.looked_at(seen);
        let found = record(&self.run, seen, self.names(), &context.limits, context.now);
        if found.is_empty() {
            return Ok(false);
        }
        self.context = serde_json::to_value(&context).map_err(PortError::permanent)?;
        for transition in found {
            if let Err(error) = self.record_one(transition).await {
                // The impediment that is recorded next does not follow from what was seen.
                self.context = serde_json::Value::Null;
                return Err(error);
            }
        }
        Ok(true)
    }

    async fn record_one(&mut self, transition: Transition) -> PortResult<()> {
        let mut bells = self.bell(&transition);
        bells.extend(self.bell_of_hold(&transition).await?);
        self.commit_with(transition, bells, None).await
    }

    /// Plans on what was seen. What was seen and planned is stored with the transitions that
    /// follow.
    fn decide(&mut self, seen: &Observation) -> PortResult<(Situation, Plan)> {
        let mut context = self.looked_at(seen);
        let situation = self.run.situation(seen, &context.limits, context.now);
        let plan = plan(&situation);
        (context.situation, context.plan) = (Some(situation), Some(plan));
        self.context = serde_json::to_value(&context).map_err(PortError::permanent)?;
        tracing::debug!(
            run.id = %self.run.id,
            repo = %self.run.issue.repo,
            issue = self.run.issue.number,
            plan = ?plan,
            "planned"
        );
        Ok((situation, plan))
    }

    fn looked_at(&self, seen: &Observation) -> Context {
        let limits = self.config.limits(&self.repo);
        Context::new(&self.run, self.version, seen, self.names(), limits, self.now())
    }

    /// Updates the issue of a live run, and removes what the run no longer needs.
    async fn keep_shown(&mut self, seen: &Observation) -> PortResult<()> {
        if self.run.conclusion.is_some() {
            return Ok(());
        }
        match self.show(seen).await {
            Ok(_) => {}
            Err(error) if error.kind == PortErrorKind::Cancelled => return Err(error),
            // A tracker that fails holds up what people see, and nothing else.
            Err(error) => self.note(&error, "not shown"),
        }
        if let Err(error) = self.remove_tries().await {
            self.note(&error, "the branch of a candidate was not removed");
        }
        Ok(())
    }

    /// Stops or starts the run's clocks: they stand still while people decide and while a usage
    /// limit is waited out.
    async fn keep_clocks(&mut self, plan: Plan, seen: &Observation) -> PortResult<()> {
        let stand = self.run.standstill();
        let wanted = match plan {
            // What the run waits for could not be observed.
            Plan::Wait { reason: Waiting::Ports } => {
                self.run.standstill_unseen(seen.frozen, self.now())
            }
            Plan::Wait { reason } => reason.stops_clocks(),
            // People are waited for, or the run that has the lock, which has a deadline of its own.
            Plan::StepAside | Plan::TakeUp => Some(Standstill::Wait),
            // Recording the last awaited answer starts the clocks.
            Plan::Answer => stand,
            Plan::Settle
            | Plan::Interrupt
            | Plan::Conclude { .. }
            | Plan::Open
            | Plan::Reset
            | Plan::StartTurn
            | Plan::Turn { .. }
            | Plan::Integrate
            | Plan::Judge
            | Plan::Try
            | Plan::CheckCandidate
            | Plan::CheckBase
            | Plan::Land
            | Plan::Find
            | Plan::Confirm
            | Plan::OpenPullRequest
            | Plan::Adopt
            | Plan::CheckStages
            | Plan::CheckDescendants
            | Plan::ProveLanded => None,
        };
        match wanted {
            same if same == stand => Ok(()),
            Some(why) => self.commit(Transition::Paused { why }).await,
            None => self.commit(Transition::Unpaused).await,
        }
    }

    /// Records one transition: the only way in which a run changes.
    async fn commit(&mut self, transition: Transition) -> PortResult<()> {
        self.commit_with(transition, Vec::new(), None).await
    }

    async fn commit_with(
        &mut self,
        transition: Transition,
        rings: Vec<afk_core::doorbell::Doorbell>,
        freeze: Option<String>,
    ) -> PortResult<()> {
        match self.try_commit(transition, rings, freeze).await? {
            None => Ok(()),
            // The next pass reads what is left.
            Some(why) => Err(PortError::transient(why.to_string())),
        }
    }

    /// Records one transition, unless it takes the repo's lock or raises the budget and there is no
    /// room for that: then it returns why, and nothing is recorded.
    async fn try_commit(
        &mut self,
        transition: Transition,
        rings: Vec<afk_core::doorbell::Doorbell>,
        freeze: Option<String>,
    ) -> PortResult<Option<AdmitRefusal>> {
        let at = self.now();
        let mut run = self.run.clone();
        run.apply(at, transition.clone());
        let kind = transition.kind();
        let takes = run.holds_lock() && !self.run.holds_lock();
        let raised = run.budget > self.run.budget;
        let commit = Commit {
            context: self.context.clone(),
            sends: rings.iter().flat_map(|doorbell| self.engine.sends(doorbell)).collect(),
            freeze,
            limits: (takes || raised).then(|| AdmitLimits::of(&self.config, at)),
            ..Commit::new(run.clone(), self.version, self.generation, transition, at)
        };
        match self.ports().store.commit(commit).await? {
            Committed::Yes { version } => {
                tracing::info!(run.id = %run.id, repo = %run.issue.repo, issue = run.issue.number, transition = kind, "recorded");
                self.run = run;
                self.version = version;
                Ok(None)
            }
            Committed::Refused(why) => Ok(Some(why)),
            Committed::Conflict => Err(PortError::transient("the run was changed meanwhile")),
            Committed::Fenced => Err(PortError::new(
                PortErrorKind::Cancelled,
                "another control plane holds the run now",
            )),
        }
    }

    /// The end of the job; none while there is none. Starts the job if it does not exist.
    ///
    /// A job that a halt stopped, or that was lost with its host, gave no result: it is forgotten
    /// and started again.
    async fn job(&self, job: Job) -> PortResult<Option<JobEnd>> {
        self.job_if(job, true).await
    }

    /// The same, but a job that does not exist yet is started only if it `may_start`.
    async fn job_if(&self, job: Job, may_start: bool) -> PortResult<Option<JobEnd>> {
        let (jobs, key) = (&self.ports().jobs, &job.key);
        match jobs.observe(job.run, key).await? {
            JobState::Running => Ok(None),
            // A halt may have come after this pass observed; nothing starts under it.
            JobState::Absent if !may_start || self.brake.halted() => Ok(None),
            JobState::Absent => {
                jobs.start(&job).await?;
                Ok(None)
            }
            JobState::Ended(end) if !end.stopped => Ok(Some(end)),
            JobState::Ended(_) | JobState::Lost => {
                // The halt that stopped it may be newer than our last read of the switches.
                self.brake.read(self.ports()).await;
                if self.brake.halted() {
                    return Ok(None);
                }
                jobs.forget(job.run, key).await?;
                jobs.start(&job).await?;
                Ok(None)
            }
        }
    }

    fn ports(&self) -> &Ports {
        &self.engine.ports
    }

    fn now(&self) -> At {
        self.ports().clock.now()
    }

    fn token(&self) -> CancellationToken {
        self.brake.token()
    }
}

/// Whether the plan only reads the remote. If that fails, the next plan does without its answer.
fn reads(plan: Plan) -> bool {
    matches!(plan, Plan::Find | Plan::Confirm)
}
