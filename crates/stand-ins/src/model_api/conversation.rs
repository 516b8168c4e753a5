//! Where in its conversation a request to the model's stand-in is.

use serde_json::Value;

/// Where in its conversation a request is.
pub(super) struct Conversation {
    /// The last human message.
    pub(super) human: String,
    /// The last human message and its position, which tells it from an equal message elsewhere.
    pub(super) key: String,
    /// How many assistant messages follow it.
    pub(super) answered: usize,
}

impl Conversation {
    pub(super) fn read(body: &Value) -> Self {
        let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let mut answered = 0;
        for (index, message) in messages.iter().enumerate().rev() {
            if message["role"] == "assistant" {
                answered += 1;
                continue;
            }
            if is_human(message)
                && let Some(human) = human_text(&message["content"])
            {
                let before = messages[..index].iter().filter(|message| is_human(message)).count();
                return Self { key: format!("{before} {human}"), human, answered };
            }
        }
        Self { human: String::new(), key: String::new(), answered }
    }
}

/// Whether a message is a person's. The CLI also sends reminders, with the role "system".
fn is_human(message: &Value) -> bool {
    message["role"] == "user" && human_text(&message["content"]).is_some()
}

/// What a person said in a user message; `None` if it has tool results, or only the CLI's own
/// reminders.
fn human_text(content: &Value) -> Option<String> {
    let own = |text: &str| text.trim_start().starts_with("<system-reminder>");
    let texts: Vec<&str> = match content {
        Value::String(text) => vec![text],
        Value::Array(blocks) => {
            if blocks.iter().any(|block| block["type"] == "tool_result") {
                return None;
            }
            blocks.iter().filter_map(|b| b["text"].as_str()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let said: Vec<&str> = texts.into_iter().filter(|text| !own(text)).collect();
    (!said.is_empty()).then(|| said.join("\n"))
}

/// Whether the request offers tools to the model. The CLI's own requests (titles, summaries) do
/// not.
pub(super) fn has_tools(body: &Value) -> bool {
    body["tools"].as_array().is_some_and(|tools| !tools.is_empty())
}
