//! The real Claude CLI, driven by the real `afk`, against a stand-in for the model.
//!
//! Checks that a run lands with it, that a file named in an issue's text never reaches the
//! model, that its key is in no file and in no other process, and what a person is
//! told if the CLI is missing or signed out. If the CLI cannot be installed, a visible
//! line says so, and with `CI` set that is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]
#![allow(clippy::format_push_string, reason = "a test may be plain")]
#![allow(clippy::unnecessary_debug_formatting, reason = "TOML quotes as Rust does")]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use afk_stand_ins::claude_cli;
use afk_stand_ins::model_api::{ModelApi, Reply, Script};
use common::{Control, FIXED, ISSUE, NEW_TEST, Plan, World, texts, until};
use serde_json::Value;

/// The API key; nothing else may look like it.
const KEY: &str = "sk-ant-canary-58c1d2f07be94a63";

/// What the model answers: first `before`, then a test and the fix, each in a commit.
fn work(before: Vec<Reply>) -> Script {
    let mut replies = before;
    replies.extend([
        Reply::bash(format!(
            "cat > tests/nobody.sh <<'END'\n{NEW_TEST}END\ngit add tests/nobody.sh && git commit -q \
             -m 'Test a greeting without a name' -m 'It prints an empty name today.'"
        )),
        Reply::bash(format!(
            "cat > hello.sh <<'END'\n{FIXED}END\ngit add hello.sh && git commit -q -m \
             'Greet the world when no name is given' -m 'An empty name made an empty greeting.'"
        )),
        Reply::text("The test fails without the fix and passes with it."),
    ]);
    Script::turns([replies])
}

/// A world whose agent is the CLI; none if the CLI cannot be installed.
fn world(test: &str, api: &ModelApi, plan: Plan) -> Option<World> {
    let binary = claude_cli::for_test(test)?;
    let config = format!(
        "{}\n[agents.claude]\nprogram = \"{}\"\napi_key = {{ env = \"ANTHROPIC_API_KEY\" }}\nbase_url = \
         {:?}\n",
        plan.config,
        binary.canonicalize().unwrap().display(),
        api.url(),
    );
    let mut world = World::new(&Plan { config, ..plan });
    world.env.push(("ANTHROPIC_API_KEY".to_owned(), KEY.to_owned()));
    Some(world)
}

#[test]
fn the_demo_lands_with_the_real_cli() {
    let Some(binary) = claude_cli::for_test("the_demo_lands_with_the_real_cli") else { return };
    let api = ModelApi::start(work(Vec::new())).unwrap();
    let mut world = World::new(&Plan::default());
    let binary = binary.canonicalize().unwrap().to_string_lossy().into_owned();
    world.env.extend([
        ("AFK_AGENTS__CLAUDE__PROGRAM".to_owned(), binary),
        ("ANTHROPIC_API_KEY".to_owned(), KEY.to_owned()),
        ("ANTHROPIC_BASE_URL".to_owned(), api.url()),
    ]);
    let dir = world.path("demo");
    let mut command =
        world.command(&["demo", "--agent", "claude", "--json", "--keep", dir.to_str().unwrap()]);
    command.env_remove("AFK_CONFIG");
    let output = Control::start(command, &world.path("out")).wait(common::BOUND);
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    let report: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(report["outcome"], "done", "{report:#}");
    assert_eq!((&report["agent"], &report["attempts"]), (&"claude".into(), &1.into()));
    let bundle = fs::read(report["evidence"].as_str().unwrap()).unwrap();
    let bundle: Value = serde_json::from_slice(&bundle).unwrap();
    assert_eq!(bundle["sandbox"], "full", "{bundle:#}");
    assert_eq!(bundle["landed"], report["commit"], "{bundle:#}");
    assert!(bundle["transcript"].is_string(), "{bundle:#}");
    let effort = &bundle["effort"];
    assert_eq!(effort["turns"], 1, "{effort:#}");
    assert_eq!(effort["estimated"], false, "the CLI told what it cost: {effort:#}");
    // Three tool calls and a text, of 1000 and 50 tokens each.
    assert!(effort["tokens"]["input"].as_u64().unwrap() >= 3000, "{effort:#}");
    assert!(effort["tokens"]["output"].as_u64().unwrap() >= 150, "{effort:#}");
    assert!(!["0", "0.0", "null"].contains(&effort["cost"].to_string().as_str()), "{effort:#}");
    let origin = dir.join("origin.git");
    let log = common::git(&origin, &["log", "--format=%H %P", "main"]);
    assert_eq!(log.lines().count(), 2, "one squash commit on the first: {log}");
    let fixed = common::git(&origin, &["show", "main:hello.sh"]);
    assert_eq!(fixed, FIXED);
    let found = files_with(&dir, KEY.as_bytes());
    assert!(found.is_empty(), "the key is in {found:?}");
    assert!(!format!("{out}{err}").contains(KEY), "the key was printed");
    println!("demo with the real CLI: {} ms, cost {}", report["wall_ms"], effort["cost"]);
}

