//! Where git's files are on disk, and what is removed when they take too much.
//!
//! ```text
//! root/mirrors/<repo>.git            a repo's bare mirror, which only the control plane uses
//! root/runs/<run>/clone              the agent's work tree and git directory
//! root/runs/<run>/home               the agent's home
//! root/runs/<run>/checkouts/<name>   files that jobs of proofs and stages work on
//! root/runs/<run>/kept.json          size and repo of the workspace of a run that is over
//! root/caches/<repo>/agent           build caches that agents fill
//! root/caches/<repo>/landed          build caches of stages of landed commits
//! root/caches/<repo>/fetched/<key>   what trees with the same manifests need from outside
//! ```
//!
//! Everything here blocks: async callers move it to another thread. The caller says which runs are
//! live; refs of a removed run are removed by [`super::Mirror::forget`].

use std::collections::BTreeSet;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use afk_core::ids::{RepoName, RunId};
use serde::{Deserialize, Serialize};

use super::error::GitError;
use super::paths::{remove_tree, sanitise};

/// The file in a run's folder with its [`Note`].
const NOTE: &str = "kept.json";

/// The folder under which the control plane keeps all of git's files.
#[derive(Debug, Clone)]
pub struct Workspaces {
    root: PathBuf,
}

/// The folders of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolders {
    /// The folder with all of them; the agent cannot write to it directly.
    pub dir: PathBuf,
    /// The clone.
    pub clone: PathBuf,
    /// The agent's home.
    pub home: PathBuf,
    /// The folders that jobs of proofs and stages work in.
    pub checkouts: PathBuf,
}

/// A workspace of a run that is not live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptWorkspace {
    /// The run.
    pub run: RunId,
    /// What was recorded about it.
    pub note: Note,
}

/// What is recorded about a workspace when it is kept, so that it need not be measured again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The run's repo; `None` if it was not known when the note was written.
    pub repo: Option<RepoName>,
    /// The workspace's size on disk, in bytes.
    pub bytes: u64,
    /// Whether the workspace was removed, and only the run's commits are left, in the mirror.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub commits_alone: bool,
}

/// The folders of a repo's caches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caches {
    /// Build caches that agents share.
    pub agent: PathBuf,
    /// Build caches that stages of landed commits share.
    pub landed: PathBuf,
    /// What was fetched for trees, in a folder for each key.
    pub fetched: PathBuf,
}

