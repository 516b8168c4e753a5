//! Parses the CLI's stream into events, line by line.
//!
//! A fold over lines without I/O: [`ClaudeState::line`] reads one line and appends its events.
//! [`TurnReader`](crate::agents::TurnReader) calls it: it splits bytes into lines and stores the
//! state with the offset.
//!
//! Text comes from complete `assistant` blocks; partial deltas are only read for their token
//! counts, so nothing is repeated. The state is bounded whatever the agent prints.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wire;
use crate::agents::ask::AgentQuestion;
use crate::agents::event::{
    AgentEvent, LimitHit, ModelUsage, TokenUsage, TurnEnd, TurnUsage, bounded_line, summarise,
};
use crate::agents::json::read_json;

/// How many calls and subagents are tracked at once.
const MAX_TRACKED: usize = 1024;
/// The longest name or id that is kept, in characters.
const NAME_CHARS: usize = 200;
/// The longest error text that is kept, in characters.
const ERROR_CHARS: usize = 2000;
/// Tools that start a subagent. A subagent's work shows in the stream, so silence means that
/// nothing works: its call does not count as an open tool.
const SUBAGENTS: [&str; 2] = ["Agent", "Task"];
const MAX_ASKS: usize = 64;
/// Maximum size of a tool's input that is kept for the answer, in bytes.
const ASK_BYTES: usize = 1 << 20;

/// What was read of a turn so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClaudeState {
    started: bool,
    open_tools: BTreeSet<String>,
    /// Tokens of complete messages.
    closed: TokenUsage,
    /// The current message of each subagent, by its tool call ("" is the main agent): the message's
    /// id and its tokens. Several lines report the same message, each with more tokens.
    current: BTreeMap<String, (String, TokenUsage)>,
    /// Keys of `current` whose message has begun and not ended.
    unfinished: BTreeSet<String>,
    asks: Vec<AgentQuestion>,
    /// Ids of requests that nobody can answer: of an unknown kind, or too many at once.
    #[serde(default)]
    unanswerable: Vec<String>,
    /// Tool calls that asked for a permission. We gave the answer, so their denial is not reported.
    asked_calls: BTreeSet<String>,
    echoed: Option<String>,
    limit: Option<LimitHit>,
    end: Option<TurnEnd>,
    /// When the turn ended: the tokens that were cut off, and all that were streamed. Subagents may
    /// go on after a budget was reached, and no result counts their tokens.
    #[serde(default)]
    at_end: Option<Box<(TokenUsage, TokenUsage)>>,
    garbage: u64,
}

impl ClaudeState {
    /// Reads one line and appends its events.
    pub fn line(&mut self, line: &str, events: &mut Vec<AgentEvent>) {
        // Parsed in two steps, because JSON of an unknown shape is ignored: only what is not a JSON
        // object at all counts as garbage.
        let Ok(value @ Value::Object(_)) = read_json::<Value>(line.as_bytes()) else {
            self.garbage += 1;
            return;
        };
        let Ok(line) = serde_json::from_value::<wire::Line>(value) else {
            return;
        };
        match line {
            wire::Line::System(system) => self.system(system, events),
            wire::Line::StreamEvent(event) => self.stream_event(event, events),
            wire::Line::Assistant(message) => self.assistant(message, events),
            wire::Line::User(message) => self.user(message, events),
            wire::Line::RateLimitEvent { rate_limit_info } => {
                self.rate_limit(&rate_limit_info, events);
            }
            wire::Line::ControlRequest { request_id, request } => self.asked(&request_id, request),
            wire::Line::ControlCancelRequest { request_id } => {
                self.asks.retain(|ask| ask.id != request_id);
                self.unanswerable.retain(|id| *id != request_id);
            }
            wire::Line::Result(result) => self.result(*result, events),
            wire::Line::Unknown => {}
        }
    }

    /// Whether the agent began a turn.
    pub fn started(&self) -> bool {
        self.started
    }

    /// Whether a tool call is open, which may be silent for long. Calls that run a subagent do not
    /// count.
    pub fn tool_open(&self) -> bool {
        !self.open_tools.is_empty()
    }