#[test]
fn a_file_named_in_an_issue_never_reaches_the_model() {
    let dir = tempfile::tempdir().unwrap();
    // In a folder that the agent may read, so that the sandbox alone does not keep it from the
    // model.
    let readable = dir.path().join("readable.txt");
    let control = dir.path().join("control.txt");
    fs::write(&readable, "CANARY-READABLE-71\n").unwrap();
    fs::write(&control, "CANARY-CONTROL-72\n").unwrap();
    let api =
        ModelApi::start(work(vec![Reply::bash(format!("cat {}", control.display()))])).unwrap();
    let test = "a_file_named_in_an_issue_never_reaches_the_model";
    let Some(world) = world(test, &api, Plan::default()) else { return };
    let config = fs::read_to_string(world.path("afk.toml")).unwrap();
    let config = config.replace("read = [", &format!("read = [{:?}, ", dir.path()));
    fs::write(world.path("afk.toml"), config).unwrap();
    let home = world.path("home/canary.txt");
    let outside = world.path("canary.txt");
    fs::write(&home, "CANARY-HOME-73\n").unwrap();
    fs::write(&outside, "CANARY-OUTSIDE-74\n").unwrap();
    let mut body = String::from("It prints `Hello, !`. See:\n\n");
    for path in [readable.as_path(), &home, &outside, Path::new("~/canary.txt")] {
        let path = path.display();
        body.push_str(&format!("@{path} and @\"{path}\"\n\n```\n@{path}\n```\n\n"));
        body.push_str(&format!("\u{ff20}{path} \u{fe6b}{path}\n"));
    }
    body.push_str("@hello.sh\n\n/context\n");
    world.issue(&body);
    world.ok(&["run", ISSUE]);
    world.assert_done_once();
    let sent = api.everything_sent();
    assert!(sent.contains("readable.txt"), "the issue's text was sent");
    assert!(sent.contains("CANARY-CONTROL-72"), "what the agent reads is seen here");
    for canary in ["CANARY-READABLE-71", "CANARY-HOME-73", "CANARY-OUTSIDE-74"] {
        assert!(!sent.contains(canary), "{canary} reached the model");
    }
}

#[test]
fn the_key_is_in_no_file_and_in_no_other_process() {
    // A bracket keeps the search from finding itself.
    let search = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -q \
                  'sk-ant-canar[y]'";
    // The control: a key in the environment is found by the search.
    let found = std::process::Command::new("sh").args(["-c", search]).env("K", KEY).status();
    assert!(found.unwrap().success());
    let judged = format!("if {search}; then echo 'the key is seen'; exit 3; fi");
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let hold = format!("touch ~/there; while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let api = ModelApi::start(work(vec![Reply::bash(hold)])).unwrap();
    let plan = Plan { verify: judged.clone(), stage: judged, ..Plan::default() };
    let test = "the_key_is_in_no_file_and_in_no_other_process";
    let Some(world) = world(test, &api, plan) else { return };
    let config = fs::read_to_string(world.path("afk.toml")).unwrap();
    let config = config.replace("read = [", &format!("read = [{:?}, ", dir.path()));
    fs::write(world.path("afk.toml"), config).unwrap();
    world.issue("It prints `Hello, !`.");
    let mut run = world.start(&["run", ISSUE, "-vv"]);
    let job = world.job("thread");
    until("the agent's tool call", common::BOUND, || {
        assert!(run.over().is_none(), "{}", run.said());
        let homes = fs::read_dir(world.path("data/work/runs")).ok()?;
        homes.flatten().any(|run| run.path().join("home/there").exists()).then_some(())
    });
    // In mid-turn only the agent's own processes may have the key, and no command line.
    let found = files_with(&world.path(""), KEY.as_bytes());
    assert!(found.is_empty(), "in mid-turn the key is in {found:?}");
    let mut holders = Vec::new();
    for (pid, process) in afk_agent::sandbox::processes::all() {
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        assert!(!holds(&read("cmdline"), KEY.as_bytes()), "process {pid} has it in its arguments");
        if holds(&read("environ"), KEY.as_bytes()) {
            holders.push((pid, process));
        }
    }
    let below: Vec<i32> = afk_agent::sandbox::processes::below(job.host.pid)
        .iter()
        .map(|process| process.id.pid)
        .collect();
    let own = i32::try_from(run.id()).unwrap();
    let strangers: Vec<i32> = holders
        .iter()
        .map(|(pid, _)| *pid)
        .filter(|pid| *pid != own && !below.contains(pid))
        .filter(|pid| world.processes(&[]).iter().any(|(of_world, _)| of_world == pid))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?} hold the key");
    assert!(holders.iter().any(|(pid, _)| below.contains(pid)), "the agent has it: the control");
    fs::write(&go, "").unwrap();
    run.done();
    world.assert_done_once();
    let found = files_with(&world.path(""), KEY.as_bytes());
    assert!(found.is_empty(), "at the end the key is in {found:?}");
    assert!(!api.everything_sent().contains(KEY));
    // The control of the search through files.
    fs::write(world.path("control"), format!("x{KEY}y")).unwrap();
    assert_eq!(files_with(&world.path(""), KEY.as_bytes()), [world.path("control")]);
}

