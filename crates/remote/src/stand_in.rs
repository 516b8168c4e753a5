//! For tests: a server on loopback that gives scripted answers and records requests, and stand-ins
//! of the ports that adapters of this crate use.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use afk_core::ids::At;
use afk_core::secret::SecretSource;
use afk_engine::ports::{Clock, Notes, PortError, PortErrorKind, PortResult, Secrets};
use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;

/// A request that was received; `line` is its method and its path with the query.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedRequest {
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl ReceivedRequest {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A scripted answer: status, headers, body.
pub(crate) type Reply = (u16, Vec<(&'static str, String)>, String);

/// An answer with a JSON body.
pub(crate) fn json(status: u16, body: impl Into<Value>) -> Reply {
    let body = body.into().to_string();
    (status, vec![("content-type", "application/json".to_owned())], body)
}

#[derive(Default)]
struct Script {
    asked: Vec<ReceivedRequest>,
    replies: VecDeque<Reply>,
}

/// The server; it lives as long as the test.
pub(crate) struct StandIn {
    pub(crate) url: Url,
    script: Arc<Mutex<Script>>,
}

impl StandIn {
    /// Starts it on a free port. Requests beyond the script are answered with 599.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let script = Arc::new(Mutex::new(Script {
            replies: replies.into_iter().collect(),
            ..Script::default()
        }));
        let kept = script.clone();
        let answer = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let mut script = kept.lock().unwrap();
            script.asked.push(ReceivedRequest { line: format!("{method} {uri}"), headers, body });
            let (status, pairs, body) =
                script.replies.pop_front().unwrap_or((599, Vec::new(), "not in the script".into()));
            let headers: HeaderMap = pairs
                .into_iter()
                .map(|(name, value)| {
                    (name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap())
                })
                .collect();
            (StatusCode::from_u16(status).unwrap(), headers, body)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let app = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, script }
    }

    /// Appends answers to the script.
    pub(crate) fn answers(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().unwrap().replies.extend(replies);
    }

    /// Takes the requests since the last call.
    pub(crate) fn asked(&self) -> Vec<ReceivedRequest> {
        std::mem::take(&mut self.script.lock().unwrap().asked)
    }
}

/// A clock that moves only when somebody sleeps or a test sets it.
pub(crate) struct StillClock(Mutex<At>);

impl StillClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(At::from_second(1_800_000_000).unwrap())))
    }

    /// Lets `seconds` go by.
    pub(crate) fn pass(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    }
}

#[async_trait]
impl Clock for StillClock {
    fn now(&self) -> At {
        *self.0.lock().unwrap()
    }

    async fn sleep_until(&self, at: At) {
        let mut now = self.0.lock().unwrap();
        *now = (*now).max(at);
    }
}

/// Secrets that a test sets.
#[derive(Default)]
pub(crate) struct SetSecrets(Mutex<HashMap<SecretSource, String>>);

impl SetSecrets {
    /// Sets the variable of that name, and returns the source that reads it.
    pub(crate) fn set(&self, name: &str, value: &str) -> SecretSource {
        let source = SecretSource::Env(name.to_owned());
        self.0.lock().unwrap().insert(source.clone(), value.to_owned());
        source
    }

    /// Sets the secret of any source.
    pub(crate) fn put(&self, source: SecretSource, value: &str) {
        self.0.lock().unwrap().insert(source, value.to_owned());
    }
}

#[async_trait]
impl Secrets for SetSecrets {
    async fn read(&self, source: &SecretSource) -> PortResult<SecretString> {
        let found = self.0.lock().unwrap().get(source).cloned();
        let found = found.ok_or_else(|| PortError::new(PortErrorKind::NotFound, "not set"));
        found.map(SecretString::from)
    }
}

/// Notes in memory.
#[derive(Default)]
pub(crate) struct MemoryNotes(pub(crate) Mutex<BTreeMap<(String, String), Value>>);

#[async_trait]
impl Notes for MemoryNotes {
    async fn read(&self, kind: &str, key: &str) -> PortResult<Option<Value>> {
        Ok(self.0.lock().unwrap().get(&(kind.to_owned(), key.to_owned())).cloned())
    }

    async fn write(&self, kind: &str, key: &str, value: &Value, _: At) -> PortResult<()> {
        self.0.lock().unwrap().insert((kind.to_owned(), key.to_owned()), value.clone());
        Ok(())
    }
}
