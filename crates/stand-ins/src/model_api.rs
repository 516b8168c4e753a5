//! A stand-in for Anthropic's Messages API, for driving the real Claude CLI offline.
//!
//! For the tests of `agent` and end-to-end tests of `afk`. It serves `/v1/messages` (streamed and
//! not) and `/v1/messages/count_tokens` on loopback, answers from a [`Script`], and keeps every
//! request for assertions. It runs on a thread of its own and stops when dropped, so tests without
//! an async runtime can use it too.
//!
//! How an answer is chosen: requests without tools are the CLI's own (titles, summaries) and get a
//! harmless text. Any other belongs to the turn of its last human message; the number of assistant
//! messages after that determines the reply. So a retried request gets the same reply, and the
//! stand-in keeps no position. It does not check keys, count tokens or understand anything.

mod answer;
mod conversation;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use conversation::{Conversation, has_tools};

/// What the stand-in answers.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// The turns. See [`Turn::when`] for how one is chosen.
    pub turns: Vec<Turn>,
    /// The answer to every request without tools; `None` is a harmless text. Agents without tools
    /// send only such requests.
    pub plain: Option<Reply>,
    /// Tokens that every answer claims to have used.
    pub usage: Tokens,
}

/// Tokens that an answer claims.
#[derive(Debug, Clone, Copy)]
pub struct Tokens {
    /// Input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { input: 1000, output: 50 }
    }
}

/// The answers to one human message.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    /// A text that the human message contains. A turn with such a text answers every message that
    /// contains it, whenever it comes (if several turns match, the one whose text is last in the
    /// message); turns without one answer the other messages, in the order in which these first
    /// appear.
    pub when: Option<String>,
    /// The replies, one for each request. After the last one the model says "done".
    pub replies: Vec<Reply>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Says a text and ends the turn.
    Text(String),
    /// Calls a tool. The CLI runs it and sends the result.
    Tool {
        /// The tool's name in the CLI (`Write`, `Bash`).
        name: String,
        /// The tool's input.
        input: Value,
    },
    /// Answers with an HTTP error of this status.
    Status(u16),
    /// Answers that a subscription's limit is used up. The CLI only recognises it with a
    /// subscription's credential; with an API key it is a plain 429.
    UsageLimit {
        /// When the limit resets, in seconds since 1970.
        resets_at: i64,
    },
    /// The same, with a reset so many seconds after the request.
    LimitFor {
        /// How long until the limit resets.
        seconds: i64,
    },
    /// Begins an answer and never continues it.
    Hang,
    /// Says a text and then, if the request is streamed, fails as overloaded before the answer is
    /// complete. A request that is not streamed gets a good answer.
    Break(String),
}

impl Script {
    /// A script of turns that are used in order.
    pub fn turns(turns: impl IntoIterator<Item = Vec<Reply>>) -> Self {
        Self {
            turns: turns.into_iter().map(|replies| Turn { when: None, replies }).collect(),
            plain: None,
            usage: Tokens::default(),
        }
    }

    /// Adds a turn for messages that contain a text.
    #[must_use]
    pub fn when(mut self, contains: impl Into<String>, replies: Vec<Reply>) -> Self {
        self.turns.push(Turn { when: Some(contains.into()), replies });
        self
    }
}

impl Reply {
    /// Says a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Writes a file with the CLI's `Write` tool, which wants an absolute path.
    pub fn write(path: impl Into<String>, content: impl Into<String>) -> Self {
        let input = json!({"file_path": path.into(), "content": content.into()});
        Self::tool("Write", input)
    }

    /// Runs a shell command with the CLI's `Bash` tool.
    pub fn bash(command: impl Into<String>) -> Self {
        let input = json!({"command": command.into(), "description": "a scripted call"});
        Self::tool("Bash", input)
    }

    /// Calls any tool.
    pub fn tool(name: impl Into<String>, input: Value) -> Self {
        Self::Tool { name: name.into(), input }
    }
}

