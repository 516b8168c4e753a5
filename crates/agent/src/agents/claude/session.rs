//! The CLI's conversations: their ids, and how a turn enters one.
//!
//! The executor uses it around the [command](super::command) of each process. The id is derived
//! from the thread, so that a repeated start never makes a second conversation. A thread whose
//! conversation cannot go on gets another one, with the next number.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::agents::outcome::{FailReason, TurnOutcome};

/// The id of a conversation, always the same for the same thread and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId(Uuid);

impl SessionId {
    /// The id of a thread's conversation, derived from the thread's name and the number of the
    /// conversation in it, from 1.
    pub fn of_thread(thread: &str, conversation: u32) -> Self {
        let name = match conversation {
            ..=1 => format!("afk-thread:{thread}"),
            nth => format!("afk-thread:{thread}:{nth}"),
        };
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
    }

    /// The id of the input line that begins turn `n` in the thread's process number `process`. The
    /// CLI ignores a line whose id the conversation has seen, so no two are the same.
    pub fn message(self, n: u32, process: u32) -> String {
        Uuid::new_v5(&self.0, format!("turn {n}.{process}").as_bytes()).to_string()
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How a turn enters its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionUse {
    /// Opens the conversation under its id. The CLI refuses if the id is taken.
    Open,
    /// Continues the conversation. The CLI refuses if it does not exist. The processes of the
    /// previous turn must be gone: the CLI lets two resumes of one session run at once.
    Resume,
}

/// How to enter the conversation after the CLI refused the other way; `None` if it did not refuse.
/// A first turn that failed or was killed may leave its id taken or not, so neither the turn's
/// number nor a record can tell.
pub fn after_refusal(outcome: &TurnOutcome) -> Option<SessionUse> {
    match outcome {
        TurnOutcome::Failed { reason: FailReason::SessionInUse, .. } => Some(SessionUse::Resume),
        TurnOutcome::Failed { reason: FailReason::UnknownSession, .. } => Some(SessionUse::Open),
        TurnOutcome::Failed { .. }
        | TurnOutcome::Finished { .. }
        | TurnOutcome::Interrupted
        | TurnOutcome::Lost => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_one_id() {
        let id = SessionId::of_thread("run-1", 1);
        assert_eq!(id.to_string(), "7e674577-4fbf-50f9-937c-3e61c906d863");
        assert_eq!(id, SessionId::of_thread("run-1", 1));
        assert_ne!(id, SessionId::of_thread("run-2", 1));
        assert_ne!(id, SessionId::of_thread("run-1", 2));
    }

    #[test]
    fn a_refused_session_is_entered_the_other_way() {
        fn check(reason: FailReason, next: Option<SessionUse>) {
            let outcome = TurnOutcome::Failed { reason, message: String::new() };
            assert_eq!(after_refusal(&outcome), next, "{outcome:?}");
        }
        check(FailReason::SessionInUse, Some(SessionUse::Resume));
        check(FailReason::UnknownSession, Some(SessionUse::Open));
        check(FailReason::NoResult, None);
        assert_eq!(after_refusal(&TurnOutcome::Interrupted), None);
    }

    #[test]
    fn each_turn_of_a_thread_has_a_message_of_its_own() {
        let session = SessionId::of_thread("run-1", 1);
        assert_eq!(session.message(2, 1), session.message(2, 1));
        assert_ne!(session.message(1, 1), session.message(2, 1));
        assert_ne!(session.message(2, 1), session.message(2, 2));
        assert_ne!(session.message(1, 1), SessionId::of_thread("run-2", 1).message(1, 1));
    }
}
