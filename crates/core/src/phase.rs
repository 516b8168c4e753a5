//! How far a run is, in the words of the checklist. Which evidence reaches a phase is decided by
//! [`Run::phase`](crate::run::Run::phase).

use serde::{Deserialize, Serialize};

/// The phases of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The workspace is being created.
    Worktree,
    /// A failing test is awaited.
    TestsRed,
    /// A passing implementation is awaited.
    Green,
    /// The push to the default branch is awaited.
    Pushed,
    /// CI's answer on the landed commit is awaited.
    Ci,
    /// The deployment is awaited.
    Deployed,
    /// Everything is done, and the issue is closed.
    Done,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Worktree,
        Self::TestsRed,
        Self::Green,
        Self::Pushed,
        Self::Ci,
        Self::Deployed,
        Self::Done,
    ];

    /// Its line in the checklist; `branch` is the default branch's name.
    pub fn says(self, branch: &str) -> String {
        match self {
            Self::Worktree => "Worktree created".to_owned(),
            Self::TestsRed => "Failing test written (TDD red)".to_owned(),
            Self::Green => "Implementation passing (TDD green)".to_owned(),
            Self::Pushed => format!("Pushed to {branch}"),
            Self::Ci => "CI green on pushed commit".to_owned(),
            Self::Deployed => "Deployed / rolled out".to_owned(),
            Self::Done => "Done — issue closed".to_owned(),
        }
    }
}
