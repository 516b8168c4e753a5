//! What a pass saw, and what of it is recorded.

use super::*;
use crate::issue::{IssueChange, IssueEvent};

const NAMES: Names<'_> = Names { ready: "ready", in_progress: "busy" };

fn event(second: i64, by: Option<&str>, what: IssueChange) -> IssueEvent {
    IssueEvent { at: at(second), actor: by.map(who), what }
}

fn off(label: &str) -> IssueChange {
    IssueChange::Unlabeled { label: label.to_owned() }
}

/// An open issue that shows both labels.
fn issue() -> IssueSeen {
    IssueSeen {
        open: true,
        ready: true,
        in_progress: true,
        enrolled: true,
        own_account: "afk".to_owned(),
        ..Default::default()
    }
}

fn recorded(run: &Run, seen: &Observation) -> Vec<Transition> {
    record(run, seen, NAMES, &limits(), at(50))
}

/// Checks whether a run that has seen both labels takes this issue as cancelled, and how.
fn check(issue: &IssueSeen, expected: Option<CancelHow>) {
    let mut run = admitted();
    run.labels_seen = LabelsSeen { ready: true, in_progress: true };
    let seen = Observation { issue: Some(issue.clone()), ..Observation::default() };
    let found = recorded(&run, &seen);
    let kept = seen.kept(&run, NAMES);
    assert_eq!(recorded(&run, &kept), found, "what is kept of it says the same: {kept:?}");
    assert!(kept.issue.is_some_and(|issue| issue.events.len() <= 4));
    let cancels: Vec<_> = found
        .iter()
        .filter_map(|transition| match transition {
            Transition::Cancelled { cancel } => Some(cancel.how),
            _ => None,
        })
        .collect();
    assert_eq!(cancels, Vec::from_iter(expected), "{issue:?}");
}

#[test]
fn what_happened_last_before_the_admission_is_not_the_runs() {
    let last = event(10, Some("ann"), off("ready"));
    let mut run = admitted();
    run.labels_seen = LabelsSeen { ready: true, in_progress: true };
    run.last_event = Some(last.clone());
    let cancels = |events: &[IssueEvent]| {
        let issue = IssueSeen { ready: false, events: events.to_vec(), ..issue() };
        let seen = Observation { issue: Some(issue), ..Observation::default() };
        let found = recorded(&run, &seen);
        found.iter().any(|one| matches!(one, Transition::Cancelled { .. }))
    };
    assert!(!cancels(std::slice::from_ref(&last)));
    let on = event(10, Some("ann"), IssueChange::Labeled { label: "ready".to_owned() });
    assert!(cancels(&[last.clone(), on, event(10, Some("bob"), off("ready"))]));
}

#[test]
fn a_cancel_is_an_event_by_somebody_else() {
    use CancelHow::{Closed, Unenrolled, Unlocked, Unreadied};
    let closed = |events| IssueSeen { open: false, events, ..issue() };
    let unready = |events| IssueSeen { ready: false, events, ..issue() };
    let unlocked = |events| IssueSeen { in_progress: false, events, ..issue() };
    let by = |by, what| vec![event(10, by, what)];

    check(&issue(), None);
    check(&closed(by(Some("ann"), IssueChange::Closed)), Some(Closed));
    check(&closed(by(None, IssueChange::Closed)), Some(Closed));
    check(&closed(by(Some("afk"), IssueChange::Closed)), None);
    check(&closed(Vec::new()), None);
    check(&unready(by(Some("ann"), off("ready"))), Some(Unreadied));
    check(&unready(by(Some("afk"), off("ready"))), None);
    check(&unready(Vec::new()), None);
    check(&unready(by(Some("ann"), off("other"))), None);
    // A forge may spell the label differently.
    check(&unready(by(Some("ann"), off("Ready"))), Some(Unreadied));
    check(&unlocked(by(Some("ann"), off("BUSY"))), Some(Unlocked));
    check(&unlocked(by(Some("ann"), off("busy"))), Some(Unlocked));
    check(&unlocked(by(Some("afk"), off("busy"))), None);
    check(&unlocked(Vec::new()), None);
    // A forge closes the issue for our own commit, and then a person takes it back.
    let ours = event(9, Some("afk"), IssueChange::Closed);
    let back = |label| vec![ours.clone(), event(10, Some("ann"), off(label))];
    let shut = |seen: IssueSeen| IssueSeen { open: false, ..seen };
    check(&shut(unready(back("ready"))), Some(Unreadied));
    check(&shut(unlocked(back("busy"))), Some(Unlocked));
    check(&shut(unready(vec![ours.clone(), event(10, Some("afk"), off("ready"))])), None);
    // The label was put on again since.
    let again = by(Some("ann"), off("ready"));
    check(&IssueSeen { events: again, ..issue() }, None);
    // Events from before the admission were about another run.
    check(&unready(vec![event(-1, Some("ann"), off("ready"))]), None);
    check(&unready(vec![event(0, Some("ann"), off("ready"))]), Some(Unreadied));
    check(&IssueSeen { enrolled: false, ..issue() }, Some(Unenrolled));
}

