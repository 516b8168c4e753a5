//! The adapters of this machine over real hosts, boxes and folders: what they report of a job's
//! output, and that one odd job or repo does not hold up the others.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use afk_agent::host::{self, Hosts, JobSpec};
use afk_agent::sandbox::{Access, BoxSpec, Capabilities, Requirement};
use afk_core::config::Policy;
use afk_core::ids::{IssueRef, JobKey, JobOf, RepoName, RunId};
use afk_engine::ports::{
    Git as _, Job, JobEnd, JobKind, JobState, Jobs as _, Limit, PortError, Prepared, Settings,
};
use afk_local::git::{self, Limits, Login, RemoteUrl, Workspaces};
use afk_local::{
    KnownSecrets, Local, LocalGit, LocalJobs, LocalSecrets, Logins, Sandbox, Transcripts,
};
use tokio_util::sync::CancellationToken;

/// Time limit of every wait, reached only by a failing test.
const BOUND: Duration = Duration::from_mins(1);

struct Fixed(Arc<Policy>);

impl Settings for Fixed {
    fn current(&self) -> (Arc<Policy>, Option<String>) {
        (self.0.clone(), None)
    }
}

/// Finds no credentials: no remote here needs one.
struct NoLogins;

impl Logins for NoLogins {
    fn of(&self, _: &RepoName, _: &RemoteUrl) -> Option<Arc<dyn Login>> {
        None
    }
}

/// The jobs of one run, with everything that they need.
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
        let program = PathBuf::from(env!("CARGO_BIN_EXE_afk"));
        Self::on(Capabilities::detect(&program), config).await
    }

    /// Creates it on a machine with this sandbox.
    async fn on(machine: Capabilities, config: &str) -> Self {
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
            sandbox: Sandbox::new(machine, || unreachable!("it is young")),
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

    /// Prepares the repo `o/r` for a run as it is now.
    async fn prepare(&self, run: RunId) -> Result<Prepared, PortError> {
        let issue = IssueRef { repo: "o/r".parse().unwrap(), number: 1 };
        let cancel = CancellationToken::new();
        LocalGit::new(self.local.clone()).prepare(&issue.repo, &issue, run, None, &cancel).await
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

/// Creates a bare repository `origin.git` in `root`, with one file that does not shrink when
/// packed; returns the table of the repo `o/r` for it.
fn origin(root: &Path) -> String {
    let git = |dir: &Path, args: &[&str]| {
        let mut git = std::process::Command::new("git");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "dev").env(format!("GIT_{who}_EMAIL"), "dev@x");
        }
        assert!(git.args(args).current_dir(dir).output().unwrap().status.success(), "{args:?}");
    };
    let (seed, bare) = (root.join("seed"), root.join("origin.git"));
    git(root, &["init", "-q", "--bare", "--initial-branch=main", "origin.git"]);
    git(root, &["init", "-q", "--initial-branch=main", "seed"]);
    let noise: Vec<u8> =
        (0_u32..75_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(seed.join("noise"), noise).unwrap();
    git(&seed, &["add", "."]);
    git(&seed, &["commit", "-q", "-m", "Begin"]);
    git(&seed, &["push", "-q", bare.to_str().unwrap(), "HEAD:main"]);
    format!(
        "[repos.\"o/r\"]\nremote = \"{}\"\nverify = [\"true\"]\nstages = [{{ name = \"ci\", command = [\"true\"] }}]\n",
        bare.display()
    )
}

#[tokio::test]
async fn a_mirror_with_a_damaged_file_is_made_anew_by_the_next_run() {
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::with(&origin(root.path())).await;
    let repo = "o/r".parse().unwrap();
    let git = LocalGit::new(bench.local.clone());
    bench.prepare(bench.run).await.unwrap();
    git.release(&repo, bench.run, &[], false).await.unwrap();
    let packs = bench.local.workspaces.mirror(&repo).join("objects/pack");
    let pack = fs::read_dir(packs).unwrap().flatten().map(|entry| entry.path());
    let pack = pack.into_iter().find(|path| path.extension().is_some_and(|it| it == "pack"));
    let pack = pack.unwrap();
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&pack).unwrap();
    file.write_all_at(&[0; 4096], file.metadata().unwrap().len() / 2).unwrap();

    let run: RunId = "0198c0de-0000-7000-8000-0000000000bb".parse().unwrap();
    bench.prepare(run).await.unwrap();
    assert!(bench.local.workspaces.run(run).clone.join("noise").exists());
    bench.prepare(run).await.unwrap();
}

