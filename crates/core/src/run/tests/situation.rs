//! From record and observation to the situation: every bound at its edge.

use super::*;
use crate::plan::{self, Alive, Evidence, Gates, Landed, Situation, Work, Workspace};

fn situation(steps: &[(i64, Transition)], now: i64) -> Situation {
    run(steps).situation(&Seen::default(), &limits(), at(now))
}

fn seen(steps: &[(i64, Transition)], seen: &Seen, now: i64) -> Situation {
    run(steps).situation(seen, &limits(), at(now))
}

fn repeated(steps: &[(i64, Transition)], n: usize) -> Vec<(i64, Transition)> {
    std::iter::repeat_n(steps, n).flatten().cloned().collect()
}

/// A paused stretch.
fn away(from: i64, to: i64) -> (i64, Transition) {
    (to, Transition::Away { from: at(from), to: at(to) })
}

#[test]
fn the_run_deadline_is_strict_and_pauses_do_not_count() {
    assert!(!situation(&[], 43_199).spent);
    assert!(situation(&[], 43_200).spent);
    let paused = [away(100, 200)];
    assert!(!situation(&paused, 43_299).spent);
    assert!(situation(&paused, 43_300).spent);
    let open = [(100, Transition::Paused)];
    assert!(!situation(&open, 1_000_000).spent);
    let closed = [(100, Transition::Paused), (200, Transition::Unpaused)];
    assert!(situation(&closed, 43_300).spent);
}

#[test]
fn a_budget_is_spent_at_its_bound() {
    let paid = |dollars| {
        let steps = [(1, begun(TurnCause::Opening)), (2, paid(dollars, 1))];
        situation(&steps, 3).spent
    };
    assert!(!paid(9) && paid(10) && paid(11));
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
    assert_eq!(turn(&once, 14), plan::Turn::Failed { backoff_over: false });
    assert_eq!(turn(&once, 15), plan::Turn::Failed { backoff_over: true });
    let twice = with(once, vec![(15, begun(TurnCause::Retry)), (20, ended(TurnEnd::Lost))]);
    assert_eq!(turn(&twice, 39), plan::Turn::Failed { backoff_over: false });
    assert_eq!(turn(&twice, 40), plan::Turn::Failed { backoff_over: true });
}

#[test]
fn a_usage_limit_is_over_at_its_reset() {
    let limited = |resets_at| {
        vec![(0, begun(TurnCause::Opening)), (5, ended(TurnEnd::Limited { resets_at }))]
    };
    let turn = |resets_at, now| situation(&limited(resets_at), now).turn;
    let told = Some(at(100));
    assert_eq!(turn(told, 99), plan::Turn::Limited { reset: false });
    assert_eq!(turn(told, 100), plan::Turn::Limited { reset: true });
    assert_eq!(turn(None, 904), plan::Turn::Limited { reset: false });
    assert_eq!(turn(None, 905), plan::Turn::Limited { reset: true });
    // Neither what is over already is believed, nor what is far away.
    let days = 8 * 86_400;
    for (told, over) in [(-999, 15), (14, 15), (days + 4, days + 4), (days + 6, days + 5)] {
        let told = Some(at(told));
        assert_eq!(turn(told, over - 1), plan::Turn::Limited { reset: false }, "{told:?}");
        assert_eq!(turn(told, over), plan::Turn::Limited { reset: true }, "{told:?}");
    }
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
    // A failure between them is no progress; a turn that came to its end is.
    let failing = with(all(11), again((100, failed())).to_vec());
    assert!(left(&failing) && !left(&with(failing, all(1))));
    let finished = with(all(11), again((100, finished())).to_vec());
    assert_eq!(waits(&finished), None);
    assert_eq!(waits(&with(finished, all(1))), Some(10));
}

#[test]
fn refusals_and_fixes_are_spent_at_their_bounds() {
    let refusals = |n: usize| {
        let one = [(1, begun(TurnCause::Refused)), (2, refused(Refusal::Proof))];
        situation(&repeated(&one, n), 5).refusals_left
    };
    assert!(refusals(2) && !refusals(3));
    let fixes = |n: usize| {
        let one = [(200, begun(TurnCause::FixForward))];
        situation(&with(to_landing(), repeated(&one, n)), 300).fixes_left
    };
    assert!(fixes(1) && !fixes(2));
}

