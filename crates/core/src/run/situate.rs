//! From record and observation to the situation that is planned on. Clocks and limits are evaluated
//! here, so that the plan knows neither.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Attempt, Candidate, Observation, PullState, Run, StageRecord, Turn, TurnEnd, TurnSeen,
    UnfinishedWork,
};
use crate::ask::PendingQuestion;
use crate::elapsed::{deadline, elapsed};
use crate::ids::At;
use crate::plan::{
    self, Alive, EvidenceState, Gates, Landed, Situation, TurnCause, Work, WorkspaceState,
};
use crate::verdict::{StageNames, Verdict, fold};

/// The limits of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Refusals before landing after which the run escalates.
    pub landing_refusals: u32,
    /// Maximum number of corrective turns on a landed commit.
    pub fix_forwards: u32,
    /// How long after the first red verdict a corrective turn may begin.
    pub fix_forward_clock: Duration,
    /// Maximum number of consecutive retries of a failed turn.
    pub executor_retries: u32,
    /// Maximum silence of a turn without an open tool call.
    pub stall: Duration,
    /// Maximum silence of a turn during a tool call, if that is longer.
    pub tool: Duration,
    /// Time limit of a stage.
    pub stage: Duration,
    /// How long the agent's question may wait for a person.
    pub question: Duration,
    /// Time limit of the run.
    pub run: Duration,
    /// How long agent and jobs may live after they were told to stop.
    pub stop_grace: Duration,
    /// The repo's stages, in order; without any nothing is ever green.
    pub stages: Option<StageNames>,
    /// How long a candidate may wait on its own branch with no stage running and no new answer.
    pub candidate: Duration,
    /// The stages that a candidate must pass before it lands; none if it lands directly.
    pub before_landing: Option<StageNames>,
    /// Whether people decide by a pull request.
    #[serde(default)]
    pub pull_request: bool,
    /// How long new candidates are made for a default branch that moves before each can land.
    #[serde(default = "half_an_hour")]
    pub race: Duration,
}

const fn half_an_hour() -> Duration {
    Duration::from_mins(30)
}

/// Consecutive usage limits after which the run no longer waits for a reset. That is some hours of
/// limits that were reported to have reset and had not, or that had no known reset time.
const LIMITS_IN_A_ROW: u32 = 12;

impl Run {
    /// The situation of this run at `now`, from its record and what a pass saw.
    pub fn situation(&self, seen: &Observation, limits: &Limits, now: At) -> Situation {
        let since = |at: At| elapsed(at, now, &self.pauses);
        let hopeless = matches!(
            self.turn().and_then(|turn| turn.ended.as_ref()).map(|ended| &ended.how),
            Some(TurnEnd::Hopeless { .. })
        );
        let late = since(self.admitted_at) >= limits.run;
        let poor = self.spent() >= self.budget;
        let clock = self.first_red_at.is_none_or(|red| since(red) < limits.fix_forward_clock);
        Situation {
            concluded: self.conclusion.is_some(),
            cancelled: self.cancel.is_some(),
            halted: seen.halted,
            frozen: seen.frozen,
            spent: late || poor,
            out_of_money: poor && !late,
            lowered: self.lowered_under_turn(),
            retries_left: !hopeless
                && self.failures_in_a_row() <= limits.executor_retries
                && self.limits_in_a_row() < LIMITS_IN_A_ROW,
            refusals_left: self.refusals() < limits.landing_refusals,
            fixes_left: self.fix_forwards() < limits.fix_forwards && clock,
            push_unconfirmed: self.unconfirmed_push().is_some() || self.branch_unread(seen),
            frozen_out: seen.frozen && self.agent_lands(),
            aside: self.aside_since.is_some(),
            landing_confirmed: seen.landing_confirmed,
            remote_unreadable: seen.remote_unreadable.is_some()
                && (seen.dropped || self.is_over(limits, now)),
            message_waiting: self.undelivered_messages().next().is_some(),
            blind: seen.broke_off.is_some() && !self.is_over(limits, now),
            obstacle: self.obstacle(),
            alive: alive(seen, self.stopping_since, limits, now),
            landed: if seen.dropped {
                self.landed_last()
            } else {
                self.landed_now(seen, limits, now)
            },
            turn: self.turn_now(seen, limits, now),
        }
    }

