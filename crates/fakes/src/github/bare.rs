//! The real git remote behind a repo: a bare folder, which plain git reads and writes.
//!
//! A repo that has one has its branches there and not in the world: whatever was pushed is what the
//! fake shows, and what people merge is merged in it. Nobody's configuration and none of the
//! folder's hooks take part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use afk_core::ids::{Oid, RepoName};
use afk_core::run::PullState;

use super::GitHubFake;
use super::answers::{Forge, Refused};
use super::pulls::DEFAULT_BRANCH;
use afk_sim::world::PullRecord;

/// How a person merges a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeAs {
    /// With a merge commit, which keeps the commits of the branch.
    Merge,
    /// As one commit, which has the pull request's text and no trailer of the branch.
    Squash,
}

/// A bare git folder.
#[derive(Debug, Clone)]
pub(super) struct Bare(PathBuf);

impl Bare {
    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Every branch with its head.
    pub(super) fn heads(&self) -> Result<BTreeMap<String, Oid>, String> {
        let format = "--format=%(objectname) %(refname:strip=2)";
        let said = self.git(&["for-each-ref", format, "refs/heads"])?;
        let head = |line: &str| {
            let (commit, branch) = line.split_once(' ')?;
            Some((branch.to_owned(), commit.parse().ok()?))
        };
        said.lines().map(|line| head(line).ok_or(format!("git says {line:?}"))).collect()
    }

    /// Whether the commit is there.
    pub(super) fn has(&self, commit: &str) -> bool {
        let name = format!("{commit}^{{commit}}");
        !commit.starts_with('-') && self.git(&["cat-file", "-e", &name]).is_ok()
    }

    /// Merges `branch` into the default branch as `as_` says, and returns the commit that this made.
    fn merge(&self, branch: &str, as_: MergeAs, message: &str) -> Result<Oid, String> {
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
            .env("GIT_COMMITTER_NAME", "GitHub")
            .env("GIT_COMMITTER_EMAIL", "noreply@github.test")
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

impl GitHubFake {
    /// The repo's branches are those of a bare git folder from now on.
    pub fn on_git(&self, repo: &RepoName, path: &Path) {
        self.shared.state().gits.insert(repo.clone(), Bare::at(path));
    }

    /// The branches of a repo's git folder with their heads.
    ///
    /// # Panics
    ///
    /// If it has none, or git does not work.
    pub fn heads(&self, repo: &RepoName) -> BTreeMap<String, Oid> {
        let bare = self.shared.state().gits[repo].clone();
        bare.heads().unwrap_or_else(|why| panic!("{why}"))
    }

    /// A person merges the open pull request of `branch`, and the remote has it.
    ///
    /// # Panics
    ///
    /// If it is not open, or does not merge.
    pub fn merge_pull(&self, repo: &RepoName, branch: &str, as_: MergeAs) -> Oid {
        self.shared.sim.with(|world| {
            let mut state = self.shared.state();
            let bare = state.gits[repo].clone();
            let mut forge = Forge { state: &mut state, world };
            if let Err(refused) = forge.read_git(repo) {
                panic!("{}", refused.message);
            }
            let Some((meta, record)) = forge.pull_of(repo, branch) else {
                panic!("{branch} has no pull request");
            };
            assert_eq!(record.state, PullState::Open, "{branch}");
            let message = message(meta.number, &record, as_);
            let commit = bare.merge(branch, as_, &message).unwrap_or_else(|why| panic!("{why}"));
            forge.decided(repo, branch, &PullState::Merged { commit: commit.clone() });
            commit
        })
    }
}

/// What GitHub proposes to say about what is merged.
fn message(number: u64, record: &PullRecord, as_: MergeAs) -> String {
    let spec = &record.spec;
    match as_ {
        MergeAs::Merge => {
            let (owner, branch, title) = (spec.repo.owner(), &spec.branch, &spec.title);
            format!("Merge pull request #{number} from {owner}/{branch}\n\n{title}")
        }
        MergeAs::Squash => format!("{} (#{number})\n\n{}", spec.title, spec.body),
    }
}

impl Forge<'_> {
    /// Brings what the world has of the repo's branches up to what its git folder has, if it has
    /// one, and its pull requests with them: one shows the head of its branch, and is closed where
    /// the branch is gone.
    pub(super) fn read_git(&mut self, repo: &RepoName) -> Result<(), Refused> {
        let Some(bare) = self.state.gits.get(repo) else { return Ok(()) };
        let mut heads = match bare.heads() {
            Ok(heads) => heads,
            Err(why) => return self.wrong(why),
        };
        let pulls = self.pulls_of(repo).into_iter();
        for (_, PullRecord { spec, .. }) in pulls.filter(|(_, one)| one.state == PullState::Open) {
            match heads.get(&spec.branch) {
                Some(head) if *head == spec.commit => {}
                Some(head) => self.pushed(repo, &spec.branch, head),
                None => self.decided(repo, &spec.branch, &PullState::Closed),
            }
        }
        let git = &mut self.world.git;
        if let Some(head) = heads.remove(DEFAULT_BRANCH) {
            git.remotes.insert(repo.clone(), head);
        }
        git.branches.retain(|(of, _), _| of != repo);
        git.branches.extend(heads.into_iter().map(|(name, head)| ((repo.clone(), name), head)));
        Ok(())
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
        let (_dir, bare) = folder();
        assert!(bare.merge("gone", MergeAs::Merge, "").unwrap_err().contains("no branch gone"));
        let nowhere = Bare::at(Path::new("/nonexistent"));
        assert!(nowhere.heads().unwrap_err().contains("/nonexistent"));
    }
}
