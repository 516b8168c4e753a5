//! `afk serve` from outside: it works issues, is the only one on its store, stops cleanly, and
//! follows its configuration file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod common;

use std::fs;
use std::time::Duration;

use common::{BOUND, Control, ISSUE, Plan, World, honest, texts, until, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sqlx::Connection as _;

/// Time limit of a stop: longer than the daemon's own.
const STOPPED: Duration = Duration::from_secs(20);

fn tell(control: &Control, signal: Signal) {
    kill_process(Pid::from_raw(control.id().cast_signed()).unwrap(), signal).unwrap();
}

/// The log lines so far, each a JSON object.
fn lines(said: &str) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    said.lines().filter(|line| !line.is_empty()).map(line).collect()
}

/// Waits for a log line with this message.
fn heard(control: &Control, message: &str) -> Value {
    until(&format!("the log line {message:?}"), BOUND, || {
        let said = control.said();
        // The last line may be cut.
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        lines(whole).into_iter().find(|line| line["message"] == message)
    })
}

#[test]
fn it_lands_an_issue_logs_it_by_repo_and_issue_and_stops_on_term() {
    let world = World::new(&Plan { turns: vec![honest(vec![])], ..Plan::default() });
    world.issue("It prints `Hello, !`.");
    let control = world.start(&["serve"]);
    let start = heard(&control, "serving");
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(start["repos"], 1);
    assert_eq!(start["kill_switch"], false);
    assert_eq!(start["config"], world.path("afk.toml").to_string_lossy().as_ref());
    assert!(start["sandbox"].as_str().unwrap().starts_with("full"), "{start}");
    let status = world.json(&["status"]);
    assert_eq!(status["serving"]["pid"], control.id());

    until("the run is settled", BOUND, || (world.bell.ids().len() == 1).then_some(()));
    until("the run is settled", BOUND, || {
        world.show()["summary"]["settled"].as_bool().filter(|s| *s)
    });
    tell(&control, Signal::TERM);
    let output = control.wait(STOPPED);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    world.assert_done_once();
    let lines = lines(&out);
    let admitted = lines.iter().find(|line| line["message"] == "admitted").unwrap();
    assert_eq!((&admitted["repo"], &admitted["issue"]), (&"acme/hello".into(), &1.into()));
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        let of_run = line.get("run.id").is_some();
        assert!(!of_run || (line["repo"].is_string() && line["issue"] == 1), "{line}");
    }
    assert_eq!(lines.last().unwrap()["message"], "stopped");
    assert!(!out.contains("prints `Hello"), "no issue's text");
    assert_eq!(world.json(&["status"])["serving"], Value::Null);
}

#[test]
fn a_second_one_refuses_and_names_the_first_and_a_dead_ones_place_is_taken_at_once() {
    let world = World::new(&Plan::default());
    let first = world.start(&["serve"]);
    heard(&first, "serving");
    until("the lease", BOUND, || {
        (world.json(&["status"])["serving"]["pid"] == first.id()).then_some(())
    });
    let second = world.start(&["serve"]).wait(STOPPED);
    let (out, err) = texts(&second);
    assert_eq!(second.status.code(), Some(7), "{out}\n{err}");
    assert!(!out.contains("serving"), "{out}");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for word in [format!("process {}", first.id()), host.trim().to_owned(), "since 20".to_owned()] {
        assert!(err.contains(&word), "{word:?} is not in {err}");
    }
    world.ok(&["tick", "--poll"]);
    first.kill();
    let third = world.start(&["serve"]);
    until("the dead one's lease", Duration::from_secs(20), || {
        (world.json(&["status"])["serving"]["pid"] == third.id()).then_some(())
    });
}

#[test]
fn whoever_loses_the_lease_stops() {
    let world = World::new(&Plan::default());
    let control = world.start(&["serve"]);
    until("the lease", BOUND, || {
        (world.json(&["status"])["serving"]["pid"] == control.id()).then_some(())
    });
    let sql = "UPDATE leases SET owner = 'somebody', generation = generation + 1, \
               until = until + 20000000 WHERE key = 'serve'";
    let store = format!("sqlite://{}", world.path("data/afk.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut raw = sqlx::SqliteConnection::connect(&store).await.unwrap();
        sqlx::query(sql).execute(&mut raw).await.unwrap();
        raw.close().await.unwrap();
    });
    let output = control.wait(Duration::from_secs(40));
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(7), "{out}\n{err}");
    assert!(err.contains("lost to somebody"), "{err}");
}

