//! The decision table, row by row.

mod walk;

use super::*;
use crate::elapsed::Standstill;

/// A run at work, with everything left to spend.
const RUNNING: Situation = Situation {
    concluded: false,
    cancelled: false,
    halted: false,
    frozen: false,
    frozen_out: false,
    aside: false,
    spent: false,
    out_of_money: false,
    lowered: false,
    retries_left: true,
    refusals_left: true,
    fixes_left: true,
    push_unconfirmed: false,
    remote_unreadable: false,
    landing_confirmed: true,
    message_waiting: false,
    blind: false,
    obstacle: Obstacle::Nothing,
    alive: Alive::Something { grace_over: false },
    landed: Landed::Nothing,
    turn: TurnState::Running { stalled: false },
};

const BOTH: [bool; 2] = [false, true];
const STILL: Alive = Alive::Nothing;
const GREEN: Landed = Landed::Green { evidence: EvidenceState::Complete };
const UNPROVED: Landed = Landed::Green { evidence: EvidenceState::Missing { judging: false } };
const RED: Landed = Landed::Red { cause: RedCause::Ours, overdue: false };
const NOT_OURS: Landed = Landed::Red { cause: RedCause::NotOurs, overdue: false };
const NOTHING_NEW: TurnState =
    TurnState::Finished { workspace: WorkspaceState::Clean, work: Work::Nothing };

const fn finished(candidate: CandidateState) -> TurnState {
    TurnState::Finished { workspace: WorkspaceState::Clean, work: Work::New(candidate) }
}

/// A finished turn, nothing alive, `candidate` on its way.
fn offering(candidate: CandidateState) -> Situation {
    Situation { alive: STILL, turn: finished(candidate), ..RUNNING }
}

/// A finished turn with nothing new, nothing alive, and this landing.
fn landed(landed: Landed) -> Situation {
    Situation { alive: STILL, turn: NOTHING_NEW, landed, ..RUNNING }
}

fn ends(end: End) -> Plan {
    Plan::Conclude { end }
}

fn turn(cause: TurnCause) -> Plan {
    Plan::Turn { cause }
}

fn waits(reason: Waiting) -> Plan {
    Plan::Wait { reason }
}

#[track_caller]
fn check(now: Situation, expected: Plan) {
    assert_eq!(plan(&now), expected, "{now:#?}");
}

#[test]
fn what_stops_the_clocks_and_whose_an_issue_is_in_the_end() {
    use Waiting::{
        Agent, Backoff, Executor, Freeze, Gates, Halt, Judgement, Ports, PullRequest, Question,
        Turn, UsageLimit, Workspace,
    };
    let check = |all: &[Waiting], clocks_stop: Option<Standstill>| {
        for one in all {
            assert_eq!(one.stops_clocks(), clocks_stop, "{one:?}");
        }
    };
    check(&[Halt, Freeze], Some(Standstill::ByPerson));
    check(&[Question, PullRequest, UsageLimit, Agent], Some(Standstill::Wait));
    check(&[Gates, Turn, Executor, Backoff, Workspace, Judgement, Ports], None);
    let back = [End::Done, End::NeedsHuman, End::Frozen, End::Withdrawn].map(End::is_handed_over);
    assert_eq!(back, [false, true, true, false]);
}

#[test]
fn row_1_a_committed_outcome_is_only_settled() {
    check(Situation { concluded: true, cancelled: true, halted: true, ..RUNNING }, Plan::Settle);
}

