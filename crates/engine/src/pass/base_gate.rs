//! The base gate: `verify` must pass on the head that the work starts from, before the first turn
//! is paid for.
//!
//! Every proof begins with this run, so its result is remembered by tree, and most runs find it
//! there. If it fails each time, no change could be proved: the run is released, its issue stays
//! ready, and no other run begins on the same head for a while. If the repo has test reports, which
//! tell old failures from new ones, the work may begin all the same, unless the configuration waits
//! for a red branch to be fixed.

use afk_core::change::{Blobs, Diff};
use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::ids::Oid;
use afk_core::proof::{self, BaseStep, MissingDependency, ProofInputs, ProofResults, RunResult};
use afk_core::run::{Candidate, Transition};

use super::Pass;
use crate::dispatch::{BaseFailed, base_memo};
use crate::ports::{PortError, PortResult};

/// The reason in the doorbell's title.
const REASON: &str = "verify fails on the default branch";

impl Pass<'_> {
    /// Whether the work may begin. False while `verify` runs, and if it fails: then the run's
    /// record says why.
    pub(super) async fn base_passes(&mut self) -> PortResult<bool> {
        if !self.repo.waits_for_verify(self.config.base_health) {
            return Ok(true);
        }
        let Some(base) = self.run.start.as_ref().map(|start| start.base.clone()) else {
            return Ok(false);
        };
        match self.ask_base(&base).await? {
            None => Ok(false),
            Some((BaseStep::Fails(result, tail), _)) => {
                self.base_fails(&base, &result, &tail).await?;
                Ok(false)
            }
            Some((BaseStep::Passes | BaseStep::Run(_), _)) => Ok(true),
        }
    }

    /// The answer of `verify` on `base`, and the results that it follows from; none while it runs.
    pub(super) async fn ask_base(
        &self,
        base: &Oid,
    ) -> PortResult<Option<(BaseStep, ProofResults)>> {
        let policy =
            self.repo.proof_policy().map_err(|error| PortError::permanent(error.to_string()))?;
        let (permits, conditions) = (self.config.permits(), self.config.conditions(&self.repo));
        let inputs = ProofInputs {
            policy: &policy,
            diff: &Diff::default(),
            since: None,
            first: None,
            blobs: &Blobs::default(),
            permits: &permits,
            conditions: &conditions,
        };
        let tree = self.ports().git.tree(&self.run.issue.repo, base).await?;
        // `proof::base` looks at the base alone; the rest of the candidate is a stand-in.
        let candidate =
            Candidate::new(base.clone(), base.clone(), base.clone(), tree, self.run.admitted_at);
        let mut results = ProofResults::default();
        loop {
            match proof::base(&inputs, &results) {
                BaseStep::Run(wanted) => {
                    if !self.run_all(&candidate, base, &policy, vec![*wanted], &mut results).await?
                    {
                        return Ok(None);
                    }
                }
                step @ (BaseStep::Passes | BaseStep::Fails(..)) => {
                    return Ok(Some((step, results)));
                }
            }
        }
    }

    /// Records that the base fails, which releases the run, and rings once for each head.
    async fn base_fails(&mut self, base: &Oid, result: &RunResult, tail: &str) -> PortResult<()> {
        let (store, now) = (&self.ports().store, self.now());
        let memo = base_memo(&self.repo, base);
        let before = store.recall(&memo).await?;
        let before: Option<BaseFailed> = before.and_then(|one| serde_json::from_value(one).ok());
        let times = before.as_ref().map_or(0, |before| before.times) + 1;
        let remedy = MissingDependency::of(result, tail, &self.repo.proof)
            .map_or_else(|| "fix the default branch".to_owned(), |lacks| lacks.to_string());
        let why = format!(
            "verify {result} on {} at {}, before any change: {remedy}; nothing was spent, and the \
             issue stays ready",
            self.branch(),
            base.short(),
        );
        let known = BaseFailed { at: now, times, why: why.clone() };
        let value = serde_json::to_value(&known).map_err(PortError::permanent)?;
        let detail = format!("{why}\n\n{}", tail.trim());
        let bell = Doorbell::new(&Ring {
            run: self.run.id,
            issue: &self.run.issue,
            kind: DoorbellKind::Held,
            reason: Some(REASON),
            detail: &detail,
            link: self.run.thread_link.as_deref(),
            nth: 0,
        });
        let bells = if before.is_some() { Vec::new() } else { vec![bell] };
        self.commit_with(Transition::BaseFails { why }, bells, None).await?;
        // After the commit: a crash between the two makes the next run ring again, instead of
        // never.
        self.ports().store.remember(&memo, &value, now).await
    }
}
