//! What a tracker of a forge can be asked, live: the seam between what all forges have in common
//! and each of them.
//!
//! Nothing is kept by whoever implements it but what never changes, or what it needs to know who
//! changed an issue.

use std::sync::Arc;

use afk_core::ids::{Actor, At, IssueRef, RepoName};
use afk_core::issue::{Comment, Issue, Permission};
use afk_engine::ports::PortResult;
use async_trait::async_trait;

use super::{Seen, View};
use crate::http::Account;

/// The issues of the repos that one account sees.
#[async_trait]
pub(crate) trait IssuesApi: Send + Sync {
    /// The account.
    fn account(&self) -> &Arc<Account>;

    /// The account that acts.
    async fn own_account(&self) -> PortResult<Actor>;

    /// Shows `seen` what has changed in `repo` since it was shown last. Returns whether that is
    /// worth a note.
    async fn changes(&self, repo: &RepoName, seen: &mut Seen) -> PortResult<bool>;

    /// The open issues of `repo` with `label`; others may be among them.
    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>>;

    /// The issue with its history and its open blockers.
    async fn view(&self, issue: &IssueRef) -> PortResult<View>;

    /// Whether the issue is open.
    async fn is_open(&self, issue: &IssueRef) -> PortResult<bool>;

    /// What `actor`, who is a person, may do on `repo`; an error if that cannot be read.
    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission>;

    /// The comments of `issue`, oldest first, to the last one.
    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>>;

    /// The comments on all issues of `repo` that were written at `since` or later; older ones may
    /// be among them.
    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>>;

    /// Posts a comment, and returns its id.
    async fn post_comment(&self, issue: &IssueRef, body: &str) -> PortResult<String>;

    /// Replaces the text of a comment.
    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()>;

    /// Adds labels; one that the issue does not have afterwards is an error.
    async fn add_labels(&self, issue: &IssueRef, labels: &[String]) -> PortResult<()>;

    /// Removes a label; that it is not there is no error.
    async fn remove_label(&self, issue: &IssueRef, label: &str) -> PortResult<()>;

    /// Opens or closes the issue; one that is not so afterwards is an error.
    async fn set_open(&self, issue: &IssueRef, open: bool) -> PortResult<()>;
}