#[test]
fn a_bad_file_changes_nothing_pauses_pickup_and_is_told_until_it_is_mended() {
    let world = World::new(&Plan::default());
    let gate = world.path("gate/go");
    world.script(&[honest(vec![wait_for(gate)]), honest(vec![])]);
    world.issue("It prints `Hello, !`.");
    let control = world.start(&["serve"]);
    until("an agent", BOUND, || (world.starts() == 1).then_some(()));

    let file = world.path("afk.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("budget_usd = 5", "budget_usd = 5\nbugdet_usd = 6")).unwrap();
    let line = heard(
        &control,
        "the new configuration is invalid: the last valid one stays, and dispatch pauses",
    );
    let why = line["error"].as_str().unwrap();
    let place = good.lines().position(|line| line.starts_with("budget_usd")).unwrap() + 2;
    assert!(why.contains(&format!("{}:{place}:", file.display())), "{why}");
    assert!(why.contains("bugdet_usd") && why.contains("budget_usd"), "{why}");
    for args in [&["status"][..], &["explain", ISSUE]] {
        let output = world.afk(args);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{out}\n{err}");
        assert!(err.contains("nothing new is dispatched") && err.contains("bugdet_usd"), "{err}");
    }

    // The live run goes on under the last valid configuration; the next issue is not begun.
    // It is filed under a valid file that the daemon does not read.
    let copy = world.path("copy.toml");
    fs::write(&copy, &good).unwrap();
    let mut new = world.command(&["issue", "new", "acme/hello", "Another", "--ready"]);
    new.env("AFK_CONFIG", &copy);
    Control::start(new, &world.path("out")).done();
    fs::write(&file, good.replace("budget_usd = 5", "budget_usd = five")).unwrap();
    tell(&control, Signal::HUP);
    until("the second complaint", BOUND, || {
        let said = control.said();
        (said.matches("dispatch pauses").count() >= 2).then_some(())
    });
    world.open("go");
    until("the first is closed", BOUND, || (world.bell.ids().len() == 1).then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(world.landed().len(), 2, "nothing new was begun");
    assert_eq!(control.said().matches("\"admitted\"").count(), 1);

    fs::write(&file, &good).unwrap();
    until("the second is admitted", BOUND, || {
        (control.said().matches("\"admitted\"").count() == 2).then_some(())
    });
    tell(&control, Signal::TERM);
    assert_eq!(control.wait(STOPPED).status.code(), Some(0));
}

#[test]
fn hangup_reads_again_and_says_what_cannot_change() {
    let world = World::new(&Plan::default());
    let control = world.start(&["serve"]);
    heard(&control, "serving");
    tell(&control, Signal::HUP);
    heard(&control, "it is unchanged");
    let file = world.path("afk.toml");
    let good = fs::read_to_string(&file).unwrap();
    let elsewhere = world.path("elsewhere");
    let moved = good.replace(
        &format!("data_dir = {:?}", world.path("data")),
        &format!("data_dir = {elsewhere:?}"),
    );
    assert_ne!(moved, good);
    fs::write(&file, moved).unwrap();
    let line = heard(
        &control,
        "a changed data_dir takes effect at the next start: the store stays where it is",
    );
    assert_eq!(line["key"], "data_dir");
    assert!(!elsewhere.exists());
    tell(&control, Signal::INT);
    assert_eq!(control.wait(STOPPED).status.code(), Some(130));
}

#[test]
fn a_stop_leaves_the_agent_to_its_host_and_the_next_start_goes_on() {
    let world = World::new(&Plan::default());
    let gate = world.path("gate/go");
    world.script(&[honest(vec![wait_for(gate)])]);
    world.issue("It prints `Hello, !`.");
    let control = world.start(&["serve"]);
    until("an agent", BOUND, || (world.starts() == 1).then_some(()));
    tell(&control, Signal::TERM);
    assert_eq!(control.wait(STOPPED).status.code(), Some(0));
    assert!(!world.processes(&[]).is_empty(), "the agent goes on");
    world.open("go");
    let control = world.start(&["serve"]);
    until("the run is settled", BOUND, || {
        world.show()["summary"]["settled"].as_bool().filter(|s| *s)
    });
    until("the bell", BOUND, || (world.bell.ids().len() == 1).then_some(()));
    tell(&control, Signal::TERM);
    assert_eq!(control.wait(STOPPED).status.code(), Some(0));
    world.assert_done_once();
    assert_eq!(world.landed_file("starts.txt"), "started\n", "one agent, one turn");
}

#[test]
fn people_and_runs_are_present_until_they_go() {
    let world = World::new(&Plan::default());
    let gate = world.path("gate/go");
    world.script(&[honest(vec![wait_for(gate)])]);
    assert_eq!(world.json(&["presence"]), serde_json::json!({ "presence": [] }));
    let claim = ["presence", "claim", "host:mill", "--purpose", "new disk", "--ttl", "1h"];
    let first = world.json(&claim);
    let again = world.json(&["presence", "claim", "host:mill", "--purpose", "old disk"]);
    assert_eq!(again["since"], first["since"], "renewed");
    assert!(again["until"].as_str() < first["until"].as_str(), "by half an hour");
    world.ok(&["presence", "claim", "brief", "--purpose", "x", "--ttl", "1s"]);
    world.issue("It prints `Hello, !`.");
    let control = world.start(&["serve"]);
    until("an agent", BOUND, || (world.starts() == 1).then_some(()));
    std::thread::sleep(Duration::from_millis(1100));
    let all = world.json(&["presence", "list"])["presence"].clone();
    let all: Vec<(&str, &str, &str)> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| ["resource", "holder", "purpose"].map(|key| one[key].as_str().unwrap()))
        .map(|[resource, holder, purpose]| (resource, holder, purpose))
        .collect();
    let expected = [("host:mill", "user:keeper", "old disk"), ("repo:acme/hello", "afk", "AFK #1")];
    assert_eq!(all, expected);
    world.open("go");
    until("settled", BOUND, || world.show()["summary"]["settled"].as_bool().filter(|s| *s));
    tell(&control, Signal::TERM);
    assert_eq!(control.wait(STOPPED).status.code(), Some(0));
    assert_eq!(world.json(&["presence", "release", "host:mill"])["released"], true);
    assert_eq!(world.json(&["presence", "release", "host:mill"])["released"], false);
    assert_eq!(world.json(&["presence"]), serde_json::json!({ "presence": [] }));
    let output = world.afk(&["presence", "claim", "a", "--purpose", "x", "--ttl", "25h"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn words_for_people_and_json_on_demand() {
    let world = World::new(&Plan::default());
    let control = world.start(&["serve", "--log-format", "text"]);
    until("the start line", BOUND, || control.said().contains("serving").then_some(()));
    let said = control.said();
    assert!(said.contains("INFO") && !said.trim_start().starts_with('{'), "{said}");
    tell(&control, Signal::TERM);
    assert_eq!(control.wait(STOPPED).status.code(), Some(0));
}
