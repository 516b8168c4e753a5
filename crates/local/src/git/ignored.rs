//! Finds what the `.gitignore` files of a commit ignore, as git itself reads them.
//!
//! The guardrails use this: an ignored path only gets into a commit by force. The mirror has no
//! work tree, so the `.gitignore` files that apply to a path are written into a scratch folder with
//! nothing else in it, and git is asked there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use afk_core::change::TreePath;
use afk_core::ids::Oid;

use super::error::GitError;
use super::mirror::Mirror;
use super::read::{Blob, BlobLimits};

/// The name of the files with the patterns.
const NAME: &[u8] = b".gitignore";
/// The prefix of a path for `check-ignore`, which does not take literal paths: a name may begin
/// with a colon.
const HERE: &[u8] = b"./";
/// Maximum number of paths that are given to one command.
const AT_ONCE: usize = 500;
/// The limits for reading `.gitignore` files.
const LIMITS: BlobLimits = BlobLimits { each: 1 << 20, total: 16 << 20 };

impl Mirror {
    /// Returns those of `paths` that the commit `base` does not have and that its `.gitignore`
    /// files ignore.
    pub async fn ignored(
        &self,
        base: &Oid,
        paths: &BTreeSet<TreePath>,
    ) -> Result<BTreeSet<TreePath>, GitError> {
        // Git is not asked about paths that it would not check out: each is a breach anyway.
        let paths: BTreeSet<&TreePath> = paths.iter().filter(|path| is_plain(path)).collect();
        let folders = paths.iter().flat_map(|path| path.folders().chain([&b""[..]]));
        let folders: BTreeSet<&[u8]> = folders.collect();
        let files = folders.into_iter().filter_map(|folder| {
            let parts: &[&[u8]] = if folder.is_empty() { &[NAME] } else { &[folder, NAME] };
            TreePath::new(&parts.join(&b'/'))
        });
        let files = self.plain_files(base, &files.collect::<Vec<_>>()).await?;
        if files.is_empty() {
            return Ok(BTreeSet::new());
        }
        let scratch = self.scratch()?;
        self.write(&scratch.path().join("tree"), &files).await?;
        let asked = paths.iter().flat_map(|path| [HERE, path.bytes(), b"\0"].concat());
        let ignored = self
            .call("check-ignore")
            .env("GIT_LITERAL_PATHSPECS", "0")
            .work_tree(&scratch.path().join("tree"))
            .args(["-z", "--stdin", "--no-index"])
            .input(asked.collect())
            .run()
            .await?;
        // Exit code 1 says that none is ignored.
        if !matches!(ignored.code, 0 | 1) {
            return Err(GitError::from_stderr("check-ignore", None, ignored.code, &ignored.stderr));
        }
        let found = ignored.stdout.split(|b| *b == 0).filter_map(|path| path.strip_prefix(HERE));
        let found = found.filter_map(TreePath::new);
        let mut found: BTreeSet<TreePath> = found.collect();
        // A path that the base has is not ignored, whatever a pattern says.
        let list: Vec<TreePath> = found.iter().cloned().collect();
        for (path, ..) in self.entries(base, &list).await? {
            found.remove(&path);
        }
        Ok(found)
    }

    /// Returns those of `paths` that are plain files in a commit, with the ids of their blobs.
    /// Links are left out, because git does not follow one in place of a `.gitignore` file.
    async fn plain_files(
        &self,
        commit: &Oid,
        paths: &[TreePath],
    ) -> Result<Vec<(TreePath, Oid)>, GitError> {
        let all = self.entries(commit, paths).await?;
        let plain = all.into_iter().filter(|(_, mode, _)| mode.starts_with("100"));
        Ok(plain.map(|(path, _, id)| (path, id)).collect())
    }

    /// Returns what a commit has at exactly these paths: path, mode and id.
    async fn entries(
        &self,
        commit: &Oid,
        paths: &[TreePath],
    ) -> Result<Vec<(TreePath, String, Oid)>, GitError> {
        let mut found = Vec::new();
        for some in paths.chunks(AT_ONCE) {
            let call = self.call("ls-tree").args(["--full-tree", "-z", commit.as_str(), "--"]);
            let call =
                some.iter().fold(call, |call, path| call.arg(OsStr::from_bytes(path.bytes())));
            let listed = call.ok().await?;
            found.extend(listed.split(|b| *b == 0).filter_map(entry));
        }
        Ok(found)
    }

    /// Writes these blobs at their paths below a new folder.
    async fn write(&self, folder: &Path, files: &[(TreePath, Oid)]) -> Result<(), GitError> {
        let ids: Vec<Oid> = files.iter().map(|(_, id)| id.clone()).collect();
        let blobs = self.blobs(&ids, LIMITS).await?;
        for ((path, _), blob) in files.iter().zip(blobs) {
            let Blob::Bytes(content) = blob else {
                return Err(GitError::TooLarge { command: "check-ignore", limit: LIMITS.each });
            };
            let file = folder.join(OsStr::from_bytes(path.bytes()));
            let parent = file.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).map_err(|e| GitError::io("create", parent, e))?;
            std::fs::write(&file, content).map_err(|e| GitError::io("write", &file, e))?;
        }
        Ok(())
    }
}

/// Whether every component of the path is an ordinary name.
fn is_plain(path: &TreePath) -> bool {
    path.components().all(|part| {
        let git = part.eq_ignore_ascii_case(b".git");
        !git && !matches!(part, b"" | b"." | b"..") && !part.contains(&0)
    })
}

/// Parses an entry of `ls-tree -z`: path, mode and id.
fn entry(line: &[u8]) -> Option<(TreePath, String, Oid)> {
    let at = line.iter().position(|b| *b == b'\t')?;
    let meta = std::str::from_utf8(line.get(..at)?).ok()?;
    let mut parts = meta.split(' ');
    let (mode, id) = (parts.next()?, parts.nth(1)?);
    Some((TreePath::new(line.get(at + 1..)?)?, mode.to_owned(), id.parse().ok()?))
}
