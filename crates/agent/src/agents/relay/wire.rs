//! The lines between the control plane, the relay and the agent.
//!
//! The relay reads a [`RelayRequest`] as the first line of its standard input and [`InputLine`]s
//! after it; every line of its standard output is a [`RelayEntry`]. The log of entries is complete:
//! whoever replays it makes every decision that the relay made. It contains the agent's messages
//! byte for byte. The executor and the relay write these lines, and
//! [`TurnReader`](crate::agents::TurnReader) reads the log.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agents::ask::{Access, Reply};
use crate::agents::event::TokenUsage;
use crate::agents::json::read_json;
use crate::agents::lines::MAX_LINE;

/// Maximum length of a message of the agent that is passed on, in bytes: its entry must be a line
/// that the control plane reads.
pub const MAX_MESSAGE: usize = MAX_LINE - 64;
/// Maximum length of a line of plain text that is passed on, in bytes: escaped as JSON it may be
/// six times as long.
pub const MAX_TEXT: usize = MAX_LINE / 8;
/// Placeholder in an argument of a [`Protocol::Command`] agent: it is replaced by the path of a
/// file with the prompt.
pub const PROMPT_FILE: &str = "{prompt_file}";

/// The protocol between the relay and its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The Agent Client Protocol.
    Acp,
    /// The protocol of `codex app-server`.
    CodexServer,
    /// The events of `codex exec --json`.
    CodexExec,
    /// Plain text: the prompt in, words out, and an exit code.
    Command,
}

/// One turn to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayRequest {
    /// The protocol that the agent speaks.
    pub protocol: Protocol,
    /// The agent's program and arguments.
    pub argv: Vec<String>,
    /// The agent's working directory, absolute.
    pub cwd: String,
    /// The conversation to resume; `None` opens one.
    pub earlier: Option<ConversationState>,
    /// The prompt if the conversation is resumed.
    pub prompt: String,
    /// The prompt if a conversation is opened: it tells the whole task.
    #[serde(rename = "anew")]
    pub opening_prompt: String,
    /// What the agent may do without asking.
    pub access: Access,
    /// The model; `None` for the agent's own default.
    pub model: Option<String>,
    /// The mode of an ACP session, by the agent's own id; `None` chooses one by `access`.
    pub mode: Option<String>,
    /// How to sign in if an ACP agent demands that: the id of one of the methods that it offers.
    #[serde(default)]
    pub auth_method: Option<String>,
    /// How long the agent may take until it works on the prompt, in milliseconds.
    pub start_ms: u64,
    /// How long the agent may take to end a turn that is cancelled, and to exit after a turn, in
    /// milliseconds.
    pub grace_ms: u64,
}

/// A conversation as its last turn left it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConversationState {
    /// The agent's own id of the conversation.
    pub id: String,
    /// Tokens of all its turns, where the agent counts them together.
    pub tokens: TokenUsage,
    /// Cost of all its turns in US dollars, where the agent reports it.
    pub cost_usd: f64,
}

/// A later line of the relay's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputLine {
    /// A person or a policy answers a question.
    Answer {
        /// The question's id.
        id: String,
        /// The answer.
        reply: Reply,
    },
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayEntry {
    /// The turn's request, without the prompts.
    Begun(Box<RelayRequest>),
    /// A message of the agent.
    Agent(Value),
    /// A line of the agent that is not a message.
    Text(String),
    /// A line of the agent was too long, and was left out.
    Cut {},
    /// A message of the relay to the agent.
    Client(Value),
    /// Plain text was written to the agent.
    Fed {
        /// Length of the text, in bytes.
        bytes: usize,
    },
    /// A question was answered.
    Answer {
        /// The question's id.
        id: String,
        /// The answer.
        reply: Reply,
    },
    /// The relay was told to cancel the turn.
    Cancel {},
    /// The agent did not begin in time.
    Late {
        /// How long the relay waited, in milliseconds.
        after_ms: u64,
    },
    /// The agent's program could not be started.
    NotStarted {
        /// The reason.
        message: String,
    },
    /// The agent's process ended.
    Exited {
        /// The exit code; none if a signal ended it.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
        /// Whether the relay had killed it before.
        ours: bool,
    },
}

impl RelayRequest {
    /// The first line of the relay's input.
    pub fn line(&self) -> Vec<u8> {
        line_of(self)
    }

