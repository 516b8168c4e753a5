//! Carries out one plan. Every plan may be carried out again, by this process or the next.

use afk_core::elapsed::deadline;
use afk_core::plan::{Alive, Plan, Situation, TurnState, Waiting, plan};
use afk_core::run::{Observation, Run, Transition};
use jiff::SignedDuration;

use super::{Acted, Pass, Watch};
use crate::bounds::later;
use crate::ports::{Job, JobKind, PortErrorKind, PortResult};

/// How soon the next pass looks at a run that is being stopped.
pub(super) const STOPPING: SignedDuration = SignedDuration::from_millis(200);
/// Time limit of inspecting a workspace.
const STATUS_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(1);

impl Pass<'_> {
    pub(super) async fn act(
        &mut self,
        plan: Plan,
        situation: &Situation,
        seen: &Observation,
    ) -> PortResult<Acted> {
        match plan {
            Plan::Settle => self.settle(seen).await,
            Plan::Interrupt => self.interrupt(situation).await,
            Plan::Conclude { end } => self.conclude(end, seen, situation).await,
            Plan::Open => self.open().await,
            Plan::Reset => self.reset().await,
            Plan::StartTurn => self.start_turn().await,
            Plan::Turn { cause } => self.begin_turn(cause).await,
            Plan::Integrate => self.integrate().await,
            Plan::Judge => self.judge().await,
            Plan::Try => self.try_candidate().await,
            Plan::CheckCandidate => self.check_candidate().await,
            Plan::CheckBase => self.check_base_again().await,
            Plan::Land => self.land().await,
            Plan::Find => self.find().await,
            // `look_and_act` confirms before it acts on the plan that follows.
            Plan::Confirm => Ok(Acted::Again),
            Plan::CheckStages => self.check_stages().await,
            Plan::CheckDescendants => self.check_descendants().await,
            Plan::Wait { reason } => self.rest(reason).await,
            Plan::Answer => self.answer(seen).await,
            Plan::OpenPullRequest => self.open_pull().await,
            Plan::StepAside => {
                self.commit(Transition::SteppedAside).await?;
                Ok(Acted::Again)
            }
            Plan::TakeUp => self.take_up().await,
            Plan::Adopt => self.adopt().await,
            Plan::ProveLanded => self.prove_landed().await,
        }
    }

    /// Tells the turn to stop, and every job, too, unless the turn alone is the reason; looks again
    /// soon.
    async fn interrupt(&mut self, situation: &Situation) -> PortResult<Acted> {
        // A stall or a lowered budget ends the turn alone: the thread and the jobs go on.
        let running = TurnState::Running { stalled: false };
        let unmoved = Situation { turn: running, lowered: false, ..*situation };
        let stalled = situation.turn == (TurnState::Running { stalled: true });
        let at_work =
            matches!(situation.turn, TurnState::Running { .. } | TurnState::Asking { .. });
        let turn_alone = at_work && plan(&unmoved) != Plan::Interrupt;
        let stops = situation.alive != Alive::Nothing && !turn_alone;
        if stops && self.run.stopping_since.is_none() {
            // Before the stop itself, so that the grace is counted even if telling fails.
            self.commit(Transition::Stopping).await?;
        }
        let under_way = self.run.turn().filter(|turn| turn.ended.is_none());
        let mut told = Ok(());
        if let Some((key, before)) =
            under_way.map(|turn| (self.run.turn_key(turn.n), turn.interrupt.is_some()))
        {
            if !before {
                self.commit(Transition::TurnInterrupted { stalled }).await?;
            }
            told = self.ports().executor.interrupt(&self.run.issue.repo, &key).await;
            if told.as_ref().is_err_and(|error| error.kind == PortErrorKind::NotFound) {
                // The turn was recorded and never started, or is gone: there is nothing to stop.
                told = Ok(());
            }
        }
        if stops {
            let stopped = self.stop_far().await;
            self.ports().jobs.stop(self.run.id).await?;
            stopped?;
        }
        told?;
        let soon = later(self.now(), STOPPING);
        Ok(Acted::wait(Watch::Jobs, Some(soon)))
    }

    /// Stops the run's turns that are at work somewhere else than on this machine.
    pub(super) async fn stop_far(&self) -> PortResult<()> {
        self.ports().executor.stop(&self.run.issue.repo, self.run.id).await
    }

    /// Says for what to wait, and until when. Reads the workspace or the pull request first if one
    /// of these is what the run waits for.
    async fn rest(&mut self, reason: Waiting) -> PortResult<Acted> {
        let now = self.now();
        let turn = self.run.turn();
        Ok(match reason {
            Waiting::Workspace => return self.look_at_workspace().await,
            Waiting::Question => {
                let first = self.run.open_questions().map(|question| question.until).min();
                Acted::wait(self.watch_turn(), first)
            }
            Waiting::Turn | Waiting::Executor => {
                Acted::wait(self.watch_turn(), self.run_deadline())
            }
            Waiting::Backoff => {
                let ended = turn.and_then(|turn| turn.ended.as_ref());
                let backoff = Run::backoff(self.run.failures_in_a_row());
                Acted::wait(Watch::Nothing, ended.map(|ended| later(ended.at, backoff)))
            }
            Waiting::Agent => {
                Acted::wait(Watch::Nothing, self.run.unavailable().map(|found| found.again))
            }
            Waiting::UsageLimit => Acted::wait(Watch::Nothing, self.run.limit_over()),
            Waiting::Judgement => Acted::wait(Watch::Jobs, None),
            Waiting::PullRequest => return self.look_at_pull().await,
            Waiting::Halt | Waiting::Freeze => Acted::wait(Watch::Nothing, None),
            Waiting::Gates | Waiting::Ports => {
                Acted::wait(Watch::Nothing, Some(later(now, STOPPING * 5)))
            }
        })
    }

    /// Inspects in a box what the last turn left uncommitted; runs the `after_run` hook first.
    async fn look_at_workspace(&mut self) -> PortResult<Acted> {
        let Some(n) = self.run.turn().map(|turn| turn.n) else { return Ok(Acted::Again) };
        if let Some(argv) = self.hook_of(|hooks| &hooks.after_run) {
            match self.hook("after_run", &n.to_string(), argv).await? {
                None => return Ok(Acted::wait(Watch::Jobs, None)),
                Some(Ok(())) => {}
                Some(Err(why)) => tracing::warn!(run.id = %self.run.id, why, "after_run failed"),
            }
        }
        let job = Job {
            key: self.status_key(n),
            run: self.run.id,
            repo: self.run.issue.repo.clone(),
            kind: JobKind::Status,
            argv: Vec::new(),
            timeout: STATUS_TIMEOUT,
            network: false,
        };
        // The next observation reads the result.
        match self.job(job).await? {
            None => Ok(Acted::wait(Watch::Jobs, None)),
            Some(_) => Ok(Acted::Again),
        }
    }

    /// Watches the newest turn, if there is one.
    pub(super) fn watch_turn(&self) -> Watch {
        let repo = self.run.issue.repo.clone();
        let key = self.run.turn().map(|turn| self.run.turn_key(turn.n));
        key.map_or(Watch::Nothing, |key| Watch::Turn { repo, key })
    }

    fn run_deadline(&self) -> Option<afk_core::ids::At> {
        let limits = self.config.limits(&self.repo);
        deadline(self.run.admitted_at, limits.run, self.now(), &self.run.pauses)
    }
}
