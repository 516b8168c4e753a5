//! Finds what is wrong after a fleet was worked, from outside: in git, in the tracker, at the
//! receiver of doorbells, in the store's file and in the process table.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use crate::common::{BOUND, git, until};
use crate::sampler::Seen;
use crate::world::Fleet;

/// The store's file, read beside the daemon that works it.
pub(crate) struct Raw {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
}

impl Raw {
    pub(crate) fn open(fleet: &Fleet) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = format!("sqlite://{}?mode=ro", fleet.path("data/afk.db").display());
        let connection = runtime.block_on(SqliteConnection::connect(&url)).unwrap();
        Self { runtime, connection }
    }

    /// The rows of a query with one text column.
    pub(crate) fn texts(&mut self, sql: &'static str) -> Vec<String> {
        let rows = sqlx::query_scalar(sql).fetch_all(&mut self.connection);
        self.runtime.block_on(rows).unwrap()
    }
}

/// Selects the doorbells that have not been delivered yet.
pub(crate) const UNDELIVERED: &str =
    "SELECT 'the doorbell ' || id || ' is not delivered' FROM outbox WHERE delivered_at IS NULL";

/// Everything that is wrong, a sentence each.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Found {
    /// Issues that are as they should be.
    pub(crate) done: usize,
    /// Commits and lines that landed more than once, or belong to no issue.
    pub(crate) commits: Vec<String>,
    /// Issues with more than one comment.
    pub(crate) comments: Vec<String>,
    /// Issues with more than one doorbell id, or that should have none.
    pub(crate) bells: Vec<String>,
    /// Repositories in which two agents were at work at once.
    pub(crate) agents: Vec<String>,
    /// What should be there and is not.
    pub(crate) lost: Vec<String>,
    /// Runs, leases, locks, labels and deliveries that were never released.
    pub(crate) stuck: Vec<String>,
    /// Processes and refs that were left behind.
    pub(crate) left: Vec<String>,
}

impl Found {
    /// Judges `issues` (such as `a#1`), which should all be done, once the daemon is gone.
    pub(crate) fn of(fleet: &Fleet, issues: &[String], seen: &Seen) -> Self {
        let mut found = Self { agents: seen.twice.iter().cloned().collect(), ..Self::default() };
        let mut numbers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for issue in issues {
            let (repo, number) = issue.split_once('#').unwrap();
            numbers.entry(repo).or_default().push(number);
        }
        for (repo, numbers) in &numbers {
            found.history(&fleet.path(&format!("{repo}.git")), repo, numbers);
        }
        for issue in issues {
            found.issue(fleet, issue);
        }
        found.doorbells(fleet, issues);
        found.store(fleet);
        found.locks(&fleet.path(""), false);
        found.left.extend(processes(fleet));
        found
    }

    /// Expects one commit for each issue, by its subject and its run, and no other; its line once.
    fn history(&mut self, origin: &Path, repo: &str, numbers: &[&str]) {
        let format = "--format=%s|%(trailers:key=AFK-Run,valueonly,separator=%x20)";
        let log = git(origin, &["log", format, "main"]);
        let (mut subjects, mut runs) = (BTreeMap::new(), BTreeMap::new());
        for line in log.lines() {
            let (subject, run) = line.split_once('|').unwrap();
            *subjects.entry(subject).or_insert(0) += 1;
            if !run.is_empty() {
                *runs.entry(run).or_insert(0) += 1;
            }
        }
        let twice = subjects.iter().chain(&runs).filter(|(_, times)| **times > 1);
        self.commits.extend(twice.map(|(what, times)| format!("{repo}: {what} {times} times")));
        let library = git(origin, &["show", "main:lib.sh"]);
        for number in numbers {
            let line = format!("say_{number}() {{ echo {number}; }}");
            match library.lines().filter(|other| **other == line).count() {
                0 => self.lost.push(format!("{repo}#{number} is not in the code")),
                1 => {}
                times => self.commits.push(format!("{repo}#{number} is {times} times in the code")),
            }
            if subjects.remove(format!("Add say_{number}").as_str()).is_none() {
                self.lost.push(format!("{repo}#{number} has no commit"));
            }
        }
        subjects.remove("Say nought");
        let other = subjects.keys().map(|subject| format!("{repo}: {subject:?} is of no issue"));
        self.commits.extend(other);
        let refs = git(origin, &["for-each-ref", "--format=%(refname)"]);
        let ours = refs.lines().filter(|name| *name != "refs/heads/main");
        self.left.extend(ours.map(|name| format!("{repo}: {name}")));
    }

    fn issue(&mut self, fleet: &Fleet, issue: &str) {
        let told = fleet.json(&["issue", "show", &format!("o/{issue}")]);
        match told["comments"].as_array().map_or(0, Vec::len) {
            0 => self.lost.push(format!("{issue} has no comment")),
            1 => {}
            times => self.comments.push(format!("{issue} has {times} comments")),
        }
        let labels = told["issue"]["labels"].to_string();
        if labels != "[]" {
            self.stuck.push(format!("{issue} has labels: {labels}"));
        }
        match (fleet.outcome(issue).as_str(), told["issue"]["open"].as_bool()) {
            ("done", Some(false)) => {
                self.done += 1;
                self.records(fleet, issue);
            }
            (outcome, open) => {
                println!("{}", fleet.told(&["show", &format!("o/{issue}")]));
                let kind = if outcome == "live" { &mut self.stuck } else { &mut self.lost };
                kind.push(format!("{issue} is {outcome}, open: {open:?}"));
            }
        }
    }

