//! The transcript with the real binary: of a run that was handed to a person, of one that
//! is followed to its end over a second turn, and of one whose jobs are gone.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::fs;

use afk_agent::agents::scripted::script::Step;
use common::{BOUND, ISSUE, Plan, World, honest, sh, texts, until, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const WATCH: [&str; 3] = ["tick", "--poll", "--watch"];

fn say(text: &str) -> Step {
    Step::Say { text: text.to_owned() }
}

/// The words are there, in this order.
#[track_caller]
fn in_order(text: &str, words: &[&str]) {
    let mut rest = text;
    for word in words {
        let Some(at) = rest.find(word) else {
            panic!("{word:?} is not where it belongs in {text}")
        };
        rest = &rest[at + word.len()..];
    }
}

#[test]
fn the_logs_of_a_run_that_a_person_got_tell_what_failed() {
    let world = World::new(&Plan {
        config: "executor_retries_max = 0\n".to_owned(),
        turns: vec![vec![say("I look\u{1b}[2J around."), sh("exit 3")]],
        ..Plan::default()
    });
    world.issue("It prints `Hello, !`.");
    let none = world.afk(&["logs", ISSUE]);
    assert_eq!(none.status.code(), Some(2), "{}", texts(&none).1);
    world.start(&WATCH).done();
    assert_eq!(world.show()["summary"]["outcome"], "needs-human");
    let said = world.ok(&["logs", ISSUE]);
    let told = ["Turn 1: opening", "I look around.", "sh -ec", "failed", "Turn 1 failed", "tokens"];
    in_order(&said, &told);
    assert!(!said.contains('\u{1b}'), "{said:?}");

    let raw = world.ok(&["logs", ISSUE, "--turn", "1", "--json"]);
    let lines: Vec<Value> = raw.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let jobs: Vec<_> = world.jobs().into_iter().filter(|job| job.name == "turn.1").collect();
    assert_eq!(raw, fs::read_to_string(jobs[0].dir.join("stdout")).unwrap(), "as it is");
    assert_eq!(lines[0]["type"], "started", "{raw}");
    let missing = world.afk(&["logs", ISSUE, "--turn", "2"]);
    assert_eq!(missing.status.code(), Some(2), "{}", texts(&missing).1);

    for run in world.runs() {
        fs::remove_dir_all(run).unwrap();
    }
    let gone = world.afk(&["logs", ISSUE]);
    let (out, err) = texts(&gone);
    assert_eq!(gone.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("gone with its workspace") && err.contains("afk evidence"), "{err}");
    assert!(out.contains("Turn 1 failed"), "the record still tells how it ended: {out}");
}

#[test]
fn followed_logs_show_a_held_turn_and_the_next_and_end_with_the_run() {
    let world = World::new(&Plan::default());
    let first = honest(vec![say("I wait for the gate."), wait_for(world.path("gate/go"))]);
    world.script(&[first, vec![say("I heard it.")]]);
    world.issue("It prints `Hello, !`.");
    let control = world.start(&WATCH);
    until("the agent at work", BOUND, || (world.starts() == 1).then_some(()));
    let mut follower = world.start(&["logs", ISSUE, "-f"]);
    let leaver = world.start(&["logs", ISSUE, "-f"]);
    for one in [&follower, &leaver] {
        let said = || one.said().contains("I wait for the gate.").then_some(());
        until("the held turn's words", BOUND, said);
    }
    let pid = Pid::from_raw(i32::try_from(leaver.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(leaver.wait(BOUND).status.code(), Some(130));

    let now = world.afk(&["logs", ISSUE]);
    let (out, err) = texts(&now);
    assert!(now.status.success() && err.contains("-f follows it"), "{out}{err}");
    assert!(!out.contains("finished"), "{out}");
    world.ok(&["say", ISSUE, "Mind the hinges."]);
    assert!(follower.over().is_none(), "it goes on while the run does: {}", follower.said());
    world.open("go");
    control.done();
    let told = ["Turn 1: opening", "I wait for the gate.", "Turn 1 finished"];
    let next = ["Turn 2: to hear a person", "I heard it.", "Turn 2 finished"];
    let out = follower.done();
    in_order(&out, &[told, next].concat());
    assert_eq!(out.matches("I wait for the gate.").count(), 1, "{out}");
    world.assert_done_once();
}
