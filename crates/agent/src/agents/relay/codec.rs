//! What a protocol of the relay implements, and what it works on.
//!
//! Each protocol is a [`Codec`] in its agent's folder; [`Progress`] is the state that all of them
//! share. The [dialogue](super::dialogue) calls them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wire::{ConversationState, RelayRequest};
use crate::agents::ask::{AgentQuestion, Reply};
use crate::agents::event::{AgentEvent, LimitHit, TokenUsage, TurnEnd, TurnUsage, bounded_line};
use crate::agents::outcome::FailReason;

/// The message of a turn that failed because it ended without an error and without an answer.
pub(crate) const NO_ANSWER: &str =
    "the agent ended its turn without an answer: the model refused or said nothing";
/// How many calls are tracked at once.
const MAX_TRACKED: usize = 1024;
const MAX_ASKS: usize = 64;
/// The longest error text that is kept, in characters.
const ERROR_CHARS: usize = 2000;
/// How much of the end of the last text is kept, in bytes.
const TEXT_BYTES: usize = 64 << 10;

/// One protocol. Methods are called for the entries of the log in order; they record what happened
/// in `progress`, and what to do in `step`.
pub(crate) trait Codec {
    /// The agent's process has started.
    fn begin(&mut self, request: &RelayRequest, progress: &mut Progress, step: &mut Step);
    /// The agent sent a message.
    fn message(
        &mut self,
        request: &RelayRequest,
        message: &Value,
        progress: &mut Progress,
        step: &mut Step,
    );
    /// The agent wrote a line that is not a message.
    fn text(&mut self, _text: &str, progress: &mut Progress, _step: &mut Step) {
        progress.count_garbage();
    }
    /// An open question was answered; it is closed already.
    fn answer(&mut self, _ask: &AgentQuestion, _reply: &Reply, _step: &mut Step) {}
    /// The turn is cancelled.
    fn cancel(&mut self, progress: &mut Progress, step: &mut Step);
    /// The process exited before its turn had ended. Returns whether this codec has ended the turn;
    /// otherwise [`Progress::ended_early`] fails it.
    fn exited(&mut self, _code: Option<i32>, _progress: &mut Progress, _step: &mut Step) -> bool {
        false
    }
}

/// What follows from an entry of the log.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    /// What the agent did or said.
    pub events: Vec<AgentEvent>,
    /// Messages to the agent, in order.
    pub send: Vec<Value>,
    /// Plain text for the agent's input.
    pub feed: Option<String>,
    /// Whether to end the agent's input.
    pub close: bool,
    /// Whether to stop the agent by SIGTERM, because its protocol has no message for that.
    pub terminate: bool,
}

/// What was read of a turn so far, whatever the protocol.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The conversation, with what all its turns used.
    pub(crate) conversation: Option<ConversationState>,
    pub(crate) unknown: bool,
    /// Whether the agent works on the prompt, or has.
    pub(crate) started: bool,
    pub(crate) cancelled: bool,
    pub(crate) over: bool,
    /// The turn's tokens so far.
    pub(crate) tokens: TokenUsage,
    /// What the agent has reported that the turn used, before the turn's end.
    pub(crate) spent: Option<TurnUsage>,
    /// The last text that the agent said.
    pub(crate) text: String,
    asks: Vec<AgentQuestion>,
    open_tools: BTreeSet<String>,
    end: Option<TurnEnd>,
    failure: Option<FailReason>,
    garbage: u64,
}

impl Progress {
    /// Whether the agent works on the prompt, or has.
    pub fn started(&self) -> bool {
        self.started
    }

    /// Whether nothing more is awaited from the agent.
    pub fn over(&self) -> bool {
        self.over
    }

    /// The agent's open questions.
    pub fn asks(&self) -> &[AgentQuestion] {
        &self.asks
    }

    /// Whether a tool call is open.
    pub fn tool_open(&self) -> bool {
        !self.open_tools.is_empty()
    }

    /// The turn's end, once it came.
    pub fn end(&self) -> Option<&TurnEnd> {
        self.end.as_ref()
    }

    /// Why the turn failed, if it did.
    pub fn failure(&self) -> Option<&FailReason> {
        self.failure.as_ref()
    }

    /// The turn's tokens so far.
    pub fn tokens(&self) -> TokenUsage {
        self.tokens
    }

    /// What the agent has reported that the turn used; `None` if it has reported nothing.
    pub fn spent(&self) -> Option<&TurnUsage> {
        self.end.as_ref().map(|end| &end.usage).or(self.spent.as_ref())
    }

    /// Number of lines that were not messages, or too long.
    pub fn garbage(&self) -> u64 {
        self.garbage
    }

    /// The conversation that the next turn can resume. `None` before the prompt was sent, because a
    /// conversation without a prompt knows nothing of the task.
    pub fn conversation(&self) -> Option<&ConversationState> {
        self.conversation.as_ref().filter(|_| self.started)
    }

