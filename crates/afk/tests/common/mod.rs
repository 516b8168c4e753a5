//! A small world for the real `afk` binary: a bare origin, a project with tests, a
//! configuration armed for it alone, a script for the agent, a gate, a doorbell.
//!
//! Used by the tests that drive the binary from outside. Everything lies in one
//! temporary folder; processes that still run there when a world is dropped are killed,
//! each by its id. Waits poll up to a bound; nothing else depends on time.
//!
//! The gate is a folder that every box of the repo may read: a test that must hold an
//! agent, a verify or a hook in the middle of its work lets it wait for a file there.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test target uses a part of it")]
#![allow(clippy::format_push_string, clippy::format_collect, reason = "a test may be plain")]

mod bell;
mod control;
mod looking;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use afk_agent::agents::scripted::script::{Script, Step, Turn};
use serde_json::Value;
use tempfile::TempDir;

pub use bell::Bell;
pub use control::Control;
pub use looking::{Found, until};

/// The repo of every world.
pub const REPO: &str = "acme/hello";
/// Its first issue.
pub const ISSUE: &str = "acme/hello#1";
/// Time limit of everything that has no limit of the product's own.
pub const BOUND: Duration = Duration::from_mins(2);

/// `hello.sh` as it should be.
pub const FIXED: &str = "greet() { printf 'Hello, %s!\\n' \"${1:-world}\"; }\n";
/// A test that fails unless `hello.sh` is [`FIXED`].
pub const NEW_TEST: &str = ". ./hello.sh\n[ \"$(greet)\" = \"Hello, world!\" ]\n";

/// What differs between worlds.
#[derive(Default)]
pub struct Plan {
    /// Shell lines at the head of `test.sh`; `@GATE@` is the gate's path.
    pub verify: String,
    /// Shell lines at the head of `ci.sh`, likewise.
    pub stage: String,
    /// Lines at the head of the configuration.
    pub config: String,
    /// The agent's turns.
    pub turns: Vec<Vec<Step>>,
    /// The project's files; if there are any, in place of the usual ones.
    pub files: Vec<(&'static str, &'static str)>,
    /// The remote's address, in place of the origin's path, for which `@ORIGIN@` stands.
    pub remote: String,
    /// Lines of the repo's own table, in place of its one stage.
    pub keys: String,
    /// Run everything as this user and group, with files of their own.
    pub user: Option<u32>,
}

/// A world: its folder, its configuration and its doorbell.
pub struct World {
    dir: TempDir,
    /// The binary under test.
    pub afk: PathBuf,
    /// The receiver of its doorbells.
    pub bell: Bell,
    user: Option<u32>,
    /// Further variables in the environment of every `afk`.
    pub env: Vec<(String, String)>,
}

