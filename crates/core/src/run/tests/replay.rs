//! Replay of a journal: nothing differs as it was written, and each way to differ is told.

use super::*;
use crate::plan::{Plan, Waiting, plan};
use crate::replay::{Context, Row, replay};

const NAMES: Names<'_> = Names { ready: "ready", in_progress: "busy" };

/// A run's journal: three rows without a context, two that one pass recorded of a turn's end and
/// the issue, and one that a plan led to.
fn journal() -> (Vec<Row>, Run) {
    let mut run = admitted();
    let mut rows = Vec::new();
    let mut write = |run: &mut Run, transition: Transition, context: Option<&Context>| {
        let seq = rows.len() as u64 + 1;
        let now = at(seq.cast_signed());
        let body = serde_json::json!({ "transition": transition, "context": context });
        rows.push(Row { seq, at: now, body });
        run.apply(now, transition);
    };
    let admission = Transition::Admitted { run: Box::new(run.clone()) };
    write(&mut run, admission, None);
    write(&mut run, opened(), None);
    write(&mut run, begun(TurnCause::Opening), None);
    let turn = TurnSeen::Ended { how: TurnEnd::Interrupted, facts: Box::default() };
    let issue = IssueSeen {
        open: true,
        ready: true,
        in_progress: true,
        enrolled: true,
        ..IssueSeen::default()
    };
    let seen = Observation { turn: Some(turn), issue: Some(issue), ..Observation::default() };
    let context = Context::new(&run, 3, &seen, NAMES, limits(), at(4));
    let found = record(&run, &seen, NAMES, &limits(), at(4));
    assert_eq!(found.len(), 2, "{found:?}");
    for transition in found {
        write(&mut run, transition, Some(&context));
    }
    let mut context = Context::new(&run, 5, &Observation::default(), NAMES, limits(), at(6));
    let situation = run.situation(&Observation::default(), &limits(), at(6));
    (context.situation, context.plan) = (Some(situation), Some(plan(&situation)));
    write(&mut run, begun(TurnCause::Interrupted), Some(&context));
    (rows, run)
}

/// Replays the journal after `change`: the number of decisions, and the differences in words.
fn told(change: impl FnOnce(&mut Vec<Row>, &mut Run)) -> (usize, Vec<String>) {
    let (mut rows, mut run) = journal();
    change(&mut rows, &mut run);
    let replayed = replay(&rows, &run);
    assert_eq!(replayed.rows, rows.len());
    (replayed.decisions, replayed.differences.iter().map(ToString::to_string).collect())
}

fn differs(expected: &str, change: impl FnOnce(&mut Vec<Row>, &mut Run)) {
    let (_, differences) = told(change);
    let first = differences.first().map_or("nothing differs", String::as_str);
    assert!(first.starts_with(expected), "{first:?} is not {expected:?}");
}

#[test]
fn a_journal_replays_as_it_was_written() {
    assert_eq!(told(|_, _| {}), (2, vec![]), "one decision a pass, whatever it wrote");
    let shorter = told(|rows, run| {
        rows.truncate(3);
        *run = self::run(&[(2, opened()), (3, begun(TurnCause::Opening))]);
    });
    assert_eq!(shorter, (0, vec![]));
}

/// The journal with one more row that ends the run, and the run.
fn ended_by(seen: &Observation, now: i64, end: End, why: &str) -> (Vec<Row>, Run) {
    let (mut rows, mut run) = journal();
    let seq = rows.len() as u64 + 1;
    let mut context = Context::new(&run, seq - 1, seen, NAMES, limits(), at(now));
    let situation = run.situation(seen, &limits(), at(now));
    (context.situation, context.plan) = (Some(situation), Some(plan(&situation)));
    let transition = Transition::Concluded { end, why: why.to_owned(), charged: None };
    let body = serde_json::json!({ "transition": transition, "context": context });
    rows.push(Row { seq, at: at(now), body });
    run.apply(at(now), transition);
    (rows, run)
}

