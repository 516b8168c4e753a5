//! What a run does next: one total function over what was observed.
//!
//! The engine observes, [`Situation`] summarises what matters for the decision, [`plan`] returns
//! one [`Plan`], the engine carries it out, and the next pass looks again. In the decision table
//! below the first row that matches wins. Each function names the rows that it decides, so that the
//! code can be read beside the table.
//!
//! | # | observed | plan |
//! | --- | --- | --- |
//! | 1 | an outcome is committed | ensure its effects, look at nothing else |
//! | 1a | not everything could be observed, and no impediment that only a person can fix | wait, under a halt interrupt; once the run's time is up, what is unknown counts as alive and unanswered |
//! | 1b | a commit with the run's trailers that the control plane did not push | interrupt, freeze |
//! | 1c | what landed was taken out of the default branch, or another branch without it is the default now, or people merged it into another branch, not halted | interrupt, escalate |
//! | 2 | cancelled, and no impediment to what landed | nothing landed: interrupt, release; landed and not halted: no more turns, green succeeds, red freezes |
//! | 3 | halted | interrupt, start nothing, keep the lock |
//! | 3a | an impediment that only a person can fix | interrupt, escalate; freeze if the landed commit is red, or its stages never answered |
//! | 4 | landed, green, evidence complete | interrupt any turn, succeed |
//! | 5 | landed, green, evidence missing | prove afterwards, which costs nothing, until the run's deadline; refused: escalate |
//! | 6 | spend or run deadline passed | interrupt; nothing landed: escalate; landed: await its verdict to the stage's deadline, then freeze if red, else escalate |
//! | 6a | frozen, and its agent lands by itself | interrupt its turn, begin none until the freeze is lifted |
//! | 7 | no turn yet, or none that started | gates live: refused: release; else workspace, thread, turn; a turn that did not start and for which a lowered budget leaves too little: as row 9 |
//! | 8 | the agent asks, or hit a usage limit | give it a person's answer, or at the deadline the policy's, unless the budget was lowered (row 9); wait for the limit to reset, but after too many limits in a row as row 11 |
//! | 8a | its agent cannot work: sign-in refused, model's API away, program missing | try it again at growing intervals; after half a day as row 11 |
//! | 9 | turn running | stalled: interrupt, then as errored; the budget lowered below what the turn may spend: interrupt, then a turn with what is left; else wait |
//! | 10 | turn unknown | wait; row 6 bounds it |
//! | 11 | turn errored, lost or stalled | retries left: resume with backoff; else escalate, or freeze if the landed commit is red |
//! | 11a | finished, nothing decided against the work and none of it under way, a person's message waits | a turn with the message |
//! | 12 | finished, workspace dirty, or git work unfinished in it (a rebase, a branch, a stash) | one turn to commit, finish or discard; if HEAD still is not the end of the work: as row 13 |
//! | 13 | new head, guardrail breached | escalate, or freeze if the landed commit is red |
//! | 14 | new head, refused; also the first time that only its commit messages breach a guardrail | refusals left: corrective turn; else escalate, or freeze if the landed commit is red |
//! | 15 | new head, candidate waits elsewhere | run its stages to their deadline; red: as refused; red as its base is: wait for a fixed base, at the deadline escalate; by pull request: open it, let others work in the repo, and wait; merged: take the repo's lock again, landed; closed: row 2 |
//! | 16 | new head, nothing against it | integrate, judge, run stages on a branch first if so configured, land; a frozen repo waits for a person |
//! | 17 | finished, no new head, nothing landed | escalate before push |
//! | 18 | landed, red, ours | fix-forwards left: workspace reset, corrective turn; else freeze |
//! | 19 | landed, red but not ours, or void | wait for a descendant's answer; at the deadline escalate |
//! | 20 | landed, pending | wait; at the stage's deadline escalate and freeze |
//!
//! Before a row ends the run, or goes on as if nothing had been pushed, while the result of a push
//! is unknown (the control plane's, or that of an agent that lands by itself), the remote is read;
//! if it cannot be read until the run's time is over, row 3a applies.
//! Before the issue is closed for what landed, the repo is frozen because it is red, or a
//! fix-forward is begun on it, the default branch is read again: people may have taken it out.
//!
//! Every end of every run is decided here, and [`Run::ended_because`] gives the reason; the engine
//! has no other way to end a run.
//!
//! Invariants: total; never waits for ever except for people; never concludes while something that
//! an interrupt can stop is alive.
//!
//! [`Run::ended_because`]: crate::run::Run::ended_because