    /// Expects that the journal replays, and that the kept bundle verifies.
    fn records(&mut self, fleet: &Fleet, issue: &str) {
        let run = fleet.run(issue)["run"]["id"].as_str().unwrap_or("?").to_owned();
        let bundle = fleet.path(&format!("data/evidence/{run}.json"));
        let bundle = bundle.to_string_lossy();
        for args in [&["replay", run.as_str()][..], &["evidence", "verify", &bundle]] {
            self.lost.extend(fleet.fails(args).map(|why| format!("{issue}: {args:?}: {why}")));
        }
    }

    /// Expects one doorbell id for each issue; one id may be delivered more than once.
    fn doorbells(&mut self, fleet: &Fleet, issues: &[String]) {
        let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let rung = fleet.bell.rung().into_iter().map(|bell| (bell.id, bell.body));
        for (id, body) in rung.collect::<BTreeMap<_, _>>() {
            let body: Value = serde_json::from_str(&body).unwrap_or_default();
            ids.entry(body["issue_ref"].as_str().unwrap_or("?").to_owned()).or_default().push(id);
        }
        for issue in issues {
            match ids.remove(&format!("o/{issue}")).unwrap_or_default().as_slice() {
                [] => self.lost.push(format!("no doorbell for {issue}")),
                [_] => {}
                more => self.bells.push(format!("{issue} rang as {more:?}")),
            }
        }
        self.bells.extend(ids.into_iter().map(|(issue, ids)| format!("{issue} rang as {ids:?}")));
    }

    fn store(&mut self, fleet: &Fleet) {
        let mut raw = Raw::open(fleet);
        for sql in [
            // The lease `house` is left to expire: it tells when housekeeping was done last.
            "SELECT 'the lease ' || key || ' of ' || owner FROM leases \
             WHERE until > unixepoch() * 1000000 AND key <> 'house'",
            "SELECT 'the run ' || id || ' holds ' || repo FROM runs WHERE live = 1",
            UNDELIVERED,
        ] {
            self.stuck.extend(raw.texts(sql));
        }
    }

    /// Finds locks: git's, inside repositories, by their existence; ours, beside them, if they are
    /// held.
    fn locks(&mut self, folder: &Path, in_git: bool) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let ends = |end: &str| entry.file_name().as_encoded_bytes().ends_with(end.as_bytes());
            if kind.is_dir() {
                self.locks(&path, in_git || ends(".git"));
            } else if ends(".lock")
                && (in_git || File::open(&path).is_ok_and(|file| file.try_lock().is_err()))
            {
                self.stuck.push(format!("the lock {}", path.display()));
            }
        }
    }
}

/// The processes that still run after having had time to end.
fn processes(fleet: &Fleet) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let left = fleet.processes();
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The judge must be able to find each of these faults.
#[test]
fn what_is_done_twice_lost_or_stuck_is_found() {
    let fleet = Fleet::new(&["a"], 1);
    for labels in [&["ready-for-agent"][..], &[]] {
        fleet.issue("a", labels, "Say one more.");
    }
    for body in ["One.", "Two."] {
        fleet.ok(&["issue", "comment", "o/a#1", body]);
    }
    let work = fleet.path("seed-a");
    let message = "Add say_1\n\nAFK-Run: one";
    for _ in 0..2 {
        let line = "say_1() { echo 1; }\n";
        let library = fs::read_to_string(work.join("lib.sh")).unwrap() + line;
        fs::write(work.join("lib.sh"), library).unwrap();
        git(&work, &["commit", "-q", "--all", "-m", message]);
    }
    let origin = fleet.path("a.git");
    git(&work, &["push", "-q", &origin.to_string_lossy(), "main", "main:refs/heads/afk/1"]);
    fs::write(origin.join("packed-refs.lock"), "").unwrap();
    let held = File::create(fleet.path("mirror.lock")).unwrap();
    held.lock().unwrap();
    let mut agents = [(); 2].map(|()| {
        let script = fleet.path("script.json");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "while sleep 1; do :; done", "scripted", "scripted-agent"]);
        command.arg(script).current_dir(&work).spawn().unwrap()
    });
    let mut seen = Seen::default();
    until("two agents", BOUND, || {
        seen.look(&fleet.path("").to_string_lossy());
        (!seen.twice.is_empty()).then_some(())
    });
    for agent in &mut agents {
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    let found = Found::of(&fleet, &["a#1".to_owned(), "a#2".to_owned()], &seen);
    assert_eq!(found.done, 0);
    assert_eq!(
        found.commits,
        ["a: Add say_1 2 times", "a: one 2 times", "a#1 is 2 times in the code"]
    );
    assert_eq!(found.comments, ["a#1 has 2 comments"]);
    assert_eq!(found.agents.len(), 1);
    assert_eq!(
        found.lost,
        [
            "a#2 is not in the code",
            "a#2 has no commit",
            "a#1 is -, open: Some(true)",
            "a#2 has no comment",
            "a#2 is -, open: Some(true)",
            "no doorbell for a#1",
            "no doorbell for a#2",
        ]
    );
    let mut stuck = found.stuck;
    stuck.sort();
    let lock = |name: &str| format!("the lock {}", fleet.path(name).display());
    let label = "a#1 has labels: [\"ready-for-agent\"]".to_owned();
    assert_eq!(stuck, [label, lock("a.git/packed-refs.lock"), lock("mirror.lock")]);
    assert_eq!(found.left[0], "a: refs/heads/afk/1");
}
