//! Forgejo's and Gitea's payloads, with the fields that are used. Go writes what is empty as null;
//! fields that are not named are ignored.

use afk_core::ids::{Actor, At};
use serde::Deserialize;

/// The id of the account that stands for all deleted ones.
const GHOST: i64 = -1;

/// An account. The server's own accounts have negative ids.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct User {
    pub(super) id: i64,
    pub(super) login: String,
}

impl User {
    /// The account as the loop knows it; none if it was deleted.
    pub(super) fn actor(self) -> Option<Actor> {
        let actor = || Actor { id: self.id.to_string(), login: self.login, bot: self.id < 0 };
        (self.id != GHOST).then(actor)
    }
}

/// A label.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Label {
    pub(super) id: u64,
    pub(super) name: String,
}

/// The repo of an issue.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RepositoryMeta {
    pub(super) full_name: String,
}

/// An issue, or a pull request among issues.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Issue {
    pub(super) number: u64,
    pub(super) title: String,
    #[serde(default)]
    pub(super) body: Option<String>,
    pub(super) state: String,
    #[serde(default)]
    pub(super) user: Option<User>,
    #[serde(default)]
    pub(super) labels: Option<Vec<Label>>,
    pub(super) created_at: At,
    pub(super) updated_at: At,
    /// Present only on pull requests.
    #[serde(default)]
    pub(super) pull_request: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    pub(super) repository: Option<RepositoryMeta>,
}

/// An entry of an issue's timeline, of one of the kinds that the trust gate depends on.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    pub(super) user: Option<User>,
    pub(super) created_at: At,
    #[serde(default)]
    pub(super) label: Option<Label>,
    /// In a label's entry: "1" if it was added, empty if it was removed.
    #[serde(default)]
    pub(super) body: Option<String>,
}

/// A comment on an issue or a pull request.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Comment {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) user: Option<User>,
    pub(super) created_at: At,
    #[serde(default)]
    pub(super) updated_at: Option<At>,
    #[serde(default)]
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) issue_url: Option<String>,
}

impl Comment {
    /// Whether its text was changed after it was written.
    pub(super) fn is_edited(&self) -> bool {
        self.updated_at.is_some_and(|updated| updated > self.created_at)
    }

    /// The number of the issue, from its address; none on a pull request.
    pub(super) fn issue_number(&self) -> Option<u64> {
        self.issue_url.as_ref()?.rsplit('/').next()?.parse().ok()
    }
}

/// The permission of an account on a repo.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Collaborator {
    pub(super) permission: String,
    #[serde(default)]
    pub(super) user: Option<User>,
}

/// A pull request.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Pull {
    pub(super) number: u64,
    pub(super) html_url: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) merged: bool,
    #[serde(default)]
    pub(super) merge_commit_sha: Option<String>,
    #[serde(default)]
    pub(super) created_at: Option<At>,
    pub(super) head: PullSide,
    pub(super) base: PullSide,
}

impl Pull {
    /// Whether it asks to merge the repo's own branch of that name. Anybody may have a fork with a
    /// branch of the same name. A pull request that was pushed to `refs/for/`, without any branch,
    /// has an empty name here.
    pub(super) fn is_of(&self, branch: &str) -> bool {
        self.head.branch == branch && self.head.repo_id == self.base.repo_id
    }
}

/// The branch that a pull request asks to merge, or the one that it asks to merge it into.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct PullSide {
    /// The branch's name. The field `ref` has it, too, but only as long as the branch exists: once
    /// the branch is deleted, `ref` is `refs/pull/<number>/head`.
    #[serde(rename = "label")]
    pub(super) branch: String,
    pub(super) sha: String,
    /// The number of the branch's repo, also after the branch was deleted; -1 if the repo is gone.
    pub(super) repo_id: i64,
}
