//! A stand-in for OpenAI's Responses API, for driving the real Codex offline.
//!
//! For the tests of `agent` and end-to-end tests of `afk`, beside the [stand-in of the other
//! API](crate::model_api). It serves `POST /v1/responses` as server-sent events on loopback, answers
//! from a [`Script`], and keeps every request for assertions. It runs on a thread of its own and
//! stops when dropped.
//!
//! How an answer is chosen: a request belongs to the turn of its last human message; the number of
//! calls and messages of the model after that determines the reply. So a retried request gets the
//! same reply, and the stand-in keeps no position. It does not check keys, count tokens or
//! understand anything.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::model_api;

const MAX_BODY: usize = 64 << 20;

/// What the stand-in answers.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// The turns. See [`Turn::when`] for how one is chosen.
    pub turns: Vec<Turn>,
}

/// The answers to one human message.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    /// A text that the human message contains. A turn with such a text answers every message that
    /// contains it (if several turns match, the first one); turns without one answer the other
    /// messages, in the order in which these first appear.
    pub when: Option<String>,
    /// The replies, one for each request. After the last one the model says "done".
    pub replies: Vec<Reply>,
}

/// One answer. Each complete answer claims 100 input tokens, 40 of them cached, and 20 output
/// tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Says a text and ends the turn.
    Text(String),
    /// Runs a shell command.
    Command(String),
    /// Calls any other tool.
    Call {
        /// The tool's name.
        name: String,
        /// The tool's arguments.
        arguments: Value,
    },
    /// Ends the turn without a message.
    Empty,
    /// Answers with a refusal in these words.
    Refusal(String),
    /// Answers that the response failed.
    Failed {
        /// The error's code, such as `context_length_exceeded`.
        code: String,
        /// The error's message.
        message: String,
    },
    /// Answers with an HTTP error of this status.
    Status(u16),
    /// Answers that the account's limit is used up.
    UsageLimit {
        /// When the limit resets, in seconds since 1970; `None` leaves it out.
        resets_at: Option<i64>,
    },
    /// The same, with a reset so many seconds after the request.
    LimitFor {
        /// How long until the limit resets.
        seconds: i64,
    },
    /// Ends the stream before the answer is complete.
    Cut,
    /// Begins an answer and never continues it.
    Hang,
}

impl Script {
    /// A script of turns that are used in order.
    pub fn turns(turns: impl IntoIterator<Item = Vec<Reply>>) -> Self {
        let turns = turns.into_iter().map(|replies| Turn { when: None, replies }).collect();
        Self { turns }
    }

    /// Adds a turn for messages that contain a text.
    #[must_use]
    pub fn when(mut self, contains: impl Into<String>, replies: Vec<Reply>) -> Self {
        self.turns.push(Turn { when: Some(contains.into()), replies });
        self
    }
}

/// Translates a script for the other API: the shell tool has another name, and the answers to
/// requests without tools are left out.
impl From<model_api::Script> for Script {
    fn from(script: model_api::Script) -> Self {
        let turn = |turn: model_api::Turn| Turn {
            when: turn.when,
            replies: turn.replies.into_iter().map(Reply::from).collect(),
        };
        Self { turns: script.turns.into_iter().map(turn).collect() }
    }
}

impl From<model_api::Reply> for Reply {
    fn from(reply: model_api::Reply) -> Self {
        match reply {
            model_api::Reply::Text(text) => Self::Text(text),
            model_api::Reply::Tool { name, input } => match input["command"].as_str() {
                Some(command) if name == "Bash" => Self::Command(command.to_owned()),
                Some(_) | None => Self::Call { name, arguments: input },
            },
            // Of this API's answers, nothing of one that fails counts.
            model_api::Reply::Break(_) => Self::failed("server_error"),
            model_api::Reply::Status(status) => Self::Status(status),
            model_api::Reply::UsageLimit { resets_at } => {
                Self::UsageLimit { resets_at: Some(resets_at) }
            }
            model_api::Reply::LimitFor { seconds } => Self::LimitFor { seconds },
            model_api::Reply::Hang => Self::Hang,
        }
    }
}

impl Reply {
    /// Says a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Runs a shell command.
    pub fn command(command: impl Into<String>) -> Self {
        Self::Command(command.into())
    }

    /// Answers that the response failed with this code.
    pub fn failed(code: &str) -> Self {
        Self::Failed { code: code.to_owned(), message: format!("scripted {code}") }
    }
}

/// A running stand-in. Dropping it ends the server and every open answer.
#[derive(Debug)]
pub struct ResponsesApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request that was received.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The body; null if it was not JSON.
    pub body: Value,
    /// The header `authorization`, with the credential.
    pub authorization: String,
}

#[derive(Debug, Default)]
struct Shared {
    script: Script,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    requests: Vec<Recorded>,
    /// The human messages that no `when` claims, in the order in which they came.
    humans: Vec<String>,
}

impl ResponsesApi {
    /// Starts a stand-in on a free port of the loopback interface.
    pub fn start(script: impl Into<Script>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared { script: script.into(), ..Shared::default() });
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("responses-api".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    _ = stopped => {}
                    _ = axum::serve(listener, app) => {}
                }
            });
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The URL for a provider's `base_url`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.lock().requests.clone()
    }

    /// Everything that was ever sent to the model, as JSON: for assertions on what it contains.
    pub fn everything_sent(&self) -> String {
        self.requests().iter().map(|request| request.body.to_string()).collect()
    }
}

