//! From record to situation: candidates, what landed, and what its stages say.

use super::situation::{away, finished_with, repeated, seen, situation};
use super::*;
use crate::plan::{self, EvidenceState, Landed, Work, WorkspaceState};

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
    // The clock starts when the stage failed, not when the failure is attributed.
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
    // Neither an unattributed failure nor one that is not ours starts it.
    let unknown = with(to_landing(), vec![failed]);
    assert!(situation(&unknown, 99_999).fixes_left);
    let theirs = with(unknown, vec![by(250, RedCause::NotOurs)]);
    assert!(situation(&theirs, 99_999).fixes_left);
    // Another stage's failure is attributed anew, and starts it if it is ours.
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
        seen(steps, &Observation { turn: Some(TurnSeen::Absent), ..Observation::default() }, 900)
            .turn
    };
    let work = |steps: &[(i64, Transition)]| match situation(steps, 900).turn {
        plan::TurnState::Finished { work, .. } => work,
        other => panic!("{other:?}"),
    };
    let base = |steps: &[(i64, Transition)]| run(steps).base().cloned();
    let is_reset = |reset| plan::TurnState::NotStarted { reset };
    let fix = with(to_landing(), vec![(200, begun(TurnCause::FixForward))]);
    assert_eq!(absent(&fix), is_reset(false));
    assert_eq!(base(&fix), Some(oid('1')));
    let fix = with(fix, vec![(201, reset('d'))]);
    assert_eq!(absent(&fix), is_reset(true));
    assert_eq!(base(&fix), Some(oid('d')));
    // A retry within the attempt keeps what the agent has done.
    let retried = with(fix.clone(), vec![(202, failed()), (203, begun(TurnCause::Retry))]);
    assert_eq!(absent(&retried), is_reset(true));
    // The commit that the workspace was reset to is no new head; a commit on top of it is one.
    let idle = with(fix.clone(), vec![(210, finished()), (211, left('d', &[]))]);
    assert_eq!(work(&idle), Work::Nothing);
    let fixed = with(fix, vec![(210, finished()), (211, left('2', &[]))]);
    assert_eq!(work(&fixed), Work::New(plan::CandidateState::Unmerged));
    // After a refusal the next turn goes on from the fix.
    let refused = with(
        fixed.clone(),
        vec![(220, refused(Refusal::Verify)), (221, begun(TurnCause::Refused))],
    );
    assert_eq!(absent(&refused), is_reset(true));
    // After another red landing the next fix begins with a reset.
    let again = with(
        fixed,
        vec![(220, integrated('2', '3')), (221, landed('3')), (230, begun(TurnCause::FixForward))],
    );
    assert_eq!(absent(&again), is_reset(false));
    assert_eq!(base(&again), Some(oid('2')));
    assert_eq!(base(&with(again, vec![(231, reset('4'))])), Some(oid('4')));
    // After a fix without a commit the next one begins with a reset, too.
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
    // The second stage's time begins when the first has passed.
    let first = with(none.clone(), vec![(500, stage("ci", StageAnswer::Success, 500))]);
    assert_eq!(landed(&first, 1099), Landed::Pending { overdue: false });
    assert_eq!(landed(&first, 1100), Landed::Pending { overdue: true });
    // From a failure on, the time for its attribution and a fix runs.
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
    // No fix is paid for before the failure is attributed.
    check(vec![answer("ci", StageAnswer::Failure)], fresh);
    for cause in [RedCause::Ours, RedCause::NotOurs] {
        check(
            vec![answer("ci", StageAnswer::Failure), attributed(cause)],
            Landed::Red { cause, overdue: false },
        );
    }
    let green = vec![answer("ci", StageAnswer::Success), answer("more", StageAnswer::Success)];
    check(green.clone(), Landed::Green { evidence: EvidenceState::Complete });
    let mut poor = run(&with(to_landing(), green));
    poor.release = None;
    let poor = poor.situation(&Observation::default(), &limits(), at(300));
    assert_eq!(poor.landed, Landed::Green { evidence: EvidenceState::Refused });
}

#[test]
fn a_deployment_has_a_line_where_a_stage_deploys_and_a_tick_where_one_was_asked() {
    let done = |steps| {
        let end = Transition::Concluded { end: End::Done, why: String::new(), charged: None };
        with(steps, vec![(300, end)])
    };
    let said = |name: &str, deploys| {
        let stage = StageRecord { deploys, ..said(name, StageAnswer::Success, 200, 0) };
        with(to_landing(), vec![(200, Transition::StageAnswered { stage })])
    };
    // Whether a stage deploys does not depend on its name.
    let (rollout, ci) = (&stages()[2..], &stages()[..2]);
    for (steps, stages, line) in [
        (vec![], rollout, true),
        (vec![], ci, false),
        (to_landing(), rollout, true),
        (said("ci", true), ci, true),
        (said("rollout", false), ci, false),
        (done(said("ci", true)), ci, true),
        (done(to_landing()), rollout, false),
    ] {
        assert_eq!(run(&steps).deploys(stages), line, "{:?} {stages:?}", steps.last());
    }
}

