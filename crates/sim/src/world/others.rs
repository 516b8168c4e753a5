//! What others push to the default branches.

use afk_core::ids::{Oid, RepoName, RunId};
use afk_core::message::{ATTEMPT_TRAILER, RUN_TRAILER};
use afk_core::run::Attempt;
use serde::{Deserialize, Serialize};

use super::World;
use super::git::GitCommit;

/// How a commit of somebody's names a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claimed {
    /// The live run and its newest attempt.
    Attempt,
    /// The live run alone.
    Run,
    /// The live run, and an attempt that it has not made.
    OtherAttempt,
    /// A run of no store that is known here.
    Unknown,
    /// An attempt that landed: a cherry-pick keeps its trailers.
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

    /// Somebody takes the newest commit out of a repo's default branch by force; the first one stays.
    /// Returns it.
    pub fn somebody_rewinds(&mut self, repo: &RepoName) -> Option<Oid> {
        let head = self.git.remotes.get(repo)?.clone();
        let parent = self.git.commits.get(&head)?.parents.first()?.clone();
        self.git.purged.insert(head.clone());
        self.git.remotes.insert(repo.clone(), parent);
        Some(head)
    }

    /// Puts a commit by somebody else on a repo's default branch that has the trailers of the
    /// repo's live run; returns whether there is one.
    pub fn somebody_forges(&mut self, repo: &RepoName) -> bool {
        self.somebody_claims(repo, Claimed::Attempt)
    }

    /// Puts a commit by somebody else on a repo's default branch that names a run as `how` says;
    /// returns whether there is such a run, while one of the repo is live.
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

    /// Replaces a default head by another commit with the same message.
    pub(crate) fn amend_default(&mut self, repo: &RepoName, path: &str, text: &str) {
        let head = self.git.remotes.get(repo).and_then(|head| self.git.commits.get(head));
        let Some(mut commit) = head.cloned() else { return };
        commit.tree = self.git.put_files(Some(&commit.tree), [(path, Some(text))]);
        let amended = self.git.put_commit(commit, &self.now.to_string());
        self.git.remotes.insert(repo.clone(), amended);
    }
}
