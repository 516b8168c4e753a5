//! Webhooks: what the forges would send about each repo, and which were heard.
//!
//! They are derived from what changed, so that no way of changing something can forget its webhook.
//! Who hears them, and when, is for a test to decide.

use std::collections::BTreeMap;

use afk_core::ids::{At, IssueRef, Oid, RepoName};
use afk_core::issue::IssueChange;

use super::World;

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The repo that something happened in.
    pub repo: RepoName,
    /// The issue that got the ready label by a person, as it says.
    pub released: Option<IssueRef>,
}

/// A webhook that a control plane heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The webhook.
    pub hook: Hook,
    /// When it was heard.
    pub at: At,
}

/// What was sent so far, and what was heard.
#[derive(Debug, Clone, Default)]
pub struct HookWorld {
    /// Every webhook that a control plane heard, oldest first; a flood counts once.
    pub heard: Vec<Heard>,
    /// Number of events and comments of each issue, and its newest change.
    issues: BTreeMap<IssueRef, (usize, usize, Option<At>)>,
    heads: BTreeMap<RepoName, Oid>,
}

impl World {
    /// The webhooks of all that has happened since this was asked last, in order.
    pub fn webhooks(&mut self) -> Vec<Hook> {
        let mut sent = Vec::new();
        let ready = &self.config.ready_label;
        let of = |issue: &IssueRef| Hook { repo: issue.repo.clone(), released: None };
        for (issue, record) in &self.tracker.issues {
            let now = (record.events.len(), record.comments.len(), Some(record.updated));
            let before = self.hooks.issues.get(issue).copied().unwrap_or_default();
            if now == before {
                continue;
            }
            self.hooks.issues.insert(issue.clone(), now);
            for event in record.events.iter().skip(before.0) {
                let added =
                    |label: &str| event.what == IssueChange::Labeled { label: label.to_owned() };
                sent.push(Hook { released: added(ready).then(|| issue.clone()), ..of(issue) });
            }
            sent.extend((before.1..now.1).map(|_| of(issue)));
            if (now.0, now.1) == (before.0, before.1) {
                // A comment was edited.
                sent.push(of(issue));
            }
        }
        for (repo, head) in &self.git.remotes {
            if self.hooks.heads.get(repo) != Some(head) {
                self.hooks.heads.insert(repo.clone(), head.clone());
                sent.push(Hook { repo: repo.clone(), released: None });
            }
        }
        sent
    }

    /// A control plane hears one.
    pub fn hears(&mut self, hook: &Hook) {
        self.hooks.heard.push(Heard { hook: hook.clone(), at: self.now });
    }
}
