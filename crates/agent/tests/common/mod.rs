//! What the tests of host and sandbox share: a folder, a binary, jobs, and a way to see which of
//! their processes are left.

#![allow(dead_code, reason = "every test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use afk_agent::host::{End, Hosts, Job, JobKey, JobSpec, JobState};
use afk_agent::sandbox::{Access, BoxSpec, Network, Requirement};

/// Long enough for the slowest machine; reached only by a failing test.
pub(crate) const BOUND: Duration = Duration::from_mins(1);

/// Two ways to box a job: a full sandbox, and landlock alone.
pub(crate) const BOTH: [Requirement; 2] = [Requirement::Required, Requirement::LandlockOnly];

/// A folder of a test, with a workspace that jobs may write in.
pub(crate) struct Bench {
    held: tempfile::TempDir,
    pub(crate) hosts: Hosts,
    /// A text in the arguments of this test's processes that tells them from all others.
    pub(crate) nonce: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let held = tempfile::Builder::new().prefix("afk-test-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(held.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(held.path().join("work")).unwrap();
        let nonce =
            held.path().file_name().unwrap().to_str().unwrap().replace("afk-test-", "nonce-");
        Self { held, hosts: Hosts::new(env!("CARGO_BIN_EXE_afk-host")), nonce }
    }

    pub(crate) fn path(&self) -> &Path {
        self.held.path()
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    pub(crate) fn boxed(&self, argv: &[&str], requirement: Requirement) -> BoxSpec {
        BoxSpec {
            requirement,
            ..BoxSpec::new(argv.iter().copied(), self.work()).bind(self.work(), Access::ReadWrite)
        }
    }

    /// A job that runs a shell script in the workspace. `$0` is the nonce.
    pub(crate) fn shell(&self, name: &str, script: &str, requirement: Requirement) -> JobSpec {
        let boxed = self.boxed(&["/bin/sh", "-c", script, &self.nonce], requirement);
        JobSpec::new(JobKey::new(format!("{}/{name}", self.nonce)), self.path().join(name), boxed)
    }

    /// Runs a script as a job to its end.
    pub(crate) async fn run(
        &self,
        name: &str,
        script: &str,
        requirement: Requirement,
    ) -> (Job, End) {
        self.run_spec(&self.shell(name, script, requirement)).await
    }

    pub(crate) async fn run_spec(&self, spec: &JobSpec) -> (Job, End) {
        let job = self.hosts.ensure(spec).await.unwrap();
        let end = ended(&job).await;
        (job, end)
    }

    /// Processes that carry the nonce in their arguments.
    pub(crate) fn survivors(&self) -> Vec<String> {
        let own = std::process::id().to_string();
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|pid| *pid != own && pid.bytes().all(|byte| byte.is_ascii_digit()))
            .filter_map(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                // Hosts and the tests themselves have the folder in their arguments, not the nonce.
                line.contains(&self.nonce).then(|| format!("{pid}: {line}"))
            })
            .collect()
    }

    /// Waits until a job has written a whole line to this file, and returns the text.
    pub(crate) fn appears(&self, name: &str) -> String {
        let path = self.work().join(name);
        until(|| fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n')))
    }
}

/// Polls until there is an answer; fails the test after [`BOUND`].
pub(crate) fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + BOUND;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a job's end.
pub(crate) async fn ended(job: &Job) -> End {
    match job.wait(BOUND).await.unwrap() {
        JobState::Ended(end) => end,
        other => panic!(
            "{other:?}; {}",
            fs::read_to_string(job.dir().join("host.log")).unwrap_or_default()
        ),
    }
}

/// Waits until a job runs; returns the process id of its box's first process.
pub(crate) async fn running(job: &Job) -> i32 {
    let deadline = Instant::now() + BOUND;
    loop {
        match job.status().await.unwrap() {
            JobState::Running { pid, .. } => return pid,
            JobState::Starting => assert!(Instant::now() < deadline, "never ran"),
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn stdout(job: &Job) -> String {
    String::from_utf8_lossy(&job.read_stdout(0, 1 << 20).await.unwrap()).into_owned()
}

pub(crate) async fn stderr(job: &Job) -> String {
    String::from_utf8_lossy(&job.read_stderr(0, 1 << 20).await.unwrap()).into_owned()
}

/// The host's process id, from its record.
pub(crate) fn host_pid(job: &Job) -> i32 {
    let record = fs::read(job.dir().join("host.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    i32::try_from(record["host"]["pid"].as_i64().unwrap()).unwrap()
}

pub(crate) fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn open_network(mut spec: BoxSpec) -> BoxSpec {
    spec.network = Network::Open;
    spec
}

/// This very test binary, as a command that runs one ignored test of it.
pub(crate) fn inner(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    [program.to_str().unwrap(), "--exact", test, "--ignored", "--nocapture", "--test-threads=1"]
        .map(str::to_owned)
        .into()
}

/// Runs all tests of this binary once more as a user without rights. Does nothing unless we are
/// root.
pub(crate) fn all_again_as_nobody(skip: &str, env: &[(&str, &str)]) {
    if !is_root() {
        return;
    }
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(std::env::current_exe().unwrap())
        .args(["--skip", skip, "--test-threads=2"])
        .envs(env.iter().copied())
        .env("HOME", "/nonexistent")
        .current_dir("/tmp")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains(" 0 passed"), "{text}");
    println!("{text}");
}

/// Reads a whole stream in small pieces, as a control plane that follows it does.
pub(crate) async fn all(job: &Job, stream: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let offset = bytes.len() as u64;
        let part = match stream {
            "stdout" => job.read_stdout(offset, 100_000).await,
            _ => job.read_stderr(offset, 100_000).await,
        };
        let part = part.unwrap();
        if part.is_empty() {
            return bytes;
        }
        bytes.extend(part);
    }
}
