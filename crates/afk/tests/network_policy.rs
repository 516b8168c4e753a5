//! Agents of every kind behind a network policy, driven by the real `afk`: each tries every way out
//! and to the key, which must fail and be reported, and then lands its issue with the model that it
//! may reach.
//!
//! The attacks are `afk_stand_ins::network_attacks`, run by this very binary; a test shows that
//! they work without a box. If a program cannot be installed, a visible line says so, and with `CI`
//! set that is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]
#![allow(clippy::unnecessary_debug_formatting, reason = "TOML quotes as Rust does")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use afk_stand_ins::model_api::{ModelApi, Reply, Script};
use afk_stand_ins::network_attacks::{self, Outside};
use afk_stand_ins::responses_api::ResponsesApi;
use afk_stand_ins::{acp_adapters, claude_cli, codex_cli};
use common::{FIXED, ISSUE, NEW_TEST, Plan, REPO, World, sh, texts};
use serde_json::Value;

/// The key, which the attacks look for in the box. It is put together here, because this binary is
/// in the box, too.
fn key() -> String {
    // In this order the parts do not make the key if the compiler lays them side by side.
    let (end, begin) = ("d4c81e63f952", "sk-canary-0b7a");
    begin.to_owned() + end
}

/// Tries every way out; fails if one works, or if an agent sees the key.
#[test]
#[ignore = "run by agents in their boxes"]
fn attacks() {
    let mut worked = Vec::new();
    for (name, result) in network_attacks::all(&std::env::var("ATTACK").unwrap()) {
        println!("\nattack: {name}: {result:?}");
        worked.extend(result.is_ok().then_some(name));
    }
    assert_eq!(worked, [""; 0]);
}

/// A world whose agent is behind a policy, and the servers outside that it must not reach.
struct Stage {
    world: World,
    outside: Outside,
}

impl Stage {
    /// Sets it up; `table` has the keys of the agent's table.
    fn new(name: &str, table: &str) -> Self {
        let config = format!("\n[agents.{name}]\n{table}\n");
        let mut world = World::new(&Plan { config, ..Plan::default() });
        let file = world.path("afk.toml");
        let text = fs::read_to_string(&file).unwrap();
        let agent = format!("agent = {name:?}");
        fs::write(&file, text.replace("agent = \"scripted\"", &agent)).unwrap();
        world.env.push(("MODEL_KEY".to_owned(), key()));
        // The gate is a folder that every box of the repo may read.
        fs::copy(std::env::current_exe().unwrap(), world.path("gate/attacks")).unwrap();
        fs::write(world.path("gate/work.sh"), work()).unwrap();
        let outside = Outside::open(&world.path("home")).unwrap();
        Self { world, outside }
    }

    /// Sets it up with the scripted agent. `agent` is a line of the agent's table, and `repo` one of
    /// the repo's.
    fn scripted(agent: &str, repo: &str) -> Self {
        let mut world = World::new(&Plan::default());
        world.env.push(("MODEL_KEY".to_owned(), key()));
        fs::copy(std::env::current_exe().unwrap(), world.path("gate/attacks")).unwrap();
        fs::write(world.path("gate/work.sh"), work()).unwrap();
        let outside = Outside::open(&world.path("home")).unwrap();
        let config = world.path("afk.toml");
        let text = fs::read_to_string(&config).unwrap();
        let text = text.replace("[agents.scripted]", &format!("[agents.scripted]\n{agent}"));
        let text = text.replace("\nread = [", &format!("\n{repo}\nread = ["));
        fs::write(&config, text).unwrap();
        Self { world, outside }
    }

    /// The agent's whole work as shell words: the attacks, then the change if no attack worked.
    fn shell(&self) -> String {
        let gate = self.world.path("gate");
        format!(
            "ATTACK='{}' {gate}/attacks --exact attacks --ignored --nocapture --test-threads=1 \
             > \"$HOME/attacks.log\" 2>&1 && sh -e {gate}/work.sh",
            self.outside.words(&key()),
            gate = gate.display(),
        )
    }

