//! What others push to the default branches.

use afk_core::ids::{Oid, RepoName};
use afk_core::message::{ATTEMPT_TRAILER, RUN_TRAILER};

use super::World;
use super::git::GitCommit;

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
        let runs = self.store.all();
        let live = runs.iter().find(|run| run.settled_at.is_none() && run.issue.repo == *repo);
        let of = live.and_then(|run| Some((run.id, run.attempt()?.n)));
        let head = self.git.remotes.get(repo).cloned();
        let Some(((run, attempt), head)) = of.zip(head) else { return false };
        let on = self.git.commits.get(&head).map(|commit| commit.tree.clone());
        let commit = GitCommit {
            tree: self.git.put_files(on.as_ref(), [("src/forged", Some("fine"))]),
            parents: vec![head],
            message: format!(
                "Somebody's own\n\n{RUN_TRAILER}: {run}\n{ATTEMPT_TRAILER}: {attempt}\n"
            ),
            author: ("somebody".to_owned(), "somebody@localhost".to_owned()),
        };
        let forged = self.git.put_commit(commit, &self.now.to_string());
        self.git.remotes.insert(repo.clone(), forged);
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