#[test]
fn a_repeated_failure_keeps_its_attribution_and_deadline() {
    let not_ours = RedCause::NotOurs;
    let attributed = (210, Transition::Attributed { cause: not_ours });
    let once = with(to_landing(), vec![(200, stage("ci", StageAnswer::Failure, 200)), attributed]);
    let known = run(&once).landed().unwrap().stage("ci").unwrap().clone();
    let answered = said("ci", StageAnswer::Failure, 300, 1).after(Some(&known)).unwrap();
    let twice = with(once, vec![(300, Transition::StageAnswered { stage: answered })]);
    let known = run(&twice).landed().unwrap().stage("ci").unwrap().clone();
    assert_eq!((known.at, known.next_asking()), (at(300), Some((2, Some(at(320))))));
    let answered = said("ci", StageAnswer::Failure, 320, 2).after(Some(&known)).unwrap();
    let thrice = with(twice, vec![(320, Transition::StageAnswered { stage: answered })]);
    let landed = |now| situation(&thrice, now).landed;
    assert_eq!(landed(899), Landed::Red { cause: not_ours, overdue: false });
    assert_eq!(landed(900), Landed::Red { cause: not_ours, overdue: true });
    // Once it is ours, the fix-forward clock runs from the stage's last failure.
    let cause = RedCause::Ours;
    let ours = with(thrice, vec![(330, Transition::Attributed { cause })]);
    assert!(situation(&ours, 3919).fixes_left && !situation(&ours, 3920).fixes_left);
}

#[test]
fn without_stages_nothing_is_green() {
    let green = with(to_landing(), vec![(200, stage("ci", StageAnswer::Success, 200))]);
    let none = Limits { stages: None, ..limits() };
    let situation = run(&green).situation(&Observation::default(), &none, at(300));
    assert_eq!(situation.landed, Landed::Pending { overdue: false });
}

#[test]
fn a_tried_candidate_is_what_its_stages_and_its_base_say() {
    let tested = Limits {
        before_landing: StageNames::new(vec!["ci".to_owned(), "more".to_owned()]).ok(),
        candidate: Duration::from_mins(5),
        ..limits()
    };
    let tried = |more: Vec<(i64, Transition)>| {
        let pushed = vec![(30, Transition::TryBegun), (40, Transition::TryPushed)];
        run(&with(with(to_landing()[..7].to_vec(), pushed), more))
    };
    let check = |run: &Run, staging, now, expected| {
        let seen = Observation { staging, ..Observation::default() };
        let found = run.situation(&seen, &tested, at(now)).turn;
        assert_eq!(found, finished_with(WorkspaceState::Clean, Work::New(expected)), "at {now}");
    };
    let answered = |name, answer, second, again| {
        (second, Transition::CandidateAnswered { stage: said(name, answer, second, again) })
    };
    let pushed = |overdue| plan::CandidateState::Pushed { overdue };
    let excused = |overdue| plan::CandidateState::Excused { overdue };
    let silent = tried(Vec::new());
    assert_eq!(silent.candidate().unwrap().next_asking("ci"), Some((0, None)));
    check(&silent, false, 339, pushed(false));
    check(&silent, false, 340, pushed(true));
    check(&silent, true, 340, pushed(false));
    // A stage that could not run is run again twice, after a pause, each time with its full time.
    let once = vec![answered("ci", StageAnswer::Void, 100, 0)];
    assert_eq!(
        tried(once.clone()).candidate().unwrap().next_asking("ci"),
        Some((1, Some(at(110))))
    );
    check(&tried(once.clone()), false, 399, pushed(false));
    check(&tried(once.clone()), false, 400, pushed(true));
    let twice = with(once, vec![answered("ci", StageAnswer::Void, 200, 1)]);
    assert_eq!(
        tried(twice.clone()).candidate().unwrap().next_asking("ci"),
        Some((2, Some(at(220))))
    );
    check(&tried(twice.clone()), false, 220, pushed(false));
    let passed = with(twice.clone(), vec![answered("ci", StageAnswer::Success, 250, 2)]);
    assert_eq!(tried(passed.clone()).candidate().unwrap().next_asking("ci"), None);
    check(&tried(passed), false, 549, pushed(false));
    let thrice = with(twice, vec![answered("ci", StageAnswer::Void, 300, 2)]);
    assert_eq!(tried(thrice.clone()).candidate().unwrap().next_asking("ci"), None);
    check(&tried(thrice), false, 300, pushed(true));
    // A failed stage is run once more, then its base is checked; the deadline is the stage's.
    let red = vec![answered("ci", StageAnswer::Failure, 100, 0)];
    assert_eq!(tried(red.clone()).candidate().unwrap().next_asking("ci"), Some((1, None)));
    check(&tried(red.clone()), false, 699, pushed(false));
    check(&tried(red.clone()), false, 700, pushed(true));
    check(&tried(red.clone()), true, 700, pushed(false));
    // A running stage has the stage's time, too.
    let at_work = vec![answered("ci", StageAnswer::Pending, 100, 0)];
    check(&tried(at_work.clone()), false, 639, pushed(false));
    check(&tried(at_work), false, 640, pushed(true));
    let red = with(red, vec![(110, Transition::BaseRed { commit: oid('b') })]);
    check(&tried(red.clone()), false, 699, excused(false));
    check(&tried(red.clone()), false, 700, excused(true));
    check(&tried(red.clone()), true, 700, excused(false));
    let base = |steps: &[(i64, Transition)]| {
        let candidate = tried(steps.to_vec()).candidate().unwrap().clone();
        (candidate.red_bases, candidate.base_asked.map(|asked| (asked.again, asked.next())))
    };
    assert_eq!(base(&red), (vec![oid('b')], Some((0, at(120)))));
    let again = with(red, vec![(120, Transition::BaseRed { commit: oid('b') })]);
    assert_eq!(base(&again), (vec![oid('b')], Some((1, at(140)))));
    let other = with(again, vec![(130, Transition::BaseRed { commit: oid('d') })]);
    assert_eq!(base(&other), (vec![oid('b'), oid('d')], Some((0, at(140)))));
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
        let (found, below) = run.base_under(&base, &commit);
        let below: Vec<_> = below.iter().map(|one| one.commit.clone()).collect();
        let (on, own) = expected;
        assert_eq!(*found, oid(on));
        assert_eq!(below, own.iter().copied().map(oid).collect::<Vec<_>>());
    };
    let first = to_landing();
    check(&run(&first), 'b', 'c', ('b', &[]));
    // On top of our own landing: its base counts.
    let own = with(first.clone(), fix('c', '2', 'd'));
    check(&run(&own), 'c', 'd', ('b', &[]));
    // On top of somebody else's commit.
    let theirs = with(first, fix('a', '2', 'd'));
    check(&run(&theirs), 'a', 'd', ('a', &['c']));
    let landed = with(theirs, vec![(220, landed('d'))]);
    check(&run(&landed), 'a', 'd', ('a', &['c']));
    let next = with(landed, fix('d', '3', '4'));
    check(&run(&next), 'd', '4', ('a', &['c']));
    check(&run(&next), 'f', '4', ('f', &['c', 'd']));
}

