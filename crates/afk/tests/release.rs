//! With the real binary, `afk release` takes off a lock that no run holds, and then the gate
//! passes; it does not take off a live run's lock.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{BOUND, ISSUE, Plan, World, honest, texts, until, wait_for};
use serde_json::Value;

const LABEL: &str = "agent-in-progress";

/// The verdict of the lock gate on `issue`, and why.
fn lock_gate(world: &World, issue: &str) -> (String, String) {
    let said = world.json(&["explain", issue]);
    let gates = said["gates"].as_array().unwrap();
    let gate = gates.iter().find(|gate| gate["gate"] == "repo_lock").unwrap_or_else(|| {
        panic!("no lock gate in {said:#}");
    });
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&gate["verdict"]), text(&gate["why"]))
}

fn labels(world: &World) -> Vec<Value> {
    world.json(&["issue", "show", ISSUE])["issue"]["labels"].as_array().unwrap().clone()
}

#[test]
fn a_lock_put_on_by_hand_is_released_and_the_gate_passes() {
    let world = World::new(&Plan::default());
    world.issue("It prints `Hello, !`.");
    world.ok(&["issue", "new", common::REPO, "Another", "--body", "Of the same repo.", "--ready"]);
    let other = "acme/hello#2";
    world.ok(&["issue", "label", ISSUE, LABEL, "--as", "rosa"]);
    for issue in [ISSUE, other] {
        let (verdict, why) = lock_gate(&world, issue);
        assert_eq!(verdict, "failed", "{issue}: {why}");
        assert!(why.contains(&format!("afk release {ISSUE}")), "{issue}: {why}");
    }
    let nothing = world.ok(&["release", other]);
    assert!(nothing.contains("nothing to release"), "{nothing}");
    assert_eq!(lock_gate(&world, other).0, "failed", "it was another issue's lock");

    let done = world.json(&["release", ISSUE]);
    assert_eq!((&done["released"], &done["label"]), (&true.into(), &LABEL.into()), "{done:#}");
    assert_eq!(done["by"]["login"], "keeper", "{done:#}");
    for issue in [ISSUE, other] {
        let (verdict, why) = lock_gate(&world, issue);
        assert_eq!(verdict, "passed", "{issue}: {why}");
    }
    let events = world.json(&["issue", "show", ISSUE])["events"].clone();
    let last = events.as_array().unwrap().last().unwrap().clone();
    assert!(last.to_string().contains(LABEL) && last.to_string().contains("keeper"), "{last:#}");
    assert_eq!(world.json(&["release", ISSUE])["released"], false);

    let unknown = world.afk(&["release", "acme/hello#99"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", texts(&unknown).1);
    assert!(texts(&unknown).1.contains("acme/hello#99"), "{}", texts(&unknown).1);
}

#[test]
fn the_lock_of_a_live_run_stays() {
    let world = World::new(&Plan::default());
    world.script(&[honest(vec![wait_for(world.path("gate/go"))])]);
    world.issue("It prints `Hello, !`.");
    let control = world.start(&["tick", "--poll", "--watch"]);
    until("the agent at work", BOUND, || (world.starts() == 1).then_some(()));
    until("the lock", BOUND, || labels(&world).contains(&LABEL.into()).then_some(()));
    let refused = world.afk(&["release", ISSUE]);
    let (out, err) = texts(&refused);
    assert_eq!(refused.status.code(), Some(3), "{out}{err}");
    assert!(err.contains(&format!("afk stop {ISSUE}")), "{err}");
    assert!(labels(&world).contains(&LABEL.into()), "the run's lock stays");
    world.open("go");
    control.done();
    world.assert_done_once();
}