    /// Whether nothing is waited for any longer: the run's time is up, and that of the stages of
    /// what landed. Never while the clocks stand still.
    fn is_over(&self, limits: &Limits, now: At) -> bool {
        let past = |since, bound| {
            deadline(since, bound, now, &self.pauses).is_some_and(|until| until <= now)
        };
        let landed = self.landed();
        past(self.admitted_at, limits.run)
            && landed.is_none_or(|landed| past(landed.waiting_since(), limits.stage))
    }

    /// What became of the newest landed commit, as far as it is recorded.
    fn landed_now(&self, seen: &Observation, limits: &Limits, now: At) -> Landed {
        let Some(landed) = self.landed() else { return Landed::Nothing };
        let verdict =
            limits.stages.as_ref().map_or(Verdict::Pending, |stages| fold(landed.answers(stages)));
        let waited = elapsed(landed.waiting_since(), now, &self.pauses);
        let overdue = waited >= limits.stage;
        match (verdict, landed.red) {
            (Verdict::Green, _) => {
                Landed::Green { evidence: self.standing_evidence(landed, seen, limits) }
            }
            (Verdict::Red, Some(cause)) => Landed::Red { cause, overdue },
            // Nothing is done about a failure before it is attributed.
            (Verdict::Red, None) => Landed::Pending { overdue },
            (Verdict::Pending, _) if landed.is_void() => Landed::Void { overdue },
            (Verdict::Pending, _) => Landed::Pending { overdue },
        }
    }

    /// What is known of the landed commit if nothing can be polled any more.
    fn landed_last(&self) -> Landed {
        let overdue = true;
        match self.landed().map(|landed| landed.red) {
            None => Landed::Nothing,
            Some(None) => Landed::Pending { overdue },
            Some(Some(cause)) => Landed::Red { cause, overdue },
        }
    }

    /// Whether the landed commit may close the issue.
    fn standing_evidence(
        &self,
        landed: &Candidate,
        seen: &Observation,
        limits: &Limits,
    ) -> EvidenceState {
        match (&landed.guardrails, &landed.proof) {
            // A breached guardrail refuses the commit without a proof.
            (Some(guardrails), None) if !guardrails.passed() => EvidenceState::Refused,
            (_, None) => EvidenceState::Missing { judging: seen.judging },
            (_, Some(_)) => match self.evidence(limits.stages.as_ref()).is_complete() {
                Ok(()) => EvidenceState::Complete,
                Err(_) => EvidenceState::Refused,
            },
        }
    }

