//! The end of a run: the planned outcome, and all its effects.
//!
//! The core decides how and why a run ends ([`afk_core::plan`], [`Run::ended_because`]). The
//! outcome is committed first, with its doorbell and its freeze in the same transaction. The other
//! effects are repeated until the world shows them; only then is the run settled and its repo free.
//!
//! [`Run::ended_because`]: afk_core::run::Run::ended_because

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::plan::{End, Situation};
use afk_core::run::{Observation, Transition, TurnCost, TurnSeen};

use super::comment::CommentUpdate;
use super::{Acted, Next, Pass, Watch};
use crate::bounds::later;
use crate::ports::{PortError, PortErrorKind, PortResult, TurnReport};

/// How soon settling is tried again.
const SETTLING: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);

/// How long after its end a run stays unsettled if the tracker says that its issue does not exist:
/// a tracker that is out of order says that of any issue.
const GONE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// How long after its end a run stays unsettled if its tracker keeps failing with a permanent
/// error, or if what is to be cleaned up cannot be listed or removed: if nobody fixes that, the run
/// must not hold its repo for ever.
const LASTING: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

impl Pass<'_> {
    /// Commits the planned outcome, and its reason.
    pub(super) async fn conclude(
        &mut self,
        end: End,
        seen: &Observation,
        now: &Situation,
    ) -> PortResult<Acted> {
        let limits = self.config.limits(&self.repo);
        let why = self.run.ended_because(end, seen, &limits, now);
        let kind = match end {
            End::Done => Some(DoorbellKind::Done),
            End::NeedsHuman => Some(DoorbellKind::NeedsHuman),
            End::Frozen => Some(DoorbellKind::Frozen),
            End::Withdrawn => None,
        };
        let sends = kind.map(|kind| {
            Doorbell::new(&Ring {
                run: self.run.id,
                issue: &self.run.issue,
                kind,
                reason: Some(&why),
                detail: &why,
                link: self.run.thread_link.as_deref(),
                nth: 0,
            })
        });
        let charged = self.charge_of_unended().await.map(Box::new);
        let freeze = (end == End::Frozen && self.repo.freeze_repo).then(|| why.clone());
        let sends = sends.into_iter().collect();
        self.commit_with(Transition::Concluded { end, why, charged }, sends, freeze).await?;
        Ok(Acted::Again)
    }

    /// What is charged for a turn that still goes on, or whose end is unknown. It has to be charged
    /// now, because a concluded run reserves nothing.
    async fn charge_of_unended(&self) -> Option<TurnCost> {
        let turn = self.run.turn().filter(|turn| turn.ended.is_none())?;
        let key = self.run.turn_key(turn.n);
        let streamed = match self.ports().executor.observe(&self.run.issue.repo, &key).await {
            Ok(TurnReport { seen: TurnSeen::Absent, .. }) => return None,
            Ok(TurnReport { seen: TurnSeen::Ended { facts, .. }, .. }) => facts.cost,
            Ok(report) => report.streamed,
            Err(error) => {
                tracing::warn!(run.id = %self.run.id, error = error.chain(), "turn unreadable");
                None
            }
        };
        self.run.charge_of_unended(streamed)
    }

    /// Ensures every effect of the outcome, then settles the run.
    pub(super) async fn settle(&mut self, seen: &Observation) -> PortResult<Acted> {
        let Some(end) = self.run.conclusion.as_ref().map(|conclusion| conclusion.end) else {
            return Ok(Acted::Again);
        };
        let mut stopped = Ok(());
        if seen.alive {
            stopped = self.ports().jobs.stop(self.run.id).await;
            stopped = stopped.and(self.stop_far().await);
        }
        // Even if something cannot be stopped: people must hear of the outcome.
        match self.show(seen).await? {
            CommentUpdate::Already => {}
            // Only what the tracker itself shows counts as shown.
            CommentUpdate::Wrote => return Ok(Acted::Again),
            CommentUpdate::Later(until) => return Ok(Acted::wait(Watch::Nothing, Some(until))),
        }
        stopped?;
        if seen.alive {
            return Ok(Acted::wait(Watch::Jobs, Some(later(self.now(), SETTLING))));
        }
        if seen.issue.is_none() && !self.is_gone().await? {
            return Ok(Acted::wait(Watch::Nothing, Some(later(self.now(), SETTLING))));
        }
        let hook = self.hook_of(|hooks| &hooks.before_remove);
        if let Some(argv) = hook.filter(|_| end == End::Done) {
            match self.hook("before_remove", "0", argv).await? {
                None => return Ok(Acted::wait(Watch::Jobs, None)),
                Some(Ok(())) => {}
                Some(Err(why)) => {
                    tracing::warn!(run.id = %self.run.id, why, "before_remove failed");
                }
            }
        }
        match self.remove_tries().await {
            // What only a person can fix is left to people, and does not hold the repo.
            Err(error) if error.needs_a_person() => {
                tracing::warn!(run.id = %self.run.id, error = error.chain(), "the branch of a candidate was not removed");
            }
            removed => removed?,
        }
        if self.brake.halted() && !self.run.spent_tries().is_empty() {
            return Ok(Acted::wait(Watch::Nothing, Some(later(self.now(), SETTLING))));
        }
        let stages = self.config.limits(&self.repo).stages;
        self.ports().archive.keep(&self.run.evidence(stages.as_ref())).await?;
        let forensics = end.is_handed_over();
        if !self.dropped {
            let mut judged = Vec::new();
            match self.judged(&mut judged).await {
                // What is left out only costs space.
                Err(error) if self.ended_before(LASTING) => {
                    tracing::warn!(run.id = %self.run.id, error = error.chain(), "not every commit that stages worked on could be listed; the clones of the others stay");
                }
                listed => listed?,
            }
            let (repo, run) = (self.run.issue.repo.clone(), self.run.id);
            match self.ports().git.release(&repo, run, &judged, forensics).await {
                Err(error) if self.ended_before(LASTING) => {
                    tracing::warn!(run.id = %run, error = error.chain(), "not everything of the run could be removed; the rest stays until kept workspaces are cleaned");
                }
                released => released?,
            }
        }
        self.commit(Transition::Settled).await?;
        Ok(Acted::Rest(Next::Settled))
    }

    /// Whether the issue is gone for good, so that there is nothing to update.
    async fn is_gone(&self) -> PortResult<bool> {
        if !self.ended_before(GONE) {
            return Ok(false);
        }
        match self.ports().tracker.issue(&self.run.issue).await {
            Err(error) if error.kind == PortErrorKind::NotFound || self.is_lasting(&error) => {
                let why = error.chain();
                tracing::warn!(run.id = %self.run.id, issue = %self.run.issue, why, "the issue is gone; its outcome cannot be shown there");
                Ok(true)
            }
            Err(error) => Err(error),
            Ok(_) => Ok(false),
        }
    }

    /// Whether `error` is permanent, and the run ended so long ago that the effect which meets the
    /// error is given up.
    pub(super) fn is_lasting(&self, error: &PortError) -> bool {
        error.kind == PortErrorKind::Permanent && self.ended_before(LASTING)
    }

    fn ended_before(&self, ago: jiff::SignedDuration) -> bool {
        let ended = self.run.conclusion.as_ref().map(|conclusion| conclusion.at);
        ended.is_some_and(|ended| self.now() >= later(ended, ago))
    }
}
