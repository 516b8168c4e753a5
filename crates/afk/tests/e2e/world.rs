//! A repository, a configuration and a script, and `afk` at work on them.
//!
//! The repository needs only `sh` and git. `lib.sh` has the code; `test.sh` runs
//! every file of `tests/` and every function of `lib.sh` whose name begins with
//! `test_`, so that tests can be in files of their own or among the code.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Said, afk, finish, git, processes_in, until, write};

/// The repository's name.
pub(crate) const REPO: &str = "o/calc";

pub(crate) const LIB: &str = "\
double() { echo $(($1 + $1)); }
test_double() { [ \"$(double 2)\" = 4 ]; }
";

pub(crate) const TEST_ZERO: &str = ". ./lib.sh\n[ \"$(double 0)\" = 0 ]\n";
pub(crate) const TEST_TRIPLE: &str = ". ./lib.sh\n[ \"$(triple 2)\" = 6 ]\n";
pub(crate) const TRIPLE: &str = "triple() { echo $(($1 + $1 + $1)); }\n";
pub(crate) const INLINE_TRIPLE: &str = "test_triple() { [ \"$(triple 2)\" = 6 ]; }\n";

const RUNNER: &str = r#"#!/bin/sh
failed=0
for t in tests/*.sh $(sed -n 's/^\(test_[a-z_]*\)().*/\1/p' lib.sh); do
    case $t in
    tests/*) sh -e "$t" ;;
    *) sh -ec ". ./lib.sh; $t" ;;
    esac && echo "ok   $t" || { echo "FAIL $t"; failed=1; }
done
exit $failed
"#;

const CI: &str = "#!/bin/sh\nset -e\nsh -n lib.sh\nsh test.sh\n";

/// A test's own machine. Processes that are left when it is dropped are killed.
pub(crate) struct World {
    root: tempfile::TempDir,
    config: toml::Table,
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The run at a glance, as `afk run --json` prints it.
    pub(crate) view: Value,
    /// The evidence bundle that was kept.
    pub(crate) evidence: Value,
    pub(crate) issue: String,
}

impl World {
    /// The usual repository, configured, with a script that does nothing.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// The usual repository with files of its own.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let root = tempfile::Builder::new().prefix("afk-e2e-").tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let (origin, seed) = (at("origin.git"), at("seed"));
        for folder in ["home", "data", "seed"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        git(root.path(), &["init", "-q", "--bare", "--initial-branch=main", "origin.git"]);
        git(&seed, &["init", "-q", "--initial-branch=main"]);
        let usual =
            [("lib.sh", LIB), ("test.sh", RUNNER), ("ci.sh", CI), ("tests/zero.sh", TEST_ZERO)];
        for (name, text) in usual.iter().chain(files) {
            write(&seed.join(name), text);
        }
        git(&seed, &["add", "--all"]);
        git(&seed, &["commit", "-q", "-m", "Double numbers"]);
        git(&seed, &["push", "-q", origin.to_str().unwrap(), "main"]);
        let config = toml::toml! {
            kill_switch = false
            allowlist = ["o/calc"]
            poll_seconds = 1
            budget_usd = 5
            executor_retries_max = 0
        };
        let mut world = Self { root, config };
        world.set("data_dir", world.path("data").to_str().unwrap());
        world.set("agents.scripted.script", world.path("script.json").to_str().unwrap());
        world.set("repos.o/calc.remote", origin.to_str().unwrap());
        world.set("repos.o/calc.agent", "scripted");
        world.set("repos.o/calc.verify", strings(&["sh", "test.sh"]));
        // These tests take milliseconds; six repeats of each would only take longer.
        world.set("repos.o/calc.proof.repeats", 2);
        let ci = toml::toml! { name = "ci" command = ["sh", "ci.sh"] };
        world.set("repos.o/calc.stages", toml::Value::Array(vec![ci.into()]));
        world.script(&[&[]]);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn origin(&self) -> PathBuf {
        self.path("origin.git")
    }

    /// Sets a key by its dotted path and writes the configuration.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        let words: Vec<&str> = key.split('.').collect();
        let (last, tables) = words.split_last().unwrap();
        let mut table = &mut self.config;
        for word in tables {
            let inner = table.entry(*word).or_insert_with(|| toml::Table::new().into());
            table = inner.as_table_mut().unwrap();
        }
        table.insert((*last).to_owned(), value.into());
        write(&self.path("afk.toml"), &toml::to_string(&self.config).unwrap());
    }

    /// Sets a key of the repository.
    pub(crate) fn set_repo(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.set(&format!("repos.{REPO}.{key}"), value);
    }

    /// What the scripted agent does, turn by turn.
    pub(crate) fn script(&self, turns: &[&[Value]]) {
        let turns: Vec<Value> = turns.iter().map(|steps| json!({ "steps": steps })).collect();
        write(&self.path("script.json"), &json!({ "turns": turns }).to_string());
    }

    /// `afk` with this world's configuration.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = afk(&self.path("home"), args);
        command.arg("--config").arg(self.path("afk.toml"));
        command
    }

    #[track_caller]
    pub(crate) fn afk(&self, args: &[&str]) -> Said {
        finish(self.command(args))
    }

    /// The JSON document of a command that ends with 0.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.json_of(0, args)
    }

    /// The JSON document of a command that ends with `code`.
    #[track_caller]
    pub(crate) fn json_of(&self, code: i32, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        self.afk(&args).ended(code).json()
    }

    /// Files and releases an issue; returns its name.
    #[track_caller]
    pub(crate) fn issue(&self, title: &str) -> String {
        let made = self.json(&["issue", "new", REPO, title, "--body", "As said.", "--ready"]);
        made["issue"].as_str().unwrap().to_owned()
    }

    /// Files an issue and works it to the end of its run; the exit code must be `code`.
    #[track_caller]
    pub(crate) fn run(&self, code: i32) -> Ended {
        let issue = self.issue("Triple numbers");
        let said = self.afk(&["run", &issue, "--json"]).ended(code);
        self.ended(&said, issue)
    }

    /// Does the same with an issue that has `label`.
    #[track_caller]
    pub(crate) fn run_labelled(&self, label: &str, code: i32) -> Ended {
        let issue = self.issue("Triple numbers");
        self.afk(&["issue", "label", &issue, label]).ended(0);
        let said = self.afk(&["run", &issue, "--json"]).ended(code);
        self.ended(&said, issue)
    }

    /// Files an issue that is done in the second attempt, so that its run has more than one.
    #[track_caller]
    pub(crate) fn run_refused_once(&self) -> Ended {
        let untested = [append("lib.sh", "# nothing\n"), commit("Say nothing", &["lib.sh"])];
        let mut tested = vec![write_step("note.md", "A note.\n"), commit("Note", &["note.md"])];
        tested.extend(honest());
        self.script(&[&untested, &tested]);
        self.run(0)
    }

    /// The ended run on `issue`, from the output of `afk run --json`.
    #[track_caller]
    pub(crate) fn ended(&self, said: &Said, issue: String) -> Ended {
        self.with_evidence(said.json(), issue)
    }

    #[track_caller]
    fn with_evidence(&self, view: Value, issue: String) -> Ended {
        let run = view["run"].as_str().unwrap_or_else(|| panic!("no run: {view}"));
        let bundle = self.path("data/evidence").join(run).with_extension("json");
        let evidence = serde_json::from_str(&std::fs::read_to_string(bundle).unwrap()).unwrap();
        Ended { view, evidence, issue }
    }

    /// The default branch's commit.
    #[track_caller]
    pub(crate) fn head(&self) -> String {
        git(&self.origin(), &["rev-parse", "main"])
    }

    /// A file as the default branch has it.
    #[track_caller]
    pub(crate) fn landed_file(&self, path: &str) -> String {
        git(&self.origin(), &["show", &format!("main:{path}")])
    }

    /// Pushes a file to the default branch, as a person would.
    #[track_caller]
    pub(crate) fn land_by_hand(&self, name: &str, text: &str) {
        let seed = self.path("seed");
        write(&seed.join(name), text);
        git(&seed, &["add", "--all"]);
        git(&seed, &["commit", "-q", "-m", "By hand"]);
        git(&seed, &["push", "-q", self.origin().to_str().unwrap(), "main"]);
    }

    /// Does the same on top of what has landed since.
    #[track_caller]
    pub(crate) fn land_anew(&self, name: &str, text: &str) {
        let (seed, origin) = (self.path("seed"), self.origin());
        git(&seed, &["pull", "-q", "--ff-only", origin.to_str().unwrap(), "main"]);
        self.land_by_hand(name, text);
    }

    /// Checks that nothing landed: the origin has its first commit and no other.
    #[track_caller]
    pub(crate) fn nothing_landed(&self) {
        assert_eq!(git(&self.origin(), &["rev-list", "--all", "--count"]), "1");
    }

    /// Checks that the issue was handed to a person, by its labels, state and one comment, which
    /// has the words `why`.
    #[track_caller]
    pub(crate) fn handed_over(&self, ended: &Ended, why: &[&str]) {
        assert_eq!(ended.view["outcome"], "needs-human");
        let said = ended.view["why"].as_str().unwrap();
        let comment = self.shows(&ended.issue, true, &["ready-for-human"], &ended.view["run"]);
        for word in why {
            assert!(said.contains(word), "{word:?} is not in {said:?}");
            assert!(comment.contains(word), "{word:?} is not in {comment:?}");
        }
    }

    /// Checks that the issue landed and was closed.
    #[track_caller]
    pub(crate) fn landed(&self, ended: &Ended) {
        assert_eq!(ended.view["outcome"], "done", "{:?}", ended.view["why"]);
        assert_eq!(ended.view["landed"], self.head());
        self.shows(&ended.issue, false, &[], &ended.view["run"]);
    }

    /// Checks the issue in the tracker; returns its only comment, the run's.
    #[track_caller]
    pub(crate) fn shows(&self, issue: &str, open: bool, labels: &[&str], run: &Value) -> String {
        shows(&self.json(&["issue", "show", issue]), open, labels, run)
    }

    /// Checks that nothing is live, locked or running, and that the next issue lands.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        self.at_rest();
        let next = self.run_next();
        self.landed(&next);
        self.at_rest();
    }

    /// Files another issue, of other work than the usual one, which must be done.
    #[track_caller]
    pub(crate) fn run_next(&self) -> Ended {
        self.script(&[&[
            write_step("tests/halve.sh", ". ./lib.sh\n[ \"$(halve 6)\" = 3 ]\n"),
            commit("Test halve", &["tests/halve.sh"]),
            append("lib.sh", "halve() { echo $(($1 / 2)); }\n"),
            commit("Halve numbers", &["lib.sh"]),
        ]]);
        self.run(0)
    }

    /// Checks that no run is live, no repository frozen, and no process left.
    #[track_caller]
    pub(crate) fn at_rest(&self) {
        let status = self.json(&["status"]);
        assert_eq!(status["runs"], json!([]));
        assert_eq!(status["switches"]["frozen"], json!([]));
        let home = std::fs::read_dir(self.path("home")).unwrap();
        assert_eq!(home.count(), 0, "something lies under HOME");
        // A host exits a moment after it recorded the end of its job.
        until("every process to end", || processes_in(self.root.path()).is_empty().then_some(()));
    }

    /// The bare mirror that the control plane keeps.
    pub(crate) fn mirror(&self) -> PathBuf {
        mirror(&self.path("data"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (pid, _) in processes_in(self.root.path()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

impl Ended {
    /// The outcome of the proof.
    pub(crate) fn proof(&self) -> &Value {
        &self.evidence["proof"]["outcome"]
    }

    /// Each run of the proof: its tree, its kind, and its exit code, if it could be run to its end.
    pub(crate) fn codes(&self) -> Vec<(String, String, Option<i64>)> {
        codes(&self.evidence)
    }
}

/// Each proof run in a bundle, as [`Ended::codes`] returns it.
pub(crate) fn codes(evidence: &Value) -> Vec<(String, String, Option<i64>)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let runs = evidence["proof"]["runs"].as_array().unwrap();
    let code = |result: &Value| match result["ended"].as_str().unwrap() {
        "passed" => Some(0),
        "failed" => Some(result["code"].as_i64().unwrap()),
        _ => None,
    };
    runs.iter().map(|run| (word(&run["role"]), word(&run["kind"]), code(&run["result"]))).collect()
}

/// The runs of a proof that holds, in [`World`]; `red` is the tree that must fail.
pub(crate) fn proven_codes(red: &str) -> Vec<(String, String, Option<i64>)> {
    proven_codes_of(red, 2)
}

/// The runs of a proof that holds, if each tree is judged so many times.
pub(crate) fn proven_codes_of(red: &str, times: u32) -> Vec<(String, String, Option<i64>)> {
    let row = |role: &str, nth: u32, code| {
        let kind = match nth {
            1 => "verify".to_owned(),
            2 => "verify_again".to_owned(),
            nth => format!("verify_{nth}"),
        };
        (role.to_owned(), kind, Some(code))
    };
    let mut rows = vec![row("base", 1, 0)];
    rows.extend((1..=times).map(|nth| row(red, nth, 1)));
    rows.extend((1..=times).map(|nth| row("candidate", nth, 0)));
    if red == "red" {
        rows.push(row("kept", 1, 0));
    }
    rows.push(row("silenced", 1, 1));
    rows
}

/// Checks that the mirror has the tree of every proof run in a bundle.
#[track_caller]
pub(crate) fn trees_exist(mirror: &Path, evidence: &Value) {
    for run in evidence["proof"]["runs"].as_array().unwrap() {
        let tree = run["tree"].as_str().unwrap();
        assert_eq!(git(mirror, &["cat-file", "-t", tree]), "tree", "{run}");
    }
}

/// The one mirror below a data folder.
pub(crate) fn mirror(data: &Path) -> PathBuf {
    let entries = std::fs::read_dir(data.join("work/mirrors")).unwrap();
    let mut found = entries.flatten().map(|e| e.path());
    found.find(|path| path.is_dir()).expect("a mirror")
}

/// Checks an issue's document, which must have one comment, by the run; returns the comment's text.
#[track_caller]
pub(crate) fn shows(shown: &Value, open: bool, labels: &[&str], run: &Value) -> String {
    assert_eq!(shown["issue"]["open"], open, "{shown}");
    assert_eq!(shown["issue"]["labels"], json!(labels), "{shown}");
    let comments = shown["comments"].as_array().unwrap();
    let [comment] = comments.as_slice() else { panic!("not one comment: {comments:?}") };
    let body = comment["body"].as_str().unwrap();
    assert!(body.contains(&format!("afk-run:{}", run.as_str().unwrap())), "{body}");
    body.to_owned()
}

/// The steps of an honest agent: a test that fails, in a commit of its own, then the code.
pub(crate) fn honest() -> Vec<Value> {
    vec![
        write_step("tests/triple.sh", TEST_TRIPLE),
        commit("Test triple", &["tests/triple.sh"]),
        append("lib.sh", TRIPLE),
        commit("Triple numbers", &["lib.sh"]),
    ]
}

pub(crate) fn say(text: &str) -> Value {
    json!({ "say": { "text": text } })
}

pub(crate) fn write_step(path: &str, content: &str) -> Value {
    json!({ "write": { "path": path, "content": content } })
}

pub(crate) fn append(path: &str, content: &str) -> Value {
    json!({ "append": { "path": path, "content": content } })
}

pub(crate) fn delete(path: &str) -> Value {
    json!({ "delete": { "path": path } })
}

pub(crate) fn commit(subject: &str, paths: &[&str]) -> Value {
    json!({ "commit": { "subject": subject, "body": "As the issue asks.", "paths": paths } })
}

/// A step that runs a program, which must end with 0.
pub(crate) fn run(argv: &[&str]) -> Value {
    json!({ "run": { "argv": argv, "expect": 0 } })
}

/// A step that fails the turn unless the prompt contains a text.
pub(crate) fn expect_prompt(text: &str) -> Value {
    json!({ "expect_prompt": { "contains": text } })
}

/// A TOML array of strings.
pub(crate) fn strings(words: &[&str]) -> toml::Value {
    toml::Value::Array(words.iter().map(|word| (*word).into()).collect())
}