    fn turn_now(&self, seen: &Observation, limits: &Limits, now: At) -> plan::TurnState {
        if let Some(attempt) = self.attempt().filter(|attempt| attempt.is_untouched_resumption()) {
            return plan::TurnState::Finished {
                workspace: self.workspace(attempt),
                work: self.work(attempt, seen, limits, now),
            };
        }
        let Some((attempt, turn)) = self.attempt().zip(self.turn()) else {
            let gates = match &self.base_fails {
                Some(_) => Gates::Refused,
                None => seen.gates.unwrap_or(Gates::Unreadable),
            };
            return plan::TurnState::None { gates };
        };
        match &turn.ended {
            None => self.under_way(turn, seen, limits, now),
            // The executor still has a turn at work, which may push after the last look for it.
            Some(_) if self.agent_lands() && seen.far => plan::TurnState::Unknown,
            Some(ended) => match &ended.how {
                TurnEnd::Finished { .. } => plan::TurnState::Finished {
                    workspace: self.workspace(attempt),
                    work: self.work(attempt, seen, limits, now),
                },
                TurnEnd::Failed { .. }
                | TurnEnd::Hopeless { .. }
                | TurnEnd::Stalled
                | TurnEnd::Lost => {
                    let ready = ended.at.checked_add(Self::backoff(self.failures_in_a_row()));
                    let over = ready.is_ok_and(|ready| now >= ready);
                    plan::TurnState::Failed {
                        backoff_over: over || self.retry_asked_since(ended.at),
                    }
                }
                TurnEnd::Interrupted => plan::TurnState::Interrupted,
                TurnEnd::Unavailable { .. } => {
                    let found = self.unavailable();
                    let again = found.is_none_or(|found| now >= found.again);
                    plan::TurnState::Unavailable {
                        again: again || self.retry_asked_since(ended.at),
                        overdue: found.is_some_and(|found| found.is_overdue(now, &self.pauses)),
                    }
                }
                TurnEnd::Limited { .. } => {
                    let over = self.limit_over().is_some_and(|at| now >= at);
                    plan::TurnState::Limited { reset: over || self.retry_asked_since(ended.at) }
                }
            },
        }
    }

    fn under_way(
        &self,
        turn: &Turn,
        seen: &Observation,
        limits: &Limits,
        now: At,
    ) -> plan::TurnState {
        match &seen.turn {
            Some(absent @ TurnSeen::Absent) => {
                match seen.gates.filter(|_| self.is_unstarted(Some(absent))) {
                    Some(gates @ (Gates::Refused | Gates::Unreadable)) => {
                        plan::TurnState::None { gates }
                    }
                    Some(Gates::Open) | None => {
                        plan::TurnState::NotStarted { reset: !self.needs_reset() }
                    }
                }
            }
            Some(TurnSeen::Running { asks, .. }) if !asks.is_empty() => {
                let known = |asked: &PendingQuestion| turn.question(&asked.id);
                let due = asks.iter().filter_map(known).any(|question| question.is_due(now));
                plan::TurnState::Asking { due }
            }
            Some(TurnSeen::Running { last_event_at, tool_open, .. }) => {
                // Pauses are no silence: while this machine slept, its agents slept, too.
                let silent = elapsed((*last_event_at).max(turn.begun_at), now, &self.pauses);
                // A tool call may be silent for longer than the agent, and never for less.
                let most = if *tool_open { limits.tool.max(limits.stall) } else { limits.stall };
                plan::TurnState::Running { stalled: silent >= most }
            }
            // `record` records an end before anything is planned.
            Some(TurnSeen::Ended { .. } | TurnSeen::Unknown) | None => plan::TurnState::Unknown,
        }
    }

    fn workspace(&self, attempt: &Attempt) -> WorkspaceState {
        match &attempt.left {
            // Of an agent that lands by itself, nothing counts but what it pushed.
            None if self.agent_lands() => WorkspaceState::Clean,
            None => WorkspaceState::Unreadable,
            Some(left) if left.dirty.is_empty() && left.unfinished.is_empty() => {
                WorkspaceState::Clean
            }
            Some(left) => {
                let asks = |turn: &Turn| turn.cause == TurnCause::CommitOrDiscard;
                let asked = attempt.turns.iter().any(asks);
                if asked && left.unfinished.iter().any(UnfinishedWork::holds) {
                    WorkspaceState::Unfinished
                } else {
                    WorkspaceState::Dirty { asked }
                }
            }
        }
    }

    fn work(&self, attempt: &Attempt, seen: &Observation, limits: &Limits, now: At) -> Work {
        if let Some(refused) = &attempt.refused {
            return Work::New(plan::CandidateState::Refused(refused.why));
        }
        let Some(left) = &attempt.left else { return Work::Nothing };
        let landed = self.landed().is_some_and(|landed| landed.commit == left.head);
        let old = landed || self.base() == Some(&left.head) || self.disposed(attempt, left);
        match attempt.candidates.last() {
            Some(candidate) if candidate.landed_at.is_some() => Work::Nothing,
            Some(candidate) if candidate.head == left.head => {
                let since = |at| elapsed(at, now, &self.pauses);
                Work::New(standing(candidate, seen, limits, &since))
            }
            // A turn with a person's message may have produced another head.
            Some(_) | None if old => Work::Nothing,
            Some(_) | None => Work::New(plan::CandidateState::Unmerged),
        }
    }

