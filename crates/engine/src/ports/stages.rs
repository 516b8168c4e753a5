//! Stages that are polled: what CI and deployment say of a commit.
//!
//! Stages that run a command are jobs ([`super::Jobs`]). Whoever polls decides what an
//! answer means where it comes from; what the loop does about it, how often it asks and how
//! long it waits, is the loop's.

use afk_core::config;
use afk_core::ids::{At, Oid, RepoName, RunId};
use afk_core::verdict::StageAnswer;
use async_trait::async_trait;

use super::PortResult;

/// What a stage is asked.
#[derive(Debug, Clone)]
pub struct StageQuery {
    /// The run that wants to know.
    pub run: RunId,
    /// The repo.
    pub repo: RepoName,
    /// The stage, as its repo configures it.
    pub stage: config::Stage,
    /// The commit.
    pub commit: Oid,
    /// Whether the default branch has it.
    pub landed: bool,
    /// How often the run had asked before, and did not take the answer for the last: a
    /// failure is asked once more before it is believed. Who can run the stage anew does
    /// so once for each number.
    pub again: u32,
}

/// What a stage says of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageReport {
    /// The answer. [`StageAnswer::Success`] is final: who polls checks gives it once they
    /// stand still.
    pub answer: StageAnswer,
    /// Where a person can look.
    pub link: Option<String>,
    /// The end of its output, where it failed.
    pub tail: Option<String>,
    /// When asking again may bring something new; none where nobody knows.
    pub next_look: Option<At>,
}

/// The stages that are polled, each by the adapter that its kind names.
#[async_trait]
pub trait Stages: Send + Sync {
    /// What the stage says of the commit now. Only looks, but for a run anew; an answer that
    /// cannot be had is an error, and never a failure of the commit.
    async fn poll(&self, query: &StageQuery) -> PortResult<StageReport>;
}
