//! What others push to the default branches.

use afk_core::ids::{Oid, RepoName, RunId};
use afk_core::message::{ATTEMPT_TRAILER, RUN_TRAILER};
use afk_core::run::Attempt;
use serde::{Deserialize, Serialize};

use super::World;
use super::git::GitCommit;

/// How a commit that somebody else pushes names a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claimed {
    /// It names the live run and its newest attempt.
    Attempt,
    /// It names the live run, and no attempt.
    Run,
    /// It names the live run, and an attempt that this run has not made.
    OtherAttempt,
    /// It names a run that no store here knows.
    Unknown,
    /// It names an attempt that landed, as a cherry-pick does, which keeps the trailers.
    Picked,
}

impl World {
    /// Puts a commit by somebody else on a repo's default branch, which is created if necessary.
    pub fn somebody_lands(&mut self, repo: &RepoName, files: &[(&str, &str)]) -> Oid {
        let head = self.git.remotes.get(repo).cloned();
        let on = head.as_ref().and_then(|head| self.git.commits.get(head)).map(|c| c.tree.clone());
        let tree = self.git.put_files(on.as_ref(), files.iter().map(|(p, t)| (*p, Some(*t))));
        let commit = GitCommit {
            tree,
            parents: head.into_iter().collect(),
            message: "Somebody else's work\n".to_owned(),
            author: ("somebody".to_owned(), "somebody@localhost".to_owned()),
        };
        let oid = self.git.put_commit(commit, &self.now.to_string());
        self.git.remotes.insert(repo.clone(), oid.clone());
        oid
    }

    /// Takes the newest commit out of a repo's default branch by force, as somebody else might, and
    /// returns it. Does nothing if it is the only one.
    pub fn somebody_rewinds(&mut self, repo: &RepoName) -> Option<Oid> {
        let head = self.git.remotes.get(repo)?.clone();
        let parent = self.git.commits.get(&head)?.parents.first()?.clone();
        self.git.purged.insert(head.clone());
        self.git.remotes.insert(repo.clone(), parent);
        Some(head)
    }

    /// Puts a commit by somebody else on a repo's default branch, with the trailers of the repo's
    /// live run and its newest attempt. Returns whether there is one to name.
    pub fn somebody_forges(&mut self, repo: &RepoName) -> bool {
        self.somebody_claims(repo, Claimed::Attempt)
    }

    /// Puts a commit by somebody else on a repo's default branch, which names a run as `how` says.
    /// Returns false, and does nothing, if no run of the repo is live, or none is as `how` says.
    pub fn somebody_claims(&mut self, repo: &RepoName, how: Claimed) -> bool {
        let runs = self.store.all();
        let mut of_repo = runs.iter().filter(|run| run.issue.repo == *repo);
        let live = of_repo.clone().find(|run| run.settled_at.is_none());
        let Some((live, attempt)) = live.and_then(|run| Some((run, run.attempt()?.n))) else {
            return false;
        };
        let named = match how {
            Claimed::Attempt => Some((live.id, Some(attempt))),
            Claimed::Run => Some((live.id, None)),
            Claimed::OtherAttempt => Some((live.id, Some(attempt + 7))),
            Claimed::Unknown => Some((RunId::new(uuid::Uuid::from_u128(0xbad)), Some(1))),
            Claimed::Picked => of_repo.find_map(|run| {
                let landed = |of: &&Attempt| of.candidates.iter().any(|c| c.landed_at.is_some());
                Some((run.id, Some(run.attempts.iter().find(landed)?.n)))
            }),
        };
        let head = self.git.remotes.get(repo).cloned();
        let Some(((run, attempt), head)) = named.zip(head) else { return false };
        let on = self.git.commits.get(&head).map(|commit| commit.tree.clone());
        let attempt = attempt.map(|n| format!("{ATTEMPT_TRAILER}: {n}\n")).unwrap_or_default();
        let commit = GitCommit {
            tree: self.git.put_files(on.as_ref(), [("src/forged", Some("fine"))]),
            parents: vec![head],
            message: format!("Somebody's own\n\n{RUN_TRAILER}: {run}\n{attempt}"),
            author: ("somebody".to_owned(), "somebody@localhost".to_owned()),
        };
        let forged = self.git.put_commit(commit, &self.now.to_string());
        self.git.remotes.insert(repo.clone(), forged.clone());
        if how != Claimed::Picked {
            self.git.foreign.insert(forged);
        }
        true
    }

    /// Replaces the head of a default branch by a commit with the same message and one file
    /// changed.
    pub(crate) fn amend_default(&mut self, repo: &RepoName, path: &str, text: &str) {
        let head = self.git.remotes.get(repo).and_then(|head| self.git.commits.get(head));
        let Some(mut commit) = head.cloned() else { return };
        commit.tree = self.git.put_files(Some(&commit.tree), [(path, Some(text))]);
        let amended = self.git.put_commit(commit, &self.now.to_string());
        self.git.remotes.insert(repo.clone(), amended);
    }
}
