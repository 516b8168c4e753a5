//! The adapters of this machine over real hosts, boxes and folders: what is told of a job's
//! output, and that one job or repo which is odd is in nobody's way.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use afk_agent::host::{self, Hosts, JobSpec};
use afk_agent::sandbox::{Access, BoxSpec, Capabilities};
use afk_core::config::Policy;
use afk_core::ids::{JobKey, JobOf, RunId};
use afk_engine::ports::{Git as _, JobEnd, JobState, Jobs as _, Settings};
use afk_local::git::{self, Limits, Workspaces};
use afk_local::{
    KnownSecrets, Local, LocalGit, LocalJobs, LocalSecrets, NoLogins, Sandbox, Transcripts,
};

/// Reached only by a failing test.
const BOUND: Duration = Duration::from_mins(1);

struct Fixed(Arc<Policy>);

impl Settings for Fixed {
    fn current(&self) -> (Arc<Policy>, Option<String>) {
        (self.0.clone(), None)
    }
}

/// One run's jobs.
struct Bench {
    local: Local,
    jobs: LocalJobs,
    run: RunId,
    work: PathBuf,
    _root: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        Self::with("").await
    }

    async fn with(config: &str) -> Self {
        let policy = Arc::new(toml::from_str(config).unwrap());
        let own = tokio::sync::watch::channel(Arc::new(toml::from_str(config).unwrap())).1;
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let work = at("work");
        fs::create_dir(&work).unwrap();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_afk"));
        let git = git::Git::open(Path::new("git"), &at("bin"), Vec::new(), Limits::default()).await;
        let known = KnownSecrets::default();
        let local = Local {
            workspaces: Arc::new(Workspaces::open(&at("root")).unwrap()),
            git: git.unwrap(),
            hosts: Hosts::new(&program),
            sandbox: Sandbox::new(Capabilities::detect(&program), || unreachable!("it is young")),
            program,
            settings: Arc::new(Fixed(policy)),
            own,
            secrets: Arc::new(LocalSecrets::new(known.clone())),
            known,
            transcripts: Transcripts::new(at("transcripts")),
            logins: Arc::new(NoLogins),
        };
        let run: RunId = "0198c0de-0000-7000-8000-0000000000aa".parse().unwrap();
        local.make_jobs(run).unwrap();
        Self { jobs: LocalJobs::new(local.clone()), local, run, work, _root: root }
    }

    /// Starts a shell script as the job of this name.
    async fn start(&self, name: &str, script: &str) -> JobKey {
        let key = JobKey::new(self.run, JobOf::Stage, name);
        let argv = ["/bin/sh", "-c", script];
        let boxed = BoxSpec::new(argv, &self.work).bind(&self.work, Access::ReadWrite);
        let dir = self.local.job(self.run, &key);
        let spec = JobSpec::new(host::JobKey::new(key.as_str()), dir, boxed);
        self.local.hosts.ensure(&spec).await.unwrap();
        key
    }

    async fn ended(&self, key: &JobKey) -> JobEnd {
        let deadline = Instant::now() + BOUND;
        loop {
            match self.jobs.observe(self.run, key).await.unwrap() {
                JobState::Ended(end) => return end,
                state => assert!(Instant::now() < deadline, "{state:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn the_tail_of_a_long_output_is_its_end() {
    let bench = Bench::new().await;
    let five = "head -c 5000000 /dev/zero | tr '\\0' x";
    let script = format!("{five}; echo; echo THE-END; {{ {five}; echo; echo TOO; }} >&2");
    let key = bench.start("1", &script).await;
    let end = bench.ended(&key).await;
    assert_eq!(end.code, Some(0));
    assert!(end.tail.contains("\nTHE-END\n"), "{:?}", &end.tail[..200.min(end.tail.len())]);
    assert!(end.tail.ends_with("\nTOO\n"));
    assert!(end.tail.len() < 10_000 && end.stdout.len() < 5_000_000, "bounded");
}

#[tokio::test]
async fn a_job_that_cannot_be_looked_at_is_in_nobodys_way() {
    let bench = Bench::new().await;
    let (odd, good) = (bench.start("1", "sleep 1000").await, bench.start("2", "sleep 1000").await);
    let planted = bench.local.job(bench.run, &odd).join("end.json");
    fs::create_dir(&planted).unwrap();
    bench.jobs.renew(bench.run).await.unwrap_err();
    let mut alive = bench.jobs.alive(bench.run).await.unwrap();
    alive.sort();
    assert_eq!(alive, [odd.clone(), good.clone()], "what is not known to be over is alive");

    bench.jobs.stop(bench.run).await.unwrap_err();
    assert!(bench.ended(&good).await.stopped);
    assert_eq!(bench.jobs.alive(bench.run).await.unwrap(), std::slice::from_ref(&odd));

    fs::remove_dir(planted).unwrap();
    bench.jobs.stop(bench.run).await.unwrap();
    assert!(bench.ended(&odd).await.stopped);
}

#[tokio::test]
async fn a_remote_that_is_none_keeps_no_other_repo_from_being_cleaned() {
    let repo = |name: &str, remote: &str| {
        format!(
            "[repos.{name:?}]\nremote = {remote:?}\nverify = [\"true\"]\nstages = [{{ name = \"ci\", command = [\"true\"] }}]\n"
        )
    };
    let config = format!("kept_workspaces_gib = 0\n{}{}", repo("a/odd", "x"), repo("b/r", "/r"));
    let bench = Bench::with(&config).await;
    let local = &bench.local;
    let run = bench.run;
    let kept = local.workspaces.prepare(run).unwrap();
    fs::write(kept.home.join("file"), "x").unwrap();
    let mirror = local.workspaces.mirror(&"b/r".parse().unwrap());
    fs::create_dir_all(&mirror).unwrap();
    let git = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        let output = git.args(args).current_dir(&mirror).output().unwrap();
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "-q", "--bare"]);
    let tree = git(&["hash-object", "-w", "-t", "tree", "/dev/null"]);
    git(&["update-ref", &format!("refs/afk/{run}/1"), tree.trim()]);
    let none = BTreeSet::new();
    LocalGit::new(local.clone()).clean(&none, &none).await.unwrap();
    assert!(!kept.dir.exists());
    assert_eq!(git(&["for-each-ref"]), "", "the run's refs are gone");

    // Of a run that can be retried the commits stay, for as long as it can.
    let kept = local.workspaces.prepare(run).unwrap();
    fs::write(kept.home.join("file"), "x").unwrap();
    local.workspaces.keep(run, &"b/r".parse().unwrap());
    git(&["update-ref", &format!("refs/afk/{run}/1"), tree.trim()]);
    for _ in 0..2 {
        let retriable = BTreeSet::from([run]);
        LocalGit::new(local.clone()).clean(&none, &retriable).await.unwrap();
        assert!(!kept.home.exists(), "the limit applies");
        assert!(git(&["for-each-ref"]).contains(&run.to_string()), "its head can be gone on from");
    }
    LocalGit::new(local.clone()).clean(&none, &none).await.unwrap();
    assert!(!kept.dir.exists());
    assert_eq!(git(&["for-each-ref"]), "", "another run took its place");
}
