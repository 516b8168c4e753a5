//! A configuration file that has become invalid: commands that only read still show the store that
//! it names, commands that stop things still stop them, and nothing new begins.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::fs;

use afk_agent::agents::scripted::script::Step;
use common::{BOUND, ISSUE, Plan, REPO, World, honest, sh, texts, until, wait_for};

const WATCH: [&str; 3] = ["tick", "--poll", "--watch"];
/// Lines that make the file invalid: an unknown key; text that is not TOML, below the data folder;
/// a value of the wrong kind.
const BAD: [&str; 3] = ["bugdet_usd = 6", "budget_usd = five = 5", "poll_seconds = \"often\""];

/// Puts `line` into the file before its first table, in place of the key of that name.
fn spoil(world: &World, good: &str, line: &str) {
    let (head, tables) = good.split_once("\n[").unwrap();
    let key = |line: &str| line.split(" = ").next().map(str::to_owned);
    let head: Vec<&str> = head.lines().filter(|own| key(own) != key(line)).collect();
    let head = head.join("\n");
    fs::write(world.path("afk.toml"), format!("{head}\n{line}\n\n[{tables}")).unwrap();
}

#[test]
fn who_looks_sees_the_store_and_is_warned_and_who_stops_is_obeyed() {
    let world = World::new(&Plan {
        config: "executor_retries_max = 0\nhuman_label = \"a-person\"\n".to_owned(),
        turns: vec![vec![Step::Say { text: "I look around.".to_owned() }, sh("exit 3")]],
        ..Plan::default()
    });
    world.issue("It prints `Hello, !`.");
    world.start(&WATCH).done();
    world.ok(&["issue", "new", REPO, "Another", "--ready"]);
    let good = fs::read_to_string(world.path("afk.toml")).unwrap();
    let store = world.path("data/afk.db").to_string_lossy().into_owned();
    for bad in BAD {
        spoil(&world, &good, bad);
        let said = |args: &[&str], code: i32| {
            let output = world.afk(args);
            let (out, err) = texts(&output);
            assert_eq!(output.status.code(), Some(code), "{bad}: {args:?}: {out}\n{err}");
            let key = bad.split(' ').next().unwrap();
            let line = good.lines().count();
            assert!(err.contains(key) || err.contains("is not TOML"), "{bad}, {line}: {err}");
            (out, err)
        };
        for (args, shows) in [
            (&["runs"][..], ISSUE),
            (&["show", ISSUE], "needs a human"),
            (&["logs", ISSUE], "I look around."),
            (&["replay", ISSUE], ISSUE),
        ] {
            let (out, err) = said(args, 0);
            assert!(out.contains(shows), "{bad}: {args:?}: {out}");
            assert!(err.contains("warning: ") && err.contains(&store), "{bad}: {args:?}: {err}");
        }
        let (_, err) = said(&["runs", "--json"], 0);
        let warned: serde_json::Value = serde_json::from_str(&err).expect("one JSON document");
        assert!(warned["warning"].as_str().unwrap().contains(&store), "{bad}: {err}");
        // `status` shows the store, too, but its exit code says that something is wrong.
        let (out, err) = said(&["status"], 2);
        assert!(out.contains(&store.replace("/afk.db", "")), "{bad}: {out}");
        assert!(out.contains("configuration invalid") && !out.contains("afk arm"), "{bad}: {out}");
        assert!(err.contains("nothing new is dispatched until it is fixed"), "{bad}: {err}");
        assert!(err.find("afk.toml:") < err.find(&store), "the problem comes first: {err}");
        assert!(out.contains(ISSUE), "which label hands over is not known: {out}");
        // Gates are decided by the configuration, so none can be.
        let (out, err) = said(&["explain", "acme/hello#2"], 2);
        assert_eq!(out, "", "{bad}");
        for told in ["no gate can be decided", "nothing new is dispatched", "`afk config check`"] {
            assert!(err.contains(told), "{bad}: no {told:?}: {err}");
        }
        for args in [&["pause", "--why", bad][..], &["freeze", REPO, "--why", bad], &["halt"]] {
            let (_, err) = said(args, 0);
            assert!(err.contains("warning: ") && err.contains(&store), "{bad}: {args:?}: {err}");
        }
        // Nothing begins, and no switch is lifted.
        for args in [&["run", "acme/hello#2"][..], &WATCH, &["resume"], &["unfreeze", REPO]] {
            said(args, 2);
        }
        fs::write(world.path("afk.toml"), &good).unwrap();
        let switches = &world.json(&["status"])["switches"];
        for (switch, why) in [("pause", bad), ("halt", "")] {
            assert_eq!(switches[switch]["why"], why, "{bad}: {switches:#}");
        }
        assert!(switches["frozen"].to_string().contains(REPO), "{switches:#}");
        world.ok(&["resume"]);
        world.ok(&["unfreeze", REPO]);
    }
    assert_eq!(world.json(&["runs"])["runs"].as_array().unwrap().len(), 1, "nothing new began");
}