    /// The end of the last turn that ended; `None` while a turn is in progress.
    pub fn end(&self) -> Option<&TurnEnd> {
        self.end.as_ref()
    }

    /// The turn's tokens as streamed so far.
    pub fn streamed(&self) -> TokenUsage {
        self.current.values().fold(self.closed, |sum, (_, tokens)| sum.plus(*tokens))
    }

    /// The streamed tokens that the turn's result does not count: those of answers that were cut
    /// off at its end, and of answers that subagents got after it.
    pub fn cut_off(&self) -> TokenUsage {
        if let Some(at_end) = &self.at_end {
            let (cut, streamed) = **at_end;
            return cut.plus(self.streamed().minus(streamed));
        }
        let open = self.current.iter().filter(|(parent, _)| self.unfinished.contains(*parent));
        open.fold(TokenUsage::default(), |sum, (_, (_, tokens))| sum.plus(*tokens))
    }

    /// The open questions.
    pub fn asks(&self) -> &[AgentQuestion] {
        &self.asks
    }

    /// The ids of requests that nobody can answer. They must be refused, or the CLI waits for ever.
    pub fn unanswerable(&self) -> &[String] {
        &self.unanswerable
    }

    /// The id of our newest input line that the CLI has processed.
    pub fn echoed(&self) -> Option<&str> {
        self.echoed.as_deref()
    }

    /// Number of lines that were not JSON objects.
    pub fn garbage(&self) -> u64 {
        self.garbage
    }

    fn system(&mut self, system: wire::System, events: &mut Vec<AgentEvent>) {
        match system {
            wire::System::Init { session_id, model, claude_code_version } => {
                // `init` comes once for each turn, even in a process with several.
                let (garbage, echoed) = (self.garbage, self.echoed.take());
                *self = Self { started: true, garbage, echoed, ..Self::default() };
                events.push(AgentEvent::Started {
                    session: name(&session_id),
                    model: name(&model),
                    version: name(&claude_code_version),
                });
            }
            wire::System::ApiRetry { attempt, max_retries, retry_delay_ms, error_status } => events
                .push(AgentEvent::Retrying {
                    attempt,
                    max: max_retries,
                    delay_ms: retry_delay_ms as u64,
                    status: error_status,
                }),
            wire::System::PermissionDenied { tool_name } => {
                events.push(AgentEvent::PermissionDenied { tool: name(&tool_name) });
            }
            wire::System::Unknown => {}
        }
    }

    fn stream_event(&mut self, event: wire::StreamEvent, events: &mut Vec<AgentEvent>) {
        let parent = event.parent_tool_use_id;
        match event.event {
            wire::ApiEvent::MessageStart { message } => {
                if self.unfinished.len() < MAX_TRACKED {
                    self.unfinished.insert(name(parent.as_deref().unwrap_or_default()));
                }
                self.count(parent, Some(message.id), message.usage, events);
            }
            wire::ApiEvent::MessageDelta { usage } => {
                self.unfinished.remove(&name(parent.as_deref().unwrap_or_default()));
                self.count(parent, None, usage, events);
            }
            wire::ApiEvent::Unknown => {}
        }
    }

    fn assistant(&mut self, line: wire::SpokenMessage, events: &mut Vec<AgentEvent>) {
        for block in blocks(line.message.content) {
            match block {
                wire::Block::Text { text } => events.push(AgentEvent::Text { text }),
                wire::Block::ToolUse { id, name: tool, input } => {
                    let id = name(&id);
                    if !SUBAGENTS.contains(&tool.as_str()) && self.open_tools.len() < MAX_TRACKED {
                        self.open_tools.insert(id.clone());
                    }
                    events.push(AgentEvent::ToolStarted {
                        id,
                        name: name(&tool),
                        summary: tool_summary(&input),
                    });
                }
                wire::Block::ToolResult { .. } | wire::Block::Unknown => {}
            }
        }
        let parent = name(line.parent_tool_use_id.as_deref().unwrap_or_default());
        let id = name(&line.message.id);
        if self.current.get(&parent).is_some_and(|(current, _)| *current != id) {
            // The message that was streamed broke off, and was asked for again in one piece. This
            // one is complete, so the result counts its tokens.
            self.unfinished.remove(&parent);
        }
        self.count(line.parent_tool_use_id, Some(line.message.id), line.message.usage, events);
    }

