//! The faults that `afk doctor` must find. Each is planted for real: in the configuration, in a
//! repository, in the store's folder, in the environment. The doctor must say what is wrong and how
//! to fix it, and nothing else. Its answers are a snapshot.
//!
//! One repository is set up, as a new user does; each fault is planted in a copy of its
//! configuration, with a store of its own, so that nothing has to be undone and all are examined
//! side by side.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use toml::Value;

use crate::machine::{Machine, Said, put};
use crate::mistakes::{SOUND, Told, shown};
use crate::projects;

/// The number of faults that must be planted at least.
const FEWEST: usize = 30;
/// An address at which nothing listens.
const NOBODY: &str = "http://127.0.0.1:9";
/// The example key of RFC 8410, which is no secret.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
/// A version of the Claude CLI whose accounting is known.
const MEASURED: &str = "2.1.329";

/// A fault, and how it is planted.
struct Fault {
    what: &'static str,
    /// Keys of the configuration that are set.
    keys: Vec<(&'static str, Value)>,
    env: Vec<(&'static str, String)>,
    /// Commands that are typed before.
    typed: Vec<&'static [&'static str]>,
    /// Prepares the store's folder, which does not exist yet.
    plant: fn(&Path),
}

fn fault(what: &'static str) -> Fault {
    Fault { what, keys: Vec::new(), env: Vec::new(), typed: Vec::new(), plant: |_| {} }
}

impl Fault {
    fn set(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.keys.push((key, value.into()));
        self
    }

    fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    fn typed(mut self, args: &'static [&'static str]) -> Self {
        self.typed.push(args);
        self
    }

    fn plant(self, plant: fn(&Path)) -> Self {
        Self { plant, ..self }
    }
}

fn words(words: &[&str]) -> Value {
    words.iter().map(|word| Value::from(*word)).collect::<Vec<_>>().into()
}

/// A table of these keys.
fn table<const N: usize>(keys: [(&str, Value); N]) -> Value {
    let table: toml::Table = keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    table.into()
}

/// One stage named `ci` with this key.
fn ci(key: &str, value: impl Into<Value>) -> Value {
    vec![table([("name", "ci".into()), (key, value.into())])].into()
}

/// Makes a sound repository with more files; returns its remote.
fn remote(machine: &Machine, name: &str, more: &[(&str, &str)]) -> String {
    machine.clone_with(name, &[&SOUND[..], more].concat());
    bare(machine, name)
}

fn bare(machine: &Machine, name: &str) -> String {
    machine.path(&format!("srv/you/{name}.git")).to_str().unwrap().to_owned()
}

