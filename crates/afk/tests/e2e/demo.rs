//! `afk demo`: every scenario, checked with plain git and the command line.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{afk, finish, git, processes_in, until, write_program};
use crate::world::{codes, mirror, proven_codes_of, shows, trees_exist};

/// A demo that is over.
struct Demo {
    root: tempfile::TempDir,
    report: Value,
}

impl Demo {
    /// Runs a scenario of the demo, which must end with 0, and checks what every scenario leaves.
    #[track_caller]
    fn of(scenario: &str) -> Self {
        let root = tempfile::Builder::new().prefix("afk-e2e-").tempdir().unwrap();
        let home = root.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let keep = root.path().join("kept");
        let args = ["demo", "--scenario", scenario, "--json", "--keep", keep.to_str().unwrap()];
        let said = finish(afk(&home, &args)).ended(0);
        let last = said.out.lines().last().expect("a last line");
        let report: Value = serde_json::from_str(last).expect("the last line is JSON");
        assert_eq!(said.out.lines().count(), 1, "{}", said.out);
        let demo = Self { root, report };
        assert_eq!(demo.report["scenario"], scenario);
        assert_eq!(demo.report["as_expected"], true);
        assert_eq!(demo.report["agent"], "scripted");
        for name in ["origin.git", "work", "afk.db", "afk.toml"] {
            assert!(demo.kept(name).exists(), "{name} was not kept");
        }
        assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0, "something lies under HOME");
        // What was killed last may still be on its way out.
        until("nothing runs any more", || processes_in(demo.root.path()).is_empty().then_some(()));
        assert_eq!(demo.afk(&["status"])["runs"], json!([]));
        demo
    }

    fn kept(&self, name: &str) -> PathBuf {
        self.root.path().join("kept").join(name)
    }

    #[track_caller]
    fn afk(&self, args: &[&str]) -> Value {
        let config = self.kept("afk.toml");
        let args: Vec<&str> =
            args.iter().copied().chain(["--json", "--config", config.to_str().unwrap()]).collect();
        finish(afk(&self.root.path().join("home"), &args)).ended(0).json()
    }

    #[track_caller]
    fn git(&self, args: &[&str]) -> String {
        git(&self.kept("origin.git"), args)
    }

    fn text(&self, key: &str) -> &str {
        self.report[key].as_str().unwrap_or_else(|| panic!("no {key} in {}", self.report))
    }

    /// How many lines of `hello.sh` in `commit` end with blanks, which CI refuses.
    fn blanks(&self, commit: &str) -> usize {
        let text = self.git(&["show", &format!("{commit}:hello.sh")]);
        text.lines().filter(|line| line.ends_with([' ', '\t'])).count()
    }

    /// The `AFK-Attempt` of every landed commit, newest first; all must be this run's.
    fn attempts(&self) -> Vec<String> {
        let run = self.text("run");
        let format = "--format=%(trailers:key=AFK-Run,valueonly,separator=) \
                      %(trailers:key=AFK-Attempt,valueonly,separator=)";
        let landed = self.git(&["log", "--first-parent", "--max-parents=1", format, "main"]);
        let lines = landed.lines().map(str::trim).filter(|line| !line.is_empty());
        let attempt = |line: &str| line.strip_prefix(run).unwrap_or(line).trim().to_owned();
        lines.map(attempt).collect()
    }

    #[track_caller]
    fn nothing_landed(&self) {
        assert_eq!(self.report["commit"], Value::Null);
        assert_eq!(self.git(&["rev-list", "--all", "--count"]), "1");
    }

    /// The kept bundle, at the path in the report.
    fn evidence(&self) -> Value {
        let path = Path::new(self.text("evidence"));
        assert_eq!(path.parent(), Some(self.kept("evidence").canonicalize().unwrap().as_path()));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// Checks that the issue was not dispatched: it is as it was made, and only `gate` refuses it.
    #[track_caller]
    fn waits_at(&self, gate: &str, why: &str) {
        assert_eq!(self.report["outcome"], "waiting");
        assert_eq!(self.report["run"], Value::Null);
        assert_eq!(self.report["attempts"], 0);
        assert_eq!(self.report["evidence"], Value::Null);
        assert!(self.text("why").contains(why), "{}", self.report);
        self.nothing_landed();
        let issue = self.text("issue");
        let shown = self.afk(&["issue", "show", issue]);
        assert_eq!(shown["issue"]["open"], true);
        assert_eq!(shown["issue"]["labels"], json!(["ready-for-agent"]));
        assert_eq!(shown["comments"], json!([]));
        let config = self.kept("afk.toml");
        let args = ["explain", issue, "--json", "--config", config.to_str().unwrap()];
        let said = finish(afk(&self.root.path().join("home"), &args)).ended(3).json();
        let gates = said["gates"].as_array().unwrap();
        let refusing: Vec<&Value> =
            gates.iter().filter(|said| said["verdict"] == "failed").map(|g| &g["gate"]).collect();
        assert_eq!(refusing, [gate], "{said}");
    }
}

