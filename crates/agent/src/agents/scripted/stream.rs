//! Reads the scripted agent's stream, or that of T3 Code's adapter, and judges the turn's end.
//!
//! The lines are [`AgentEvent`]s already, so they only need validation.
//! [`TurnReader`](crate::agents::TurnReader) calls it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::agents::event::{AgentEvent, TokenUsage, TurnEnd, bounded_line};
use crate::agents::outcome::{Exit, FailReason, TurnOutcome};

const MESSAGE_CHARS: usize = 500;
const MAX_TRACKED: usize = 1024;

/// What was read of a turn so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScriptedState {
    started: bool,
    open_tools: BTreeSet<String>,
    streamed: TokenUsage,
    end: Option<TurnEnd>,
    garbage: u64,
}

impl ScriptedState {
    /// Reads one line and appends its event.
    pub fn line(&mut self, line: &str, events: &mut Vec<AgentEvent>) {
        let Ok(event) = serde_json::from_str::<AgentEvent>(line) else {
            self.garbage += 1;
            return;
        };
        match &event {
            AgentEvent::Started { .. } => self.started = true,
            AgentEvent::ToolStarted { id, .. } if self.open_tools.len() < MAX_TRACKED => {
                self.open_tools.insert(id.clone());
            }
            AgentEvent::ToolEnded { id, .. } => {
                self.open_tools.remove(id);
            }
            AgentEvent::Usage(tokens) => self.streamed = *tokens,
            AgentEvent::Ended(end) => {
                self.open_tools.clear();
                self.end = Some(end.clone());
            }
            AgentEvent::ToolStarted { .. }
            | AgentEvent::Text { .. }
            | AgentEvent::Retrying { .. }
            | AgentEvent::PermissionDenied { .. }
            | AgentEvent::UsageLimit { .. } => {}
        }
        events.push(event);
    }

    /// Whether a tool call is open.
    pub fn tool_open(&self) -> bool {
        !self.open_tools.is_empty()
    }

    /// The turn's end, once it came.
    pub fn end(&self) -> Option<&TurnEnd> {
        self.end.as_ref()
    }

    /// The turn's tokens that the agent has claimed so far.
    pub fn streamed(&self) -> TokenUsage {
        self.streamed
    }

    /// Number of lines that were not events.
    pub fn garbage(&self) -> u64 {
        self.garbage
    }
}

/// Decides the outcome of the turn.
pub fn fold(
    exit: &Exit,
    state: &ScriptedState,
    unread_lines: u64,
    stderr_tail: &str,
    interrupted_by_us: bool,
) -> TurnOutcome {
    if let Some(end) = state.end()
        && !end.is_error
    {
        return TurnOutcome::Finished { text: end.text.clone().unwrap_or_default() };
    }
    if interrupted_by_us {
        return TurnOutcome::Interrupted;
    }
    let failed = |reason, message: &str| TurnOutcome::Failed {
        reason,
        message: bounded_line(message, MESSAGE_CHARS),
    };
    if let Some(end) = state.end() {
        let reason = match end.limit {
            Some(limit) => FailReason::UsageLimit { resets_at: limit.resets_at },
            None => FailReason::AgentError,
        };
        return failed(reason, &end.errors.join("; "));
    }
    match exit {
        Exit::Lost => TurnOutcome::Lost,
        Exit::NotStarted { message } => failed(FailReason::StartFailed, message),
        Exit::Exited { .. } | Exit::Signalled { .. } => {
            let reason = match exit.signal() {
                Some(signal) => FailReason::Killed { signal },
                None if state.started => FailReason::NoResult,
                None if unread_lines > 0 => FailReason::Garbage { lines: unread_lines },
                None => FailReason::StartFailed,
            };
            failed(reason, &format!("{exit}; {stderr_tail}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        fn check(lines: &[&str], exit: &Exit, by_us: bool, expected: &str) {
            let mut state = ScriptedState::default();
            for line in lines {
                state.line(line, &mut Vec::new());
            }
            let outcome = fold(exit, &state, state.garbage(), "", by_us);
            let word = match outcome {
                TurnOutcome::Finished { text } => format!("finished {text}"),
                TurnOutcome::Failed { reason, .. } => format!("{reason:?}"),
                TurnOutcome::Interrupted => "interrupted".to_owned(),
                TurnOutcome::Lost => "lost".to_owned(),
            };
            assert_eq!(word, expected, "{lines:?} {exit}");
        }
        let started = r#"{"type":"started","session":"s","model":"scripted","version":"1"}"#;
        let end = |is_error: bool, limit: Option<crate::agents::LimitHit>| {
            serde_json::to_string(&AgentEvent::Ended(TurnEnd {
                is_error,
                text: Some("ok".into()),
                limit,
                ..TurnEnd::default()
            }))
            .unwrap()
        };
        let limit = Some(crate::agents::LimitHit { resets_at: None });
        let code = |code| Exit::Exited { code };
        check(&[started, &end(false, None)], &code(0), false, "finished ok");
        check(&[started, &end(false, None)], &Exit::Lost, true, "finished ok");
        check(&[started, &end(true, None)], &code(0), false, "AgentError");
        check(&[started, &end(true, limit)], &code(0), false, "UsageLimit { resets_at: None }");
        check(&[started], &code(143), true, "interrupted");
        check(&[started], &code(143), false, "Killed { signal: 15 }");
        check(&[started], &Exit::Lost, false, "lost");
        check(&[started], &code(0), false, "NoResult");
        check(&["junk"], &code(0), false, "Garbage { lines: 1 }");
        check(&[], &code(2), false, "StartFailed");
    }
}
