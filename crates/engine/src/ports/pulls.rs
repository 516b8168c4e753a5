//! Pull requests, for repos where people decide what lands.

use afk_core::ids::{Oid, RepoName};
use afk_core::run::PullSeen;
use async_trait::async_trait;

use super::PortResult;

/// A pull request to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSpec {
    /// The repo to open it in.
    pub repo: RepoName,
    /// The branch to be merged, which the control plane pushes. It serves this pull request only,
    /// which is found again by it.
    pub branch: String,
    /// The commit that the branch is at.
    pub commit: Oid,
    /// The branch to merge into.
    pub onto: String,
    /// Its title.
    pub title: String,
    /// Its description.
    pub body: String,
}

/// Opens pull requests, and reads what people decided.
#[async_trait]
pub trait PullRequests: Send + Sync {
    /// Opens the pull request, or finds the one for its branch, whatever that one's state.
    async fn open(&self, pull: &PullSpec) -> PortResult<PullSeen>;
    /// Returns the state of the pull request for `branch`; a `NotFound` error if there is none,
    /// and only if the forge says so: a repo that cannot be read is a `Transient` error.
    async fn look(&self, repo: &RepoName, branch: &str) -> PortResult<PullSeen>;
    /// Closes the pull request for `branch` if it is open. Safe to repeat.
    async fn close(&self, repo: &RepoName, branch: &str) -> PortResult<()>;
}