/// The tracker's clock is ten minutes from ours, to either side: what people did since
/// the admission counts, what they did before it does not.
#[test]
fn a_cancel_is_told_by_the_trackers_own_order_whatever_its_clock_says() {
    let on = |label: &str| IssueChange::Labeled { label: label.to_owned() };
    for skew in [-600, 0, 600] {
        let event = |second: i64, by, what| event(second + skew, Some(by), what);
        // Seconds are ours; the run was admitted at 0. Ann took off a lock of her own, and closed
        // and reopened the issue, after the release and before the admission.
        let before = vec![
            event(-60, "ann", on("ready")),
            event(-50, "ann", on("busy")),
            event(-10, "ann", off("busy")),
            event(-9, "ann", IssueChange::Closed),
            event(-8, "ann", IssueChange::Reopened),
        ];
        let mut run = admitted();
        run.labels_seen = LabelsSeen { ready: true, in_progress: true };
        run.last_event = before.last().cloned();
        let check = |more: &[IssueEvent], shown: IssueSeen, expected: Option<CancelHow>| {
            let all = [before.clone(), more.to_vec()].concat();
            let told = |events: &[IssueEvent]| {
                let issue = IssueSeen { events: events.to_vec(), ..shown.clone() };
                let seen = Observation { issue: Some(issue), ..Observation::default() };
                let found = recorded(&run, &seen);
                assert_eq!(recorded(&run, &seen.kept(&run, NAMES)), found, "what is kept of it");
                found.into_iter().find_map(|transition| match transition {
                    Transition::Cancelled { cancel } => Some(cancel.how),
                    _ => None,
                })
            };
            assert_eq!(told(&all), expected, "{skew} {more:?}");
            let late: Vec<_> = all.iter().rev().cloned().collect();
            assert_eq!(told(&late), expected, "{skew} {more:?}, newest first");
        };
        let unlocked = IssueSeen { in_progress: false, ..issue() };
        let unready = IssueSeen { ready: false, ..issue() };
        let closed = IssueSeen { open: false, ..issue() };
        check(&[], unlocked.clone(), None);
        check(&[], closed.clone(), None);
        check(&[event(5, "afk", IssueChange::Closed)], closed.clone(), None);
        check(&[event(5, "ann", off("busy"))], unlocked, Some(CancelHow::Unlocked));
        check(&[event(5, "ann", off("ready"))], unready, Some(CancelHow::Unreadied));
        check(&[event(5, "ann", IssueChange::Closed)], closed.clone(), Some(CancelHow::Closed));
        // A replica that lags shows less than was seen at the admission, and nothing since.
        let issue = IssueSeen { events: before[..4].to_vec(), ..closed };
        let seen = Observation { issue: Some(issue), ..Observation::default() };
        assert_eq!(recorded(&run, &seen), []);
    }
}

/// Within the second of the newest event, the tracker's order tells before from after it.
#[test]
fn what_happens_in_the_second_of_the_newest_event_is_since_only_after_it() {
    let mut run = admitted();
    run.labels_seen = LabelsSeen { ready: true, in_progress: true };
    let on = IssueChange::Labeled { label: "ready".to_owned() };
    let released = event(-60, Some("ann"), on);
    run.last_event = Some(released.clone());
    let gone = event(-60, Some("ann"), off("ready"));
    let cancels = |events: Vec<IssueEvent>| {
        let issue = IssueSeen { ready: false, events, ..issue() };
        !recorded(&run, &Observation { issue: Some(issue), ..Observation::default() }).is_empty()
    };
    assert!(cancels(vec![released.clone(), gone.clone()]));
    assert!(!cancels(vec![gone.clone(), released]));
    assert!(!cancels(vec![gone]), "the newest event is not shown: a late answer");
}

#[test]
fn a_label_that_was_never_seen_is_not_missed() {
    let mut run = admitted();
    run.labels_seen = LabelsSeen::default();
    let events = vec![event(10, Some("ann"), off("ready")), event(11, Some("ann"), off("busy"))];
    let seen = IssueSeen { ready: false, in_progress: false, events, ..issue() };
    assert_eq!(recorded(&run, &Observation { issue: Some(seen), ..Observation::default() }), []);
}

