//! An issue as a tracker shows it: content, labels, and the events that say who
//! did what to it. Facts only; what they mean is decided in `trust`, `blockers`
//! and `gates`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Actor, At, IssueRef};

/// An issue as it is listed: enough to order candidates and ask the local gates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Its name.
    pub issue: IssueRef,
    /// Its title as it stands now.
    pub title: String,
    /// Its body as it stands now.
    pub body: String,
    /// Its labels as they stand now.
    pub labels: Vec<String>,
    /// Whether it is open.
    pub open: bool,
}

/// What happened to an issue, in the tracker's order, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueEvent {
    /// When.
    pub at: At,
    /// By whom; `None` where the tracker cannot say, which is never trusted.
    pub actor: Option<Actor>,
    /// What.
    pub what: IssueChange,
}

/// One kind of change to an issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum IssueChange {
    /// A label was put on.
    Labeled {
        /// The label.
        label: String,
    },
    /// A label was taken off.
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
    /// The issue was opened again.
    Reopened,
}

/// What a tracker knows of an account's rights on a repo, least first.
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
    /// Its text as it stands now.
    pub body: String,
}

/// Whether an issue that blocks another still does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockerState {
    /// Still open: blocks.
    Open,
    /// Closed: blocks no more.
    Closed,
    /// Could not be read: blocks, because unknown is "wait".
    Unreadable,
}