#[test]
fn a_file_that_does_not_tell_its_data_folder_is_no_guess() {
    let world = World::new(&Plan::default());
    let good = fs::read_to_string(world.path("afk.toml")).unwrap();
    let other = world.path("other").to_string_lossy().into_owned();
    let twice = format!("data_dir = \"{other}\"\ndata_dir = \"{other}\"");
    let relative = "data_dir = \"here\"\nbugdet_usd = 6";
    for bad in [&format!("data_dir = {other}"), "data_dir = 7", relative, &twice] {
        spoil(&world, &good, bad);
        for args in [&["runs"][..], &["halt"], &["status"]] {
            let output = world.afk(args);
            let (out, err) = texts(&output);
            assert_eq!(output.status.code(), Some(2), "{bad}: {args:?}: {out}\n{err}");
        }
    }
    for folder in ["home/.local/share/afk", "other", "data", "here"] {
        assert!(!world.path(folder).exists(), "no store is made in {folder}");
    }
}

/// A world whose agent is still at work after its control plane was killed.
fn with_an_agent_that_nobody_works() -> World {
    let world = World::new(&Plan::default());
    world.script(&[honest(vec![wait_for(world.path("gate/go"))])]);
    world.issue("It prints `Hello, !`.");
    let control = world.start(&WATCH);
    until("the agent at work", BOUND, || (world.starts() == 1).then_some(()));
    // Killed while it posts the comment, its successor would wait two minutes for it to appear.
    until("the run's comment", BOUND, || {
        let comments = world.json(&["issue", "show", ISSUE])["comments"].clone();
        (comments != serde_json::json!([])).then_some(())
    });
    control.kill();
    world
}

#[test]
fn a_halt_under_a_bad_file_stops_an_agent_that_nobody_works() {
    let world = with_an_agent_that_nobody_works();
    let good = fs::read_to_string(world.path("afk.toml")).unwrap();
    spoil(&world, &good, BAD[1]);
    assert!(!world.processes(&[]).is_empty(), "nothing runs that could be stopped");
    world.ok(&["halt", "--why", "a test"]);
    until("that nothing runs", BOUND, || world.processes(&[]).is_empty().then_some(()));
}

#[test]
fn a_stop_under_a_bad_file_is_kept_and_carried_out_once_it_is_mended() {
    let world = with_an_agent_that_nobody_works();
    let good = fs::read_to_string(world.path("afk.toml")).unwrap();
    let store = world.path("data/afk.db").to_string_lossy().into_owned();
    for bad in BAD {
        spoil(&world, &good, bad);
        let output = world.afk(&["stop", ISSUE]);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{bad}: {out}\n{err}");
        assert!(err.contains("warning: ") && err.contains(&store), "{bad}: {err}");
        let asked = world.json(&["show", ISSUE])["requests"].clone();
        assert!(asked.to_string().contains("\"stop\""), "{bad}: {asked:#}");
    }
    fs::write(world.path("afk.toml"), &good).unwrap();
    world.start(&["tick", "--watch"]).done();
    let page = world.json(&["show", ISSUE]);
    assert_eq!(page["summary"]["outcome"], "released", "{page:#}");
    until("the agent is stopped", BOUND, || world.processes(&[]).is_empty().then_some(()));
    let attempts = page["run"]["attempts"].as_array().unwrap();
    let turns = |attempt: &serde_json::Value| attempt["turns"].as_array().unwrap().len();
    assert_eq!(attempts.iter().map(turns).collect::<Vec<_>>(), [1], "no turn began after it");
}
