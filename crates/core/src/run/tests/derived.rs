//! What is derived from the record: which candidate counts, which try branches are left, what a
//! run has cost.

use super::*;
use crate::verdict::Verdict;

fn steps(more: &[Transition]) -> Run {
    let mut all = to_landing();
    // Without the landing.
    all.pop();
    all.extend((101..).zip(more.iter().cloned()));
    run(&all)
}

#[test]
fn a_candidate_is_on_its_way_until_it_is_refused_or_has_landed() {
    assert!(steps(&[]).candidate().is_some());
    assert!(steps(&[refused(Refusal::Verify)]).candidate().is_none());
    assert!(steps(&[landed('c')]).candidate().is_none());
    assert!(admitted().candidate().is_none());
}

#[test]
fn a_run_knows_the_verdict_on_what_it_landed_and_on_the_bases_that_failed_like_it() {
    let stages = limits().stages;
    let on = |commit, more: &[Transition]| steps(more).verdict_on(&oid(commit), stages.as_ref());
    let answered = |answer| vec![landed('c'), stage("ci", answer, 5)];
    assert_eq!(on('c', &[landed('c')]), None, "nobody has asked its stages yet");
    assert_eq!(on('c', &answered(StageAnswer::Failure)), Some(Verdict::Red));
    assert_eq!(on('d', &answered(StageAnswer::Failure)), None, "another commit");
    assert_eq!(on('c', &[candidate_stage()]), None, "it has not landed");
    let base_red =
        [Transition::TryBegun, candidate_stage(), Transition::BaseRed { commit: oid('a') }];
    assert_eq!(on('a', &base_red), Some(Verdict::Red));
    assert_eq!(steps(&answered(StageAnswer::Failure)).verdict_on(&oid('c'), None), None);
}

#[test]
fn a_push_is_open_from_its_beginning_until_somebody_has_looked() {
    let sent = |more: &[Transition]| steps(more).unconfirmed_push().is_some();
    assert!(!sent(&[]));
    assert!(sent(&[Transition::PushBegun]));
    assert!(!sent(&[Transition::PushBegun, Transition::NotLanded]));
    assert!(!sent(&[Transition::PushBegun, landed('c')]));
    assert!(!sent(&[landed('c')]));
}

#[test]
fn what_was_said_of_a_commit_is_said_of_no_other() {
    let same = steps(&[landed('c')]);
    let kept = same.landed().unwrap();
    assert!(kept.proof.is_some() && kept.guardrails.is_some());
    let other = steps(&[candidate_stage(), landed('d')]);
    let other = other.landed().unwrap();
    assert!(other.proof.is_none() && other.guardrails.is_none() && other.stages.is_empty());
}

#[test]
fn a_try_is_spent_once_nothing_waits_for_it_and_until_it_is_removed() {
    let spent = |more: &[Transition]| steps(more).spent_tries();
    let tried = || vec![Transition::TryBegun, Transition::TryPushed];
    let and = |more: Vec<Transition>| [tried(), more].concat();
    assert_eq!(spent(&[]), [0; 0], "it was never on the remote");
    assert_eq!(spent(&tried()), [0; 0], "it is under way");
    assert_eq!(spent(&and(vec![landed('c')])), [1]);
    assert_eq!(spent(&and(vec![refused(Refusal::Verify)])), [1]);
    assert_eq!(spent(&and(vec![integrated('1', 'd')])), [1], "another took its place");
    let over = Transition::Concluded { end: End::Withdrawn, why: String::new(), charged: None };
    assert_eq!(spent(&and(vec![over])), [1]);
    let removed = Transition::TryRemoved { n: 1 };
    assert_eq!(spent(&and(vec![landed('c'), removed])), [0; 0]);
    let run = admitted();
    assert_eq!(run.try_branch(2), format!("afk/try/{}/2", run.id));
}

#[test]
fn a_failure_is_attributed_anew_and_a_success_changes_nothing() {
    let red = |second| stage("ci", StageAnswer::Failure, second);
    let ours = Transition::Attributed { cause: RedCause::Ours };
    let after = |more: Transition| {
        steps(&[landed('c'), red(110), ours.clone(), more]).landed().unwrap().red.is_some()
    };
    assert!(after(stage("more", StageAnswer::Success, 120)));
    assert!(!after(stage("more", StageAnswer::Failure, 120)));
}

#[test]
fn a_run_is_unstarted_while_no_executor_has_heard_of_it() {
    let begun = run(&[(1, opened()), (2, begun(TurnCause::Opening))]);
    let running = TurnSeen::Running { last_event_at: at(3), tool_open: false, asks: Vec::new() };
    assert!(begun.is_unstarted(Some(&TurnSeen::Absent)));
    assert!(!begun.is_unstarted(Some(&running)));
    assert!(!begun.is_unstarted(None));
    let worked = run(&with(to_landing(), vec![(110, super::begun(TurnCause::FixForward))]));
    assert!(!worked.is_unstarted(Some(&TurnSeen::Absent)));
}

