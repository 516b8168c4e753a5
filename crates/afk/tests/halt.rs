//! `afk halt` while an agent, a verify, a push are under way: everything stops within
//! ten seconds, nothing lands, and `afk resume` goes on to the end, free of charge.
//!
//! Each with a control plane that obeys, and with none, so that `afk halt` itself must
//! stop what runs. The runs have no executor retries: an interrupt that cost one would
//! end them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{BOUND, Control, ISSUE, Plan, World, honest, texts, until, wait_for};

/// Within what time a halt is promised to stop everything.
const STOPPED: Duration = Duration::from_secs(10);
const WATCH: [&str; 3] = ["tick", "--poll", "--watch"];

/// What is under way when the halt comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Under {
    Agent,
    Verify,
    Push,
}

fn world(under: Under) -> World {
    let verify = "while [ ! -e @GATE@/go ]; do sleep 0.05; done";
    let verify = if under == Under::Verify { verify.to_owned() } else { String::new() };
    let config = "executor_retries_max = 0".to_owned();
    let world = World::new(&Plan { verify, config, ..Plan::default() });
    let gate = world.path("gate/go");
    let held = if under == Under::Agent { vec![wait_for(gate)] } else { Vec::new() };
    world.script(&[honest(held), honest(vec![])]);
    if under == Under::Push {
        world.origin_hook(
            "pre-receive",
            "touch @GATE@/pushing\nwhile [ ! -e @GATE@/go ]; do sleep 0.05; done",
        );
    }
    world.issue("It prints `Hello, !`.");
    world
}

/// Waits until the work is under way; `go` is called between looks.
fn under_way(world: &World, under: Under, mut go: impl FnMut()) {
    until(&format!("{under:?} under way"), BOUND, || {
        go();
        let running = |kind: &str| {
            let of_kind = |name: &str| name.starts_with(kind);
            world.jobs().iter().any(|job| {
                of_kind(&job.name)
                    && job.root.is_some_and(afk_agent::sandbox::processes::ProcessId::is_alive)
            })
        };
        let there = match under {
            Under::Agent => world.starts() == 1 && running("turn"),
            Under::Verify => running("verify"),
            Under::Push => world.path("gate/pushing").exists(),
        };
        there.then_some(())
    });
}

/// What a slow machine may need beyond [`STOPPED`]: nothing if a command of `afk` takes at most half
/// a second, which is nearly all the start of its process.
fn slowness(world: &World) -> Duration {
    let begun = Instant::now();
    world.ok(&["status"]);
    begun.elapsed().saturating_sub(Duration::from_millis(500)) * 5
}

/// Halts, and measures how long it takes until nothing of the world runs but `control`.
fn halt(world: &World, control: Option<&Control>) -> Duration {
    let without: Vec<u32> = control.iter().map(|control| control.id()).collect();
    assert!(!world.processes(&without).is_empty(), "nothing runs that could be stopped");
    let allowed = STOPPED + slowness(world);
    let begun = Instant::now();
    world.ok(&["halt", "--why", "a test"]);
    let mut left = Vec::new();
    let deadline = begun + allowed;
    loop {
        let now = world.processes(&without);
        if now.is_empty() {
            return begun.elapsed();
        }
        assert!(Instant::now() < deadline, "left {allowed:?} after the halt: {now:#?}, {left:#?}");
        left = now;
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs `afk` where no file can be written, as on a full disk.
fn on_a_full_disk(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let plain = world.command(args);
    let mut full = Command::new("sh");
    full.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]);
    full.arg(plain.get_program()).args(plain.get_args()).env_clear();
    full.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = full.current_dir(world.path("")).stdin(Stdio::null()).output().unwrap();
    let (out, err) = texts(&output);
    (output.status.code(), format!("{out}{err}"))
}

