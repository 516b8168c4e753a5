//! From record and observation to the situation: every bound at its edge.

use super::*;
use crate::plan::{self, Alive, Gates, Situation, Work, WorkspaceState};

pub(super) fn situation(steps: &[(i64, Transition)], now: i64) -> Situation {
    run(steps).situation(&Observation::default(), &limits(), at(now))
}

pub(super) fn seen(steps: &[(i64, Transition)], seen: &Observation, now: i64) -> Situation {
    run(steps).situation(seen, &limits(), at(now))
}

pub(super) fn repeated(steps: &[(i64, Transition)], n: usize) -> Vec<(i64, Transition)> {
    std::iter::repeat_n(steps, n).flatten().cloned().collect()
}

/// An interval without a control plane.
pub(super) fn away(from: i64, to: i64) -> (i64, Transition) {
    (to, Transition::Away { from: at(from), to: at(to) })
}

#[test]
fn the_run_deadline_is_strict_and_pauses_do_not_count() {
    assert!(!situation(&[], 43_199).spent);
    assert!(situation(&[], 43_200).spent);
    let paused = [away(100, 200)];
    assert!(!situation(&paused, 43_299).spent);
    assert!(situation(&paused, 43_300).spent);
    let open = [(100, Transition::Paused { why: Standstill::Wait })];
    assert!(!situation(&open, 1_000_000).spent);
    let closed = [(100, Transition::Paused { why: Standstill::Wait }), (200, Transition::Unpaused)];
    assert!(situation(&closed, 43_300).spent);
}

#[test]
fn a_budget_is_spent_at_its_bound() {
    let paid = |dollars, now| {
        let steps = [(1, begun(TurnCause::Opening)), (2, paid(dollars, 1))];
        let situation = situation(&steps, now);
        (situation.spent, situation.out_of_money)
    };
    assert_eq!([9, 10, 11].map(|n| paid(n, 43_199)), [(false, false), (true, true), (true, true)]);
    assert_eq!([9, 10].map(|n| paid(n, 43_200)), [(true, false), (true, false)]);
}

#[test]
fn executor_retries_are_counted_in_a_row() {
    let retry = |n: i64| {
        let mut steps = vec![(0, begun(TurnCause::Opening)), (1, failed())];
        for i in 1..n {
            steps.extend([(i * 2, begun(TurnCause::Retry)), (i * 2 + 1, failed())]);
        }
        steps
    };
    assert!(situation(&retry(3), 50).retries_left);
    assert!(!situation(&retry(4), 50).retries_left, "three retries are spent");
    let better = with(retry(3), vec![(60, begun(TurnCause::Retry)), (61, finished())]);
    assert_eq!(run(&better).failures_in_a_row(), 0);
    let hopeless = ended(TurnEnd::Hopeless { message: String::new() });
    assert!(!situation(&[(0, begun(TurnCause::Opening)), (1, hopeless)], 2).retries_left);
    for how in [TurnEnd::Interrupted, TurnEnd::Limited { resets_at: None }] {
        let free = with(retry(3), vec![(60, begun(TurnCause::Retry)), (61, ended(how))]);
        assert!(situation(&free, 62).retries_left, "costs no retry");
    }
}

#[test]
fn a_retry_waits_for_its_backoff() {
    let turn = |steps: &[(i64, Transition)], now| situation(steps, now).turn;
    let once = vec![(0, begun(TurnCause::Opening)), (5, failed())];
    assert_eq!(turn(&once, 14), plan::TurnState::Failed { backoff_over: false });
    assert_eq!(turn(&once, 15), plan::TurnState::Failed { backoff_over: true });
    let twice = with(once, vec![(15, begun(TurnCause::Retry)), (20, ended(TurnEnd::Lost))]);
    assert_eq!(turn(&twice, 39), plan::TurnState::Failed { backoff_over: false });
    assert_eq!(turn(&twice, 40), plan::TurnState::Failed { backoff_over: true });
}

