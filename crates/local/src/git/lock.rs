//! The lock that allows one writer for each mirror, in this process and in others.
//!
//! Whatever changes refs or packs of a mirror holds the lock. So a `*.lock` file of git's that its
//! holder finds was left by a killed git, and is removed. A long-running git holds the lock itself,
//! too ([`MirrorLock::file`]), because it outlives a killed control plane.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::command::Git;
use super::error::GitError;

/// How long to wait before a lock that is held is tried again.
const AGAIN: Duration = Duration::from_millis(25);

/// The right to change a mirror, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct MirrorLock {
    mirror: PathBuf,
    file: File,
}

impl Drop for MirrorLock {
    /// Removes temporary packs: a refused fetch leaves its pack, however large, under such a name.
    fn drop(&mut self) {
        sweep_packs(&self.mirror);
    }
}

impl MirrorLock {
    /// Waits for the lock beside `mirror`, at most for the network's time limit, because a fetch
    /// may hold it.
    pub(crate) async fn take(git: &Git, mirror: &Path) -> Result<Self, GitError> {
        let path = beside(mirror, ".lock");
        let failed = |source| GitError::io("lock", &path, source);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        let since = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            if since.elapsed() > git.limits().network {
                return Err(GitError::Locked { path, waited: since.elapsed() });
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = git.cancel().cancelled() => return Err(GitError::Cancelled { command: "lock" }),
            }
        }
        sweep(mirror);
        Ok(Self { mirror: mirror.to_owned(), file })
    }

    /// Returns the lock's file: whoever has it open holds the lock.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// Returns `path` with `suffix` added to its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Removes the locks and temporary packs that a killed git left behind. If a file cannot be
/// removed, the command that needs it fails and says so.
pub(super) fn sweep(mirror: &Path) {
    for name in ["HEAD.lock", "config.lock", "packed-refs.lock", "packed-refs.new", "shallow.lock"]
    {
        let _ = std::fs::remove_file(mirror.join(name));
    }
    let mut folders = vec![mirror.join("refs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().as_encoded_bytes().ends_with(b".lock") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
    sweep_packs(mirror);
}

fn sweep_packs(mirror: &Path) {
    for entry in std::fs::read_dir(mirror.join("objects/pack")).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b"tmp_") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