/// A request that was received.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The method and the path with its query.
    pub target: String,
    /// Its credential: the header `x-api-key`, or else `authorization`.
    pub key: String,
    /// The body; null if there was none or it was not JSON.
    pub body: Value,
}

impl Recorded {
    /// Whether the request belongs to a turn: a message with tools, and not the CLI's own request.
    pub fn is_of_turn(&self) -> bool {
        let path = self.target.split('?').next();
        path == Some("POST /v1/messages") && has_tools(&self.body)
    }
}

/// A running stand-in. Dropping it ends the server and every open answer.
#[derive(Debug)]
pub struct ModelApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    script: Script,
    log: Mutex<Log>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Log {
    requests: Vec<Recorded>,
    /// The human messages that no `when` claims, in the order in which they came.
    humans: Vec<String>,
}

impl ModelApi {
    /// Starts a stand-in on a free port of the loopback interface.
    pub fn start(script: Script) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared { script, ..Shared::default() });
        let app = axum::Router::new().fallback(answer::answer).with_state(Arc::clone(&shared));
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("model-api".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                    return;
                };
                tokio::select! {
                    _ = stopped => {}
                    _ = axum::serve(listener, app) => {}
                }
            });
            // Drops the runtime, and with it every open connection.
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The URL for `ANTHROPIC_BASE_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.lock().requests.clone()
    }

    /// Everything that was ever sent to the model, as one text of all keys and strings with JSON
    /// escapes decoded: for assertions on what it contains.
    pub fn everything_sent(&self) -> String {
        let mut text = String::new();
        for request in &self.shared.lock().requests {
            collect_strings(&request.body, &mut text);
        }
        text
    }

    /// Waits until this many requests of turns have come; false if that takes longer than `bound`.
    #[must_use]
    pub fn wait_for_turn_requests(&self, count: usize, bound: Duration) -> bool {
        let deadline = Instant::now() + bound;
        let mut log = self.shared.lock();
        loop {
            if log.requests.iter().filter(|r| r.is_of_turn()).count() >= count {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            log =
                self.shared.came.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for ModelApi {
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

    fn record(&self, target: String, key: String, body: &Value) {
        self.lock().requests.push(Recorded { target, key, body: body.clone() });
        self.came.notify_all();
    }

    fn reply(&self, body: &Value) -> Reply {
        if !has_tools(body) {
            let plain = self.script.plain.clone();
            return plain.unwrap_or_else(|| Reply::text("A scripted answer"));
        }
        let conversation = Conversation::read(body);
        let turn = self.turn_of(&conversation);
        turn.and_then(|turn| turn.replies.get(conversation.answered))
            .cloned()
            .unwrap_or_else(|| Reply::text("done"))
    }

    fn turn_of(&self, conversation: &Conversation) -> Option<&Turn> {
        // A human message that was never answered is sent again, in one message with the next one;
        // so the last part decides.
        let claimed = self
            .script
            .turns
            .iter()
            .filter_map(|turn| Some((conversation.human.rfind(turn.when.as_deref()?)?, turn)))
            .max_by_key(|(position, _)| *position)
            .map(|(_, turn)| turn);
        if claimed.is_some() {
            return claimed;
        }
        let humans = &mut self.lock().humans;
        let known = humans.iter().position(|key| *key == conversation.key);
        let index = known.unwrap_or(humans.len());
        if known.is_none() {
            humans.push(conversation.key.clone());
        }
        self.script.turns.iter().filter(|turn| turn.when.is_none()).nth(index)
    }
}

/// The time in so many seconds, in seconds since 1970.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX).saturating_add(seconds)
}

fn collect_strings(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => {
            text.push_str(string);
            text.push('\n');
        }
        Value::Array(items) => items.iter().for_each(|item| collect_strings(item, text)),
        Value::Object(fields) => {
            for (name, item) in fields {
                text.push_str(name);
                text.push('\n');
                collect_strings(item, text);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