impl Drop for ResponsesApi {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, body: &Value) -> Reply {
        let at = Place::of(body);
        let turn = self.turn_of(&at);
        let reply = turn.and_then(|turn| turn.replies.get(at.answered)).cloned();
        reply.unwrap_or_else(|| Reply::text("done"))
    }

    fn turn_of(&self, at: &Place) -> Option<&Turn> {
        let turns = &self.script.turns;
        let claims = |turn: &&Turn| turn.when.as_ref().is_some_and(|when| at.human.contains(when));
        if let Some(turn) = turns.iter().find(claims) {
            return Some(turn);
        }
        let humans = &mut self.lock().humans;
        let known = humans.iter().position(|key| *key == at.key);
        let index = known.unwrap_or(humans.len());
        if known.is_none() {
            humans.push(at.key.clone());
        }
        turns.iter().filter(|turn| turn.when.is_none()).nth(index)
    }
}

struct Place {
    /// The last human message.
    human: String,
    /// The last human message and its position, which tells it from an equal message elsewhere.
    key: String,
    /// How many answers of the model follow it.
    answered: usize,
}

impl Place {
    fn of(body: &Value) -> Self {
        let items = body["input"].as_array().map_or(&[][..], Vec::as_slice);
        let mut answered = 0;
        for (index, item) in items.iter().enumerate().rev() {
            if item["type"] == "function_call" || item["role"] == "assistant" {
                answered += 1;
            } else if let Some(human) = human(item) {
                let before = items[..index].iter().filter_map(self::human).count();
                return Self { key: format!("{before} {human}"), human, answered };
            }
        }
        Self { human: String::new(), key: String::new(), answered }
    }
}

/// What a person said in an item; `None` if it is another kind of item, or the CLI's own text.
fn human(item: &Value) -> Option<String> {
    if item["type"] != "message" || item["role"] != "user" {
        return None;
    }
    let parts = item["content"].as_array()?.iter().filter_map(|part| part["text"].as_str());
    let said = parts.collect::<Vec<_>>().join("\n");
    (!said.starts_with("<environment_context>")).then_some(said)
}

fn usage_limit(resets_at: Option<i64>) -> Response {
    let mut says = json!({"type": "usage_limit_reached", "message": "scripted limit"});
    says["plan_type"] = json!("plus");
    let Some(at) = resets_at else { return error(429, &json!({"error": says})) };
    says["resets_at"] = json!(at);
    let headers = [
        ("x-codex-primary-used-percent", "100".to_owned()),
        ("x-codex-primary-window-minutes", "300".to_owned()),
        ("x-codex-primary-reset-at", at.to_string()),
    ];
    (headers, error(429, &json!({"error": says}))).into_response()
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if head.uri.path() != "/v1/responses" {
        return error(404, &json!({"error": {"message": "not found", "type": "not_found"}}));
    }
    let authorization = head.headers.get(header::AUTHORIZATION);
    let authorization = authorization.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let number = {
        let mut log = shared.lock();
        let authorization = authorization.to_owned();
        log.requests.push(Recorded { body: body.clone(), authorization });
        log.requests.len()
    };
    let item = match shared.reply(&body) {
        Reply::Status(status) => {
            let says = json!({"error": {"message": format!("scripted {status}"), "type": "x"}});
            return error(status, &says);
        }
        Reply::UsageLimit { resets_at } => return usage_limit(resets_at),
        Reply::LimitFor { seconds } => return usage_limit(Some(model_api::in_seconds(seconds))),
        Reply::Failed { code, message } => {
            let response = json!({"id": "r", "error": {"code": code, "message": message}});
            return events(&[json!({"type": "response.failed", "response": response})], false);
        }
        Reply::Cut => return events(&[created(number)], false),
        Reply::Hang => return events(&[created(number)], true),
        Reply::Empty => None,
        Reply::Text(text) => {
            let content = json!([{"type": "output_text", "text": text}]);
            Some(json!({"type": "message", "role": "assistant", "content": content}))
        }
        Reply::Refusal(text) => {
            let content = json!([{"type": "refusal", "refusal": text}]);
            Some(json!({"type": "message", "role": "assistant", "content": content}))
        }
        Reply::Command(command) => Some(call(number, "exec_command", &json!({"cmd": command}))),
        Reply::Call { name, arguments } => Some(call(number, &name, &arguments)),
    };
    let mut all = vec![created(number)];
    all.extend(item.map(|item| json!({"type": "response.output_item.done", "item": item})));
    let usage = json!({
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 40},
        "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 120,
    });
    let response = json!({"id": format!("resp_{number}"), "usage": usage});
    all.push(json!({"type": "response.completed", "response": response}));
    events(&all, false)
}

fn created(number: usize) -> Value {
    json!({"type": "response.created", "response": {"id": format!("resp_{number}")}})
}

fn call(number: usize, name: &str, arguments: &Value) -> Value {
    json!({
        "type": "function_call",
        "call_id": format!("call_{number}"),
        "name": name,
        "arguments": arguments.to_string(),
    })
}

fn error(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(body)).into_response()
}

fn events(all: &[Value], hang: bool) -> Response {
    let text: Vec<String> = all.iter().map(|event| format!("data: {event}\n\n")).collect();
    let text = text.concat();
    let parts = stream::once(async move { Ok::<_, Infallible>(Bytes::from(text)) });
    let body = if hang {
        Body::from_stream(parts.chain(stream::pending()))
    } else {
        Body::from_stream(parts)
    };
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CONNECTION, "close")];
    (headers, body).into_response()
}