#[test]
fn a_usage_limit_is_over_at_its_reset() {
    let limited = |resets_at| {
        vec![(0, begun(TurnCause::Opening)), (5, ended(TurnEnd::Limited { resets_at }))]
    };
    let turn = |resets_at, now| situation(&limited(resets_at), now).turn;
    let told = Some(at(100));
    assert_eq!(turn(told, 99), plan::TurnState::Limited { reset: false });
    assert_eq!(turn(told, 100), plan::TurnState::Limited { reset: true });
    assert_eq!(turn(None, 904), plan::TurnState::Limited { reset: false });
    assert_eq!(turn(None, 905), plan::TurnState::Limited { reset: true });
    // Neither a reset in the past nor one that is too far away is believed.
    let days = 8 * 86_400;
    for (told, over) in [(-999, 15), (14, 15), (days + 4, days + 4), (days + 6, days + 5)] {
        let told = Some(at(told));
        assert_eq!(turn(told, over - 1), plan::TurnState::Limited { reset: false }, "{told:?}");
        assert_eq!(turn(told, over), plan::TurnState::Limited { reset: true }, "{told:?}");
    }
}

fn unavailable(what: AgentNeed) -> Transition {
    ended(TurnEnd::Unavailable { what, message: "away".to_owned() })
}

#[test]
fn an_agent_that_cannot_work_is_tried_again_ever_later_and_not_for_ever() {
    let away = || unavailable(AgentNeed::Model);
    let all = |n| repeated(&[(99, begun(TurnCause::AgentBack)), (100, away())], n);
    for (n, seconds) in [(1, 30), (2, 60), (3, 120), (5, 480), (6, 600), (40, 600)] {
        let run = run(&all(n));
        let found = run.unavailable().unwrap();
        assert_eq!(found.again.duration_since(at(100)).as_secs(), seconds, "{n}");
        assert_eq!((found.times, found.since), (n as u32, at(100)));
    }
    let turn = |now| situation(&all(1), now).turn;
    let is = |again, overdue| plan::TurnState::Unavailable { again, overdue };
    assert_eq!(turn(129), is(false, false));
    assert_eq!(turn(130), is(true, false));
    assert_eq!(turn(100 + 12 * 3600 - 1), is(true, false));
    assert_eq!(turn(100 + 12 * 3600), is(true, true));
    // Holds and absences do not count; the wait itself does.
    let wait = |why| vec![(101, Transition::Paused { why }), (5_101, Transition::Unpaused)];
    for (pauses, over) in [
        (wait(Standstill::Wait), 12 * 3600),
        (wait(Standstill::ByPerson), 12 * 3600 + 5_000),
        (vec![(50_200, Transition::Away { from: at(200), to: at(50_200) })], 12 * 3600 + 50_000),
    ] {
        let turn = |now| situation(&with(all(1), pauses.clone()), now).turn;
        assert_eq!(turn(100 + over - 1), is(true, false), "{pauses:?}");
        assert_eq!(turn(100 + over), is(true, true), "{pauses:?}");
    }
    // Failures and a halt between them are no progress; a turn that finished is.
    let with_end = |how| with(all(1), vec![(101, begun(TurnCause::AgentBack)), (102, ended(how))]);
    let again = vec![(103, begun(TurnCause::Retry)), (104, away())];
    let times = |steps: Vec<(i64, Transition)>| run(&steps).unavailable().map(|found| found.times);
    for how in [TurnEnd::Lost, TurnEnd::Interrupted, TurnEnd::Limited { resets_at: None }] {
        assert_eq!(times(with_end(how.clone())), None);
        assert_eq!(times(with(with_end(how), again.clone())), Some(2));
    }
    let finished = TurnEnd::Finished { message: String::new() };
    assert_eq!(times(with(with_end(finished), again)), Some(1));
    // It neither uses up a retry nor gives one back.
    let failures = |steps: Vec<(i64, Transition)>| run(&steps).failures_in_a_row();
    let failed = vec![(10, begun(TurnCause::Opening)), (20, ended(TurnEnd::Lost))];
    assert_eq!(failures(with(failed, all(3))), 1);
}

