//! What a turn tells the agent: that the last one broke off, and what it is about.
//!
//! A turn that broke off may not have come to what it was begun for, and one that its
//! executor never heard of told nothing at all. So the turns that go on with it tell it
//! again, until one of them finishes; that something broke off they say where it had begun.

use super::{Ended, Heard, Run, Turn, TurnEnd};
use crate::plan::TurnCause;
use crate::request::Request;

/// What the newest turn tells the agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told<'a> {
    /// How what it goes on with broke off; none where nothing of it had begun.
    pub broken: Option<TurnCause>,
    /// The turn that was begun for what it is about; often itself.
    pub about: &'a Turn,
}

impl Run {
    /// What the newest turn tells the agent; none while there is none.
    pub fn told(&self) -> Option<Told<'_>> {
        let mut turns = self.turns().rev();
        let mut told = Told { broken: None, about: turns.next()? };
        while goes_on(told.about.cause) {
            let Some(before) = turns.next() else { break };
            if before.ended.as_ref().is_none_or(Ended::started) {
                told.broken.get_or_insert(told.about.cause);
            }
            told.about = before;
        }
        Some(told)
    }

    /// Words of people that no finished turn has told the agent.
    pub fn unsaid(&self) -> impl Iterator<Item = &Heard> {
        self.heard.iter().filter(move |heard| {
            let words = matches!(heard.asked.what, Request::Say { .. });
            words && !heard.turn.is_some_and(|n| self.came_through(n))
        })
    }

    /// What turn `n` was begun to tell of people's words, oldest first.
    pub fn words(&self, n: u32) -> String {
        let said = self.heard.iter().filter(|heard| heard.turn == Some(n));
        let texts = said.filter_map(|heard| match &heard.asked.what {
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

    /// Whether turn `n`, or one that went on with it, is under way or has finished.
    fn came_through(&self, n: u32) -> bool {
        let mut on = self.turns().filter(|turn| turn.n >= n);
        let first = on.next().filter(|turn| turn.n == n);
        let mut all = first.into_iter().chain(on.take_while(|turn| goes_on(turn.cause)));
        all.any(|turn| match &turn.ended {
            None => true,
            Some(ended) => matches!(ended.how, TurnEnd::Finished { .. }),
        })
    }

    /// Its turns, oldest first.
    fn turns(&self) -> impl DoubleEndedIterator<Item = &Turn> {
        self.attempts.iter().flat_map(|attempt| &attempt.turns)
    }
}

/// Whether a turn goes on with what the one before it was about.
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
