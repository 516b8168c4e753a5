//! The stand-in of the Messages API, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use afk_stand_ins::model_api::{ModelApi, Recorded, Reply, Script};
use serde_json::{Value, json};

fn address(api: &ModelApi) -> String {
    api.url().trim_start_matches("http://").to_owned()
}

fn post(api: &ModelApi, path: &str, body: &Value) -> String {
    let mut stream = TcpStream::connect(address(api)).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn asking(messages: &Value) -> Value {
    json!({"model": "m", "stream": false, "tools": [{"name": "Bash"}], "messages": messages})
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": text}]})
}

fn said(text: &str) -> Value {
    json!({"role": "assistant", "content": [{"type": "text", "text": text}]})
}

fn result() -> Value {
    json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]})
}

#[test]
fn the_reply_that_is_due_is_told_by_the_request() {
    let script = Script::turns([
        vec![Reply::bash("true"), Reply::text("first done")],
        vec![Reply::text("second done"), Reply::Status(529)],
    ])
    .when("special", vec![Reply::text("special done")]);
    let api = ModelApi::start(script).unwrap();
    let check = |messages: Value, expected: &str| {
        let answer = post(&api, "/v1/messages?beta=true", &asking(&messages));
        assert!(answer.contains(expected), "{messages}: {answer}");
    };
    check(json!([user("a")]), r#""tool_use""#);
    // The same request again gets the same answer.
    check(json!([user("a")]), r#""tool_use""#);
    check(json!([user("a"), said("x"), result()]), "first done");
    check(json!([user("a"), said("x"), result(), said("y"), user("b")]), "second done");
    check(json!([user("a"), said("x"), user("b"), said("z"), result()]), "529");
    check(json!([user("a special one")]), "special done");
    check(
        json!([user("<system-reminder>x</system-reminder>"), user("a"), said("x")]),
        "first done",
    );
    let reminder = json!({"role": "system", "content": "special"});
    check(json!([user("a"), reminder]), r#""tool_use""#);
    check(json!([user("never scripted")]), r#""text":"done""#);
    assert_eq!(api.requests().len(), 9);
    assert!(api.everything_sent().contains("never scripted"));
}

#[test]
fn a_streamed_answer_has_the_events_in_their_order() {
    let api = ModelApi::start(Script::turns([vec![Reply::write("/f", "x")]])).unwrap();
    let mut body = asking(&json!([user("a")]));
    body["stream"] = json!(true);
    let answer = post(&api, "/v1/messages", &body);
    let events: Vec<&str> =
        answer.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(
        events,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    assert!(answer.contains("text/event-stream"));
}

#[test]
fn an_answer_breaks_off_only_in_a_stream() {
    let api = ModelApi::start(Script::turns([vec![Reply::Break("a text".into())]])).unwrap();
    let mut body = asking(&json!([user("a")]));
    let whole = post(&api, "/v1/messages", &body);
    assert!(whole.contains("a text") && whole.contains("end_turn"), "{whole}");
    body["stream"] = json!(true);
    let broken = post(&api, "/v1/messages", &body);
    assert!(broken.contains("a text") && broken.contains("overloaded_error"), "{broken}");
    for end in ["content_block_stop", "message_delta", "message_stop"] {
        assert!(!broken.contains(end), "{broken}");
    }
}

#[test]
fn other_requests_are_harmless_or_refused() {
    let api = ModelApi::start(Script::turns([vec![Reply::Status(500)]])).unwrap();
    let check = |path: &str, body: &Value, expected: &str| {
        let answer = post(&api, path, body);
        assert!(answer.contains(expected), "{path}: {answer}");
    };
    let title = json!({"model": "m", "messages": [user("a title, please")]});
    check("/v1/messages", &title, "A scripted answer");
    check("/v1/messages/count_tokens", &title, r#"{"input_tokens":"#);
    check("/v1/other", &title, "HTTP/1.1 404");
    assert!(!api.requests().iter().any(Recorded::is_of_turn));
    assert!(!api.wait_for_turn_requests(1, Duration::from_millis(1)));
    check("/v1/messages", &asking(&json!([user("a")])), "HTTP/1.1 500");
    assert!(api.wait_for_turn_requests(1, Duration::from_millis(1)));
}

#[test]
fn dropping_it_ends_open_answers_and_the_server() {
    let api = ModelApi::start(Script::turns([vec![Reply::Hang]])).unwrap();
    let address = address(&api);
    let mut body = asking(&json!([user("a")])).to_string();
    let mut stream = TcpStream::connect(&address).unwrap();
    body = body.replace(r#""stream":false"#, r#""stream":true"#);
    write!(
        stream,
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut first = [0; 16];
    stream.read_exact(&mut first).unwrap();
    drop(api);
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    assert!(!rest.contains("message_stop"));
    assert!(TcpStream::connect(address).is_err());
}
