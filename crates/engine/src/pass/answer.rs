//! The agent's questions: a doorbell asks people, and the agent gets the answer.
//!
//! The doorbell is committed with the record of the question. An answer is recorded before the
//! agent gets it: a person's with their request, and policy's here. It is given again in each pass
//! while the question is open; the executor passes on the first answer only.

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::run::{Observation, Transition, TurnSeen};

use super::act::STOPPING;
use super::{Acted, Pass};
use crate::bounds::later;
use crate::ports::PortResult;

impl Pass<'_> {
    /// The doorbells for questions that `transition` is about to record, if people are given time
    /// to answer them.
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
                link: run.thread_link.as_deref(),
                nth: question.n.saturating_sub(1),
            })
        });
        ring.collect()
    }

    /// Gives the agent the answers that are due: a person's, or after the deadline policy's.
    pub(super) async fn answer(&mut self, seen: &Observation) -> PortResult<Acted> {
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
                // The halt came after this pass observed: the next one plans with it.
                return Ok(Acted::Again);
            }
            self.ports().executor.answer(&repo, &key, &asked.id, &answer).await?;
            let (turn, what) = (n, &asked.what);
            tracing::info!(run.id = %self.run.id, turn, what, ?answer, "answering the agent");
        }
        Ok(Acted::wait(self.watch_turn(), Some(later(self.now(), STOPPING))))
    }
}