#[tokio::test]
async fn a_clone_is_read_in_a_box_or_not_at_all() {
    let root = tempfile::tempdir().unwrap();
    let config = origin(root.path());
    let repo = "o/r".parse().unwrap();
    let cancel = CancellationToken::new();
    let bench = Bench::with(&config).await;
    let base = bench.prepare(bench.run).await.unwrap().base;
    let git = LocalGit::new(bench.local.clone());
    let head = git.keep_head(&repo, bench.run, "kept", &cancel).await.unwrap();
    assert_eq!(head, base, "read in the box");

    let machine = Capabilities { bubblewrap: Err("not installed".to_owned()), landlock_abi: 7 };
    let weak = Bench::on(machine, &config).await;
    weak.prepare(weak.run).await.unwrap();
    let git = LocalGit::new(weak.local.clone());
    let refused = git.keep_head(&repo, weak.run, "kept", &cancel).await.unwrap_err();
    assert!(refused.chain().contains("a full sandbox is required"), "{}", refused.chain());
}

#[test]
fn what_reads_a_clone_is_limited_and_writes_nowhere() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_afk"));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "shown").unwrap();
    let found = Capabilities::detect(&program);
    for requirement in [Requirement::Required, Requirement::LandlockOnly, Requirement::Off] {
        let argv = found.reader(&program, requirement, &[dir.path()]).unwrap();
        let script =
            "ulimit -d; cat \"$0/file\"; : > /tmp/written && rm /tmp/written && echo wrote";
        let output = std::process::Command::new(&argv[0])
            .args(&argv[1..])
            .args(["sh", "-c", script])
            .arg(dir.path())
            .env("TOKEN", "canary")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let wrote = if requirement == Requirement::Off { "wrote\n" } else { "" };
        assert_eq!(said, format!("2097152\nshown{wrote}"), "{requirement:?} {output:?}");
    }
}

#[tokio::test]
async fn proofs_of_all_runs_share_the_places() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::with(&origin(root.path())).await;
    let jobs = LocalJobs::with_slots(bench.local.clone(), 1);
    let repo: RepoName = "o/r".parse().unwrap();
    let other: RunId = "0198c0de-0000-7000-8000-0000000000bb".parse().unwrap();
    let mut proofs = Vec::new();
    for run in [bench.run, other] {
        let base = bench.prepare(run).await.unwrap().base;
        let tree = LocalGit::new(bench.local.clone()).tree(&repo, &base).await.unwrap();
        proofs.push(Job {
            key: JobKey::new(run, JobOf::Verify, "1"),
            run,
            repo: repo.clone(),
            kind: JobKind::Judge { tree, history: None, fetched: None },
            argv: ["sleep", "1000"].map(str::to_owned).into(),
            timeout: BOUND,
            network: false,
        });
    }
    let state = async |job: &Job| jobs.observe(job.run, &job.key).await.unwrap();
    for job in &proofs {
        jobs.start(job).await.unwrap();
        jobs.start(job).await.unwrap();
    }
    assert!(matches!(state(&proofs[0]).await, JobState::Running));
    assert!(matches!(state(&proofs[1]).await, JobState::Absent), "there is no place for it");
    let waits = jobs.changed(other, BOUND);
    let frees = async {
        jobs.stop(bench.run).await.unwrap();
        while !matches!(state(&proofs[0]).await, JobState::Ended(_)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::join!(waits, frees);
    jobs.start(&proofs[1]).await.unwrap();
    assert!(matches!(state(&proofs[1]).await, JobState::Running));
    jobs.stop(other).await.unwrap();
}

#[tokio::test]
async fn what_prints_without_end_is_ended_for_that() {
    let bench = Bench::new().await;
    let end = bench.ended(&bench.start("1", "yes").await).await;
    assert_eq!((end.code, end.limit), (None, Some(Limit::Output)));
    assert_eq!(end.could_not_run.unwrap(), "it wrote more output than it may");
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

    // The commits of a run that can be retried are kept for as long as it can.
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

/// Puts something in the way of the removal of this folder.
fn hold(folder: &Path) {
    fs::write(folder.with_extension("trash"), "").unwrap();
}

#[tokio::test]
async fn what_cannot_be_removed_keeps_nothing_else_on_the_disk() {
    let bench = Bench::with("kept_workspaces_gib = 0\n").await;
    let (local, none) = (&bench.local, BTreeSet::new());
    let run = |n: u8| format!("0198c0de-0000-7000-8000-0000000000{n:02}").parse::<RunId>().unwrap();

    let kept = [1, 2, 3].map(|n| {
        let kept = local.workspaces.prepare(run(n)).unwrap();
        fs::write(kept.home.join("file"), "x").unwrap();
        kept.dir
    });
    hold(&kept[0]);
    LocalGit::new(local.clone()).clean(&none, &none).await.unwrap_err();
    assert_eq!(kept.map(|dir| dir.exists()), [true, false, false]);

    let left = [4, 5, 6, 7, 8, 9].map(|n| {
        local.make_jobs(run(n)).unwrap();
        let folder = local.jobs(run(n));
        fs::File::open(&folder).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        folder
    });
    for folder in &left[..3] {
        hold(folder);
    }
    bench.jobs.sweep(&none, &BTreeSet::new()).await.unwrap_err();
    assert_eq!(left.map(|folder| folder.exists()), [true, true, true, false, false, false]);
}
