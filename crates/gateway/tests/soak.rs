//! The gateway under mixed load: streams, answers in one piece, conversations and jobs, clients
//! that go at random, killed CLIs, a restart and a kill. At the end nothing is left over: no
//! process, no open file, no memory, and no job without an end. Run by `cargo xtask soak`; the
//! short tests run with the others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "service/stand.rs"]
#[allow(dead_code)]
mod stand;

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use stand::TOKEN;

/// Pseudo-random numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}

/// A gateway in a process of its own.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(state: &Path) -> Self {
        Self::with(state, &json!({"least": 1, "per_model": 2, "total": 3}))
    }

    fn with(state: &Path, warm: &Value) -> Self {
        let settings = json!({
            "program": env!("CARGO_BIN_EXE_scripted-claude"),
            "job_ttl_seconds": 36_000,
            "conversational_timeout_seconds": 3600,
            "warm": warm,
        });
        let mut process = Command::new(env!("CARGO_BIN_EXE_afk-gateway"))
            .arg("serve")
            .arg(state)
            .arg(settings.to_string())
            .env("API_BEARER_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        std::io::BufReader::new(output).read_line(&mut line).unwrap();
        Self { process, address: line.trim().parse().unwrap() }
    }

    fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    fn resident_kb(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Server {
    /// Kills the server, so that a test that failed leaves no process.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn nothing_is_left_after_mixed_load() {
    let seconds = std::env::var("AFK_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let length = Duration::from_secs(seconds.unwrap_or(60));
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut server = Server::start(&state);
    let mut rng = Random(0x5eed);
    let mut jobs: Vec<String> = Vec::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    // The first part warms up caches and pools; open files and memory are compared from its end on.
    let begun = Instant::now();
    let mut start = None;
    let mut restarts = 0;
    while begun.elapsed() < length {
        let mut load = tokio::task::JoinSet::new();
        for _ in 0..24 {
            let (what, n, gone) = (rng.next() % 8, rng.next(), rng.next().is_multiple_of(3));
            load.spawn(one(server.address, what, n, gone));
        }
        if rng.next().is_multiple_of(4) {
            kill_one(&state, rng.next());
        }
        while let Some(done) = load.join_next().await {
            let (what, job) = done.unwrap();
            *counts.entry(what).or_default() += 1;
            jobs.extend(job);
        }
        let part = begun.elapsed().as_secs_f64() / length.as_secs_f64();
        if restarts < 2 && part > 0.25 * f64::from(restarts + 1) {
            let signal = if restarts == 0 { Signal::TERM } else { Signal::KILL };
            server.signal(signal);
            server.process.wait().unwrap();
            server = Server::start(&state);
            (restarts, start) = (restarts + 1, None);
        }
        if start.is_none() && part > 0.6 {
            settle(&server).await;
            start = Some((server.files(), server.resident_kb()));
        }
    }
    settle(&server).await;
    let (files, resident) = start.expect("it lasted long enough");
    println!("{counts:?}, {} jobs, {restarts} restarts", jobs.len());
    println!("open files {files} then {}", server.files());
    assert!(server.files() <= files, "open files grew");
    let after = given_back(&server, resident).await;
    println!("resident {resident} kB then {after} kB");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for id in &jobs {
        let url = format!("http://{}/jobs/{id}", server.address);
        let told = client.get(url).bearer_auth(TOKEN).send().await.unwrap().text().await.unwrap();
        let job: Value = serde_json::from_str(&told).unwrap();
        let status = job["status"].as_str().unwrap();
        assert!(!matches!(status, "queued" | "running"), "{job}");
    }
    server.signal(Signal::TERM);
    server.process.wait().unwrap();
    stand::until_none(&folder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_streams_and_failing_turns_leave_nothing() {
    println!("open files and resident kB: {:?}", leaves_nothing(40_000, 60).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn a_million_chunks_and_a_thousand_failing_turns_leave_nothing() {
    println!("open files and resident kB: {:?}", leaves_nothing(1_000_000, 1000).await);
}

/// Nothing between the CLI and the client takes a silent child for a dead one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn a_child_that_is_silent_for_a_minute_lives() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(&folder.path().join("state"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let prompt = "[[sleep:60000]][[echo:late]]";
    let ask = |stream: bool| {
        let body = json!({"messages": [{"role": "user", "content": prompt}], "stream": stream});
        let url = format!("http://{}/v1/chat/completions", server.address);
        client.post(url).bearer_auth(TOKEN).body(body.to_string()).send()
    };
    let (streamed, whole) = tokio::join!(ask(true), ask(false));
    for told in [streamed, whole] {
        let told = told.unwrap().text().await.unwrap();
        assert!(told.contains("\"content\":\"late\""), "{told}");
    }
    server.signal(Signal::TERM);
    server.process.wait().unwrap();
    stand::until_none(&folder).await;
}

/// Checks that memory, open files and processes are after one long stream and many failing turns
/// what they were after a few. Returns open files and resident kB before and after.
async fn leaves_nothing(chunks: usize, failures: usize) -> [(usize, u64); 2] {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    // A pool of one, so that its size never changes.
    let mut server = Server::with(&state, &json!({"least": 1, "per_model": 1, "total": 1}));
    much(server.address, chunks / 20, 20).await;
    let before = at_rest(&server, &folder, usize::MAX).await;
    much(server.address, chunks, failures).await;
    let mut after = at_rest(&server, &folder, before.0).await;
    after.1 = given_back(&server, before.1).await;
    server.signal(Signal::TERM);
    server.process.wait().unwrap();
    stand::until_none(&folder).await;
    [before, after]
}

/// Waits until resident memory is about what it was: freed memory goes back after a moment.
async fn given_back(server: &Server, before: u64) -> u64 {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let now = server.resident_kb();
        if now < before + before / 4 + 4096 {
            return now;
        }
        assert!(Instant::now() < deadline, "memory grew: {before} kB, then {now} kB");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn much(address: SocketAddr, chunks: usize, failures: usize) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = |prompt: String, stream: bool| {
        let body = json!({"messages": [{"role": "user", "content": prompt}], "stream": stream});
        let url = format!("http://{address}/v1/chat/completions");
        client.post(url).bearer_auth(TOKEN).body(body.to_string()).send()
    };
    let mut stream = ask(format!("[[deltas:{chunks}]]"), true).await.unwrap();
    let (mut feeds, mut end) = (0, Vec::new());
    while let Some(piece) = stream.chunk().await.unwrap() {
        feeds += piece.split(|byte| *byte == b'\n').count() - 1;
        end.extend_from_slice(&piece);
        end.drain(..end.len().saturating_sub(64));
    }
    // Two line feeds after each frame: role, deltas, finish, end, and perhaps comments.
    assert!(feeds >= 2 * (chunks + 3), "{feeds} line feeds for {chunks} chunks");
    assert!(String::from_utf8_lossy(&end).ends_with("[DONE]\n\n"));
    let mut turns = tokio::task::JoinSet::new();
    for n in 0..failures {
        let how = ["[[fail:no]]", "[[die]]", "[[exit:3]]", "[[echo:half]][[die]]"][n % 4];
        turns.spawn(ask(format!("{how}{n}"), n % 3 == 0));
        if turns.len() >= 16 {
            failed(turns.join_next().await.unwrap().unwrap().unwrap()).await;
        }
    }
    while let Some(turn) = turns.join_next().await {
        failed(turn.unwrap().unwrap()).await;
    }
}

async fn failed(answer: reqwest::Response) {
    let text = answer.text().await.unwrap();
    assert!(text.contains("execution_failed") && !text.contains("\"stop\""), "{text}");
}

/// Waits until only the one waiting process runs, with its supervisor, and at most `files` files
/// are open. Returns open files and resident memory in kB.
async fn at_rest(server: &Server, folder: &tempfile::TempDir, files: usize) -> (usize, u64) {
    settle(server).await;
    let deadline = Instant::now() + Duration::from_mins(1);
    while stand::living(folder) != 2 || server.files() > files {
        let found = (stand::living(folder), server.files());
        assert!(Instant::now() < deadline, "{found:?} processes and files, {files} before");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (server.files(), server.resident_kb())
}

/// Sends one request. With `gone` its client goes early. Returns its end, and a job's id.
async fn one(address: SocketAddr, what: u32, n: u32, gone: bool) -> (String, Option<String>) {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build();
    let client = client.unwrap();
    let chat = |prompt: String, stream: bool| json!({"messages": [{"role": "user", "content": prompt}], "stream": stream});
    let (path, body) = match what {
        0 => ("/v1/chat/completions", chat(format!("[[slow:{},10]]{n}", n % 20), true)),
        1 => ("/v1/chat/completions", chat(format!("[[deltas:{}]]{n}", n % 2000), true)),
        2 => {
            ("/v1/chat/completions", chat(format!("[[fork:2]][[echo:x]]{n}"), n.is_multiple_of(2)))
        }
        3 => {
            ("/v1/chat/completions", chat(format!("[[echo:half]][[die]]{n}"), n.is_multiple_of(2)))
        }
        4 => ("/v1/chat/completions", chat(format!("[[sleep:{}]][[echo:x]]{n}", n % 300), false)),
        5 => (
            "/v1/conversational",
            json!({"session_id": format!("s{}", n % 7), "message": format!("[[echo:hi]]{n}")}),
        ),
        6 => ("/execute", json!({"prompt": format!("[[slow:5,20]]{n}"), "agent": "a"})),
        _ => ("/v1/chat/completions", json!({"messages": n})),
    };
    let url = format!("http://{address}{path}");
    let request = client.post(url).bearer_auth(TOKEN).body(body.to_string()).send();
    if gone && path != "/execute" {
        // The client goes at some moment of the request.
        let patience = Duration::from_millis(u64::from(n % 200));
        let _ = tokio::time::timeout(patience, async { request.await?.text().await }).await;
        return ("gone".to_owned(), None);
    }
    let Ok(response) = request.await else { return ("no answer".to_owned(), None) };
    let status = response.status().as_u16();
    let text = response.text().await.unwrap_or_default();
    let job = serde_json::from_str::<Value>(&text).ok();
    let job = job.and_then(|job| Some(job["job_id"].as_str()?.to_owned()));
    (status.to_string(), job)
}

/// Kills one of the processes that the gateway started.
fn kill_one(state: &Path, n: u32) {
    let entry = format!("{}={}", afk_agent::tether::MARK, state.display());
    let found = afk_agent::sandbox::processes::marked(&entry);
    if let Some(process) = found.get(n as usize % found.len().max(1)) {
        process.id.signal(Signal::KILL);
    }
}

/// Waits until no call runs and none waits.
async fn settle(server: &Server) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut quiet = 0;
    while quiet < 10 {
        let url = format!("http://{}/health", server.address);
        let text = client.get(url).send().await.unwrap().text().await.unwrap();
        let health: Value = serde_json::from_str(&text).unwrap();
        quiet = if health["active"] == 0 && health["queued"] == 0 { quiet + 1 } else { 0 };
        assert!(Instant::now() < deadline, "{health}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