/// Checks that nothing landed under the halt, and that `resume` brings the run to its end.
fn resumes(world: &World, under: Under, control: Option<Control>) {
    assert_eq!(world.landed().len(), 1, "nothing landed");
    world.open("go");
    if control.is_none() {
        // A tick under a halt starts nothing and lands nothing.
        world.ok(&["tick", "--poll"]);
        world.ok(&["tick", "--poll"]);
        assert_eq!(world.processes(&[]), Vec::new());
    }
    assert_eq!(world.landed().len(), 1, "nothing landed");
    assert!(world.show()["summary"]["outcome"].is_null(), "the run keeps its lock");
    world.ok(&["resume"]);
    control.unwrap_or_else(|| world.start(&WATCH)).done();
    world.assert_done_once();
    let page = world.show();
    let turns: Vec<(&str, &str)> = page["run"]["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|attempt| attempt["turns"].as_array().unwrap())
        .map(|turn| {
            (turn["cause"].as_str().unwrap(), turn["ended"]["how"]["end"].as_str().unwrap())
        })
        .collect();
    let expected: &[(&str, &str)] = match under {
        Under::Agent => &[("opening", "interrupted"), ("interrupted", "finished")],
        Under::Verify | Under::Push => &[("opening", "finished")],
    };
    assert_eq!(turns, expected, "{ISSUE}");
}

fn check_alive(under: Under) {
    let world = world(under);
    let control = world.start(&WATCH);
    under_way(&world, under, || {});
    let took = halt(&world, Some(&control));
    println!("halt of {under:?} with a control plane: {:.2} s", took.as_secs_f64());
    resumes(&world, under, Some(control));
}

fn check_alone(under: Under) {
    let world = world(under);
    under_way(&world, under, || {
        world.ok(&["tick", "--poll"]);
    });
    let took = halt(&world, None);
    println!("halt of {under:?} with no control plane: {:.2} s", took.as_secs_f64());
    resumes(&world, under, None);
}

#[test]
fn an_agent_with_a_control_plane() {
    check_alive(Under::Agent);
}

#[test]
fn a_verify_with_a_control_plane() {
    check_alive(Under::Verify);
}

#[test]
fn a_push_with_a_control_plane() {
    check_alive(Under::Push);
}

#[test]
fn an_agent_with_none() {
    check_alone(Under::Agent);
}

#[test]
fn a_verify_with_none() {
    check_alone(Under::Verify);
}

#[test]
fn a_push_of_a_tick() {
    // A push has no host: only the control plane that pushes can stop it, and a tick must obey the
    // halt as a daemon does.
    let world = world(Under::Push);
    let mut tick = None;
    under_way(&world, Under::Push, || {
        let over = tick.as_mut().is_none_or(|tick: &mut Control| tick.over().is_some());
        if over {
            tick = Some(world.start(&["tick", "--poll"]));
        }
    });
    let took = halt(&world, None);
    println!("halt of a push by a tick: {:.2} s", took.as_secs_f64());
    drop(tick);
    resumes(&world, Under::Push, None);
}

/// The root processes of the jobs whose names begin with `kind`, that are alive.
fn roots(world: &World, kind: &str) -> Vec<afk_agent::sandbox::processes::ProcessId> {
    let jobs = world.jobs().into_iter().filter(|job| job.name.starts_with(kind));
    jobs.filter_map(|job| job.root).filter(|root| root.is_alive()).collect()
}

#[test]
fn a_halt_that_cannot_be_recorded_stops_what_runs() {
    let world = world(Under::Agent);
    under_way(&world, Under::Agent, || {
        world.ok(&["tick", "--poll"]);
    });
    let agents = roots(&world, "turn");
    assert!(!agents.is_empty());
    let (code, said) = on_a_full_disk(&world, &["halt"]);
    assert_eq!(code, Some(1), "{said}");
    for told in ["stopped ", "could not be recorded", "running `afk serve`"] {
        assert!(said.contains(told), "{told:?}: {said}");
    }
    assert!(roots(&world, "turn").is_empty(), "{said}");
    assert!(world.json(&["status"])["switches"]["halt"].is_null());
}

#[test]
fn a_stop_that_cannot_be_recorded_stops_what_runs() {
    let world = world(Under::Agent);
    let control = world.start(&WATCH);
    under_way(&world, Under::Agent, || {});
    let agents = roots(&world, "turn");
    assert!(!agents.is_empty());
    let (code, said) = on_a_full_disk(&world, &["stop", ISSUE]);
    assert_eq!(code, Some(1), "{said}");
    for told in ["stopped ", "could not be recorded", "repeat the request"] {
        assert!(said.contains(told), "{told:?}: {said}");
    }
    assert!(agents.iter().all(|agent| !agent.is_alive()), "{said}");
    drop(control);
}
