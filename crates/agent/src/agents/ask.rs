//! An agent's question to a person and its answer, in one form for every agent.
//!
//! The readers of each agent's stream make questions, the executor passes answers on. The form is
//! that of the Claude CLI: an open question is a call of the tool [`QUESTION`], whose input holds
//! the questions; requests of other agents are translated into this form.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The tool with which the model asks a person.
pub const QUESTION: &str = "AskUserQuestion";

/// What the agent may do without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everything; the sandbox is the limit.
    Full,
    /// What a person allows when it asks.
    Ask,
}

/// A question that an agent waits on: whether a tool may run, or an open question to a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentQuestion {
    /// The question's id, which the answer refers to.
    pub id: String,
    /// The tool's name; [`QUESTION`] for an open question.
    pub tool: String,
    /// The tool call's id.
    pub call: String,
    /// The tool's input, which the answer must return.
    pub input: Value,
}

/// An answer to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Permission granted.
    Allow,
    /// Permission refused, or no answer came; the text goes to the model.
    Deny(String),
    /// A person's answer in their own words.
    Say(String),
}

impl AgentQuestion {
    /// Whether this is an open question; otherwise it asks for a permission.
    pub fn is_question(&self) -> bool {
        self.tool == QUESTION
    }

    /// The text of the open question with its options, as `Which? (a / b)`; `None` if this asks for
    /// a permission.
    pub fn question(&self) -> Option<String> {
        if !self.is_question() {
            return None;
        }
        let asked = self.input.get("questions").and_then(Value::as_array).into_iter().flatten();
        let texts = asked.filter_map(|one| {
            let text = one.get("question")?.as_str()?;
            let options = one.get("options").and_then(Value::as_array).into_iter().flatten();
            let labels: Vec<&str> =
                options.filter_map(|option| option.get("label")?.as_str()).collect();
            let choice = if labels.is_empty() {
                String::new()
            } else {
                format!(" ({})", labels.join(" / "))
            };
            Some(format!("{text}{choice}"))
        });
        Some(texts.collect::<Vec<_>>().join(" "))
    }

    /// The texts of the questions in the tool's input, without their options.
    pub(super) fn questions(&self) -> impl Iterator<Item = &str> {
        let questions = self.input.get("questions").and_then(Value::as_array);
        questions.into_iter().flatten().filter_map(|one| one.get("question")?.as_str())
    }
}
