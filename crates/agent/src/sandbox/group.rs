//! A control group (version 2) for each job, if the kernel lets us make one: it lists exactly the
//! job's processes without a search through `/proc`.
//!
//! The host makes it below its own group, which works if that is delegated to its user: as root, in
//! many containers, under systemd with `Delegate=yes`. Otherwise [`super::processes`] finds the
//! job's processes. No controller is enabled and no limit set here. A job cannot leave its group,
//! because no box lets it write there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::processes::{self, Process};

/// The control group of one job, by its folder.
#[derive(Clone, Debug)]
pub(crate) struct Group(PathBuf);

impl Group {
    /// Where the group `name` would be, below our own group; `None` without control groups of
    /// version 2.
    pub(crate) fn place(name: &str) -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        Some(own_group(&mounts, &own)?.join(name))
    }

    /// Creates the group at `place`. An existing one is taken over: only this job has that name.
    pub(crate) fn make(place: &Path) -> io::Result<Self> {
        match fs::create_dir(place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        Ok(Self(place.to_owned()))
    }

    pub(crate) fn open(place: &Path) -> Option<Self> {
        place.join("cgroup.procs").exists().then(|| Self(place.to_owned()))
    }

    /// Enters the group, calls `spawn`, so that what it starts begins there, and comes back out. If
    /// the caller cannot enter or cannot come back, `spawn` is called all the same: the error
    /// contains what was spawned, and the group must not be used.
    pub(crate) fn around<T>(&self, spawn: impl FnOnce() -> T) -> Result<T, Outside<T>> {
        let Some(outer) = self.0.parent() else { return Err(Outside::Never(spawn())) };
        if enter(&self.0).is_err() {
            return Err(Outside::Never(spawn()));
        }
        let spawned = spawn();
        match enter(outer) {
            Ok(()) => Ok(spawned),
            Err(_) => Err(Outside::Stuck(spawned)),
        }
    }

    pub(crate) fn processes(&self) -> io::Result<Vec<Process>> {
        let text = fs::read_to_string(self.0.join("cgroup.procs"))?;
        let pids = text.lines().filter_map(|line| line.parse().ok());
        Ok(pids.filter_map(processes::look).filter(|process| !process.zombie).collect())
    }

    /// Kills everything in the group in one step that no fork escapes, if the kernel can (5.14).
    pub(crate) fn kill(&self) {
        // If it fails, the caller finds and kills what there is.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
    }

    pub(crate) fn remove(&self) {
        // A group that stays behind is empty and harmless.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Something that was spawned, but for which the group cannot be used.
pub(crate) enum Outside<T> {
    /// The group could not be entered.
    Never(T),
    /// The caller could not come back out, and is in the group itself.
    Stuck(T),
}

/// Moves the calling process into the group in this folder.
fn enter(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), "0")
}

/// The folder of the caller's own group: its path below the mount of version 2.
fn own_group(mounts: &str, own: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // A path with `..` lies outside of our cgroup namespace, and cannot be reached.
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let mount = mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A mount of only a part of the tree does not tell where our group is in it.
        (kind.starts_with("cgroup2 ") && root == "/").then_some(point)
    })?;
    Some(Path::new(mount).join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_below_its_mount() {
        let hybrid = "25 20 0:22 / /sys/fs/cgroup ro - tmpfs none rw\n\
                      33 25 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let unified = "33 25 0:30 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let part = "33 25 0:30 /a/b /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let check = |mounts: &str, own: &str, expected: Option<&str>| {
            assert_eq!(own_group(mounts, own).as_deref(), expected.map(Path::new), "{own}");
        };
        check(hybrid, "4:memory:/x\n0::/\n", Some("/sys/fs/cgroup/unified"));
        check(
            unified,
            "0::/user.slice/afk.service\n",
            Some("/sys/fs/cgroup/user.slice/afk.service"),
        );
        check(unified, "0::/../other\n", None);
        check(part, "0::/\n", None);
        check("", "0::/\n", None);
        check(hybrid, "4:memory:/x\n", None);
    }
}
