//! The processes below a process, and how to end all of them.
//!
//! There may be many hosts, and each checks five times a second, so a check reads no more of
//! `/proc` than necessary ([`Watched`]); ending a job reads all of it, because nothing may be left.
//!
//! The host uses it to watch and kill, the supervisor of a partial sandbox from inside, and a
//! control plane that sweeps after a dead host. A process is identified by its id *and* start time,
//! so that a reused id is never signalled. Only `/proc` is read, and nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use super::group::Group;

/// How long a job's list of processes may be reused although other processes begin on the machine.
const RESCAN: Duration = Duration::from_secs(1);

/// Identifies one process: ids are reused, an id with its start time is not (within one boot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id in the host's `/proc`.
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start: u64,
}

/// What the kernel says about one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Which process it is.
    pub id: ProcessId,
    /// The process id of its parent.
    pub parent: i32,
    /// The id of its process group.
    pub group: i32,
    /// Whether it is dead and waits for its parent to notice.
    pub zombie: bool,
    /// Number of its threads.
    pub threads: u64,
    /// Number of its resident pages.
    pub resident_pages: u64,
}

/// What a set of processes uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sum of resident memory, in bytes; shared pages count once for each process.
    pub memory: u64,
    /// Number of threads, which the kernel's own limit of processes counts, too.
    pub tasks: u64,
}

impl ProcessId {
    /// The process that has this id now; `None` when there is none.
    pub fn of(pid: i32) -> Option<Self> {
        look(pid).map(|process| process.id)
    }

    /// The calling process.
    pub fn own() -> Option<Self> {
        Self::of(rustix::process::getpid().as_raw_pid())
    }

    /// Whether this process still lives. A zombie does not: it runs nothing and holds no lock.
    pub fn is_alive(self) -> bool {
        look(self.pid).is_some_and(|process| process.id == self && !process.zombie)
    }

    /// Sends a signal to this process; no error if it is gone.
    pub fn signal(self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        // The descriptor pins the process, so its id cannot be reused between the check and the
        // signal.
        let Ok(pinned) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        if look(self.pid).is_some_and(|process| process.id == self) {
            // It may have died in between, which is fine.
            let _ = rustix::process::pidfd_send_signal(&pinned, signal);
        }
    }
}

/// Every process that `/proc` shows, by process id.
pub fn all() -> BTreeMap<i32, Process> {
    pids().filter_map(look).map(|process| (process.id.pid, process)).collect()
}

/// The processes of one job, for repeated checks.
#[derive(Debug)]
pub(crate) struct Watched {
    root: i32,
    group: Option<Group>,
    known: Vec<ProcessId>,
    /// The newest process id of the machine at the last full scan, and when that was.
    scanned: Option<(String, Instant)>,
}

impl Watched {
    /// Watches everything in `group`, if there is one, otherwise everything below `root`, which is
    /// the caller.
    pub(crate) fn new(root: i32, group: Option<Group>) -> Self {
        Self { root, group, known: Vec::new(), scanned: None }
    }

    /// The job's living processes. Without a group, a process that has just begun may be missing
    /// for a second.
    pub(crate) fn look(&mut self) -> Vec<Process> {
        if let Some(found) = self.group.as_ref().and_then(|group| group.processes().ok()) {
            return found;
        }
        // The job has no new process if none has begun on the whole machine since.
        let last = last_begun().unwrap_or_default();
        let is_known = self.scanned.as_ref().is_some_and(|(scanned, at)| {
            (!last.is_empty() && *scanned == last) || at.elapsed() < RESCAN
        });
        let found: Vec<Process> = if is_known {
            let seen = self.known.iter().filter_map(|id| Some((id, look(id.pid)?)));
            seen.filter(|(id, now)| now.id == **id && !now.zombie).map(|(_, now)| now).collect()
        } else {
            self.scanned = Some((last, Instant::now()));
            below(self.root)
        };
        self.known = found.iter().map(|process| process.id).collect();
        found
    }

    /// Makes the next check a full scan, which finds processes that have just begun.
    pub(crate) fn renew(&mut self) {
        self.scanned = None;
    }
}

/// The id of the newest process or thread of the machine, from `/proc/loadavg`.
fn last_begun() -> Option<String> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split_ascii_whitespace().nth(4).map(str::to_owned)
}

/// Number of threads on the whole machine. One short file tells it, so it can be read often.
pub fn tasks_of_machine() -> Option<u64> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split_ascii_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

/// The living processes below `root`, without `root` itself.
pub fn below(root: i32) -> Vec<Process> {
    descendants(&all(), root)
}

/// The processes below `root` in the snapshot `all`, without zombies (but with their children).
pub fn descendants(all: &BTreeMap<i32, Process>, root: i32) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in all.values() {
        children.entry(process.parent).or_default().push(process.id.pid);
    }
    let mut seen = BTreeSet::from([root]);
    let mut queue = vec![root];
    let mut found = Vec::new();
    while let Some(parent) = queue.pop() {
        for &child in children.get(&parent).into_iter().flatten() {
            if !seen.insert(child) {
                continue;
            }
            queue.push(child);
            found.extend(all.get(&child).filter(|process| !process.zombie).copied());
        }
    }
    found
}

/// What these processes use together.
pub fn usage(processes: &[Process]) -> Usage {
    let page = rustix::param::page_size() as u64;
    processes.iter().fold(Usage::default(), |sum, process| Usage {
        memory: sum.memory + process.resident_pages * page,
        tasks: sum.tasks + process.threads,
    })
}

/// Kills everything below the caller until nothing is left, or `bound` has passed.
///
/// Only for a subreaper: otherwise an orphan moves out from below. Returns what is left, which
/// should be nothing.
pub fn kill_below_self(bound: Duration) -> Vec<Process> {
    kill_below_self_but(bound, None)
}

