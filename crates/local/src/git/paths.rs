//! Makes safe file names, and removes folders with hostile content safely.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::error::GitError;
use super::lock::beside;

/// Returns a single path component for any name: its plain characters and a hash of the whole name.
pub fn sanitise(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let readable: String = name.chars().map(plain).take(48).collect();
    let readable = readable.trim_start_matches(['-', '_']);
    let mut hash = String::new();
    for byte in Sha256::digest(name.as_bytes()).iter().take(6) {
        use std::fmt::Write as _;
        let _ = write!(hash, "{byte:02x}");
    }
    if readable.is_empty() { hash } else { format!("{readable}-{hash}") }
}

/// Removes a file or a folder with its contents; no error if it does not exist.
///
/// Follows no symlink, even one created meanwhile; makes read-only folders (Go's module cache)
/// writable; and works without recursion: a folder is moved up before it is emptied, so that no
/// depth exhausts stack or descriptors. The path disappears at once, by a rename; a call after a
/// crash removes what was left.
pub fn remove_tree(path: &Path) -> Result<(), GitError> {
    let failed = |source: rustix::io::Errno| GitError::io("remove", path, source.into());
    let trash = beside(path, ".trash");
    if matches!(path.symlink_metadata(), Ok(meta) if !meta.is_dir()) {
        std::fs::remove_file(path).map_err(|e| GitError::io("remove", path, e))?;
    }
    let there = path.symlink_metadata().is_ok();
    if !there && trash.symlink_metadata().is_err() {
        return Ok(());
    }
    std::fs::create_dir_all(&trash).map_err(|e| GitError::io("create", &trash, e))?;
    let pit = open_folder(CWD, trash.as_os_str()).map_err(failed)?;
    let mut queue = names(&pit).map_err(failed)?;
    let number = |name: &CString| name.to_str().ok().and_then(|n| n.parse::<u64>().ok());
    let mut next = queue.iter().filter_map(|(name, _)| number(name)).max().unwrap_or(0);
    if there {
        let name = free_name(&mut next);
        make_writable(CWD, path.as_os_str()).map_err(failed)?;
        rustix::fs::renameat(CWD, path, &pit, &name).map_err(failed)?;
        queue.push((name, true));
    }
    while let Some((name, folder)) = queue.pop() {
        if !folder {
            rustix::fs::unlinkat(&pit, &name, AtFlags::empty()).map_err(failed)?;
            continue;
        }
        make_writable(pit.as_fd(), OsStr::from_bytes(name.as_bytes())).map_err(failed)?;
        let open = open_folder(pit.as_fd(), OsStr::from_bytes(name.as_bytes())).map_err(failed)?;
        for (inner, folder) in names(&open).map_err(failed)? {
            if folder {
                let moved = free_name(&mut next);
                make_writable(open.as_fd(), OsStr::from_bytes(inner.as_bytes())).map_err(failed)?;
                rustix::fs::renameat(&open, &inner, &pit, &moved).map_err(failed)?;
                queue.push((moved, true));
            } else {
                rustix::fs::unlinkat(&open, &inner, AtFlags::empty()).map_err(failed)?;
            }
        }
        rustix::fs::unlinkat(&pit, &name, AtFlags::REMOVEDIR).map_err(failed)?;
    }
    std::fs::remove_dir(&trash).map_err(|e| GitError::io("remove", &trash, e))
}

/// Returns a name that is not used in the trash: the next number above every existing one.
fn free_name(next: &mut u64) -> CString {
    *next += 1;
    CString::new(next.to_string()).unwrap_or_default()
}

/// Returns the names in a folder, each with whether it is a folder itself.
fn names(folder: &OwnedFd) -> rustix::io::Result<Vec<(CString, bool)>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_owned();
        if matches!(name.as_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            known => known,
        };
        names.push((name, kind == FileType::Directory));
    }
    Ok(names)
}

fn open_folder(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Gives the owner every permission on a folder. It is held open meanwhile, and must not be a
/// symlink.
fn make_writable(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = rustix::fs::openat(at, name, flags, Mode::empty())?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&held)?.st_mode);
    if mode.contains(Mode::RWXU) {
        return Ok(());
    }
    // An O_PATH descriptor cannot be changed directly, only by its name in /proc.
    let name = format!("/proc/self/fd/{}", held.as_raw_fd());
    rustix::fs::chmodat(CWD, name, mode | Mode::RWXU, AtFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_its_folder_and_never_meets_another() {
        for name in ["o/r", "../../etc", ".", "..", "", "-rf", "a\0b", "ü", &"x".repeat(500)] {
            let safe = sanitise(name);
            assert_eq!(Path::new(&safe).components().count(), 1, "{name:?}");
            assert!(!safe.starts_with(['.', '-']) && safe.len() < 70, "{safe}");
        }
        assert_ne!(sanitise("o/r"), sanitise("o_r"));
        assert_ne!(sanitise("O/r"), sanitise("o/r"));
        assert_eq!(sanitise("o/r"), sanitise("o/r"));
    }

    #[test]
    fn symlinks_are_removed_and_what_they_name_is_not() {
        let root = tempfile::tempdir().unwrap();
        let kept = root.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("f"), "x").unwrap();
        let run = root.path().join("run");
        std::fs::create_dir_all(run.join("a/b")).unwrap();
        std::os::unix::fs::symlink(&kept, run.join("a/link")).unwrap();
        std::os::unix::fs::symlink("nowhere", run.join("a/dangling")).unwrap();
        remove_tree(&run).unwrap();
        remove_tree(&run).unwrap();
        assert!(!run.exists() && kept.join("f").exists());
        std::os::unix::fs::symlink(&kept, &run).unwrap();
        remove_tree(&run).unwrap();
        assert!(run.symlink_metadata().is_err() && kept.join("f").exists());
    }

    #[test]
    fn a_removal_that_was_cut_off_is_taken_up() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("run");
        std::fs::create_dir_all(root.path().join("run.trash/1/x")).unwrap();
        std::fs::write(root.path().join("run.trash/2"), "").unwrap();
        std::fs::create_dir_all(run.join("y")).unwrap();
        remove_tree(&run).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_depth_is_too_deep() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("run");
        std::fs::create_dir(&run).unwrap();
        let mut at = open_folder(CWD, run.as_os_str()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open_folder(at.as_fd(), OsStr::new("d")).unwrap();
        }
        remove_tree(&run).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
