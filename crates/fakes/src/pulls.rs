//! What a fake forge adds to the world's pull requests: their numbers and times, and the real git
//! remotes behind repos that have one.
//!
//! The branches of a repo that has a git remote are in that remote and not in the world: the fake
//! shows whatever was pushed there, and merges there what people merge.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use afk_core::ids::{At, Oid, RepoName};
use afk_core::run::PullState;
use afk_sim::world::{PullRecord, World};

use crate::bare::{Bare, MergeAs};

/// The number of the first pull request; those of issues, which tests choose, are lower.
pub(crate) const FIRST: u64 = 10_001;
/// The default branch of every repo.
pub(crate) const DEFAULT_BRANCH: &str = "main";

/// What a forge adds to a pull request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PullMeta {
    pub(crate) number: u64,
    pub(crate) created: At,
    pub(crate) updated: At,
}

/// What a forge knows of pull requests that the world does not.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    /// By repo and head branch.
    meta: BTreeMap<(RepoName, String), PullMeta>,
    /// The git remotes of repos that have one.
    gits: BTreeMap<RepoName, Bare>,
}

impl Pulls {
    /// The repo's pull requests, newest first. Those that are seen for the first time get their
    /// numbers.
    pub(crate) fn of_repo(
        &mut self,
        world: &World,
        repo: &RepoName,
    ) -> Vec<(PullMeta, PullRecord)> {
        let now = world.tracker_now();
        let of_repo = world.pulls.pulls.iter().filter(|((of, _), _)| of == repo);
        let mut all = Vec::new();
        for (key, record) in of_repo {
            let next = FIRST + self.meta.len() as u64;
            let new = PullMeta { number: next, created: now, updated: now };
            let meta = *self.meta.entry(key.clone()).or_insert(new);
            all.push((meta, record.clone()));
        }
        all.sort_by_key(|(meta, _)| Reverse(meta.number));
        all
    }

    /// The pull request of a branch.
    pub(crate) fn of_branch(
        &mut self,
        world: &World,
        repo: &RepoName,
        branch: &str,
    ) -> Option<(PullMeta, PullRecord)> {
        self.of_repo(world, repo).into_iter().find(|(_, record)| record.spec.branch == branch)
    }

    /// Notes that the pull request of a branch changed just now.
    pub(crate) fn touch(&mut self, world: &World, repo: &RepoName, branch: &str) {
        if let Some(meta) = self.meta.get_mut(&(repo.clone(), branch.to_owned())) {
            meta.updated = world.tracker_now();
        }
    }

    /// Decides on the open pull request of a branch, as `state` says.
    fn decide(&mut self, world: &mut World, repo: &RepoName, branch: &str, state: &PullState) {
        world.decide(repo, branch, state);
        self.touch(world, repo, branch);
    }

    /// Makes the repo's branches those of a bare git folder, from now on.
    pub(crate) fn on_git(&mut self, repo: &RepoName, bare: Bare) {
        self.gits.insert(repo.clone(), bare);
    }

    /// The repo's git remote, if it has one.
    pub(crate) fn git(&self, repo: &RepoName) -> Option<&Bare> {
        self.gits.get(repo)
    }

    /// The branches of a repo's git remote with their heads.
    pub(crate) fn heads(&self, repo: &RepoName) -> BTreeMap<String, Oid> {
        self.gits[repo].heads().unwrap_or_else(|why| panic!("{why}"))
    }

    /// Copies the branches of the repo's git remote, if it has one, into the world. An open pull
    /// request then shows the head of its branch, and is closed if the branch is gone.
    pub(crate) fn read_git(&mut self, world: &mut World, repo: &RepoName) -> Result<(), String> {
        let Some(bare) = self.gits.get(repo) else { return Ok(()) };
        let mut heads = bare.heads()?;
        let pulls = self.of_repo(world, repo).into_iter();
        for (_, PullRecord { spec, .. }) in pulls.filter(|(_, one)| one.state == PullState::Open) {
            match heads.get(&spec.branch) {
                Some(head) if *head == spec.commit => {}
                Some(head) => {
                    let key = (repo.clone(), spec.branch.clone());
                    if let Some(record) = world.pulls.pulls.get_mut(&key) {
                        record.spec.commit = head.clone();
                    }
                    self.touch(world, repo, &spec.branch);
                }
                None => self.decide(world, repo, &spec.branch, &PullState::Closed),
            }
        }
        let git = &mut world.git;
        if let Some(head) = heads.remove(DEFAULT_BRANCH) {
            git.remotes.insert(repo.clone(), head);
        }
        git.branches.retain(|(of, _), _| of != repo);
        git.branches.extend(heads.into_iter().map(|(name, head)| ((repo.clone(), name), head)));
        Ok(())
    }

    /// Merges the open pull request of `branch` in the repo's git remote, as a person does.
    /// `message` makes the text of the commit from the number of the pull request.
    pub(crate) fn merge(
        &mut self,
        world: &mut World,
        (repo, branch): (&RepoName, &str),
        as_: MergeAs,
        message: impl FnOnce(u64, &PullRecord) -> String,
    ) -> Result<Oid, String> {
        self.read_git(world, repo)?;
        let bare = self.gits.get(repo).ok_or(format!("{repo} has no git remote"))?.clone();
        let pull = self.of_branch(world, repo, branch);
        let (meta, record) = pull.ok_or(format!("{branch} has no pull request"))?;
        if record.state != PullState::Open {
            return Err(format!("the pull request of {branch} is not open"));
        }
        let commit = bare.merge(branch, as_, &message(meta.number, &record))?;
        self.decide(world, repo, branch, &PullState::Merged { commit: commit.clone() });
        Ok(commit)
    }
}