#[test]
fn an_agent_that_cannot_work_is_held_until_it_works_again() {
    let holds = |steps: &[(i64, Transition)], now| run(steps).holds_agent(at(now)).is_some();
    let away = |what| vec![(1, begun(TurnCause::Opening)), (5, unavailable(what))];
    let model = || away(AgentNeed::Model);
    assert!(holds(&model(), 5));
    let trying = with(model(), vec![(35, begun(TurnCause::AgentBack))]);
    assert!(holds(&trying, 36) && holds(&trying, 334) && !holds(&trying, 335));
    assert!(!holds(&with(trying, vec![(40, finished())]), 41));
    let over = Transition::Concluded { end: End::Withdrawn, why: String::new(), charged: None };
    assert!(!holds(&with(model(), vec![(6, over)]), 7));
    // A program that the run may have damaged itself holds nobody else.
    assert!(holds(&away(AgentNeed::Program), 5));
    let spoilt =
        vec![(1, begun(TurnCause::Opening)), (2, finished()), (3, begun(TurnCause::Refused))];
    let spoilt = |what| with(spoilt.clone(), vec![(5, unavailable(what))]);
    assert!(!holds(&spoilt(AgentNeed::Program), 5) && holds(&spoilt(AgentNeed::SignIn), 5));
    assert!(run(&spoilt(AgentNeed::Program)).waits_for_agent(at(5)).is_some());
}

#[test]
fn usage_limits_in_a_row_are_tried_again_ever_later_and_not_for_ever() {
    let limited = || (100, ended(TurnEnd::Limited { resets_at: Some(at(0)) }));
    let again = |end: (i64, Transition)| [(99, begun(TurnCause::LimitReset)), end];
    let all = |n| repeated(&again(limited()), n);
    let waits = |steps: &[(i64, Transition)]| {
        run(steps).limit_over().map(|over| over.duration_since(at(100)).as_secs())
    };
    for (n, seconds) in [(1, 10), (2, 20), (3, 40), (9, 2560), (10, 3600), (40, 3600)] {
        assert_eq!(waits(&all(n)), Some(seconds), "{n}");
    }
    let left = |steps: &[(i64, Transition)]| situation(steps, 100).retries_left;
    assert!(left(&all(11)) && !left(&all(12)));
    // A failure between them is no progress; a turn that finished is.
    let failing = with(all(11), again((100, failed())).to_vec());
    assert!(left(&failing) && !left(&with(failing, all(1))));
    let finished = with(all(11), again((100, finished())).to_vec());
    assert_eq!(waits(&finished), None);
    assert_eq!(waits(&with(finished, all(1))), Some(10));
}

#[test]
fn gates_count_until_the_first_turn() {
    let gates = |gates| seen(&[], &Observation { gates, ..Observation::default() }, 1).turn;
    assert_eq!(gates(Some(Gates::Open)), plan::TurnState::None { gates: Gates::Open });
    assert_eq!(gates(Some(Gates::Refused)), plan::TurnState::None { gates: Gates::Refused });
    assert_eq!(gates(None), plan::TurnState::None { gates: Gates::Unreadable }, "unknown is wait");
}

#[test]
fn a_turn_under_way_is_as_it_was_seen() {
    let steps = vec![(10, begun(TurnCause::Opening))];
    let check = |steps: &[(i64, Transition)], turn: Option<TurnSeen>, now, expected| {
        let found =
            seen(steps, &Observation { turn: turn.clone(), ..Observation::default() }, now).turn;
        assert_eq!(found, expected, "{turn:?} at {now}");
    };
    let running = |second: i64, tool_open| {
        Some(TurnSeen::Running { last_event_at: at(second), tool_open, asks: Vec::new() })
    };
    let stalled = |stalled| plan::TurnState::Running { stalled };
    check(&steps, Some(TurnSeen::Absent), 20, plan::TurnState::NotStarted { reset: true });
    check(&steps, Some(TurnSeen::Unknown), 20, plan::TurnState::Unknown);
    check(&steps, None, 20, plan::TurnState::Unknown);
    check(&steps, running(100, false), 1899, stalled(false));
    check(&steps, running(100, false), 1900, stalled(true));
    check(&steps, running(100, true), 7299, stalled(false));
    check(&steps, running(100, true), 7300, stalled(true));
    // The silence begins with the turn, not with an event before it.
    check(&steps, running(-5000, false), 1809, stalled(false));
    check(&steps, running(-5000, false), 1810, stalled(true));
    let slept = with(steps.clone(), vec![away(200, 5200)]);
    check(&slept, running(100, false), 6899, stalled(false));
    check(&slept, running(100, false), 6900, stalled(true));
    let asking = Some(TurnSeen::Running {
        last_event_at: at(100),
        tool_open: false,
        asks: vec![ask("q", true)],
    });
    let asked = with(steps, vec![(100, questioned("q", true, 400))]);
    check(&asked, asking.clone(), 399, plan::TurnState::Asking { due: false });
    check(&asked, asking.clone(), 400, plan::TurnState::Asking { due: true });
    let answer = Answer::Say { text: "The first.".to_owned() };
    let answered = with(asked, vec![(200, Transition::Answered { n: 1, answer })]);
    check(&answered, asking, 200, plan::TurnState::Asking { due: true });
}

