//! What the agent asks: people are told of it, and the agent what was answered.
//!
//! The bell is committed with the record of the question. An answer is recorded first,
//! a person's with their request and policy's here; then the agent is told, as often as
//! it still asks: its executor says an answer to a question once.

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::run::{Seen, Transition, TurnSeen};

use super::act::STOPPING;
use super::{Acted, Pass};
use crate::bounds::later;
use crate::ports::PortResult;

impl Pass<'_> {
    /// The bell for a question that is about to be recorded, where people are given time
    /// to answer it.
    pub(super) fn bell(&self, transition: &Transition) -> Vec<Doorbell> {
        if !matches!(transition, Transition::Questioned { .. }) {
            return Vec::new();
        }
        let before = self.run.questions().count();
        let mut run = self.run.clone();
        run.apply(self.now(), transition.clone());
        let asked = run.questions().skip(before).filter(|question| question.is_for_people());
        let ring = asked.map(|question| {
            Doorbell::new(&Ring {
                run: run.id,
                issue: &run.issue,
                kind: DoorbellKind::Question,
                reason: None,
                detail: &question.detail(&run.issue),
                link: None,
                nth: question.n.saturating_sub(1),
            })
        });
        ring.collect()
    }

    /// Tells the agent what is answered; what nobody has answered in time, policy does.
    pub(super) async fn answer(&mut self, seen: &Seen) -> PortResult<Acted> {
        let Some(n) = self.run.turn().map(|turn| turn.n) else { return Ok(Acted::Again) };
        let Some(TurnSeen::Running { asks, .. }) = &seen.turn else { return Ok(Acted::Again) };
        let (repo, key) = (self.run.issue.repo.clone(), self.run.turn_key(n));
        for asked in asks {
            let known = self.run.turn().and_then(|turn| turn.question(&asked.id)).cloned();
            let Some(question) = known.filter(|question| question.is_due(self.now())) else {
                continue;
            };
            let answer = if let Some(given) = question.given {
                given.answer
            } else {
                let answer = self.config.permissions(&self.repo).answer(asked);
                let policy = Transition::Answered { n: question.n, answer: answer.clone() };
                self.commit(policy).await?;
                answer
            };
            if self.brake.halted() {
                // It came while this pass was on its way here: the next look plans by it.
                return Ok(Acted::Again);
            }
            self.ports().executor.answer(&repo, &key, &asked.id, &answer).await?;
            let (turn, what) = (n, &asked.what);
            tracing::info!(run.id = %self.run.id, turn, what, ?answer, "the agent is answered");
        }
        Ok(Acted::wait(self.watch_turn(), Some(later(self.now(), STOPPING))))
    }
}
