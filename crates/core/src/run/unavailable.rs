//! A run whose agent cannot work: its sign-in is refused, the model's API does not answer, or its
//! program does not start.
//!
//! The run waits as for a usage limit: no retry is used and its clocks stop. The agent is tried
//! again at growing intervals, for a limited time. Meanwhile nothing else is dispatched to it: that
//! follows from the records of the live runs, and is stored nowhere else.

use std::time::Duration;

use jiff::SignedDuration;

use super::{AgentNeed, EndedTurn, Run, TurnEnd};
use crate::elapsed::{Pause, waited};
use crate::ids::At;
use crate::plan::TurnCause;

/// Wait before the first new try; doubled each time.
const FIRST: SignedDuration = SignedDuration::from_secs(30);
/// Maximum wait between two tries.
const LONGEST: SignedDuration = SignedDuration::from_mins(10);
/// How long the run waits for its agent in all.
const PATIENCE: Duration = Duration::from_hours(12);
/// How long a try may run before its silence counts as success: an agent repeats requests by itself
/// for some minutes before it gives up.
const TRYING: SignedDuration = SignedDuration::from_mins(5);

/// An agent that cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentOutage<'a> {
    /// What it lacks.
    pub what: AgentNeed,
    /// The last message, and how to fix it.
    pub message: &'a str,
    /// When the first of these turns ended.
    pub since: At,
    /// How many turns have ended so since one finished.
    pub times: u32,
    /// When the agent is tried again.
    pub again: At,
}

impl AgentOutage<'_> {
    /// Whether the time to wait for it is up; `pauses` are those of its run.
    pub fn is_overdue(&self, now: At, pauses: &[Pause]) -> bool {
        waited(self.since, now, pauses) >= PATIENCE
    }
}

impl Run {
    /// What its agent lacks, if the newest turn that ended found that out.
    pub fn unavailable(&self) -> Option<AgentOutage<'_>> {
        let turns = self.attempts.iter().rev().flat_map(|attempt| attempt.turns.iter().rev());
        let mut ends = turns.filter_map(|turn| turn.ended.as_ref());
        let last = ends.next()?;
        let TurnEnd::Unavailable { what, message } = &last.how else { return None };
        let earlier = ends.take_while(|ended| broke_off(ended));
        let earlier: Vec<At> =
            earlier.filter(|end| is_unavailable(end)).map(|end| end.at).collect();
        let times = earlier.len() as u32 + 1;
        let pause = FIRST.checked_mul(1 << earlier.len().min(16)).unwrap_or(LONGEST).min(LONGEST);
        let again = last.at.checked_add(pause).unwrap_or(At::MAX);
        let since = earlier.last().copied().unwrap_or(last.at);
        Some(AgentOutage { what: *what, message, since, times, again })
    }

    /// Why nothing else may be dispatched to the agent of this live run. A program that once worked
    /// for this run and no longer starts does not count: the run may have damaged it.
    pub fn holds_agent(&self, now: At) -> Option<AgentOutage<'_>> {
        let found = self.waits_for_agent(now)?;
        let worked = || self.ends().any(|end| matches!(end.how, TurnEnd::Finished { .. }));
        let own = found.what == AgentNeed::Program && worked();
        (!own).then_some(found)
    }

    /// Whether it waits for its agent at `now`, or is trying it again.
    pub fn waits_for_agent(&self, now: At) -> Option<AgentOutage<'_>> {
        let found = self.unavailable().filter(|_| self.conclusion.is_none())?;
        let newest = self.turn()?;
        let trying =
            newest.cause == TurnCause::AgentBack && now.duration_since(newest.begun_at) < TRYING;
        (newest.ended.is_some() || trying).then_some(found)
    }
}

fn is_unavailable(ended: &EndedTurn) -> bool {
    matches!(ended.how, TurnEnd::Unavailable { .. })
}

/// Whether a turn ended without having finished.
fn broke_off(ended: &EndedTurn) -> bool {
    match ended.how {
        TurnEnd::Unavailable { .. }
        | TurnEnd::Limited { .. }
        | TurnEnd::Failed { .. }
        | TurnEnd::Hopeless { .. }
        | TurnEnd::Stalled
        | TurnEnd::Lost
        // By a halt, after which the agent is tried again at once.
        | TurnEnd::Interrupted => true,
        TurnEnd::Finished { .. } => false,
    }
}
