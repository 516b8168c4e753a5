//! Prepares the workspace. Before a turn that follows a landing it is reset to the default head,
//! and everything in it that did not land is kept under a ref of the run; before a turn that
//! follows a killed one, git's lock files are removed.
//!
//! The commit that landed is not the agent's own, and a fix on top of the agent's would conflict
//! with it. The clone is the agent's to change, so git runs in it only in the box, one job for each
//! command; each job is found again by its key.

use std::time::Duration;

use afk_core::ids::{JobKey, JobOf};
use afk_core::impediment::{Impediment, kept};
use afk_core::run::{Reset, Transition};

use super::{Acted, Pass, Watch};
use crate::ports::{Job, JobEnd, JobKind, PortResult, ResetStep};

/// Time limit of one step.
const STEP_TIMEOUT: Duration = Duration::from_mins(5);

impl Pass<'_> {
    /// Keeps what is there, then resets the workspace to the default head.
    pub(super) async fn reset(&mut self) -> PortResult<Acted> {
        let Some(attempt) = self.run.attempt().map(|attempt| attempt.n) else {
            return Ok(Acted::Again);
        };
        let mut whole = true;
        let keep = [ResetStep::Unlock, ResetStep::Abandon, ResetStep::Add, ResetStep::Commit];
        for step in keep {
            let Some(end) = self.reset_step(&attempt.to_string(), &step).await? else {
                return Ok(Acted::wait(Watch::Jobs, None));
            };
            match (&step, end.code) {
                (_, Some(0)) => {}
                // The steps that meet a remaining lock report it.
                (ResetStep::Unlock, Some(_)) => {}
                // Files that git cannot add stay where they are.
                (ResetStep::Add, Some(_)) => whole = false,
                (_, Some(_) | None) => return self.impede(failed(&step, &end)).await,
            }
        }
        let (repo, run, branch) = (self.run.issue.repo.clone(), self.run.id, self.branch());
        let name = Reset::name(attempt);
        let kept = self.ports().git.keep_head(&repo, run, &name, &self.token()).await?;
        let onto = self.ports().git.default_head(&repo, &branch, &self.token()).await?;
        let checkout = ResetStep::Checkout { onto: onto.clone() };
        let clean = whole.then(|| ResetStep::Clean { onto: onto.clone() });
        for step in [Some(checkout), clean].into_iter().flatten() {
            match self.reset_step(&attempt.to_string(), &step).await? {
                None => return Ok(Acted::wait(Watch::Jobs, None)),
                Some(end) if end.code == Some(0) => {}
                Some(end) => return self.impede(failed(&step, &end)).await,
            }
        }
        let git = &self.ports().git;
        let landed = match self.run.base() {
            Some(base) => git.tree(&repo, &kept).await? == git.tree(&repo, base).await?,
            None => false,
        };
        let reset = Reset { onto, leftovers: (!landed).then_some(kept) };
        self.commit(Transition::Reset { reset }).await?;
        Ok(Acted::Again)
    }

    /// Removes the lock files of a killed turn before turn `n` meets them; returns whether that is
    /// done. A file that cannot be removed is left to the agent. Beside a live thread nothing is
    /// removed, because a lock may belong to a running git.
    pub(super) async fn unlock(&self, n: u32) -> PortResult<bool> {
        let alive = self.ports().jobs.alive(self.run.id).await?;
        if alive.iter().any(|key| key.of() == Some(JobOf::Thread)) {
            return Ok(true);
        }
        let end = self.reset_step(&format!("turn-{n}"), &ResetStep::Unlock).await?;
        Ok(end.is_some())
    }

    /// Does one step, once for each `subject` and commit; none while it is running.
    async fn reset_step(&self, subject: &str, step: &ResetStep) -> PortResult<Option<JobEnd>> {
        let name = match step {
            ResetStep::Unlock => "unlock".to_owned(),
            ResetStep::Abandon => "abandon".to_owned(),
            ResetStep::Add => "add".to_owned(),
            ResetStep::Commit => "commit".to_owned(),
            ResetStep::Checkout { onto } => format!("checkout.{onto}"),
            ResetStep::Clean { onto } => format!("clean.{onto}"),
        };
        self.job(Job {
            key: JobKey::new(self.run.id, JobOf::Reset, &format!("{subject}.{name}")),
            run: self.run.id,
            repo: self.run.issue.repo.clone(),
            kind: JobKind::Reset { step: step.clone() },
            argv: Vec::new(),
            timeout: STEP_TIMEOUT,
            network: false,
        })
        .await
    }
}

/// The impediment that the agent's clone cannot be reset, which needs a person.
fn failed(step: &ResetStep, end: &JobEnd) -> Impediment {
    let what = match step {
        ResetStep::Unlock | ResetStep::Abandon => "be unlocked",
        ResetStep::Add | ResetStep::Commit => "have its leftovers kept",
        ResetStep::Checkout { .. } | ResetStep::Clean { .. } => "be reset to the default head",
    };
    let why = end.could_not_run.as_deref().unwrap_or_else(|| end.tail.trim());
    let error = format!("the workspace could not {what} for the fix-forward: {why}");
    Impediment::Workspace { error: kept(&error) }
}
