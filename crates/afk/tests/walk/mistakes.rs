//! What is said about mistakes: some forty that are typed, and others that are written into a
//! configuration. The answers are snapshots: what happened, to what, and how to fix it.

use std::fmt::Write as _;
use std::path::Path;

use crate::machine::{Machine, Said, put};

/// A sound repository: it has tests, and they pass.
pub(crate) const SOUND: [(&str, &str); 2] =
    [("test.sh", "#!/bin/sh\nset -e\n. tests/one.sh\n"), ("tests/one.sh", "true\n")];

/// The answers to what was typed.
pub(crate) struct Told<'a> {
    machine: &'a Machine,
    pub(crate) text: String,
}

impl<'a> Told<'a> {
    pub(crate) fn new(machine: &'a Machine) -> Self {
        Self { machine, text: String::new() }
    }

    fn hear(&mut self, mistake: &str, dir: &Path, args: &[&str]) {
        let said = self.machine.afk(dir, args);
        self.add(mistake, &format!("$ afk {}\n", shown(args)), &said);
    }

    pub(crate) fn add(&mut self, mistake: &str, typed: &str, said: &Said) {
        let plain = |text: &str| self.machine.plain(text).trim_end().to_owned();
        let parts = [plain(&said.out), plain(&said.err)];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let (typed, answer) = (self.machine.plain(typed), parts.join("\n"));
        let _ = write!(self.text, "# {mistake}\n{typed}{answer}\n[exit code {}]\n\n", said.code);
    }
}

