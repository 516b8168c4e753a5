//! The control plane is killed, at the moments that hurt, and started again: nobody
//! works twice, nothing lands twice, nothing is lost.
//!
//! Every test ends with the same promises: one commit, one comment, one doorbell, the
//! issue closed with complete evidence. How often an agent was started stands in a file
//! that the agent itself lands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod common;

use std::time::Duration;

use common::{BOUND, Control, Found, ISSUE, Plan, World, honest, until, wait_for};
use rustix::process::Signal;

const WATCH: [&str; 4] = ["tick", "--poll", "--watch", "--verbose"];

/// Starts a control plane, and waits until its log shows that it has seen the live run.
fn attached(world: &World) -> Control {
    let mut control = world.start(&WATCH);
    until("a control plane that shows the run", BOUND, || {
        assert!(control.over().is_none(), "it ended: {}", control.said());
        control.said().contains(ISSUE).then_some(())
    });
    control
}

/// Kills the control plane while `job` runs and starts it again, three times; the job must
/// stay the same.
fn kill_and_attach(world: &World, mut control: Control, job: &Found) -> Control {
    for n in 1..=3 {
        control.kill();
        assert!(job.host.is_alive(), "kill {n} took the host along");
        assert!(job.root.unwrap().is_alive(), "kill {n} took the job along");
        control = attached(world);
        let now = world.jobs().into_iter().find(|other| other.dir == job.dir);
        assert_eq!(now.as_ref(), Some(job), "after kill {n}");
        assert_eq!(world.runs().len(), 1);
    }
    control
}

fn gate(world: &World, name: &str) -> std::path::PathBuf {
    world.path("gate").join(name)
}

/// A world whose agent waits for the gate `agent` in its first turn.
fn held_agent(config: &str) -> World {
    let world = World::new(&Plan { config: config.to_owned(), ..Plan::default() });
    let turns = [honest(vec![wait_for(gate(&world, "agent"))]), honest(vec![]), honest(vec![])];
    world.script(&turns);
    world.issue("It prints `Hello, !`.");
    world
}

#[test]
fn killed_in_the_middle_of_a_turn_it_finds_the_same_agent() {
    let world = held_agent("executor_retries_max = 0");
    let control = attached(&world);
    world.started(1);
    let turn = world.job("turn");
    let control = kill_and_attach(&world, control, &turn);
    assert_eq!(world.starts(), 1);
    world.open("agent");
    control.done();
    world.assert_done_once();
    assert_eq!(world.landed_file("starts.txt"), "started\n");
    assert_eq!(world.show()["summary"]["turns"], 1);
    println!("3 kills in mid-turn: 1 agent, 1 turn");
}

#[test]
fn killed_in_the_middle_of_a_verify_it_finds_the_same_verify() {
    let verify = "while [ ! -e @GATE@/verify ]; do sleep 0.05; done";
    let world = World::new(&Plan {
        verify: verify.to_owned(),
        turns: vec![honest(vec![])],
        ..Plan::default()
    });
    world.issue("It prints `Hello, !`.");
    let control = attached(&world);
    let job = world.job("verify");
    let control = kill_and_attach(&world, control, &job);
    world.open("verify");
    control.done();
    world.assert_done_once();
    assert_eq!(world.landed_file("starts.txt"), "started\n");
    println!("3 kills in mid-verify: 1 host");
}

#[test]
fn killed_between_push_and_record_it_finds_what_landed() {
    let world = World::new(&Plan { turns: vec![honest(vec![])], ..Plan::default() });
    world.origin_hook(
        "post-receive",
        "echo pushed >> @GATE@/pushes\nwhile [ ! -e @GATE@/record ]; do sleep 0.05; done",
    );
    world.issue("It prints `Hello, !`.");
    let control = attached(&world);
    until("the push", BOUND, || gate(&world, "pushes").exists().then_some(()));
    assert_eq!(world.landed().len(), 2, "the commit is on the default branch");
    let recorded = &world.show()["summary"]["landed"];
    assert!(recorded.is_null(), "nothing is recorded of it: {recorded}");
    control.kill();
    // The push of the dead control plane still hangs in the hook: the next one must not wait for it.
    world.start(&WATCH).done();
    world.open("record");
    world.assert_done_once();
    let pushes = std::fs::read_to_string(gate(&world, "pushes")).unwrap();
    assert_eq!(pushes, "pushed\n", "one push");
    println!("1 kill between push and record: 1 push");
}

#[test]
fn a_lost_host_is_a_retry() {
    let world = held_agent("executor_retries_max = 1");
    let control = attached(&world);
    world.started(1);
    let turn = world.job("turn");
    turn.host.signal(Signal::KILL);
    until("the end of the job", BOUND, || (!turn.root.unwrap().is_alive()).then_some(()));
    control.done();
    world.assert_done_once();
    assert_eq!(world.landed_file("starts.txt"), "started\nstarted\n");
    let page = world.show();
    let turns = &page["run"]["attempts"][0]["turns"];
    assert_eq!(turns[0]["ended"]["how"]["end"], "lost", "{turns:#}");
    assert_eq!(turns[1]["cause"], "retry", "{turns:#}");
    println!("1 host killed: lost, 1 retry");
}

#[test]
fn two_ticks_at_once_make_one_run() {
    let world = held_agent("executor_retries_max = 0");
    let mut rounds = 0;
    let mut settled = false;
    while !settled {
        rounds += 1;
        assert!(rounds < 400, "not done after {rounds} rounds");
        let ticks = [0, 1, 2].map(|_| world.start(&["tick", "--poll"]));
        for tick in ticks {
            tick.wait(BOUND);
        }
        assert!(world.runs().len() <= 1, "{:?}", world.runs());
        if rounds == 3 {
            world.started(1);
            world.open("agent");
        }
        settled = world.json(&["show", ISSUE])["summary"]["settled"] == true;
    }
    world.assert_done_once();
    assert_eq!(world.landed_file("starts.txt"), "started\n");
    println!("{} ticks, three at a time: 1 run, 1 agent", rounds * 3);
}

#[test]
fn two_control_planes_at_once_make_one_run() {
    let world = held_agent("executor_retries_max = 0");
    let mut controls = [0, 1].map(|_| world.start(&WATCH));
    world.started(1);
    world.open("agent");
    for control in &mut controls {
        until("the end of a control plane", BOUND, || control.over());
    }
    let last = Duration::from_mins(1);
    until("the end of the run", last, || {
        (world.show()["summary"]["settled"] == true).then_some(())
    });
    world.assert_done_once();
    assert_eq!(world.landed_file("starts.txt"), "started\n");
}
