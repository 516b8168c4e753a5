//! The real git remote behind a repo of a fake forge: a bare folder, which plain git reads and
//! writes. Neither anybody's git configuration nor the folder's hooks take part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use afk_core::ids::Oid;

use super::pulls::DEFAULT_BRANCH;

/// How a person merges a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeAs {
    /// With a merge commit, which keeps the commits of the branch.
    Merge,
    /// As one commit with the text of the pull request, without the trailers of the branch's
    /// commits.
    Squash,
}

/// A bare git folder.
#[derive(Debug, Clone)]
pub(crate) struct Bare(PathBuf);

impl Bare {
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Every branch with its head.
    pub(crate) fn heads(&self) -> Result<BTreeMap<String, Oid>, String> {
        let format = "--format=%(objectname) %(refname:strip=2)";
        let said = self.git(&["for-each-ref", format, "refs/heads"])?;
        let head = |line: &str| {
            let (commit, branch) = line.split_once(' ')?;
            Some((branch.to_owned(), commit.parse().ok()?))
        };
        said.lines().map(|line| head(line).ok_or(format!("git says {line:?}"))).collect()
    }

    /// Whether the folder has the commit.
    pub(crate) fn has(&self, commit: &str) -> bool {
        let name = format!("{commit}^{{commit}}");
        !commit.starts_with('-') && self.git(&["cat-file", "-e", &name]).is_ok()
    }

    /// Merges `branch` into the default branch as `as_` says, and returns the commit that this
    /// made.
    pub(crate) fn merge(&self, branch: &str, as_: MergeAs, message: &str) -> Result<Oid, String> {
        let heads = self.heads()?;
        let head = |name: &str| heads.get(name).ok_or(format!("there is no branch {name}"));
        let (onto, from) = (head(DEFAULT_BRANCH)?, head(branch)?);
        let tree = self.git(&["merge-tree", "--write-tree", onto.as_str(), from.as_str()])?;
        let mut commit = vec!["commit-tree", tree.trim(), "-m", message, "-p", onto.as_str()];
        if as_ == MergeAs::Merge {
            commit.extend(["-p", from.as_str()]);
        }
        let made = self.git(&commit)?;
        let made: Oid = made.trim().parse().map_err(|error| format!("git says {error}"))?;
        let name = format!("refs/heads/{DEFAULT_BRANCH}");
        self.git(&["update-ref", &name, made.as_str(), onto.as_str()])?;
        Ok(made)
    }

    fn git(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new("git");
        command
            .arg("--git-dir")
            .arg(&self.0)
            .args(args)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_NAME", "Ann")
            .env("GIT_AUTHOR_EMAIL", "ann@people.test")
            .env("GIT_COMMITTER_NAME", "The forge")
            .env("GIT_COMMITTER_EMAIL", "noreply@forge.test")
            .stdin(Stdio::null());
        let said = command.output().map_err(|error| format!("git cannot be started: {error}"))?;
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
        }
        let word = args.first().copied().unwrap_or_default();
        let (out, err) = (&said.stdout, &said.stderr);
        let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
        Err(format!("git {word} in {}: {out}{err}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with `main` and a branch `work` on top of it.
    fn folder() -> (tempfile::TempDir, Bare) {
        let dir = tempfile::tempdir().unwrap();
        let init = ["init", "-q", "--bare", "--initial-branch=main"];
        let made = Command::new("git").args(init).arg(dir.path()).status().unwrap();
        assert!(made.success());
        let bare = Bare::at(dir.path());
        let tree = bare.git(&["hash-object", "-t", "tree", "-w", "/dev/null"]).unwrap();
        let commit = |parent: &[&str], what: &str| {
            let args = [&["commit-tree", tree.trim(), "-m", what], parent].concat();
            bare.git(&args).unwrap().trim().to_owned()
        };
        let first = commit(&[], "first");
        let second = commit(&["-p", &first], "second\n\nAFK-Run: 1");
        bare.git(&["update-ref", "refs/heads/main", &first]).unwrap();
        bare.git(&["update-ref", "refs/heads/work", &second]).unwrap();
        (dir, bare)
    }

    #[test]
    fn what_is_merged_is_on_the_remote() {
        for (as_, parents) in [(MergeAs::Merge, 2), (MergeAs::Squash, 1)] {
            let (_dir, bare) = folder();
            let before = bare.heads().unwrap();
            assert_eq!(before.keys().collect::<Vec<_>>(), ["main", "work"]);
            let made = bare.merge("work", as_, "It is merged").unwrap();
            let after = bare.heads().unwrap();
            assert_eq!((&after["main"], &after["work"]), (&made, &before["work"]));
            let of = bare.git(&["log", "-1", "--format=%P %B", made.as_str()]).unwrap();
            assert_eq!(of.matches(before["main"].as_str()).count(), 1, "{of}");
            assert_eq!(of.split_whitespace().filter(|word| word.len() == 40).count(), parents);
            assert!(of.contains("It is merged") && !of.contains("AFK-Run"), "{of}");
            assert!(bare.has(made.as_str()) && !bare.has(&"0".repeat(40)) && !bare.has("-x"));
        }
    }

    #[test]
    fn what_is_not_there_is_told() {
        let (dir, bare) = folder();
        assert!(bare.merge("gone", MergeAs::Merge, "").unwrap_err().contains("no branch gone"));
        let missing = dir.path().join("missing");
        let said = Bare::at(&missing).heads().unwrap_err();
        assert!(said.contains(missing.to_str().unwrap()), "{said}");
    }
}