#[test]
fn the_fix_forward_clock_runs_from_the_first_red() {
    // Attributed later, but red since the stage said so.
    let failed = (200, stage("ci", StageAnswer::Failure, 200));
    let by = |second, cause| (second, Transition::Attributed { cause });
    let red = with(to_landing(), vec![failed.clone(), by(250, RedCause::Ours)]);
    assert!(situation(&red, 3799).fixes_left);
    assert!(!situation(&red, 3800).fixes_left);
    let again = with(
        red.clone(),
        vec![(1000, stage("ci", StageAnswer::Failure, 1000)), by(1001, RedCause::Ours)],
    );
    assert!(!situation(&again, 3800).fixes_left, "the first red counts");
    let slept = with(red, vec![away(300, 400)]);
    assert!(situation(&slept, 3899).fixes_left && !situation(&slept, 3900).fixes_left);
    // Neither an unattributed red nor somebody else's starts it.
    let unknown = with(to_landing(), vec![failed]);
    assert!(situation(&unknown, 99_999).fixes_left);
    let theirs = with(unknown, vec![by(250, RedCause::NotOurs)]);
    assert!(situation(&theirs, 99_999).fixes_left);
    // Another stage's red is asked about anew, and starts it.
    let ours = with(
        theirs,
        vec![
            (500, stage("ci", StageAnswer::Success, 500)),
            (600, stage("more", StageAnswer::Failure, 600)),
        ],
    );
    assert_eq!(situation(&ours, 610).landed, Landed::Pending { overdue: false });
    let ours = with(ours, vec![by(620, RedCause::Ours)]);
    assert!(situation(&ours, 4199).fixes_left && !situation(&ours, 4200).fixes_left);
}

#[test]
fn a_fix_begins_on_the_default_head_and_its_own_corrections_go_on_from_it() {
    let absent = |steps: &[(i64, Transition)]| {
        seen(steps, &Seen { turn: Some(TurnSeen::Absent), ..Seen::default() }, 900).turn
    };
    let work = |steps: &[(i64, Transition)]| match situation(steps, 900).turn {
        plan::Turn::Finished { work, .. } => work,
        other => panic!("{other:?}"),
    };
    let base = |steps: &[(i64, Transition)]| run(steps).base().cloned();
    let is_reset = |reset| plan::Turn::NotStarted { reset };
    let fix = with(to_landing(), vec![(200, begun(TurnCause::FixForward))]);
    assert_eq!(absent(&fix), is_reset(false));
    assert_eq!(base(&fix), Some(oid('1')));
    let fix = with(fix, vec![(201, reset('d'))]);
    assert_eq!(absent(&fix), is_reset(true));
    assert_eq!(base(&fix), Some(oid('d')));
    // A retry within the attempt keeps what the agent has done.
    let retried = with(fix.clone(), vec![(202, failed()), (203, begun(TurnCause::Retry))]);
    assert_eq!(absent(&retried), is_reset(true));
    // Standing where it was put is no new head; a commit on top is one.
    let idle = with(fix.clone(), vec![(210, finished()), (211, left('d', &[]))]);
    assert_eq!(work(&idle), Work::Nothing);
    let fixed = with(fix, vec![(210, finished()), (211, left('2', &[]))]);
    assert_eq!(work(&fixed), Work::New(plan::Candidate::Unmerged));
    // Refused: the next turn goes on from the fix.
    let refused = with(
        fixed.clone(),
        vec![(220, refused(Refusal::Verify)), (221, begun(TurnCause::Refused))],
    );
    assert_eq!(absent(&refused), is_reset(true));
    // Landed, and red again: the next fix begins anew.
    let again = with(
        fixed,
        vec![(220, integrated('2', '3')), (221, landed('3')), (230, begun(TurnCause::FixForward))],
    );
    assert_eq!(absent(&again), is_reset(false));
    assert_eq!(base(&again), Some(oid('2')));
    assert_eq!(base(&with(again, vec![(231, reset('4'))])), Some(oid('4')));
    // A fix without a commit is spent; the next one begins anew, too.
    let spent = with(idle, vec![(230, begun(TurnCause::FixForward))]);
    assert_eq!(absent(&spent), is_reset(false));
}