/// Faults of a remote, and of what is in it.
fn in_the_repository(machine: &Machine, clone: &Path) -> Vec<Fault> {
    let nowhere = &machine.path("src");
    let with = |what, remote: String| fault(what).set("repos.you/sound.remote", remote);
    machine.git(nowhere, &["init", "-q", "--bare", &bare(machine, "empty")]);
    let headless = remote(machine, "headless", &[]);
    machine.git(Path::new(&headless), &["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    remote(machine, "deep", &[]);
    machine.git(&nowhere.join("deep"), &["commit", "-q", "--allow-empty", "-m", "More"]);
    machine.git(&nowhere.join("deep"), &["push", "-q"]);
    let (from, shallow) = (format!("file://{}", bare(machine, "deep")), bare(machine, "shallow"));
    machine.git(nowhere, &["clone", "-q", "--bare", "--depth=1", &from, &shallow]);
    vec![
        with("a remote that is not there", "/nowhere/web.git".to_owned()),
        with("a remote without a commit", bare(machine, "empty")),
        with("a remote whose HEAD names no branch", headless),
        with("a remote that is checked out", clone.to_str().unwrap().to_owned()),
        with("a shallow remote", shallow),
        with("LFS", remote(machine, "lfs", &[(".gitattributes", "*.png filter=lfs\n")])),
        with("git-crypt", remote(machine, "crypt", &[(".gitattributes", "k filter=git-crypt\n")])),
        with("submodules", remote(machine, "modules", &[(".gitmodules", "[submodule \"a\"]\n")])),
        with(
            "tests that fail",
            remote(machine, "red", &[("tests/one.sh", "echo 'one is not two' >&2; false\n")]),
        ),
        with(
            "a policy with an unknown key",
            remote(machine, "policy", &[(".afk/WORKFLOW.md", "+++\nbugdet_usd = 1\n+++\n")]),
        ),
        with(
            "a policy that loosens",
            remote(machine, "loose", &[(".afk/WORKFLOW.md", "+++\nbudget_usd = 1000\n+++\n")]),
        ),
        fault("an issue that a stranger released")
            .typed(&["issue", "new", "you/sound", "Add a door"])
            .typed(&["issue", "label", "you/sound#1", "--as", "mallory"]),
    ]
}

/// Faults of a repository's commands.
fn in_its_commands() -> Vec<Fault> {
    let verify = |what, argv: &[&str]| fault(what).set("repos.you/sound.verify", words(argv));
    let unreachable = "git ls-remote https://forge.invalid/web.git";
    vec![
        verify("tests that hang", &["sh", "-c", "sleep 600"])
            .set("repos.you/sound.verify_timeout_seconds", 1),
        verify("tests that need the network", &["sh", "-c", unreachable]),
        verify("tests that need the history", &["git", "describe", "--always"]),
        verify("tests that call a missing program", &["sh", "-c", "no-such-linter ."]),
        fault("no tests at all").set("repos.you/sound.verify", "none"),
        fault("tests that match no pattern")
            .set("repos.you/sound.proof.tests", words(&["spec/**"])),
        verify("a script that is not committed", &["./run-tests.sh"]),
        verify("a script that may not be run", &["./test.sh"]),
        fault("a script for the shell that is not there")
            .set("repos.you/sound.stages", ci("command", words(&["sh", "ci.sh"]))),
        verify("a program that is not there", &["no-such-program"]),
        fault("a hook whose program is not there")
            .set("repos.you/sound.hooks.before_run", words(&["no-such-hook"])),
        fault("a stage at an address that nobody answers").set(
            "repos.you/sound.stages",
            vec![table([("name", "live".into()), ("kind", "http".into()), ("url", NOBODY.into())])],
        ),
    ]
}

/// Faults of numbers and folders in a configuration.
fn in_the_configuration(machine: &Machine) -> Vec<Fault> {
    let home = machine.path("home").to_str().unwrap().to_owned();
    let read = |what, path: &str| fault(what).set("repos.you/sound.read", words(&[path]));
    vec![
        fault("an unknown key").set("kil_switch", true),
        fault("a variable that is spelled wrongly")
            .env("AFK_KILL_SWICH", "true")
            // The log would repeat it, with a time that differs on each run.
            .env("RUST_LOG", "off"),
        fault("a repository that has no table").set("allowlist", words(&["you/sund"])),
        read("a home in read", &home),
        read("a relative folder in read", "toolchain"),
        read("a missing folder in read", "/nowhere/rust"),
        read("the whole machine in read", "/"),
        fault("no budget").set("budget_usd", 0),
        fault("a day's budget below a run's").set("day_budget_usd", 1),
        fault("no run at once").set("max_concurrent_runs", 0),
        fault("no time for a run").set("run_timeout_seconds", 0),
        fault("no time for verify").set("repos.you/sound.verify_timeout_seconds", 0),
        fault("no time for a stage").set("stage_timeout_seconds", 0),
    ]
}

/// Writes a program of these shell lines; returns its path.
fn program(path: &Path, lines: &str) -> String {
    put(path, &format!("#!/bin/sh\n{lines}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Writes a `claude` that prints this version, or nothing.
fn claude(machine: &Machine, version: &str) -> String {
    let path = machine.path(&format!("claude-{version}"));
    program(&path, &format!("[ -n '{version}' ] && echo '{version} (Claude Code)'"))
}

/// Faults of agents and of secrets.
fn in_agents_and_secrets(machine: &Machine) -> Vec<Fault> {
    let agent = |what, name: &'static str| fault(what).set("repos.you/sound.agent", name);
    let file = |name: &str, text: &str, mode: u32| {
        let path = machine.path(name);
        put(&path, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let token = || table([("env", "WALK_TOKEN".into())]);
    let webhook = [("kind", "webhook".into()), ("url", NOBODY.into()), ("secret", token())];
    let command = |what, program: &str| {
        agent(what, "own")
            .set("agents.own.kind", "command")
            .set("agents.own.command", words(&[program]))
    };
    let own = |what, key: &'static str, value: Value| {
        command(what, "/bin/sh").set("agents.own.turn_usd", 1).set(key, value)
    };
    vec![
        fault("a script that is gone").set("repos.you/sound.script", "/nowhere/script.json"),
        fault("a script that is no JSON")
            .set("repos.you/sound.script", file("broken.json", "{", 0o644)),
        agent("no Claude CLI", "claude").set("agents.claude.program", "/nowhere/claude"),
        agent("a Claude CLI that says nothing", "claude")
            .set("agents.claude.program", claude(machine, ""))
            .set("agents.claude.api_key.env", "WALK_TOKEN")
            .env("WALK_TOKEN", "a key"),
        agent("a Claude CLI of an unknown version", "claude")
            .set("agents.claude.program", claude(machine, "9.9.9"))
            .set("agents.claude.api_key.env", "WALK_TOKEN")
            .env("WALK_TOKEN", "a key"),
        agent("a Claude CLI that is not signed in", "claude")
            .set("agents.claude.program", claude(machine, MEASURED)),
        agent("a key of the Claude CLI that is not set", "claude")
            .set("agents.claude.program", claude(machine, MEASURED))
            .set("agents.claude.api_key.env", "WALK_TOKEN"),
        agent("no Codex", "codex").set("agents.codex.program", "/nowhere/codex"),
        command("no program of an agent", "/nowhere/agent").set("agents.own.turn_usd", 1),
        command("an agent of which nobody says what it costs", "/bin/sh"),
        command("an agent that costs nothing", "/bin/sh").set("agents.own.turn_usd", 0),
        own("a secret of an agent that is not set", "agents.own.secret_env.KEY", token()),
        own("a folder of an agent that is not there", "agents.own.read", words(&["/nowhere/it"])),
        fault("a key for evidence that is not there").set("evidence_key.file", "/nowhere/key.pem"),
        fault("a key for evidence that is none")
            .set("evidence_key.file", file("none.pem", "not a key\n", 0o600)),
        fault("a key for evidence that others can read")
            .set("evidence_key.file", file("open.pem", KEY, 0o644)),
        fault("a doorbell whose secret is not set").set("notify", vec![table(webhook)]),
        fault("a Vault that does not answer")
            .set("vault.url", NOBODY)
            .set("vault.token.env", "WALK_TOKEN")
            .env("WALK_TOKEN", "a token"),
        fault("a forge whose token is not set")
            .set("repos.you/sound.tracker", "forgejo")
            .set("forges.forgejo.url", NOBODY)
            .set("forges.forgejo.token.env", "WALK_TOKEN"),
        fault("a forge that does not answer")
            .set("repos.you/sound.tracker", "forgejo")
            .set("forges.forgejo.url", NOBODY)
            .set("forges.forgejo.token.env", "WALK_TOKEN")
            .env("WALK_TOKEN", "a token"),
    ]
}

/// Faults of a machine.
fn in_the_machine(machine: &Machine) -> Vec<Fault> {
    let without_git = machine.only("path/without-git", &["bwrap", "sh"]);
    let forbidden = machine.only("path/forbidden", &["git", "sh"]);
    program(
        &Path::new(&forbidden).join("bwrap"),
        "[ \"$1\" = --version ] && exec echo 'bubblewrap 0.11.0'\n\
         echo 'bwrap: No permissions to create a new namespace' >&2\nexit 1",
    );
    vec![
        fault("no git").env("PATH", without_git),
        fault("a machine that forbids namespaces").env("PATH", forbidden),
        fault("no folder for temporary files").env("TMPDIR", "/nowhere/tmp"),
        fault("a file in the place of the store's folder").plant(|data| put(data, "")),
        fault("a store that is damaged").plant(|data| {
            put(&data.join("afk.db"), &"no database\n".repeat(1000));
            std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700)).unwrap();
        }),
        fault("a store's folder that is open to others").plant(|data| {
            std::fs::create_dir_all(data).unwrap();
            std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o755)).unwrap();
        }),
    ]
}

#[test]
fn the_doctor_names_each_fault_with_its_remedy() {
    let machine = Machine::new();
    let sound = machine.clone_with("sound", &SOUND);
    let script = machine.script(&projects::ALL[0]);
    machine.ok(&sound, &["init", "--script", script.to_str().unwrap()]);
    let config = machine.path("home/.config/afk/config.toml");
    let whole: toml::Table = std::fs::read_to_string(&config).unwrap().parse().unwrap();
    let faults: Vec<Fault> = [
        in_the_repository(&machine, &sound),
        in_its_commands(),
        in_the_configuration(&machine),
        in_agents_and_secrets(&machine),
        in_the_machine(&machine),
    ]
    .into_iter()
    .flatten()
    .collect();
    let named: BTreeSet<&str> = faults.iter().map(|fault| fault.what).collect();
    assert_eq!(named.len(), faults.len(), "each fault is another");
    assert!(faults.len() >= FEWEST, "{} faults", faults.len());

    let mut told = Told::new(&machine);
    let (typed, said) = examined(&machine, &whole, &fault("nothing"));
    assert_eq!((said.code, said.out.lines().count()), (0, 1), "{}", said.all());
    assert!(said.out.starts_with("everything is in order; "), "{}", said.all());
    told.add("nothing", &typed, &said);

    // Side by side, because each mostly waits for its boxes.
    let answers: Vec<_> = std::thread::scope(|scope| {
        let chunks = faults.chunks(faults.len().div_ceil(4));
        let examine = |fault| (fault, examined(&machine, &whole, fault));
        let threads: Vec<_> = chunks
            .map(|chunk| scope.spawn(move || chunk.iter().map(examine).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for (fault, (typed, said)) in &answers {
        let (found, remedied) = found(&said.out);
        assert!(found > 0, "{} is not found: {}", fault.what, said.all());
        assert_eq!(found, remedied, "{}: a remedy for each: {}", fault.what, said.all());
        told.add(fault.what, typed, said);
    }
    eprintln!("{} faults, each named with its remedy", faults.len());
    insta::assert_snapshot!(told.text);
}

/// Plants a fault and runs the doctor; returns how it was planted, and the doctor's answer.
fn examined(machine: &Machine, whole: &toml::Table, fault: &Fault) -> (String, Said) {
    let mut config = whole.clone();
    let mut typed = String::new();
    for (name, value) in &fault.env {
        let _ = writeln!(typed, "{name}={value}");
    }
    for (key, value) in &fault.keys {
        let _ = writeln!(typed, "{key} = {value}");
        if *key == "repos.you/sound.agent" {
            // Only the scripted agent may have a script.
            config["repos"]["you/sound"].as_table_mut().unwrap().remove("script");
        }
        set(&mut config, key, value.clone());
    }
    let name: String = fault.what.chars().filter(char::is_ascii_alphanumeric).collect();
    let data = machine.path(&format!("data/{name}"));
    std::fs::create_dir_all(machine.path("data")).unwrap();
    (fault.plant)(&data);
    config.insert("data_dir".to_owned(), data.to_str().unwrap().into());
    let file = machine.path(&format!("{name}.toml"));
    put(&file, &toml::to_string(&config).unwrap());
    let src = machine.path("src");
    let under = ["--config", file.to_str().unwrap()];
    for args in &fault.typed {
        let _ = writeln!(typed, "$ afk {}", shown(args));
        machine.ok(&src, &[&under[..], *args].concat());
    }
    let said = machine.afk_with(&src, &[&under[..], &["doctor"]].concat(), &fault.env);
    (typed, said)
}

/// How many faults an answer names, and how many of them with a remedy.
fn found(answer: &str) -> (usize, usize) {
    let (mut found, mut remedied, mut open) = (0, 0, false);
    for line in answer.lines().map(str::trim_start) {
        if line.starts_with("✗ ") || line.starts_with("! ") {
            (found, open) = (found + 1, true);
        } else if line.starts_with("→ ") && open {
            (remedied, open) = (remedied + 1, false);
        }
    }
    (found, remedied)
}

#[test]
fn a_fault_without_a_cure_is_seen() {
    let remedied =
        "you/web\n  ✗ read  it is gone\n  │ → no\n    → correct it\n  ! tests  none\n    → add\n";
    assert_eq!(found(remedied), (2, 2));
    assert_eq!(found("machine\n  ✗ git  it is gone\n  ✗ disk  full\n    → free some\n"), (2, 1));
    assert_eq!(found("everything is in order\n"), (0, 0));
}

/// Sets a key by its dotted path.
fn set(table: &mut toml::Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| toml::Table::new().into());
            set(inner.as_table_mut().unwrap(), rest, value);
        }
    }
}
