//! T3 Code as the engine's executor: a cockpit on another machine that runs agents, and shows only
//! what it started itself.
//!
//! [`T3Executors`] has one executor for each entry of `agents` whose kind is `t3`. It handles turns
//! in [`executor`] and [`start`]. What a server shows is read in [`one`] and [`two`], one for each
//! protocol; what that means is decided by their `liveness` and by [`outcome`], total functions
//! over data.
//!
//! Everything that is made on a server has an id derived from the run ([`ids`]), and is looked for
//! before it is made. What the server shows decides, not what it answered.

mod check;
mod examine;
mod executor;
mod ids;
mod notes;
mod one;
mod outcome;
mod pair;
mod protocol;
mod server;
mod settings;
mod start;
mod still;
mod transcript;
mod two;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use afk_core::ids::{AdapterName, RepoName, RunId};
use afk_core::text::Mask;
use afk_engine::ports::{Clock, Executor, Notes, Secrets};

use crate::forges::RemoteFinding;
use crate::settings::RemoteSettings;
pub use check::CheckStep;
use executor::T3Executor;
pub use pair::{Paired, pair};
pub use settings::{T3, T3Lands, T3Table};

/// How long a request may take. A server that is starting accepts requests and never answers some
/// of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where workspaces are on this machine.
#[derive(Clone)]
pub struct WorkspacesHere {
    /// The folder that contains all workspaces.
    pub root: PathBuf,
    /// Returns the workspace of a run, below `root`.
    pub of: Arc<dyn Fn(RunId) -> PathBuf + Send + Sync>,
}

/// Returns the mask of the secrets that are known now. What servers tell is masked with it.
pub type Masks = Arc<dyn Fn() -> Arc<Mask> + Send + Sync>;

/// Every T3 Code server of the configuration.
pub struct T3Executors {
    parts: Parts,
    made: Mutex<BTreeMap<AdapterName, (T3Table, Arc<T3Executor>)>>,
}

/// What an executor is made with.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) notes: Arc<dyn Notes>,
    pub(crate) workspaces: WorkspacesHere,
    pub(crate) masks: Masks,
    pub(crate) patience: Duration,
}

impl T3Executors {
    /// Without any server, until [`Self::configure`].
    pub fn new(
        clock: Arc<dyn Clock>,
        secrets: Arc<dyn Secrets>,
        notes: Arc<dyn Notes>,
        workspaces: WorkspacesHere,
        masks: Masks,
    ) -> Self {
        let parts = Parts { clock, secrets, notes, workspaces, masks, patience: PATIENCE };
        Self { parts, made: Mutex::default() }
    }

    /// Limits a request to `patience`, for servers that are configured from now on.
    #[must_use]
    pub fn answering_within(mut self, patience: Duration) -> Self {
        self.parts.patience = patience;
        self
    }

    /// Takes over the configuration, and returns every server as an executor, by its name. A table
    /// from which none can be made is passed over: it is reported as a mistake of the
    /// configuration.
    pub fn configure(&self, settings: &RemoteSettings) -> BTreeMap<AdapterName, Arc<dyn Executor>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = settings.agents.iter().filter(|(name, table)| table.is_t3(name));
        let now = tables.filter_map(|(name, table)| {
            let known = made.get(name).filter(|(known, _)| known == table).cloned();
            let new = || {
                let executor = T3Executor::new(name, table, self.parts.clone()).ok()?;
                Some((table.clone(), Arc::new(executor)))
            };
            Some((name.clone(), known.or_else(new)?))
        });
        *made = now.collect();
        let all = made.iter().map(|(name, (_, executor))| (name.clone(), executor.clone() as _));
        all.collect()
    }

    /// Checks everything that the loop needs of the server of that name and of its project for
    /// `repo`; none if there is no such server.
    pub async fn examine(&self, name: &AdapterName, repo: &RepoName) -> Option<Vec<RemoteFinding>> {
        Some(self.of(name)?.examine(repo).await)
    }

    /// Tries everything that the loop does on the server of that name, in the project of `repo`,
    /// under the id of a new run; none if there is no such server. Calls a model.
    pub async fn check(
        &self,
        name: &AdapterName,
        repo: &RepoName,
        run: RunId,
    ) -> Option<Vec<CheckStep>> {
        Some(self.of(name)?.check(repo, run).await)
    }

    fn of(&self, name: &AdapterName) -> Option<Arc<T3Executor>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.get(name).map(|(_, executor)| executor.clone())
    }
}
