//! What really happens on a server, which its answers do not always show. Tests judge by it what an
//! executor concludes from them.

use afk_core::ids::At;

use super::state::State;

/// What an agent was given to do, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentWork {
    /// The server's id of the turn.
    pub turn: String,
    /// The id of the message that asked for it.
    pub message: String,
    /// When the server accepted it.
    pub accepted: At,
    /// Whether an agent has begun to work on it.
    pub begun: bool,
    /// When and how the work ended or will end; none as long as that is open.
    pub over: Option<(At, AgentWorkEnd)>,
}

/// How an agent's work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentWorkEnd {
    /// It was done, and the agent said this.
    Done(String),
    /// The model's API failed, or the agent could not be started.
    Failed,
    /// Somebody stopped the agent.
    Stopped,
    /// Its server was killed, and the agent went on without it until then.
    Orphaned {
        /// When the server was killed.
        since: At,
        /// Whether a control plane could learn of it: a request met the server away, or the server
        /// says that it was restarted.
        is_known: bool,
    },
}

impl AgentWork {
    /// Whether an agent is at work on it.
    pub fn is_at_work(&self, now: At) -> bool {
        self.begun && self.is_open(now)
    }

    /// Whether the work has not ended yet.
    pub fn is_open(&self, now: At) -> bool {
        self.over.as_ref().is_none_or(|(at, _)| now < *at)
    }
}

impl State {
    /// The newest work of a turn.
    fn work_of(&mut self, turn: &str) -> Option<&mut AgentWork> {
        self.work.iter_mut().rev().find(|one| one.turn == turn)
    }

    pub(super) fn work_accepted(&mut self, turn: &str, message: &str, accepted: At) {
        let (turn, message) = (turn.to_owned(), message.to_owned());
        self.work.push(AgentWork { turn, message, accepted, begun: false, over: None });
    }

    pub(super) fn work_begun(&mut self, turn: &str) {
        if let Some(work) = self.work_of(turn) {
            work.begun = true;
        }
    }

    /// Marks the orphans so far as such that a control plane could learn of.
    pub(super) fn orphans_are_known(&mut self) {
        for work in &mut self.work {
            if let Some((_, AgentWorkEnd::Orphaned { is_known, .. })) = &mut work.over {
                *is_known = true;
            }
        }
    }

    pub(super) fn work_over(&mut self, turn: &str, at: At, end: AgentWorkEnd) {
        if let Some(work) = self.work_of(turn).filter(|work| work.over.is_none()) {
            work.over = Some((at, end));
        }
    }
}
