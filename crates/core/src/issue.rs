//! An issue as a tracker shows it: content, labels, and the events that say who did what to it.
//! Only facts; `trust`, `blockers` and `gates` decide what they mean.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Actor, At, IssueRef};

/// An issue as listed: enough to order candidates and query the local gates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Its repo and number.
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

impl Issue {
    /// Whether `label` is on it.
    pub fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|on| same_label(on, label))
    }
}

/// Whether two names mean the same label. Trackers ignore the case and keep the spelling that a
/// label was made with, which need not be that of the configuration.
pub fn same_label(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// One event of an issue. Lists of events are in the tracker's order, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueEvent {
    /// When it happened, by the tracker's clock.
    pub at: At,
    /// Who did it; `None` if the tracker does not say, which is never trusted.
    pub actor: Option<Actor>,
    /// What was changed.
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

impl IssueChange {
    /// `Some(true)` if it added `label`, `Some(false)` if it removed it; none if it did neither.
    pub fn on_or_off(&self, label: &str) -> Option<bool> {
        match self {
            Self::Labeled { label: other } => same_label(other, label).then_some(true),
            Self::Unlabeled { label: other } => same_label(other, label).then_some(false),
            Self::Renamed | Self::Edited | Self::Closed | Self::Reopened => None,
        }
    }

    /// Whether it added `label`.
    pub fn adds(&self, label: &str) -> bool {
        self.on_or_off(label) == Some(true)
    }

    /// Whether it removed `label`.
    pub fn removes(&self, label: &str) -> bool {
        self.on_or_off(label) == Some(false)
    }
}

/// An account's rights on a repo according to the tracker, lowest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// None at all: a stranger.
    None,
    /// May read the repo.
    Read,
    /// May label, assign and close issues, but not push.
    Triage,
    /// May push.
    Write,
    /// May also change some of the repo's settings.
    Maintain,
    /// May do everything on the repo.
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
    /// Whether the text was changed after it was written. On forges, others than the author may do
    /// that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edited: bool,
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
    /// Was deleted, or moved to where the credential does not reach: blocks like one that could not
    /// be read, until a person takes it out of the issue.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_the_same_in_any_case() {
        let issue = Issue {
            issue: "o/r#7".parse().unwrap(),
            title: String::new(),
            body: String::new(),
            labels: vec!["bug".to_owned(), "Ready-For-Agent".to_owned()],
            open: true,
        };
        assert!(issue.has("ready-for-agent") && issue.has("BUG"));
        assert!(!issue.has("ready") && !issue.has(""));
        let on = IssueChange::Labeled { label: "Ready".to_owned() };
        let off = IssueChange::Unlabeled { label: "READY".to_owned() };
        for (what, label, expected) in [
            (&on, "ready", Some(true)),
            (&off, "ready", Some(false)),
            (&on, "other", None),
            (&off, "other", None),
            (&IssueChange::Closed, "ready", None),
        ] {
            assert_eq!(what.on_or_off(label), expected, "{what:?} {label}");
            assert_eq!(what.adds(label), expected == Some(true), "{what:?} {label}");
            assert_eq!(what.removes(label), expected == Some(false), "{what:?} {label}");
        }
    }
}