#[test]
fn row_2_a_cancel_releases_or_follows_the_verdict_without_another_turn() {
    let cancelled = |landed| Situation { cancelled: true, alive: STILL, landed, ..RUNNING };
    check(Situation { cancelled: true, ..RUNNING }, Plan::Interrupt);
    let landed = Landed::Pending { overdue: false };
    check(Situation { cancelled: true, landed, ..RUNNING }, Plan::Interrupt);
    check(cancelled(Landed::Nothing), ends(End::Withdrawn));
    check(cancelled(GREEN), ends(End::Done));
    check(cancelled(UNPROVED), Plan::ProveLanded);
    check(cancelled(RED), ends(End::Frozen));
    check(cancelled(Landed::Pending { overdue: false }), Plan::CheckStages);
    check(cancelled(Landed::Pending { overdue: true }), ends(End::NeedsHuman));
    check(cancelled(NOT_OURS), Plan::CheckDescendants);
    // A live stage is left alone as long as its verdict is awaited.
    let staging =
        |landed| Situation { alive: Alive::Stages { grace_over: false }, ..cancelled(landed) };
    check(staging(Landed::Pending { overdue: false }), Plan::CheckStages);
    check(staging(Landed::Pending { overdue: true }), Plan::Interrupt);
    check(staging(NOT_OURS), Plan::CheckDescendants);
    check(staging(Landed::Nothing), Plan::Interrupt);
}

#[test]
fn row_3_a_halt_stops_everything_and_keeps_the_lock() {
    check(Situation { halted: true, ..RUNNING }, Plan::Interrupt);
    check(Situation { halted: true, alive: STILL, ..RUNNING }, waits(Waiting::Halt));
    check(Situation { halted: true, ..offering(CandidateState::Clear) }, waits(Waiting::Halt));
    check(Situation { halted: true, ..landed(RED) }, waits(Waiting::Halt));
    // A cancel releases even under a halt; what landed is followed once the halt is lifted.
    let cancelled = |now| Situation { halted: true, cancelled: true, ..now };
    check(cancelled(landed(Landed::Nothing)), ends(End::Withdrawn));
    let pending = landed(Landed::Pending { overdue: false });
    check(cancelled(pending), waits(Waiting::Halt));
    let staging = Situation { alive: Alive::Stages { grace_over: false }, ..pending };
    check(cancelled(staging), Plan::Interrupt);
}

#[test]
fn rows_4_and_5_green_closes_only_with_evidence() {
    check(Situation { landed: GREEN, ..RUNNING }, Plan::Interrupt);
    check(landed(GREEN), ends(End::Done));
    check(landed(UNPROVED), Plan::ProveLanded);
    check(
        landed(Landed::Green { evidence: EvidenceState::Missing { judging: true } }),
        waits(Waiting::Judgement),
    );
    check(landed(Landed::Green { evidence: EvidenceState::Refused }), ends(End::NeedsHuman));
    check(Situation { spent: true, ..landed(UNPROVED) }, ends(End::NeedsHuman));
    // A proof costs nothing.
    let poor = |now| Situation { spent: true, out_of_money: true, ..now };
    check(poor(landed(UNPROVED)), Plan::ProveLanded);
    check(poor(landed(RED)), ends(End::Frozen));
}

#[test]
fn row_6_a_spent_run_stops_and_is_judged_by_what_landed() {
    let spent = |now: Situation| Situation { spent: true, ..now };
    check(spent(RUNNING), Plan::Interrupt);
    check(spent(Situation { alive: STILL, ..RUNNING }), ends(End::NeedsHuman));
    check(spent(landed(RED)), ends(End::Frozen));
    check(spent(landed(NOT_OURS)), Plan::CheckDescendants);
    check(spent(landed(Landed::Pending { overdue: false })), Plan::CheckStages);
    check(spent(landed(Landed::Pending { overdue: true })), ends(End::NeedsHuman));
    check(spent(landed(GREEN)), ends(End::Done));
}

#[test]
fn row_7_the_gates_are_asked_again_before_the_first_turn() {
    let gates = |gates| Situation { alive: STILL, turn: TurnState::None { gates }, ..RUNNING };
    check(gates(Gates::Open), Plan::Open);
    check(gates(Gates::Refused), ends(End::Withdrawn));
    check(gates(Gates::Unreadable), waits(Waiting::Gates));
}

