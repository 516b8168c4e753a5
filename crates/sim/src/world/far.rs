//! Agents that work in a checkout of their own, on another machine, and push by themselves.
//!
//! They follow the same scripts as others. Their commits carry the trailer of the run, unless the
//! script says that they forget it. At the end of a turn they merge the default branch, where it
//! has moved, and push. One that is told to stop may say that it has, and push all the same a
//! moment later: only `alive` tells.

use std::collections::BTreeSet;

use afk_core::checkout::{Checkout, Machine};
use afk_core::ids::{AdapterName, JobKey, Oid, RepoName, RunId};
use afk_core::message::{RUN_TRAILER, trailer};
use afk_engine::ports::Merge;

use super::git::GitCommit;
use super::{AgentTurn, Agents, TurnState, Workspace, World};

impl Agents {
    /// Where the agents of `repo` work.
    pub(crate) fn checkout(&self, repo: &RepoName) -> Checkout {
        let own = self.far.contains(repo) && !self.in_our_clone.contains(repo);
        if own { Checkout::Own } else { Checkout::Ours }
    }

    /// The machine that the agents of `repo` work on.
    pub(crate) fn machine(&self, repo: &RepoName) -> Machine {
        if self.far.contains(repo) {
            Machine::Far { executor: AdapterName::known("far") }
        } else {
            Machine::This
        }
    }

    /// Whether the executor that the turn's repo has now is the one that the turn was given to. No
    /// other one knows the turn.
    pub(super) fn is_reached(&self, turn: &AgentTurn) -> bool {
        turn.far == self.far.contains(&turn.request.repo)
    }

    /// A commit message of the agent of `run`: in a checkout of the agent's own it carries the
    /// trailer of the run, unless the script of the newest turn is `unmarked`.
    pub(super) fn message(&self, run: RunId, message: &str) -> String {
        let of_run = |turn: &&AgentTurn| {
            turn.request.run == run && self.checkout(&turn.request.repo) == Checkout::Own
        };
        let newest = self.turns.values().filter(of_run).max_by_key(|turn| turn.request.n);
        match newest {
            Some(turn) if !turn.script.unmarked => format!("{message}\n\n{RUN_TRAILER}: {run}\n"),
            Some(_) | None => message.to_owned(),
        }
    }
}

impl World {
    /// The keys of the turns of `run` that are at work on another machine.
    pub(crate) fn alive_far(&self, run: RunId) -> Vec<JobKey> {
        let turns = self.agents.turns.values().filter(|turn| turn.request.run == run);
        let far = turns.filter(|turn| turn.far);
        let alive = far.filter(|turn| turn.state == TurnState::Running || turn.lingers);
        alive.map(|turn| turn.request.key.clone()).collect()
    }

    /// Those of them that the executor of their repo knows.
    pub(crate) fn reached_far(&self, run: RunId) -> Vec<JobKey> {
        let reached = |key: &JobKey| {
            self.agents.turns.get(key).is_some_and(|turn| self.agents.is_reached(turn))
        };
        self.alive_far(run).into_iter().filter(reached).collect()
    }

    pub(crate) fn stop_far(&mut self, run: RunId) {
        for key in self.reached_far(run) {
            let _ = self.interrupt_turn(&key);
        }
    }

    /// Gives the agent of `run` a checkout of the default branch's current head.
    pub(super) fn check_out(&mut self, repo: &RepoName, run: RunId) {
        if let Some(head) = self.git.remotes.get(repo).cloned() {
            let (repo, dirty, unfinished) = (repo.clone(), BTreeSet::new(), Vec::new());
            let made = Workspace { repo, head, dirty, unfinished };
            self.agents.checkouts.insert(run, made);
        }
    }

    /// Merges the commits of the agent of `run` with the default branch and pushes the result,
    /// unless they conflict.
    pub(super) fn agent_pushes(&mut self, run: RunId) {
        let Some(checkout) = self.agents.checkouts.get(&run).cloned() else { return };
        let Some(head) = self.git.remotes.get(&checkout.repo).cloned() else { return };
        let Ok(Merge::Clean { tree }) = self.merge(&head, &checkout.head) else { return };
        let pushed = if self.git.contains(&checkout.head, &head) {
            checkout.head
        } else {
            let merge = GitCommit {
                tree,
                parents: vec![head.clone(), checkout.head],
                message: self.agents.message(run, "Merge what others landed"),
                author: ("agent".to_owned(), "agent@localhost".to_owned()),
            };
            self.git.put_commit(merge, &self.now.to_string())
        };
        if pushed != head {
            self.git.remotes.insert(checkout.repo, pushed);
        }
    }

    /// The commit of the default branch nearest to its head whose author is an agent and whose
    /// trailer names `run`.
    pub(crate) fn brought(&self, repo: &RepoName, run: RunId) -> Option<Oid> {
        let head = self.git.remotes.get(repo)?;
        let run = run.to_string();
        let named = |id: &Oid| {
            let commit = self.git.commits.get(id);
            commit.is_some_and(|one| {
                one.author.0 == "agent" && trailer(&one.message, RUN_TRAILER) == Some(run.as_str())
            })
        };
        self.git.all_of(head).into_iter().find(named)
    }
}