#[test]
fn a_stage_is_overdue_from_when_it_could_have_answered() {
    let landed = |steps: &[(i64, Transition)], now| situation(steps, now).landed;
    assert_eq!(landed(&to_landing()[..7], 99), Landed::Nothing);
    let none = to_landing();
    assert_eq!(landed(&none, 699), Landed::Pending { overdue: false });
    assert_eq!(landed(&none, 700), Landed::Pending { overdue: true });
    // The second stage's hour begins when the first has passed.
    let first = with(none.clone(), vec![(500, stage("ci", StageAnswer::Success, 500))]);
    assert_eq!(landed(&first, 1099), Landed::Pending { overdue: false });
    assert_eq!(landed(&first, 1100), Landed::Pending { overdue: true });
    // Red: from then on it is asked whose it is, and who mends it.
    let red = with(none.clone(), vec![(650, stage("ci", StageAnswer::Failure, 650))]);
    assert_eq!(landed(&red, 1249), Landed::Pending { overdue: false });
    assert_eq!(landed(&red, 1250), Landed::Pending { overdue: true });
    let cause = RedCause::NotOurs;
    let theirs = with(red, vec![(1200, Transition::Attributed { cause })]);
    assert_eq!(landed(&theirs, 1249), Landed::Red { cause, overdue: false });
    assert_eq!(landed(&theirs, 1250), Landed::Red { cause, overdue: true });
    let slept = with(none, vec![away(100, 1100)]);
    assert_eq!(landed(&slept, 1699), Landed::Pending { overdue: false });
    assert_eq!(landed(&slept, 1700), Landed::Pending { overdue: true });
}

#[test]
fn a_landing_is_what_its_stages_say() {
    let check = |more: Vec<(i64, Transition)>, expected| {
        assert_eq!(situation(&with(to_landing(), more.clone()), 300).landed, expected, "{more:?}");
    };
    let answer = |name, answer| (200, stage(name, answer, 200));
    let attributed = |cause| (201, Transition::Attributed { cause });
    let fresh = Landed::Pending { overdue: false };
    check(vec![answer("ci", StageAnswer::Pending)], fresh);
    check(vec![answer("more", StageAnswer::Failure)], fresh);
    check(vec![answer("ci", StageAnswer::Void)], Landed::Void { overdue: false });
    // Not attributed: not paid for.
    check(vec![answer("ci", StageAnswer::Failure)], fresh);
    for cause in [RedCause::Ours, RedCause::NotOurs] {
        check(
            vec![answer("ci", StageAnswer::Failure), attributed(cause)],
            Landed::Red { cause, overdue: false },
        );
    }
    let green = vec![answer("ci", StageAnswer::Success), answer("more", StageAnswer::Success)];
    check(green.clone(), Landed::Green { evidence: Evidence::Complete });
    let mut poor = run(&with(to_landing(), green));
    poor.release = None;
    let poor = poor.situation(&Seen::default(), &limits(), at(300));
    assert_eq!(poor.landed, Landed::Green { evidence: Evidence::Refused });
}

#[test]
fn without_stages_nothing_is_green() {
    let green = with(to_landing(), vec![(200, stage("ci", StageAnswer::Success, 200))]);
    let none = Limits { stages: None, ..limits() };
    let situation = run(&green).situation(&Seen::default(), &none, at(300));
    assert_eq!(situation.landed, Landed::Pending { overdue: false });
}

#[test]
fn gates_count_until_the_first_turn() {
    let gates = |gates| seen(&[], &Seen { gates, ..Seen::default() }, 1).turn;
    assert_eq!(gates(Some(Gates::Open)), plan::Turn::None { gates: Gates::Open });
    assert_eq!(gates(Some(Gates::Refused)), plan::Turn::None { gates: Gates::Refused });
    assert_eq!(gates(None), plan::Turn::None { gates: Gates::Unreadable }, "unknown is wait");
}

#[test]
fn a_turn_under_way_is_as_it_was_seen() {
    let steps = vec![(10, begun(TurnCause::Opening))];
    let check = |steps: &[(i64, Transition)], turn: Option<TurnSeen>, now, expected| {
        let found = seen(steps, &Seen { turn: turn.clone(), ..Seen::default() }, now).turn;
        assert_eq!(found, expected, "{turn:?} at {now}");
    };
    let running = |second: i64, tool_open| {
        Some(TurnSeen::Running { last_event_at: at(second), tool_open, asks: Vec::new() })
    };
    let stalled = |stalled| plan::Turn::Running { stalled };
    check(&steps, Some(TurnSeen::Absent), 20, plan::Turn::NotStarted { reset: true });
    check(&steps, Some(TurnSeen::Unknown), 20, plan::Turn::Unknown);
    check(&steps, None, 20, plan::Turn::Unknown);
    check(&steps, running(100, false), 1899, stalled(false));
    check(&steps, running(100, false), 1900, stalled(true));
    check(&steps, running(100, true), 99_999, stalled(false));
    // An event from before the turn is none of it.
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
    check(&asked, asking.clone(), 399, plan::Turn::Asking { due: false });
    check(&asked, asking.clone(), 400, plan::Turn::Asking { due: true });
    let answer = Answer::Say { text: "The first.".to_owned() };
    let answered = with(asked, vec![(200, Transition::Answered { n: 1, answer })]);
    check(&answered, asking, 200, plan::Turn::Asking { due: true });
}

