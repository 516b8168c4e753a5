//! Webhooks: what the forges would send about each repo, and which were received.
//!
//! They are derived from what changed in the world, so that no change can forget its webhook. A
//! test decides who hears them, and when.

use std::collections::BTreeMap;

use afk_core::ids::{At, IssueRef, Oid, RepoName};
use afk_core::run::PullState;
use afk_core::verdict::StageAnswer;

use super::World;

/// What is known of a stage that no webhook was sent about: its number of steps, and its answer.
const UNKNOWN: (u32, StageAnswer) = (0, StageAnswer::None);

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The repo that something happened in.
    pub repo: RepoName,
    /// What the webhook says that happened; a loop that believes it is a bad one.
    pub says: HookSays,
}

/// What a webhook says that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookSays {
    /// Something, without saying what.
    Something,
    /// A person put the ready label on the issue.
    Released(IssueRef),
    /// The pull request of this branch is in this state; without a branch, each open one is.
    Pull {
        /// The branch of the pull request.
        branch: Option<String>,
        /// Its state.
        state: PullState,
    },
    /// A stage gave this answer about a commit; without a commit, each stage did about each commit.
    Stage {
        /// The stage and the commit.
        about: Option<(String, Oid)>,
        /// The answer.
        answer: StageAnswer,
    },
}

/// A webhook that a control plane received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedHook {
    /// The webhook.
    pub hook: Hook,
    /// Which control plane received it.
    pub plane: usize,
    /// When it was received.
    pub at: At,
}

/// What was sent so far, and what was received.
#[derive(Debug, Clone, Default)]
pub struct HookWorld {
    /// Every webhook that a control plane received, oldest first; a flood of one is there once.
    pub received: Vec<ReceivedHook>,
    /// Number of events and comments of each issue, and when it last changed, as of the last
    /// webhook.
    issues: BTreeMap<IssueRef, (usize, usize, Option<At>)>,
    heads: BTreeMap<RepoName, Oid>,
    /// The state of each pull request as of the last webhook, by repo and branch.
    pulls: BTreeMap<(RepoName, String), PullState>,
    /// Steps and answer of each stage about each commit, as of the last webhook.
    stages: BTreeMap<(RepoName, String, Oid), (u32, StageAnswer)>,
}

impl World {
    /// Returns the webhooks of everything that has happened since the last call, in order.
    pub fn webhooks(&mut self) -> Vec<Hook> {
        let mut sent = Vec::new();
        let ready = &self.config.ready_label;
        let of = |repo: &RepoName, says| Hook { repo: repo.clone(), says };
        for (issue, record) in &self.tracker.issues {
            let now = (record.events.len(), record.comments.len(), Some(record.updated));
            let before = self.hooks.issues.get(issue).copied().unwrap_or_default();
            if now == before {
                continue;
            }
            self.hooks.issues.insert(issue.clone(), now);
            for event in record.events.iter().skip(before.0) {
                let says = if event.what.adds(ready) {
                    HookSays::Released(issue.clone())
                } else {
                    HookSays::Something
                };
                sent.push(of(&issue.repo, says));
            }
            let something = || of(&issue.repo, HookSays::Something);
            sent.extend((before.1..now.1).map(|_| something()));
            if (now.0, now.1) == (before.0, before.1) {
                // No comment and no event is new, so an old comment was edited.
                sent.push(something());
            }
        }
        for (repo, head) in &self.git.remotes {
            if self.hooks.heads.get(repo) != Some(head) {
                self.hooks.heads.insert(repo.clone(), head.clone());
                sent.push(of(repo, HookSays::Something));
            }
        }
        for (at, record) in &self.pulls.pulls {
            if self.hooks.pulls.get(at) != Some(&record.state) {
                let ((repo, branch), state) = (at.clone(), record.state.clone());
                self.hooks.pulls.insert(at.clone(), state.clone());
                sent.push(of(&repo, HookSays::Pull { branch: Some(branch), state }));
            }
        }
        for (at, steps) in self.stages.reached() {
            let (before, known) = self.hooks.stages.get(&at).copied().unwrap_or(UNKNOWN);
            let open = matches!(known, StageAnswer::None | StageAnswer::Pending);
            if !open || steps == before {
                continue;
            }
            let (repo, stage, commit) = at.clone();
            let answer = self.decided(&stage, &commit, steps);
            self.hooks.stages.insert(at, (steps, answer));
            if answer != known {
                sent.push(of(&repo, HookSays::Stage { about: Some((stage, commit)), answer }));
            }
        }
        sent
    }

    /// Records that control plane `plane` received `hook`, now.
    pub fn hears(&mut self, plane: usize, hook: &Hook) {
        self.hooks.received.push(ReceivedHook { hook: hook.clone(), plane, at: self.now });
    }
}
