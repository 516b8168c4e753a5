//! What an ended run leaves to go on from, and how a run that goes on from it behaves.

use super::*;
use crate::plan::{Plan, plan};

fn end(end: End) -> Transition {
    Transition::Concluded { end, why: "why".to_owned(), charged: None }
}

/// A run that was refused before landing and handed over.
fn handed_over() -> Vec<(i64, Transition)> {
    let mut steps = to_landing()[..6].to_vec();
    steps.extend([(20, disproved()), (21, refused(Refusal::Proof)), (30, end(End::NeedsHuman))]);
    steps
}

fn from(head: char) -> Transition {
    let resumed = ResumedHead {
        from: "00000001-0000-0000-0000-000000000006".parse().unwrap(),
        head: oid(head),
        base: oid('a'),
        transcript: Digest::of("transcript"),
        sandbox: SandboxStrength::Partial,
    };
    Transition::Resumed { resumed }
}

/// A run that goes on from the head of another.
fn resumed() -> Vec<(i64, Transition)> {
    vec![(1, opened()), (2, from('1'))]
}

fn next(steps: &[(i64, Transition)], second: i64) -> Plan {
    plan(&run(steps).situation(&Observation::default(), &limits(), at(second)))
}

#[test]
fn only_a_finished_head_that_was_handed_over_is_gone_on_from() {
    let check = |what: &str, steps: &[(i64, Transition)], expected: bool| {
        assert_eq!(run(steps).leaves().is_some(), expected, "{what}");
    };
    let whole = handed_over();
    check("refused", &whole, true);
    check("live", &whole[..8], false);
    let instead = |n: usize, what: Transition| {
        let mut steps = whole.clone();
        steps[n].1 = what;
        steps
    };
    check("frozen", &instead(8, end(End::Frozen)), false);
    check("released", &instead(8, end(End::Withdrawn)), false);
    let mut untold = whole.clone();
    untold[2].1 = finished();
    check("without a transcript", &untold, false);
    let mut cleared = to_landing()[..7].to_vec();
    cleared.push((30, end(End::NeedsHuman)));
    check("nothing against it", &cleared, true);
    let mut unjudged = to_landing()[..5].to_vec();
    unjudged.push((30, end(End::NeedsHuman)));
    check("not judged", &unjudged, false);
    let mut sent = to_landing()[..7].to_vec();
    sent.extend([(25, Transition::PushBegun), (30, end(End::NeedsHuman))]);
    check("a push of which nothing is known", &sent, false);
    let mut unlanded = to_landing()[..4].to_vec();
    unlanded.extend([(12, refused(Refusal::Conflict)), (30, end(End::NeedsHuman))]);
    check("conflicts", &unlanded, true);
    check("landed", &with(to_landing(), vec![(200, end(End::NeedsHuman))]), false);
    let stats = Tally::default();
    let breached = GuardrailReport {
        breaches: vec![crate::guardrails::Breach::SpeaksFor {
            of: crate::guardrails::MessageOf::Candidate,
            key: "afk-run".to_owned(),
        }],
        further: 0,
        stats,
    };
    check("breached", &instead(5, Transition::Guarded { report: breached }), false);
}

#[test]
fn it_is_judged_without_a_turn_and_gets_one_when_it_is_refused() {
    let steps = resumed();
    assert!(!run(&steps).observation_scope().gates, "nothing is begun any more");
    assert_eq!(next(&steps, 3), Plan::Integrate);
    let made = with(steps, vec![(3, integrated('1', 'c'))]);
    assert_eq!(next(&made, 4), Plan::Judge);
    let clear = with(made.clone(), vec![(4, guarded()), (5, proved())]);
    assert_eq!(next(&clear, 6), Plan::Land);
    let again = with(made, vec![(4, guarded()), (5, disproved()), (6, refused(Refusal::Proof))]);
    assert_eq!(next(&again, 7), Plan::Turn { cause: TurnCause::Refused });
    let turn = run(&with(again.clone(), vec![(7, begun(TurnCause::Refused))]));
    assert_eq!((turn.attempts.len(), turn.turn().map(|turn| turn.n)), (2, Some(1)));
    let mut theirs = again;
    theirs[5].1 = refused(Refusal::Setup);
    assert_eq!(next(&theirs, 7), Plan::Conclude { end: End::NeedsHuman });
}

#[test]
fn its_evidence_is_whole_and_names_what_it_goes_on_from() {
    let mut steps = resumed();
    steps.extend([
        (12, integrated('1', 'c')),
        (13, guarded()),
        (20, proved()),
        (100, landed('c')),
        (110, stage("ci", StageAnswer::Success, 110)),
        (120, stage("more", StageAnswer::Success, 120)),
    ]);
    let stages = limits().stages;
    let whole = run(&steps);
    let bundle = whole.evidence(stages.as_ref());
    assert_eq!(bundle.is_complete(), Ok(()));
    assert_eq!(bundle.resumed.as_ref(), whole.resumed());
    assert_eq!(bundle.effort.map(|effort| (effort.turns, effort.cost)), Some((0, Usd::ZERO)));
    assert_eq!(bundle.sandbox, Some(SandboxStrength::Partial));
    assert_eq!(whole.given(), [&oid('a'), &oid('b')]);
    // A turn of its own adds to the evidence.
    let own = with(resumed(), vec![(5, begun(TurnCause::Said)), (9, paid(1, 1))]);
    let own = run(&own).evidence(stages.as_ref());
    assert_ne!(own.transcript, bundle.transcript);
    assert_eq!(own.sandbox, Some(SandboxStrength::Partial), "the weakest of all");
}

#[test]
fn it_begins_with_the_head_or_not_at_all() {
    for steps in [vec![(1, from('1'))], with(to_landing(), vec![(101, from('9'))])] {
        let before = run(&steps[..steps.len() - 1]);
        assert_eq!(run(&steps), before);
    }
    let twice = with(resumed(), vec![(3, from('2'))]);
    assert_eq!(run(&twice), run(&resumed()));
}

#[test]
fn a_release_is_for_the_request_that_asked_for_it() {
    let of = |id: Option<&str>, second| super::super::Release {
        at: at(second),
        request_id: id.map(str::to_owned),
        ..admitted().release.unwrap()
    };
    let wants = |id: &str| request(id, Request::Release);
    assert!(of(Some("a"), -60).is_for(&wants("a")), "whenever the label was put on");
    assert!(!of(Some("a"), 0).is_for(&wants("b")));
    assert!(of(None, 0).is_for(&wants("a")), "by a command");
    assert!(!of(None, 1).is_for(&wants("a")), "by hand, later");
    assert!(!of(Some("a"), 0).is_for(&request("a", Request::Retry)));
    let theirs = PersonRequest { by: who("bob"), ..wants("a") };
    assert!(!of(None, 0).is_for(&theirs));
}
