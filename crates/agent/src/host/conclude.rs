//! The last changes to a job's folder, when its host is dead or done: recording the end if the host
//! could not, and deleting the folder. Both hold the host's lock, and both block.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;

use super::files::{Folder, HostRecord, random};
use super::spec::{End, EndHow, KilledBy};
use super::sweep;

/// The result of [`conclude`].
pub(super) enum JobConclusion {
    Ended(End),
    Lost,
    Unkillable(String),
    Failed(io::Error),
    Locked,
}

pub(super) fn conclude(
    folder: &Folder,
    record: &HostRecord,
    by: Option<KilledBy>,
) -> JobConclusion {
    let _lock = match folder.lock() {
        Ok(Some(lock)) => lock,
        Ok(None) => return JobConclusion::Locked,
        Err(error) => return JobConclusion::Failed(error),
    };
    // It may have ended, or another process may have concluded it, before we had the lock.
    match folder.read("end.json") {
        Ok(Some(end)) => return JobConclusion::Ended(end),
        Ok(None) => {}
        Err(error) => return JobConclusion::Failed(error),
    }
    if let Err(undead) = sweep::sweep(record) {
        return JobConclusion::Unkillable(undead.to_string());
    }
    let Some(by) = by else {
        return match folder.write("lost", &Timestamp::now()) {
            Ok(()) => JobConclusion::Lost,
            Err(error) => JobConclusion::Failed(error),
        };
    };
    let end = End {
        how: EndHow::Killed(by),
        started_at: record.running.as_ref().map(|running| running.started_at),
        ended_at: Timestamp::now(),
        max_memory: 0,
        cpu_ms: 0,
        sandbox: record.running.as_ref().map(|running| running.sandbox),
        sandbox_text: record
            .running
            .as_ref()
            .map(|running| running.sandbox.to_string())
            .unwrap_or_default(),
    };
    match folder.write("end.json", &end) {
        Ok(()) => JobConclusion::Ended(end),
        Err(error) => JobConclusion::Failed(error),
    }
}

/// Deletes the folder under its lock; `false` if another process holds the lock.
pub(super) fn remove(folder: &Folder) -> io::Result<bool> {
    let Some(_lock) = folder.lock()? else { return Ok(false) };
    delete(folder).map(|()| true)
}

/// Deletes the folder of a job that never had a host; `false` if it has one, or another process
/// holds the lock. A host that is just starting finds nothing to own, and exits.
pub(super) fn withdraw(folder: &Folder) -> io::Result<bool> {
    let Some(_lock) = folder.lock()? else { return Ok(false) };
    if ["host.json", "end.json", "lost"].iter().any(|name| folder.has(name)) {
        return Ok(false);
    }
    delete(folder).map(|()| true)
}

fn delete(folder: &Folder) -> io::Result<()> {
    let path = folder.path();
    // Renamed first, so that a crash half way leaves no half of a job in its place.
    let aside = path.with_file_name(format!(".removed-{}", random()?));
    fs::rename(path, &aside)?;
    if fs::remove_dir_all(&aside).is_err() {
        // A job may have made folders that even their owner cannot write, as package caches do.
        open_up(&aside)?;
        fs::remove_dir_all(&aside)?;
    }
    Ok(())
}

fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // This is the type of the entry itself, so links are not followed.
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