#[test]
fn an_end_and_its_reason_are_made_again() {
    let told = |(rows, run): (Vec<Row>, Run)| {
        let all = replay(&rows, &run).differences;
        all.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (nothing, over, why) = (Observation::default(), 43_200, "the run's deadline has passed");
    assert_eq!(told(ended_by(&nothing, over, End::NeedsHuman, why)), [""; 0]);
    assert_eq!(
        told(ended_by(&nothing, over, End::Frozen, why)),
        [format!("row 7: ended as Frozen ({why}), would end as NeedsHuman ({why})")]
    );
    assert_eq!(
        told(ended_by(&nothing, over, End::NeedsHuman, "it is late")),
        [format!("row 7: ended as NeedsHuman (it is late), would end as NeedsHuman ({why})")]
    );
    assert_eq!(
        told(ended_by(&nothing, 50, End::NeedsHuman, "it is late")),
        ["row 7: ended as NeedsHuman (it is late), would not end"]
    );
    // Journals from before ends were planned do not hold what an end follows from.
    let (mut rows, run) = ended_by(&nothing, 50, End::NeedsHuman, "the disk is full");
    let context = rows[6].body["context"].as_object_mut().unwrap();
    context.remove("format");
    for field in ["blind", "obstacle", "unread"] {
        assert!(context["situation"].as_object_mut().unwrap().remove(field).is_some());
    }
    assert_eq!(told((rows, run)), [""; 0]);
}

#[test]
fn a_turn_that_went_on_under_a_lowered_budget_differs_only_where_that_stops_it() {
    let (mut rows, mut run) = journal();
    let lowers = asked("a", Request::Budget { usd: Usd::dollars(3) });
    let body = serde_json::json!({ "transition": lowers, "context": null });
    rows.push(Row { seq: 7, at: at(7), body });
    run.apply(at(7), lowers);
    let turn = TurnSeen::Running { last_event_at: at(8), tool_open: false, asks: Vec::new() };
    let seen =
        Observation { turn: Some(turn), alive: true, working: true, ..Observation::default() };
    let mut context = Context::new(&run, 7, &seen, NAMES, limits(), at(8));
    let situation = run.situation(&seen, &limits(), at(8));
    assert_eq!((situation.lowered, plan(&situation)), (true, Plan::Interrupt));
    (context.situation, context.plan) = (Some(situation), Some(Plan::Interrupt));
    let interrupted = Transition::TurnInterrupted { stalled: false };
    let body = serde_json::json!({ "transition": interrupted, "context": context });
    rows.push(Row { seq: 8, at: at(8), body });
    run.apply(at(8), interrupted);
    assert_eq!(replay(&rows, &run).differences, []);
    // As it was written before.
    let context = rows[7].body["context"].as_object_mut().unwrap();
    context["plan"] = serde_json::to_value(Plan::Wait { reason: Waiting::Turn }).unwrap();
    assert!(context["situation"].as_object_mut().unwrap().remove("lowered").is_some());
    assert_eq!(replay(&rows, &run).differences.len(), 1);
    rows[7].body["context"]["format"] = 1.into();
    assert_eq!(replay(&rows, &run).differences, []);
}

#[test]
fn each_difference_is_named_with_its_row() {
    differs("row 4: its pass looked at version 2, and the record was at 3", |rows, _| {
        for row in &mut rows[3..5] {
            row.body["context"]["version"] = 2.into();
        }
    });
    differs("row 5: recorded opened, would record ", |rows, _| {
        rows[4].body["transition"] = serde_json::to_value(opened()).unwrap();
    });
    differs(
        "row 5: recorded turn_ended, would record turn_ended with another content",
        |rows, _| {
            rows[4].body["transition"] = serde_json::to_value(failed()).unwrap();
        },
    );
    differs("row 6: recorded stopped, would record nothing", |rows, _| {
        // One more row than its pass had cause for.
        rows[5].body["context"] = rows[4].body["context"].clone();
        rows[5].body["transition"] = serde_json::to_value(Transition::Stopped).unwrap();
    });
    differs("row 6: recorded nothing, would record labels_seen", |rows, _| {
        rows[5].body["context"]["seen"] = rows[3].body["context"]["seen"].clone();
        rows.drain(3..5);
        rows[3].seq = 6;
    });
    differs("row 6: the situation differs: halted was true, would be false", |rows, _| {
        rows[5].body["context"]["situation"]["halted"] = true.into();
    });
    let settle = serde_json::to_value(Plan::Settle).unwrap();
    differs("row 6: planned Settle, would plan ", |rows, _| {
        rows[5].body["context"]["plan"] = settle;
    });
    differs("row 6: the journal does not give the stored record", |_, run| {
        run.budget = Usd::dollars(11);
    });
    differs("row 2: cannot be read by this version: ", |rows, _| rows[1].body = 7.into());
    let admits = "cannot be read by this version: the first row, and no other, admits the run";
    differs(&format!("row 2: {admits}"), |rows, _| drop(rows.remove(0)));
    differs(&format!("row 7: {admits}"), |rows, _| {
        rows.push(Row { seq: 7, ..rows[0].clone() });
    });
}