#[test]
fn a_repo_that_is_taken_off_the_allowlist_cancels_its_runs_and_one_that_never_was_on_it_none() {
    let check = |dispatcher, enrolled, cancels: bool| {
        let run = Run { dispatcher, enrolled, ..admitted() };
        let seen = IssueSeen { enrolled: false, in_progress: false, ..issue() };
        let recorded = recorded(&run, &Observation { issue: Some(seen), ..Observation::default() });
        let cancelled = recorded.iter().any(|row| {
            matches!(row, Transition::Cancelled { cancel } if cancel.how == CancelHow::Unenrolled)
        });
        assert_eq!(cancelled, cancels, "{dispatcher:?}, {enrolled}: {recorded:?}");
    };
    check(Dispatcher::Loop, true, true);
    // A record from before `enrolled` was kept.
    check(Dispatcher::Loop, false, true);
    check(Dispatcher::Person, true, true);
    check(Dispatcher::Person, false, false);
}

#[test]
fn what_is_recorded_once_is_not_recorded_again() {
    let mut run = admitted();
    let closing = vec![event(10, Some("ann"), IssueChange::Closed)];
    let seen = IssueSeen { open: false, events: closing, ..issue() };
    let seen = Observation { issue: Some(seen), ..Observation::default() };
    let first = recorded(&run, &seen);
    assert_eq!(first.len(), 2, "the labels and the cancel: {first:?}");
    for transition in first {
        run.apply(at(50), transition);
    }
    assert_eq!(recorded(&run, &seen), []);
    assert_eq!(run.labels_seen, LabelsSeen { ready: true, in_progress: true });
}

#[test]
fn a_run_that_is_over_is_cancelled_no_more() {
    let end = Transition::Concluded { end: End::Done, why: String::new(), charged: None };
    let mut run = run(&[(5, end)]);
    run.labels_seen = LabelsSeen { ready: true, in_progress: true };
    let events = vec![event(10, Some("ann"), IssueChange::Closed)];
    let seen = IssueSeen { open: false, events, ..issue() };
    assert_eq!(recorded(&run, &Observation { issue: Some(seen), ..Observation::default() }), []);
}

#[test]
fn turns_end_as_they_were_stopped() {
    let interrupted = |stalled| vec![Transition::TurnInterrupted { stalled }];
    let check = |stop: Vec<Transition>, seen: TurnSeen, expected: Option<TurnEnd>| {
        let mut steps = vec![(1, begun(TurnCause::Opening))];
        steps.extend(stop.into_iter().map(|transition| (2, transition)));
        let run = run(&steps);
        let found =
            recorded(&run, &Observation { turn: Some(seen.clone()), ..Observation::default() });
        let ends: Vec<_> = found
            .into_iter()
            .map(|transition| match transition {
                Transition::TurnEnded { how, .. } => how,
                other => panic!("{}", other.kind()),
            })
            .collect();
        assert_eq!(ends, Vec::from_iter(expected), "{seen:?}");
    };
    let over = |how| TurnSeen::Ended { how, facts: Box::default() };
    let failure = || TurnEnd::Failed { message: "exit 1".to_owned() };
    let done = || TurnEnd::Finished { message: "Done.".to_owned() };
    let running = || TurnSeen::Running { last_event_at: at(1), tool_open: false, asks: Vec::new() };

    for quiet in [TurnSeen::Absent, TurnSeen::Unknown, running()] {
        check(Vec::new(), quiet, None);
    }
    check(Vec::new(), over(done()), Some(done()));
    check(Vec::new(), over(TurnEnd::Lost), Some(TurnEnd::Lost));
    check(Vec::new(), over(TurnEnd::Interrupted), Some(TurnEnd::Interrupted));
    for (stalled, how) in [(false, TurnEnd::Interrupted), (true, TurnEnd::Stalled)] {
        for seen in [TurnEnd::Interrupted, TurnEnd::Lost, failure()] {
            check(interrupted(stalled), over(seen), Some(how.clone()));
        }
        check(interrupted(stalled), TurnSeen::Absent, Some(how.clone()));
        check(interrupted(stalled), over(done()), Some(done()));
        check(interrupted(stalled), running(), None);
    }
}

#[test]
fn a_turn_that_is_over_stays_as_it_was() {
    let run = run(&[(1, begun(TurnCause::Opening)), (2, failed())]);
    let turn = TurnSeen::Ended { how: TurnEnd::Lost, facts: Box::default() };
    assert_eq!(recorded(&run, &Observation { turn: Some(turn), ..Observation::default() }), []);
}
