//! The events of every coding agent, in one vocabulary.
//!
//! The readers of each agent's stream make these events; logs, views and folds consume them. They
//! are stored, so every shape is `serde` with a `type` tag, and reading an event must never depend
//! on which agent wrote it.
//!
//! Invariant: text made here from an agent's input (tool summaries) is short and free of control
//! characters. Text that the agent said is passed on unchanged: whoever shows it escapes it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest tool summary, in characters.
pub const SUMMARY_CHARS: usize = 200;

/// One thing that an agent did or said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentEvent {
    /// A turn began. Sent once for each turn, not for each process.
    Started {
        /// The agent's own id of the conversation.
        session: String,
        /// The model, as the agent names it.
        model: String,
        /// The agent's version.
        version: String,
    },
    /// A finished block of text. Blocks come whole and once, never as deltas.
    Text {
        /// What was said.
        text: String,
    },
    /// A tool call began.
    ToolStarted {
        /// The call's id; the same in [`AgentEvent::ToolEnded`].
        id: String,
        /// The tool's name.
        name: String,
        /// What the call is about (a command, a path), in one short line; see [`summarise`].
        summary: String,
    },
    /// A tool call ended.
    ToolEnded {
        /// The call's id.
        id: String,
        /// Whether the tool reported a failure (a command that exited non-zero does).
        is_error: bool,
    },
    /// The agent waits before it retries a request to its model.
    Retrying {
        /// Which retry this is, from 1.
        attempt: u32,
        /// How many retries it makes at most.
        max: u32,
        /// How long it waits, in milliseconds.
        delay_ms: u64,
        /// The HTTP status that caused the retry; `None` for a broken connection.
        status: Option<u16>,
    },
    /// A tool call was refused for lack of permission.
    PermissionDenied {
        /// The tool's name.
        tool: String,
    },
    /// The account has used up its allowance.
    UsageLimit {
        /// When the limit resets, if the agent says so.
        resets_at: Option<Timestamp>,
    },
    /// Tokens of this turn as streamed so far. Each such event replaces the previous one.
    Usage(TokenUsage),
    /// The agent ended its turn. Its process may live on.
    Ended(TurnEnd),
}

/// Counts of tokens by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Uncached input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Tokens read from a cache.
    pub cache_read: u64,
    /// Tokens written to a cache.
    pub cache_write: u64,
}

impl TokenUsage {
    /// Adds the two counts kind by kind.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
        }
    }

    /// Subtracts `other` kind by kind; 0 where `other` is larger.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_sub(other.input),
            output: self.output.saturating_sub(other.output),
            cache_read: self.cache_read.saturating_sub(other.cache_read),
            cache_write: self.cache_write.saturating_sub(other.cache_write),
        }
    }

    /// Takes the larger count of each kind. This merges two reports on one message, either of which
    /// may be partial.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
        }
    }

    /// Whether every count is 0.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

/// Tokens and cost of one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelUsage {
    /// The tokens of this model.
    pub tokens: TokenUsage,
    /// The cost in US dollars, as the agent reports it.
    pub cost_usd: f64,
}

/// What a turn used, as the agent reports it at the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TurnUsage {
    /// The turn's tokens. Zero if the agent reports none for an interrupted or over-budget turn;
    /// then use [`TurnUsage::since_last_result`] or the streamed [`AgentEvent::Usage`].
    pub tokens: TokenUsage,
    /// The cost in US dollars as the agent reports it, unprocessed: Claude 2.1.329 counts every
    /// turn of the session, including those before a resume; 2.1.197 counts the turns of its own
    /// process. [`TurnUsage::turn_cost_usd`] is the cost of this turn alone.
    pub cost_usd_cumulative: f64,
    /// By the model's name, what was used since the agent's previous result; absent in older
    /// versions and in single-object output.
    pub since_last_result: Option<BTreeMap<String, ModelUsage>>,
    /// Number of requests to the model.
    pub num_turns: u32,
    /// How long the turn took, in milliseconds.
    pub duration_ms: u64,
}

impl TurnUsage {
    /// The cost of this turn alone, in US dollars; `None` if the agent does not report it, and the
    /// caller has to subtract cumulative costs.
    pub fn turn_cost_usd(&self) -> Option<f64> {
        self.since_last_result
            .as_ref()
            .map(|models| models.values().map(|model| model.cost_usd).sum())
    }

