//! The local tracker: issues kept in the store of this machine.
//!
//! For a single machine and for trials, with the same gates and the same loop. The command line
//! writes to it for the person at the keyboard, the loop for `afk` itself. Each change is an event
//! with its author, written only if something changed, so that repeating a call has no effect.
//!
//! Permissions fail closed: the person at the keyboard is admin, others have what was configured,
//! and `afk`'s own account has none, so that a label which it adds is not trusted by itself. The
//! core parses blockers.

use std::collections::BTreeMap;

use afk_core::ids::{Actor, IssueRef, RepoName};
use afk_core::issue::{BlockerState, Comment, Issue, IssueEvent, Permission};
use jiff::Timestamp;

use crate::{IssueEdit, IssueFilter, Store, StoreError};

/// Maximum number of listed issues.
const MAX_LIST: u32 = 10_000;
const MAX_TITLE: usize = 1000;
const MAX_TEXT: usize = 1024 * 1024;
const MAX_LABEL: usize = 100;

/// Why a call failed or was refused.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    /// The store failed, or has no such issue.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A title, text or label is not one that an issue can have.
    #[error("{what} {why}")]
    Invalid {
        /// What the text is, such as `the title`.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The comment to be edited does not exist, or somebody else wrote it.
    #[error("comment {id} on {issue} was not written by {actor}: only its author may edit it")]
    NotTheirs {
        /// The id of the comment, at most 40 characters of it.
        id: String,
        /// The issue.
        issue: IssueRef,
        /// The login of the account that tried to edit it.
        actor: String,
    },
}

/// The local tracker, with the permissions of its accounts. Clones share one store.
#[derive(Debug, Clone)]
pub struct LocalTracker {
    store: Store,
    keeper: String,
    granted: BTreeMap<String, Permission>,
}

impl LocalTracker {
    /// Creates a tracker in `store`. `keeper` is the id of the person at the keyboard
    /// (`user:<name>`); `granted` are the configured permissions of other ids.
    pub fn new(
        store: Store,
        keeper: impl Into<String>,
        granted: BTreeMap<String, Permission>,
    ) -> Self {
        Self { store, keeper: keeper.into(), granted }
    }

    /// Returns the account as which `afk` itself writes.
    pub fn own_account() -> Actor {
        Actor { id: "afk".to_owned(), login: "afk".to_owned(), bot: true }
    }

    /// Returns the account of a user of this machine, by its name.
    pub fn user(name: &str) -> Actor {
        Actor { id: format!("user:{name}"), login: name.to_owned(), bot: false }
    }

    /// Returns what the account `actor_id` may do; it is the same for every repo.
    pub fn permission(&self, actor_id: &str) -> Permission {
        if actor_id == Self::own_account().id {
            Permission::None
        } else if actor_id == self.keeper {
            Permission::Admin
        } else {
            self.granted.get(actor_id).copied().unwrap_or(Permission::None)
        }
    }

    /// Creates an open issue and returns its reference; numbers count from 1 in each repo.
    pub async fn create(
        &self,
        repo: &RepoName,
        title: &str,
        body: &str,
        actor: &Actor,
        at: Timestamp,
    ) -> Result<IssueRef, TrackerError> {
        let (title, body) = (check_title(title)?, check_text("the body", body)?);
        Ok(self.store.issue_create(repo.clone(), title, body, actor.clone(), at).await?)
    }

    /// Returns one issue, if it exists.
    pub async fn get(&self, issue: &IssueRef) -> Result<Option<Issue>, TrackerError> {
        Ok(self.store.issue(issue).await?)
    }

    /// Lists the issues that match, sorted by repo and number, at most 10,000.
    pub async fn list(
        &self,
        repo: Option<&RepoName>,
        open: Option<bool>,
        label: Option<&str>,
    ) -> Result<Vec<Issue>, TrackerError> {
        let filter = IssueFilter { repo: repo.cloned(), label: label.map(str::to_owned), open };
        Ok(self.store.issue_list(&filter, MAX_LIST).await?)
    }

    /// Lists the open issues of `repo` that carry `label`, by number, at most 10,000.
    pub async fn list_ready(
        &self,
        repo: &RepoName,
        label: &str,
    ) -> Result<Vec<Issue>, TrackerError> {
        self.list(Some(repo), Some(true), Some(label)).await
    }

    /// Lists all open issues of every repo that carry `label`, by repo and number.
    pub async fn list_ready_everywhere(&self, label: &str) -> Result<Vec<Issue>, TrackerError> {
        let filter = IssueFilter { repo: None, label: Some(label.to_owned()), open: Some(true) };
        Ok(self.store.issue_list(&filter, u32::MAX).await?)
    }

    /// Returns what happened to an issue, oldest first.
    pub async fn events(&self, issue: &IssueRef) -> Result<Vec<IssueEvent>, TrackerError> {
        Ok(self.store.issue_events(issue).await?)
    }

    /// Returns whether an issue that was named as a blocker still blocks.
    pub async fn blocker(&self, issue: &IssueRef) -> BlockerState {
        match self.store.issue(issue).await {
            Ok(Some(found)) if found.open => BlockerState::Open,
            Ok(Some(_)) => BlockerState::Closed,
            Ok(None) => BlockerState::Gone,
            Err(_) => BlockerState::Unreadable,
        }
    }

