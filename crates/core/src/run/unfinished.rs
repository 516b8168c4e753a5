//! Git work that a turn left in its clone and that HEAD does not hold, although all of it is
//! committed or put aside: it would be removed with the workspace, and nobody would know.
//!
//! The agent is asked once to finish or drop it, as about uncommitted files. After that, an
//! operation under way or commits on the run's own branch still keep HEAD from landing, because
//! HEAD is not the end of the work; another branch or a stash does not, because the agent was
//! asked.

use serde::{Deserialize, Serialize};

/// One piece of unfinished git work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "unfinished", rename_all = "snake_case")]
pub enum UnfinishedWork {
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
    /// Another branch has commits that HEAD does not reach.
    Branch {
        /// Its name.
        branch: String,
    },
    /// Work was put aside with `git stash`.
    Stash,
}

impl UnfinishedWork {
    /// Whether HEAD is not the end of the work as long as this is there.
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