    /// Whether an earlier attempt left the same head, which is decided on already.
    fn disposed(&self, attempt: &Attempt, left: &super::WorkspaceInspection) -> bool {
        let earlier = self.attempts.iter().filter(|other| other.n != attempt.n);
        let mut heads = earlier.filter_map(|other| other.left.as_ref());
        heads.any(|other| other.head == left.head)
    }
}

fn alive(seen: &Observation, since: Option<At>, limits: &Limits, now: At) -> Alive {
    if !seen.alive {
        return Alive::Nothing;
    }
    let grace_over = since.is_some_and(|since| elapsed(since, now, &[]) >= limits.stop_grace);
    if seen.working { Alive::Something { grace_over } } else { Alive::Stages { grace_over } }
}

fn standing(
    candidate: &Candidate,
    seen: &Observation,
    limits: &Limits,
    since: &dyn Fn(At) -> Duration,
) -> plan::CandidateState {
    match (&candidate.guardrails, &candidate.proof) {
        (Some(guardrails), _) if !guardrails.passed() => plan::CandidateState::Breached,
        (Some(_), Some(proof)) if proof.accepted() => match &limits.before_landing {
            // Once a pull request is open, people decide, whatever is configured since.
            _ if limits.pull_request || candidate.pull.is_some() => pulled(candidate),
            None => plan::CandidateState::Clear,
            Some(stages) => tried(candidate, stages, seen, limits, since),
        },
        // Proved and refused are two steps: after a crash between them the run continues here.
        (Some(_), Some(_)) => plan::CandidateState::Unjudged { judging: false },
        (None, _) | (_, None) => plan::CandidateState::Unjudged { judging: seen.judging },
    }
}

/// A judged candidate on which people decide.
fn pulled(candidate: &Candidate) -> plan::CandidateState {
    if candidate.tried.and_then(|tried| tried.pushed_at).is_none() {
        return plan::CandidateState::Untried;
    }
    match candidate.pull_state() {
        None => plan::CandidateState::PullRequestUnopened,
        Some(PullState::Merged { .. }) => plan::CandidateState::PullRequestMerged,
        // A closed pull request cancels the run.
        Some(PullState::Open | PullState::Closed | PullState::Superseded) => {
            plan::CandidateState::PullRequestOpen
        }
    }
}

/// A judged candidate that is tested on a branch of its own.
fn tried(
    candidate: &Candidate,
    stages: &StageNames,
    seen: &Observation,
    limits: &Limits,
    since: &dyn Fn(At) -> Duration,
) -> plan::CandidateState {
    if candidate.tried.and_then(|tried| tried.pushed_at).is_none() {
        return plan::CandidateState::Untried;
    }
    match fold(candidate.answers(stages)) {
        Verdict::Green => plan::CandidateState::Clear,
        // Answered, confirmed and refused are three steps: after a crash between them the run
        // continues here.
        Verdict::Red => {
            let late = candidate.failed_at().is_none_or(|at| since(at) >= limits.stage);
            let overdue = !seen.staging && late;
            if candidate.red_bases.is_empty() {
                plan::CandidateState::Pushed { overdue }
            } else {
                plan::CandidateState::Excused { overdue }
            }
        }
        Verdict::Pending => {
            let never_ran = candidate.stages.iter().any(StageRecord::never_ran);
            let bound = if candidate.is_at_work() { limits.stage } else { limits.candidate };
            let silent = !seen.staging && since(candidate.asked_since()) >= bound;
            plan::CandidateState::Pushed { overdue: never_ran || silent }
        }
    }
}
