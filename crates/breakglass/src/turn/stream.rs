//! Translates the CLI's stream into events for people, block by block.
//!
//! Called by [`super::run`], line by line. Pure. Whether a turn succeeded is decided by
//! [`TurnReader`](afk_agent::agents::TurnReader) over the same bytes. Unknown lines and fields are
//! ignored.

use serde_json::Value;

use crate::wire::UiEvent;

/// Translates one line and appends its events. The turn's result is returned instead, because it is
/// shown only once it is clear that the turn is not started again.
pub fn translate(line: &str, events: &mut Vec<UiEvent>) -> Option<UiEvent> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |value: &Value, field: &str| value.get(field)?.as_str().map(str::to_owned);
    match line.get("type")?.as_str()? {
        "system" if line.get("subtype")? == "init" => {
            let session_id = text(&line, "session_id").unwrap_or_default();
            events.push(UiEvent::Session { session_id });
            None
        }
        "assistant" => {
            for block in line.pointer("/message/content")?.as_array()? {
                match block.get("type").and_then(Value::as_str) {
                    Some("text") => {
                        events.extend(text(block, "text").map(|text| UiEvent::Text { text }));
                    }
                    Some("tool_use") => events.push(UiEvent::Tool {
                        name: text(block, "name").unwrap_or_default(),
                        input: block.get("input").cloned().unwrap_or_default(),
                    }),
                    Some(_) | None => {}
                }
            }
            None
        }
        "result" => Some(UiEvent::Result {
            // If absent it counts as an error: success must be explicit.
            is_error: line.get("is_error").and_then(Value::as_bool).unwrap_or(true),
            result: text(&line, "result").unwrap_or_else(|| errors(&line)),
            duration_ms: line.get("duration_ms").and_then(Value::as_f64).unwrap_or(0.0) as u64,
        }),
        _ => None,
    }
}

/// Returns what went wrong, from a result without a text.
fn errors(result: &Value) -> String {
    let errors = result.get("errors").and_then(Value::as_array).into_iter().flatten();
    let errors: Vec<&str> = errors.filter_map(Value::as_str).collect();
    if errors.is_empty() {
        result.get("subtype").and_then(Value::as_str).unwrap_or_default().to_owned()
    } else {
        errors.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(line: &str, expected: &[UiEvent], result: Option<&UiEvent>) {
        let mut events = Vec::new();
        assert_eq!(translate(line, &mut events).as_ref(), result, "{line}");
        assert_eq!(events, expected, "{line}");
    }

    #[test]
    fn what_people_see_of_each_line() {
        check(
            r#"{"subtype":"init","type":"system","session_id":"abc","model":"m"}"#,
            &[UiEvent::Session { session_id: "abc".into() }],
            None,
        );
        check(
            r#"{"type":"assistant","message":{"content":[{"type":"thinking","thinking":"hm"},
               {"type":"text","text":"Disk is full."},
               {"type":"tool_use","id":"1","name":"Bash","input":{"command":"df -h"}}]}}"#,
            &[
                UiEvent::Text { text: "Disk is full.".into() },
                UiEvent::Tool { name: "Bash".into(), input: json!({"command": "df -h"}) },
            ],
            None,
        );
        check(
            r#"{"type":"result","subtype":"success","is_error":false,"result":"done","duration_ms":12}"#,
            &[],
            Some(&UiEvent::Result { is_error: false, result: "done".into(), duration_ms: 12 }),
        );
        check(
            r#"{"type":"result","subtype":"error_during_execution","is_error":true,"errors":["a","b"]}"#,
            &[],
            Some(&UiEvent::Result { is_error: true, result: "a; b".into(), duration_ms: 0 }),
        );
        check(
            r#"{"type":"result","subtype":"error_max_turns"}"#,
            &[],
            Some(&UiEvent::Result {
                is_error: true,
                result: "error_max_turns".into(),
                duration_ms: 0,
            }),
        );
    }

    #[test]
    fn everything_else_is_passed_over() {
        for line in [
            r#"{"type":"system","subtype":"hook_response","output":"x"}"#,
            r#"{"type":"stream_event","event":{"type":"content_block_delta"}}"#,
            r#"{"type":"user","message":{"content":[{"type":"tool_result","content":"x"}]}}"#,
            r#"{"type":"assistant","message":{"content":"x"}}"#,
            r#"{"type":"assistant","message":{"content":[1,{"type":"text"},{"type":"later"}]}}"#,
            r#"{"type":"later"}"#,
            r#"{"type":7}"#,
            "[]",
            "not json",
            "",
        ] {
            check(line, &[], None);
        }
    }
}