pub(crate) fn shown(args: &[&str]) -> String {
    let quoted = |word: &&str| {
        if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() }
    };
    args.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_typed_wrongly_is_answered_with_what_would_be_right() {
    let machine = Machine::new();
    let nowhere = machine.path("src");
    let sound = machine.clone_with("sound", &SOUND);
    let mut told = Told::new(&machine);
    let told = &mut told;

    told.hear("init outside a clone", &nowhere, &["init", "--verify", "make test"]);
    told.hear("enroll outside a clone", &nowhere, &["enroll"]);
    told.hear("issue new outside a clone", &nowhere, &["issue", "new", "Add a door"]);
    told.hear("a number outside a clone", &nowhere, &["run", "7"]);
    let local = machine.path("src/local");
    std::fs::create_dir(&local).unwrap();
    machine.git(&local, &["init", "-q"]);
    put(&local.join("test.sh"), "true\n");
    told.hear("enroll without a remote", &local, &["enroll"]);
    let bare = machine.clone_with("untested", &[("README.md", "# Nothing yet\n")]);
    told.hear("enroll without tests", &bare, &["enroll"]);
    told.hear("a repository that is nowhere", &nowhere, &["enroll", "you/none"]);
    told.hear("run without a configuration", &sound, &["run", "1"]);
    told.hear("verify as a shell line", &sound, &["enroll", "--verify", "make test && make lint"]);
    told.hear("verify as an open list", &sound, &["enroll", "--verify", "[\"make\""]);
    told.hear("an agent that is not there", &sound, &["enroll", "--agent", "claud"]);
    told.hear("a folder that is not there", &sound, &["enroll", "--read", "/nowhere/rust"]);
    told.hear("a script that is not there", &sound, &["enroll", "--script", "/nowhere/x.json"]);
    let script = machine.path("script.json");
    put(&script, "{\"turns\": []}");
    let given = ["--agent", "claude", "--script", script.to_str().unwrap()];
    told.hear("init with a script for another agent", &sound, &[&["init"], &given[..]].concat());
    told.hear("init with an unknown agent", &sound, &["init", "--agent", "claud"]);
    told.hear("enroll with a script for another", &sound, &[&["enroll"], &given[..]].concat());
    assert!(!machine.path("home/.config/afk/config.toml").exists());
    told.hear("a remote with a password", &sound, &["enroll", "--remote", "https://u:p@h/o/r"]);

    let tree = machine.path("src/tree");
    machine.git(&nowhere, &["clone", "-q", sound.to_str().unwrap(), "tree"]);
    told.hear("a remote that is checked out", &tree, &["enroll"]);
    let lfs = [&SOUND[..], &[(".gitattributes", "*.png filter=lfs\n")]].concat();
    told.hear("a repository with LFS", &machine.clone_with("lfs", &lfs), &["enroll"]);
    let modules = [&SOUND[..], &[(".gitmodules", "[submodule \"a\"]\n")]].concat();
    told.hear("submodules", &machine.clone_with("modules", &modules), &["enroll"]);
    let deep = machine.clone_with("deep", &SOUND);
    machine.git(&deep, &["commit", "-q", "--allow-empty", "-m", "More"]);
    machine.git(&deep, &["push", "-q"]);
    let (from, to) = (machine.path("srv/you/deep.git"), machine.path("srv/you/shallow.git"));
    let from = format!("file://{}", from.display());
    let to = to.to_str().unwrap().to_owned();
    machine.git(&nowhere, &["clone", "-q", "--bare", "--depth=1", &from, &to]);
    let given = ["enroll", "you/shallow", "--remote", &to, "--verify", "sh test.sh"];
    told.hear("a shallow remote", &nowhere, &given);

    put(&sound.join("tests/two.sh"), "true\n");
    told.hear("(the right way, but for a file that is not committed)", &sound, &["enroll"]);
    // Whatever this machine has: no agent's program can be found.
    let config = machine.path("home/.config/afk/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    put(&config, &format!("{text}\n[agents.claude]\nprogram = \"/nowhere/claude\"\n"));
    told.hear("init where there is a file", &sound, &["init"]);
    told.hear("options for what is configured", &sound, &["enroll", "--ci", "true"]);
    told.hear("an issue that is not there", &sound, &["run", "9"]);
    told.hear("an issue without a title", &sound, &["issue", "new"]);
    told.hear("a blank title", &sound, &["issue", "new", " "]);
    told.hear("a title without quotes", &sound, &["issue", "new", "Add", "a", "door"]);
    told.hear("a number in words", &sound, &["runs", "--limit", "none"]);
    told.hear("what was never enrolled", &sound, &["unenroll", "you/none"]);
    told.hear("a label with a comma", &sound, &["issue", "new", "Add a door", "--label", "a,b"]);
    machine.ok(&sound, &["issue", "new", "Add a door"]);
    told.hear("an issue that was not released", &sound, &["explain", "1"]);
    told.hear("a run that is not there", &sound, &["show", "1"]);
    told.hear("a run that was never begun", &sound, &["retry", "1"]);
    told.hear("half a name", &sound, &["show", "zz"]);
    told.hear("a budget in words", &sound, &["budget", "1", "much"]);
    told.hear(
        "a time in words",
        &sound,
        &["presence", "claim", "x", "--purpose", "y", "--ttl", "soon"],
    );
    told.hear("a command that is not there", &sound, &["stats"]);
    told.hear("no agent's program", &sound, &["run", "1"]);
    insta::assert_snapshot!(told.text);
}

