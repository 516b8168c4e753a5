//! The real binary in folders of its own: what a person types, what it prints, and its exit
//! codes. What needs an agent is in the demo's tests.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod config;
mod kept_evidence;
mod processes;
mod runs;
mod shapes;
mod streams;
mod told;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A machine with nothing of ours on it: empty home, empty working folder.
struct Machine {
    dir: tempfile::TempDir,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("home")).unwrap();
        std::fs::create_dir_all(dir.path().join("here")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afk"));
        command
            .args(args)
            .current_dir(self.path("here"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("USER", "ann")
            .stdin(Stdio::null());
        command
    }

    fn afk(&self, args: &[&str]) -> Said {
        said_by(&self.command(args).output().unwrap())
    }

    /// The output of `args`, which must succeed.
    #[track_caller]
    fn good(&self, args: &[&str]) -> String {
        let said = self.afk(args);
        assert_eq!(said.code, 0, "{args:?}: {}{}", said.out, said.err);
        said.out
    }

    /// The one JSON document of `args`, with the exit code.
    #[track_caller]
    fn json(&self, args: &[&str]) -> (i32, Value) {
        let args: Vec<_> = args.iter().copied().chain(["--json"]).collect();
        let said = self.afk(&args);
        let document = serde_json::from_str(&said.out)
            .unwrap_or_else(|e| panic!("{args:?}: {e}: {:?} {:?}", said.out, said.err));
        (said.code, document)
    }

    /// Checks that `args` are refused with this exit code and these words.
    #[track_caller]
    fn refused(&self, args: &[&str], code: i32, words: &[&str]) {
        let said = self.afk(args);
        assert_eq!(said.code, code, "{args:?}: {}{}", said.out, said.err);
        for word in words {
            assert!(said.err.contains(word), "{args:?}: {word:?} is not in {:?}", said.err);
        }
        // The same with --json is the same document everywhere.
        let json: Vec<_> = args.iter().copied().chain(["--json"]).collect();
        let said = self.afk(&json);
        let document: Value = serde_json::from_str(&said.err)
            .unwrap_or_else(|e| panic!("{json:?}: {e}: {:?}", said.err));
        assert_eq!((said.code, document["exit"].as_i64()), (code, Some(code.into())), "{json:?}");
        assert!(document["error"].as_str().is_some_and(|text| !text.is_empty()));
        assert_eq!(said.out, "");
    }

    /// A bare repository with one empty commit.
    fn remote(&self) -> PathBuf {
        let path = self.path("remote.git");
        let git = |args: &[&str]| {
            let author = ["-c", "user.name=ann", "-c", "user.email=ann@afk.invalid"];
            let mut git = Command::new("git");
            let output = git.arg("--git-dir").arg(&path).args(author).args(args).output().unwrap();
            assert!(output.status.success(), "{args:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        git(&["init", "--quiet", "--bare", "--initial-branch=main"]);
        let tree = git(&["hash-object", "-w", "-t", "tree", "/dev/null"]);
        let commit = git(&["commit-tree", &tree, "-m", "Begin"]);
        git(&["update-ref", "refs/heads/main", &commit]);
        path
    }

    /// `text` with a table that gives the scripted agent an existing script.
    fn scripted(&self, text: &str) -> String {
        let script = self.path("script.json");
        std::fs::write(&script, r#"{"turns": []}"#).unwrap();
        text.replace("/srv/script.json", script.to_str().unwrap())
    }

    fn config(&self, text: &str) -> PathBuf {
        let path = self.path("here/afk.toml");
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn said_by(output: &Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

const REPO: &str = "\
# Ours.
kill_switch = true # until the weekend

[agents.scripted]
script = \"/srv/script.json\"

[repos.\"o/web\"]
remote = \"/srv/web\"
verify = [\"sh\", \"test.sh\"]
agent = \"scripted\"
stages = [{ name = \"ci\", command = [\"sh\", \"ci.sh\"] }]
";

#[test]
fn an_issue_from_new_to_closed() {
    let machine = Machine::new();
    machine.config(REPO);
    let made = machine.good(&["issue", "new", "o/web", "Add a door", "--body", "Inwards."]);
    assert_eq!(made, "o/web#1\n");
    assert!(machine.good(&["issue", "label", "o/web#1"]).contains("now has ready-for-agent"));
    assert!(machine.good(&["issue", "label", "o/web#1"]).contains("already had it"));
    machine.good(&["issue", "comment", "o/web#1", "Which side?", "--as", "eve"]);
    machine.good(&["issue", "edit", "o/web#1", "--title", "Add two doors"]);
    let shown = machine.good(&["issue", "show", "o/web#1"]);
    for word in ["Add two doors", "Inwards.", "ann put on ready-for-agent", "eve", "Which side?"] {
        assert!(shown.contains(word), "{word:?} is not in {shown}");
    }
    assert!(machine.good(&["issue", "list", "o/web", "--label", "ready-for-agent"]).contains("#1"));
    machine.good(&["issue", "unlabel", "o/web#1"]);
    machine.good(&["issue", "close", "o/web#1"]);
    let none_open = "no open issues; `--all` includes closed ones\n";
    assert_eq!(machine.good(&["issue", "list"]), none_open);
    assert!(machine.good(&["issue", "list", "--all"]).contains("closed"));
    machine.good(&["issue", "reopen", "o/web#1"]);
    let (code, document) = machine.json(&["issue", "show", "o/web#1"]);
    assert_eq!((code, document["issue"]["open"].as_bool()), (0, Some(true)));
    assert_eq!(document["events"].as_array().map(Vec::len), Some(5));
    assert_eq!(document["comments"][0]["author"]["id"], "user:eve");
}

#[test]
fn a_body_comes_from_a_flag_a_file_or_standard_input() {
    let machine = Machine::new();
    std::fs::write(machine.path("here/story.md"), "from a file").unwrap();
    machine.good(&["issue", "new", "o/web", "One", "--body-file", "story.md", "--ready"]);
    let mut child = machine
        .command(&["issue", "new", "o/web", "Two", "--body", "-", "--label", "P1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    assert!(child.wait().unwrap().success());
    let (_, all) = machine.json(&["issue", "list", "o/web"]);
    let told: Vec<_> = all["issues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["body"].as_str().unwrap(), one["labels"][0].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("from a file", "ready-for-agent"), ("from a pipe", "P1")]);
}

#[test]
fn switches_are_thrown_told_and_lifted() {
    let machine = Machine::new();
    machine.config(REPO);
    machine.good(&["pause", "--why", "release day"]);
    machine.good(&["freeze", "o/web", "--why", "odd"]);
    let (code, document) = machine.json(&["halt"]);
    assert_eq!(code, 0);
    assert_eq!(document["switches"]["pause"]["why"], "release day");
    assert_eq!(document["switches"]["halt"]["by"], "ann");
    let shown = machine.good(&["status"]);
    for word in ["halted by ann", "paused by ann", "release day", "o/web frozen by ann"] {
        assert!(shown.contains(word), "{word:?} is not in {shown}");
    }
    let paused = machine.good(&["pause", "--why", "release day"]);
    assert!(paused.contains("everything stays halted until `afk resume`"), "{paused}");
    assert!(machine.good(&["resume"]).contains("halt and pause are lifted"));
    assert!(machine.good(&["resume"]).contains("nothing was halted"));
    assert!(machine.good(&["ack", "o/web"]).contains("was frozen by a person"));
    assert!(machine.good(&["unfreeze", "o/web"]).contains("no longer frozen"));
    assert!(machine.good(&["ack", "o/web"]).contains("o/web is not frozen"));
    let (_, document) = machine.json(&["status"]);
    assert_eq!(
        document["switches"],
        serde_json::json!({"halt": null, "pause": null, "frozen": []})
    );
}

#[test]
fn status_says_what_holds_each_ready_issue() {
    let machine = Machine::new();
    machine.config(&format!("allowlist = [\"o/web\"]\n{REPO}"));
    machine.good(&["issue", "new", "o/web", "Add a door", "--ready"]);
    machine.good(&["issue", "new", "o/web", "Paint it", "--body", "Blocked by #1"]);
    machine.good(&["issue", "label", "o/web#2", "--as", "eve"]);
    let (code, document) = machine.json(&["status"]);
    assert_eq!((code, &document["takes_issues"]), (0, &false.into()));
    assert_eq!(document["ready"].as_array().map(Vec::len), Some(2));
    assert_eq!(document["ready"][0]["gates"]["gates"][0]["verdict"], "failed");
    let shown = machine.good(&["status"]);
    assert!(shown.contains("refused by kill switch, machine, trust, blockers"), "{shown}");
}

#[test]
fn explain_asks_every_gate_and_tells_by_its_code() {
    let machine = Machine::new();
    let (remote, missing) = (machine.remote(), machine.path("nowhere"));
    let config = |remote: &Path| {
        let armed = machine.scripted(REPO).replace("= true", "= false");
        let armed = armed.replace("/srv/web", remote.to_str().unwrap());
        machine.config(&format!("allowlist = [\"o/web\"]\nsandbox = \"preferred\"\n{armed}"));
    };
    config(&missing);
    machine.good(&["issue", "new", "o/web", "Add a door", "--ready"]);
    let said = machine.afk(&["explain", "o/web#1"]);
    assert_eq!(said.code, 3);
    assert!(said.out.contains("✗ machine") && said.out.contains("nowhere"), "{}", said.out);
    config(&remote);
    let (code, document) = machine.json(&["explain", "o/web#1"]);
    assert_eq!((code, &document["eligible"]), (0, &true.into()), "{document}");
    assert_eq!(document["gates"].as_array().map(Vec::len), Some(9));
    machine.good(&["issue", "edit", "o/web#1", "--body", "x<!-- y -->", "--as", "eve"]);
    let said = machine.afk(&["explain", "o/web#1"]);
    assert_eq!(said.code, 3);
    assert!(said.out.contains("✗ trust") && said.out.contains("HTML comment"), "{}", said.out);
    machine.good(&["pause"]);
    let said = machine.afk(&["run", "o/web#1"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.out.contains("✗ trust"), "{}", said.out);
    assert!(said.out.contains("paused by ann; `afk resume` lifts it"), "{}", said.out);
}

#[test]
fn wrong_use_says_what_would_be_right() {
    let machine = Machine::new();
    machine.refused(&["issue", "show", "o/web#9"], 2, &["no issue o/web#9", "afk issue list"]);
    machine.refused(&["issue", "label", "o/web#9"], 2, &["issue o/web#9"]);
    machine.refused(&["issue", "show", "web"], 2, &["owner/name#7"]);
    machine.refused(&["issue", "new", "o/web", "  "], 2, &["title"]);
    machine.refused(&["issue", "new", "o/web", "x", "--as", "a b"], 2, &["account"]);
    machine.refused(&["issue", "new", "o/web", "x", "--label", "a,b"], 2, &["without commas"]);
    assert_eq!(
        machine.json(&["issue", "list", "--all"]).1,
        serde_json::json!({ "issues": [] }),
        "none is made"
    );
    machine.refused(&["explain", "o/web#1"], 2, &["not configured", "afk enroll", "AFK_CONFIG"]);
    machine.refused(&["run", "o/web#1"], 2, &["not configured"]);
    for command in ["show", "logs", "diff", "retry"] {
        machine.refused(&[command, "o/web#1"], 2, &["no issue o/web#1", "afk issue list --all"]);
    }
    machine.refused(&["show", "zz"], 2, &["neither a run"]);
    machine.refused(&["show", "0199d3c2"], 2, &["no run"]);
    machine.refused(&["evidence", "01990000-0000-7000-8000-000000000000"], 2, &["no run"]);
    machine.refused(&["stats"], 2, &["status"]);
    machine.refused(&["run"], 2, &["OWNER/NAME#N"]);
    machine.refused(&["issue", "show", "o/web#1", "--colour"], 2, &["--color"]);
    machine.config(&machine.scripted(REPO));
    machine.refused(&["explain", "o/web#1"], 2, &["no issue o/web#1"]);
    machine.refused(&["run", "o/web#1"], 2, &["no issue o/web#1"]);
    // Where others are configured, a name is more likely mistyped than new.
    machine.refused(&["explain", "o/webb#1"], 2, &["not configured; did you mean o/web?"]);
    machine.refused(&["explain", "p/web#1"], 2, &["not configured; did you mean o/web?"]);
    machine.refused(&["explain", "o/api#1"], 2, &["configured: o/web. `afk enroll`"]);
    machine.refused(&["enroll", "o/webb"], 2, &["did you mean o/web?", "--remote PATH-OR-URL"]);
    machine.refused(&["explain", "web#1"], 2, &["lacks its owner: did you mean o/web#1?"]);
    machine.refused(&["freeze", "web"], 2, &["lacks its owner: did you mean o/web?"]);
    machine.refused(&["explain", "web"], 2, &["owner/name#7", "its number is enough"]);
}

#[test]
fn a_default_owner_completes_what_is_typed() {
    let machine = Machine::new();
    machine.config(&format!("default_owner = \"o\"\n{REPO}"));
    assert_eq!(machine.good(&["issue", "new", "web", "Add a door"]), "o/web#1\n");
    assert!(machine.good(&["issue", "show", "web#1"]).contains("o/web#1"));
    machine.refused(&["issue", "new", "fix", "login"], 2, &["put it in quotes", "fix login"]);
    machine.refused(&["doctor", "--verify", "api"], 2, &["o/api is not configured"]);
    machine.good(&["enroll", "web"]);
    assert!(read(&machine.path("here/afk.toml")).contains("[\"o/web\"]"));
}

#[test]
fn a_tick_with_the_switches_as_shipped_does_nothing() {
    let machine = Machine::new();
    machine.config(REPO);
    machine.good(&["issue", "new", "o/web", "Add a door", "--ready"]);
    for args in [&["tick"][..], &["tick", "--poll"]] {
        let (code, document) = machine.json(args);
        assert_eq!(
            (code, &document["admitted"], &document["passed"]),
            (0, &serde_json::json!([]), &serde_json::json!([]))
        );
    }
    let said = machine.afk(&["tick", "--poll", "--watch"]);
    assert_eq!((said.code, said.out.as_str()), (0, "nothing left to do\n"));
    assert!(said.err.contains("kill switch"), "{}", said.err);
}

#[test]
fn help_version_completions_and_man_pages() {
    let machine = Machine::new();
    let help = machine.good(&[]);
    assert!(help.contains("Usage: afk") && help.contains("afk demo"), "{help}");
    assert!(machine.good(&["--help"]).contains("130  interrupted"));
    assert!(machine.good(&["help", "run"]).contains("afk run o/web#7"));
    assert_eq!(machine.good(&["--version"]), concat!("afk ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(machine.afk(&["issue"]).code, 2);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = machine.good(&["completions", shell]);
        assert!(script.contains("COMPLETE") && script.contains("afk"), "{shell}: {script}");
    }
    let page = machine.good(&["man"]);
    assert!(page.contains(".TH AFK 1") && page.contains("EXIT STATUS"), "{page}");
    machine.good(&["man", "pages"]);
    for name in ["afk", "afk-run", "afk-issue-new", "afk-config-check"] {
        let page = read(&machine.path(&format!("here/pages/{name}.1")));
        assert!(page.contains("EXIT STATUS"), "{name}");
    }
}

#[test]
fn colour_is_given_when_asked_for_and_never_to_a_pipe() {
    let machine = Machine::new();
    machine.config(REPO);
    assert!(!machine.good(&["status"]).contains('\u{1b}'));
    assert!(machine.good(&["--color", "always", "status"]).contains('\u{1b}'));
    assert!(machine.good(&["--help", "--color=always"]).contains('\u{1b}'));
    let (_, document) = machine.json(&["--color", "always", "status"]);
    assert!(document.is_object());
}
