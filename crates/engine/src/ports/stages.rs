//! Stages that are polled: what CI and deployment say about a commit.
//!
//! Stages that run a command are jobs ([`super::Jobs`]). The adapter interprets the answers of its
//! system; the loop decides what to do about them, how often to poll and how long to wait.

use afk_core::config;
use afk_core::ids::{At, Oid, RepoName, RunId};
use afk_core::verdict::StageAnswer;
use async_trait::async_trait;

use super::PortResult;

/// The subject of a poll.
#[derive(Debug, Clone)]
pub struct StageQuery {
    /// The run that polls; [`RunId::NOBODY`] before there is one.
    pub run: RunId,
    /// The repo.
    pub repo: RepoName,
    /// The stage, as its repo configures it.
    pub stage: config::Stage,
    /// The commit.
    pub commit: Oid,
    /// Whether the default branch has it.
    pub landed: bool,
    /// How often the run had polled before without a final answer: a failure only counts if it is
    /// repeated. An adapter that can start the stage again does so once for each number.
    pub again: u32,
}

/// A stage's answer about a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageReport {
    /// The answer. [`StageAnswer::Success`] is final: an adapter for checks gives it once they no
    /// longer change.
    pub answer: StageAnswer,
    /// A link for people.
    pub link: Option<String>,
    /// The end of its output, if it failed.
    pub tail: Option<String>,
    /// When to poll again; none if unknown.
    pub next_look: Option<At>,
}

/// The polled stages, each by the adapter that its kind names.
#[async_trait]
pub trait Stages: Send + Sync {
    /// The stage's current answer about the commit. Only reads, except for starting it again; an
    /// answer that cannot be read is an error, and never a failure of the commit.
    async fn poll(&self, query: &StageQuery) -> PortResult<StageReport>;
}
