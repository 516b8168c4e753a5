//! Carries out requests to ended runs: another release of the issue, or a request that comes too
//! late.
//!
//! The request is in the store before anything is written. Then our own account adds the ready
//! label, which the trust gate attributes to the requester because of that request. The request is
//! answered once the issue shows the label, so that the work can be continued after a crash. A
//! lease keeps two control planes apart.

use std::collections::BTreeSet;
use std::time::Duration;

use afk_core::config::Policy;
use afk_core::ids::{RepoName, RunId};
use afk_core::request::{PersonRequest, Request, answer};
use afk_core::run::Run;
use afk_core::steer::{ReleaseStep, release_again};
use afk_core::trust::OnBehalf;

use crate::Engine;
use crate::ports::{Filter, Labels, OpenRequest, PortError, PortResult};

/// How long the lease lasts, and so how long a control plane that died keeps another one waiting.
const LEASE: Duration = Duration::from_secs(30);

impl Engine {
    /// Carries out and answers requests to ended runs in `repos`. A request that cannot be carried
    /// out now holds up no other, and is tried again; returns the repos of such requests.
    pub(super) async fn carry_out_ended(
        &self,
        config: &Policy,
        repos: &BTreeSet<RepoName>,
    ) -> PortResult<BTreeSet<RepoName>> {
        let mut undone = BTreeSet::new();
        for open in self.ports.store.open_requests(0).await? {
            let Some(stored) = self.ports.store.load(open.run).await? else { continue };
            let run = stored.run;
            let ours = repos.contains(&run.issue.repo)
                && config.allowlist.contains(&run.issue.repo)
                && config.repos.contains_key(&run.issue.repo)
                && !self.troubles().waits(&run.issue.repo, self.ports.clock.now());
            // A live run answers its requests by itself.
            if run.settled_at.is_none() || !ours {
                continue;
            }
            if let Err(error) = self.answer_ended(config, &run, &open).await {
                let (issue, id, error) = (&run.issue, &open.request.id, error.chain());
                tracing::warn!(%issue, request = id, error, "a request was not carried out; will try again");
                undone.insert(run.issue.repo);
            }
        }
        Ok(undone)
    }

    async fn answer_ended(&self, config: &Policy, run: &Run, open: &OpenRequest) -> PortResult<()> {
        let asked = &open.request;
        let said = match &asked.what {
            Request::Release => match self.release_leased(config, run, asked).await? {
                Some(said) => said,
                None => return Ok(()),
            },
            Request::Retry
            | Request::Stop
            | Request::Budget { .. }
            | Request::Unfreeze
            | Request::Say { .. }
            | Request::Answer { .. }
            | Request::Allow { .. }
            | Request::Deny { .. }
            | Request::Unclear { .. } => match answer(run, asked, None) {
                Ok(said) | Err(said) => said,
            },
        };
        match self.answer_in_comment(run, asked, &said).await {
            // What only a person can fix is left to people.
            Err(error) if error.needs_a_person() => {
                tracing::warn!(issue = %run.issue, error = error.chain(), "not told");
            }
            told => told?,
        }
        self.ports.store.answer(&asked.id, &said, self.ports.clock.now()).await
    }

    /// The answer to a request for another release; none while the issue does not show it.
    async fn release_leased(
        &self,
        config: &Policy,
        run: &Run,
        asked: &PersonRequest,
    ) -> PortResult<Option<String>> {
        let (store, key) = (&self.ports.store, format!("release:{}", run.issue));
        let now = self.ports.clock.now();
        if store.lease(&key, &self.owner, LEASE, now).await?.is_none() {
            return Ok(None);
        }
        let done = self.release(config, run, asked).await;
        store.unlease(&key, &self.owner).await?;
        done
    }

    async fn release(
        &self,
        config: &Policy,
        run: &Run,
        asked: &PersonRequest,
    ) -> PortResult<Option<String>> {
        let (tracker, issue, ready) = (&self.ports.tracker, &run.issue, &config.ready_label);
        let own = tracker.own_account(&issue.repo).await?;
        let behalf = OnBehalf { own: &own.id, asked: std::slice::from_ref(asked) };
        // The first round adds the label, the second one sees it there.
        for _ in 0..2 {
            let view = tracker.issue(issue).await?;
            let put = behalf.release_label(&view.events, ready, asked);
            match release_again(run.id, self.newest(run).await?, &view.issue, put, ready) {
                ReleaseStep::Answer(said) => return Ok(Some(said)),
                ReleaseStep::Put { off } => {
                    let mut remove = vec![config.human_label.clone()];
                    remove.extend(off.then(|| ready.clone()));
                    let remove = Labels { add: Vec::new(), remove };
                    tracker.label(issue, &remove).await?;
                    let add = Labels { add: vec![ready.clone()], remove: Vec::new() };
                    tracker.label(issue, &add).await?;
                    let (by, id) = (&asked.by.login, &asked.id);
                    tracing::info!(%issue, by, request = id, "released again by request");
                }
            }
        }
        Ok(None)
    }

    /// The newest run on the issue of `run`.
    async fn newest(&self, run: &Run) -> PortResult<RunId> {
        let (repo, issue) = (Some(run.issue.repo.clone()), Some(run.issue.number));
        let newest = self
            .ports
            .store
            .runs(&Filter { repo, issue, limit: 1, ..Filter::default() })
            .await?
            .pop();
        let gone = || PortError::transient(format!("the store shows no run on {}", run.issue));
        newest.map(|stored| stored.run.id).ok_or_else(gone)
    }
}