#[test]
fn row_6a_no_agent_that_lands_by_itself_is_at_work_under_a_freeze() {
    let frozen_out =
        |turn, alive| Situation { frozen: true, frozen_out: true, alive, turn, ..RUNNING };
    let alive = RUNNING.alive;
    check(frozen_out(RUNNING.turn, alive), Plan::Interrupt);
    check(frozen_out(TurnState::Unknown, alive), Plan::Interrupt);
    check(frozen_out(TurnState::Asking { due: true }, alive), Plan::Interrupt);
    check(frozen_out(TurnState::Interrupted, STILL), waits(Waiting::Freeze));
    check(frozen_out(TurnState::None { gates: Gates::Open }, STILL), waits(Waiting::Freeze));
    check(frozen_out(TurnState::Failed { backoff_over: true }, STILL), waits(Waiting::Freeze));
    // What the agent landed before the freeze is followed.
    let landed = Landed::Pending { overdue: false };
    check(Situation { landed, ..frozen_out(NOTHING_NEW, STILL) }, Plan::CheckStages);
    check(Situation { landed: RED, ..frozen_out(NOTHING_NEW, STILL) }, waits(Waiting::Freeze));
    // What the agent may have landed is read first.
    check(
        Situation { push_unconfirmed: true, ..frozen_out(TurnState::Interrupted, STILL) },
        Plan::Find,
    );
}

#[test]
fn rows_8_to_10_a_turn_is_answered_waited_for_or_interrupted() {
    let turn_is = |turn| Situation { turn, ..RUNNING };
    check(turn_is(TurnState::NotStarted { reset: true }), Plan::StartTurn);
    check(turn_is(TurnState::NotStarted { reset: false }), Plan::Reset);
    check(turn_is(TurnState::Asking { due: false }), waits(Waiting::Question));
    check(turn_is(TurnState::Asking { due: true }), Plan::Answer);
    check(turn_is(TurnState::Limited { reset: false }), waits(Waiting::UsageLimit));
    check(turn_is(TurnState::Limited { reset: true }), turn(TurnCause::LimitReset));
    for reset in BOTH {
        let limited = Situation { alive: STILL, ..turn_is(TurnState::Limited { reset }) };
        let in_vain = Situation { retries_left: false, ..limited };
        check(in_vain, ends(End::NeedsHuman));
        check(Situation { landed: RED, ..in_vain }, ends(End::Frozen));
    }
    let unavailable = |again, overdue| turn_is(TurnState::Unavailable { again, overdue });
    check(unavailable(false, false), waits(Waiting::Agent));
    check(unavailable(true, false), turn(TurnCause::AgentBack));
    for again in BOTH {
        let in_vain = Situation { alive: STILL, ..unavailable(again, true) };
        check(in_vain, ends(End::NeedsHuman));
        check(Situation { landed: RED, ..in_vain }, ends(End::Frozen));
        let none_left = Situation { retries_left: false, ..unavailable(again, false) };
        assert!(!matches!(plan(&none_left), Plan::Conclude { .. }), "no retry is spent for it");
    }
    check(turn_is(TurnState::Running { stalled: false }), waits(Waiting::Turn));
    check(turn_is(TurnState::Running { stalled: true }), Plan::Interrupt);
    check(turn_is(TurnState::Unknown), waits(Waiting::Executor));
    check(Situation { landed: RED, ..turn_is(TurnState::Unknown) }, waits(Waiting::Executor));
    check(turn_is(TurnState::Interrupted), turn(TurnCause::Interrupted));
}

#[test]
fn row_9_a_lowered_budget_stops_the_turn_that_may_spend_more() {
    let lowered = |turn| Situation { lowered: true, turn, ..RUNNING };
    for flag in BOTH {
        check(lowered(TurnState::Running { stalled: flag }), Plan::Interrupt);
        check(lowered(TurnState::Asking { due: flag }), Plan::Interrupt);
        let unstarted = lowered(TurnState::NotStarted { reset: flag });
        check(Situation { alive: STILL, ..unstarted }, Plan::Interrupt);
    }
    check(lowered(TurnState::Unknown), waits(Waiting::Executor));
    let gates = TurnState::None { gates: Gates::Refused };
    check(Situation { alive: STILL, ..lowered(gates) }, ends(End::Withdrawn));
    let halted = Situation { halted: true, alive: STILL, ..lowered(RUNNING.turn) };
    check(halted, waits(Waiting::Halt));
}

