//! The protocol of a living CLI process: the lines of its standard input, and how they relate to
//! its output.
//!
//! One process serves a thread: the control request `initialize` shows that it is ready, a `user`
//! line begins a turn, `interrupt` ends one, and a `control_response` answers a question. Lines are
//! made here and written by the executor, which finds out from the log of the process's input
//! whether a line was sent already.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::text::guard_start;
use crate::agents::ask::{AgentQuestion, Reply};

/// Maximum length of a prompt, in bytes; far more than a model reads.
pub const MAX_PROMPT: usize = 4 * 1024 * 1024;

/// Why a prompt cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// It is empty or blank.
    #[error("the prompt is empty: the agent would wait for one")]
    Empty,
    /// It is longer than [`MAX_PROMPT`]: this many bytes.
    #[error("the prompt has {0} bytes, over the limit of {MAX_PROMPT}: trim the logs in it")]
    TooLong(usize),
}

/// The line that asks the CLI whether it is ready.
pub fn initialize() -> Vec<u8> {
    request("initialize", "initialize")
}

/// The line that ends the current turn and keeps the process.
pub fn interrupt(id: &str) -> Vec<u8> {
    request(id, "interrupt")
}

/// The line that begins a turn. The CLI echoes `message`, an id chosen by the caller, when it
/// processes the line.
pub fn user(prompt: &str, message: &str) -> Result<Vec<u8>, PromptError> {
    if prompt.trim().is_empty() {
        return Err(PromptError::Empty);
    }
    if prompt.len() > MAX_PROMPT {
        return Err(PromptError::TooLong(prompt.len()));
    }
    // No prompt of ours may be read as one of the CLI's own commands.
    let text = guard_start(prompt);
    Ok(line(&json!({
        "type": "user",
        "uuid": message,
        "message": {"role": "user", "content": [{"type": "text", "text": text}]},
    })))
}

/// The line that answers `ask`. The CLI ignores a second answer.
pub fn answer(ask: &AgentQuestion, reply: &Reply) -> Vec<u8> {
    let told = match reply {
        // The input was too long to be kept, so it cannot be returned.
        Reply::Allow if ask.input.is_null() => {
            json!({"behavior": "deny", "message": "the input of this tool call is too long"})
        }
        Reply::Allow => json!({"behavior": "allow", "updatedInput": ask.input}),
        Reply::Deny(why) => json!({"behavior": "deny", "message": why}),
        Reply::Say(words) if ask.is_question() => {
            let mut input = ask.input.clone();
            let answers = ask.questions().map(|text| (text.to_owned(), json!(words))).collect();
            if let Value::Object(fields) = &mut input {
                fields.insert("answers".to_owned(), Value::Object(answers));
            }
            json!({"behavior": "allow", "updatedInput": input})
        }
        Reply::Say(words) => json!({"behavior": "deny", "message": words}),
    };
    line(&json!({
        "type": "control_response",
        "response": {"subtype": "success", "request_id": ask.id, "response": told},
    }))
}

/// The line that refuses the request with this id, which nobody can answer.
pub fn refuse(id: &str) -> Vec<u8> {
    let error = "this client cannot answer that";
    line(&json!({
        "type": "control_response",
        "response": {"subtype": "error", "request_id": id, "error": error},
    }))
}

/// The ids of all control requests and answers in a log of standard input: what was sent already.
pub fn sent_ids(log: &[u8]) -> BTreeSet<String> {
    let id = |line: Value| {
        let own = line.get("request_id").or_else(|| line.get("response")?.get("request_id"))?;
        own.as_str().map(str::to_owned)
    };
    lines(log).filter_map(id).collect()
}

/// Whether the CLI is between two turns, according to the end of its output.
pub fn is_idle(tail: &[u8]) -> bool {
    let kind = |line: Value| {
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        match (text("type"), text("subtype")) {
            ("result", _) => Some(true),
            ("assistant" | "user" | "stream_event" | "control_request", _) | ("system", "init") => {
                Some(false)
            }
            (_, _) => None,
        }
    };
    lines(tail).filter_map(kind).last().unwrap_or(false)
}