fn work(steps: &[(i64, Transition)]) -> plan::Turn {
    situation(steps, 50).turn
}

fn finished_with(workspace: Workspace, work: Work) -> plan::Turn {
    plan::Turn::Finished { workspace, work }
}

#[test]
fn dirt_is_asked_about_once() {
    let turn = vec![(1, opened()), (2, begun(TurnCause::Opening)), (3, finished())];
    let unreadable = finished_with(Workspace::Unreadable, Work::Nothing);
    assert_eq!(work(&turn), unreadable);
    let dirty = with(turn, vec![(4, left('1', &["a"]))]);
    let new = Work::New(plan::Candidate::Unmerged);
    assert_eq!(work(&dirty), finished_with(Workspace::Dirty { asked: false }, new));
    let asked = with(dirty, vec![(5, begun(TurnCause::CommitOrDiscard)), (6, finished())]);
    assert_eq!(run(&asked).attempts[0].dirty, ["a"]);
    assert_eq!(work(&asked), unreadable, "it is looked at again");
    let again = with(asked, vec![(7, left('1', &["a"]))]);
    assert_eq!(work(&again), finished_with(Workspace::Dirty { asked: true }, new));
}

#[test]
fn a_head_is_new_until_it_is_disposed_of() {
    let turn = vec![(1, opened()), (2, begun(TurnCause::Opening)), (3, finished())];
    let check = |steps: &[(i64, Transition)], expected| {
        assert_eq!(work(steps), finished_with(Workspace::Clean, expected), "{:?}", steps.last());
    };
    let new = |candidate| Work::New(candidate);
    check(&with(turn.clone(), vec![(4, left('b', &[]))]), Work::Nothing);
    let head = with(turn, vec![(4, left('1', &[]))]);
    check(&head, new(plan::Candidate::Unmerged));
    let merged = with(head, vec![(5, integrated('1', 'c'))]);
    check(&merged, new(plan::Candidate::Unjudged { judging: false }));
    let guarded = with(merged, vec![(6, guarded())]);
    check(&guarded, new(plan::Candidate::Unjudged { judging: false }));
    check(&with(guarded.clone(), vec![(7, proved())]), new(plan::Candidate::Clear));
    // A refused proof is never clear, whatever was recorded after it.
    let half = with(guarded.clone(), vec![(7, disproved())]);
    check(&half, new(plan::Candidate::Unjudged { judging: false }));
    let refused = with(half, vec![(8, refused(Refusal::Proof))]);
    check(&refused, new(plan::Candidate::Refused(Refusal::Proof)));
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
    check(&with(landing, fix), new(plan::Candidate::Unmerged));
}

#[test]
fn judging_is_seen_and_a_breach_counts_first() {
    let steps = with(to_landing()[..5].to_vec(), vec![]);
    let judging = seen(&steps, &Seen { judging: true, ..Seen::default() }, 50).turn;
    let unjudged = Work::New(plan::Candidate::Unjudged { judging: true });
    assert_eq!(judging, finished_with(Workspace::Clean, unjudged));
    let path = crate::change::TreePath::new(b"a").unwrap();
    let breach = crate::guardrails::Breach::CredentialFile { path };
    let report = GuardrailReport { breaches: vec![breach], further: 0, stats: Tally::default() };
    let breached = with(steps, vec![(13, Transition::Guarded { report }), (14, proved())]);
    let expected = Work::New(plan::Candidate::Breached);
    assert_eq!(work(&breached), finished_with(Workspace::Clean, expected));
}