mod situation;
mod step;
#[cfg(test)]
mod tests;

pub use situation::{
    Alive, CandidateState, EvidenceState, Gates, Landed, Obstacle, RedCause, Refusal, Situation,
    TurnState, Work, WorkspaceState,
};
pub use step::{End, Plan, TurnCause, Waiting};

/// Decides the next step of a run in the situation `now`.
pub fn plan(now: &Situation) -> Plan {
    let next = settled(now)
        .or_else(|| unseen(now))
        .or_else(|| forged(now))
        .or_else(|| taken_out(now))
        .or_else(|| cancelled(now))
        .or_else(|| halted(now))
        .or_else(|| impeded(now))
        .or_else(|| green(now))
        .or_else(|| spent(now))
        .unwrap_or_else(|| under_freeze(now, by_turn(now)));
    // A forged commit is found by reading the remote, so there is nothing left to find.
    let asks = now.push_unconfirmed && now.obstacle != Obstacle::Forged && leaves_a_push(next);
    let next = match (asks, now.remote_unreadable) {
        (false, _) => confirmed(now, next),
        (true, false) => Plan::Find,
        (true, true) => conclude(now, left_behind(now)),
    };
    under_the_lock(now, next)
}

/// `next`, or the plan to take the repo's lock again if `next` needs it and the run stepped aside.
/// A run that waits for its pull request, with nothing of it alive, steps aside.
fn under_the_lock(now: &Situation, next: Plan) -> Plan {
    match (now.aside, next) {
        (true, next) if needs_the_lock(next) => Plan::TakeUp,
        (false, Plan::Wait { reason: Waiting::PullRequest }) if now.alive == Alive::Nothing => {
            Plan::StepAside
        }
        (true | false, next) => next,
    }
}

/// Whether `next` does more than to look, to stop or to end.
fn needs_the_lock(next: Plan) -> bool {
    match next {
        Plan::Settle
        | Plan::Interrupt
        | Plan::Conclude { .. }
        | Plan::Find
        | Plan::Confirm
        | Plan::StepAside
        | Plan::TakeUp
        | Plan::Wait { .. } => false,
        Plan::Open
        | Plan::Reset
        | Plan::StartTurn
        | Plan::Turn { .. }
        | Plan::Answer
        | Plan::Integrate
        | Plan::Judge
        | Plan::Try
        | Plan::CheckCandidate
        | Plan::CheckBase
        | Plan::Land
        | Plan::OpenPullRequest
        | Plan::Adopt
        | Plan::CheckStages
        | Plan::CheckDescendants
        | Plan::ProveLanded => true,
    }
}

/// `next`, if it relies on no landed commit or the default branch was read and has that commit;
/// otherwise the plan to read the branch or, if it cannot be read, to end the run.
fn confirmed(now: &Situation, next: Plan) -> Plan {
    if now.landing_confirmed || !takes_for_landed(now, next) {
        return next;
    }
    if now.remote_unreadable { conclude(now, left_behind(now)) } else { Plan::Confirm }
}