impl Workspaces {
    /// Opens the root (absolute) and creates it if necessary, so that only the owner may enter it.
    /// Its contents are created when needed.
    pub fn open(root: &Path) -> Result<Self, GitError> {
        if !root.is_absolute() {
            let text = root.to_string_lossy();
            return Err(GitError::bad_name("the workspace root", &text, "it must be absolute"));
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        made.map_err(|e| GitError::io("create", root, e))?;
        let root = root.canonicalize().map_err(|e| GitError::io("open", root, e))?;
        Ok(Self { root })
    }

    /// Returns the root, with symlinks resolved.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder of a repo's mirror.
    pub fn mirror(&self, repo: &RepoName) -> PathBuf {
        self.root.join("mirrors").join(format!("{}.git", sanitise(repo.as_str())))
    }

    /// Returns the folders of a run. Does no I/O.
    pub fn run(&self, run: RunId) -> RunFolders {
        let dir = self.root.join("runs").join(run.to_string());
        RunFolders {
            clone: dir.join("clone"),
            home: dir.join("home"),
            checkouts: dir.join("checkouts"),
            dir,
        }
    }

    /// Returns the folder of a run's jobs, to which their hosts write.
    pub fn jobs(&self, run: RunId) -> PathBuf {
        self.root.join("jobs").join(run.to_string())
    }

    /// Returns the folders of a repo's caches.
    pub fn caches(&self, repo: &RepoName) -> Caches {
        let dir = self.root.join("caches").join(sanitise(repo.as_str()));
        Caches {
            agent: dir.join("agent"),
            landed: dir.join("landed"),
            fetched: dir.join("fetched"),
        }
    }

    /// Removes build caches, the least recently used first, until the rest takes at most `bytes`
    /// and `free` bytes are free on the disk. Caches of repos that are `busy` stay, because their
    /// jobs read them. If some cannot be removed, the error is that of the first.
    pub fn trim_caches(
        &self,
        busy: &BTreeSet<RepoName>,
        bytes: u64,
        free: u64,
    ) -> Result<(), GitError> {
        let busy: BTreeSet<String> = busy.iter().map(|repo| sanitise(repo.as_str())).collect();
        let repos = std::fs::read_dir(self.root.join("caches")).into_iter().flatten().flatten();
        let (mut idle, mut total) = (Vec::new(), 0);
        for repo in repos {
            let held = busy.contains(&*repo.file_name().to_string_lossy());
            for part in [repo.path().join("agent"), repo.path().join("landed")] {
                let Ok(meta) = part.symlink_metadata() else { continue };
                let size = disk_usage(&part);
                total += size;
                if let Ok(used) = meta.modified()
                    && !held
                {
                    idle.push((used, size, part));
                }
            }
        }
        idle.sort();
        let mut failed = None;
        for (_, size, part) in idle {
            if total <= bytes && self.require_space(free).is_ok() {
                break;
            }
            if let Err(error) = remove_tree(&part) {
                failed.get_or_insert(error);
                continue;
            }
            total -= size;
            tracing::info!(cache = %part.display(), bytes = size, "build cache removed: the limit is reached");
        }
        failed.map_or(Ok(()), Err)
    }

    /// Returns, for every repo, the folder of what was fetched for trees.
    pub fn all_fetched(&self) -> Vec<PathBuf> {
        let repos = std::fs::read_dir(self.root.join("caches")).into_iter().flatten().flatten();
        repos.map(|repo| repo.path().join("fetched")).collect()
    }

    /// Creates a run's folders, except for the clone; existing ones stay.
    pub fn prepare(&self, run: RunId) -> Result<RunFolders, GitError> {
        let folders = self.run(run);
        for path in [&folders.dir, &folders.home, &folders.checkouts] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|e| GitError::io("create", path, e))?;
        }
        Ok(folders)
    }

    /// Removes a run's folders with their contents.
    pub fn remove_run(&self, run: RunId) -> Result<(), GitError> {
        remove_tree(&self.run(run).dir)
    }

    /// Removes the workspace of an ended run of `repo`, except for a note that says that the run's
    /// commits are kept.
    pub fn strip(&self, run: RunId, repo: &RepoName) -> Result<(), GitError> {
        let RunFolders { dir, clone, home, checkouts } = self.run(run);
        for path in [&clone, &home, &checkouts] {
            remove_tree(path)?;
        }
        // Written last, so that an interrupted removal still counts with its former size.
        write(&dir, &Note { repo: Some(repo.clone()), bytes: 0, commits_alone: true });
        Ok(())
    }

    /// Fails with [`GitError::DiskFull`] if fewer than `bytes` are free under the root, or at most
    /// 1000 more files can be created there.
    pub fn require_space(&self, bytes: u64) -> Result<(), GitError> {
        let stat = rustix::fs::statvfs(&self.root)
            .map_err(|e| GitError::io("measure", &self.root, e.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        // A file system without a fixed number of files reports 0 of 0.
        let files = stat.f_files == 0 || stat.f_favail > 1000;
        if free >= bytes && files {
            return Ok(());
        }
        let mib = |n: u64| n >> 20;
        let root = self.root.display();
        let detail = if files {
            format!("{} MiB are free at {root}, but {} MiB are needed", mib(free), mib(bytes))
        } else {
            format!("only {} more files can be created at {root}", stat.f_favail)
        };
        Err(GitError::DiskFull { command: "dispatch", detail })
    }

    /// Measures the workspace of an ended run of `repo`, and records its size.
    pub fn keep(&self, run: RunId, repo: &RepoName) {
        measure(&self.run(run).dir, Some(repo.clone()));
    }

    /// Returns the workspaces of runs that are not `live`, oldest first (a run's id begins with its
    /// time). Only workspaces without a recorded size are measured.
    pub fn kept(&self, live: &BTreeSet<RunId>) -> Result<Vec<KeptWorkspace>, GitError> {
        let dir = self.root.join("runs");
        let failed = |e| GitError::io("list", &dir, e);
        let mut kept = Vec::new();
        let entries = match std::fs::read_dir(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(kept),
            read => read.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            // The `.trash` of an interrupted removal belongs to its run.
            let name = name.to_string_lossy();
            let Ok(run) = name.strip_suffix(".trash").unwrap_or(&name).parse() else { continue };
            if live.contains(&run) {
                continue;
            }
            let noted = std::fs::read(entry.path().join(NOTE));
            let note = match noted.ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                Some(note) => note,
                None => measure(&entry.path(), None),
            };
            kept.push(KeptWorkspace { run, note });
        }
        kept.sort_by_key(|k| k.run);
        kept.dedup_by(|later, first| {
            let same = later.run == first.run;
            first.note.bytes += if same { later.note.bytes } else { 0 };
            same
        });
        Ok(kept)
    }

    /// Returns those of `kept`, oldest first, that must be removed so that the rest takes at most
    /// `bytes`.
    pub fn surplus(kept: &[KeptWorkspace], bytes: u64) -> Vec<KeptWorkspace> {
        let mut total: u64 = kept.iter().map(|k| k.note.bytes).sum();
        let mut surplus = Vec::new();
        for old in kept {
            if total <= bytes {
                break;
            }
            total = total.saturating_sub(old.note.bytes);
            surplus.push(old.clone());
        }
        surplus
    }
}

