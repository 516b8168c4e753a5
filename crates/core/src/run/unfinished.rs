//! What a turn left in its clone that HEAD does not hold, although all of it is committed or put
//! aside: it would go with the workspace, and nobody would know.
//!
//! The agent is asked once to finish it or to drop it, as about uncommitted files. What then still
//! says that HEAD is not the end of the work keeps it from landing; what only lies beside it does
//! not, because the agent was asked.

use serde::{Deserialize, Serialize};

/// Something unfinished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "unfinished", rename_all = "snake_case")]
pub enum Unfinished {
    /// An operation of git is under way.
    Operation {
        /// Which: a rebase, a merge, and the like.
        what: String,
    },
    /// The run's own branch has commits that HEAD, which is elsewhere, does not reach.
    OwnBranch {
        /// Its name.
        branch: String,
    },
    /// Another branch has.
    Branch {
        /// Its name.
        branch: String,
    },
    /// Work was put aside with `git stash`.
    Stash,
}

impl Unfinished {
    /// Whether HEAD cannot be taken for the work while it lasts.
    pub const fn holds(&self) -> bool {
        match self {
            Self::Operation { .. } | Self::OwnBranch { .. } => true,
            Self::Branch { .. } | Self::Stash => false,
        }
    }

    /// What it is, for people and for the agent.
    pub fn sentence(&self) -> String {
        match self {
            Self::Operation { what } => format!("{what} is under way"),
            Self::OwnBranch { branch } => {
                format!("the run's own branch {branch} has commits that HEAD does not have")
            }
            Self::Branch { branch } => {
                format!("the branch {branch} has commits that HEAD does not have")
            }
            Self::Stash => "work was put aside with git stash".to_owned(),
        }
    }
}
