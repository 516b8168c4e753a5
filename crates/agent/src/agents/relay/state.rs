//! Reads a relay's log and judges the turn's end.
//!
//! The machine that the relay ran, [`Dialogue`], is run again over the log.
//! [`TurnReader`](crate::agents::TurnReader) calls it.

use serde::{Deserialize, Serialize};

use super::codec::Progress;
use super::dialogue::Dialogue;
use super::wire::{ConversationState, RelayEntry};
use crate::agents::ask::AgentQuestion;
use crate::agents::event::{AgentEvent, TokenUsage, TurnEnd, TurnUsage, bounded_line};
use crate::agents::json::read_json;
use crate::agents::outcome::{Exit, FailReason, TurnOutcome};

/// Maximum length of a failure's message, in characters.
const MESSAGE_CHARS: usize = 500;

/// What was read of a turn so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RelayState {
    dialogue: Option<Box<Dialogue>>,
    /// Number of lines that are not entries.
    garbage: u64,
}

impl RelayState {
    /// Reads one line and appends its events.
    pub fn line(&mut self, line: &str, events: &mut Vec<AgentEvent>) {
        match (read_json(line.as_bytes()), &mut self.dialogue) {
            (Ok(RelayEntry::Begun(request)), None) => {
                let (dialogue, step) = Dialogue::begin(*request);
                self.dialogue = Some(Box::new(dialogue));
                events.extend(step.events);
            }
            (Ok(entry), Some(dialogue)) => events.extend(dialogue.take(&entry).events),
            (Ok(_), None) | (Err(_), _) => self.garbage += 1,
        }
    }

    fn progress(&self) -> Option<&Progress> {
        self.dialogue.as_ref().map(|dialogue| dialogue.progress())
    }

    /// Whether a tool call is open.
    pub fn tool_open(&self) -> bool {
        self.progress().is_some_and(Progress::tool_open)
    }

    /// The turn's end, once it came.
    pub fn end(&self) -> Option<&TurnEnd> {
        self.progress().and_then(Progress::end)
    }

    /// Whether the agent works on the prompt, or has.
    pub fn started(&self) -> bool {
        self.progress().is_some_and(Progress::started)
    }

    /// The agent's open questions.
    pub fn asks(&self) -> &[AgentQuestion] {
        self.progress().map_or(&[], Progress::asks)
    }

    /// The turn's tokens so far.
    pub fn streamed(&self) -> TokenUsage {
        self.progress().map(Progress::tokens).unwrap_or_default()
    }

    /// What the agent has reported that the turn used, even if the turn never comes to its end.
    pub fn spent(&self) -> Option<&TurnUsage> {
        self.progress().and_then(Progress::spent)
    }

    /// Number of lines of the relay or the agent that could not be read.
    pub fn garbage(&self) -> u64 {
        self.garbage + self.progress().map_or(0, Progress::garbage)
    }

    /// The conversation that a later turn can resume; `None` if the prompt was never sent. If the
    /// conversation was unknown and no other was opened, [`RelayState::unknown`] says so.
    pub fn conversation(&self) -> Option<&ConversationState> {
        self.progress().and_then(Progress::conversation)
    }

    /// Whether the agent did not know the conversation and opened no other, so that the next turn
    /// must open one.
    pub fn unknown(&self) -> bool {
        self.progress().is_some_and(Progress::unknown)
    }

    /// Decides the outcome of the turn.
    pub fn fold(&self, exit: &Exit, stderr_tail: &str, interrupted_by_us: bool) -> TurnOutcome {
        let end = self.end();
        if let Some(end) = end.filter(|end| !end.is_error) {
            return TurnOutcome::Finished { text: end.text.clone().unwrap_or_default() };
        }
        if interrupted_by_us {
            return TurnOutcome::Interrupted;
        }
        let failed = |reason, message: &str| TurnOutcome::Failed {
            reason,
            message: bounded_line(message, MESSAGE_CHARS),
        };
        let last = stderr_tail.lines().map(str::trim).rfind(|line| !line.is_empty());
        if let Some(end) = end {
            let reason = self.progress().and_then(Progress::failure).cloned();
            let reason = reason.unwrap_or(FailReason::AgentError);
            let mut said = end.errors.clone();
            // These ends bring no explanation, so the last line of standard error is added.
            if matches!(
                reason,
                FailReason::NoResult | FailReason::StartFailed | FailReason::Killed { .. }
            ) {
                said.extend(last.map(str::to_owned));
            }
            return failed(reason, &said.join("; "));
        }
        match exit {
            Exit::Lost => TurnOutcome::Lost,
            Exit::NotStarted { message } => failed(FailReason::StartFailed, message),
            Exit::Exited { .. } | Exit::Signalled { .. } => {
                let reason = match exit.signal() {
                    Some(signal) => FailReason::Killed { signal },
                    None if self.started() => FailReason::NoResult,
                    None if self.garbage() > 0 => FailReason::Garbage { lines: self.garbage() },
                    None => FailReason::StartFailed,
                };
                let said = last.map_or_else(|| exit.to_string(), |last| format!("{exit}; {last}"));
                failed(reason, &said)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::agents::ask::Access;
    use crate::agents::relay::wire::{Protocol, RelayRequest};

    /// A turn over ACP after its prompt was sent and the agent reported a cost of 3 dollars, of
    /// which an earlier turn had spent 1; then `rest`.
    fn told_of_cost(rest: &[RelayEntry]) -> RelayState {
        let earlier = ConversationState { id: "s".into(), cost_usd: 1.0, ..Default::default() };
        let request = RelayRequest {
            protocol: Protocol::Acp,
            argv: vec!["agent".into()],
            cwd: "/clone".into(),
            earlier: Some(earlier),
            prompt: "go on".into(),
            opening_prompt: String::new(),
            access: Access::Full,
            model: None,
            mode: None,
            auth_method: None,
            start_ms: 1,
            grace_ms: 1,
        };
        let can = json!({"protocolVersion": 1, "agentCapabilities": {"loadSession": true}});
        let agent = |message: Value| RelayEntry::Agent(message);
        let cost = json!({"amount": 3.0, "currency": "USD"});
        let update = json!({"sessionUpdate": "usage_update", "cost": cost});
        let mut log = vec![
            RelayEntry::Begun(Box::new(request)),
            agent(json!({"jsonrpc": "2.0", "id": 1, "result": can})),
            agent(json!({"jsonrpc": "2.0", "id": 3, "result": {}})),
            agent(json!({"jsonrpc": "2.0", "method": "session/update",
                "params": {"sessionId": "s", "update": update}})),
        ];
        log.extend_from_slice(rest);
        let mut state = RelayState::default();
        for entry in log {
            let line = String::from_utf8(entry.line()).expect("text");
            state.line(line.trim_end(), &mut Vec::new());
        }
        state
    }

    #[test]
    fn what_a_turn_cost_is_known_however_it_ends() {
        let error = json!({"code": -32603, "message": "Internal error"});
        let error = json!({"jsonrpc": "2.0", "id": 6, "error": error});
        let exited = |ours| RelayEntry::Exited { code: Some(0), signal: None, ours };
        for (rest, ends) in [
            (vec![RelayEntry::Agent(error)], true),
            (vec![exited(false)], true),
            (vec![RelayEntry::Cancel {}, exited(true)], false),
            (Vec::new(), false),
        ] {
            let state = told_of_cost(&rest);
            let spent = state.spent().expect("it was told");
            assert_eq!((spent.cost_usd_cumulative, spent.turn_cost_usd()), (3.0, Some(2.0)));
            assert_eq!(state.end().is_some(), ends, "{rest:?}");
        }
    }
}