/// Measures a run's folder and records its size. If the note cannot be written, as on a full disk,
/// the folder is measured again the next time.
fn measure(dir: &Path, repo: Option<RepoName>) -> Note {
    let note = Note { repo, bytes: disk_usage(dir), commits_alone: false };
    write(dir, &note);
    note
}

fn write(dir: &Path, note: &Note) {
    if let Ok(text) = serde_json::to_vec(note) {
        let _ = std::fs::write(dir.join(NOTE), text);
    }
}

/// Returns the bytes on disk under a folder. Symlinks are not followed, and what cannot be read
/// counts as zero.
fn disk_usage(path: &Path) -> u64 {
    let mut total = 0;
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            total += meta.blocks() * 512;
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u8) -> RunId {
        format!("0198c0de-0000-7000-8000-0000000000{n:02}").parse().unwrap()
    }

    fn filled(spaces: &Workspaces, n: u8, bytes: usize) {
        let folders = spaces.prepare(run(n)).unwrap();
        std::fs::write(folders.home.join("f"), vec![b'x'; bytes]).unwrap();
    }

    #[test]
    fn the_oldest_goes_first_and_the_live_never() {
        let root = tempfile::tempdir().unwrap();
        let spaces = Workspaces::open(root.path()).unwrap();
        for n in 1..=4 {
            filled(&spaces, n, 1 << 20);
        }
        let live = BTreeSet::from([run(1)]);
        let surplus = Workspaces::surplus(&spaces.kept(&live).unwrap(), (5 << 20) / 2);
        assert_eq!(surplus.iter().map(|k| k.run).collect::<Vec<_>>(), [run(2)]);
        spaces.remove_run(run(2)).unwrap();
        let left: Vec<_> = spaces.kept(&live).unwrap().into_iter().map(|k| k.run).collect();
        assert_eq!(left, vec![run(3), run(4)]);
        assert_eq!(Workspaces::surplus(&spaces.kept(&live).unwrap(), u64::MAX), vec![]);
        spaces.remove_run(run(3)).unwrap();
        spaces.remove_run(run(3)).unwrap();
    }

    #[test]
    fn a_workspace_is_measured_once_and_a_live_one_never() {
        let root = tempfile::tempdir().unwrap();
        let spaces = Workspaces::open(root.path()).unwrap();
        for n in 1..=3 {
            filled(&spaces, n, 1 << 20);
        }
        let repo: RepoName = "o/r".parse().unwrap();
        spaces.keep(run(1), &repo);
        spaces.keep(run(9), &repo);
        let live = BTreeSet::from([run(3)]);
        let first = spaces.kept(&live).unwrap();
        assert_eq!(first.iter().map(|k| k.run).collect::<Vec<_>>(), [run(1), run(2)]);
        let repos: Vec<_> = first.iter().map(|k| k.note.repo.clone()).collect();
        assert_eq!(repos, [Some(repo.clone()), None]);
        // A second measurement would notice what was added since.
        for n in 1..=3 {
            filled(&spaces, n, 8 << 20);
        }
        assert_eq!(spaces.kept(&live).unwrap(), first);
        assert!(!spaces.run(run(3)).dir.join(NOTE).exists());
        spaces.keep(run(1), &repo);
        assert!(spaces.kept(&live).unwrap()[0].note.bytes > first[0].note.bytes);
    }

    #[test]
    fn of_a_stripped_workspace_only_the_note_is_left() {
        let root = tempfile::tempdir().unwrap();
        let spaces = Workspaces::open(root.path()).unwrap();
        let repo: RepoName = "o/r".parse().unwrap();
        filled(&spaces, 1, 1 << 20);
        spaces.keep(run(1), &repo);
        for _ in 0..2 {
            spaces.strip(run(1), &repo).unwrap();
            let kept = spaces.kept(&BTreeSet::new()).unwrap();
            let note = Note { repo: Some(repo.clone()), bytes: 0, commits_alone: true };
            assert_eq!(kept, [KeptWorkspace { run: run(1), note }]);
            assert!(!spaces.run(run(1)).home.exists());
        }
    }

    #[test]
    fn the_cache_that_was_not_used_for_longest_goes_first_and_none_of_a_busy_repo() {
        let root = tempfile::tempdir().unwrap();
        let spaces = Workspaces::open(root.path()).unwrap();
        let repo = |name: &str| name.parse::<RepoName>().unwrap();
        let day = |n: u64| std::time::UNIX_EPOCH + std::time::Duration::from_hours(24 * n);
        let parts = ["o/busy", "o/old", "o/new"].map(|name| spaces.caches(&repo(name)).agent);
        for (n, part) in (0..).zip(&parts) {
            std::fs::create_dir_all(part).unwrap();
            std::fs::write(part.join("f"), vec![b'x'; 1 << 20]).unwrap();
            std::fs::File::open(part).unwrap().set_modified(day(n)).unwrap();
        }
        let fetched = spaces.caches(&repo("o/old")).fetched;
        std::fs::create_dir_all(&fetched).unwrap();
        let busy = BTreeSet::from([repo("o/busy")]);
        let left = |spaces: &Workspaces, bytes, free| {
            spaces.trim_caches(&busy, bytes, free).unwrap();
            parts.each_ref().map(|part| part.exists())
        };
        assert_eq!(left(&spaces, 4 << 20, 0), [true, true, true]);
        assert_eq!(left(&spaces, (5 << 20) / 2, 0), [true, false, true]);
        assert_eq!(left(&spaces, 4 << 20, u64::MAX), [true, false, false], "the disk is full");
        assert!(fetched.exists(), "its own limit is time");
    }

    #[test]
    fn a_cache_that_cannot_be_removed_keeps_no_other_on_the_disk() {
        let root = tempfile::tempdir().unwrap();
        let spaces = Workspaces::open(root.path()).unwrap();
        let repo: RepoName = "o/r".parse().unwrap();
        let Caches { agent, landed, .. } = spaces.caches(&repo);
        for (part, used) in [(&agent, 1), (&landed, 2)] {
            std::fs::create_dir_all(part).unwrap();
            let used = std::time::UNIX_EPOCH + std::time::Duration::from_secs(used);
            std::fs::File::open(part).unwrap().set_modified(used).unwrap();
        }
        // It is in the way of the removal.
        std::fs::write(agent.with_extension("trash"), "").unwrap();
        spaces.trim_caches(&BTreeSet::new(), 0, u64::MAX).unwrap_err();
        assert!(agent.exists() && !landed.exists());
    }

    #[test]
    fn too_little_space_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let spaces = Workspaces::open(root.path()).unwrap();
        spaces.require_space(1).unwrap();
        let error = spaces.require_space(u64::MAX).unwrap_err().to_string();
        assert!(error.contains("the disk is full") && error.contains("are needed"), "{error}");
        assert!(Workspaces::open(Path::new("relative")).is_err());
    }

    #[test]
    fn every_folder_is_under_the_root() {
        let root = tempfile::tempdir().unwrap();
        let spaces = Workspaces::open(root.path()).unwrap();
        let repo: RepoName = "o.x/r..".parse().unwrap();
        for path in [spaces.mirror(&repo), spaces.run(run(1)).clone, spaces.caches(&repo).fetched] {
            assert!(path.starts_with(spaces.root()), "{path:?}");
            assert!(!path.components().any(|c| c == std::path::Component::ParentDir));
        }
    }
}
