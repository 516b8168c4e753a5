//! The run's one comment, and everything else that its issue shows.
//!
//! A tracker may list a comment late, and the answer to posting it may be lost. So the intent to
//! post is committed first, and the comment's id afterwards. While the id is not known, nothing is
//! posted again before the time by which a read would certainly show a late comment.

use afk_core::comment::{self, Step};
use afk_core::ids::At;
use afk_core::run::{Observation, Transition};

use super::Pass;
use crate::bounds::later;
use crate::ports::{PortError, PortErrorKind, PortResult};
use crate::show::WantedState;

/// The result of updating the issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommentUpdate {
    /// The tracker shows everything already.
    Already,
    /// Something was written.
    Wrote,
    /// Whether the comment exists cannot be known before this time.
    Later(At),
}

impl Pass<'_> {
    /// Writes what the tracker does not show yet.
    pub(super) async fn show(&mut self, seen: &Observation) -> PortResult<CommentUpdate> {
        let Some(wanted) = WantedState::of(&self.run, &self.config, seen) else {
            return Ok(CommentUpdate::Already);
        };
        let labelled = self.engine.label(&self.run, &wanted).await?;
        let said = match if wanted.comment { self.say().await } else { Ok(CommentUpdate::Already) }
        {
            // Only the comment is given up: the labels decide what is worked on, and are written.
            Err(error) if self.is_lasting(&error) => {
                tracing::warn!(run.id = %self.run.id, error = error.chain(), "the end of the run is not in its comment");
                CommentUpdate::Already
            }
            said => said?,
        };
        let moved = self.engine.open(&self.run, &wanted, seen).await?;
        Ok(if labelled || moved { CommentUpdate::Wrote } else { said })
    }

    /// Ensures that the run's comment is there, with its current text.
    async fn say(&mut self) -> PortResult<CommentUpdate> {
        let issue = self.run.issue.clone();
        let own = self.ports().tracker.own_account(&issue.repo).await?;
        let text = self.engine.comment_text(&self.run, &[]).await?;
        let asked_at = self.now();
        let there = self.ports().tracker.comments(&issue).await?;
        let posted = self.run.posted.as_ref();
        match comment::step(posted, &there, self.run.id, &own.id, &text, asked_at) {
            Step::Nothing => Ok(CommentUpdate::Already),
            Step::Wait { until } => Ok(CommentUpdate::Later(until)),
            Step::Note { id } => {
                self.commit(Transition::CommentPosted { id }).await?;
                Ok(CommentUpdate::Wrote)
            }
            Step::Edit { id, unseen } => {
                match self.ports().tracker.edit_comment(&issue, &id, &text).await {
                    // The edit succeeded, so the comment exists.
                    Ok(()) if unseen => Ok(CommentUpdate::Already),
                    Ok(()) => Ok(CommentUpdate::Wrote),
                    // Somebody deleted it.
                    Err(error) if unseen && error.kind == PortErrorKind::NotFound => {
                        self.post(&text).await
                    }
                    Err(error) => Err(error),
                }
            }
            Step::Post => self.post(&text).await,
        }
    }

    async fn post(&mut self, text: &str) -> PortResult<CommentUpdate> {
        self.commit(Transition::CommentBegun).await?;
        let begun = self.run.posted.as_ref().map_or_else(|| self.now(), |posted| posted.at);
        let id = tokio::select! {
            biased;
            // Biased, so that nothing is posted if the commit itself took longer than that.
            () = self.ports().clock.sleep_until(later(begun, comment::ANSWERS)) => {
                return Err(PortError::transient("posting the comment was not answered in time"));
            }
            id = self.ports().tracker.comment(&self.run.issue, self.run.id, text) => id?,
        };
        self.commit(Transition::CommentPosted { id }).await?;
        Ok(CommentUpdate::Wrote)
    }
}