impl World {
    /// Makes everything but the issue.
    pub fn new(plan: &Plan) -> Self {
        let dir = tempfile::Builder::new().prefix("afk-e2e-").tempdir().unwrap();
        let bell = Bell::start();
        let mut world = Self {
            afk: PathBuf::from(env!("CARGO_BIN_EXE_afk")),
            user: plan.user,
            env: vec![("AFK_E2E_BELL".to_owned(), "a secret of the doorbell".to_owned())],
            bell,
            dir,
        };
        for folder in ["home", "gate", "seed/tests"] {
            fs::create_dir_all(world.path(folder)).unwrap();
        }
        world.seed(plan);
        world.script(&plan.turns);
        fs::write(world.path("afk.toml"), world.config(plan)).unwrap();
        if let Some(user) = plan.user {
            // The build's own folder may be closed to that user.
            let copy = world.path("afk-binary");
            fs::copy(&world.afk, &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
            world.afk = copy;
            let owner = format!("{user}:{user}");
            let done = Command::new("chown").args(["-R", &owner]).arg(world.dir.path()).status();
            assert!(done.unwrap().success());
        }
        world
    }

    /// A path in the world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Gives the agent these turns.
    pub fn script(&self, turns: &[Vec<Step>]) {
        let turns = turns.iter().map(|steps| Turn { steps: steps.clone() }).collect();
        let script = serde_json::to_vec(&Script { turns }).unwrap();
        fs::write(self.path("script.json"), script).unwrap();
    }

    /// Opens the gate `name`.
    pub fn open(&self, name: &str) {
        fs::write(self.path("gate").join(name), "").unwrap();
    }

    fn seed(&self, plan: &Plan) {
        let gate = self.path("gate").to_string_lossy().into_owned();
        let put = |name: &str, text: String| {
            fs::write(self.path("seed").join(name), text).unwrap();
        };
        put("hello.sh", "greet() { printf 'Hello, %s!\\n' \"$1\"; }\n".to_owned());
        put(
            "tests/by_name.sh",
            ". ./hello.sh\n[ \"$(greet Ada)\" = \"Hello, Ada!\" ]\n".to_owned(),
        );
        let verify = plan.verify.replace("@GATE@", &gate);
        put(
            "test.sh",
            format!(
                "{verify}\nfailed=0\nfor test in tests/*.sh; do\n  if sh -e \"$test\"; then echo \
                 \"ok $test\"; else echo \"FAIL $test\"; failed=1; fi\ndone\nexit \"$failed\"\n"
            ),
        );
        let stage = plan.stage.replace("@GATE@", &gate);
        put("ci.sh", format!("set -e\n{stage}\nsh -n hello.sh\n"));
        if !plan.files.is_empty() {
            fs::remove_dir_all(self.path("seed")).unwrap();
            fs::create_dir_all(self.path("seed/tests")).unwrap();
        }
        for (name, text) in &plan.files {
            put(name, (*text).to_owned());
        }
        let (seed, origin) = (self.path("seed"), self.path("origin.git"));
        git(self.dir.path(), &["init", "-q", "--bare", "--initial-branch=main", "origin.git"]);
        git(&seed, &["init", "-q", "--initial-branch=main"]);
        git(&seed, &["add", "--all"]);
        git(&seed, &["commit", "-q", "-m", "Greet people by name"]);
        git(&seed, &["push", "-q", &origin.to_string_lossy(), "main"]);
    }

    fn config(&self, plan: &Plan) -> String {
        let extra = plan.config.as_str();
        let path = |name: &str| toml::Value::String(self.path(name).to_string_lossy().into());
        let defaults = [
            ("kill_switch", "false".to_owned()),
            ("allowlist", format!("[{REPO:?}]")),
            ("data_dir", path("data").to_string()),
            ("sandbox", "\"required\"".to_owned()),
            ("poll_seconds", "1".to_owned()),
            ("budget_usd", "5".to_owned()),
        ];
        let given = |key: &str| extra.lines().any(|line| line.starts_with(key));
        let mut text: String = defaults
            .iter()
            .filter(|(key, _)| !given(key))
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        let agent = if extra.contains("[agents.claude]") { "claude" } else { "scripted" };
        let (head, tables) = extra.split_once("\n[").unwrap_or((extra, ""));
        let usual = "stages = [{ name = \"ci\", command = [\"sh\", \"ci.sh\"] }]";
        let keys = if plan.keys.is_empty() { usual } else { &plan.keys };
        text.push_str(&format!(
            "{head}\nnotify = [{{ kind = \"webhook\", url = {url:?}, secret = {{ env = \
             \"AFK_E2E_BELL\" }} }}]\n\n[repos.{REPO:?}]\nremote = {origin}\nverify = [\"sh\", \
             \"test.sh\"]\nagent = \"{agent}\"\nread = [{gate}]\n{keys}\n\n[agents.scripted]\nscript \
             = {script}\n",
            url = self.bell.url(),
            origin = match plan.remote.as_str() {
                "" => path("origin.git"),
                remote => remote.replace("@ORIGIN@", &self.path("origin.git").to_string_lossy()).into(),
            },
            gate = path("gate"),
            script = path("script.json"),
        ));
        if !tables.is_empty() {
            text.push_str(&format!("\n[{tables}\n"));
        }
        text
    }

    /// The command `afk` with these arguments, in an environment of the world's own.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match self.user {
            None => Command::new(&self.afk),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .args([format!("--reuid={user}"), format!("--regid={user}")])
                    .arg("--clear-groups")
                    .arg(&self.afk);
                command
            }
        };
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("USER", "keeper")
            .env("AFK_CONFIG", self.path("afk.toml"))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `afk` to its end.
    pub fn afk(&self, args: &[&str]) -> Output {
        Control::start(self.command(args), &self.path("out")).wait(BOUND)
    }

    /// Runs `afk`, which must succeed, and returns its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.afk(args);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "afk {args:?}: {}\n{out}\n{err}", output.status);
        out
    }

    /// Runs `afk` with `--json`, and returns its document, whatever its exit code.
    pub fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let (out, err) = texts(&self.afk(&args));
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("afk {args:?}: {e}\n{out}\n{err}"))
    }

    /// Starts `afk` and lets it go on.
    pub fn start(&self, args: &[&str]) -> Control {
        Control::start(self.command(args), &self.path("out"))
    }

    /// Makes the issue and releases it.
    pub fn issue(&self, body: &str) {
        let title = "greet without a name prints an empty greeting";
        self.ok(&["issue", "new", REPO, title, "--body", body, "--ready"]);
    }

    /// The newest run on the issue, as `afk show --json` prints it.
    pub fn show(&self) -> Value {
        self.json(&["show", ISSUE])
    }

    /// The commits on the origin's default branch, newest first.
    pub fn landed(&self) -> Vec<String> {
        let log = self.git_of_origin(&["log", "--format=%H", "main"]);
        log.lines().map(str::to_owned).collect()
    }

    /// A file of the origin's default branch, which must have it.
    pub fn landed_file(&self, path: &str) -> String {
        self.git_of_origin(&["show", &format!("main:{path}")])
    }

    fn git_of_origin(&self, args: &[&str]) -> String {
        let all: Vec<&str> = ["-c", "safe.directory=*"].iter().chain(args).copied().collect();
        git(&self.path("origin.git"), &all)
    }

    /// Puts a hook into the origin.
    pub fn origin_hook(&self, name: &str, body: &str) {
        let path = self.path("origin.git/hooks").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let gate = self.path("gate").to_string_lossy().into_owned();
        fs::write(&path, format!("#!/bin/sh\n{}\n", body.replace("@GATE@", &gate))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Asserts that the issue was landed as promised: one commit, one comment, one
    /// doorbell (of one id), closed, with complete evidence.
    pub fn assert_done_once(&self) {
        self.assert_done_ringing(1);
    }

    /// Asserts the same, but with this many doorbells: a question rings, too, and so does what an
    /// agent lacks.
    pub fn assert_done_ringing(&self, bells: usize) {
        let page = self.show();
        assert_eq!(page["summary"]["outcome"], "done", "{page:#}");
        assert_eq!(page["summary"]["settled"], true, "{page:#}");
        let commits = self.landed();
        assert_eq!(commits.len(), 2, "one commit on top of the first: {commits:?}");
        assert_eq!(page["summary"]["landed"], commits[0].as_str());
        let issue = self.json(&["issue", "show", ISSUE]);
        assert_eq!(issue["issue"]["open"], false, "{issue:#}");
        assert_eq!(issue["comments"].as_array().unwrap().len(), 1, "{issue:#}");
        let ids = self.bell.ids();
        assert_eq!(ids.len(), bells, "doorbells by id: {ids:?}");
        self.ok(&["evidence", ISSUE]);
        let kept = fs::read_dir(self.path("data/evidence")).unwrap().flatten();
        // Counted by its Markdown: the statement beside it is JSON, too.
        let bundles = kept.filter(|entry| entry.path().extension().is_some_and(|e| e == "md"));
        assert_eq!(bundles.count(), 1, "one run, one bundle");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_everything();
    }
}

/// The steps of an honest agent: `before`, then a test, then the fix, with a file that tells how
/// often an agent was started in this run.
pub fn honest(before: Vec<Step>) -> Vec<Step> {
    let mut steps = vec![sh("echo started >> \"$HOME/starts\"")];
    steps.extend(before);
    steps.extend([
        write("tests/nobody.sh", NEW_TEST),
        commit("Test a greeting without a name", &["tests/nobody.sh"]),
        write("hello.sh", FIXED),
        sh("cp \"$HOME/starts\" starts.txt"),
        commit("Greet the world when no name is given", &["hello.sh", "starts.txt"]),
        Step::Usage { input_tokens: 10, output_tokens: 5, cost: 0.0 },
    ]);
    steps
}

/// A step that runs shell words, and must succeed.
pub fn sh(words: &str) -> Step {
    let argv = ["sh", "-ec", words].map(str::to_owned).to_vec();
    Step::Run { argv, expect: Some(0), timeout_ms: None }
}

/// A step that waits for a file.
pub fn wait_for(file: PathBuf) -> Step {
    Step::Wait { until_file: Some(file), ms: None }
}

/// A step that writes a file.
pub fn write(path: &str, content: &str) -> Step {
    Step::Write { path: path.into(), content: content.to_owned() }
}

/// A step that commits.
pub fn commit(subject: &str, paths: &[&str]) -> Step {
    let paths = paths.iter().map(Into::into).collect();
    Step::Commit { subject: subject.to_owned(), body: "Nobody has no name.".to_owned(), paths }
}

/// Both outputs of a process.
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Runs git in one of the world's folders, without anybody's configuration.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=seed", "-c", "user.email=seed@afk.invalid"])
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "git {args:?}: {err}");
    out
}