fn work(steps: &[(i64, Transition)]) -> plan::TurnState {
    situation(steps, 50).turn
}

pub(super) fn finished_with(workspace: WorkspaceState, work: Work) -> plan::TurnState {
    plan::TurnState::Finished { workspace, work }
}

#[test]
fn dirt_is_asked_about_once() {
    let turn = vec![(1, opened()), (2, begun(TurnCause::Opening)), (3, finished())];
    let unreadable = finished_with(WorkspaceState::Unreadable, Work::Nothing);
    assert_eq!(work(&turn), unreadable);
    let dirty = with(turn, vec![(4, left('1', &["a"]))]);
    let new = Work::New(plan::CandidateState::Unmerged);
    assert_eq!(work(&dirty), finished_with(WorkspaceState::Dirty { asked: false }, new));
    let asked = with(dirty, vec![(5, begun(TurnCause::CommitOrDiscard)), (6, finished())]);
    assert_eq!(run(&asked).attempts[0].dirty, ["a"]);
    assert_eq!(work(&asked), unreadable, "it is looked at again");
    let again = with(asked, vec![(7, left('1', &["a"]))]);
    assert_eq!(work(&again), finished_with(WorkspaceState::Dirty { asked: true }, new));
}

#[test]
fn a_head_is_new_until_it_is_disposed_of() {
    let turn = vec![(1, opened()), (2, begun(TurnCause::Opening)), (3, finished())];
    let check = |steps: &[(i64, Transition)], expected| {
        assert_eq!(
            work(steps),
            finished_with(WorkspaceState::Clean, expected),
            "{:?}",
            steps.last()
        );
    };
    let new = |candidate| Work::New(candidate);
    check(&with(turn.clone(), vec![(4, left('b', &[]))]), Work::Nothing);
    let head = with(turn, vec![(4, left('1', &[]))]);
    check(&head, new(plan::CandidateState::Unmerged));
    let merged = with(head, vec![(5, integrated('1', 'c'))]);
    check(&merged, new(plan::CandidateState::Unjudged { judging: false }));
    let guarded = with(merged, vec![(6, guarded())]);
    check(&guarded, new(plan::CandidateState::Unjudged { judging: false }));
    check(&with(guarded.clone(), vec![(7, proved())]), new(plan::CandidateState::Clear));
    // A refused proof is never clear, whatever was recorded after it.
    let half = with(guarded.clone(), vec![(7, disproved())]);
    check(&half, new(plan::CandidateState::Unjudged { judging: false }));
    let refused = with(half, vec![(8, refused(Refusal::Proof))]);
    check(&refused, new(plan::CandidateState::Refused(Refusal::Proof)));
    let same = vec![(9, begun(TurnCause::Refused)), (10, finished()), (11, left('1', &[]))];
    check(&with(refused, same), Work::Nothing);
    let landing = with(guarded, vec![(7, proved()), (8, landed('c'))]);
    check(&landing, Work::Nothing);
    let fix = vec![(9, begun(TurnCause::FixForward)), (10, finished())];
    for old in ['1', 'c'] {
        let fix = with(fix.clone(), vec![(11, left(old, &[]))]);
        check(&with(landing.clone(), fix), Work::Nothing);
    }
    let fix = with(fix, vec![(11, left('2', &[]))]);
    check(&with(landing, fix), new(plan::CandidateState::Unmerged));
}