/// Whether `next` would be wrong if people had taken out what landed: the issue would be closed,
/// the repo frozen for a commit that it does not have, or a turn paid to fix that.
fn takes_for_landed(now: &Situation, next: Plan) -> bool {
    let landed = now.landed != Landed::Nothing;
    let alone = now.obstacle == Obstacle::Nothing && now.alive == Alive::Nothing;
    match next {
        Plan::Conclude { end: End::Done } => landed,
        Plan::Conclude { end: End::Frozen } => landed && alone,
        Plan::Turn { cause: TurnCause::FixForward } => landed,
        Plan::Conclude { end: End::NeedsHuman | End::Withdrawn }
        | Plan::Turn {
            cause:
                TurnCause::Opening
                | TurnCause::Retry
                | TurnCause::Interrupted
                | TurnCause::LimitReset
                | TurnCause::AgentBack
                | TurnCause::CommitOrDiscard
                | TurnCause::Refused
                | TurnCause::Said,
        }
        | Plan::Settle
        | Plan::Interrupt
        | Plan::Open
        | Plan::Reset
        | Plan::StartTurn
        | Plan::Answer
        | Plan::Integrate
        | Plan::Judge
        | Plan::Try
        | Plan::CheckCandidate
        | Plan::CheckBase
        | Plan::Land
        | Plan::Find
        | Plan::Confirm
        | Plan::OpenPullRequest
        | Plan::StepAside
        | Plan::TakeUp
        | Plan::Adopt
        | Plan::CheckStages
        | Plan::CheckDescendants
        | Plan::ProveLanded
        | Plan::Wait { .. } => false,
    }
}

/// Whether `next` continues as if nothing had been pushed and no pull request opened. A push that
/// was begun may land whatever the record says, and then nobody would follow its verdict.
fn leaves_a_push(next: Plan) -> bool {
    match next {
        // An interrupted run is planned again, and landing itself reads the remote first.
        Plan::Settle
        | Plan::Interrupt
        | Plan::Land
        | Plan::Find
        | Plan::Confirm
        | Plan::OpenPullRequest
        | Plan::StepAside
        | Plan::TakeUp
        | Plan::Adopt => false,
        Plan::Wait { reason } => reason == Waiting::Freeze,
        Plan::Conclude { .. }
        | Plan::Open
        | Plan::Reset
        | Plan::StartTurn
        | Plan::Turn { .. }
        | Plan::Answer
        | Plan::Integrate
        | Plan::Judge
        | Plan::Try
        | Plan::CheckCandidate
        | Plan::CheckBase
        | Plan::CheckStages
        | Plan::CheckDescendants
        | Plan::ProveLanded => true,
    }
}

/// Row 1.
fn settled(now: &Situation) -> Option<Plan> {
    now.concluded.then_some(Plan::Settle)
}

/// Row 1a. An obstacle ends the run, whatever could not be observed.
fn unseen(now: &Situation) -> Option<Plan> {
    let blind = now.blind && now.obstacle == Obstacle::Nothing;
    blind.then(|| halted(now).unwrap_or(Plan::Wait { reason: Waiting::Ports }))
}

/// Row 1b. Applies under a halt, too: nothing is started, and nobody should build on it.
fn forged(now: &Situation) -> Option<Plan> {
    (now.obstacle == Obstacle::Forged).then(|| conclude(now, End::Frozen))
}

/// Row 1c. Neither its verdict nor its proof says anything about the branch any more.
fn taken_out(now: &Situation) -> Option<Plan> {
    let gone = now.obstacle == Obstacle::TakenOut && !now.halted;
    gone.then(|| conclude(now, End::NeedsHuman))
}

/// Row 2. A green landing without a proof is proved by row 5, as without a cancel; under a halt or
/// with an obstacle, rows 3 and 3a apply to what landed.
fn cancelled(now: &Situation) -> Option<Plan> {
    let unproved = matches!(now.landed, Landed::Green { evidence: EvidenceState::Missing { .. } });
    let blocked = now.halted || now.obstacle != Obstacle::Nothing;
    let stands_still = blocked && now.landed != Landed::Nothing;
    (now.cancelled && !unproved && !stands_still).then(|| let_go(now))
}

/// Row 3.
fn halted(now: &Situation) -> Option<Plan> {
    now.halted.then_some(match now.alive {
        Alive::Nothing => Plan::Wait { reason: Waiting::Halt },
        Alive::Stages { .. } | Alive::Something { .. } => Plan::Interrupt,
    })
}

/// Row 3a. What is green and proved needs nobody.
fn impeded(now: &Situation) -> Option<Plan> {
    let done = now.landed == Landed::Green { evidence: EvidenceState::Complete };
    let stuck = now.obstacle == Obstacle::NeedsAPerson && !done;
    stuck.then(|| conclude(now, left_behind(now)))
}

