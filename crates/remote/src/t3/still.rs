//! Whether a workspace is still: nothing in it has changed for a while.
//!
//! An agent whose server was ended under it goes on working, and nobody can be asked about it. If
//! its workspace is on this machine, what it writes shows that it does.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use afk_core::ids::At;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// How long nothing must have changed. Well below the minute that stopping may take before the
/// repository is frozen.
const STILL: SignedDuration = SignedDuration::from_secs(15);
/// The largest number of files that are looked at.
const MOST: usize = 100_000;

/// A workspace as it was last seen. It is kept in the turn's note, because the next look may be
/// another process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Quiet {
    /// The fingerprint of its files. Another release of Rust may compute another one, which counts
    /// as a change.
    print: u64,
    /// Since when it has been the same.
    since: At,
}

/// What a look at a workspace shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stillness {
    /// Nothing has changed for a while, or there is no workspace.
    Still,
    /// Something changed not long ago, or nobody has looked before. The next look needs this.
    Settling(Quiet),
    /// It could not be looked at.
    Unseen,
}

/// Looks at the workspace in `folder`, which was `before` at the last look.
pub(super) async fn look(folder: PathBuf, before: Option<Quiet>, now: At) -> Stillness {
    let Ok(print) = tokio::task::spawn_blocking(move || print_of(&folder)).await else {
        return Stillness::Unseen;
    };
    let Some(print) = print else { return Stillness::Still };
    // A time that is still to come was noted before the clock was set back.
    let same = before.filter(|before| before.print == print && before.since <= now);
    match same {
        Some(same) if now.duration_since(same.since) >= STILL => Stillness::Still,
        Some(same) => Stillness::Settling(same),
        None => Stillness::Settling(Quiet { print, since: now }),
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
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/file");
        let mut known = None;
        let mut is_still = async |second| match look(folder.path().into(), known, at(second)).await
        {
            Stillness::Still => true,
            Stillness::Settling(quiet) => {
                known = Some(quiet);
                false
            }
            Stillness::Unseen => panic!("nobody looked"),
        };
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
        // After the clock was set back, the wait begins anew.
        assert!(!is_still(0).await);
        assert!(is_still(15).await);
        let gone = folder.path().join("gone");
        assert_eq!(look(gone, known, at(0)).await, Stillness::Still, "nothing is there to work in");
    }
}
