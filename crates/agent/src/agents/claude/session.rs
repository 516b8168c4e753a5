//! The CLI's conversations: their ids, and how a turn enters one.
//!
//! Used by the executor around the [command](super::command) of each turn. The id is
//! derived from the thread, so that asking twice never makes a second conversation.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::agents::outcome::{FailReason, TurnOutcome};

/// The id of a conversation: the same thread always has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId(Uuid);

impl SessionId {
    /// The id of a thread, from the thread's own name.
    pub fn of_thread(thread: &str) -> Self {
        let name = format!("afk-thread:{thread}");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
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
    /// Opens it under its id. Refused when the id is taken.
    Open,
    /// Goes on with it. Refused when it does not exist. The processes of the turn
    /// before must be gone: two resumes of one session both run.
    Resume,
}

/// How to enter the conversation after a refusal, given how it was tried and
/// whether the other way was tried in this turn already; none when neither is left
/// or the turn failed for another reason. A first turn that failed or was killed
/// leaves its id taken, so neither the turn's number nor a record tells for certain.
pub fn next_session_step(
    tried: SessionUse,
    switched_before: bool,
    outcome: &TurnOutcome,
) -> Option<SessionUse> {
    let TurnOutcome::Failed { reason, .. } = outcome else {
        return None;
    };
    match (tried, reason) {
        _ if switched_before => None,
        (SessionUse::Open, FailReason::SessionInUse) => Some(SessionUse::Resume),
        (SessionUse::Resume, FailReason::UnknownSession) => Some(SessionUse::Open),
        (SessionUse::Open | SessionUse::Resume, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_one_id() {
        let id = SessionId::of_thread("run-1");
        assert_eq!(id.to_string(), "7e674577-4fbf-50f9-937c-3e61c906d863");
        assert_eq!(id, SessionId::of_thread("run-1"));
        assert_ne!(id, SessionId::of_thread("run-2"));
    }

    #[test]
    fn a_refused_session_is_entered_the_other_way_once() {
        fn check(tried: SessionUse, switched: bool, reason: FailReason, next: Option<SessionUse>) {
            let outcome = TurnOutcome::Failed { reason, message: String::new() };
            assert_eq!(next_session_step(tried, switched, &outcome), next, "{outcome:?}");
        }
        use SessionUse::{Open, Resume};
        check(Open, false, FailReason::SessionInUse, Some(Resume));
        check(Resume, false, FailReason::UnknownSession, Some(Open));
        check(Open, true, FailReason::SessionInUse, None);
        check(Resume, true, FailReason::UnknownSession, None);
        check(Resume, false, FailReason::SessionInUse, None);
        check(Open, false, FailReason::UnknownSession, None);
        check(Open, false, FailReason::NoResult, None);
        assert_eq!(next_session_step(Open, false, &TurnOutcome::Interrupted), None);
    }
}