    /// Lands the issue, and checks that every attack failed and is reported.
    fn lands(&self) {
        let world = &self.world;
        world.issue("It prints `Hello, !`.");
        let output = world.afk(&["run", ISSUE]);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{out}\n{err}\n{}", self.log());
        world.assert_done_once();
        assert_eq!(self.outside.caught(), 0, "nothing arrived");
        let page = world.show();
        let turns = page["run"]["attempts"][0]["turns"].as_array().unwrap();
        let refused: Vec<&str> = turns
            .iter()
            .flat_map(|turn| turn["ended"]["facts"]["refused"].as_array().unwrap())
            .filter_map(Value::as_str)
            .collect();
        for target in [
            "evil.example:443: the host is not on the list",
            "169.254.169.254:80: ",
            "the model's API, GET /v1/files: ",
            "past the proxy, over IPv4: ",
        ] {
            assert!(refused.iter().any(|line| line.starts_with(target)), "{target}: {refused:#?}");
        }
        let (shown, logged) = (world.ok(&["show", ISSUE]), world.ok(&["logs", ISSUE]));
        for text in [shown, logged] {
            assert!(text.contains("refused on the network: evil.example:443"), "{text}");
        }
        let raw = world.ok(&["logs", ISSUE, "--json"]);
        assert!(raw.contains(r#""type":"network_refused""#), "{raw}");
        assert!(!raw.contains(&key()) && !page.to_string().contains(&key()));
    }

    /// The output of the attacks, of runs whose files are kept.
    fn log(&self) -> String {
        let runs = fs::read_dir(self.world.path("data/work/runs")).into_iter().flatten().flatten();
        runs.filter_map(|run| fs::read_to_string(run.path().join("home/attacks.log")).ok())
            .collect()
    }
}

/// A test, then the fix, each in a commit.
fn work() -> String {
    format!(
        "cat > tests/nobody.sh <<'END'\n{NEW_TEST}END\ngit add tests/nobody.sh\ngit commit -q \
         -m 'Test a greeting without a name' -m 'It prints an empty name today.'\n\
         cat > hello.sh <<'END'\n{FIXED}END\ngit add hello.sh\ngit commit -q \
         -m 'Greet the world when no name is given' -m 'An empty name made an empty greeting.'\n"
    )
}

/// A model that runs a file in the shell.
fn script_at(file: &str) -> Script {
    let replies = vec![Reply::bash(format!("sh {file}")), Reply::text("Done.")];
    Script::default().when("Hello, !", replies)
}

/// A folder with the one file that a model's agent runs, which every box sees.
struct Told(tempfile::TempDir);

impl Told {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("afk-told-").tempdir().unwrap())
    }

    fn file(&self) -> String {
        self.0.path().join("told.sh").to_string_lossy().into_owned()
    }

    /// Writes the file, and lets the boxes of a world see the folder.
    fn tell(&self, stage: &Stage) {
        fs::write(self.file(), stage.shell()).unwrap();
        let config = stage.world.path("afk.toml");
        let text = fs::read_to_string(&config).unwrap();
        let gate = format!("read = [{:?}", stage.world.path("gate"));
        assert_eq!(text.matches(&gate).count(), 1);
        let both = format!("read = [{:?}, {:?}", self.0.path(), stage.world.path("gate"));
        fs::write(&config, text.replace(&gate, &both)).unwrap();
    }
}

#[test]
fn the_attacks_work_where_nothing_stops_them() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::open(folder.path()).unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "attacks", "--ignored", "--nocapture"])
        .env("ATTACK", outside.words(&key()))
        .env("SOME_KEY", key())
        .current_dir(folder.path())
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    let lines: Vec<&str> = out.lines().filter(|line| line.starts_with("attack: ")).collect();
    assert!(lines.len() >= 6, "{out}\n{err}");
    assert!(lines.iter().all(|line| line.ends_with("Ok(())")), "{lines:#?}");
    assert!(!output.status.success());
}

#[test]
fn the_claude_cli_lands_with_the_models_api_alone() {
    let Some(binary) = claude_cli::for_test("the_claude_cli_lands_with_the_model") else { return };
    let told = Told::new();
    let api = ModelApi::start(script_at(&told.file())).unwrap();
    let table = format!(
        "program = {:?}\napi_key = {{ env = \"MODEL_KEY\" }}\nbase_url = {:?}\nnetwork = \"model\"",
        binary.canonicalize().unwrap(),
        api.url()
    );
    let stage = Stage::new("claude", &table);
    told.tell(&stage);
    stage.lands();
    assert!(api.requests().iter().all(|request| request.key == key()));
    assert!(!api.everything_sent().contains(&key()));
    let (found, _) = texts(&stage.world.afk(&["doctor", "--all", "--quick"]));
    assert!(found.contains("the model's key stays outside of its box"), "{found}");
}

