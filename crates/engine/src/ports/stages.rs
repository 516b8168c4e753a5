//! Stages that are polled: what CI and deployment say about a commit.
//!
//! Stages that run a command are jobs ([`super::Jobs`]). The adapter interprets the answers of its
//! system; the loop decides what to do about them, how often to poll and how long to wait.

use afk_core::config;
use afk_core::ids::{At, Oid, RepoName, RunId};
use afk_core::verdict::StageAnswer;
use async_trait::async_trait;

use super::PortResult;

/// What a poll asks about.
#[derive(Debug, Clone)]
pub struct StageQuery {
    /// The run that polls; [`RunId::NOBODY`] if no run does.
    pub run: RunId,
    /// The repo of the commit.
    pub repo: RepoName,
    /// The stage, as its repo configures it.
    pub stage: config::Stage,
    /// The commit that the stage is to answer for.
    pub commit: Oid,
    /// Whether the default branch has the commit. What CI did for the branch of a candidate, which
    /// may have been the very same commit, does not answer for it then: the default branch's own CI
    /// may deploy, which a candidate's does not.
    pub landed: bool,
    /// How often the stage has failed, or given no result, for this commit before: a failure counts
    /// only once it was repeated. An adapter that can start the stage again does so once for each
    /// number above 0.
    pub again: u32,
}

/// A stage's answer about a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageReport {
    /// The answer. [`StageAnswer::Success`] is final: an adapter for checks gives it once they no
    /// longer change.
    pub answer: StageAnswer,
    /// A link for people, such as the page of the CI run.
    pub link: Option<String>,
    /// The end of its output, if it failed.
    pub tail: Option<String>,
    /// When to poll again, if the adapter knows; the engine keeps it within bounds.
    pub next_look: Option<At>,
}

/// The polled stages, each by the adapter that its kind names.
#[async_trait]
pub trait Stages: Send + Sync {
    /// Returns the stage's current answer about the commit. Only reads, except for starting the
    /// stage again. An answer that cannot be read is an error, never a failure of the commit.
    async fn poll(&self, query: &StageQuery) -> PortResult<StageReport>;
}