#[test]
fn what_is_written_wrongly_is_named_with_its_place() {
    let machine = Machine::new();
    let here = machine.path("src");
    let head = "[repos.\"you/web\"]\nremote = \"/srv/web.git\"\nverify = [\"sh\", \"test.sh\"]\n";
    let ci = "stages = [{ name = \"ci\", command = [\"sh\", \"ci.sh\"] }]\n";
    let repo = |keys: &str| format!("{head}{ci}{keys}");
    let mut told = Told::new(&machine);
    for (mistake, text) in [
        ("a key that is spelled wrongly", "kil_switch = true\n".to_owned()),
        ("a number in words", "budget_usd = \"much\"\n".to_owned()),
        ("a negative number", "max_concurrent_runs = -1\n".to_owned()),
        ("no TOML", "kill_switch = \n".to_owned()),
        ("a data folder below the home", "data_dir = \"~/afk\"\n".to_owned()),
        ("a key twice", "shadow = true\nshadow = false\n".to_owned()),
        (
            "verify as a line",
            format!("{}{ci}", head.replace("[\"sh\", \"test.sh\"]", "\"sh test.sh\"")),
        ),
        ("no stages", head.to_owned()),
        (
            "a stage's command as a line",
            format!("{head}stages = [{{ name = \"ci\", command = \"sh ci.sh\" }}]\n"),
        ),
        ("an empty command", repo("hooks = { before_run = [] }\n")),
        ("an agent that is not there", repo("agent = \"claud\"\n")),
        ("a tracker that is not there", repo("tracker = \"jira\"\n")),
        ("a way to land that is not there", repo("landing = \"merge-queue\"\n")),
        (
            "a stage of an unknown kind",
            format!("{head}stages = [{{ name = \"ci\", kind = \"travis\" }}]\n"),
        ),
        ("tested without a stage for it", repo("landing = \"tested\"\n")),
        ("a relative remote", repo("").replace("/srv/web.git", "../web.git")),
        (
            "a key where its source belongs",
            "[agents.claude]\napi_key = \"sk-ant-s3cret\"\n".to_owned(),
        ),
        ("a repository without a table", "allowlist = [\"you/web\"]\n".to_owned()),
        ("no script", repo("agent = \"scripted\"\n")),
        ("a script for another agent", repo("script = \"/srv/x.json\"\n")),
        ("a pattern that does not close", repo("proof.tests = [\"tests/{a,b\"]\n")),
        ("a bell of an unknown kind", "notify = [{ kind = \"email\" }]\n".to_owned()),
        ("a time limit with a unit", "run_timeout_seconds = \"2h\"\n".to_owned()),
    ] {
        let file = machine.path("src/afk.toml");
        put(&file, &text);
        let said = machine.afk(&here, &["config", "check"]);
        assert!(!said.all().contains("s3cret"), "{}", said.all());
        told.add(mistake, &text, &said);
    }
    insta::assert_snapshot!(told.text);
}

#[test]
fn what_would_make_the_file_invalid_is_not_written() {
    let machine = Machine::new();
    let [sound, second] = ["sound", "second"].map(|name| machine.clone_with(name, &SOUND));
    let config = machine.path("home/.config/afk/config.toml");
    let script = machine.path("script.json");
    put(&script, "{\"turns\": []}");
    let refused = |dir: &Path, args: &[&str], why: &str| {
        let before = std::fs::read_to_string(&config).ok();
        let said = machine.afk(dir, args);
        assert_eq!(said.code, 2, "afk {args:?}: {}", said.all());
        assert!(said.err.contains(why), "afk {args:?}: {}", said.all());
        assert_eq!(std::fs::read_to_string(&config).ok(), before, "afk {args:?}");
    };
    let enroll = ["enroll", "--agent", "claude", "--script", script.to_str().unwrap()];
    let init = [&["init"][..], &enroll[1..]].concat();
    refused(&sound, &init, "only applies to a scripted agent");
    refused(&sound, &["init", "--agent", "claud"], "agent: is unknown");
    refused(&sound, &enroll, "only applies to a scripted agent");
    assert!(!config.exists());
    machine.ok(&sound, &["init"]);
    refused(&second, &enroll, "only applies to a scripted agent");
    machine.ok(&second, &["enroll"]);

    // What is wrong already is told, and keeps nobody from editing.
    let text = std::fs::read_to_string(&config).unwrap();
    let table = "[repos.\"you/other\"]\nremote = \"/srv/other.git\"\nverify = [\"sh\", \"test.sh\"]\n\
                 stages = [{ name = \"ci\", command = [\"sh\", \"ci.sh\"] }]\nscript = \"/x.json\"\n";
    put(&config, &format!("{text}\n{table}"));
    for args in [&["arm"][..], &["enroll", "you/sound"], &["disarm"]] {
        let said = machine.afk(&sound, args);
        assert_eq!(said.code, 0, "afk {args:?}: {}", said.all());
        assert!(said.err.contains("only applies to a scripted agent"), "{}", said.all());
    }
    let left = std::fs::read_to_string(&config).unwrap();
    assert!(left.contains("\"you/sound\""), "{left}");
}
