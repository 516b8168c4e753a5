//! What a pass must observe, derived from the record only, so that it observes no more than its
//! decision needs.

use super::{EndedTurn, Run, TurnEnd, TurnSeen};

/// What a pass must observe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObservationScope {
    /// The issue: labels, events, comment. For every run that is not settled.
    pub issue: bool,
    /// Every gate, live, until the first turn is begun or the head of an ended run is taken over.
    /// After that a pass queries them while [`Run::is_unstarted`].
    pub gates: bool,
    /// The turn with this number.
    pub turn: Option<u32>,
    /// The workspace after that turn.
    pub workspace: Option<u32>,
}

impl Run {
    /// Whether no executor has received any turn of this run, if the newest was seen as `turn`.
    /// Between the record of a turn and its start there may be a crash, a hook, or an unavailable
    /// executor; a gate that closes in that time still counts.
    pub fn is_unstarted(&self, turn: Option<&TurnSeen>) -> bool {
        turn == Some(&TurnSeen::Absent) && !self.ends().any(EndedTurn::started)
    }

    /// What the next pass must observe.
    pub fn observation_scope(&self) -> ObservationScope {
        if self.settled_at.is_some() || self.conclusion.is_some() {
            return ObservationScope {
                issue: self.settled_at.is_none(),
                ..ObservationScope::default()
            };
        }
        let turn = self.turn();
        let finished = turn
            .and_then(|turn| turn.ended.as_ref())
            .is_some_and(|ended| matches!(ended.how, TurnEnd::Finished { .. }));
        let inspected = self.attempt().is_some_and(|attempt| attempt.left.is_some());
        let inspected = inspected || self.agent_lands();
        ObservationScope {
            issue: true,
            gates: turn.is_none() && !self.is_untouched_resumption(),
            turn: turn.filter(|turn| turn.ended.is_none()).map(|turn| turn.n),
            workspace: turn.filter(|_| finished && !inspected).map(|turn| turn.n),
        }
    }
}
