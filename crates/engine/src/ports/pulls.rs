//! Pull requests: people decide what lands.

use afk_core::ids::{Oid, RepoName};
use afk_core::run::PullSeen;
use async_trait::async_trait;

use super::{PortError, PortResult};

/// A pull request to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSpec {
    /// The repo.
    pub repo: RepoName,
    /// A unique key within the repo, by which it is found again.
    pub key: String,
    /// The branch of ours that it asks to merge.
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
    /// Opens it, or finds the one with its key, whatever its state.
    async fn open(&self, pull: &PullSpec) -> PortResult<PullSeen>;
    /// The state of the one with this key; `NotFound` if there is none.
    async fn look(&self, repo: &RepoName, key: &str) -> PortResult<PullSeen>;
    /// Closes it if it is open. Safe to repeat.
    async fn close(&self, repo: &RepoName, key: &str) -> PortResult<()>;
}

/// For installations in which nothing opens pull requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPullRequests;

impl NoPullRequests {
    fn none<T>(repo: &RepoName) -> PortResult<T> {
        Err(PortError::permanent(format!("no adapter opens pull requests on {repo}")))
    }
}

#[async_trait]
impl PullRequests for NoPullRequests {
    async fn open(&self, pull: &PullSpec) -> PortResult<PullSeen> {
        Self::none(&pull.repo)
    }

    async fn look(&self, repo: &RepoName, _key: &str) -> PortResult<PullSeen> {
        Self::none(repo)
    }

    async fn close(&self, repo: &RepoName, _key: &str) -> PortResult<()> {
        Self::none(repo)
    }
}
