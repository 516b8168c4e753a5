//! GitHub's payloads, with the fields that are used. Fields that GitHub may leave out are optional;
//! fields that are not named are ignored.

use afk_core::ids::{Actor, At};
use serde::{Deserialize, Serialize};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) login: String,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
}

impl Account {
    /// The account as the loop knows it. Every account whose type is not `User` is a bot.
    pub(super) fn actor(&self) -> Actor {
        Actor { id: self.id.to_string(), login: self.login.clone(), bot: self.kind != "User" }
    }
}

/// An app, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct App {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) slug: Option<String>,
}

/// A label: an object, or its bare name in old payloads.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Label {
    /// As an object.
    Named {
        /// The label's name.
        name: Option<String>,
    },
    /// As its bare name.
    Bare(String),
}

impl Label {
    pub(super) fn name(self) -> Option<String> {
        match self {
            Self::Named { name } => name,
            Self::Bare(name) => Some(name),
        }
    }
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
    pub(super) labels: Vec<Label>,
    pub(super) updated_at: At,
    /// Present only on pull requests.
    #[serde(default)]
    pub(super) pull_request: Option<serde::de::IgnoredAny>,
}

/// An entry of an issue's timeline, of one of the kinds that the trust gate depends on.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    pub(super) actor: Option<Account>,
    pub(super) created_at: At,
    #[serde(default)]
    pub(super) label: Option<Label>,
    /// The app that acted in the actor's name.
    #[serde(default)]
    pub(super) performed_via_github_app: Option<App>,
}

/// A comment on an issue.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Comment {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) user: Option<Account>,
    pub(super) created_at: At,
    #[serde(default)]
    pub(super) updated_at: Option<At>,
    #[serde(default)]
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) issue_url: Option<String>,
    #[serde(default)]
    pub(super) performed_via_github_app: Option<App>,
}

impl Comment {
    /// Whether its text was changed after it was written.
    pub(super) fn is_edited(&self) -> bool {
        self.updated_at.is_some_and(|updated| updated > self.created_at)
    }

    /// The number of the issue, from its address.
    pub(super) fn issue_number(&self) -> Option<u64> {
        self.issue_url.as_ref()?.rsplit('/').next()?.parse().ok()
    }
}

/// An issue that another waits for.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Blocker {
    pub(super) number: u64,
    pub(super) state: String,
    /// The address of its repo in the API.
    pub(super) repository_url: String,
}

/// The permission of an account on a repo.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Collaborator {
    pub(super) permission: String,
    #[serde(default)]
    pub(super) role_name: Option<String>,
    #[serde(default)]
    pub(super) user: Option<Account>,
}

/// A pull request.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Pull {
    pub(super) number: u64,
    pub(super) html_url: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) merged_at: Option<At>,
    #[serde(default)]
    pub(super) merge_commit_sha: Option<String>,
    pub(super) head: PullSide,
    pub(super) base: PullSide,
}

impl Pull {
    /// Whether it asks to merge the repo's own branch of that name: anybody may have a fork with a
    /// branch of the same name.
    pub(super) fn is_of(&self, branch: &str) -> bool {
        let (head, base) = (&self.head, &self.base);
        head.branch == branch && head.repo.is_some() && head.repo == base.repo
    }
}

/// The branch that a pull request asks to merge, or the one that it asks to merge it into.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct PullSide {
    #[serde(rename = "ref")]
    pub(super) branch: String,
    pub(super) sha: String,
    /// The branch's repo; none if it is gone.
    #[serde(default)]
    pub(super) repo: Option<PullRepo>,
}

/// The repo of a branch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct PullRepo {
    pub(super) id: u64,
}

/// The answer of a GraphQL query.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Graph<T> {
    #[serde(default = "Option::default")]
    pub(super) data: Option<T>,
    #[serde(default)]
    pub(super) errors: Vec<GraphError>,
}

/// Why a GraphQL query failed.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct GraphError {
    #[serde(rename = "type", default)]
    pub(super) kind: Option<String>,
    pub(super) message: String,
}

/// The data of a query for the edits of an issue's body.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Edited {
    pub(super) repository: Option<EditedRepo>,
}

/// The repo in [`Edited`].
#[derive(Debug, Clone, Deserialize)]
pub(super) struct EditedRepo {
    pub(super) issue: Option<EditedIssue>,
}

/// The issue in [`EditedRepo`].
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EditedIssue {
    pub(super) last_edited_at: Option<At>,
    pub(super) user_content_edits: Option<Edits>,
}

/// A page of edits, newest first.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Edits {
    pub(super) nodes: Vec<Option<Edit>>,
    pub(super) page_info: PageInfo,
}

/// Whether there is another page.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageInfo {
    pub(super) has_next_page: bool,
    pub(super) end_cursor: Option<String>,
}

/// One edit.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Edit {
    pub(super) edited_at: At,
    pub(super) deleted_at: Option<At>,
    pub(super) editor: Option<Editor>,
}

/// Who edited.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Editor {
    #[serde(rename = "__typename")]
    pub(super) kind: String,
    pub(super) login: String,
    /// The id of a user or bot; the query asks for none of organisations and mannequins.
    #[serde(default)]
    pub(super) database_id: Option<u64>,
}
