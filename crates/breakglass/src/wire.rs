//! What clients of a conversation see: its events, and how they are written to a stream.
//!
//! Events are kept without their numbers, which are their positions in the log; [`frame`] adds the
//! number when an event is sent. The page shows all of it as text, never as markup.

use afk_agent::sessions::LogEvent;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest text in an event, in bytes; longer ones are cut and say so. JSON may escape a
/// character with six bytes, and six times as much still fits into an event of the log.
const MAX_TEXT: usize = 160 * 1024;
/// The longest name or id in an event, in bytes.
const MAX_NAME: usize = 200;
/// The longest text within a tool's input, in bytes.
const MAX_INPUT_TEXT: usize = 16 * 1024;
/// The largest input of a tool as JSON, in bytes, after its texts were cut.
const MAX_INPUT: usize = 128 * 1024;

/// The frame that follows the last event from before the client came.
pub const CAUGHT_UP: &str = "event: caught-up\ndata: {}\n\n";

/// What is sent on an idle stream: a comment, which keeps proxies from closing it, and an event for
/// the page, because scripts never see comments. The event has no `id`, so that the client's
/// `Last-Event-ID` stays as it is.
pub const PING: &str = ": keep-alive\n\nevent: ping\ndata: {}\n\n";

/// One event of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum UiEvent {
    /// A person sent a prompt. The first event of every turn.
    User {
        /// The prompt.
        text: String,
    },
    /// The turn waits for other conversations' turns to end.
    Queued {
        /// How many turns wait before this one.
        ahead: usize,
        /// The same as a sentence.
        text: String,
    },
    /// The agent began to work.
    Session {
        /// The CLI's own id of the conversation.
        session_id: String,
    },
    /// The agent said something.
    Text {
        /// One block of text.
        text: String,
    },
    /// The agent calls a tool.
    Tool {
        /// The tool's name.
        name: String,
        /// The tool's input with long texts cut, or the beginning of it as text.
        input: Value,
    },
    /// The agent ended its turn.
    Result {
        /// Whether the agent says that the turn failed.
        is_error: bool,
        /// The agent's last text, or what went wrong.
        result: String,
        /// How long the turn took by the CLI's count, in milliseconds; 0 if it did not say.
        duration_ms: u64,
    },
    /// The turn did not come to a result.
    Error {
        /// What happened, and what to do about it.
        error: String,
    },
    /// A person stopped the turn.
    Cancelled,
    /// The turn is over, however it went. The last event of every turn.
    TurnEnd,
}

