//! A gateway on a port of loopback, over the scripted CLI, and a client for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use afk_gateway::{Gateway, GatewaySettings, GatewayStart, WarmSettings};
use afk_http::{Bound, Limits};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for anything, a whole answer included, before it fails.
pub(crate) const BOUND: Duration = Duration::from_mins(2);
pub(crate) const TOKEN: &str = "canary-token-of-the-tests";

/// Settings without waiting processes, for tests that count processes.
pub(crate) fn cold() -> GatewaySettings {
    let warm = WarmSettings { least: 0, per_model: 0, total: 0, max_age_seconds: 600 };
    GatewaySettings { warm, ..GatewaySettings::default() }
}

/// A running gateway.
pub(crate) struct Stand {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) client: reqwest::Client,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

/// Returns what a gateway of these tests is started with.
pub(crate) fn start(state: &Path, settings: GatewaySettings) -> GatewayStart {
    let program = settings.program.clone();
    let scripted = PathBuf::from(env!("CARGO_BIN_EXE_scripted-claude"));
    GatewayStart {
        settings: GatewaySettings { program: Some(program.unwrap_or(scripted)), ..settings },
        state: state.join("state"),
        supervisor: env!("CARGO_BIN_EXE_afk-gateway").into(),
        token: Some(TOKEN.into()),
        credentials: vec![("ANTHROPIC_API_KEY".into(), "dummy".into())],
        path: std::env::var("PATH").unwrap(),
        sign_in: None,
        git: vec![("HOME".into(), state.to_string_lossy().into_owned())],
    }
}

impl Stand {
    pub(crate) async fn new(settings: GatewaySettings) -> Self {
        Self::at(tempfile::tempdir().unwrap(), settings).await
    }

    /// Starts a gateway on a folder that may have been used before.
    pub(crate) async fn at(folder: tempfile::TempDir, settings: GatewaySettings) -> Self {
        let start = start(folder.path(), settings);
        Self::with(folder, start).await
    }

    /// Starts a gateway with a test's own [`GatewayStart`].
    pub(crate) async fn with(folder: tempfile::TempDir, start: GatewayStart) -> Self {
        let gateway = Gateway::open(start).await.unwrap();
        let bound = Bound::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let (address, stop) = (bound.address(), CancellationToken::new());
        let (routes, stopped) = (gateway.router(), stop.clone());
        let limits = Limits {
            connections: 2048,
            headers: Duration::from_secs(10),
            connection: None,
            drain: Duration::from_millis(200),
        };
        let server = tokio::spawn(async move { bound.serve(&routes, limits, &stopped).await });
        let client = reqwest::Client::builder().no_proxy().timeout(BOUND).build().unwrap();
        Self { gateway, address, folder, client, stop, server }
    }

    /// Stops the gateway and returns its folder.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.stop.cancel();
        self.server.await.unwrap();
        self.gateway.close().await;
        self.folder
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.raw(path, body.to_string())
    }

    pub(crate) fn raw(
        &self,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(TOKEN).body(body)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.client.get(self.url(path)).bearer_auth(TOKEN)).await
    }

    /// Returns the request for a chat completion of one user message.
    pub(crate) fn chat(&self, text: &str, more: Value) -> reqwest::RequestBuilder {
        let mut body = json!({"messages": [{"role": "user", "content": text}]});
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        self.post("/v1/chat/completions", &body)
    }

    /// The frames of a streamed completion, without `data: `.
    pub(crate) async fn stream(&self, text: &str, more: Value) -> Vec<String> {
        let response = self.chat(text, with(more, "stream", true)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        frames(&response.text().await.unwrap())
    }

    pub(crate) async fn load(&self) -> (u64, u64) {
        let (_, health) = answer(self.client.get(self.url("/health"))).await;
        (health["active"].as_u64().unwrap(), health["queued"].as_u64().unwrap())
    }

    /// Waits until exactly so many calls run and so many wait.
    pub(crate) async fn until_load(&self, active: u64, queued: u64) {
        let deadline = Instant::now() + BOUND;
        loop {
            let load = self.load().await;
            if load == (active, queued) {
                return;
            }
            assert!(Instant::now() < deadline, "{load:?}, not {:?}", (active, queued));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many processes wait for a turn.
    pub(crate) async fn until_warm(&self, count: usize) {
        let (line, deadline) = (format!("warm_processes {count}\n"), Instant::now() + BOUND);
        loop {
            let metrics = self.metrics().await;
            if metrics.contains(&line) {
                return;
            }
            assert!(Instant::now() < deadline, "{metrics}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn metrics(&self) -> String {
        self.get("/metrics").await.1.as_str().unwrap().to_owned()
    }

    /// The command lines of the CLIs that were started so far.
    pub(crate) fn starts(&self) -> Vec<String> {
        let path = self.folder.path().join("state/home/starts");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until so many CLIs noted their start, which a job does after it counts as running.
    pub(crate) async fn until_starts(&self, count: usize) {
        let deadline = Instant::now() + BOUND;
        while self.starts().len() < count {
            assert!(Instant::now() < deadline, "{:?}, not {count}", self.starts());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many processes of this gateway live, supervisors included.
    pub(crate) fn processes(&self) -> usize {
        living(&self.folder)
    }

    /// Waits until no process of this gateway is left.
    pub(crate) async fn until_no_processes(&self) {
        until_none(&self.folder).await;
    }
}

/// How many processes live that were started by a gateway on this folder.
pub(crate) fn living(folder: &tempfile::TempDir) -> usize {
    let state = folder.path().join("state").canonicalize().unwrap();
    let entry = format!("{}={}", afk_agent::tether::MARK, state.display());
    afk_agent::sandbox::processes::marked(&entry).len()
}

pub(crate) async fn until_none(folder: &tempfile::TempDir) {
    let deadline = Instant::now() + BOUND;
    while living(folder) > 0 {
        assert!(Instant::now() < deadline, "{} processes are left", living(folder));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub(crate) fn frames(text: &str) -> Vec<String> {
    let frames = text.split("\n\n").filter(|frame| !frame.is_empty() && !frame.starts_with(':'));
    frames.map(|frame| frame.strip_prefix("data: ").expect(frame).to_owned()).collect()
}

/// The text of a stream's frames.
pub(crate) fn text(frames: &[String]) -> String {
    let chunks = frames.iter().filter_map(|frame| serde_json::from_str::<Value>(frame).ok());
    chunks
        .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect()
}

pub(crate) fn with(mut more: Value, name: &str, value: impl Into<Value>) -> Value {
    more[name] = value.into();
    more
}
