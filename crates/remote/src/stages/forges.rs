//! The forges that stages read checks from: the same accounts that are trackers.

use std::sync::Arc;

use afk_core::ids::{AdapterName, RepoName};
use afk_engine::ports::PortResult;

use crate::http::{Account, Method, Request};

/// The forges of the configuration, by name.
pub(crate) trait ForgesOfStages: Send + Sync {
    /// Returns the forge of that name, or the repo's own without a name; an error if there is none.
    fn forge(&self, name: Option<&AdapterName>, repo: &RepoName) -> PortResult<Forge>;
}

/// The kind of stage that reads a forge's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChecksOf {
    /// The kind `checks`.
    GitHub,
    /// The kind `forgejo-status`, also for Gitea.
    Forgejo,
}

/// A repo at a forge.
pub(crate) struct Forge {
    /// Which kind of stage can read its checks.
    pub(crate) checks: ChecksOf,
    pub(crate) account: Arc<Account>,
    /// The segments that the paths of the API begin with.
    pub(crate) root: Vec<String>,
    /// The repo's name on the forge.
    pub(crate) repo: RepoName,
}

impl Forge {
    /// A GET request below the repo's own path.
    pub(super) fn get(&self, below: &[&str]) -> Request {
        self.request(Method::Get, below)
    }

    /// A request below the repo's own path.
    pub(super) fn request(&self, method: Method, below: &[&str]) -> Request {
        let own = ["repos", self.repo.owner(), self.repo.name()];
        let own = own.into_iter().chain(below.iter().copied()).map(str::to_owned);
        Request::new(method, self.root.iter().cloned().chain(own))
    }
}
