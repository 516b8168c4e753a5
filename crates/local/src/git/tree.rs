//! Composes trees and writes them out, each in an index of its own.
//!
//! [`Mirror::compose`] makes the trees of a proof; [`Mirror::checkout`] writes their files. No
//! filter runs (none is configured), symlinks are written as they are, and a checkout has no `.git`
//! unless it is asked for.

use std::path::{Path, PathBuf};

use afk_core::ids::Oid;

use super::error::GitError;
use super::landing::Identity;
use super::lock::beside;
use super::mirror::{Mirror, one_oid, publish};
use super::paths::remove_tree;

/// The mode of a tree's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A plain file, `100644`.
    File,
    /// An executable file, `100755`.
    Executable,
    /// A symbolic link, `120000`.
    Symlink,
    /// A submodule's commit, `160000`.
    Gitlink,
}

impl Mode {
    /// Parses a mode as git writes it, in octal; `None` for a folder or an unknown mode.
    pub fn parse(octal: &str) -> Option<Self> {
        match octal {
            // Old trees have group-writable files, which git reads as plain ones.
            "100644" | "100664" => Some(Self::File),
            "100755" => Some(Self::Executable),
            "120000" => Some(Self::Symlink),
            "160000" => Some(Self::Gitlink),
            _ => None,
        }
    }

    /// Returns the mode as git writes it, in octal.
    pub fn octal(self) -> &'static str {
        match self {
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Gitlink => "160000",
        }
    }
}

/// One path to change in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path from the root, as bytes.
    pub path: Vec<u8>,
    /// The new entry; `None` removes the path.
    pub object: Option<(Mode, Oid)>,
}

impl Mirror {
    /// Makes the tree `base` with `entries` put into it. A path that git refuses is an error.
    pub async fn compose(&self, base: &Oid, entries: &[Entry]) -> Result<Oid, GitError> {
        let scratch = self.scratch()?;
        let index = scratch.path().join("index");
        let call = |name| self.call(name).env("GIT_INDEX_FILE", &index);
        call("read-tree").arg(base.as_str()).ok().await?;
        let mut lines = Vec::new();
        // Removals first: a file may be replaced by a folder of the same name.
        let (gone, put): (Vec<_>, Vec<_>) = entries.iter().partition(|e| e.object.is_none());
        for entry in gone.into_iter().chain(put) {
            if entry.path.is_empty() || entry.path.contains(&0) {
                let text = String::from_utf8_lossy(&entry.path);
                return Err(GitError::bad_name("the path", &text, "it is empty or holds a NUL"));
            }
            let (mode, id) = match &entry.object {
                Some((mode, id)) => (mode.octal(), id.to_string()),
                None => ("0", "0".repeat(base.as_str().len())),
            };
            lines.extend(format!("{mode} {id}\t").bytes());
            lines.extend(&entry.path);
            lines.push(0);
        }
        let put = call("update-index").args(["-z", "--index-info"]).input(lines).run().await?;
        if put.code != 0 {
            return Err(GitError::from_stderr("update-index", None, put.code, &put.stderr));
        }
        // Git only warns of a path that it takes for an attack, such as `.git/config`, and leaves
        // it out.
        if let Some((_, path)) = put.stderr.split_once("Ignoring path ") {
            return Err(GitError::bad_name("the path", path.trim(), "git does not take it"));
        }
        one_oid("write-tree", &call("write-tree").ok().await?)
    }

    /// Stores a content as a blob and returns its id.
    pub async fn write_blob(&self, content: &[u8]) -> Result<Oid, GitError> {
        let call = self.call("hash-object").args(["-w", "--stdin"]).input(content.to_vec());
        one_oid("hash-object", &call.ok().await?)
    }

    /// Writes the files of `tree` into `dir` (absolute), which afterwards contains nothing else. An
    /// existing checkout of the same tree is left as it is, with whatever was done in it: a clean
    /// one needs a folder of another name.
    pub async fn checkout(&self, tree: &Oid, dir: &Path) -> Result<(), GitError> {
        self.write_out(tree, None, dir).await
    }