/// [`kill_below_self`], but leaves `spared` alone, which must be in the caller's own process group.
pub fn kill_below_self_but(bound: Duration, spared: Option<i32>) -> Vec<Process> {
    let own = rustix::process::getpid().as_raw_pid();
    end_all(bound, || {
        let mut found = below(own);
        found.retain(|process| Some(process.id.pid) != spared);
        found
    })
}

/// Kills every process that `list` finds, again and again, until it finds none or `bound` has
/// passed. Returns what is left.
///
/// Whole groups first: the kernel kills a group in one step that no fork escapes, while a family
/// that is killed one by one can fork faster than it dies. The caller's own group is never killed
/// as a whole; found processes in it are killed one by one. Every other group of a found process
/// must belong to the job, which is true if the job was started in a session of its own.
pub fn end_all(bound: Duration, mut list: impl FnMut() -> Vec<Process>) -> Vec<Process> {
    let own = rustix::process::getpgrp().as_raw_pid();
    let deadline = Instant::now() + bound;
    loop {
        let found = list();
        if found.is_empty() || Instant::now() >= deadline {
            return found;
        }
        let groups: BTreeSet<i32> = found.iter().map(|process| process.group).collect();
        for group in groups.into_iter().filter(|&group| group > 1 && group != own) {
            // An error means that the group is gone already, which is fine.
            let _ = Pid::from_raw(group)
                .map(|group| rustix::process::kill_process_group(group, Signal::KILL));
        }
        for process in found.iter().filter(|process| process.group <= 1 || process.group == own) {
            process.id.signal(Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The processes whose initial environment has this entry (`NAME=value`), and all below them, but
/// for the caller.
///
/// Processes of other users show no environment and are not found.
pub fn marked(entry: &str) -> Vec<Process> {
    let own = rustix::process::getpid().as_raw_pid();
    let all = all();
    let mut found: BTreeMap<i32, Process> = BTreeMap::new();
    for process in all.values().filter(|process| process.id.pid != own && !process.zombie) {
        let Ok(environment) = fs::read(format!("/proc/{}/environ", process.id.pid)) else {
            continue;
        };
        if environment.split(|&byte| byte == 0).any(|held| held == entry.as_bytes()) {
            found.insert(process.id.pid, *process);
            for lower in descendants(&all, process.id.pid) {
                found.insert(lower.id.pid, lower);
            }
        }
    }
    found.into_values().collect()
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// What the kernel says about a process now; `None` if there is none.
pub(super) fn look(pid: i32) -> Option<Process> {
    parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses `/proc/<pid>/stat`. The name in parentheses may contain anything, even parentheses and
/// blanks.
fn parse(stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|&byte| byte == b'(')?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let pid = std::str::from_utf8(&stat[..open]).ok()?.trim().parse().ok()?;
    // Index 0 is field 3 of the file, the state.
    let fields: Vec<&str> =
        std::str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace().collect();
    Some(Process {
        id: ProcessId { pid, start: fields.get(19)?.parse().ok()? },
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        threads: fields.get(17)?.parse().ok()?,
        resident_pages: fields.get(21)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, zombie: bool) -> (i32, Process) {
        let id = ProcessId { pid, start: 1 };
        (pid, Process { id, parent, group: pid, zombie, threads: 2, resident_pages: 3 })
    }

    #[test]
    fn a_name_may_hold_brackets() {
        let line = b"42 (a) b) (c) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 777 1000 55 18446744073709551615 1";
        let parsed = parse(line).expect("a full line");
        assert_eq!(parsed.id, ProcessId { pid: 42, start: 777 });
        assert_eq!(
            (parsed.parent, parsed.group, parsed.threads, parsed.resident_pages),
            (7, 42, 9, 55)
        );
    }

    #[test]
    fn a_torn_line_is_no_process() {
        for line in [&b""[..], b"42", b"42 (a", b"42 (a) S 7", b"x (a) S 7 42"] {
            assert_eq!(parse(line), None);
        }
    }

    #[test]
    fn descendants_go_through_zombies_and_stop_at_strangers() {
        let all = BTreeMap::from([
            process(1, 0, false),
            process(2, 1, false),
            process(3, 2, true),
            process(4, 3, false),
            process(5, 1, false),
        ]);
        let found: Vec<i32> = descendants(&all, 2).iter().map(|process| process.id.pid).collect();
        assert_eq!(found, [4]);
        assert_eq!(usage(&descendants(&all, 2)).tasks, 2);
    }

    #[test]
    fn what_begins_below_us_is_seen_and_what_ended_is_not() {
        let own = rustix::process::getpid().as_raw_pid();
        let mut watched = Watched::new(own, None);
        watched.look();
        let sees = |watched: &mut Watched, pid: i32, expected: bool| {
            let bound = Instant::now() + Duration::from_mins(1);
            while watched.look().iter().any(|process| process.id.pid == pid) != expected {
                assert!(Instant::now() < bound, "{pid} is seen, or is not: {expected}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("spawned");
        let pid = i32::try_from(child.id()).expect("a process id");
        sees(&mut watched, pid, true);
        child.kill().expect("killed");
        child.wait().expect("waited for");
        sees(&mut watched, pid, false);
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("spawned");
        let pid = i32::try_from(child.id()).expect("a process id");
        watched.renew();
        assert!(watched.look().iter().any(|process| process.id.pid == pid), "at once");
        child.kill().expect("killed");
        child.wait().expect("waited for");
    }

    #[test]
    fn a_reused_id_is_another_process() {
        let own = ProcessId::own().expect("we run");
        assert!(own.is_alive());
        assert!(!ProcessId { start: own.start + 1, ..own }.is_alive());
    }
}