#[test]
fn effort_and_transcripts_are_of_all_turns_that_have_them() {
    let worked = |n: u32| {
        let Transition::TurnEnded { how, mut facts } = paid(1, n) else { unreachable!() };
        facts.usage = Usage { input: 1, output: 20, cache_read: 300, cache_write: 4_000 };
        Transition::TurnEnded { how, facts }
    };
    let run = run(&[
        (1, opened()),
        (2, begun(TurnCause::Opening)),
        (3, worked(1)),
        (4, begun(TurnCause::Retry)),
        (5, failed()),
        (6, begun(TurnCause::Retry)),
        (7, worked(2)),
    ]);
    let evidence = run.evidence(None);
    let effort = evidence.effort.unwrap();
    let all = Usage { input: 2, output: 40, cache_read: 600, cache_write: 8_000 };
    assert_eq!((effort.turns, effort.tokens, effort.wall_seconds), (3, all, 7));
    assert!(evidence.transcript.is_some(), "a turn that failed may have none");
    let none = super::run(&[(1, opened()), (2, begun(TurnCause::Opening)), (3, failed())]);
    assert_eq!(none.evidence(None).transcript, None);
}

#[test]
fn leftovers_are_kept_by_attempt() {
    assert_eq!(super::super::Reset::name(2), "leftovers-2");
}

#[test]
fn the_newest_landing_is_named_with_its_attempt() {
    let newest = |steps: &[(i64, Transition)]| {
        run(steps).newest_landing().map(|(n, landed)| (n, landed.commit.clone()))
    };
    assert_eq!(newest(&to_landing()[..7]), None);
    assert_eq!(newest(&to_landing()), Some((1, oid('c'))));
    let fix = with(to_landing(), vec![(200, begun(TurnCause::FixForward))]);
    assert_eq!(newest(&fix), Some((1, oid('c'))));
    let fixed = with(fix, vec![(210, integrated('2', 'd')), (220, landed('d'))]);
    assert_eq!(newest(&fixed), Some((2, oid('d'))));
}

/// A run that was begun in such a checkout, on such a machine.
fn begun_on(checkout: Checkout, machine: Option<Machine>) -> Run {
    let Transition::Opened { start } = opened() else { panic!("a start") };
    run(&[(1, Transition::Opened { start: Start { checkout, machine, ..start } })])
}

fn far(executor: &str) -> Machine {
    Machine::Far { executor: executor.parse().unwrap() }
}

#[test]
fn an_agent_is_elsewhere_once_its_repo_names_another_executor() {
    use Checkout::{Ours, Own};
    let check = |begun: (Checkout, Option<Machine>), now: (Checkout, Machine), elsewhere| {
        let run = begun_on(begun.0, begun.1.clone());
        assert_eq!(run.is_elsewhere(now.0, &now.1), elsewhere, "{begun:?} {now:?}");
    };
    let this = || Machine::This;
    check((Ours, Some(this())), (Ours, this()), false);
    check((Ours, Some(this())), (Ours, far("t3")), true);
    check((Ours, Some(far("t3"))), (Ours, far("t3")), false);
    check((Ours, Some(far("t3"))), (Ours, far("t4")), true);
    check((Ours, Some(far("t3"))), (Ours, this()), true);
    // Where the control plane lands, an agent on the same machine is found whatever its checkout.
    check((Ours, Some(this())), (Own, this()), false);
    check((Own, Some(far("t3"))), (Own, far("t3")), false);
    check((Own, Some(far("t3"))), (Ours, far("t3")), true);
    // Runs that were begun before the machine was recorded.
    check((Ours, None), (Own, far("t3")), false);
    check((Own, None), (Own, far("t3")), false);
    check((Own, None), (Ours, this()), true);
    assert!(!admitted().is_elsewhere(Own, &this()), "it was not begun anywhere yet");
}

#[test]
fn who_is_out_of_reach_is_named_with_what_helps() {
    for (machine, executor) in [
        (None, ""),
        (Some(Machine::This), " (an agent on this machine)"),
        (Some(far("t3")), " (t3)"),
    ] {
        let expected = format!(
            "o/r does not name the executor any more that this run was begun with{executor}, so \
             that nobody knows whether its agent is at work: let the repo name it again until the \
             run has ended"
        );
        assert_eq!(begun_on(Checkout::Own, machine).out_of_reach(), expected);
    }
}

#[test]
fn a_retry_counts_from_the_moment_it_was_asked_for() {
    let run = run(&[(1, begun(TurnCause::Opening)), (5, asked("a", Request::Retry))]);
    assert!(run.retry_asked_since(at(5)) && !run.retry_asked_since(at(6)));
    let other = super::run(&[(5, asked("a", Request::Say { text: "retry".to_owned() }))]);
    assert!(!other.retry_asked_since(at(1)));
}

#[test]
fn a_run_is_released_when_its_label_was_put_on() {
    assert_eq!(admitted().released_at(), at(-60));
    let by_hand = Run { release: None, ..admitted() };
    assert_eq!(by_hand.released_at(), by_hand.admitted_at);
}

#[test]
fn limits_that_were_recorded_without_a_race_have_half_an_hour_for_it() {
    let mut stored = serde_json::to_value(limits()).unwrap();
    stored.as_object_mut().unwrap().remove("race");
    assert_eq!(serde_json::from_value::<Limits>(stored).unwrap().race, Duration::from_mins(30));
}
