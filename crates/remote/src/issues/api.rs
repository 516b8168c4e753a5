//! What is read from and written to a forge's issues, live: the seam between what all forges have
//! in common and each of them.
//!
//! An implementation caches nothing but what never changes, and what it needs to tell who changed
//! an issue.

use std::sync::Arc;

use afk_core::ids::{Actor, At, IssueRef, RepoName};
use afk_core::issue::{Comment, Issue, Permission};
use afk_engine::ports::PortResult;
use async_trait::async_trait;

use super::{IssueCache, View};
use crate::http::Account;

/// The issues of the repos that one account sees.
#[async_trait]
pub(crate) trait IssuesApi: Send + Sync {
    /// The HTTP account that requests are sent with.
    fn account(&self) -> &Arc<Account>;

    /// The user or app that the forge shows as the author of what we write.
    async fn own_account(&self) -> PortResult<Actor>;

    /// Probes `repo`, and takes what has changed since the last probe into `seen`. Returns whether
    /// `seen` has changed so that it is worth writing to the notes.
    async fn changes(&self, repo: &RepoName, seen: &mut IssueCache) -> PortResult<bool>;

    /// The open issues of `repo` with `label`; others may be among them, which the caller drops.
    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>>;

    /// The issue with its history and its open blockers.
    async fn view(&self, issue: &IssueRef) -> PortResult<View>;

    /// Whether the issue is open.
    async fn is_open(&self, issue: &IssueRef) -> PortResult<bool>;

    /// The permission on `repo` of `actor`, who is a person; an error if it cannot be read.
    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission>;

    /// All comments of `issue`, oldest first.
    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>>;

    /// The comments on all issues of `repo` that were written at `since` or later; older ones may
    /// be among them, which the caller drops.
    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>>;

    /// Posts a comment, and returns its id at the forge.
    async fn post_comment(&self, issue: &IssueRef, body: &str) -> PortResult<String>;

    /// Replaces the text of a comment.
    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()>;

    /// Adds labels; an error if the issue does not have all of them afterwards.
    async fn add_labels(&self, issue: &IssueRef, labels: &[String]) -> PortResult<()>;

    /// Removes a label; no error if the issue does not have it.
    async fn remove_label(&self, issue: &IssueRef, label: &str) -> PortResult<()>;

    /// Opens or closes the issue; an error if it is not so afterwards.
    async fn set_open(&self, issue: &IssueRef, open: bool) -> PortResult<()>;
}