#[test]
fn a_branch_is_raced_for_a_time_with_pauses_that_grow() {
    use crate::run::Race;
    let made = |second: i64, commit: char| {
        let one = Candidate::new(oid('b'), oid('1'), oid(commit), oid('e'), at(second));
        (second, Transition::Integrated { candidate: Box::new(one) })
    };
    let race = |candidates: Vec<(i64, Transition)>, now: i64| {
        let run = run(&with(vec![(1, begun(TurnCause::Opening))], candidates));
        run.attempts[0].race(&limits(), at(now), &run.pauses)
    };
    let digits = ['2', '3', '4', '5', '6', '7', '8', '9', 'a', 'c'];
    let lost = |n: usize, apart: i64| -> Vec<_> {
        (0..).zip(digits).take(n).map(|(i, digit)| made(100 + i * apart, digit)).collect()
    };
    assert_eq!(race(lost(0, 0), 100), Race::From(at(100)));
    // The first candidate is replaced at once, the next after a second, two, four.
    let pauses = [0, 1, 2, 4, 8, 16, 32, 60, 60];
    for (n, pause) in (1..).zip(pauses) {
        let newest = 100 + (i64::try_from(n).unwrap() - 1) * 10;
        assert_eq!(race(lost(n, 10), newest), Race::From(at(newest + pause)), "{n}");
    }
    // The race is lost after half an hour, but not before three candidates.
    let slow = |n| lost(n, 890);
    assert_eq!(race(slow(2), 1_900), Race::From(at(991)));
    assert_eq!(race(slow(3), 1_899), Race::From(at(1_882)));
    assert_eq!(race(slow(3), 1_900), Race::Lost { times: 3, minutes: 30 });
    // Pauses do not count.
    let stood = with(slow(3), vec![(1_895, Transition::Away { from: at(200), to: at(210) })]);
    assert_eq!(race(stood, 1_900), Race::From(at(1_882)));
    // A candidate that waited for its base to be fixed was not overtaken.
    let red = (150, Transition::BaseRed { commit: oid('b') });
    let fixed = with(with(lost(1, 0), vec![red]), vec![made(9_000, '3'), made(9_010, '4')]);
    assert_eq!(race(fixed, 9_010), Race::From(at(9_011)));
}

#[test]
fn a_run_knows_on_which_commits_of_the_branch_its_work_may_stand() {
    let given = |steps: &[(i64, Transition)]| {
        let all = run(steps);
        all.given().into_iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(given(&[]), []);
    assert_eq!(given(&to_landing()), [oid('b')]);
    let fix = with(to_landing(), vec![(200, begun(TurnCause::FixForward)), (201, reset('d'))]);
    assert_eq!(given(&fix), [oid('d'), oid('b')]);
    let conflict = AttemptRefusal {
        why: Refusal::Conflict,
        detail: String::new(),
        output: String::new(),
        conflict: Some((oid('4'), vec!["a".to_owned()])),
    };
    let told = with(fix, vec![(210, Transition::Refused { refused: conflict })]);
    assert_eq!(given(&told), [oid('4'), oid('d'), oid('b')]);
}
