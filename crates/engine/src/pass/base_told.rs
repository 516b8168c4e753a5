//! Tells a person whether `verify` passes on a repo's default branch: the check of the base gate,
//! without a run.
//!
//! Tree, box, conditions and keys are those of the gate. A pass is remembered, so that the first
//! run need not check again, and a head that issues were held back from because it failed is held
//! no longer. The jobs have the id of a run that is never admitted; if the asking process dies,
//! their leftovers are removed like those of any ended run.

use std::time::Duration;

use afk_core::checkout::Checkout;
use afk_core::digest::Digest;
use afk_core::gates::Dispatcher;
use afk_core::ids::{At, IssueRef, Oid, RepoName};
use afk_core::proof::{BaseStep, ProofResults, RunResult, Verify};
use afk_core::run::{Pinned, Run, Start};
use afk_core::usd::Usd;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{Pass, workflow};
use crate::Engine;
use crate::dispatch::{BaseFailed, base_memo};
use crate::ports::{PortError, PortErrorKind, PortResult, Prepared};
use crate::switches::Brake;

/// How often the jobs are looked at, and renewed.
const LOOK: Duration = Duration::from_secs(1);

/// What `verify` says of the head of a default branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseReport {
    /// The name of the default branch.
    pub branch: String,
    /// The head of the default branch, which `verify` ran on.
    pub head: Oid,
    /// The result of `verify` there.
    pub answer: BaseAnswer,
}

/// The result of `verify` on a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseAnswer {
    /// The repo configures no `verify` command.
    NoCommand,
    /// `verify` passes.
    Passes {
        /// How long the longest run that passed took.
        took: Duration,
        /// Whether all results were remembered, so that nothing was run now.
        remembered: bool,
        /// Whether it failed before it passed.
        flaky: bool,
    },
    /// `verify` failed each time.
    Fails {
        /// How it failed.
        result: RunResult,
        /// The end of its output.
        tail: String,
        /// How long the longest run that failed took.
        took: Duration,
    },
}

impl Engine {
    /// Runs `verify` on the head of the default branch of `repo` and waits for it, unless it is
    /// known to pass there. Fails with `Cancelled` once `cancel` is cancelled, and under a halt.
    pub fn verify_base<'a>(
        &'a self,
        repo: &'a RepoName,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, PortResult<BaseReport>> {
        Box::pin(async move {
            let (config, _) = self.ports.settings.current();
            let table = config.repos.get(repo).cloned();
            let table = table.ok_or_else(|| {
                PortError::permanent(format!("{repo} is not configured: add a table for it"))
            })?;
            let brake = Brake::new(cancel.clone());
            brake.read(&self.ports).await;
            let Prepared { branch, base, .. } = self.ports.git.prepare_mirror(repo, cancel).await?;
            let run = self.unstored_run(repo, &branch, &base);
            let mut pass = Pass {
                engine: self,
                brake: &brake,
                config: config.clone(),
                repo: table.clone(),
                dropped: false,
                run,
                version: 0,
                generation: 0,
                context: serde_json::Value::Null,
                noted: None,
            };
            let policy = pass.read_workflow(&base).await?;
            let policy = policy.map_err(|error| PortError::permanent(error.to_string()))?;
            if let Some(start) = &mut pass.run.start {
                start.workflow = policy.map(Box::new);
            }
            (pass.config, pass.repo) = workflow::in_force(config, table, &pass.run);
            if pass.repo.verify == Verify::None {
                return Ok(BaseReport { branch, head: base, answer: BaseAnswer::NoCommand });
            }
            let answer = pass.wait_for_base(&base, cancel).await;
            // Whatever the answer: no job may go on, and no files may stay.
            let id = pass.run.id;
            if answer.is_err() {
                self.ports.jobs.stop(id).await?;
            }
            if let Err(error) = self.ports.git.release(repo, id, &[], false).await {
                tracing::warn!(repo = %repo, error = error.chain(), "leftovers of verify not removed");
            }
            let answer = answer?;
            if let BaseAnswer::Passes { .. } = answer {
                pass.no_longer_held(&base).await?;
            }
            Ok(BaseReport { branch, head: base, answer })
        })
    }

    /// A record for a run that is never stored, as a subject for the jobs.
    fn unstored_run(&self, repo: &RepoName, branch: &str, base: &Oid) -> Run {
        let issue = IssueRef { repo: repo.clone(), number: 0 };
        let pinned = Pinned { title: String::new(), body: String::new(), digest: Digest::of("") };
        let (id, now) = (self.ports.ids.run(), self.ports.clock.now());
        let start = Start {
            branch: branch.to_owned(),
            base: base.clone(),
            workflow: None,
            checkout: Checkout::Ours,
            machine: None,
            head: None,
        };
        Run {
            start: Some(start),
            ..Run::new(id, issue, Dispatcher::Person, pinned, Usd::ZERO, now)
        }
    }
}

impl Pass<'_> {
    async fn wait_for_base(
        &self,
        base: &Oid,
        cancel: &CancellationToken,
    ) -> PortResult<BaseAnswer> {
        let (jobs, run) = (&self.ports().jobs, self.run.id);
        let mut ran = false;
        loop {
            if self.brake.halted() {
                let why = "everything is halted: `afk resume` lifts it";
                return Err(PortError::new(PortErrorKind::Cancelled, why));
            }
            if let Some((step, results)) = self.ask_base(base).await? {
                return Ok(told(step, &results, ran));
            }
            ran = true;
            jobs.renew(run).await?;
            tokio::select! {
                () = jobs.changed(run, LOOK) => {}
                () = cancel.cancelled() => {
                    return Err(PortError::new(PortErrorKind::Cancelled, "stopped"));
                }
            }
            self.brake.read(self.ports()).await;
        }
    }

    /// Replaces a remembered failure of `base` by one that holds no issue back.
    async fn no_longer_held(&self, base: &Oid) -> PortResult<()> {
        let (store, memo) = (&self.ports().store, base_memo(&self.repo, base));
        if store.recall(&memo).await?.is_some() {
            let passed = BaseFailed { at: At::UNIX_EPOCH, times: 0, why: String::new() };
            let value = serde_json::to_value(&passed).map_err(PortError::permanent)?;
            store.remember(&memo, &value, self.now()).await?;
        }
        Ok(())
    }
}

fn told(step: BaseStep, results: &ProofResults, ran: bool) -> BaseAnswer {
    let records = || results.runs.values();
    let took = |passed: bool| {
        let of = records().filter(|one| (one.result == RunResult::Passed) == passed);
        Duration::from_millis(of.map(|one| one.millis).max().unwrap_or(0))
    };
    match step {
        BaseStep::Passes | BaseStep::Run(_) => BaseAnswer::Passes {
            took: took(true),
            remembered: !ran,
            flaky: records().any(|one| one.result != RunResult::Passed),
        },
        BaseStep::Fails(result, tail) => {
            let said = records().map(|one| one.tail.trim()).find(|tail| !tail.is_empty());
            let tail =
                if tail.trim().is_empty() { said.unwrap_or_default().to_owned() } else { tail };
            BaseAnswer::Fails { result, tail, took: took(false) }
        }
    }
}