    /// Adds a label; false if the issue had it already.
    pub async fn label(
        &self,
        issue: &IssueRef,
        label: &str,
        actor: &Actor,
        at: Timestamp,
    ) -> Result<bool, TrackerError> {
        self.edit_once(issue, IssueEdit::Label(check_label(label)?), actor, at).await
    }

    /// Removes a label; false if the issue did not have it.
    pub async fn unlabel(
        &self,
        issue: &IssueRef,
        label: &str,
        actor: &Actor,
        at: Timestamp,
    ) -> Result<bool, TrackerError> {
        self.edit_once(issue, IssueEdit::Unlabel(check_label(label)?), actor, at).await
    }

    /// Closes an issue; false if it was closed already.
    pub async fn close(
        &self,
        issue: &IssueRef,
        actor: &Actor,
        at: Timestamp,
    ) -> Result<bool, TrackerError> {
        self.edit_once(issue, IssueEdit::Close, actor, at).await
    }

    /// Reopens an issue; false if it was open already.
    pub async fn reopen(
        &self,
        issue: &IssueRef,
        actor: &Actor,
        at: Timestamp,
    ) -> Result<bool, TrackerError> {
        self.edit_once(issue, IssueEdit::Reopen, actor, at).await
    }

    /// Changes an issue's title, body, or both; false if neither is different.
    pub async fn edit(
        &self,
        issue: &IssueRef,
        title: Option<&str>,
        body: Option<&str>,
        actor: &Actor,
        at: Timestamp,
    ) -> Result<bool, TrackerError> {
        // Both are validated before either is written.
        let title = title.map(check_title).transpose()?;
        let body = body.map(|body| check_text("the body", body)).transpose()?;
        let mut changed = false;
        if let Some(title) = title {
            changed |= self.edit_once(issue, IssueEdit::Title(title), actor, at).await?;
        }
        if let Some(body) = body {
            changed |= self.edit_once(issue, IssueEdit::Body(body), actor, at).await?;
        }
        Ok(changed)
    }

    /// Returns the comments of an issue, oldest first.
    pub async fn comments(&self, issue: &IssueRef) -> Result<Vec<Comment>, TrackerError> {
        Ok(self.store.comments(issue).await?)
    }

    /// Returns the comments on any issue of each repo since the time given with it, oldest first. A
    /// repo without any is not in the map.
    pub async fn comments_since(
        &self,
        asked: &[(RepoName, Timestamp)],
    ) -> Result<BTreeMap<RepoName, Vec<(IssueRef, Comment)>>, TrackerError> {
        Ok(self.store.comments_since(asked).await?)
    }

    /// Writes a comment and returns its id.
    pub async fn comment(
        &self,
        issue: &IssueRef,
        body: &str,
        actor: &Actor,
        at: Timestamp,
    ) -> Result<String, TrackerError> {
        let body = check_text("the comment", body)?;
        Ok(self.store.comment_add(issue, body, actor.clone(), at).await?.to_string())
    }

    /// Replaces the text of a comment, which only its author may; false if the text is the same.
    pub async fn edit_comment(
        &self,
        issue: &IssueRef,
        id: &str,
        body: &str,
        actor: &Actor,
        at: Timestamp,
    ) -> Result<bool, TrackerError> {
        let body = check_text("the comment", body)?;
        let not_theirs = || TrackerError::NotTheirs {
            id: id.chars().take(40).collect(),
            issue: issue.clone(),
            actor: actor.login.clone(),
        };
        let number = id.parse().map_err(|_| not_theirs())?;
        let edited = self.store.comment_edit(issue, number, body, &actor.id, at).await?;
        edited.ok_or_else(not_theirs)
    }

    async fn edit_once(
        &self,
        issue: &IssueRef,
        edit: IssueEdit,
        actor: &Actor,
        at: Timestamp,
    ) -> Result<bool, TrackerError> {
        Ok(self.store.issue_edit(issue, edit, actor.clone(), at).await?)
    }
}

fn invalid(what: &'static str, why: impl Into<String>) -> TrackerError {
    TrackerError::Invalid { what, why: why.into() }
}

fn check_title(title: &str) -> Result<String, TrackerError> {
    let title = title.trim();
    if title.is_empty() {
        Err(invalid("the title", "is empty: describe in one line what is wanted"))
    } else if title.len() > MAX_TITLE {
        Err(invalid("the title", format!("is longer than {MAX_TITLE} bytes")))
    } else if title.chars().any(char::is_control) {
        Err(invalid("the title", "is more than one line of plain text"))
    } else {
        Ok(title.to_owned())
    }
}

fn check_text(what: &'static str, text: &str) -> Result<String, TrackerError> {
    if text.len() > MAX_TEXT {
        return Err(invalid(what, format!("is longer than {MAX_TEXT} bytes")));
    }
    Ok(text.to_owned())
}

/// Returns a label as it is stored, without white space around it, or why it is invalid.
pub fn check_label(label: &str) -> Result<String, TrackerError> {
    let label = label.trim();
    let plain = !label.chars().any(|c| c.is_control() || c == ',');
    if label.is_empty() || label.len() > MAX_LABEL || !plain {
        let why = format!("must be 1 to {MAX_LABEL} bytes of plain text without commas");
        return Err(invalid("a label", why));
    }
    Ok(label.to_owned())
}