#[test]
fn a_sign_in_of_the_claude_cli_stays_outside_too() {
    let Some(binary) = claude_cli::for_test("a_sign_in_stays_outside") else { return };
    let told = Told::new();
    let api = ModelApi::start(script_at(&told.file())).unwrap();
    let table = format!(
        "program = {:?}\nbase_url = {:?}\nnetwork = \"model\"",
        binary.canonicalize().unwrap(),
        api.url()
    );
    let stage = Stage::new("claude", &table);
    told.tell(&stage);
    let folder = stage.world.path("home/.claude");
    fs::create_dir_all(&folder).unwrap();
    let key = key();
    let sign_in = |until: i64| {
        let text = format!(
            "{{\"claudeAiOauth\":{{\"accessToken\":{key:?},\"refreshToken\":\"never-{key}\",\
             \"expiresAt\":{until},\"scopes\":[\"user:inference\"]}}}}"
        );
        fs::write(folder.join(".credentials.json"), text).unwrap();
    };
    sign_in(1);
    stage.world.issue("It prints `Hello, !`.");
    let (_, err) = texts(&stage.world.afk(&["run", ISSUE]));
    assert!(err.contains("has run out: run `claude` once"), "{err}");
    sign_in(jiff::Timestamp::now().as_millisecond() + 3_600_000);
    stage.world.ok(&["run", ISSUE]);
    stage.world.assert_done_once();
    let bearer = format!("Bearer {key}");
    let keys: Vec<String> = api.requests().into_iter().map(|request| request.key).collect();
    assert!(!keys.is_empty() && keys.iter().all(|key| *key == bearer), "{keys:?}");
    assert_eq!(stage.outside.caught(), 0);
}

#[test]
fn codex_lands_with_the_models_api_alone() {
    let Some(binary) = codex_cli::for_test("codex_lands_with_the_model") else { return };
    let told = Told::new();
    let api = ResponsesApi::start(script_at(&told.file())).unwrap();
    let table = format!(
        "program = {:?}\napi_key = {{ env = \"MODEL_KEY\" }}\nmodel = \"standin\"\nbase_url = \
         {:?}\nnetwork = \"model\"",
        binary.canonicalize().unwrap(),
        api.url()
    );
    let stage = Stage::new("codex", &table);
    told.tell(&stage);
    stage.lands();
    let asked = api.requests();
    assert!(asked.iter().all(|request| request.authorization == format!("Bearer {}", key())));
    assert!(!api.everything_sent().contains(&key()));
}

#[test]
fn an_agent_of_the_protocol_lands_with_a_list_of_hosts() {
    let Some(adapter) = acp_adapters::claude("an_agent_of_the_protocol_lands") else { return };
    let told = Told::new();
    let api = ModelApi::start(script_at(&told.file())).unwrap();
    let table = format!(
        "kind = \"acp\"\ncommand = {:?}\nread = [{:?}]\napi = \"anthropic\"\napi_key = {{ env = \
         \"MODEL_KEY\" }}\nbase_url = {:?}\nnetwork = [\"localhost\", \"*.crates.io\"]",
        adapter.command(),
        adapter.packages,
        api.url()
    );
    let stage = Stage::new("mine", &table);
    told.tell(&stage);
    stage.lands();
    assert!(api.requests().iter().all(|request| request.key == key()));
}

#[test]
fn a_command_lands_with_a_list_of_hosts() {
    let told = Told::new();
    let table = format!(
        "kind = \"command\"\ncommand = [{:?}]\napi = \"openai\"\napi_key = {{ env = \"MODEL_KEY\" \
         }}\nnetwork = [\"localhost\"]",
        told.0.path().join("agent")
    );
    let stage = Stage::new("mine", &table);
    let program = told.0.path().join("agent");
    let check = "test \"$OPENAI_BASE_URL\" = http://127.0.0.1:3128/v1";
    fs::write(&program, format!("#!/bin/sh\nset -e\n{check}\n{}\necho Done.\n", stage.shell()))
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    stage.lands();
}

#[test]
fn the_scripted_agent_lands_with_no_network_that_its_repo_narrowed() {
    let stage = Stage::scripted("network = \"open\"", "network = { agent = \"none\" }");
    stage.world.script(&[vec![sh(&stage.shell())]]);
    stage.lands();
    assert!(!stage.world.landed().is_empty(), "{REPO}");
}

#[test]
fn code_that_an_agent_left_reaches_no_more_from_a_hook_than_the_agent_did() {
    for (network, reaches) in [("model", false), ("open", true)] {
        let agent = format!("network = {network:?}");
        let stage = Stage::scripted(&agent, "hooks = { after_run = [\"sh\", \"left.sh\"] }");
        let (world, gate) = (&stage.world, stage.world.path("gate"));
        let left = format!(
            "ATTACK='{}' {gate}/attacks --exact attacks --ignored\nrm left.sh\n",
            stage.outside.words(&key()),
            gate = gate.display(),
        );
        let steps = format!("cat > left.sh <<'LEFT'\n{left}LEFT\nsh -e {}/work.sh", gate.display());
        world.script(&[vec![sh(&steps)]]);
        world.issue("It prints `Hello, !`.");
        world.ok(&["run", ISSUE]);
        world.assert_done_once();
        // The hook has run and removed its script: otherwise another turn would have had to.
        let page = world.show();
        assert_eq!(page["run"]["attempts"][0]["turns"].as_array().unwrap().len(), 1, "{page:#}");
        assert_eq!(stage.outside.caught() > 0, reaches, "{network}");
    }
}
