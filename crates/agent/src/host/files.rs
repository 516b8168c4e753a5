//! A job's folder: names, locks, and writes that are complete or absent after a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::spec::hex;
use crate::sandbox::Strength;
use crate::sandbox::processes::ProcessId;

/// How much of a state file is read, in bytes.
const STATE_LIMIT: u64 = 32 << 20;

/// The folder of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder(PathBuf);

/// Which host owns the job, and what it runs: `host.json`, written before the box is started and
/// again after.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HostRecord {
    pub(super) host: ProcessId,
    /// The id of the boot in which the process ids of this record are valid.
    pub(super) boot: String,
    /// The marker in the environment of every process of the job, `NAME=value`.
    pub(super) marker: String,
    /// Where the job's control group is or would be, if the machine has such groups.
    #[serde(default)]
    pub(super) group: Option<PathBuf>,
    /// The box, once it is started.
    pub(super) running: Option<Running>,
}

/// A started box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    /// The box's first process: everything in the box ends with it.
    pub(super) root: ProcessId,
    /// What the host spawned: bubblewrap's monitor, or the first process itself.
    pub(super) launcher: ProcessId,
    pub(super) started_at: Timestamp,
    pub(super) sandbox: Strength,
}

impl HostRecord {
    /// Whether the recorded host still lives.
    pub(super) fn is_alive(&self) -> bool {
        self.boot == boot() && self.host.is_alive()
    }
}

impl Folder {
    /// The folder at this path; does no I/O.
    pub(super) fn at(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Creates the folder, accessible to its owner only. No error if it exists.
    pub(super) fn make(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done,
        }
    }

    /// Reads a state file (JSON); `None` if it does not exist.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let file = match File::open(self.file(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut body = Vec::new();
        file.take(STATE_LIMIT).read_to_end(&mut body)?;
        Ok(Some(serde_json::from_slice(&body)?))
    }

    /// Writes a state file (JSON): after a crash it is the old one or the new one, never a mixture.
    pub(super) fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let fresh = self.fresh(name, &serde_json::to_vec(value)?)?;
        fs::rename(fresh, self.file(name))?;
        self.sync()
    }

    /// Writes a file unless it exists; returns whether it was written. Of several concurrent calls
    /// one wins.
    pub(super) fn claim(&self, name: &str, body: &[u8]) -> io::Result<bool> {
        let fresh = self.fresh(name, body)?;
        let linked = fs::hard_link(&fresh, self.file(name));
        fs::remove_file(fresh)?;
        match linked {
            Ok(()) => self.sync().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.file(name)).is_ok()
    }

    /// Takes the host's lock without waiting; `None` if it is held, or the folder was removed
    /// meanwhile.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let path = self.file("host.lock");
        let file = private().create(true).truncate(false).write(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // A lock on a file that was removed from the folder keeps nobody out.
        let same = fs::metadata(&path)
            .is_ok_and(|now| file.metadata().is_ok_and(|held| now.ino() == held.ino()));
        Ok(same.then_some(file))
    }

    /// A path of the control socket that is short enough for the kernel, however long the folder's
    /// own path is. Valid while the returned descriptor is open.
    pub(super) fn socket(&self) -> io::Result<(File, PathBuf)> {
        let folder = File::open(&self.0)?;
        let path = format!("/proc/self/fd/{}/sock", folder.as_raw_fd());
        Ok((folder, path.into()))
    }

    /// Makes the entries of the folder durable.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn fresh(&self, name: &str, body: &[u8]) -> io::Result<PathBuf> {
        let path = self.file(&format!(".{name}.{}", random()?));
        let mut file = private().create_new(true).write(true).open(&path)?;
        file.write_all(body)?;
        file.sync_all()?;
        Ok(path)
    }
}

/// Options for files that only their owner may access.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Returns 128 random bits, in hex.
pub(super) fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex(&bytes))
}

/// The id of this boot of the machine; empty if the kernel shows none.
pub fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_claims_one_wins() {
        let held = tempfile::tempdir().expect("a folder");
        let folder = Folder::at(held.path());
        let wins = std::thread::scope(|scope| {
            let claims: Vec<_> = (0..8u8)
                .map(|n| {
                    scope.spawn({
                        let folder = &folder;
                        move || folder.claim("spec", &[n])
                    })
                })
                .collect();
            claims
                .into_iter()
                .filter(|_| true)
                .map(|claim| claim.join().expect("no panic").expect("claimed"))
                .filter(|&won| won)
                .count()
        });
        assert_eq!(wins, 1);
        let left: Vec<_> = fs::read_dir(held.path()).expect("listed").collect();
        assert_eq!(left.len(), 1, "no temporary files stay");
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let held = tempfile::tempdir().expect("a folder");
        let folder = Folder::at(held.path());
        let first = folder.lock().expect("locked");
        assert!(first.is_some());
        assert!(folder.lock().expect("asked").is_none());
        drop(first);
        assert!(folder.lock().expect("locked").is_some());
    }
}
