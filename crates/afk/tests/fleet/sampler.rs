//! Watches the process table beside a test: whether ever two agents are at work in one
//! repository.
//!
//! The table is no snapshot: of two agents that were read one after the other the first
//! may have ended in between. Only what still lives after both were read counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use afk_agent::sandbox::processes::{self, Process};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(40);

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Looks at the table.
    pub(crate) looks: usize,
    /// Looks that found an agent at work.
    pub(crate) at_work: usize,
    /// Agents, each once.
    pub(crate) agents: BTreeSet<(i32, u64)>,
    /// Two agents in one repository, as a sentence each.
    pub(crate) twice: BTreeSet<String>,
}

impl Seen {
    /// Looks once at the agents whose script lies in the folder `mark`.
    pub(crate) fn look(&mut self, mark: &str) {
        let mut found: BTreeMap<String, BTreeMap<i32, Process>> = BTreeMap::new();
        for (pid, process) in processes::all() {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if !line.contains(" scripted-agent ") || !line.contains(mark) {
                continue;
            }
            // Its folder is its run's clone, where the repository's name is a file.
            if let Ok(name) = fs::read_to_string(format!("/proc/{pid}/cwd/NAME")) {
                found.entry(name).or_default().insert(pid, process);
            }
        }
        self.looks += 1;
        self.at_work += usize::from(!found.is_empty());
        for (repo, mut agents) in found {
            // What an agent starts looks like the agent until it is another program.
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

/// A thread that looks until it is asked what it saw.
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Sampler {
    /// Watches the agents whose script lies in the folder `mark`.
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

    /// Ends it.
    pub(crate) fn seen(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
