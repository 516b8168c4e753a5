//! The executors: each call goes to the one that the repo names.

use std::sync::Arc;
use std::time::Duration;

use afk_core::ask::Answer;
use afk_core::checkout::{Checkout, Machine};
use afk_core::ids::{JobKey, RepoName, RunId};
use async_trait::async_trait;

use super::Router;
use crate::ports::{Executor, PortResult, Settings, Transcript, TurnReport, TurnRequest};

/// The executor of each repo, which the agent in its table names.
pub struct RoutedExecutor {
    settings: Arc<dyn Settings>,
    executors: Arc<Router<dyn Executor>>,
}

impl RoutedExecutor {
    /// Routes to those of `executors` that the repos of `settings` name.
    pub fn new(settings: Arc<dyn Settings>, executors: Arc<Router<dyn Executor>>) -> Self {
        Self { settings, executors }
    }

    fn of(&self, repo: &RepoName) -> PortResult<Arc<dyn Executor>> {
        let (policy, _) = self.settings.current();
        self.executors.get(&policy.executor_of(repo))
    }
}

#[async_trait]
impl Executor for RoutedExecutor {
    fn checkout(&self, repo: &RepoName) -> PortResult<Checkout> {
        self.of(repo)?.checkout(repo)
    }

    fn machine(&self, repo: &RepoName) -> PortResult<Machine> {
        self.of(repo)?.machine(repo)
    }

    async fn ready(&self, repo: &RepoName) -> PortResult<()> {
        self.of(repo)?.ready(repo).await
    }

    async fn start(&self, turn: &TurnRequest) -> PortResult<()> {
        self.of(&turn.repo)?.start(turn).await
    }

    async fn observe(&self, repo: &RepoName, key: &JobKey) -> PortResult<TurnReport> {
        self.of(repo)?.observe(repo, key).await
    }

    async fn answer(
        &self,
        repo: &RepoName,
        key: &JobKey,
        request: &str,
        answer: &Answer,
    ) -> PortResult<()> {
        self.of(repo)?.answer(repo, key, request, answer).await
    }

    async fn interrupt(&self, repo: &RepoName, key: &JobKey) -> PortResult<()> {
        self.of(repo)?.interrupt(repo, key).await
    }

    async fn alive(&self, repo: &RepoName, run: RunId) -> PortResult<Vec<JobKey>> {
        self.of(repo)?.alive(repo, run).await
    }

    async fn stop(&self, repo: &RepoName, run: RunId) -> PortResult<()> {
        self.of(repo)?.stop(repo, run).await
    }

    async fn transcript(
        &self,
        repo: &RepoName,
        key: &JobKey,
        offset: u64,
    ) -> PortResult<Option<Transcript>> {
        self.of(repo)?.transcript(repo, key, offset).await
    }

    async fn changed(&self, repo: &RepoName, key: &JobKey, at_most: Duration) {
        // A missing executor is reported by the next pass.
        if let Ok(executor) = self.of(repo) {
            executor.changed(repo, key, at_most).await;
        }
    }
}