/// Rows 4 and 5.
fn green(now: &Situation) -> Option<Plan> {
    match now.landed {
        Landed::Green { evidence: EvidenceState::Complete } => Some(conclude(now, End::Done)),
        Landed::Green { evidence: EvidenceState::Refused } => Some(conclude(now, End::NeedsHuman)),
        Landed::Green { evidence: EvidenceState::Missing { judging } } => {
            Some(if now.spent && !now.out_of_money {
                // Without its own bound, a proof that never runs would wait for ever.
                conclude(now, End::NeedsHuman)
            } else if judging {
                Plan::Wait { reason: Waiting::Judgement }
            } else {
                Plan::ProveLanded
            })
        }
        Landed::Nothing | Landed::Pending { .. } | Landed::Red { .. } | Landed::Void { .. } => None,
    }
}

/// Row 6.
fn spent(now: &Situation) -> Option<Plan> {
    now.spent.then_some(match now.landed {
        Landed::Red { cause: RedCause::Ours, .. } => conclude(now, End::Frozen),
        Landed::Red { cause: RedCause::NotOurs, overdue }
        | Landed::Void { overdue }
        | Landed::Pending { overdue } => await_verdict(now, overdue),
        // Rows 4 and 5 handled green; escalating is what row 5 would do.
        Landed::Nothing | Landed::Green { .. } => conclude(now, End::NeedsHuman),
    })
}

/// Row 6a, applied to `next`, the plan of the rows below it.
fn under_freeze(now: &Situation, next: Plan) -> Plan {
    if !now.frozen_out {
        return next;
    }
    match next {
        Plan::Wait { reason: Waiting::Turn | Waiting::Executor | Waiting::Question }
        | Plan::Answer
            if now.alive != Alive::Nothing =>
        {
            Plan::Interrupt
        }
        Plan::Answer | Plan::Open | Plan::Reset | Plan::StartTurn | Plan::Turn { .. } => {
            Plan::Wait { reason: Waiting::Freeze }
        }
        Plan::Wait { .. }
        | Plan::Settle
        | Plan::Interrupt
        | Plan::Conclude { .. }
        | Plan::Integrate
        | Plan::Judge
        | Plan::Try
        | Plan::CheckCandidate
        | Plan::CheckBase
        | Plan::Land
        | Plan::Find
        | Plan::Confirm
        | Plan::OpenPullRequest
        | Plan::StepAside
        | Plan::TakeUp
        | Plan::Adopt
        | Plan::CheckStages
        | Plan::CheckDescendants
        | Plan::ProveLanded => next,
    }
}

/// Rows 7 to 12, and what a finished turn leads to.
fn by_turn(now: &Situation) -> Plan {
    match now.turn {
        TurnState::None { gates: Gates::Refused } => let_go(now),
        TurnState::None { gates: Gates::Unreadable } => Plan::Wait { reason: Waiting::Gates },
        TurnState::None { gates: Gates::Open } => Plan::Open,
        // The turn may spend what was reserved for it. Its successor gets what is left.
        TurnState::NotStarted { .. } | TurnState::Asking { .. } | TurnState::Running { .. }
            if now.lowered =>
        {
            Plan::Interrupt
        }
        TurnState::NotStarted { reset: false } => Plan::Reset,
        TurnState::NotStarted { reset: true } => Plan::StartTurn,
        TurnState::Asking { due: true } => Plan::Answer,
        TurnState::Asking { due: false } => Plan::Wait { reason: Waiting::Question },
        TurnState::Limited { .. } if !now.retries_left => give_up(now),
        TurnState::Limited { reset: true } => Plan::Turn { cause: TurnCause::LimitReset },
        TurnState::Limited { reset: false } => Plan::Wait { reason: Waiting::UsageLimit },
        TurnState::Unavailable { overdue: true, .. } => give_up(now),
        TurnState::Unavailable { again: true, overdue: false } => {
            Plan::Turn { cause: TurnCause::AgentBack }
        }
        TurnState::Unavailable { again: false, overdue: false } => {
            Plan::Wait { reason: Waiting::Agent }
        }
        TurnState::Running { stalled: true } => Plan::Interrupt,
        TurnState::Running { stalled: false } => Plan::Wait { reason: Waiting::Turn },
        TurnState::Unknown => Plan::Wait { reason: Waiting::Executor },
        TurnState::Interrupted => Plan::Turn { cause: TurnCause::Interrupted },
        TurnState::Failed { .. } if !now.retries_left => give_up(now),
        TurnState::Failed { backoff_over: true } => Plan::Turn { cause: TurnCause::Retry },
        TurnState::Failed { backoff_over: false } => Plan::Wait { reason: Waiting::Backoff },
        TurnState::Finished { workspace: WorkspaceState::Unreadable, .. } => {
            Plan::Wait { reason: Waiting::Workspace }
        }
        // The agent gets a person's message before anything else is decided for the attempt.
        TurnState::Finished { work, .. } if now.message_waiting && undecided(work) => {
            Plan::Turn { cause: TurnCause::Said }
        }
        TurnState::Finished { workspace: WorkspaceState::Dirty { asked: false }, .. } => {
            Plan::Turn { cause: TurnCause::CommitOrDiscard }
        }
        TurnState::Finished { workspace: WorkspaceState::Unfinished, .. } => give_up(now),
        TurnState::Finished {
            workspace: WorkspaceState::Clean | WorkspaceState::Dirty { asked: true },
            work,
        } => by_work(now, work),
    }
}