#[test]
fn success_lands_one_commit_and_closes_the_issue_with_evidence() {
    let demo = Demo::of("success");
    assert_eq!(demo.report["outcome"], "done");
    assert_eq!(demo.report["attempts"], 1);
    let (run, commit) = (demo.text("run"), demo.text("commit"));

    assert_eq!(demo.git(&["rev-parse", "main"]), commit);
    assert_eq!(demo.git(&["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
    assert_eq!(demo.git(&["rev-list", "--count", "main"]), "2");
    let parents = demo.git(&["log", "-1", "--format=%P", "main"]);
    assert_eq!(parents, demo.git(&["rev-list", "--max-parents=0", "main"]));

    let trailers = demo.git(&["log", "-1", "--format=%(trailers:only,unfold)", "main"]);
    assert_eq!(trailers, format!("AFK-Run: {run}\nAFK-Attempt: 1"));
    let message = demo.git(&["log", "-1", "--format=%B", "main"]);
    let file = demo.root.path().join("message");
    std::fs::write(&file, &message).unwrap();
    let parsed = demo.git(&["interpret-trailers", "--parse", file.to_str().unwrap()]);
    assert_eq!(parsed, trailers);
    assert!(message.lines().any(|line| line == "Refs #1"), "{message}");
    let lower = message.to_lowercase();
    for word in ["close", "fix", "resolve"] {
        assert!(!lower.contains(&format!("{word} #")), "{message}");
        assert!(!lower.contains(&format!("{word}s #")), "{message}");
        assert!(!lower.contains(&format!("{word}d #")), "{message}");
    }

    let files = demo.git(&["ls-tree", "-r", "--name-only", "main"]);
    let expected =
        "README.md\nci.sh\nhello.sh\ntest.sh\ntests/greet_by_name.sh\ntests/greet_nobody.sh";
    assert_eq!(files, expected);
    assert_eq!(
        demo.git(&["diff", "--name-only", "main~", "main"]),
        "hello.sh\ntests/greet_nobody.sh"
    );
    assert!(demo.git(&["show", "main:hello.sh"]).contains("${1:-world}"));

    let comment =
        shows(&demo.afk(&["issue", "show", "demo/hello#1"]), false, &[], &demo.report["run"]);
    assert!(comment.starts_with("### demo/hello#1 — AFK run progress (thread "), "{comment}");
    assert_eq!(comment.matches("- [x] ").count(), 6, "{comment}");
    assert!(comment.contains(commit));

    let evidence = demo.evidence();
    assert_eq!(evidence["landed"], commit);
    assert_eq!(evidence["base"], parents.as_str());
    assert_eq!(evidence["proof"]["outcome"], json!({ "accepted": "proven" }));
    let runs = evidence["proof"]["runs"].as_array().unwrap();
    let is_first = |run: &&Value| run["role"] == "candidate" && run["kind"] == "verify";
    let first = runs.iter().find(is_first).unwrap()["millis"].as_u64().unwrap();
    // What is quick is asked often, and most machines are quick enough for that.
    let times = if first <= 1000 { 6 } else { 2 };
    assert_eq!(codes(&evidence), proven_codes_of("red", times), "the first took {first} ms");
    trees_exist(&mirror(demo.kept("origin.git").parent().unwrap()), &evidence);
    let tree = |role: &str| &runs.iter().find(|run| run["role"] == role).unwrap()["tree"];
    assert_eq!(tree("base"), &demo.git(&["rev-parse", "main~^{tree}"]));
    assert_eq!(tree("candidate"), &demo.git(&["rev-parse", "main^{tree}"]));
    assert_eq!(evidence["stages"][0]["answer"], "success");
    assert_eq!(demo.afk(&["evidence", "demo/hello#1"])["landed"], commit);
    assert!(Path::new(demo.text("evidence")).with_extension("md").is_file());

    // The bundle can be verified with nothing but the kept files.
    let nowhere = tempfile::tempdir().unwrap();
    let verify = ["evidence", "verify", demo.text("evidence"), "--json"];
    let said = finish(afk(nowhere.path(), &verify)).ended(0).json();
    let states: Vec<&Value> =
        said["checks"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["holds"; 7], "{said:#}");
    assert_eq!((&said["sound"], &said["run"]), (&json!(true), &demo.report["run"]));
    assert_eq!(std::fs::read_dir(nowhere.path()).unwrap().count(), 0, "something was made");
}

#[test]
fn what_is_red_before_landing_never_reaches_the_default_branch() {
    let demo = Demo::of("tested");
    assert_eq!(demo.report["outcome"], "done");
    assert_eq!(demo.report["attempts"], 2);
    assert_eq!(demo.git(&["rev-parse", "main"]), demo.text("commit"));
    assert_eq!(demo.git(&["rev-list", "--count", "main"]), "2");
    assert_eq!(demo.attempts(), ["2"]);
    assert_eq!(demo.blanks("main"), 0);
    let refs = demo.git(&["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs, "refs/heads/main", "no try is left");

    let page = demo.afk(&["show", "demo/hello#1"]);
    let attempts = page["run"]["attempts"].as_array().unwrap();
    let red = &attempts[0]["candidates"][0];
    assert_eq!(attempts[0]["refused"]["why"]["refusal"], "stage");
    assert_eq!(red["stages"][0]["answer"], "failure");
    assert!(red["tried"]["pushed_at"].is_string() && red["tried"]["removed_at"].is_string());
    assert_eq!(red["landed_at"], Value::Null);
    // The red commit was pushed to the remote, but never to the default branch.
    let commit = red["commit"].as_str().unwrap();
    assert_eq!(demo.git(&["cat-file", "-t", commit]), "commit");
    let stages = demo.evidence()["stages"].clone();
    assert_eq!((&stages[0]["commit"], &stages[0]["answer"]), (&red["commit"], &json!("failure")));
    assert_eq!(stages[1]["commit"], demo.text("commit"));
    assert_eq!(stages[1]["answer"], "success");
    let shown = demo.afk(&["issue", "show", "demo/hello#1"]);
    let comment = shows(&shown, false, &[], &demo.report["run"]);
    assert!(!comment.contains("Fix-forward"), "{comment}");
}

#[test]
fn a_red_stage_is_fixed_forward() {
    let demo = Demo::of("ci-red");
    assert_eq!(demo.report["outcome"], "done");
    assert_eq!(demo.report["attempts"], 2);
    assert_eq!(demo.git(&["rev-parse", "main"]), demo.text("commit"));
    assert_eq!(demo.git(&["rev-list", "--count", "main"]), "3");
    assert_eq!(demo.attempts(), ["2", "1"]);
    assert_eq!((demo.blanks("main~1"), demo.blanks("main")), (1, 0));

    let shown = demo.afk(&["issue", "show", "demo/hello#1"]);
    let comment = shows(&shown, false, &[], &demo.report["run"]);
    assert!(comment.contains("_Fix-forward: 1 attempt._"), "{comment}");
    let evidence = demo.evidence();
    let red = demo.git(&["rev-parse", "main~1"]);
    let reds = evidence["reds"].as_array().unwrap();
    assert_eq!(reds.len(), 1, "{reds:?}");
    assert_eq!(reds[0]["commit"], red.as_str());
    // The proof could not see it: the commit that landed red had passed verify.
    let page = demo.afk(&["show", "demo/hello#1"]);
    let candidate = &page["run"]["attempts"][0]["candidates"][0];
    assert_eq!(candidate["commit"], red.as_str());
    assert_eq!(candidate["proof"]["outcome"], json!({ "accepted": "proven" }));
    assert_eq!(candidate["stages"][0]["answer"], "failure");
    let tail = candidate["stages"][0]["tail"].as_str().unwrap();
    assert!(tail.contains("blanks at the end of a line"), "{tail}");
}

#[test]
fn what_no_fix_mends_freezes_the_repository_until_it_is_lifted() {
    let demo = Demo::of("frozen");
    assert_eq!(demo.report["outcome"], "frozen");
    assert_eq!(demo.report["attempts"], 3);
    let broken = demo.git(&["rev-parse", "main"]);
    assert_eq!(broken, demo.text("commit"), "the broken commit stays in place");
    assert_eq!(demo.attempts(), ["3", "2", "1"]);
    assert_eq!(demo.blanks("main"), 1);
    let shown = demo.afk(&["issue", "show", "demo/hello#1"]);
    let comment = shows(&shown, true, &["ready-for-human"], &demo.report["run"]);
    assert!(comment.contains("_Fix-forward: 2 attempts._"), "{comment}");

    let frozen = demo.afk(&["status"])["switches"]["frozen"].clone();
    assert_eq!(frozen.as_array().map(Vec::len), Some(1), "{frozen}");
    assert!(frozen.to_string().contains("demo/hello"), "{frozen}");
    assert_eq!(demo.report["held"]["issue"], "demo/hello#2");
    assert_eq!(demo.report["held"]["gates"], json!(["freeze"]));
    demo.afk(&["tick", "--poll", "--watch"]);
    let next = demo.afk(&["issue", "show", "demo/hello#2"]);
    assert_eq!(next["issue"]["labels"], json!(["ready-for-agent"]));
    assert_eq!(next["comments"], json!([]), "nobody has touched it");
    assert_eq!(demo.git(&["rev-parse", "main"]), broken);

    // The broken run's files are kept, and `show` names them.
    let kept = demo.afk(&["show", "demo/hello#1"])["kept"].clone();
    let folder = |name: &str| PathBuf::from(kept[name].as_str().unwrap());
    assert!(folder("workspace").join("hello.sh").is_file(), "{kept}");
    for job in ["turn.1", "turn.2", "turn.3", "reset.2.commit"] {
        assert!(folder("jobs").join(job).join("stdout").is_file(), "{job} of {kept}");
    }
    assert!(folder("mirror").join("HEAD").is_file(), "{kept}");

    let heard = demo.afk(&["ack", "demo/hello"]);
    assert!(heard["did"].as_str().unwrap().contains("no longer rings"), "{heard}");
    let paging = &heard["switches"]["frozen"][0][1]["paging"];
    assert_eq!(paging["run"], demo.report["run"], "{heard}");
    assert!(paging["acknowledged"]["by"].is_string(), "{heard}");

    demo.afk(&["unfreeze", "demo/hello"]);
    demo.afk(&["tick", "--poll", "--watch"]);
    let page = demo.afk(&["show", "demo/hello#2"]);
    assert_eq!(page["summary"]["outcome"], "done", "{page}");
    shows(&demo.afk(&["issue", "show", "demo/hello#2"]), false, &[], &page["summary"]["run"]);
    assert_eq!(demo.git(&["rev-parse", "main~1"]), broken);
    assert_eq!(demo.blanks("main"), 0);
}

#[test]
fn a_killed_control_plane_is_followed_by_one_that_finds_the_same_agent() {
    let demo = Demo::of("restart");
    assert_eq!(demo.report["outcome"], "done");
    assert_eq!(demo.report["attempts"], 1);
    let restart = &demo.report["restart"];
    assert_eq!(restart["agent_went_on"], true);
    assert_ne!(restart["killed"], restart["went_on"]);

    let page = demo.afk(&["show", "demo/hello#1"]);
    let attempts = page["run"]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["turns"].as_array().map(Vec::len), Some(1), "one agent ever");
    assert_eq!(demo.git(&["rev-list", "--count", "main"]), "2");
    assert_eq!(demo.attempts(), ["1"]);
    shows(&demo.afk(&["issue", "show", "demo/hello#1"]), false, &[], &demo.report["run"]);
}

#[test]
fn an_agent_that_cannot_decide_leaves_the_issue_to_a_person() {
    let demo = Demo::of("needs-human");
    assert_eq!(demo.report["outcome"], "needs-human");
    assert_eq!(demo.report["attempts"], 1);
    demo.nothing_landed();
    let shown = demo.afk(&["issue", "show", "demo/hello#1"]);
    let comment = shows(&shown, true, &["ready-for-human"], &demo.report["run"]);
    assert!(comment.contains("which greeting is wanted"), "{comment}");
    assert_eq!(demo.evidence()["landed"], Value::Null);
}

#[test]
fn an_edited_ci_script_breaches_a_guardrail() {
    let demo = Demo::of("guardrail");
    assert_eq!(demo.report["outcome"], "needs-human");
    demo.nothing_landed();
    let shown = demo.afk(&["issue", "show", "demo/hello#1"]);
    let comment = shows(&shown, true, &["ready-for-human"], &demo.report["run"]);
    assert!(comment.contains("ci.sh is protected"), "{comment}");
    let breaches = demo.evidence()["guardrails"]["breaches"].as_array().unwrap().len();
    assert_eq!(breaches, 1);
}

#[test]
fn an_open_blocker_holds_an_issue() {
    Demo::of("blocked").waits_at("blockers", "demo/hello#1 is open");
}

#[test]
fn a_stranger_releases_nothing() {
    Demo::of("untrusted").waits_at("trust", "mallory");
}

#[test]
fn a_folder_that_is_there_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let keep = root.path().to_str().unwrap();
    let said = finish(afk(root.path(), &["demo", "--keep", keep])).ended(2);
    said.complains(&[keep, "exists already"]);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn an_interrupt_before_the_demo_begins_leaves_no_folder() {
    let check = |then: &str| {
        let root = tempfile::Builder::new().prefix("afk-e2e-").tempdir().unwrap();
        let (bin, keep) = (root.path().join("bin"), root.path().join("above/kept"));
        let path = std::env::var("PATH").unwrap();
        // A git that interrupts the demo when it commits the sample.
        let program = format!(
            "PATH='{path}'\nexport PATH\n\
             case \"$*\" in *' commit '*) kill -INT $PPID; sleep 1; {then} ;; esac\n\
             exec git \"$@\""
        );
        write_program(&bin.join("git"), &program);
        let mut demo = afk(root.path(), &["demo", "--keep", keep.to_str().unwrap()]);
        demo.env("PATH", format!("{}:{path}", bin.display()));
        let said = finish(demo).ended(130);
        said.complains(&["the demo was stopped before it began"]);
        assert!(!keep.exists(), "the folder is left: {}", said.err);
    };
    // Ctrl-C also reaches git, but a signal to the demo alone does not.
    check("exit 1");
    check(":");
}