#[test]
fn row_11_a_failed_turn_is_retried_within_its_bound() {
    let failed = |backoff_over| Situation {
        alive: STILL,
        turn: TurnState::Failed { backoff_over },
        ..RUNNING
    };
    let none_left = Situation { retries_left: false, ..failed(true) };
    check(failed(false), waits(Waiting::Backoff));
    check(failed(true), turn(TurnCause::Retry));
    check(none_left, ends(End::NeedsHuman));
    check(Situation { landed: RED, ..none_left }, ends(End::Frozen));
    check(Situation { landed: NOT_OURS, ..none_left }, ends(End::NeedsHuman));
}

#[test]
fn row_12_uncommitted_work_is_asked_about_once() {
    let left = |workspace| Situation {
        alive: STILL,
        turn: TurnState::Finished { workspace, work: Work::Nothing },
        ..RUNNING
    };
    check(left(WorkspaceState::Unreadable), waits(Waiting::Workspace));
    check(left(WorkspaceState::Dirty { asked: false }), turn(TurnCause::CommitOrDiscard));
    check(left(WorkspaceState::Dirty { asked: true }), ends(End::NeedsHuman));
    // Work that git shows as unfinished does not land.
    let half = |work| Situation {
        turn: TurnState::Finished { workspace: WorkspaceState::Unfinished, work },
        ..left(WorkspaceState::Clean)
    };
    check(half(Work::New(CandidateState::Unmerged)), ends(End::NeedsHuman));
    check(half(Work::Nothing), ends(End::NeedsHuman));
    check(Situation { landed: RED, ..half(Work::Nothing) }, ends(End::Frozen));
}

#[test]
fn what_a_person_says_is_told_before_anything_is_decided() {
    let said = |now: Situation| Situation { message_waiting: true, ..now };
    let told = turn(TurnCause::Said);
    check(said(RUNNING), waits(Waiting::Turn));
    // A message does not answer a question.
    let asking = TurnState::Asking { due: false };
    check(said(Situation { turn: asking, ..RUNNING }), waits(Waiting::Question));
    let dirty = WorkspaceState::Dirty { asked: false };
    let left = |workspace| TurnState::Finished { workspace, work: Work::Nothing };
    check(said(Situation { turn: left(dirty), alive: STILL, ..RUNNING }), told);
    let unread = Situation { turn: left(WorkspaceState::Unreadable), alive: STILL, ..RUNNING };
    check(said(unread), waits(Waiting::Workspace));
    for candidate in [
        CandidateState::Unmerged,
        CandidateState::Unjudged { judging: false },
        CandidateState::Clear,
        CandidateState::PullRequestUnopened,
    ] {
        check(said(offering(candidate)), told);
    }
    check(said(landed(RED)), told);
    check(said(landed(Landed::Pending { overdue: true })), told);
    // Not where the candidate is decided on already, or being judged.
    let judging = CandidateState::Unjudged { judging: true };
    check(said(offering(judging)), waits(Waiting::Judgement));
    check(said(offering(CandidateState::PullRequestOpen)), Plan::StepAside);
    check(said(offering(CandidateState::Refused(Refusal::Proof))), turn(TurnCause::Refused));
    check(said(offering(CandidateState::Breached)), ends(End::NeedsHuman));
    // Nor against a switch, a cancel or the budget.
    check(
        said(Situation { halted: true, ..offering(CandidateState::Clear) }),
        waits(Waiting::Halt),
    );
    check(said(Situation { cancelled: true, ..landed(Landed::Nothing) }), ends(End::Withdrawn));
    check(said(Situation { spent: true, ..landed(Landed::Nothing) }), ends(End::NeedsHuman));
    check(said(landed(GREEN)), ends(End::Done));
}

#[test]
fn rows_13_and_14_a_breach_escalates_and_a_refusal_is_corrected() {
    let refused = offering(CandidateState::Refused(Refusal::Proof));
    check(offering(CandidateState::Breached), ends(End::NeedsHuman));
    check(Situation { landed: RED, ..offering(CandidateState::Breached) }, ends(End::Frozen));
    check(refused, turn(TurnCause::Refused));
    check(offering(CandidateState::Refused(Refusal::Setup)), ends(End::NeedsHuman));
    check(offering(CandidateState::Refused(Refusal::Conflict)), turn(TurnCause::Refused));
    check(Situation { refusals_left: false, ..refused }, ends(End::NeedsHuman));
    check(Situation { refusals_left: false, landed: RED, ..refused }, ends(End::Frozen));
}

