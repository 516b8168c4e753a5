//! An issue as a tracker shows it: content, labels, and the events that say who did what to it.
//! Only facts; `trust`, `blockers` and `gates` decide what they mean.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Actor, At, IssueRef};

/// An issue as listed: enough to order candidates and query the local gates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Its name.
    pub issue: IssueRef,
    /// Its current title.
    pub title: String,
    /// Its current body.
    pub body: String,
    /// Its current labels.
    pub labels: Vec<String>,
    /// Whether it is open.
    pub open: bool,
}

/// What happened to an issue, in the tracker's order, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueEvent {
    /// When.
    pub at: At,
    /// By whom; `None` if the tracker does not say, which is never trusted.
    pub actor: Option<Actor>,
    /// What.
    pub what: IssueChange,
}

/// One kind of change to an issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum IssueChange {
    /// A label was added.
    Labeled {
        /// The label.
        label: String,
    },
    /// A label was removed.
    Unlabeled {
        /// The label.
        label: String,
    },
    /// The title was changed.
    Renamed,
    /// The body was changed.
    Edited,
    /// The issue was closed.
    Closed,
    /// The issue was reopened.
    Reopened,
}

/// An account's rights on a repo according to the tracker, lowest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// None at all: a stranger.
    None,
    /// May read.
    Read,
    /// May sort issues.
    Triage,
    /// May push.
    Write,
    /// May manage.
    Maintain,
    /// May do everything.
    Admin,
}

/// A comment on an issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// The tracker's id for it.
    pub id: String,
    /// Who wrote it.
    pub author: Option<Actor>,
    /// When it was written.
    pub at: At,
    /// Its current text.
    pub body: String,
}

/// Whether an issue that blocks another still does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockerState {
    /// Still open: blocks.
    Open,
    /// Closed: no longer blocks.
    Closed,
    /// Could not be read: blocks, because unknown is "wait".
    Unreadable,
}