fn request(id: &str, subtype: &str) -> Vec<u8> {
    line(&json!({"type": "control_request", "request_id": id, "request": {"subtype": subtype}}))
}

fn line(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

fn lines(log: &[u8]) -> impl Iterator<Item = Value> {
    log.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::ask::QUESTION;

    fn ask(tool: &str, input: Value) -> AgentQuestion {
        AgentQuestion { id: "r-1".into(), tool: tool.into(), call: "t-1".into(), input }
    }

    #[test]
    fn answers_are_in_the_cli_s_own_form() {
        fn check(ask: &AgentQuestion, reply: &Reply, told: &Value) {
            let line: Value = serde_json::from_slice(&answer(ask, reply)).unwrap();
            assert_eq!(line["type"], "control_response");
            assert_eq!(line["response"]["request_id"], "r-1");
            assert_eq!(&line["response"]["response"], told);
        }
        let bash = ask("Bash", json!({"command": "ls"}));
        let question = ask(QUESTION, json!({"questions": [{"question": "Which?"}]}));
        check(
            &bash,
            &Reply::Allow,
            &json!({"behavior": "allow", "updatedInput": {"command": "ls"}}),
        );
        check(&bash, &Reply::Deny("no".into()), &json!({"behavior": "deny", "message": "no"}));
        check(
            &bash,
            &Reply::Say("ask Ann".into()),
            &json!({"behavior": "deny", "message": "ask Ann"}),
        );
        check(
            &question,
            &Reply::Say("the first".into()),
            &json!({"behavior": "allow", "updatedInput":
                {"questions": [{"question": "Which?"}], "answers": {"Which?": "the first"}}}),
        );
    }

    #[test]
    fn a_question_says_what_there_is_to_choose_from() {
        let options = json!([{"label": "world"}, {"label": "you", "description": "Whoever."}]);
        let questions = json!([{"question": "Which?", "options": options}, {"question": "Why?"}]);
        let question = ask(QUESTION, json!({"questions": questions}));
        assert_eq!(question.question().as_deref(), Some("Which? (world / you) Why?"));
        assert_eq!(ask("Bash", json!({"questions": questions})).question(), None);
    }

    #[test]
    fn a_prompt_is_one_line_that_starts_no_command() {
        fn check(prompt: &str, text: &str) {
            let line = user(prompt, "m").unwrap();
            assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            let line: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(line["message"]["content"][0]["text"], text);
            assert_eq!(line["uuid"], "m");
        }
        check("do it\nnow", "do it\nnow");
        check(" /clear", " (slash)clear");
        check("\u{2028}x", "\u{2028}x");
        assert_eq!(user(" \n", "m"), Err(PromptError::Empty));
        let long = "x".repeat(MAX_PROMPT + 1);
        assert_eq!(user(&long, "m"), Err(PromptError::TooLong(MAX_PROMPT + 1)));
    }

    #[test]
    fn a_log_tells_what_was_said() {
        let mut log = initialize();
        log.extend(user("request_id", "m").unwrap());
        log.extend(answer(&ask("Bash", Value::Null), &Reply::Allow));
        log.extend(interrupt("stop-1"));
        log.extend(refuse("r-2"));
        log.extend(b"{\"request_id\":\"cut off");
        let said: Vec<String> = sent_ids(&log).into_iter().collect();
        assert_eq!(said, ["initialize", "r-1", "r-2", "stop-1"]);
    }

    #[test]
    fn it_is_idle_between_turns_alone() {
        fn check(tail: &str, idle: bool) {
            assert_eq!(is_idle(tail.as_bytes()), idle, "{tail}");
        }
        let result = r#"{"x":1,"type":"result"}"#;
        let begun = r#"{"type":"system","subtype":"init"}"#;
        check("", false);
        check("cut off\"}\n", false);
        check(result, true);
        check(&format!("lf\"}}\n{result}\n{{\"type\":\"control_response\"}}\n"), true);
        check(&format!("{result}\n{begun}\n"), false);
        check(&format!("{begun}\n{{\"type\":\"assistant\"}}\n{result}\n"), true);
        check(&format!("{result}\n{{\"type\":\"control_request\"}}\n"), false);
    }
}