#[test]
fn rows_15_and_16_a_candidate_waits_or_lands() {
    check(offering(CandidateState::Untried), Plan::Try);
    check(Situation { frozen: true, ..offering(CandidateState::Untried) }, waits(Waiting::Freeze));
    check(offering(CandidateState::Pushed { overdue: false }), Plan::CheckCandidate);
    check(offering(CandidateState::Pushed { overdue: true }), ends(End::NeedsHuman));
    check(offering(CandidateState::Refused(Refusal::Stage)), turn(TurnCause::Refused));
    check(offering(CandidateState::Refused(Refusal::Message)), turn(TurnCause::Refused));
    // A red base costs no refusal, and is waited for.
    let excused = |overdue| offering(CandidateState::Excused { overdue });
    check(excused(false), Plan::CheckBase);
    check(Situation { refusals_left: false, ..excused(false) }, Plan::CheckBase);
    check(excused(true), ends(End::NeedsHuman));
    check(Situation { landed: RED, ..excused(true) }, ends(End::Frozen));
    check(offering(CandidateState::PullRequestOpen), Plan::StepAside);
    check(offering(CandidateState::PullRequestMerged), Plan::Adopt);
    check(offering(CandidateState::PullRequestUnopened), Plan::OpenPullRequest);
    let frozen = Situation { frozen: true, ..offering(CandidateState::PullRequestUnopened) };
    check(frozen, waits(Waiting::Freeze));
    // An open pull request may be merged at any time.
    let open = |candidate| Situation { push_unconfirmed: true, ..offering(candidate) };
    check(open(CandidateState::PullRequestUnopened), Plan::OpenPullRequest);
    check(open(CandidateState::PullRequestOpen), Plan::StepAside);
    let alive = Alive::Something { grace_over: false };
    let held = Situation { alive, ..open(CandidateState::PullRequestOpen) };
    check(held, waits(Waiting::PullRequest));
    // Aside, it looks, stops and ends by itself; for all else it takes the lock again.
    let aside = |now: Situation| Situation { aside: true, ..now };
    check(aside(open(CandidateState::PullRequestOpen)), waits(Waiting::PullRequest));
    check(aside(open(CandidateState::PullRequestMerged)), Plan::TakeUp);
    check(aside(landed(Landed::Pending { overdue: false })), Plan::TakeUp);
    check(aside(landed(RED)), Plan::TakeUp);
    let stopped = Situation { cancelled: true, ..open(CandidateState::PullRequestOpen) };
    check(aside(stopped), Plan::Find);
    check(aside(Situation { push_unconfirmed: false, ..stopped }), ends(End::Withdrawn));
    check(aside(Situation { halted: true, ..landed(RED) }), waits(Waiting::Halt));
    check(open(CandidateState::PullRequestMerged), Plan::Adopt);
    check(Situation { cancelled: true, ..open(CandidateState::PullRequestOpen) }, Plan::Find);
    check(offering(CandidateState::Unmerged), Plan::Integrate);
    check(offering(CandidateState::Unjudged { judging: false }), Plan::Judge);
    check(offering(CandidateState::Unjudged { judging: true }), waits(Waiting::Judgement));
    check(offering(CandidateState::Clear), Plan::Land);
    check(Situation { frozen: true, ..offering(CandidateState::Clear) }, waits(Waiting::Freeze));
}

#[test]
fn rows_17_to_20_a_turn_without_a_new_head_is_judged_by_what_landed() {
    check(landed(Landed::Nothing), ends(End::NeedsHuman));
    check(landed(RED), turn(TurnCause::FixForward));
    check(Situation { fixes_left: false, ..landed(RED) }, ends(End::Frozen));
    check(landed(NOT_OURS), Plan::CheckDescendants);
    check(landed(Landed::Void { overdue: false }), Plan::CheckDescendants);
    check(landed(Landed::Void { overdue: true }), ends(End::NeedsHuman));
    check(landed(Landed::Pending { overdue: false }), Plan::CheckStages);
    check(landed(Landed::Pending { overdue: true }), ends(End::Frozen));
}

