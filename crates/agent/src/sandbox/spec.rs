//! What one boxed process may see and use.
//!
//! A [`BoxSpec`] is made by whoever wants a job, stored in the job's spec file, and read by the
//! host. It contains no secrets: the host gets those separately.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::egress::Egress;

/// One boxed process: what runs, and what it may see and use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxSpec {
    /// Program and arguments; a program without a slash is looked up on the box's `PATH`.
    pub argv: Vec<String>,
    /// Working folder, as seen inside.
    pub cwd: PathBuf,
    /// The whole environment: nothing is inherited. `PATH`, `HOME`, `USER`, `TMPDIR`, `LANG` and
    /// the like have defaults that an entry here replaces.
    pub env: BTreeMap<String, String>,
    /// `HOME` inside. `None` is a new, empty folder for this box alone; to keep a home between
    /// jobs, bind a folder and name its target here.
    pub home: Option<PathBuf>,
    /// What is visible besides the system's own read-only folders.
    pub binds: Vec<Bind>,
    /// Paths inside that must look empty, although a bind above shows them. Only bubblewrap can do
    /// it: landlock alone refuses the job, and without any sandbox the paths stay visible.
    pub masked: Vec<PathBuf>,
    /// Network access.
    pub network: Network,
    /// Resource limits.
    pub limits: Limits,
    /// What to do if this machine cannot build a full sandbox.
    pub requirement: Requirement,
}

/// One folder or file that the box sees.
///
/// `source` must not be where an earlier job could have placed a symlink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Path on this machine.
    pub source: PathBuf,
    /// Path inside. Without bubblewrap it must equal `source`.
    pub target: PathBuf,
    /// Read-only or writable.
    pub access: Access,
}

/// What a bind allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read and execute.
    ReadOnly,
    /// Read, write and execute.
    ReadWrite,
}

/// Network access of a box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Only its own loopback. Without bubblewrap only TCP is refused.
    None,
    /// Its own loopback, and what these rules let out, through a proxy there. Without bubblewrap
    /// the job is refused.
    Through(Egress),
    /// The machine's network.
    Open,
}

/// Resource limits of a box. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Resident memory of all its processes together, in bytes. Above that the host kills the job.
    pub memory: Option<u64>,
    /// Threads of all its processes together. Above that the host kills the job; the kernel refuses
    /// more of them, too, unless the box runs as the machine's root.
    pub processes: Option<u64>,
    /// Size of the largest file that it may write, in bytes.
    pub file_size: Option<u64>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Size of each of its memory-backed folders (`/tmp`, `HOME`, `/dev/shm`, …), in bytes; only
    /// with bubblewrap.
    pub scratch: u64,
}

/// What to do if this machine cannot build a full sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// Refuse to run without a full sandbox.
    Required,
    /// Take the best sandbox that is available, and report its strength.
    Preferred,
    /// Only landlock, even if bubblewrap works: for machines on which bubblewrap gets in the way.
    LandlockOnly,
    /// No sandbox, even if there could be one.
    Off,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Some(8 << 30),
            processes: Some(4096),
            file_size: Some(8 << 30),
            open_files: Some(65_536),
            scratch: 1 << 30,
        }
    }
}

impl BoxSpec {
    /// A box that runs `argv` in `cwd` and sees only the system: no network, sandbox required.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>, cwd: impl Into<PathBuf>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            cwd: cwd.into(),
            env: BTreeMap::new(),
            home: None,
            binds: Vec::new(),
            masked: Vec::new(),
            network: Network::None,
            limits: Limits::default(),
            requirement: Requirement::Required,
        }
    }

    /// Adds a bind of `path` at the same path inside.
    #[must_use]
    pub fn bind(mut self, path: impl Into<PathBuf>, access: Access) -> Self {
        let source = path.into();
        self.binds.push(Bind { target: source.clone(), source, access });
        self
    }

    /// The binds, outermost target first, so that an outer one does not cover an inner one.
    pub(crate) fn binds_outermost_first(&self) -> Vec<&Bind> {
        let mut binds: Vec<&Bind> = self.binds.iter().collect();
        binds.sort_by_key(|bind| bind.target.components().count());
        binds
    }

    /// What is wrong with the spec itself, whatever the machine.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.argv.first().is_none_or(String::is_empty) {
            return Some("no program to run".to_owned());
        }
        if self.argv.iter().any(|word| word.contains('\0')) {
            return Some("an argument holds a NUL byte".to_owned());
        }
        if let Some(name) =
            self.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            return Some(format!(
                "`{}` is not the name of an environment variable",
                name.escape_debug()
            ));
        }
        if self.binds.iter().any(|bind| bind.target.parent().is_none()) {
            return Some("a bind cannot cover the root of the box".to_owned());
        }
        let paths = self.binds.iter().flat_map(|bind| [&bind.source, &bind.target]);
        paths
            .chain(&self.masked)
            .chain(&self.home)
            .chain([&self.cwd])
            .find(|path| !is_plain(path))
            .map(|path| format!("`{}` is not an absolute path without `..`", path.display()))
    }
}

/// Whether a path is absolute and has no `..`.
fn is_plain(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|part| part == std::path::Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut BoxSpec), fault: Option<&str>) {
        let mut spec = BoxSpec::new(["true"], "/");
        change(&mut spec);
        assert_eq!(spec.fault().as_deref(), fault);
    }

    #[test]
    fn a_spec_says_its_own_faults() {
        check(|_| {}, None);
        check(|spec| spec.argv.clear(), Some("no program to run"));
        check(|spec| spec.argv.push("a\0b".to_owned()), Some("an argument holds a NUL byte"));
        check(
            |spec| drop(spec.env.insert("A=B".to_owned(), String::new())),
            Some("`A=B` is not the name of an environment variable"),
        );
        check(|spec| spec.cwd = "work".into(), Some("`work` is not an absolute path without `..`"));
        check(
            |spec| spec.masked.push("/a/../b".into()),
            Some("`/a/../b` is not an absolute path without `..`"),
        );
    }

    #[test]
    fn an_inner_bind_comes_after_its_outer_one() {
        let spec = BoxSpec::new(["true"], "/")
            .bind("/a/b/c", Access::ReadOnly)
            .bind("/a", Access::ReadWrite);
        let targets: Vec<_> =
            spec.binds_outermost_first().iter().map(|bind| bind.target.clone()).collect();
        assert_eq!(targets, [PathBuf::from("/a"), PathBuf::from("/a/b/c")]);
    }
}
