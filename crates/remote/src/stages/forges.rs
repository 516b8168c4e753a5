//! The forges that stages ask: accounts that are configured for trackers, too.

use std::sync::Arc;

use afk_core::ids::{AdapterName, RepoName};
use afk_engine::ports::PortResult;

use crate::http::{Account, Method, Request};

/// The forges of the configuration, by name.
pub(crate) trait ForgesOfStages: Send + Sync {
    /// The forge of that name, and where the repo lives there; without a name the repo's own.
    fn forge(&self, name: Option<&AdapterName>, repo: &RepoName) -> PortResult<Forge>;
}

/// The kind of stage that reads a forge's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChecksOf {
    /// `checks`.
    GitHub,
    /// `forgejo-status`.
    Forgejo,
}

/// A repo at a forge.
pub(crate) struct Forge {
    /// Which kind of stage can ask it.
    pub(crate) checks: ChecksOf,
    /// The account that asks.
    pub(crate) account: Arc<Account>,
    /// What the paths of the API begin with.
    pub(crate) root: Vec<String>,
    /// Where the repo lives there.
    pub(crate) repo: RepoName,
}

impl Forge {
    /// A read below the repo's own path.
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
