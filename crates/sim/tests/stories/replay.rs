//! Journals whose decisions are made again, and journals that were tampered with.
//!
//! That the journal of every story replays without differences is asserted where stories end
//! (`Story::ended`).

use afk_core::plan::End;
use afk_core::replay::{Differs, Replayed, Row, replay};
use afk_core::run::Run;
use afk_sim::story::{Story, breaking_work, fixing_work};
use serde_json::{Value, json};

/// A run with a fix-forward, and its journal.
async fn journal() -> (Run, Vec<Row>) {
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
    let run = story.settle().await;
    story.ended(End::Done);
    let rows = story.journal(run.id);
    (run, rows)
}

/// Each difference: its row, and its first words.
fn told(replayed: &Replayed) -> Vec<(u64, String)> {
    let all = replayed.differences.iter();
    all.map(|one| (one.seq, one.to_string())).collect()
}

#[tokio::test]
async fn every_decision_of_a_run_is_made_again() {
    let (run, rows) = journal().await;
    let replayed = replay(&rows, &run);
    assert_eq!(replayed.differences, []);
    assert_eq!(replayed.rows, rows.len());
    let with = rows.iter().filter(|row| row.body["context"]["seen"].is_object()).count();
    assert_eq!(with, rows.len() - 1, "each row but the admission keeps what was seen");
    assert!(replayed.decisions > 15, "{}", replayed.decisions);
    let largest = rows.iter().map(|row| row.body["context"].to_string().len()).max();
    assert!(largest < Some(4_000), "{largest:?}");
}

#[tokio::test]
async fn what_was_doctored_is_told() {
    let (run, rows) = journal().await;
    let planned = |row: &Row| row.body["context"]["plan"].is_object();
    let first = rows.iter().position(planned).unwrap();
    let inspected = rows.iter().position(|row| row.body["transition"]["transition"] == "inspected");
    let inspected = inspected.unwrap();
    let check = |n: usize, pointer: &str, value: Value, expected: &str| {
        let mut rows = rows.clone();
        let place = rows[n].body.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}"));
        assert_ne!(*place, value, "{pointer} is not changed");
        *place = value;
        let told = told(&replay(&rows, &run));
        let seq = rows[n].seq;
        assert!(
            told.iter().any(|(at, what)| *at == seq && what.contains(expected)),
            "{pointer}: {told:?}"
        );
    };
    check(first, "/context/situation/spent", json!(true), "spent was true, would be false");
    check(first, "/context/seen/halted", json!(true), "halted was false, would be true");
    check(first, "/context/limits/landing_refusals", json!(0), "refusals_left was true");
    check(first, "/context/plan", json!({ "do": "settle" }), "planned Settle, would plan");
    check(first, "/context/version", json!(99), "looked at version 99");
    check(inspected, "/transition/left/head", json!("1".repeat(40)), "with another content");
    check(inspected, "/context/seen/left", Value::Null, "would record nothing");
    check(first, "/transition", json!({ "transition": "teleported" }), "cannot be read");
}

#[tokio::test]
async fn a_row_that_is_gone_and_a_record_that_was_edited_are_told() {
    let (run, rows) = journal().await;
    for gone in 1..rows.len() {
        let mut less = rows.clone();
        less.remove(gone);
        let kind = &rows[gone].body["transition"]["transition"];
        assert_ne!(replay(&less, &run).differences, [], "without row {gone}, {kind}");
    }
    let mut edited = run.clone();
    edited.pinned.title.push('!');
    let differences = replay(&rows, &edited).differences;
    assert!(matches!(differences.as_slice(), [one] if one.what == Differs::Record));
    assert!(matches!(replay(&[], &run).rows, 0));
}
