//! Pull requests, and what people decide about them: a test decides, or all are merged.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use afk_core::ids::{Oid, RepoName};
use afk_core::run::{PullSeen, PullState};
use afk_engine::ports::{Merge, PortError, PortErrorKind, PortResult, PullSpec};

use super::{GitCommit, World};

/// A pull request and its state.
#[derive(Debug, Clone)]
pub struct PullRecord {
    /// What it was opened with.
    pub spec: PullSpec,
    /// Its state.
    pub state: PullState,
}

/// Every pull request, and whether people merge them.
#[derive(Debug, Clone, Default)]
pub struct PullWorld {
    /// Pull requests by repo and branch.
    pub pulls: BTreeMap<(RepoName, String), PullRecord>,
    /// The branches of all pull requests that were ever opened, oldest first.
    pub opened: Vec<String>,
    /// Whether people merge what is open, and close what does not merge, when the world steps.
    pub merging: bool,
}

impl World {
    /// Opens a pull request; one that the branch has already stays as it is. The branch must be
    /// pushed.
    pub fn open_pull(&mut self, spec: &PullSpec) -> PortResult<PullSeen> {
        let at = (spec.repo.clone(), spec.branch.clone());
        if self.git.branches.get(&at) != Some(&spec.commit) {
            return Err(self.complain(format!("{} is not on {}", spec.commit, spec.branch)));
        }
        if let Entry::Vacant(none) = self.pulls.pulls.entry(at) {
            none.insert(PullRecord { spec: spec.clone(), state: PullState::Open });
            self.pulls.opened.push(spec.branch.clone());
        }
        self.look_at_pull(&spec.repo, &spec.branch)
    }

    pub(crate) fn look_at_pull(&mut self, repo: &RepoName, branch: &str) -> PortResult<PullSeen> {
        let known = self.pulls.pulls.get(&(repo.clone(), branch.to_owned()));
        let Some(known) = known else {
            let what = format!("no pull request for {branch}");
            return Err(PortError::new(PortErrorKind::NotFound, what));
        };
        Ok(PullSeen {
            link: format!("https://forge.test/{repo}/{branch}"),
            state: known.state.clone(),
        })
    }

    /// Closes the pull request of a branch without merging it.
    pub fn close_pull(&mut self, repo: &RepoName, branch: &str) -> PortResult<()> {
        self.look_at_pull(repo, branch)?;
        self.decide(repo, branch, &PullState::Closed);
        Ok(())
    }

    /// Sets the state of a branch's pull request, if it is open.
    pub fn decide(&mut self, repo: &RepoName, branch: &str, state: &PullState) {
        if let Some(known) = self.pulls.pulls.get_mut(&(repo.clone(), branch.to_owned()))
            && known.state == PullState::Open
        {
            known.state = state.clone();
        }
    }

    /// Sets the state of every open pull request of `repo`, as people do who close or replace it.
    pub fn people_close(&mut self, repo: &RepoName, state: &PullState) {
        for branch in self.open_pulls(repo) {
            self.decide(repo, &branch, state);
        }
    }

    /// Merges every open pull request of `repo`, as one commit on top of the default head.
    pub fn people_merge(&mut self, repo: &RepoName) {
        for branch in self.open_pulls(repo) {
            self.people_merge_branch(repo, &branch);
        }
    }

    /// The same for one branch.
    pub fn people_merge_branch(&mut self, repo: &RepoName, branch: &str) {
        let record = self.pulls.pulls.get(&(repo.clone(), branch.to_owned()));
        let Some(commit) = record.map(|record| record.spec.commit.clone()) else { return };
        if let Some(commit) = self.merged(repo, &commit) {
            self.decide(repo, branch, &PullState::Merged { commit });
        }
    }

    /// Merges every open pull request of `repo` by a rebase: each of its commits that is no merge
    /// is put on top of the default head, one after the other.
    pub fn people_rebase(&mut self, repo: &RepoName) {
        for branch in self.open_pulls(repo) {
            let record = self.pulls.pulls.get(&(repo.clone(), branch.clone()));
            let commit = record.map(|record| record.spec.commit.clone());
            if let Some(commit) = commit.and_then(|commit| self.rebased(repo, &commit)) {
                self.decide(repo, &branch, &PullState::Merged { commit });
            }
        }
    }

    fn open_pulls(&self, repo: &RepoName) -> Vec<String> {
        let open = |(at, one): (&(RepoName, String), &PullRecord)| {
            (at.0 == *repo && one.state == PullState::Open).then(|| at.1.clone())
        };
        self.pulls.pulls.iter().filter_map(open).collect()
    }

    /// Commits the change of `commit` on top of the default head and moves the branch there; none
    /// if it conflicts.
    fn merged(&mut self, repo: &RepoName, commit: &Oid) -> Option<Oid> {
        let head = self.git.remotes.get(repo)?.clone();
        let Merge::Clean { tree } = self.merge(&head, commit).ok()? else {
            return None;
        };
        let message = self.git.commits.get(commit)?.message.clone();
        let author = ("ann".to_owned(), "ann@example.org".to_owned());
        let merged = GitCommit { tree, parents: vec![head], message, author };
        let merged = self.git.put_commit(merged, "merged by people");
        self.git.remotes.insert(repo.clone(), merged.clone());
        Some(merged)
    }

    /// Puts the commits below `commit` on top of the default head and moves the branch there; none
    /// if one of them conflicts.
    fn rebased(&mut self, repo: &RepoName, commit: &Oid) -> Option<Oid> {
        let mut head = self.git.remotes.get(repo)?.clone();
        let own = self.commits(&head, commit);
        for one in own.iter().rev() {
            let [parent] = one.parents.as_slice() else { continue };
            let Merge::Clean { tree } = self.transplant(&head, parent, &one.id).ok()? else {
                return None;
            };
            let (message, author) = (one.message.clone(), one.author.clone());
            let made = GitCommit { tree, parents: vec![head], message, author };
            head = self.git.put_commit(made, "rebased by people");
        }
        self.git.remotes.insert(repo.clone(), head.clone());
        Some(head)
    }

    pub(super) fn step_pulls(&mut self) {
        if self.pulls.merging {
            for repo in self.git.remotes.keys().cloned().collect::<Vec<_>>() {
                self.people_merge(&repo);
                // People close what they could not merge.
                self.people_close(&repo, &PullState::Closed);
            }
        }
    }
}
