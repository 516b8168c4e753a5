//! Cleans up after a job whose host has died: nothing of the job may be left.
//!
//! In a full sandbox the kernel has ended the box together with the host, and in a weaker one the
//! supervisor has; a sweep makes sure. It kills what the host recorded and everything with the
//! job's marker in its environment, until nothing is left. Callers have made sure that the host is
//! dead; a living host looks after its own job.

use std::time::{Duration, Instant};

use super::files::{Folder, HostRecord, boot};
use crate::sandbox::Group;
use crate::sandbox::processes::{self, Process};

/// The variable in the environment of every process of a job; its value is the key's digest.
pub(super) const MARKER: &str = "AFK_JOB";

/// How long the supervisor of a weaker sandbox may take to end the job by itself, since it sees the
/// job better than we do from outside. The kernel ends a full sandbox at once.
const OWN_END: Duration = Duration::from_millis(1500);

/// Time limit of a sweep.
const BOUND: Duration = Duration::from_secs(3);

/// Processes that could not be killed.
#[derive(Debug, thiserror::Error)]
#[error("processes {0:?} of the job do not die; end them by hand")]
pub(super) struct Unkillable(pub(super) Vec<i32>);

/// Ends whatever is left of the job with this record.
pub(super) fn sweep(record: &HostRecord) -> Result<(), Unkillable> {
    let deadline = Instant::now() + OWN_END;
    while record.boot == boot()
        && record.running.as_ref().is_some_and(|running| running.root.is_alive())
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(2));
    }
    // No check of the boot is needed: after a reboot the group is gone, and its name is not reused.
    let group = record.group.as_deref().and_then(Group::open);
    if let Some(group) = &group {
        group.kill();
    }
    let left = processes::end_all(BOUND, || remains(record));
    if left.is_empty() {
        if let Some(group) = group {
            group.remove();
        }
        Ok(())
    } else {
        Err(Unkillable(left.iter().map(|process| process.id.pid).collect()))
    }
}

/// Ends what is left of the previous job in a workspace, if its host did not end properly.
pub(super) fn sweep_predecessor(folder: &Folder) -> Result<(), Unkillable> {
    if folder.has("end.json") {
        return Ok(());
    }
    match folder.read::<HostRecord>("host.json") {
        Ok(Some(record)) => sweep(&record),
        // Never begun, or removed: whoever removed it had swept it before.
        Ok(None) | Err(_) => Ok(()),
    }
}

fn remains(record: &HostRecord) -> Vec<Process> {
    // After a reboot nothing is left, and the recorded ids may belong to other processes.
    if record.boot != boot() {
        return Vec::new();
    }
    let all = processes::all();
    let mut found = processes::marked(&record.marker);
    for id in record.running.iter().flat_map(|running| [running.root, running.launcher]) {
        found.extend(all.get(&id.pid).filter(|process| process.id == id && !process.zombie));
        if found.iter().any(|process| process.id == id) {
            found.extend(processes::descendants(&all, id.pid));
        }
    }
    found.retain(|process| process.id != record.host);
    found
}