    fn user(&mut self, line: wire::SpokenMessage, events: &mut Vec<AgentEvent>) {
        if line.is_replay {
            self.echoed = line.uuid.map(|id| name(&id));
        }
        for block in blocks(line.message.content) {
            if let wire::Block::ToolResult { tool_use_id, is_error } = block {
                let id = name(&tool_use_id);
                self.open_tools.remove(&id);
                self.asks.retain(|ask| ask.call != id);
                events.push(AgentEvent::ToolEnded { id, is_error: is_error.unwrap_or(false) });
            }
        }
    }

    fn asked(&mut self, id: &str, request: wire::ControlRequest) {
        match request {
            wire::ControlRequest::CanUseTool { tool_name, input, tool_use_id } => {
                if self.asks.len() >= MAX_ASKS || self.asked_calls.len() >= MAX_TRACKED {
                    self.cannot_answer(id);
                    return;
                }
                let call = name(&tool_use_id);
                self.asked_calls.insert(call.clone());
                let short = input.to_string().len() <= ASK_BYTES;
                let input = if short { input } else { Value::Null };
                self.asks.push(AgentQuestion { id: name(id), tool: name(&tool_name), call, input });
            }
            wire::ControlRequest::Unknown => self.cannot_answer(id),
        }
    }

    fn cannot_answer(&mut self, id: &str) {
        if self.unanswerable.len() < MAX_TRACKED {
            self.unanswerable.push(name(id));
        }
    }

    fn rate_limit(&mut self, info: &wire::RateLimitInfo, events: &mut Vec<AgentEvent>) {
        // `allowed` and `allowed_warning` come with ordinary answers.
        if info.status != "rejected" {
            self.limit = None;
            return;
        }
        let resets_at =
            info.resets_at.and_then(|seconds| Timestamp::from_second(seconds as i64).ok());
        self.limit = Some(LimitHit { resets_at });
        events.push(AgentEvent::UsageLimit { resets_at });
    }

    fn result(&mut self, line: wire::ResultLine, events: &mut Vec<AgentEvent>) {
        self.at_end = None;
        self.at_end = Some(Box::new((self.cut_off(), self.streamed())));
        self.open_tools.clear();
        self.asks.clear();
        self.unanswerable.clear();
        let is_error = line.is_error.unwrap_or(true);
        let text = line.result.map(plain_text);
        let limit =
            if is_error { self.limit.or_else(|| limit_in_text(text.as_deref()?)) } else { None };
        if let (None, Some(hit)) = (self.limit, limit) {
            events.push(AgentEvent::UsageLimit { resets_at: hit.resets_at });
        }
        let end = TurnEnd {
            is_error,
            kind: name(&line.subtype),
            text,
            errors: line
                .errors
                .unwrap_or_default()
                .into_iter()
                .take(MAX_TRACKED)
                .map(|error| bounded_line(&plain_text(error), ERROR_CHARS))
                .collect(),
            denied_tools: line
                .permission_denials
                .unwrap_or_default()
                .into_iter()
                .take(MAX_TRACKED)
                // A denial of an unknown shape is a denial all the same.
                .map(|denial| serde_json::from_value::<wire::Denial>(denial).unwrap_or_default())
                .filter(|denial| !self.asked_calls.contains(&name(&denial.tool_use_id)))
                .map(|denial| name(&denial.tool_name))
                .collect(),
            api_status: line.api_error_status.as_ref().and_then(status),
            stop: line.terminal_reason.map(|reason| name(&reason)),
            limit,
            usage: TurnUsage {
                tokens: line.usage.map(tokens).unwrap_or_default(),
                cost_usd_cumulative: line.total_cost_usd.unwrap_or_default(),
                since_last_result: line.model_usage_since_last_result.map(by_model),
                num_turns: line.num_turns.unwrap_or_default() as u32,
                duration_ms: line.duration_ms.unwrap_or_default() as u64,
            },
        };
        self.end = Some(end.clone());
        events.push(AgentEvent::Ended(end));
    }

