//! The clones of runs as data: what an agent does in one, what is fetched from it, and how it is
//! reset and released.

use std::collections::BTreeSet;

use afk_core::checkout::Checkout;
use afk_core::ids::{IssueRef, Oid, RepoName, RunId};
use afk_core::run::UnfinishedWork;
use afk_engine::ports::{FetchedHead, PortResult, Prepared, ResetStep};

use super::{Act, GitCommit, World};

/// The clone of one run, in our workspaces or in a checkout of its agent's own.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The repo that it is a clone of.
    pub repo: RepoName,
    /// The commit that HEAD names.
    pub head: Oid,
    /// Paths with uncommitted changes.
    pub dirty: BTreeSet<String>,
    /// What git has begun there and not finished.
    pub unfinished: Vec<UnfinishedWork>,
}

impl World {
    /// Does one thing in the workspace of `run`, as its agent would.
    pub fn act(&mut self, run: RunId, act: &Act) {
        let Some(workspace) = self.workspace(run).cloned() else { return };
        match act {
            Act::Commit { message, files } => {
                let tree = self.git.commits.get(&workspace.head).map(|c| c.tree.clone());
                let tree = self.git.put_files(tree.as_ref(), files.iter().copied());
                let commit = GitCommit {
                    tree,
                    parents: vec![workspace.head],
                    message: self.agents.message(run, message),
                    author: ("agent".to_owned(), "agent@localhost".to_owned()),
                };
                let head = self.git.put_commit(commit, &self.now.to_string());
                self.on_workspace(run, |workspace| workspace.head = head);
            }
            Act::Dirty(path) => self.on_workspace(run, |w| {
                w.dirty.insert((*path).to_owned());
            }),
            Act::Discard => self.on_workspace(run, |workspace| workspace.dirty.clear()),
            Act::Begin(what) => {
                let operation = UnfinishedWork::Operation { what: (*what).to_owned() };
                self.on_workspace(run, |workspace| workspace.unfinished.push(operation));
            }
            Act::Finish => self.on_workspace(run, |workspace| workspace.unfinished.clear()),
            Act::Follow => {
                if let Some(head) = self.git.remotes.get(&workspace.repo).cloned() {
                    self.on_workspace(run, |workspace| workspace.head = head);
                }
            }
        }
    }

    fn on_workspace(&mut self, run: RunId, change: impl FnOnce(&mut Workspace)) {
        let ours = self.git.workspaces.get_mut(&run);
        if let Some(workspace) = ours.or_else(|| self.agents.checkouts.get_mut(&run)) {
            change(workspace);
        }
    }

    /// The clone that the agent of `run` works in, whichever it is.
    pub(super) fn workspace(&self, run: RunId) -> Option<&Workspace> {
        self.git.workspaces.get(&run).or_else(|| self.agents.checkouts.get(&run))
    }

    pub(crate) fn prepare_mirror(&mut self, repo: &RepoName) -> PortResult<Prepared> {
        let branch = self.default_branch(repo);
        let base = self.default_head(repo, &branch)?;
        Ok(Prepared { branch, base, on: None })
    }

    pub(crate) fn prepare(
        &mut self,
        repo: &RepoName,
        issue: &IssueRef,
        run: RunId,
        on: Option<&Oid>,
    ) -> PortResult<Prepared> {
        let branch = self.default_branch(repo);
        let Some(base) = self.head(repo, &branch) else {
            return Err(self.complain(format!("{issue} has no remote")));
        };
        if self.agents.checkout(repo) == Checkout::Own {
            return Err(self.complain(format!("a clone is made of {repo}, whose agent needs none")));
        }
        if let Some(unknown) = on.filter(|on| !self.git.commits.contains_key(*on)) {
            return Err(
                self.complain(format!("run {run} is to begin at {unknown}, which nobody made"))
            );
        }
        let there = |on: &&Oid| !self.git.lost.contains(*on) && !self.git.contains(&base, on);
        let made = Workspace {
            repo: repo.clone(),
            head: on.filter(there).unwrap_or(&base).clone(),
            dirty: BTreeSet::new(),
            unfinished: Vec::new(),
        };
        let head = &self.git.workspaces.entry(run).or_insert(made).head;
        let on = on.filter(|on| *on == head).cloned();
        Ok(Prepared { branch, base, on })
    }

    pub(crate) fn fetch_head(&mut self, run: RunId) -> PortResult<FetchedHead> {
        match self.git.workspaces.get(&run) {
            Some(workspace) => Ok(FetchedHead {
                head: workspace.head.clone(),
                elsewhere: Vec::new(),
                unfinished: workspace.unfinished.clone(),
            }),
            None => Err(self.complain(format!("run {run} has no workspace"))),
        }
    }

    pub(crate) fn keep_head(&mut self, run: RunId, name: &str) -> PortResult<Oid> {
        let head = self.fetch_head(run)?.head;
        Ok(self.git.kept.entry((run, name.to_owned())).or_insert(head).clone())
    }

    pub(super) fn reset(&mut self, run: RunId, step: &ResetStep) {
        let Some(workspace) = self.git.workspaces.get(&run).cloned() else { return };
        match step {
            ResetStep::Unlock | ResetStep::Add => {}
            ResetStep::Abandon => self.on_workspace(run, |w| w.unfinished.clear()),
            ResetStep::Commit => {
                let on = self.git.commits.get(&workspace.head).map(|c| c.tree.clone());
                let left = workspace.dirty.iter().map(|path| (path.as_str(), Some("left over")));
                let commit = GitCommit {
                    tree: self.git.put_files(on.as_ref(), left),
                    parents: vec![workspace.head],
                    message: "What was left\n".to_owned(),
                    author: ("afk".to_owned(), "afk@localhost".to_owned()),
                };
                let head = self.git.put_commit(commit, &self.now.to_string());
                self.on_workspace(run, |workspace| {
                    workspace.head = head;
                    workspace.dirty.clear();
                });
            }
            ResetStep::Checkout { onto } => {
                self.on_workspace(run, |workspace| workspace.head = onto.clone());
            }
            ResetStep::Clean { .. } => self.on_workspace(run, |w| w.dirty.clear()),
        }
    }

    pub(crate) fn release(&mut self, run: RunId, forensics: bool) {
        if !forensics {
            self.git.kept.retain(|(of, _), _| *of != run);
            self.git.workspaces.remove(&run);
        } else if self.git.workspaces.contains_key(&run) {
            self.git.forensics.insert(run);
        }
    }
}