    /// The best count of the turn's tokens: the reported one, otherwise the sum of
    /// [`TurnUsage::since_last_result`], otherwise `streamed`. A zero counts as not reported.
    #[must_use]
    pub fn best_tokens(&self, streamed: TokenUsage) -> TokenUsage {
        let delta = self
            .since_last_result
            .iter()
            .flat_map(BTreeMap::values)
            .fold(TokenUsage::default(), |sum, model| sum.plus(model.tokens));
        [self.tokens, delta, streamed]
            .into_iter()
            .find(|tokens| !tokens.is_zero())
            .unwrap_or_default()
    }
}

/// A usage limit that was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitHit {
    /// When the limit resets, if the agent says so.
    pub resets_at: Option<Timestamp>,
}

/// The agent's own report on how its turn ended. It is a claim: the outcome also depends on how the
/// process ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TurnEnd {
    /// Whether the agent calls the turn failed.
    pub is_error: bool,
    /// The kind of end in the agent's words (`success`, `error_max_budget_usd`). `success` proves
    /// nothing: API errors have it too.
    pub kind: String,
    /// The agent's last text, or the text of the error.
    pub text: Option<String>,
    /// Texts of errors that the agent lists beside `text`.
    pub errors: Vec<String>,
    /// Tools that were refused for lack of permission.
    pub denied_tools: Vec<String>,
    /// The HTTP status of the model's API, if it answered with an error.
    pub api_status: Option<u16>,
    /// Why the agent's loop stopped (`completed`, `api_error`, `aborted_tools`).
    pub stop: Option<String>,
    /// The usage limit that ended the turn.
    pub limit: Option<LimitHit>,
    /// Tokens, cost and time of the turn.
    pub usage: TurnUsage,
}

/// Returns any text as one short line: control and direction-changing characters become spaces, a
/// run of blanks becomes one space, and `…` replaces what exceeds [`SUMMARY_CHARS`] characters.
pub fn summarise(text: &str) -> String {
    bounded_line(text, SUMMARY_CHARS)
}

/// [`summarise`] with another limit.
pub fn bounded_line(text: &str, max_chars: usize) -> String {
    let mut line = String::new();
    let mut count = 0;
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() || is_invisible(c) {
            gap = !line.is_empty();
            continue;
        }
        if count + usize::from(gap) >= max_chars {
            line.push('…');
            break;
        }
        if std::mem::take(&mut gap) {
            line.push(' ');
            count += 1;
        }
        line.push(c);
        count += 1;
    }
    line
}

/// Whether a character is invisible or changes the direction of the text after it.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_one_bounded_clean_line() {
        fn check(text: &str, expected: &str) {
            assert_eq!(summarise(text), expected, "{text:?}");
        }
        check("cargo test", "cargo test");
        check("  a\n\tb\r\n", "a b");
        check("a\u{1b}[31mb\u{0}", "a [31mb");
        check("a\u{202e}b", "a b");
        check("", "");
        check(&"x".repeat(500), &format!("{}…", "x".repeat(SUMMARY_CHARS)));
    }

    #[test]
    fn events_carry_their_type_and_round_trip() {
        fn check(event: &AgentEvent, json: &str) {
            assert_eq!(serde_json::to_string(event).unwrap(), json);
            assert_eq!(&serde_json::from_str::<AgentEvent>(json).unwrap(), event);
        }
        check(&AgentEvent::Text { text: "hi".into() }, r#"{"type":"text","text":"hi"}"#);
        check(
            &AgentEvent::UsageLimit { resets_at: Some(Timestamp::from_second(0).unwrap()) },
            r#"{"type":"usage_limit","resets_at":"1970-01-01T00:00:00Z"}"#,
        );
        check(
            &AgentEvent::Usage(TokenUsage { input: 1, ..TokenUsage::default() }),
            r#"{"type":"usage","input":1,"output":0,"cache_read":0,"cache_write":0}"#,
        );
        let ended = AgentEvent::Ended(TurnEnd::default());
        let json = serde_json::to_string(&ended).unwrap();
        assert!(json.starts_with(r#"{"type":"ended","is_error":false,"kind":"""#));
        assert_eq!(serde_json::from_str::<AgentEvent>(&json).unwrap(), ended);
    }
}