    /// The request as it is logged. The prompts are in the logged messages to the agent.
    #[must_use]
    pub fn without_prompts(&self) -> Self {
        Self { prompt: String::new(), opening_prompt: String::new(), ..self.clone() }
    }

    /// The prompt to send: [`prompt`](Self::prompt) if the conversation is resumed (`resumed`),
    /// otherwise [`opening_prompt`](Self::opening_prompt).
    pub fn prompt_for(&self, resumed: bool) -> &str {
        if resumed { &self.prompt } else { &self.opening_prompt }
    }
}

impl InputLine {
    /// The line to write, with its newline.
    pub fn line(&self) -> Vec<u8> {
        line_of(self)
    }
}

/// The ids of all questions that are answered in a log of the relay's input.
pub fn answered(log: &[u8]) -> std::collections::BTreeSet<String> {
    let lines = log.split(|byte| *byte == b'\n').skip(1);
    let id = |line| match serde_json::from_slice(line) {
        Ok(InputLine::Answer { id, .. }) => Some(id),
        Err(_) => None,
    };
    lines.filter_map(id).collect()
}

impl RelayEntry {
    /// The entry for a line of the agent, and the line for the log, which contains a message byte
    /// for byte.
    pub fn of_agent(text: &str, protocol: Protocol) -> (Self, Vec<u8>) {
        let message = match protocol {
            Protocol::Acp | Protocol::CodexServer | Protocol::CodexExec => {
                read_json::<Value>(text.as_bytes()).ok().filter(Value::is_object)
            }
            Protocol::Command => None,
        };
        if let Some(message) = message {
            let line = [b"{\"agent\":", text.as_bytes(), b"}\n"].concat();
            return (Self::Agent(message), line);
        }
        let end = text.floor_char_boundary(MAX_TEXT);
        let entry = Self::Text(text.get(..end).unwrap_or_default().to_owned());
        let line = entry.line();
        (entry, line)
    }

    /// The line for the log, with its newline.
    pub fn line(&self) -> Vec<u8> {
        line_of(self)
    }
}

fn line_of(value: &impl Serialize) -> Vec<u8> {
    // Serialising these types cannot fail.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stands_in_the_log_as_it_came() {
        let text = r#"{"z":1, "a":1.50}"#;
        let (entry, line) = RelayEntry::of_agent(text, Protocol::CodexServer);
        assert_eq!(String::from_utf8(line.clone()).unwrap(), format!("{{\"agent\":{text}}}\n"));
        assert_eq!(serde_json::from_slice::<RelayEntry>(&line).unwrap(), entry);
    }

    #[test]
    fn a_message_with_half_a_character_is_one() {
        let text = r#"{"a":"\ud83c..."}"#;
        let (entry, line) = RelayEntry::of_agent(text, Protocol::Acp);
        assert_eq!(entry, RelayEntry::Agent(serde_json::json!({ "a": "\u{fffd}..." })));
        assert_eq!(read_json::<RelayEntry>(&line).unwrap(), entry);
    }

    #[test]
    fn what_is_no_message_is_text() {
        for (text, protocol) in [
            ("panic", Protocol::CodexServer),
            ("[1]", Protocol::CodexServer),
            ("3", Protocol::CodexExec),
            ("{}", Protocol::Command),
        ] {
            let (entry, line) = RelayEntry::of_agent(text, protocol);
            assert_eq!(entry, RelayEntry::Text(text.into()));
            assert_eq!(serde_json::from_slice::<RelayEntry>(&line).unwrap(), entry);
        }
        let long = "\u{1}".repeat(2 * MAX_TEXT);
        let (_, line) = RelayEntry::of_agent(&long, Protocol::Command);
        assert!(line.len() < MAX_LINE, "{}", line.len());
    }

    #[test]
    fn a_log_of_the_input_tells_what_was_answered() {
        let request = RelayRequest {
            protocol: Protocol::CodexServer,
            argv: vec!["agent".into()],
            cwd: "/".into(),
            earlier: None,
            prompt: "{\"answer\":{\"id\":\"no\",\"reply\":\"allow\"}}".into(),
            opening_prompt: String::new(),
            access: Access::Ask,
            model: None,
            mode: None,
            auth_method: None,
            start_ms: 1,
            grace_ms: 1,
        };
        let mut log = request.line();
        log.extend(InputLine::Answer { id: "a".into(), reply: Reply::Allow }.line());
        log.extend(b"{\"answer\":{\"id\":\"cut");
        assert_eq!(answered(&log).into_iter().collect::<Vec<_>>(), ["a"]);
    }
}
