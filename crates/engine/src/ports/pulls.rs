//! Pull requests: people decide what lands.

use afk_core::ids::{Oid, RepoName};
use afk_core::run::PullSeen;
use async_trait::async_trait;

use super::PortResult;

/// A pull request to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSpec {
    /// The repo.
    pub repo: RepoName,
    /// The branch of ours that it asks to merge; no other pull request is for it, so that it is
    /// found again by it.
    pub branch: String,
    /// The commit that the branch is at.
    pub commit: Oid,
    /// The branch that it is to be merged into.
    pub onto: String,
    /// Its title.
    pub title: String,
    /// Its text.
    pub body: String,
}

/// Opens pull requests, and reads what people decided.
#[async_trait]
pub trait PullRequests: Send + Sync {
    /// Opens it, or finds the one for its branch, whatever its state.
    async fn open(&self, pull: &PullSpec) -> PortResult<PullSeen>;
    /// The state of the one for this branch; `NotFound` if there is none.
    async fn look(&self, repo: &RepoName, branch: &str) -> PortResult<PullSeen>;
    /// Closes it if it is open. Safe to repeat.
    async fn close(&self, repo: &RepoName, branch: &str) -> PortResult<()>;
}
