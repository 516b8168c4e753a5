//! The program as a process: completions, pipes that close, interrupts, and what goes on after it.

use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Machine, REPO, kept_evidence, said_by, shapes};

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let machine = Machine::new();
    let mut child = machine
        .command(&["config", "schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[test]
fn a_demo_is_one_line_of_json_and_its_folder_can_be_looked_at() {
    let machine = Machine::new();
    let said = machine.afk(&["demo", "--keep", "demo", "--json"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let report: Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    assert_eq!((&report["outcome"], &report["agent"]), (&"done".into(), &"scripted".into()));
    machine.refused(&["demo", "--keep", "demo"], 2, &["exists already"]);
    let mode = std::fs::metadata(machine.path("here/demo")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let config = machine.path("here/demo/afk.toml");
    let afk = |args: &[&str]| {
        let args: Vec<_> =
            ["--config", config.to_str().unwrap()].iter().chain(args).copied().collect();
        machine.good(&args)
    };
    let issue = report["issue"].as_str().unwrap();
    let page: Value = serde_json::from_str(&afk(&["show", issue, "--json"])).unwrap();
    assert_eq!(
        (&page["summary"]["phase"], &page["summary"]["outcome"]),
        (&"done".into(), &"done".into())
    );
    assert_eq!(page["summary"]["run"], report["run"]);
    let prefix = report["run"].as_str().unwrap().get(..13).unwrap();
    let shown = afk(&["show", prefix]);
    for word in ["✓ Done", "proven", "stage ci: success", "settled"] {
        assert!(shown.contains(word), "{word:?} is not in {shown}");
    }
    let bundle: Value = serde_json::from_str(&afk(&["evidence", issue, "--json"])).unwrap();
    assert_eq!(bundle["landed"], report["commit"]);
    assert!(afk(&["evidence", prefix]).contains("Complete: the issue may be closed on this."));
    let patch = afk(&["diff", issue]);
    assert!(patch.contains("\n+") && patch.contains("diff --git"), "{patch}");
    let stat = afk(&["diff", prefix, "--stat"]);
    assert!(stat.contains(" | ") && !stat.contains("\n+"), "{stat}");
    offered(&machine, &config, issue, report["run"].as_str().unwrap());
    shapes::fits(&machine, "demo", &report);
    kept_evidence::is_shown_as_it_is(&machine, &config, &report);
}

/// A shell is offered the runs and issues that exist, and nothing is created for that.
fn offered(machine: &Machine, config: &Path, issue: &str, run: &str) {
    let ask = |words: &[&str]| {
        let mut asked = machine.command(&["--"]);
        asked
            .args(words)
            .env("COMPLETE", "bash")
            .env("AFK_CONFIG", config)
            .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "false")
            .env("_CLAP_IFS", "\n");
        let said = said_by(&asked.output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{words:?}");
        said.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    // Completions give up after a second and then offer nothing, so a busy machine is asked again.
    eventually("all runs and issues are offered", || {
        let all = ask(&["afk", "show", ""]);
        all.contains(&issue.to_owned()) && all.contains(&run.to_owned())
    });
    let repo = issue.split('#').next().unwrap();
    for (words, only) in [
        (&["afk", "show", &run[..13]][..], run),
        (&["afk", "explain", &issue[..3]], issue),
        (&["afk", "issue", "show", &issue[..3]], issue),
        (&["afk", "runs", "--repo", &repo[..3]], repo),
    ] {
        eventually(&format!("{words:?} offer {only} alone"), || ask(words) == [only]);
    }
    assert!(ask(&["afk", "sta"]).contains(&"status".to_owned()));
    assert_eq!(ask(&["afk", "show", "nothing"]), [""; 0]);
    let before = machine.path("home");
    let nobody = Machine::new();
    let mut asked = nobody.command(&["--", "afk", "show", ""]);
    asked.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "2");
    assert!(asked.output().unwrap().status.success());
    let made: Vec<_> = std::fs::read_dir(nobody.path("home")).unwrap().collect();
    assert!(made.is_empty() && before.exists(), "{made:?}");
}

#[test]
fn the_first_interrupt_leaves_the_agent_to_its_host_and_halt_stops_it() {
    let machine = Machine::new();
    waiting_agent(&machine);
    machine.good(&["issue", "new", "o/web", "Add a door", "--ready"]);
    let mut run = machine
        .command(&["run", "o/web#1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let waits = |word: &str| {
        let (_, status) = machine.json(&["status"]);
        status["runs"][0]["waits_for"].as_str().is_some_and(|waits| waits.contains(word))
    };
    eventually("the agent is at work", || waits("the agent, turn 1"));
    // A lowered budget would stop the turn, so it is raised.
    for (command, args) in [
        ("status", &["status"][..]),
        ("show", &["show", "o/web#1"]),
        ("budget", &["budget", "o/web#1", "110"]),
    ] {
        shapes::fits(&machine, command, &machine.json(args).1);
    }
    let none = machine.afk(&["diff", "o/web#1"]);
    assert_eq!(none.code, 1, "{}", none.err);
    assert!(none.err.contains("has no commit yet"), "{}", none.err);
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut told = String::new();
    run.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130), "{told}");
    assert!(told.contains("press Ctrl-C again") && told.contains("afk halt"), "{told}");
    let (_, status) = machine.json(&["status"]);
    let goes_on = status["runs"][0]["waits_for"] == "the agent, turn 1";
    assert!(goes_on, "the run is not as it was: {status:#}\nit said: {told}");
    let said = machine.afk(&["budget", "o/web#1", "120"]);
    assert_eq!(said.code, 0, "{}", said.err);
    for word in ["no `afk serve` is running", "run `afk tick`"] {
        assert!(said.err.contains(word), "{word:?}: {}", said.err);
    }

    assert!(machine.good(&["halt"]).contains("1 live run"));
    eventually("the turn was stopped", || {
        machine.good(&["tick"]);
        waits("`afk resume` (everything is halted)")
    });
    let shown = machine.good(&["show", "o/web#1"]);
    assert!(shown.contains("everything is halted"), "{shown}");
    // A person takes the issue back, which lets the run go.
    machine.good(&["issue", "close", "o/web#1"]);
    eventually("the run is let go", || {
        machine.good(&["tick"]);
        machine.json(&["status"]).1["runs"] == serde_json::json!([])
    });
    let shown = machine.good(&["show", "o/web#1"]);
    assert!(shown.contains("withdrawn") && shown.contains("cancelled by ann"), "{shown}");
    machine.refused(&["diff", "o/web#1"], 1, &["ended without a commit", "afk logs o/web#1"]);
    assert_eq!(machine.afk(&["evidence", "o/web#1"]).code, 3);
    let (code, document) = machine.json(&["run", "o/web#1"]);
    assert_eq!((code, &document["admitted"]), (3, &false.into()));
    shapes::fits(&machine, "run", &document);
}

pub(crate) fn git(folder: &Path, args: &[&str]) {
    let done = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@e.invalid"])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A repository whose agent begins a turn and waits.
fn waiting_agent(machine: &Machine) {
    let (origin, seed) = (machine.path("origin.git"), machine.path("seed"));
    std::fs::create_dir_all(&seed).unwrap();
    std::fs::write(seed.join("test.sh"), "true\n").unwrap();
    let origin = origin.to_str().unwrap();
    git(&seed, &["init", "-q", "--bare", "--initial-branch=main", origin]);
    git(&seed, &["init", "-q", "--initial-branch=main"]);
    git(&seed, &["add", "test.sh"]);
    git(&seed, &["commit", "-q", "-m", "Begin"]);
    git(&seed, &["push", "-q", origin, "main"]);
    let script = machine.path("script.json");
    let wait = serde_json::json!({ "turns": [{ "steps": [{ "wait": { "ms": 600_000 } }] }] });
    std::fs::write(&script, wait.to_string()).unwrap();
    let script = script.to_str().unwrap();
    let config = REPO.replace("/srv/web", origin).replace("/srv/script.json", script);
    machine.config(&format!("sandbox = \"preferred\"\nallowlist = [\"o/web\"]\n{config}"));
}

/// Polls until it is so, for at most two minutes: far longer than any sound answer takes.
#[track_caller]
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let bound = std::time::Instant::now() + std::time::Duration::from_mins(2);
    while !so() {
        assert!(std::time::Instant::now() < bound, "still not: {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