#[test]
fn a_stop_has_its_grace() {
    let alive_as = |working, stopping: Option<i64>, now| {
        let told = stopping.map(|second| (second, Transition::Stopping));
        let steps = Vec::from_iter(told);
        seen(&steps, &Seen { alive: true, working, ..Seen::default() }, now).alive
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
    let now = seen(&[], &Seen { halted: true, frozen: true, ..Seen::default() }, 1);
    assert!(now.halted && now.frozen && !now.concluded && !now.cancelled);
    let cancel = Cancel { by: None, how: CancelHow::Stopped, at: at(1) };
    assert!(situation(&[(1, Transition::Cancelled { cancel })], 2).cancelled);
    let end = Transition::Concluded { end: End::Released, why: String::new() };
    assert!(situation(&[(1, end)], 2).concluded);
}

#[test]
fn a_tried_candidate_is_what_its_stages_and_its_base_say() {
    let tested = Limits {
        before_landing: Stages::new(vec!["ci".to_owned(), "more".to_owned()]).ok(),
        candidate: Duration::from_mins(5),
        ..limits()
    };
    let tried = |more: Vec<(i64, Transition)>| {
        let pushed = vec![(30, Transition::TryBegun), (40, Transition::TryPushed)];
        run(&with(with(to_landing()[..7].to_vec(), pushed), more))
    };
    let check = |run: &Run, staging, now, expected| {
        let seen = Seen { staging, ..Seen::default() };
        let found = run.situation(&seen, &tested, at(now)).turn;
        assert_eq!(found, finished_with(Workspace::Clean, Work::New(expected)), "at {now}");
    };
    let heard = |name, answer, second, again| {
        (second, Transition::CandidateAnswered { stage: said(name, answer, second, again) })
    };
    let pushed = |overdue| plan::Candidate::Pushed { overdue };
    let excused = |overdue| plan::Candidate::Excused { overdue };
    let silent = tried(Vec::new());
    assert_eq!(silent.candidate().unwrap().next_asking("ci"), Some((0, None)));
    check(&silent, false, 339, pushed(false));
    check(&silent, false, 340, pushed(true));
    check(&silent, true, 340, pushed(false));
    // What could not run is asked again twice, after a pause, and has its time again.
    let once = vec![heard("ci", StageAnswer::Void, 100, 0)];
    assert_eq!(
        tried(once.clone()).candidate().unwrap().next_asking("ci"),
        Some((1, Some(at(110))))
    );
    check(&tried(once.clone()), false, 399, pushed(false));
    check(&tried(once.clone()), false, 400, pushed(true));
    let twice = with(once, vec![heard("ci", StageAnswer::Void, 200, 1)]);
    assert_eq!(
        tried(twice.clone()).candidate().unwrap().next_asking("ci"),
        Some((2, Some(at(220))))
    );
    check(&tried(twice.clone()), false, 220, pushed(false));
    let passed = with(twice.clone(), vec![heard("ci", StageAnswer::Success, 250, 2)]);
    assert_eq!(tried(passed.clone()).candidate().unwrap().next_asking("ci"), None);
    check(&tried(passed), false, 549, pushed(false));
    let thrice = with(twice, vec![heard("ci", StageAnswer::Void, 300, 2)]);
    assert_eq!(tried(thrice.clone()).candidate().unwrap().next_asking("ci"), None);
    check(&tried(thrice), false, 300, pushed(true));
    // Red, and then known to stand on red: its deadline is the stage's.
    let red = vec![heard("ci", StageAnswer::Failure, 100, 0)];
    check(&tried(red.clone()), false, 9999, pushed(false));
    let red = with(red, vec![(110, Transition::BaseRed { commit: oid('b') })]);
    check(&tried(red.clone()), false, 699, excused(false));
    check(&tried(red.clone()), false, 700, excused(true));
    check(&tried(red.clone()), true, 700, excused(false));
    let again = with(red, vec![(120, Transition::BaseRed { commit: oid('b') })]);
    assert_eq!(tried(again).candidate().unwrap().red_bases, [oid('b')]);
}

#[test]
fn a_commit_stands_on_what_is_not_the_runs_own() {
    let fix = |base: char, head: char, commit: char| {
        let Transition::Integrated { mut candidate } = integrated(head, commit) else {
            panic!("a candidate");
        };
        candidate.base = oid(base);
        vec![
            (200, begun(TurnCause::FixForward)),
            (210, finished()),
            (211, left(head, &[])),
            (212, Transition::Integrated { candidate }),
        ]
    };
    let check = |run: &Run, base: char, commit: char, expected: (char, &[char])| {
        let (base, commit) = (oid(base), oid(commit));
        let (found, below) = run.foundation(&base, &commit);
        let below: Vec<_> = below.iter().map(|one| one.commit.clone()).collect();
        let (on, own) = expected;
        assert_eq!(*found, oid(on));
        assert_eq!(below, own.iter().copied().map(oid).collect::<Vec<_>>());
    };
    let first = to_landing();
    check(&run(&first), 'b', 'c', ('b', &[]));
    // On our own landing: what counts is what that one stood on.
    let own = with(first.clone(), fix('c', '2', 'd'));
    check(&run(&own), 'c', 'd', ('b', &[]));
    // On somebody else's.
    let theirs = with(first, fix('a', '2', 'd'));
    check(&run(&theirs), 'a', 'd', ('a', &['c']));
    let landed = with(theirs, vec![(220, landed('d'))]);
    check(&run(&landed), 'a', 'd', ('a', &['c']));
    let next = with(landed, fix('d', '3', '4'));
    check(&run(&next), 'd', '4', ('a', &['c']));
    check(&run(&next), 'f', '4', ('f', &['c', 'd']));
}
