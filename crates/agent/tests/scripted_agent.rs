//! The scripted agent as a real process, in a real repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod running;

use std::path::Path;
use std::process::Command;

use afk_agent::agents::scripted::command::{TurnRequest, turn};
use afk_agent::agents::{AgentEvent, AgentKind, FailReason, TurnOutcome};
use running::{Done, Running};
use rustix::process::Signal;
use serde_json::{Value, json};

struct Stage {
    repo: tempfile::TempDir,
    aside: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage =
            Self { repo: tempfile::tempdir().unwrap(), aside: tempfile::tempdir().unwrap() };
        stage.git(&["init", "--quiet", "--initial-branch=main"]);
        std::fs::write(stage.file("old.txt"), "old\n").unwrap();
        stage.git(&["add", "old.txt"]);
        let who = ["-c", "user.name=a person", "-c", "user.email=p@example.org"];
        let commit = ["commit", "--quiet", "--message=Begin"];
        stage.git(&[who.as_slice(), commit.as_slice()].concat());
        stage
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.repo.path().join(name)
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(args)
            .current_dir(self.repo.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn start(&self, steps: &Value) -> Running {
        self.start_turn(&json!({"turns": [{"steps": steps}]}), 1)
    }

    fn start_turn(&self, script: &Value, number: u32) -> Running {
        let path = self.aside.path().join("script.json");
        std::fs::write(&path, script.to_string()).unwrap();
        let home = self.aside.path().to_str().unwrap();
        let invocation = turn(&TurnRequest {
            binary: env!("CARGO_BIN_EXE_scripted-agent").into(),
            script: path,
            turn: number,
            session: "a session".into(),
            prompt: "please do it".into(),
            env: vec![
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
                ("HOME".into(), home.into()),
            ],
        });
        Running::start(AgentKind::Scripted, &invocation, self.repo.path())
    }

    fn run(&self, steps: &Value) -> Done {
        self.start(steps).finish(false)
    }
}

fn texts(done: &Done) -> Vec<&str> {
    done.events
        .iter()
        .filter_map(|event| match event {
            AgentEvent::Text { text } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_turn_edits_runs_and_commits_for_real() {
    let stage = Stage::new();
    let done = stage.run(&json!([
        {"expect_prompt": {"contains": "do it"}},
        {"say": {"text": "adding a file"}},
        {"write": {"path": "src/new.txt", "content": "one\n"}},
        {"append": {"path": "src/new.txt", "content": "two\n"}},
        {"delete": {"path": "old.txt"}},
        {"run": {"argv": ["grep", "-c", "", "src/new.txt"], "expect": 0}},
        {"leave_dirty": {"path": "dirty.txt"}},
        {"commit": {"subject": "Add new", "body": "It was missing.", "paths": ["src/new.txt", "old.txt"]}},
        {"usage": {"input_tokens": 10, "output_tokens": 5, "cost": 0.25}}
    ]));
    assert_eq!(done.finished(), "[scripted agent] adding a file");
    assert!(texts(&done)[0].starts_with("[scripted agent] turn 1 of 1"));
    assert!(texts(&done).iter().any(|text| text.ends_with("\n2\n")));
    assert_eq!(
        stage.git(&["log", "-1", "--format=%an|%cn|%B"]),
        "afk scripted agent|afk scripted agent|Add new\n\nIt was missing."
    );
    assert_eq!(
        stage.git(&["show", "--name-status", "--format=", "--no-renames"]),
        "D\told.txt\nA\tsrc/new.txt"
    );
    assert_eq!(stage.git(&["show", "HEAD:src/new.txt"]), "one\ntwo");
    assert_eq!(stage.git(&["status", "--porcelain"]), "?? dirty.txt");
    let usage = &done.reader.end().unwrap().usage;
    assert_eq!((usage.tokens.input, usage.tokens.output), (10, 5));
    assert_eq!(usage.turn_cost_usd(), Some(0.25));
    let started = matches!(&done.events[0], AgentEvent::Started { session, model, .. }
        if session == "a session" && model == "scripted");
    assert!(started, "{:?}", done.events[0]);
}

#[test]
fn a_step_that_fails_ends_the_turn_there() {
    fn check(step: &Value, says: &str) {
        let stage = Stage::new();
        let done = stage.run(&json!([step, {"write": {"path": "after.txt", "content": ""}}]));
        assert_eq!(done.reason(), &FailReason::AgentError);
        assert!(done.outcome.to_string().contains(says), "{}", done.outcome);
        assert!(!stage.file("after.txt").exists(), "{step}");
        assert!(!done.reader.tool_open());
    }
    check(&json!({"run": {"argv": ["false"], "expect": 0}}), "expected exit code 0");
    check(&json!({"run": {"argv": ["no-such-program"]}}), "cannot start");
    let endless = json!({"run": {"argv": ["tail", "-f", "/dev/null"], "timeout_ms": 50}});
    check(&endless, "not done after 50 ms");
    check(&json!({"write": {"path": "../out", "content": ""}}), "leaves the working");
    check(&json!({"write": {"path": "/tmp/out", "content": ""}}), "leaves the working");
    check(&json!({"delete": {"path": "none"}}), "No such file");
    check(&json!({"commit": {"subject": "x", "paths": ["none"]}}), "none");
    check(&json!({"expect_prompt": {"contains": "other"}}), "does not contain");
    check(&json!({"wait": {"until_file": "never", "ms": 30}}), "is not there");
    check(&json!({"fail": {"message": "on purpose"}}), "on purpose");
}

#[test]
fn turns_are_told_by_number_and_a_missing_one_is_refused() {
    let stage = Stage::new();
    let script = json!({"turns": [
        {"steps": [{"say": {"text": "one"}}]},
        {"steps": [{"checkout": {"branch": "side"}}, {"checkout": {"branch": "main"}},
                   {"checkout": {"branch": "side"}}, {"say": {"text": "two"}}]}
    ]});
    let run = |number| stage.start_turn(&script, number).finish(false);
    assert_eq!(run(1).finished(), "[scripted agent] one");
    assert_eq!(run(2).finished(), "[scripted agent] two");
    assert_eq!(stage.git(&["branch", "--show-current"]), "side");
    let none = run(3);
    assert_ne!(none.reason(), &FailReason::StartFailed, "the agent is there");
    assert!(none.outcome.to_string().contains("has 2 turns, but turn 3"));
    let bad = stage.start_turn(&json!({"turns": 1}), 1).finish(false);
    assert_eq!(bad.reason(), &FailReason::StartFailed);
}

#[test]
fn it_misbehaves_on_request() {
    fn check(steps: &Value, outcome: &FailReason) {
        assert_eq!(Stage::new().run(steps).reason(), outcome, "{steps}");
    }
    check(&json!([{"exit": {"code": 0}}]), &FailReason::NoResult);
    check(&json!([{"exit": {"code": 7}}]), &FailReason::NoResult);
    check(
        &json!([{"usage_limit": {"resets_at": "2027-01-15T08:00:00Z"}}]),
        &FailReason::UsageLimit { resets_at: Some("2027-01-15T08:00:00Z".parse().unwrap()) },
    );
    // Two lines are too long, three are no events; the turn goes on.
    let done = Stage::new().run(&json!([
        {"garbage": {"lines": 2, "bytes": 9_000_000}},
        {"garbage": {"lines": 3, "bytes": 10}},
        {"say": {"text": "still here"}}
    ]));
    assert_eq!(done.finished(), "[scripted agent] still here");
    assert_eq!(done.reader.unread_lines(), 5);
}

#[test]
fn a_signal_ends_it_and_its_children_unless_it_ignores_signals() {
    let stage = Stage::new();
    let silent = json!([{"say": {"text": "ready"}}, {"silence": {}}]);
    for (by_us, expected) in [(true, None), (false, Some(FailReason::Killed { signal: 15 }))] {
        let running = stage.start(&silent);
        running.wait_for("ready");
        running.signal(Signal::TERM);
        let done = running.finish(by_us);
        match expected {
            None => assert_eq!(done.outcome, TurnOutcome::Interrupted),
            Some(reason) => assert_eq!(done.reason(), &reason),
        }
    }

    let go = stage.aside.path().join("go");
    let stubborn = stage.start(&json!([
        {"ignore_term": {}},
        {"say": {"text": "ready"}},
        {"wait": {"until_file": go}},
        {"say": {"text": "survived"}}
    ]));
    stubborn.wait_for("ready");
    stubborn.signal(Signal::TERM);
    stubborn.signal(Signal::INT);
    std::fs::write(&go, "").unwrap();
    assert_eq!(stubborn.finish(false).finished(), "[scripted agent] survived");

    let child = stage.aside.path().join("child");
    let script =
        format!("echo $$ > {}.new && mv {0}.new {0}; exec tail -f /dev/null", child.display());
    let parent = stage.start(&json!([{"run": {"argv": ["sh", "-c", script]}}]));
    running::wait_until("the child runs", || child.exists());
    let pid = std::fs::read_to_string(&child).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists());
    parent.signal(Signal::TERM);
    assert_eq!(parent.finish(true).outcome, TurnOutcome::Interrupted);
    running::wait_until("the child is gone", || {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
}