    fn count(
        &mut self,
        parent: Option<String>,
        message: Option<String>,
        usage: Option<wire::Usage>,
        events: &mut Vec<AgentEvent>,
    ) {
        let Some(usage) = usage else { return };
        let before = self.streamed();
        let parent = parent.map(|parent| name(&parent)).unwrap_or_default();
        if self.current.len() >= MAX_TRACKED && !self.current.contains_key(&parent) {
            for (_, done) in std::mem::take(&mut self.current).into_values() {
                self.closed = self.closed.plus(done);
            }
        }
        let entry = self.current.entry(parent).or_default();
        if let Some(message) = message.map(|message| name(&message))
            && entry.0 != message
        {
            self.closed = self.closed.plus(entry.1);
            *entry = (message, TokenUsage::default());
        }
        entry.1 = entry.1.max(tokens(usage));
        let now = self.streamed();
        if now != before {
            events.push(AgentEvent::Usage(now));
        }
    }
}

fn blocks(content: wire::Content) -> impl Iterator<Item = wire::Block> {
    let blocks = match content {
        wire::Content::Blocks(blocks) => blocks,
        // A user line may be plain text: the prompt, which is no event.
        wire::Content::Other(_) => Vec::new(),
    };
    blocks.into_iter().filter_map(|block| serde_json::from_value(block).ok())
}

fn name(text: &str) -> String {
    bounded_line(text, NAME_CHARS)
}

/// Reads an HTTP status that is a number or a text.
fn status(value: &Value) -> Option<u16> {
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
    number.or_else(|| value.as_str()?.trim().parse().ok())
}

fn plain_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_)) => other.to_string(),
    }
}

/// What a tool call is about: the command, the file, the pattern, whichever known field exists;
/// otherwise the first text in its input.
fn tool_summary(input: &Value) -> String {
    const FIELDS: [&str; 9] = [
        "command",
        "file_path",
        "notebook_path",
        "pattern",
        "path",
        "url",
        "query",
        "description",
        "prompt",
    ];
    let Some(input) = input.as_object() else {
        return String::new();
    };
    FIELDS
        .iter()
        .find_map(|field| input.get(*field)?.as_str())
        .or_else(|| input.values().find_map(Value::as_str))
        .map(summarise)
        .unwrap_or_default()
}

/// Recognises a usage limit that only the error text shows. Older versions append the reset time as
/// seconds after a bar; newer ones give it in words, which are not parsed.
fn limit_in_text(text: &str) -> Option<LimitHit> {
    if let Some((_, rest)) = text.split_once("usage limit reached|") {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let resets_at =
            digits.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        return Some(LimitHit { resets_at });
    }
    let hit = text.starts_with("You've hit your ") && text.contains("limit")
        || text.contains("usage limit reached")
        || text.starts_with("You're out of usage credits");
    hit.then_some(LimitHit { resets_at: None })
}

fn tokens(usage: wire::Usage) -> TokenUsage {
    TokenUsage {
        input: usage.input.unwrap_or_default(),
        output: usage.output.unwrap_or_default(),
        cache_read: usage.cache_read.unwrap_or_default(),
        cache_write: usage.cache_creation.unwrap_or_default(),
    }
}

fn by_model(models: BTreeMap<String, wire::ModelUsage>) -> BTreeMap<String, ModelUsage> {
    models
        .into_iter()
        .take(MAX_TRACKED)
        .map(|(model, usage)| {
            let tokens = TokenUsage {
                input: usage.input_tokens,
                output: usage.output_tokens,
                cache_read: usage.cache_read_input_tokens,
                cache_write: usage.cache_creation_input_tokens,
            };
            let cost_usd = usage.cost_usd;
            (name(&model), ModelUsage { tokens, cost_usd })
        })
        .collect()
}
