//! The stand-in's answers on the wire: errors, whole messages, and streams with the
//! events in the API's own order.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::{Reply, Shared, in_seconds};

/// The largest request that is read, in bytes.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Records a request, whatever it is, and answers it.
pub(super) async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let target = format!("{} {}", head.method, head.uri);
    let bytes = axum::body::to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let key = head.headers.get("x-api-key").or_else(|| head.headers.get(header::AUTHORIZATION));
    let key = key.and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    shared.record(target, key, &body);
    match path.as_str() {
        "/v1/messages" => message(&shared, &body),
        "/v1/messages/count_tokens" => {
            axum::Json(json!({"input_tokens": bytes.len() / 4 + 1})).into_response()
        }
        _ => error(404, "not_found_error"),
    }
}

fn error(status: u16, kind: &str) -> Response {
    let body = json!({
        "type": "error",
        "error": {"type": kind, "message": format!("scripted {status}")},
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(body)).into_response()
}

fn usage_limit(resets_at: i64) -> Response {
    let headers = [
        ("anthropic-ratelimit-unified-status", "rejected".to_owned()),
        ("anthropic-ratelimit-unified-reset", resets_at.to_string()),
        ("anthropic-ratelimit-unified-representative-claim", "five_hour".to_owned()),
    ];
    (headers, error(429, "rate_limit_error")).into_response()
}

fn error_kind(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}

fn message(shared: &Shared, body: &Value) -> Response {
    let reply = shared.reply(body);
    let number = shared.lock().requests.len();
    let (block, stop) = match reply {
        Reply::Status(status) => return error(status, error_kind(status)),
        Reply::UsageLimit { resets_at } => return usage_limit(resets_at),
        Reply::LimitFor { seconds } => return usage_limit(in_seconds(seconds)),
        Reply::Hang => return stream_of(vec![start_event(shared, body, number)], true),
        Reply::Break(text) if body["stream"] == true => {
            let mut events = vec![start_event(shared, body, number)];
            events.extend(block_events(&json!({"type": "text", "text": text})));
            // The text's block stays open.
            events.pop();
            let overloaded = json!({"type": error_kind(529), "message": "scripted 529"});
            events.push(event("error", json!({"error": overloaded})));
            return stream_of(events, false);
        }
        Reply::Text(text) | Reply::Break(text) => {
            (json!({"type": "text", "text": text}), "end_turn")
        }
        Reply::Tool { name, input } => {
            let id = format!("toolu_{number:022}");
            let block = json!({"type": "tool_use", "id": id, "name": name, "input": input});
            (block, "tool_use")
        }
    };
    if body["stream"] == true {
        let mut events = vec![start_event(shared, body, number)];
        events.extend(block_events(&block));
        let output = shared.script.usage.output;
        events.push(event(
            "message_delta",
            json!({
                "delta": {"stop_reason": stop, "stop_sequence": null},
                "usage": {"output_tokens": output},
            }),
        ));
        events.push(event("message_stop", json!({})));
        return stream_of(events, false);
    }
    let mut whole = message_head(shared, body, number);
    whole["content"] = json!([block]);
    whole["stop_reason"] = json!(stop);
    whole["usage"]["output_tokens"] = json!(shared.script.usage.output);
    axum::Json(whole).into_response()
}

fn message_head(shared: &Shared, body: &Value, number: usize) -> Value {
    json!({
        "id": format!("msg_{number:024}"),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {
            "input_tokens": shared.script.usage.input,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 1,
            "service_tier": "standard",
        },
    })
}

fn start_event(shared: &Shared, body: &Value, number: usize) -> String {
    let message = message_head(shared, body, number);
    event("message_start", json!({"message": message})) + &event("ping", json!({}))
}

/// The events of a content block: its start without content, the content in small parts, its stop.
fn block_events(block: &Value) -> Vec<String> {
    let mut empty = block.clone();
    let (content, kind, field) = if let Some(text) = block["text"].as_str() {
        empty["text"] = json!("");
        (text.to_owned(), "text_delta", "text")
    } else {
        empty["input"] = json!({});
        let input = block["input"].to_string();
        (input, "input_json_delta", "partial_json")
    };
    let mut events =
        vec![event("content_block_start", json!({"index": 0, "content_block": empty}))];
    let characters: Vec<char> = content.chars().collect();
    for part in characters.chunks(64) {
        let part: String = part.iter().collect();
        let delta = json!({"type": kind, field: part});
        events.push(event("content_block_delta", json!({"index": 0, "delta": delta})));
    }
    events.push(event("content_block_stop", json!({"index": 0})));
    events
}

fn event(kind: &str, mut data: Value) -> String {
    data["type"] = json!(kind);
    format!("event: {kind}\ndata: {data}\n\n")
}

fn stream_of(events: Vec<String>, hang: bool) -> Response {
    let parts = stream::iter(events).map(|part| Ok::<_, Infallible>(Bytes::from(part)));
    let body = if hang {
        Body::from_stream(parts.chain(stream::pending()))
    } else {
        Body::from_stream(parts)
    };
    ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], body).into_response()
}