#[test]
fn what_cannot_be_stopped_freezes_the_repo() {
    let unstoppable = Alive::Something { grace_over: true };
    check(Situation { cancelled: true, alive: unstoppable, ..RUNNING }, ends(End::Frozen));
    check(Situation { spent: true, alive: unstoppable, ..RUNNING }, ends(End::Frozen));
}

#[test]
fn row_1a_a_pass_that_did_not_see_everything_waits() {
    let blind = |now: Situation| Situation { blind: true, ..now };
    check(blind(RUNNING), waits(Waiting::Ports));
    check(blind(offering(CandidateState::Clear)), waits(Waiting::Ports));
    check(blind(landed(GREEN)), waits(Waiting::Ports));
    check(blind(Situation { cancelled: true, ..RUNNING }), waits(Waiting::Ports));
    check(blind(Situation { spent: true, ..RUNNING }), waits(Waiting::Ports));
    check(blind(Situation { concluded: true, ..RUNNING }), Plan::Settle);
    // A halt stops what may be alive, even where that cannot be seen.
    let halted = Situation { halted: true, ..RUNNING };
    check(blind(halted), Plan::Interrupt);
    check(blind(Situation { alive: STILL, ..halted }), waits(Waiting::Halt));
    // At an obstacle it only matters what is alive.
    let impeded = Situation { obstacle: Obstacle::NeedsAPerson, ..RUNNING };
    check(blind(impeded), Plan::Interrupt);
    check(blind(Situation { alive: STILL, ..impeded }), ends(End::NeedsHuman));
}

#[test]
fn row_1b_a_forged_commit_freezes() {
    let forged = |now: Situation| Situation { obstacle: Obstacle::Forged, ..now };
    check(forged(RUNNING), Plan::Interrupt);
    for now in [offering(CandidateState::Clear), landed(GREEN), landed(NOT_OURS)] {
        check(forged(now), ends(End::Frozen));
        check(forged(Situation { cancelled: true, ..now }), ends(End::Frozen));
        check(forged(Situation { halted: true, ..now }), ends(End::Frozen));
        // The commit was found by reading the remote, which need not be read again.
        check(forged(Situation { push_unconfirmed: true, ..now }), ends(End::Frozen));
    }
}

#[test]
fn row_3a_what_only_a_person_can_fix_ends_the_run() {
    let impeded = |now: Situation| Situation { obstacle: Obstacle::NeedsAPerson, ..now };
    check(impeded(RUNNING), Plan::Interrupt);
    let alive = Alive::Something { grace_over: true };
    check(impeded(Situation { alive, ..RUNNING }), ends(End::Frozen));
    check(impeded(offering(CandidateState::Clear)), ends(End::NeedsHuman));
    check(impeded(landed(RED)), ends(End::Frozen));
    check(impeded(landed(NOT_OURS)), ends(End::NeedsHuman));
    check(impeded(landed(Landed::Pending { overdue: false })), ends(End::NeedsHuman));
    check(impeded(landed(Landed::Pending { overdue: true })), ends(End::Frozen));
    check(impeded(landed(UNPROVED)), ends(End::NeedsHuman));
    check(impeded(landed(GREEN)), ends(End::Done));
    check(
        impeded(Situation { push_unconfirmed: true, ..offering(CandidateState::Clear) }),
        Plan::Find,
    );
    check(impeded(Situation { halted: true, ..landed(RED) }), waits(Waiting::Halt));
    // A cancelled run is released, unless it landed something whose verdict nobody can follow.
    let cancelled = |now: Situation| Situation { cancelled: true, ..impeded(now) };
    check(cancelled(landed(Landed::Nothing)), ends(End::Withdrawn));
    check(cancelled(landed(Landed::Pending { overdue: false })), ends(End::NeedsHuman));
}

