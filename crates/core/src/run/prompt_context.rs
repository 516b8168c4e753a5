//! What the prompt of a turn must say: that the previous turn broke off, and what the turn is
//! about.
//!
//! A turn that broke off may not have done what it was begun for, and a turn that its executor
//! never received told the agent nothing. So the turns that continue it repeat its purpose until
//! one of them finishes; they mention the interruption only if something had begun.

use super::{AnsweredRequest, EndedTurn, Run, Turn, TurnEnd};
use crate::plan::TurnCause;
use crate::request::Request;

/// What the newest turn's prompt must say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PromptContext<'a> {
    /// Why the newest turn that had begun and broke off was continued; none if there is none.
    pub broken: Option<TurnCause>,
    /// The turn that the newest one continues, which has its purpose; the newest one itself if it
    /// continues none.
    pub about: &'a Turn,
}

impl Run {
    /// What the newest turn's prompt must say; none if there is no turn.
    pub fn prompt_context(&self) -> Option<PromptContext<'_>> {
        let mut turns = self.turns().rev();
        let mut told = PromptContext { broken: None, about: turns.next()? };
        while goes_on(told.about.cause) {
            let Some(before) = turns.next() else { break };
            if before.ended.as_ref().is_none_or(EndedTurn::started) {
                told.broken.get_or_insert(told.about.cause);
            }
            told.about = before;
        }
        Some(told)
    }

    /// Messages of people that no finished turn has given to the agent.
    pub fn undelivered_messages(&self) -> impl Iterator<Item = &AnsweredRequest> {
        self.requests.iter().filter(move |answered| {
            let words = matches!(answered.request.what, Request::Say { .. });
            words && !answered.turn.is_some_and(|n| self.came_through(n))
        })
    }

    /// The messages that turn `n` was begun for, oldest first.
    pub fn messages_for(&self, n: u32) -> String {
        let said = self.requests.iter().filter(|answered| answered.turn == Some(n));
        let texts = said.filter_map(|answered| match &answered.request.what {
            Request::Say { text } => Some(text.as_str()),
            Request::Retry
            | Request::Stop
            | Request::Budget { .. }
            | Request::Unfreeze
            | Request::Release
            | Request::Unclear { .. }
            | Request::Answer { .. }
            | Request::Allow { .. }
            | Request::Deny { .. } => None,
        });
        texts.collect::<Vec<_>>().join("\n\n")
    }

    /// Whether turn `n`, or one that continued it, is in progress or has finished.
    fn came_through(&self, n: u32) -> bool {
        let mut on = self.turns().filter(|turn| turn.n >= n);
        let first = on.next().filter(|turn| turn.n == n);
        let mut all = first.into_iter().chain(on.take_while(|turn| goes_on(turn.cause)));
        all.any(|turn| match &turn.ended {
            None => true,
            Some(ended) => matches!(ended.how, TurnEnd::Finished { .. }),
        })
    }

    /// All turns of the run, oldest first.
    fn turns(&self) -> impl DoubleEndedIterator<Item = &Turn> {
        self.attempts.iter().flat_map(|attempt| &attempt.turns)
    }
}

/// Whether a turn continues the previous one.
fn goes_on(cause: TurnCause) -> bool {
    match cause {
        TurnCause::Retry
        | TurnCause::Interrupted
        | TurnCause::LimitReset
        | TurnCause::AgentBack => true,
        TurnCause::Opening
        | TurnCause::CommitOrDiscard
        | TurnCause::Refused
        | TurnCause::FixForward
        | TurnCause::Said => false,
    }
}
