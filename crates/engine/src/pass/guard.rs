//! Checks the guardrails on everything that would get into the default branch's history with the
//! candidate.
//!
//! Where the agent's commits are kept (`history = "merge"`, or an agent that lands by itself), each
//! of them is read and judged, one after the other, so that no history is in memory as a whole.

use afk_core::change::Diff;
use afk_core::config::History;
use afk_core::guardrails::{Guardrails, Judging, OwnCommit};
use afk_core::ids::Oid;
use afk_core::plan::Refusal;
use afk_core::run::{AttemptRefusal, Candidate, Transition};

use super::judge::{Change, READ_LIMIT};
use super::{Acted, Pass};
use crate::ports::{CommitText, PortError, PortResult};

impl Pass<'_> {
    /// Judges the candidate. If only messages of the agent's own commits breach a guardrail, and
    /// the agent can still rewrite them because they have not landed, it gets one corrective turn.
    /// Every other breach is for people, and so is a second one of this kind.
    pub(super) async fn guard(
        &mut self,
        candidate: &Candidate,
        change: &Change,
    ) -> PortResult<Acted> {
        let guardrails = Guardrails::compile(self.repo.guardrails.clone())
            .map_err(|error| PortError::permanent(error.to_string()))?;
        let mut judging = guardrails.judge(&change.policy, self.run.id);
        self.tell_ignored(&mut judging, &candidate.base, change.newest()).await?;
        judging.end(change.newest(), &change.blobs);
        let publishes = self.publishes_commits();
        if !(publishes && change.commits.iter().any(|one| one.id == candidate.commit)) {
            let git = &self.ports().git;
            judging.message(&git.message(&self.run.issue.repo, &candidate.commit).await?);
        }
        if publishes && judging.takes(change.commits.len()) {
            for commit in &change.commits {
                self.guard_commit(&mut judging, &candidate.base, commit).await?;
            }
        }
        let report = judging.report();
        let is_open = self.run.candidate().is_some() && !self.run.agent_lands();
        if report.is_of_words() && is_open && !self.was_told_of_messages() {
            let (why, detail) = (Refusal::Message, report.to_string());
            return self
                .refuse(AttemptRefusal { why, detail, output: String::new(), conflict: None })
                .await;
        }
        self.commit(Transition::Guarded { report }).await?;
        Ok(Acted::Again)
    }

    /// Whether the agent's own commits get into the default branch's history.
    fn publishes_commits(&self) -> bool {
        match self.repo.history {
            History::Merge => true,
            History::Squash => self.run.agent_lands(),
        }
    }

    fn was_told_of_messages(&self) -> bool {
        let refused = self.run.attempts.iter().filter_map(|attempt| attempt.refused.as_ref());
        refused.into_iter().any(|refused| refused.why == Refusal::Message)
    }

    /// Tells `judging` which new paths of `diff` the base ignores.
    async fn tell_ignored(
        &self,
        judging: &mut Judging<'_>,
        base: &Oid,
        diff: &Diff,
    ) -> PortResult<()> {
        let asked = judging.not_yet_told(diff);
        if asked.is_empty() {
            return Ok(());
        }
        let ignored = self.ports().git.ignored(&self.run.issue.repo, base, &asked).await?;
        judging.ignores(asked, ignored);
        Ok(())
    }

    async fn guard_commit(
        &self,
        judging: &mut Judging<'_>,
        base: &Oid,
        commit: &CommitText,
    ) -> PortResult<()> {
        let diff = self.own_part(&commit.id, &commit.parents).await?;
        self.tell_ignored(judging, base, &diff).await?;
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let blobs = git.blobs(repo, &diff.blobs(), READ_LIMIT).await?;
        let own = OwnCommit {
            id: &commit.id,
            parents: &commit.parents,
            header: commit.header.as_deref(),
            message: commit.is_text.then_some(&commit.message),
            holds_known_secret: commit.masked,
        };
        judging.commit(&own, &diff, &blobs, self.run.agent_lands());
        Ok(())
    }

    /// The changes of a commit that none of its parents has. A commit without parents is a breach
    /// by itself, so that its changes do not matter.
    async fn own_part(&self, commit: &Oid, parents: &[Oid]) -> PortResult<Diff> {
        let mut own: Option<Diff> = None;
        for parent in parents {
            let diff = self.diff(parent, commit).await?;
            own = Some(match own {
                None => diff,
                Some(own) => own.also_in(&diff),
            });
        }
        Ok(own.unwrap_or_default())
    }
}
