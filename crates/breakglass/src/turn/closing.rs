//! The last events of a turn, and one word for the audit log.
//!
//! Called by [`crate::conversation`]. Pure: one total function of how the turn went.

use afk_agent::agents::{FailReason, TurnOutcome};

use super::run::{StopReason, TurnReport};
use crate::wire::UiEvent;

/// Returns a turn's last events, [`UiEvent::TurnEnd`] last, and a word for the audit log.
pub fn closing(report: TurnReport) -> (Vec<UiEvent>, &'static str) {
    let TurnReport { stopped, outcome, result } = report;
    let error = |text: String| UiEvent::Error { error: text };
    let (events, word) = match (stopped, outcome) {
        // The turn finished before the stop took effect.
        (_, TurnOutcome::Finished { text }) => {
            let said = UiEvent::Result { is_error: false, result: text, duration_ms: 0 };
            (vec![result.unwrap_or(said)], "finished")
        }
        (Some(StopReason::Cancelled), _) => (vec![UiEvent::Cancelled], "cancelled"),
        (Some(why), _) => (vec![error(why.to_string())], why.word()),
        (None, outcome @ TurnOutcome::Failed { .. }) => match result {
            // The agent itself says what went wrong; that is enough.
            Some(said @ UiEvent::Result { is_error: true, .. }) => (vec![said], "failed"),
            said => {
                let told = error(explain(&outcome));
                (said.into_iter().chain([told]).collect(), "failed")
            }
        },
        (None, outcome @ (TurnOutcome::Interrupted | TurnOutcome::Lost)) => {
            (vec![error(outcome.to_string())], "lost")
        }
    };
    (events.into_iter().chain([UiEvent::TurnEnd]).collect(), word)
}

/// Returns the last events of a turn that was under way when the server died.
pub fn interrupted() -> Vec<UiEvent> {
    let error = "the server was stopped while this turn was under way, and the agent with it; \
                 the conversation is kept: send another message to go on";
    vec![UiEvent::Error { error: error.to_owned() }, UiEvent::TurnEnd]
}

impl StopReason {
    fn word(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::TimedOut(_) => "timed out",
            Self::Shutdown => "interrupted",
            Self::LogFull | Self::LogFailed => "failed",
        }
    }
}

impl std::fmt::Display for StopReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the turn was cancelled"),
            Self::TimedOut(bound) => write!(
                f,
                "the turn was stopped after {} s, the longest that one may take; the conversation \
                 is kept: send another message to go on",
                bound.as_secs()
            ),
            Self::Shutdown => f.write_str(
                "the server is being stopped, and the turn with it; the conversation is kept: \
                 send another message to go on",
            ),
            Self::LogFull => f.write_str(
                "this conversation has reached its largest size, so the turn was stopped: begin a \
                 new one",
            ),
            Self::LogFailed => f.write_str(
                "the turn was stopped because the conversation cannot be written to disk: make \
                 room where the sessions are kept, then send another message to go on",
            ),
        }
    }
}

/// Explains a failure by this program's settings, where the usual text names those of `afk`.
fn explain(outcome: &TurnOutcome) -> String {
    let TurnOutcome::Failed { reason, message } = outcome else { return outcome.to_string() };
    let told = match reason {
        FailReason::NotSignedIn => {
            "the agent is not signed in: give the server CLAUDE_CODE_OAUTH_TOKEN or \
             ANTHROPIC_API_KEY; the power verbs work without"
        }
        FailReason::StartFailed => {
            "the agent did not start: check BREAKGLASS_CLAUDE; the power verbs work without"
        }
        FailReason::ApiError { status: None } => {
            "the model's API could not be reached: check the network of this server; the power \
             verbs work without"
        }
        FailReason::UnknownAgent => {
            "the agent definition does not exist: check BREAKGLASS_AGENT, or install it in the \
             agent's home"
        }
        FailReason::ApiError { status: Some(_) }
        | FailReason::BudgetExceeded
        | FailReason::NoCredit
        | FailReason::UsageLimit { .. }
        | FailReason::SessionInUse
        | FailReason::UnknownSession
        | FailReason::StuckConversation
        | FailReason::PermissionDenied { .. }
        | FailReason::Killed { .. }
        | FailReason::Aborted
        | FailReason::BrokenOff
        | FailReason::NoResult
        | FailReason::Garbage { .. }
        | FailReason::AgentError => return outcome.to_string(),
    };
    if message.is_empty() { told.to_owned() } else { format!("{told} (it said: {message})") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(stopped: Option<StopReason>, outcome: TurnOutcome, result: Option<UiEvent>) -> String {
        let (events, word) = closing(TurnReport { stopped, outcome, result });
        assert_eq!(events.last(), Some(&UiEvent::TurnEnd), "the end comes last");
        let kinds = events.iter().map(|event| match event {
            UiEvent::Result { is_error, result, .. } => format!("result {is_error} {result}"),
            UiEvent::Error { error } => format!("error {}", &error[..error.len().min(24)]),
            UiEvent::Cancelled => "cancelled".to_owned(),
            UiEvent::TurnEnd => "end".to_owned(),
            other => format!("unexpected {other:?}"),
        });
        format!("{word}: {}", kinds.collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn every_way_in_which_a_turn_ends() {
        let finished = || TurnOutcome::Finished { text: "ok".into() };
        let failed = |reason| TurnOutcome::Failed { reason, message: String::new() };
        let result =
            |is_error| Some(UiEvent::Result { is_error, result: "said".into(), duration_ms: 1 });
        for (stopped, outcome, result, expected) in [
            (None, finished(), result(false), "finished: result false said, end"),
            (None, finished(), None, "finished: result false ok, end"),
            (
                Some(StopReason::Cancelled),
                finished(),
                result(false),
                "finished: result false said, end",
            ),
            (
                Some(StopReason::Cancelled),
                TurnOutcome::Interrupted,
                None,
                "cancelled: cancelled, end",
            ),
            (
                Some(StopReason::TimedOut(Duration::from_secs(3))),
                TurnOutcome::Interrupted,
                None,
                "timed out: error the turn was stopped aft, end",
            ),
            (
                Some(StopReason::Shutdown),
                TurnOutcome::Interrupted,
                None,
                "interrupted: error the server is being stop, end",
            ),
            (
                Some(StopReason::LogFull),
                TurnOutcome::Interrupted,
                None,
                "failed: error this conversation has re, end",
            ),
            (
                None,
                failed(FailReason::ApiError { status: Some(500) }),
                result(true),
                "failed: result true said, end",
            ),
            (
                None,
                failed(FailReason::PermissionDenied { tools: vec!["Bash".into()] }),
                result(false),
                "failed: result false said, error the agent was refused Ba, end",
            ),
            (
                None,
                failed(FailReason::StartFailed),
                None,
                "failed: error the agent did not start:, end",
            ),
            (None, TurnOutcome::Lost, None, "lost: error the agent's process or i, end"),
        ] {
            assert_eq!(check(stopped, outcome.clone(), result), expected, "{outcome:?}");
        }
    }
}