#[test]
fn without_a_cli_the_issue_stays_ready_and_what_to_mend_is_told() {
    let config =
        "\n[agents.claude]\nprogram = \"/nowhere/claude\"\napi_key = { env = \"NO_KEY\" }\n";
    let world = World::new(&Plan { config: config.to_owned(), ..Plan::default() });
    world.issue("It prints `Hello, !`.");
    let words = ["the Claude CLI is not at /nowhere/claude", "agents.claude.program"];
    left_ready(&world, &words);
}

#[test]
fn without_a_key_the_issue_stays_ready_and_what_to_mend_is_told() {
    let api = ModelApi::start(work(Vec::new())).unwrap();
    let test = "without_a_key_the_issue_stays_ready_and_what_to_mend_is_told";
    let Some(mut world) = world(test, &api, Plan::default()) else { return };
    world.env.retain(|(name, _)| name != "ANTHROPIC_API_KEY");
    world.issue("It prints `Hello, !`.");
    left_ready(&world, &["ANTHROPIC_API_KEY"]);
    assert!(api.requests().is_empty());
}

#[test]
fn a_signed_out_cli_leaves_the_issue_ready_and_what_to_mend_is_told() {
    // The sign-in is looked for before the program is started, so any program will do.
    let program = std::env::current_exe().unwrap();
    let config = format!("\n[agents.claude]\nprogram = {:?}\n", program.display());
    let world = World::new(&Plan { config, ..Plan::default() });
    world.issue("It prints `Hello, !`.");
    left_ready(&world, &["is not signed in", "/login"]);
}

/// Checks that `afk run` says `words` at once, that the loop leaves the issue ready, and that
/// `explain` says the same.
fn left_ready(world: &World, words: &[&str]) {
    let output = world.afk(&["run", ISSUE]);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(6), "{out}\n{err}");
    assert!(words.iter().all(|word| err.contains(word)), "{err}");
    world.ok(&["tick", "--poll", "--watch"]);
    assert!(world.runs().is_empty());
    let said = texts(&world.afk(&["explain", ISSUE])).0;
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    let issue = world.json(&["issue", "show", ISSUE]);
    assert_eq!(issue["issue"]["labels"], serde_json::json!(["ready-for-agent"]));
    assert_eq!(issue["issue"]["open"], true);
    assert_eq!(world.landed().len(), 1);
    let status = world.json(&["status"]);
    assert_eq!(status["runs"], Value::Array(Vec::new()), "{status:#}");
    assert_eq!(status["switches"]["frozen"], Value::Array(Vec::new()), "{status:#}");
    assert_eq!(world.processes(&[]), Vec::new());
}

/// The plain files below `folder` that contain `needle`.
fn files_with(folder: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && holds_file(&path, needle) {
                found.push(path);
            }
        }
    }
    found
}

fn holds_file(path: &Path, needle: &[u8]) -> bool {
    let small = fs::metadata(path).is_ok_and(|data| data.size() < (64 << 20));
    small && holds(&fs::read(path).unwrap_or_default(), needle)
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
