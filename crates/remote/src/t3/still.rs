//! Whether a workspace is still: nothing in it has changed for a while.
//!
//! An agent whose server was ended under it goes on working, and nobody can be asked about it. If
//! its workspace is on this machine, what it writes shows that it does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use afk_core::ids::{At, RunId};
use jiff::SignedDuration;

/// How long nothing must have changed. Well below the minute that stopping may take before the
/// repository is frozen.
const STILL: SignedDuration = SignedDuration::from_secs(15);
/// The largest number of files that are looked at.
const MOST: usize = 100_000;
/// How many workspaces are remembered at most.
const KEPT: usize = 64;

/// The fingerprint of each workspace as it was last seen, and since when it has been the same.
#[derive(Default)]
pub(super) struct Stillness {
    seen: Mutex<BTreeMap<RunId, (u64, At)>>,
}

impl Stillness {
    /// Whether nothing has changed in the workspace of `run` between calls for a while; false at
    /// the first call. A workspace that does not exist is still.
    pub(super) async fn is_still(&self, run: RunId, folder: PathBuf, now: At) -> bool {
        let Ok(print) = tokio::task::spawn_blocking(move || print_of(&folder)).await else {
            return false;
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(print) = print else {
            seen.remove(&run);
            return true;
        };
        match seen.get(&run) {
            Some((known, since)) if *known == print => {
                let still = now.duration_since(*since) >= STILL;
                if still {
                    seen.remove(&run);
                }
                still
            }
            Some(_) | None => {
                seen.insert(run, (print, now));
                while seen.len() > KEPT {
                    seen.pop_first();
                }
                false
            }
        }
    }
}

/// A fingerprint of the paths, sizes and times of the files in `folder`; none if there is no
/// folder.
fn print_of(folder: &Path) -> Option<u64> {
    folder.symlink_metadata().ok()?;
    let (mut left, mut open, mut print) = (MOST, vec![folder.to_owned()], 0_u64);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let Some(rest) = left.checked_sub(1) else { return Some(print) };
            left = rest;
            // Git's index is written even by `git status`, which we run, too.
            let of_git = next.file_name() == Some(OsStr::new(".git"));
            if of_git && entry.file_name().as_encoded_bytes().starts_with(b"index") {
                continue;
            }
            let path = entry.path();
            // Links are not followed.
            let Ok(about) = entry.metadata() else { continue };
            let mut hasher = DefaultHasher::new();
            path.hash(&mut hasher);
            if !about.is_dir() {
                (about.len(), about.modified().ok()).hash(&mut hasher);
            }
            // A sum, since entries are listed in any order.
            print = print.wrapping_add(hasher.finish());
            if about.is_dir() {
                open.push(path);
            }
        }
    }
    Some(print)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_workspace_is_still_once_nothing_in_it_has_changed_for_a_while() {
        let at = |second: i64| At::from_second(1_800_000_000 + second).unwrap();
        let run: RunId = "01920000-0000-7000-8000-000000000001".parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/file");
        let stillness = Stillness::default();
        let is_still = |second| stillness.is_still(run, folder.path().to_owned(), at(second));
        assert!(!is_still(0).await, "nobody knows yet");
        assert!(!is_still(14).await);
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "one").unwrap();
        assert!(!is_still(20).await);
        std::fs::write(&file, "longer").unwrap();
        assert!(!is_still(34).await);
        std::fs::create_dir(folder.path().join(".git")).unwrap();
        assert!(!is_still(35).await);
        std::fs::write(folder.path().join(".git/index"), "read").unwrap();
        assert!(!is_still(49).await);
        assert!(is_still(50).await);
        let gone = folder.path().join("gone");
        assert!(stillness.is_still(run, gone, at(0)).await, "nothing works where nothing is");
    }
}