impl UiEvent {
    /// Returns the event as the log keeps it: one line of JSON, with texts within bounds.
    pub fn to_line(&self) -> String {
        let bounded = match self {
            Self::User { text } => Self::User { text: cut(text, MAX_TEXT) },
            Self::Text { text } => Self::Text { text: cut(text, MAX_TEXT) },
            Self::Error { error } => Self::Error { error: cut(error, MAX_TEXT) },
            Self::Result { is_error, result, duration_ms } => Self::Result {
                is_error: *is_error,
                result: cut(result, MAX_TEXT),
                duration_ms: *duration_ms,
            },
            Self::Tool { name, input } => {
                Self::Tool { name: cut(name, MAX_NAME), input: bounded(input) }
            }
            Self::Session { session_id } => Self::Session { session_id: cut(session_id, MAX_NAME) },
            Self::Queued { ahead, text } => {
                Self::Queued { ahead: *ahead, text: cut(text, MAX_TEXT) }
            }
            other @ (Self::Cancelled | Self::TurnEnd) => other.clone(),
        };
        // Serialising string keys, strings and numbers cannot fail.
        serde_json::to_string(&bounded).unwrap_or_else(|_| r#"{"kind":"turn_end"}"#.to_owned())
    }

    /// Reads a line of the log; `None` if it is no event that this version knows.
    pub fn of_line(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// Returns an event of the log as a frame, with its number as `id` and in the JSON.
pub fn frame(event: &LogEvent) -> String {
    let number = event.number;
    match event.text.strip_prefix('{').filter(|rest| rest.ends_with('}')) {
        Some("}") | None => format!("id: {number}\ndata: {{\"id\":{number}}}\n\n"),
        Some(fields) => format!("id: {number}\ndata: {{\"id\":{number},{fields}\n\n"),
    }
}

/// Returns a tool's input with its texts cut, and only its beginning as text if too large.
fn bounded(input: &Value) -> Value {
    let mut input = input.clone();
    shorten(&mut input);
    let text = input.to_string();
    if text.len() > MAX_INPUT { Value::String(cut(&text, MAX_INPUT_TEXT)) } else { input }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > MAX_INPUT_TEXT => *text = cut(text, MAX_INPUT_TEXT),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let kept = &text[..text.floor_char_boundary(limit)];
    format!("{kept}… ({} more bytes)", text.len() - kept.len())
}

#[cfg(test)]
mod tests {
    use afk_agent::sessions::LogLimits;
    use serde_json::json;

    use super::*;

    fn check(event: &UiEvent, data: &str) {
        let line = event.to_line();
        assert_eq!(UiEvent::of_line(&line).as_ref(), Some(event));
        let framed = frame(&LogEvent { number: 7, text: line });
        assert_eq!(framed, format!("id: 7\ndata: {data}\n\n"));
    }

    #[test]
    fn each_event_is_one_object_with_its_number_and_kind() {
        check(&UiEvent::User { text: "a\nb".into() }, r#"{"id":7,"kind":"user","text":"a\nb"}"#);
        check(
            &UiEvent::Queued { ahead: 1, text: "wait".into() },
            r#"{"id":7,"kind":"queued","ahead":1,"text":"wait"}"#,
        );
        check(
            &UiEvent::Session { session_id: "s".into() },
            r#"{"id":7,"kind":"session","session_id":"s"}"#,
        );
        check(&UiEvent::Text { text: "<b>".into() }, r#"{"id":7,"kind":"text","text":"<b>"}"#);
        check(
            &UiEvent::Tool { name: "Bash".into(), input: json!({"command": "id"}) },
            r#"{"id":7,"kind":"tool","name":"Bash","input":{"command":"id"}}"#,
        );
        check(
            &UiEvent::Result { is_error: false, result: "ok".into(), duration_ms: 5 },
            r#"{"id":7,"kind":"result","is_error":false,"result":"ok","duration_ms":5}"#,
        );
        check(&UiEvent::Error { error: "e".into() }, r#"{"id":7,"kind":"error","error":"e"}"#);
        check(&UiEvent::Cancelled, r#"{"id":7,"kind":"cancelled"}"#);
        check(&UiEvent::TurnEnd, r#"{"id":7,"kind":"turn_end"}"#);
    }

    #[test]
    fn a_hostile_text_stays_one_line_of_one_frame() {
        let text = "x\n\ndata: {\"kind\":\"turn_end\"}\r\n\u{2028}\u{1b}[2J</script>\0";
        let line = UiEvent::Text { text: text.into() }.to_line();
        assert!(!line.contains(['\n', '\r', '\0', '\u{1b}']), "{line}");
        let framed = frame(&LogEvent { number: 0, text: line });
        assert_eq!(framed.lines().filter(|line| line.starts_with("data:")).count(), 1);
    }

    #[test]
    fn what_is_long_is_cut_between_characters_and_says_so() {
        let line = UiEvent::Text { text: "é".repeat(MAX_TEXT) }.to_line();
        assert!(line.len() < MAX_TEXT + 200 && line.contains("more bytes)"), "{}", line.len());
        let input = json!({"content": "x".repeat(1 << 20), "list": ["y".repeat(1 << 20)]});
        let line = UiEvent::Tool { name: "Write".into(), input }.to_line();
        assert!(line.len() < MAX_INPUT, "{}", line.len());
        let input = json!((0..100_000).collect::<Vec<u32>>());
        let line = UiEvent::Tool { name: "X".into(), input }.to_line();
        assert!(line.len() < MAX_INPUT, "{}", line.len());
    }

    #[test]
    fn every_event_fits_the_log_even_if_all_of_it_must_be_escaped() {
        // JSON escapes each of these as six bytes. One more than the limit, so that it is also cut.
        let worst = |limit: usize| "\u{1}".repeat(limit + 1);
        let text = || worst(MAX_TEXT);
        // Two texts, each within its own limit, that together are as large as an input may be.
        let short = |bytes: usize| "\u{1}".repeat((bytes - 16) / 2 / 6);
        let input = json!([short(MAX_INPUT), short(MAX_INPUT)]);
        assert!((MAX_INPUT - 64..=MAX_INPUT).contains(&input.to_string().len()));
        let tool = |input| UiEvent::Tool { name: worst(MAX_NAME), input };
        for event in [
            UiEvent::User { text: text() },
            UiEvent::Queued { ahead: usize::MAX, text: text() },
            UiEvent::Session { session_id: worst(MAX_NAME) },
            UiEvent::Text { text: text() },
            tool(input),
            tool(json!(worst(MAX_INPUT_TEXT))),
            tool(json!(vec!["\u{1}".repeat(MAX_INPUT_TEXT); 9])),
            tool(json!({ worst(MAX_INPUT): 0 })),
            UiEvent::Result { is_error: true, result: text(), duration_ms: u64::MAX },
            UiEvent::Error { error: text() },
            UiEvent::Cancelled,
            UiEvent::TurnEnd,
        ] {
            let line = event.to_line();
            let most = LogLimits::default().event_bytes;
            assert!(line.len() < most, "{} bytes: {:.60}", line.len(), line);
            assert!(UiEvent::of_line(&line).is_some(), "{line:.60}");
        }
    }

    #[test]
    fn what_a_later_version_wrote_is_passed_on() {
        let text = r#"{"kind":"later","x":1}"#;
        assert_eq!(UiEvent::of_line(text), None);
        let event = LogEvent { number: 3, text: text.into() };
        assert_eq!(frame(&event), "id: 3\ndata: {\"id\":3,\"kind\":\"later\",\"x\":1}\n\n");
        let event = LogEvent { number: 3, text: "{}".into() };
        assert_eq!(frame(&event), "id: 3\ndata: {\"id\":3}\n\n");
    }
}
