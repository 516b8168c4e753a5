//! A person steers runs with the real binary: requests are kept, carried out by the control
//! plane that works the store, and shown; one that makes no sense is refused, with what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{BOUND, ISSUE, Plan, World, honest, texts, until, wait_for};
use serde_json::Value;

const WATCH: [&str; 3] = ["tick", "--poll", "--watch"];

/// A world whose agent waits in its turn, under a control plane.
fn at_work() -> (World, common::Control) {
    let world = World::new(&Plan::default());
    world.script(&[honest(vec![wait_for(world.path("gate/go"))]), Vec::new()]);
    world.issue("It prints `Hello, !`.");
    let control = world.start(&WATCH);
    until("the agent at work", BOUND, || (world.starts() == 1).then_some(()));
    (world, control)
}

/// Checks that the command is refused with this exit code, and these words on standard error.
#[track_caller]
fn refused(world: &World, args: &[&str], code: i32, words: &[&str]) {
    let output = world.afk(args);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{err}");
    for word in words {
        assert!(err.contains(word), "{args:?}: {word:?} is not in {err}");
    }
}

fn answers(page: &Value) -> Vec<&str> {
    let all = page["requests"].as_array().unwrap().iter();
    all.map(|request| request["answered"][1].as_str().unwrap_or("none")).collect()
}

fn answers_open(world: &World) -> usize {
    world.show()["requests"].as_array().unwrap().len()
}

#[test]
fn words_and_a_budget_reach_the_run_and_are_shown() {
    let (world, control) = at_work();
    refused(&world, &["budget", ISSUE, "0"], 2, &["US dollars above 0"]);
    refused(&world, &["say", ISSUE, " "], 2, &["the text is empty"]);
    refused(&world, &["retry", ISSUE], 3, &["in progress"]);
    assert!(world.ok(&["say", ISSUE, "Mind the hinges."]).contains("after its turn"));
    let mut beyond = world.command(&["budget", ISSUE, "5000"]);
    let beyond = beyond.env("AFK_REPO_DAY_BUDGET_USD", "150").output().unwrap();
    let (_, err) = texts(&beyond);
    assert_eq!(beyond.status.code(), Some(3), "{err}");
    assert!(err.contains("no room for a budget of $5000.00, only for one of $150.00"), "{err}");
    let asked = world.json(&["budget", ISSUE, "7"]);
    assert_eq!(asked["asked"]["request"], "budget");
    world.open("go");
    control.done();
    world.assert_done_once();
    let page = world.show();
    let turns = page["run"]["attempts"][0]["turns"].as_array().unwrap();
    let causes: Vec<_> = turns.iter().map(|turn| turn["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["opening", "said"]);
    assert_eq!(answers(&page).len(), 2);
    assert!(answers(&page)[1].contains("the budget is"), "{:?}", answers(&page));
    assert!(world.ok(&["show", ISSUE]).contains("say \"Mind the hinges.\""));
    let runs = world.json(&["runs"]);
    assert_eq!(runs["runs"][0]["outcome"], "done");
    assert!(world.ok(&["runs", "--repo", "acme/other"]).contains("no run yet"));
}

#[test]
fn a_stop_lets_the_issue_go_and_a_retry_releases_it_again() {
    let (world, control) = at_work();
    let (out, err) = texts(&world.afk(&["stop", ISSUE]));
    assert!(out.contains("stopped"), "{out}{err}");
    assert!(err.contains("the afk that works this run (pid "), "{err}");
    control.done();
    let page = world.show();
    assert_eq!(page["summary"]["outcome"], "released");
    assert_eq!(answers(&page), ["stopped"]);
    assert_eq!(world.landed().len(), 1, "nothing landed");
    for verb in [&["stop", ISSUE][..], &["say", ISSUE, "hello"], &["budget", ISSUE, "3"]] {
        refused(&world, verb, 2, &["has ended (withdrawn)", "afk retry"]);
    }
    world.open("go");
    assert!(world.ok(&["retry", ISSUE]).contains("released again by"));
    // It is queued now, and no run is there to be stopped.
    refused(&world, &["stop", ISSUE], 2, &["no run is live", "afk issue unlabel acme/hello#1"]);
    assert!(world.ok(&["show", ISSUE]).contains("is released again, and waits for its next run"));
    world.start(&WATCH).done();
    assert_eq!(world.show()["summary"]["outcome"], "done");
    assert_eq!(world.json(&["runs"])["runs"].as_array().unwrap().len(), 2);
    refused(&world, &["retry", ISSUE], 2, &["is closed", "afk issue reopen"]);
    refused(&world, &["stop", "acme/hello#99"], 2, &["no issue acme/hello#99"]);
}

#[test]
fn a_stop_in_a_comment_of_the_keeper_is_followed_and_a_strangers_is_not() {
    let (world, control) = at_work();
    world.ok(&["issue", "comment", ISSUE, "/afk stop", "--as", "mallory"]);
    world.ok(&["issue", "comment", ISSUE, "/afk say Mind the hinges."]);
    until("the words", BOUND, || (answers_open(&world) == 1).then_some(()));
    world.ok(&["issue", "comment", ISSUE, "/afk stop\nThe wrong door."]);
    control.done();
    let page = world.show();
    assert_eq!(page["summary"]["outcome"], "released");
    assert_eq!(answers(&page)[1], "stopped");
    assert_eq!(answers(&page).len(), 2, "{page}");
    assert_eq!(world.landed().len(), 1, "nothing landed");
}

#[test]
fn a_comment_of_the_keeper_lifts_the_freeze_that_it_is_younger_than() {
    let world = World::new(&Plan::default());
    world.ok(&["issue", "new", common::REPO, "Greet", "--body", "It prints `Hello, !`."]);
    world.ok(&["issue", "comment", ISSUE, "/afk unfreeze"]);
    world.ok(&["freeze", common::REPO]);
    world.ok(&["tick", "--poll"]);
    let frozen = || !world.json(&["status"])["switches"]["frozen"].as_array().unwrap().is_empty();
    assert!(frozen());
    world.ok(&["issue", "comment", ISSUE, "/afk unfreeze", "--as", "mallory"]);
    world.ok(&["tick", "--poll"]);
    assert!(frozen());
    world.ok(&["issue", "comment", ISSUE, "/afk unfreeze"]);
    world.ok(&["tick", "--poll"]);
    assert!(!frozen());
}

#[test]
fn a_retry_in_a_comment_of_the_keeper_releases_the_issue_again_and_a_strangers_does_not() {
    let (world, control) = at_work();
    world.ok(&["stop", ISSUE]);
    control.done();
    world.open("go");
    world.ok(&["issue", "comment", ISSUE, "/afk retry", "--as", "mallory"]);
    world.ok(&["issue", "comment", ISSUE, "/afk budget much"]);
    world.ok(&["tick", "--poll"]);
    assert_eq!(world.json(&["runs"])["runs"].as_array().unwrap().len(), 1);
    let page = world.show();
    assert_eq!(answers(&page).len(), 2, "{page}");
    assert!(answers(&page)[1].contains("US dollars above 0"), "{page}");
    assert!(world.ok(&["issue", "show", ISSUE]).contains("Answers to comments"));
    world.ok(&["issue", "comment", ISSUE, "/afk retry"]);
    world.start(&WATCH).done();
    assert_eq!(world.show()["summary"]["outcome"], "done");
    assert_eq!(world.json(&["runs"])["runs"].as_array().unwrap().len(), 2);
    assert!(world.ok(&["evidence", ISSUE]).contains("by comment:"));
}
