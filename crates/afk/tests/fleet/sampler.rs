//! Watches the process table beside a test, for two agents at work in one repository at once.
//!
//! Reading the table is no snapshot: of two agents that were read one after the other, the first
//! may have ended before the second began. Only agents that are alive after the reading count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use afk_agent::sandbox::processes::{self, Process};

/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(40);

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The number of looks at the table.
    pub(crate) looks: usize,
    /// The number of looks that found an agent at work.
    pub(crate) at_work: usize,
    /// All agents that were seen: process id and start time.
    pub(crate) agents: BTreeSet<(i32, u64)>,
    /// A sentence for each sight of two agents in one repository.
    pub(crate) twice: BTreeSet<String>,
}

impl Seen {
    /// Looks once at the agents whose script is in the folder `mark`.
    pub(crate) fn look(&mut self, mark: &str) {
        let mut found: BTreeMap<String, BTreeMap<i32, Process>> = BTreeMap::new();
        for (pid, process) in processes::all() {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if !line.contains(" scripted-agent ") || !line.contains(mark) {
                continue;
            }
            // The agent's folder is its run's clone, where a file has the repository's name.
            if let Ok(name) = fs::read_to_string(format!("/proc/{pid}/cwd/NAME")) {
                found.entry(name).or_default().insert(pid, process);
            }
        }
        self.looks += 1;
        self.at_work += usize::from(!found.is_empty());
        for (repo, mut agents) in found {
            // A child of an agent looks like the agent until it executes another program.
            let pids: BTreeSet<i32> = agents.keys().copied().collect();
            agents.retain(|_, process| !pids.contains(&process.parent));
            self.agents.extend(agents.values().map(|process| (process.id.pid, process.id.start)));
            let alive: Vec<_> =
                agents.values().map(|agent| agent.id).filter(|id| id.is_alive()).collect();
            if alive.len() > 1 {
                self.twice.insert(format!("agents {alive:?} at once in {repo}"));
            }
        }
    }
}

/// A thread that looks until it is asked for what it saw.
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Sampler {
    /// Watches the agents whose script is in the folder `mark`.
    pub(crate) fn start(mark: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !told.load(Ordering::Relaxed) {
                seen.look(&mark);
                std::thread::sleep(EVERY);
            }
            seen
        });
        Self { stop, thread }
    }

    /// Ends the thread, and returns what it saw.
    pub(crate) fn seen(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