#[test]
fn judging_is_seen_and_a_breach_counts_first() {
    let steps = with(to_landing()[..5].to_vec(), vec![]);
    let judging = seen(&steps, &Observation { judging: true, ..Observation::default() }, 50).turn;
    let unjudged = Work::New(plan::CandidateState::Unjudged { judging: true });
    assert_eq!(judging, finished_with(WorkspaceState::Clean, unjudged));
    let path = crate::change::TreePath::new(b"a").unwrap();
    let breach = crate::guardrails::Breach::CredentialFile { path };
    let report = GuardrailReport { breaches: vec![breach], further: 0, stats: Tally::default() };
    let breached = with(steps, vec![(13, Transition::Guarded { report }), (14, proved())]);
    let expected = Work::New(plan::CandidateState::Breached);
    assert_eq!(work(&breached), finished_with(WorkspaceState::Clean, expected));
}

#[test]
fn a_stop_has_its_grace() {
    let alive_as = |working, stopping: Option<i64>, now| {
        let told = stopping.map(|second| (second, Transition::Stopping));
        let steps = Vec::from_iter(told);
        seen(&steps, &Observation { alive: true, working, ..Observation::default() }, now).alive
    };
    let alive = |stopping, now| alive_as(true, stopping, now);
    assert_eq!(situation(&[], 1).alive, Alive::Nothing);
    assert_eq!(alive_as(false, None, 1), Alive::Stages { grace_over: false });
    assert_eq!(alive_as(false, Some(10), 40), Alive::Stages { grace_over: true });
    assert_eq!(alive(None, 999), Alive::Something { grace_over: false });
    assert_eq!(alive(Some(10), 39), Alive::Something { grace_over: false });
    assert_eq!(alive(Some(10), 40), Alive::Something { grace_over: true });
}

#[test]
fn switches_and_outcomes_are_passed_on() {
    let now = seen(&[], &Observation { halted: true, frozen: true, ..Observation::default() }, 1);
    assert!(now.halted && now.frozen && !now.concluded && !now.cancelled);
    let cancel = Cancel { by: None, how: CancelHow::Stopped, at: at(1) };
    assert!(situation(&[(1, Transition::Cancelled { cancel })], 2).cancelled);
    let end = Transition::Concluded { end: End::Withdrawn, why: String::new(), charged: None };
    assert!(situation(&[(1, end)], 2).concluded);
}

#[test]
fn what_git_has_not_finished_is_asked_about_and_half_a_work_does_not_land() {
    let leaving = |unfinished: &[UnfinishedWork]| Transition::Inspected {
        left: WorkspaceInspection {
            head: oid('1'),
            dirty: Vec::new(),
            elsewhere: Vec::new(),
            unfinished: unfinished.to_vec(),
        },
    };
    let state = |steps: &[(i64, Transition)]| match situation(steps, 90).turn {
        plan::TurnState::Finished { workspace, .. } => workspace,
        other => panic!("{other:?}"),
    };
    let opening = vec![(0, opened()), (1, begun(TurnCause::Opening)), (5, finished())];
    let asked = |first: &[UnfinishedWork], then: &[UnfinishedWork]| {
        let first = with(opening.clone(), vec![(6, leaving(first))]);
        assert_eq!(state(&first), WorkspaceState::Dirty { asked: false });
        let ask = vec![(7, begun(TurnCause::CommitOrDiscard)), (8, finished()), (9, leaving(then))];
        state(&with(first, ask))
    };
    let rebase = [UnfinishedWork::Operation { what: "a rebase".to_owned() }];
    let own = [UnfinishedWork::OwnBranch { branch: "afk/7-1".to_owned() }];
    let beside = [UnfinishedWork::Branch { branch: "try".to_owned() }, UnfinishedWork::Stash];
    assert_eq!(asked(&rebase, &[]), WorkspaceState::Clean);
    assert_eq!(asked(&rebase, &rebase), WorkspaceState::Unfinished);
    assert_eq!(asked(&rebase, &own), WorkspaceState::Unfinished);
    assert_eq!(asked(&beside, &beside), WorkspaceState::Dirty { asked: true });
    // What the agent is asked about is recorded.
    let steps = [(6, leaving(&rebase)), (7, begun(TurnCause::CommitOrDiscard))];
    assert_eq!(run(&with(opening, steps.to_vec())).attempts[0].unfinished, rebase);
}