    /// Whether the agent did not know the conversation that it was told to resume, and no other has
    /// taken its place.
    pub fn unknown(&self) -> bool {
        self.unknown && !self.started
    }

    pub(crate) fn tool_started(&mut self, id: &str, name: &str, summary: String, step: &mut Step) {
        if self.open_tool(id) {
            let (id, name) = (id.to_owned(), bounded_line(name, 200));
            step.events.push(AgentEvent::ToolStarted { id, name, summary });
        }
    }

    /// Notes a call as open, without an event; false if it was open already, or too many are.
    pub(crate) fn open_tool(&mut self, id: &str) -> bool {
        self.open_tools.len() < MAX_TRACKED && self.open_tools.insert(id.to_owned())
    }

    /// Ends a call, if it is open.
    pub(crate) fn tool_ended(&mut self, id: &str, is_error: bool, step: &mut Step) {
        if self.open_tools.remove(id) {
            step.events.push(AgentEvent::ToolEnded { id: id.to_owned(), is_error });
        }
    }

    pub(crate) fn say(&mut self, text: &str, step: &mut Step) {
        if text.trim().is_empty() {
            return;
        }
        let from = text.ceil_char_boundary(text.len().saturating_sub(TEXT_BYTES));
        text.get(from..).unwrap_or_default().clone_into(&mut self.text);
        step.events.push(AgentEvent::Text { text: text.to_owned() });
    }

    /// Opens a question to a person; false if too many questions are open.
    pub(crate) fn ask(&mut self, ask: AgentQuestion) -> bool {
        let fits = self.asks.len() < MAX_ASKS;
        if fits {
            self.asks.push(ask);
        }
        fits
    }

    /// Closes the open question with this id, and returns it.
    pub(super) fn close_ask(&mut self, id: &str) -> Option<AgentQuestion> {
        let at = self.asks.iter().position(|ask| ask.id == *id)?;
        Some(self.asks.remove(at))
    }

    pub(super) fn close_asks(&mut self) {
        self.asks.clear();
    }

    pub(super) fn count_garbage(&mut self) {
        self.garbage += 1;
    }

    pub(crate) fn count(&mut self, tokens: TokenUsage, step: &mut Step) {
        if tokens != self.tokens {
            self.tokens = tokens;
            step.events.push(AgentEvent::Usage(tokens));
        }
    }

    /// Ends the turn. A second end of the same turn is ignored.
    pub(crate) fn finish(&mut self, end: TurnEnd, failure: Option<FailReason>, step: &mut Step) {
        self.over = true;
        self.asks.clear();
        if self.end.is_some() {
            return;
        }
        if let Some(FailReason::UsageLimit { resets_at }) = failure {
            step.events.push(AgentEvent::UsageLimit { resets_at });
        }
        for id in std::mem::take(&mut self.open_tools) {
            step.events.push(AgentEvent::ToolEnded { id, is_error: true });
        }
        step.events.push(AgentEvent::Ended(end.clone()));
        self.end = Some(end);
        self.failure = failure;
    }

    /// Ends the turn as failed, like [`Progress::finish`].
    pub(crate) fn fail(&mut self, reason: FailReason, message: &str, step: &mut Step) {
        let limit = match &reason {
            FailReason::UsageLimit { resets_at } => Some(LimitHit { resets_at: *resets_at }),
            _ => None,
        };
        let end = TurnEnd {
            is_error: true,
            kind: "failed".to_owned(),
            errors: vec![bounded_line(message, ERROR_CHARS)],
            api_status: match &reason {
                FailReason::ApiError { status } => *status,
                _ => None,
            },
            limit,
            usage: TurnUsage { tokens: self.tokens, ..self.spent.clone().unwrap_or_default() },
            ..TurnEnd::default()
        };
        self.finish(end, Some(reason), step);
    }

    /// Notes that the agent's process is gone, and closes whatever was open.
    pub(super) fn process_ended(&mut self) {
        self.over = true;
        self.asks.clear();
        self.open_tools.clear();
    }

    /// Fails the turn of a process that exited before it had ended the turn.
    pub(super) fn ended_early(
        &mut self,
        code: Option<i32>,
        signal: Option<i32>,
        ours: bool,
        step: &mut Step,
    ) {
        if ours && self.cancelled {
            // Killed after a cancellation: the turn ends without a report, as interrupted by us.
            return;
        }
        let reason = match (signal, self.started) {
            (Some(signal), _) => FailReason::Killed { signal },
            (None, true) => FailReason::NoResult,
            (None, false) if self.garbage > 0 => FailReason::Garbage { lines: self.garbage },
            (None, false) => FailReason::StartFailed,
        };
        let said = match (code, signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "end unknown".to_owned(),
        };
        self.fail(reason, &said, step);
    }
}