/// Whether nothing speaks against the work and nothing of it is in progress.
fn undecided(work: Work) -> bool {
    match work {
        Work::Nothing
        | Work::New(
            CandidateState::Unmerged
            | CandidateState::Unjudged { judging: false }
            | CandidateState::Untried
            | CandidateState::PullRequestUnopened
            | CandidateState::Clear,
        ) => true,
        Work::New(
            CandidateState::Unjudged { judging: true }
            | CandidateState::Breached
            | CandidateState::Refused(_)
            | CandidateState::Pushed { .. }
            | CandidateState::Excused { .. }
            | CandidateState::PullRequestOpen
            | CandidateState::PullRequestMerged,
        ) => false,
    }
}

/// Rows 13 to 20: the turn is over and the committed work is decided on.
fn by_work(now: &Situation, work: Work) -> Plan {
    match work {
        Work::New(candidate) => by_candidate(now, candidate),
        Work::Nothing => by_verdict(now),
    }
}

/// Rows 13 to 16.
fn by_candidate(now: &Situation, candidate: CandidateState) -> Plan {
    match candidate {
        CandidateState::Breached | CandidateState::Refused(Refusal::Setup) => give_up(now),
        CandidateState::Refused(
            Refusal::Conflict
            | Refusal::Verify
            | Refusal::Proof
            | Refusal::Stage
            | Refusal::Message,
        ) => refused(now),
        CandidateState::Untried if now.frozen => Plan::Wait { reason: Waiting::Freeze },
        CandidateState::Untried => Plan::Try,
        CandidateState::Pushed { overdue: true } | CandidateState::Excused { overdue: true } => {
            give_up(now)
        }
        CandidateState::Pushed { overdue: false } => Plan::CheckCandidate,
        CandidateState::Excused { overdue: false } => Plan::CheckBase,
        CandidateState::PullRequestUnopened if now.frozen => Plan::Wait { reason: Waiting::Freeze },
        CandidateState::PullRequestUnopened => Plan::OpenPullRequest,
        CandidateState::PullRequestOpen => Plan::Wait { reason: Waiting::PullRequest },
        CandidateState::PullRequestMerged => Plan::Adopt,
        CandidateState::Unmerged => Plan::Integrate,
        CandidateState::Unjudged { judging: true } => Plan::Wait { reason: Waiting::Judgement },
        CandidateState::Unjudged { judging: false } => Plan::Judge,
        CandidateState::Clear if now.frozen => Plan::Wait { reason: Waiting::Freeze },
        CandidateState::Clear => Plan::Land,
    }
}

/// Row 14.
fn refused(now: &Situation) -> Plan {
    if now.refusals_left { Plan::Turn { cause: TurnCause::Refused } } else { give_up(now) }
}

