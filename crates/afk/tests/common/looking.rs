//! What runs in a world: jobs, found by their folders, and processes, found in `/proc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use afk_agent::sandbox::processes::{self, ProcessId};
use rustix::process::Signal;
use serde_json::Value;

use super::World;

/// Polls until `look` finds something, at most for `bound`.
///
/// # Panics
///
/// When it has found nothing by then; the message has `what`.
pub fn until<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {bound:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A job that has a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its folder.
    pub dir: PathBuf,
    /// Its name: kind and subject.
    pub name: String,
    /// The process of its host.
    pub host: ProcessId,
    /// The first process of its box, once that was started.
    pub root: Option<ProcessId>,
}

impl World {
    /// The folders of all runs that have jobs.
    pub fn runs(&self) -> Vec<PathBuf> {
        entries(&self.path("data/work/jobs"))
    }

    /// Every job that ever had a host and was not cleaned up.
    pub fn jobs(&self) -> Vec<Found> {
        let folders = self.runs().into_iter().flat_map(|run| entries(&run));
        let mut jobs: Vec<Found> = folders.filter_map(|dir| found(&dir)).collect();
        jobs.sort_by(|a, b| a.name.cmp(&b.name));
        jobs
    }

    /// Waits for a started job of this kind that has not ended, and returns it.
    pub fn job(&self, kind: &str) -> Found {
        until(&format!("a job {kind}"), super::BOUND, || {
            let of_kind = |job: &Found| job.name.starts_with(kind) && job.root.is_some();
            self.jobs().into_iter().find(|job| of_kind(job) && !job.dir.join("end.json").exists())
        })
    }

    /// Waits until agents have been started at least `times` times.
    pub fn started(&self, times: usize) {
        until(&format!("{times} starts of an agent"), super::BOUND, || {
            (self.starts() >= times).then_some(())
        });
    }

    /// How often agents were started, by the lines that the agents themselves wrote.
    pub fn starts(&self) -> usize {
        let homes = entries(&self.path("data/work/runs")).into_iter();
        homes
            .filter_map(|run| fs::read_to_string(run.join("home/starts")).ok())
            .map(|text| text.lines().count())
            .sum()
    }

    /// Every living process that names this world's folder in its command line, environment or
    /// working folder, but for those in `without` and our own: its id and its command line.
    pub fn processes(&self, without: &[u32]) -> Vec<(i32, String)> {
        let marks = self.path("").to_string_lossy().trim_end_matches('/').to_owned();
        let own = std::process::id();
        let all = processes::all();
        let mut found = Vec::new();
        for (pid, process) in &all {
            let id = pid.unsigned_abs();
            if process.zombie || id == own || without.contains(&id) {
                continue;
            }
            let read = |name: &str| {
                let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let line = read("cmdline");
            if line.contains(&marks)
                || read("environ").contains(&marks)
                || cwd.to_string_lossy().contains(&marks)
            {
                found.push((*pid, line));
            }
        }
        found
    }

    /// Kills the jobs' hosts and boxes first, then every other process of the world.
    pub(super) fn kill_everything(&self) {
        for job in self.jobs() {
            job.host.signal(Signal::KILL);
            if let Some(root) = job.root {
                root.signal(Signal::KILL);
            }
        }
        for (pid, _) in self.processes(&[]) {
            if let Some(id) = ProcessId::of(pid) {
                id.signal(Signal::KILL);
            }
        }
    }
}

fn found(dir: &Path) -> Option<Found> {
    let record: Value = serde_json::from_slice(&fs::read(dir.join("host.json")).ok()?).ok()?;
    let host = serde_json::from_value(record["host"].clone()).ok()?;
    let root = serde_json::from_value(record["running"]["root"].clone()).ok();
    let name = dir.file_name()?.to_string_lossy().into_owned();
    Some(Found { dir: dir.to_owned(), name, host, root })
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(read) = fs::read_dir(dir) else { return Vec::new() };
    let mut all: Vec<PathBuf> = read.flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}
