//! `afk logs` with the real binary: of a run that was handed to a person, of one that is
//! followed to its end over a second turn, of runs whose workspace is gone, and of one whose
//! transcripts are gone, too.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use afk_agent::agents::scripted::script::Step;
use afk_core::digest::Digest;
use common::{BOUND, ISSUE, Plan, REPO, World, honest, sh, texts, until, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const WATCH: [&str; 3] = ["tick", "--poll", "--watch"];

fn say(text: &str) -> Step {
    Step::Say { text: text.to_owned() }
}

/// Checks that the text has the words, in this order.
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
    assert!(err.contains("is no longer kept") && err.contains("afk evidence"), "{err}");
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
    assert!(now.status.success() && err.contains("use -f to follow it"), "{out}{err}");
    assert!(!out.contains("finished"), "{out}");
    world.ok(&["say", ISSUE, "Mind the hinges."]);
    assert!(follower.over().is_none(), "it goes on while the run does: {}", follower.said());
    world.open("go");
    control.done();
    let told = ["Turn 1: opening", "I wait for the gate.", "Turn 1 finished"];
    let next = ["Turn 2: with a person's message", "I heard it.", "Turn 2 finished"];
    let out = follower.done();
    in_order(&out, &[told, next].concat());
    assert_eq!(out.matches("I wait for the gate.").count(), 1, "{out}");
    world.assert_done_once();
}

/// The digest that evidence of one turn gives for these bytes.
fn digest(bytes: &str) -> String {
    Digest::of_list(&[Digest::of(bytes).as_str()]).to_string()
}

#[test]
fn the_transcript_of_a_run_that_succeeded_outlives_its_workspace() {
    let world = World::new(&Plan::default());
    let held = honest(vec![say("I wait for the gate."), wait_for(world.path("gate/go"))]);
    world.script(&[held]);
    world.issue("It prints `Hello, !`.");
    let control = world.start(&WATCH);
    until("the agent at work", BOUND, || (world.starts() == 1).then_some(()));
    let follower = world.start(&["logs", ISSUE, "-f", "--json"]);
    until("its words", BOUND, || follower.said().contains("I wait").then_some(()));
    world.open("go");
    control.done();
    world.assert_done_once();
    let live = follower.done();
    assert!(world.runs().is_empty(), "its workspace is gone");

    let kept = world.ok(&["logs", ISSUE, "--json"]);
    assert!(kept.starts_with(&live) && kept.contains("\"ended\""), "{live}\n{kept}");
    let evidence = world.json(&["evidence", ISSUE]);
    assert_eq!(evidence["transcript"], digest(&kept), "{evidence:#}");
    let told = ["Turn 1: opening", "I wait for the gate.", "Turn 1 finished", "tokens in"];
    let said = world.ok(&["logs", ISSUE]);
    in_order(&said, &told);
    assert!(!said.contains("no more"), "{said}");
    let raw = fs::read_dir(world.path("data/transcripts")).unwrap();
    assert_eq!(raw.count(), 1, "one run, one folder");
}

#[test]
fn the_transcript_of_a_workspace_that_makes_room_is_kept_once_whatever_was_cut_off() {
    let world = World::new(&Plan {
        config: "executor_retries_max = 0\nkept_workspaces_gib = 0\n".to_owned(),
        turns: vec![vec![say("I cannot decide."), sh("exit 3")]],
        ..Plan::default()
    });
    world.issue("It prints `Hello, !`.");
    world.start(&WATCH).done();
    let first = world.json(&["show", ISSUE])["summary"]["run"].as_str().unwrap().to_owned();
    let live = world.ok(&["logs", &first, "--json"]);
    assert!(live.contains("I cannot decide."), "{live}");

    // A control plane was killed while it kept the transcript.
    let kept = world.path("data/transcripts");
    fs::create_dir_all(kept.join(format!("{first}.part"))).unwrap();
    fs::write(kept.join(format!("{first}.part/turn-1.jsonl.gz")), "half of it").unwrap();
    // For a control plane that was killed after that, before it removed the workspace.
    let copies = world.path("copies");
    let folders = ["jobs", "runs"].map(|kind| world.path(&format!("data/work/{kind}/{first}")));
    for (n, folder) in folders.iter().enumerate() {
        copy(folder, &copies.join(n.to_string()));
    }
    let next = || {
        let more = ["issue", "new", REPO, "Again", "--body", "It prints.", "--ready"];
        world.ok(&more);
        world.start(&WATCH).done();
    };
    next();
    assert!(folders.iter().all(|folder| !folder.exists()), "it made room");
    assert_eq!(world.ok(&["logs", &first, "--json"]), live);
    let name = kept.join(&first).join("turn-1.jsonl.gz");
    let written = name.metadata().unwrap().modified().unwrap();

    for (n, folder) in folders.iter().enumerate() {
        copy(&copies.join(n.to_string()), folder);
    }
    next();
    assert!(folders.iter().all(|folder| !folder.exists()), "it made room again");
    assert_eq!(world.ok(&["logs", &first, "--json"]), live);
    assert_eq!(name.metadata().unwrap().modified().unwrap(), written, "it was kept before");
    let left = fs::read_dir(&kept).unwrap().flatten().filter(|e| e.path().extension().is_some());
    assert_eq!(left.count(), 0, "no draft is left");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let done = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(done.success());
}