/// Rows 17 to 20.
fn by_verdict(now: &Situation) -> Plan {
    match now.landed {
        // Rows 4 and 5 have decided on green already.
        Landed::Nothing | Landed::Green { .. } => conclude(now, End::NeedsHuman),
        Landed::Red { cause: RedCause::Ours, .. } if now.fixes_left => {
            Plan::Turn { cause: TurnCause::FixForward }
        }
        Landed::Red { cause: RedCause::Ours, .. } | Landed::Pending { overdue: true } => {
            conclude(now, End::Frozen)
        }
        Landed::Red { cause: RedCause::NotOurs, overdue } | Landed::Void { overdue } => {
            if overdue {
                conclude(now, End::NeedsHuman)
            } else {
                Plan::CheckDescendants
            }
        }
        Landed::Pending { overdue: false } => Plan::CheckStages,
    }
}

/// Escalate; but freeze if the landed commit is red and ours, so that nobody builds on it.
fn give_up(now: &Situation) -> Plan {
    match now.landed {
        Landed::Red { cause: RedCause::Ours, .. } => conclude(now, End::Frozen),
        Landed::Nothing
        | Landed::Red { cause: RedCause::NotOurs, .. }
        | Landed::Void { .. }
        | Landed::Pending { .. }
        | Landed::Green { .. } => conclude(now, End::NeedsHuman),
    }
}

/// How a run ends that changes nothing more. If what landed is red, or got no answer in time, the
/// repo is frozen, so that nobody builds on it.
fn left_behind(now: &Situation) -> End {
    match now.landed {
        Landed::Red { cause: RedCause::Ours, .. } | Landed::Pending { overdue: true } => {
            End::Frozen
        }
        Landed::Nothing
        | Landed::Pending { overdue: false }
        | Landed::Red { cause: RedCause::NotOurs, .. }
        | Landed::Void { .. }
        | Landed::Green { .. } => End::NeedsHuman,
    }
}

/// No more turns: release, or follow what landed to its verdict.
fn let_go(now: &Situation) -> Plan {
    match now.landed {
        Landed::Nothing => conclude(now, End::Withdrawn),
        Landed::Green { evidence: EvidenceState::Complete } => conclude(now, End::Done),
        Landed::Green { evidence: EvidenceState::Refused | EvidenceState::Missing { .. } } => {
            conclude(now, End::NeedsHuman)
        }
        Landed::Red { cause: RedCause::Ours, .. } => conclude(now, End::Frozen),
        Landed::Red { cause: RedCause::NotOurs, overdue }
        | Landed::Void { overdue }
        | Landed::Pending { overdue } => await_verdict(now, overdue),
    }
}

/// Commits `end` once nothing is alive. What an interrupt could not stop within its grace may still
/// be working: the repo is frozen, so that no second agent works beside it.
fn conclude(now: &Situation, end: End) -> Plan {
    match now.alive {
        Alive::Nothing => Plan::Conclude { end },
        Alive::Stages { grace_over: false } | Alive::Something { grace_over: false } => {
            Plan::Interrupt
        }
        Alive::Stages { grace_over: true } | Alive::Something { grace_over: true } => {
            Plan::Conclude { end: End::Frozen }
        }
    }
}

/// The interrupt, while something is alive that can be stopped and that brings no verdict.
fn stopped(now: &Situation) -> Option<Plan> {
    match now.alive {
        Alive::Something { grace_over: false } => Some(Plan::Interrupt),
        Alive::Something { grace_over: true } | Alive::Stages { .. } | Alive::Nothing => None,
    }
}

/// No more turns: only the verdict is followed, to the stage's deadline.
fn await_verdict(now: &Situation, overdue: bool) -> Plan {
    if overdue {
        return conclude(now, End::NeedsHuman);
    }
    stopped(now).unwrap_or(match now.landed {
        Landed::Pending { .. } => Plan::CheckStages,
        Landed::Nothing | Landed::Green { .. } | Landed::Red { .. } | Landed::Void { .. } => {
            Plan::CheckDescendants
        }
    })
}