#[test]
fn what_became_of_a_push_is_read_before_anything_goes_on_without_it() {
    let sent = |now: Situation| Situation { push_unconfirmed: true, ..now };
    let clear = sent(offering(CandidateState::Clear));
    check(clear, Plan::Land);
    check(Situation { message_waiting: true, ..clear }, Plan::Find);
    check(Situation { cancelled: true, ..clear }, Plan::Find);
    check(Situation { spent: true, ..clear }, Plan::Find);
    check(Situation { frozen: true, ..clear }, Plan::Find);
    check(Situation { halted: true, ..clear }, waits(Waiting::Halt));
    check(Situation { concluded: true, ..clear }, Plan::Settle);
    // A fix-forward that was pushed may have landed, and then its verdict counts.
    check(Situation { cancelled: true, landed: NOT_OURS, ..clear }, Plan::Find);
    check(sent(landed(GREEN)), Plan::Find);
    // What is alive is stopped first.
    check(sent(Situation { cancelled: true, ..RUNNING }), Plan::Interrupt);
    // If the remote cannot be read and the wait for it is over, a person has to look.
    let unread = |now: Situation| Situation { remote_unreadable: true, ..sent(now) };
    check(unread(clear), Plan::Land);
    check(unread(Situation { cancelled: true, ..clear }), ends(End::NeedsHuman));
    check(unread(Situation { spent: true, ..clear }), ends(End::NeedsHuman));
    check(unread(Situation { spent: true, ..landed(RED) }), ends(End::Frozen));
    check(unread(Situation { cancelled: true, landed: NOT_OURS, ..clear }), ends(End::NeedsHuman));
}

#[test]
fn what_landed_is_looked_for_once_more_before_anything_follows_from_it() {
    let unseen = |now: Situation| Situation { landing_confirmed: false, ..now };
    check(unseen(landed(GREEN)), Plan::Confirm);
    check(unseen(Situation { cancelled: true, ..landed(GREEN) }), Plan::Confirm);
    check(unseen(Situation { spent: true, ..landed(GREEN) }), Plan::Confirm);
    // No agent is paid to fix what is not there, and no repo is frozen for it.
    check(unseen(landed(RED)), Plan::Confirm);
    check(unseen(Situation { fixes_left: false, ..landed(RED) }), Plan::Confirm);
    check(unseen(landed(Landed::Pending { overdue: true })), Plan::Confirm);
    // What is alive is stopped first; if it cannot be stopped, the repo is frozen in any case.
    check(unseen(Situation { landed: GREEN, ..RUNNING }), Plan::Interrupt);
    let alive = Alive::Something { grace_over: true };
    check(unseen(Situation { spent: true, landed: RED, alive, ..RUNNING }), ends(End::Frozen));
    // A plan that only waits does not read the branch, nor does an end that claims nothing of it.
    check(unseen(landed(UNPROVED)), Plan::ProveLanded);
    check(unseen(landed(NOT_OURS)), Plan::CheckDescendants);
    check(unseen(landed(Landed::Void { overdue: true })), ends(End::NeedsHuman));
    check(unseen(landed(Landed::Nothing)), ends(End::NeedsHuman));
    // The branch cannot be read, and the wait for it is over.
    let unread = |now: Situation| unseen(Situation { remote_unreadable: true, ..now });
    check(unread(landed(GREEN)), ends(End::NeedsHuman));
    check(unread(Situation { spent: true, ..landed(RED) }), ends(End::Frozen));
}

#[test]
fn row_1c_what_was_taken_out_again_is_handed_over() {
    let gone = |now: Situation| Situation {
        obstacle: Obstacle::TakenOut,
        landing_confirmed: false,
        ..now
    };
    check(gone(RUNNING), Plan::Interrupt);
    for now in [landed(GREEN), landed(RED), landed(Landed::Pending { overdue: true })] {
        check(gone(now), ends(End::NeedsHuman));
        check(gone(Situation { cancelled: true, ..now }), ends(End::NeedsHuman));
        check(gone(Situation { spent: true, ..now }), ends(End::NeedsHuman));
        check(gone(Situation { halted: true, ..now }), waits(Waiting::Halt));
        check(gone(Situation { halted: true, cancelled: true, ..now }), waits(Waiting::Halt));
        // A fix-forward that was pushed may be there.
        check(gone(Situation { push_unconfirmed: true, ..now }), Plan::Find);
    }
}