    /// As [`Mirror::checkout`], with a `.git` in which `tree` is one commit on top of `base`, and
    /// which has the history of `base` and all tags. To tools that ask for these, all trees on the
    /// same base look alike.
    pub async fn checkout_with_history(
        &self,
        tree: &Oid,
        base: &Oid,
        dir: &Path,
    ) -> Result<(), GitError> {
        self.write_out(tree, Some(base), dir).await
    }

    async fn write_out(&self, tree: &Oid, base: Option<&Oid>, dir: &Path) -> Result<(), GitError> {
        let stamp = beside(dir, ".tree");
        let there = dir.symlink_metadata().is_ok_and(|m| m.is_dir());
        if there && std::fs::read(&stamp).is_ok_and(|s| s == tree.as_str().as_bytes()) {
            return Ok(());
        }
        let making = beside(dir, ".making");
        remove_tree(dir)?;
        remove_tree(&making)?;
        std::fs::create_dir_all(&making).map_err(|e| GitError::io("create", &making, e))?;
        let scratch = self.scratch()?;
        let index = scratch.path().join("index");
        let call = |name| {
            let call = self.call(name).env("GIT_INDEX_FILE", &index).work_tree(&making);
            call.timeout(self.git().limits().network)
        };
        call("read-tree").arg(tree.as_str()).ok().await?;
        call("checkout-index").args(["--all", "--quiet"]).ok().await?;
        if let Some(base) = base {
            self.add_history(tree, base, &index, &making.join(".git")).await?;
        }
        // The stamp is written before the rename, so that a checkout always has its stamp.
        std::fs::write(&stamp, tree.as_str()).map_err(|e| GitError::io("stamp", &stamp, e))?;
        publish(&making, dir)
    }

    /// Makes the `.git` in `dir`, which borrows the mirror's objects and has only the most basic
    /// configuration.
    async fn add_history(
        &self,
        tree: &Oid,
        base: &Oid,
        index: &Path,
        dir: &Path,
    ) -> Result<(), GitError> {
        let (by, message) = (Identity::new("afk", "afk@localhost"), b"The tree that is judged\n");
        let parents = std::slice::from_ref(base);
        let commit = self.commit_tree(tree, parents, message, &by, &by, 0).await?;
        let format = "--format=%(objectname) %(refname)";
        let tags = self.call("for-each-ref").args([format, "refs/tags/"]).ok().await?;
        let mut objects = self.objects().into_os_string().into_encoded_bytes();
        objects.push(b'\n');
        let config = match base.as_str().len() {
            64 => "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n",
            _ => "[core]\n\trepositoryformatversion = 0\n",
        };
        for folder in ["objects/info", "refs/heads"] {
            let folder = dir.join(folder);
            std::fs::create_dir_all(&folder).map_err(|e| GitError::io("create", &folder, e))?;
        }
        for (name, content) in [
            ("HEAD", format!("{commit}\n").into_bytes()),
            ("config", config.as_bytes().to_vec()),
            ("packed-refs", tags),
            ("objects/info/alternates", objects),
        ] {
            let file = dir.join(name);
            std::fs::write(&file, content).map_err(|e| GitError::io("write", &file, e))?;
        }
        let to = dir.join("index");
        std::fs::copy(index, &to).map(drop).map_err(|e| GitError::io("write", &to, e))
    }

    /// Creates a temporary folder, for an index and its lock.
    pub(super) fn scratch(&self) -> Result<tempfile::TempDir, GitError> {
        tempfile::Builder::new()
            .prefix(SCRATCH)
            .tempdir_in(self.dir())
            .map_err(|e| GitError::io("create a folder in", self.dir(), e))
    }
}

/// The prefix of the names of these folders.
const SCRATCH: &str = "index-";

/// Removes folders of [`Mirror::scratch`] that are older than a day, and so were left by a killed
/// process.
pub(crate) fn sweep_scratch(mirror: &Path) -> Result<(), GitError> {
    let day = std::time::Duration::from_hours(24);
    let old = |path: &PathBuf| {
        let modified = path.symlink_metadata().and_then(|m| m.modified()).ok();
        modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > day)
    };
    let entries = std::fs::read_dir(mirror).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_name().as_encoded_bytes().starts_with(SCRATCH.as_bytes()))
        .map(|e| e.path())
        .filter(old)
        .try_for_each(|path| remove_tree(&path))
}
