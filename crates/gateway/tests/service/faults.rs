//! Faults of others that must not become ours: clients that go, wait, stall and come again; agents
//! that fork, die and flood.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use afk_agent::sandbox::processes::Process;
use afk_gateway::{GatewaySettings, WarmSettings};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::jobs::until_true;
use crate::stand::{BOUND, Stand, TOKEN, answer, cold, frames, text};

/// Sends a request on a socket of its own, which the test can close at any time.
pub(crate) async fn socket(stand: &Stand, path: &str, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(stand.address).await.unwrap();
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

pub(crate) fn chat(prompt: &str, stream: bool) -> Value {
    json!({"messages": [{"role": "user", "content": prompt}], "stream": stream})
}

/// Reads until the text contains `until`.
pub(crate) async fn read_until(stream: &mut TcpStream, until: &str) -> String {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains(until) {
        let read = tokio::time::timeout(BOUND, stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(read > 0, "closed after {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    text
}

/// Tries something up to five times until one try takes at most a second: a busy machine may hold
/// up one try, but not all of them. A slow machine has more time.
async fn within_a_second(what: &str, mut attempt: impl AsyncFnMut(u32) -> Duration) {
    let mut tries = Vec::new();
    for n in 0..5 {
        let took = attempt(n).await;
        let allowed = Duration::from_secs(1) + slowness();
        if took <= allowed {
            return;
        }
        tries.push((took, allowed));
    }
    panic!("{what}: took and was allowed {tries:?}");
}

/// Returns what a slow machine may need in addition: nothing if it starts a process and sees it end
/// within 5 ms, which most machines do.
fn slowness() -> Duration {
    let begun = Instant::now();
    assert!(std::process::Command::new("true").status().unwrap().success());
    begun.elapsed().saturating_sub(Duration::from_millis(5)) * 20
}

#[tokio::test]
async fn faults_a_client_that_goes_frees_its_place_and_its_processes_within_a_second() {
    const CHAT: &str = "/v1/chat/completions";
    let stand = Stand::new(cold()).await;
    let turn = json!({"session_id": "s", "message": "[[hang]]"});
    let cases = [
        ("in mid-stream", CHAT, chat("[[fork:2]][[echo:a]][[hang]]", true)),
        ("before the first delta", CHAT, chat("[[hang]]", true)),
        ("not streaming", CHAT, chat("[[fork:2]][[hang]]", false)),
        ("in a conversation", "/v1/conversational", turn),
    ];
    for (when, path, body) in cases {
        within_a_second(when, async |_| {
            let before = stand.starts().len();
            let mut client = socket(&stand, path, &body).await;
            stand.until_starts(before + 1).await;
            if when == "in mid-stream" {
                read_until(&mut client, "\"content\":\"a\"").await;
            }
            let gone = Instant::now();
            drop(client);
            stand.until_load(0, 0).await;
            stand.until_no_processes().await;
            gone.elapsed()
        })
        .await;
    }
}

#[tokio::test]
async fn faults_five_that_wait_and_go_start_nothing_and_free_their_places_within_a_second() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let holder = socket(&stand, "/v1/chat/completions", &chat("[[hang]]", true)).await;
    stand.until_load(1, 0).await;
    stand.until_starts(1).await;
    within_a_second("five that wait", async |attempt| {
        let mut waiting = Vec::new();
        for n in 0..5 {
            let prompt = format!("[[echo:{attempt} {n}]]");
            let body = chat(&prompt, n % 2 == 0);
            waiting.push(socket(&stand, "/v1/chat/completions", &body).await);
        }
        stand.until_load(1, 5).await;
        let gone = Instant::now();
        drop(waiting);
        stand.until_load(1, 0).await;
        gone.elapsed()
    })
    .await;
    drop(holder);
    stand.until_load(0, 0).await;
    assert_eq!(stand.starts().len(), 1);
    stand.until_no_processes().await;
}

/// The place comes up while the gateway still waits for a retry of the caller who has gone. A busy
/// machine may notice late that a caller is gone, but not every time.
#[tokio::test]
async fn faults_what_has_no_caller_when_its_place_comes_up_is_not_begun() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let turn = json!({"session_id": "s", "message": "[[echo:c]]"});
    for (path, body) in [
        ("/v1/chat/completions", chat("[[echo:a]]", true)),
        ("/v1/chat/completions", chat("[[echo:b]]", false)),
        ("/v1/conversational", turn),
    ] {
        let mut begun = 0;
        for _ in 0..5 {
            let starts = stand.starts().len();
            // This stream ends at once when its client goes, since the client has read something.
            let mut holder =
                socket(&stand, "/v1/chat/completions", &chat("[[echo:half]][[hang]]", true)).await;
            read_until(&mut holder, "half").await;
            let waiting = socket(&stand, path, &body).await;
            stand.until_load(1, 1).await;
            drop(waiting);
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(holder);
            stand.until_load(0, 0).await;
            begun = stand.starts().len() - starts - 1;
            if begun == 0 {
                break;
            }
        }
        assert_eq!(begun, 0, "{body}");
    }
}

#[tokio::test]
async fn facts_a_full_queue_is_refused_and_may_be_retried() {
    let settings = GatewaySettings { max_concurrency: 1, max_queue_depth: 2, ..cold() };
    let stand = Stand::new(settings).await;
    let _running = socket(&stand, "/v1/chat/completions", &chat("[[hang]]", true)).await;
    stand.until_load(1, 0).await;
    let _waiting = socket(&stand, "/v1/chat/completions", &chat("[[hang]]2", false)).await;
    stand.until_load(1, 1).await;
    for stream in [false, true] {
        let response = stand.chat("x", json!({"stream": stream})).send().await.unwrap();
        assert_eq!(response.status(), 503);
        let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait) && !response.headers().contains_key("x-should-retry"));
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(body["detail"], "queue full");
    }
    let job = json!({"prompt": "p", "agent": "a"});
    let (status, body) = answer(stand.post("/execute", &job)).await;
    assert_eq!((status, &body["detail"]), (429, &json!("Queue full")));
}

#[tokio::test]
async fn faults_clients_that_ask_the_same_and_go_all_free_their_places() {
    let stand = Stand::new(cold()).await;
    for stream in [true, false] {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(socket(&stand, "/v1/chat/completions", &chat("[[hang]]", stream)).await);
        }
        stand.until_load(4, 0).await;
        drop(clients);
        stand.until_load(0, 0).await;
        stand.until_no_processes().await;
    }
}

#[tokio::test]
async fn facts_an_answer_under_way_when_the_service_stops_ends_as_an_error() {
    let stand = Stand::new(cold()).await;
    let mut stream =
        socket(&stand, "/v1/chat/completions", &chat("[[echo:half]][[hang]]", true)).await;
    read_until(&mut stream, "half").await;
    let mut whole = socket(&stand, "/v1/chat/completions", &chat("[[hang]]", false)).await;
    stand.until_load(2, 0).await;
    stand.gateway.stop();
    let rest = read_until(&mut stream, "[DONE]").await;
    assert!(rest.contains("\"code\":\"stopping\"") && !rest.contains("\"stop\""), "{rest}");
    let told = read_until(&mut whole, "stopping").await;
    assert!(told.starts_with("HTTP/1.1 503"), "{told}");
    // The turn may have done something already, so no client may run it again by itself.
    assert!(told.contains("x-should-retry: false") && !told.contains("retry-after"), "{told}");
    stand.until_no_processes().await;
}

#[tokio::test]
async fn facts_a_request_that_still_waits_when_the_service_stops_may_be_sent_again() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let mut holder =
        socket(&stand, "/v1/chat/completions", &chat("[[echo:half]][[hang]]", true)).await;
    read_until(&mut holder, "half").await;
    let mut waiting = socket(&stand, "/v1/chat/completions", &chat("[[echo:x]]", false)).await;
    stand.until_load(1, 1).await;
    stand.gateway.stop();
    let told = read_until(&mut waiting, "\"stopping\"").await;
    assert!(told.starts_with("HTTP/1.1 503"), "{told}");
    assert!(told.contains("retry-after: 5") && !told.contains("x-should-retry"), "{told}");
    assert_eq!(stand.starts().len(), 1);
}

#[tokio::test]
async fn faults_a_silent_stream_says_something_every_five_seconds() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let body = chat("[[echo:a]][[hang]]", true);
    let mut running = socket(&stand, "/v1/chat/completions", &body).await;
    read_until(&mut running, "\"content\":\"a\"").await;
    let mut queued = socket(&stand, "/v1/chat/completions", &chat("[[echo:x]]", true)).await;
    let twice = async |stream: &mut TcpStream| {
        let mut seen = String::new();
        for _ in 0..2 {
            let comment = read_until(stream, ": still working\n\n");
            seen +=
                &tokio::time::timeout(Duration::from_secs(5), comment).await.expect("a comment");
        }
        seen
    };
    let (_, head) = tokio::join!(twice(&mut running), twice(&mut queued));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    drop(running);
    let rest = read_until(&mut queued, "[DONE]").await;
    assert!(rest.contains("\"content\":\"x\""));
}

/// An early failure is a real error response; without one, the status comes after two seconds.
#[tokio::test]
async fn facts_the_status_of_a_stream_is_held_back_for_two_seconds() {
    let stand = Stand::new(cold()).await;
    let ask = async |prompt: String| {
        let response = stand.chat(&prompt, json!({"stream": true})).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let early = async {
        let mut told = Vec::new();
        // A busy machine may be late with one of them, but not with all.
        for n in 0..5 {
            told.push(ask(format!("[[sleep:1000]][[fail:early]]{n}")).await);
            if told.last().is_some_and(|(status, _)| *status == 503) {
                return;
            }
        }
        panic!("{told:?}");
    };
    let ((), (status, told)) = tokio::join!(early, ask("[[sleep:4000]][[fail:late]]".to_owned()));
    assert_eq!(status, 200);
    let frames = frames(&told);
    assert!(frames[0].contains("execution failed: late") && frames[1] == "[DONE]", "{told}");
}

#[tokio::test]
async fn faults_an_agent_that_forks_leaves_nothing() {
    let stand = Stand::new(cold()).await;
    let (status, body) = answer(stand.chat("[[fork:5]][[echo:done]]", json!({}))).await;
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("done")));
    stand.until_no_processes().await;
    // Grandchildren that hold the pipe open do not delay the end of a turn without a result.
    let (status, _) = answer(stand.chat("[[fork:3]][[exit:4]]", json!({}))).await;
    assert_eq!(status, 503);
    stand.until_no_processes().await;
    let frames = stand.stream("[[fork:2]][[echo:x]]", json!({})).await;
    assert_eq!(text(&frames), "x");
    stand.until_no_processes().await;
}

#[tokio::test]
async fn faults_cyrillic_that_is_cut_at_every_byte_is_whole() {
    let stand = Stand::new(cold()).await;
    let frames = stand.stream("[[bytes]]", json!({})).await;
    assert_eq!(text(&frames), "Здравейте, как сте?");
    let (_, metrics) = stand.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("afk_gateway_replacement_characters_total 0"));
}

/// The probes answer all the while, even if the service has only one thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn faults_thirty_clients_that_send_much_and_go_hold_up_nobody() {
    let stand = Stand::new(cold()).await;
    let much = "x".repeat(5 << 20);
    let client = async |n: usize| {
        let begin = format!(r#"{{"messages": [{{"role": "user", "content": "[[hang]]{n}"#);
        let end = format!(r#""}}], "stream": {}}}"#, n.is_multiple_of(2));
        let mut client = TcpStream::connect(stand.address).await.unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
             content-length: {}\r\n\r\n{begin}",
            begin.len() + much.len() + end.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(much.as_bytes()).await.unwrap();
        // All but two clients go in the middle of their bodies.
        if n.is_multiple_of(15) {
            client.write_all(end.as_bytes()).await.unwrap();
        }
        client
    };
    within_a_second("the slowest answer of /health", async |_| {
        let over = Arc::new(AtomicBool::new(false));
        let (is_over, health) = (Arc::clone(&over), stand.client.get(stand.url("/health")));
        let polls = tokio::spawn(async move {
            let mut took = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let (_, health) = answer(health.try_clone().unwrap()).await;
                assert!(health["active"].as_u64().unwrap() <= 2, "{health}");
                took.push(begun.elapsed());
            }
            took
        });
        let clients = futures_util::future::join_all((0..30).map(client)).await;
        stand.until_load(2, 0).await;
        drop(clients);
        stand.until_load(0, 0).await;
        stand.until_no_processes().await;
        over.store(true, Ordering::Relaxed);
        let took = polls.await.unwrap();
        assert!(took.len() >= 10, "{took:?}");
        took.into_iter().max().unwrap()
    })
    .await;
}

#[tokio::test]
async fn faults_a_slow_reader_gets_everything_and_frees_its_place() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let mut slow = socket(&stand, "/v1/chat/completions", &chat("[[deltas:800]]", true)).await;
    // The answer fits into the outlet's buffer, so the place is free before anything is read.
    stand.until_load(0, 0).await;
    let all = read_until(&mut slow, "[DONE]").await;
    assert_eq!(all.matches("\"content\":\"word \"").count(), 800);
    // A client that never reads a long answer is cut off once another one waits for its place.
    let stuck = socket(&stand, "/v1/chat/completions", &chat("[[deltas:100000]]", true)).await;
    stand.until_load(1, 0).await;
    let (status, _) = answer(stand.chat("[[echo:me]]", json!({}))).await;
    assert_eq!(status, 200);
    drop(stuck);
    stand.until_no_processes().await;
}

/// Returns the supervisor of the only CLI that runs, and that CLI.
fn supervisor_and_cli(stand: &Stand) -> (Process, Process) {
    let state = stand.folder.path().join("state").canonicalize().unwrap();
    let entry = format!("{}={}", afk_agent::tether::MARK, state.display());
    let found = afk_agent::sandbox::processes::marked(&entry);
    let [one, other] = found[..] else { panic!("{} processes", found.len()) };
    if other.parent == one.id.pid { (one, other) } else { (other, one) }
}

#[tokio::test]
async fn faults_a_killed_cli_or_supervisor_is_an_error_and_leaves_nothing() {
    let stand = Stand::new(cold()).await;
    for supervisor in [false, true] {
        let prompt = format!("[[echo:half]][[hang]]{supervisor}");
        let mut client = socket(&stand, "/v1/chat/completions", &chat(&prompt, true)).await;
        read_until(&mut client, "half").await;
        let (parent, child) = supervisor_and_cli(&stand);
        let killed = if supervisor { parent } else { child };
        killed.id.signal(Signal::KILL);
        let rest = read_until(&mut client, "[DONE]").await;
        assert!(rest.contains("execution_failed") && !rest.contains("\"stop\""), "{rest}");
        stand.until_no_processes().await;
    }
}

#[tokio::test]
async fn faults_a_second_gateway_on_the_same_folder_is_refused() {
    let stand = Stand::new(cold()).await;
    let second = crate::stand::start(stand.folder.path(), cold());
    let error = afk_gateway::Gateway::open(second).await.unwrap_err().to_string();
    assert!(error.starts_with("another gateway uses"), "{error}");
}

#[tokio::test]
async fn faults_two_callers_share_nothing_and_a_warm_process_serves_one_turn() {
    let warm = WarmSettings { least: 2, per_model: 2, total: 2, max_age_seconds: 600 };
    let stand = Stand::new(GatewaySettings { warm, ..cold() }).await;
    stand.until_warm(2).await;
    for n in 0..6 {
        let prompt = format!("canary-{n} [[prompt]]");
        let frames = stand.stream(&prompt, json!({})).await;
        assert_eq!(text(&frames), format!("User: {prompt}"));
    }
    let (_, metrics) = stand.get("/metrics").await;
    let metrics = metrics.as_str().unwrap().to_owned();
    assert!(metrics.contains("starts_total{process=\"warm\"}"), "{metrics}");
    // No process is used twice: every turn has one of its own.
    assert!(stand.starts().len() >= 6);
    let folder = stand.stop().await;
    crate::stand::until_none(&folder).await;
}

#[tokio::test]
async fn faults_a_cli_that_cannot_start_makes_no_storm_and_heals() {
    let warm = WarmSettings { least: 3, per_model: 3, total: 3, max_age_seconds: 600 };
    let stand = Stand::new(GatewaySettings { warm, ..cold() }).await;
    stand.until_warm(3).await;
    let broken = stand.folder.path().join("state/home/broken");
    std::fs::write(&broken, "").unwrap();
    let before = stand.starts().len();
    for n in 0..10 {
        // The first requests find waiting processes; each of the others fails by itself.
        let (status, _) = answer(stand.chat(&format!("[[fail:{n}]]"), json!({}))).await;
        assert_eq!(status, 503);
    }
    let started = stand.starts().len() - before;
    assert!(started <= 20, "{started} processes for 10 requests");
    std::fs::remove_file(&broken).unwrap();
    stand.until_warm(3).await;
}

/// One CLI hangs before it is ready, the other refuses lines of JSON.
#[tokio::test]
async fn faults_a_cli_that_cannot_wait_for_its_turn_costs_nobody() {
    for fault in ["hangs", "takes-no-lines"] {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("state/home");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join(fault), "").unwrap();
        let warm = WarmSettings { least: 2, per_model: 2, total: 2, max_age_seconds: 600 };
        let stand = Stand::at(folder, GatewaySettings { warm, ..cold() }).await;
        stand.until_starts(2).await;
        for n in 0..5 {
            let prompt = format!("[[echo:{n}]]");
            let (status, body) = answer(stand.chat(&prompt, json!({}))).await;
            let said = &body["choices"][0]["message"]["content"];
            assert_eq!((status, said), (200, &json!(n.to_string())), "{fault}: {body}");
            assert_eq!(text(&stand.stream(&prompt, json!({})).await), n.to_string(), "{fault}");
        }
        let metrics = stand.metrics().await;
        assert!(metrics.contains("starts_total{process=\"cold\"} 10"), "{fault}: {metrics}");
        assert!(!metrics.contains("process=\"warm\""), "{fault}: {metrics}");
        let folder = stand.stop().await;
        crate::stand::until_none(&folder).await;
    }
}

#[tokio::test]
async fn faults_a_waiting_process_that_is_stuck_costs_its_own_request_alone() {
    let warm = WarmSettings { least: 1, per_model: 1, total: 1, max_age_seconds: 600 };
    // The three that run beside the stuck one have this time, too.
    let settings = GatewaySettings { warm, conversational_timeout_seconds: 5, ..cold() };
    let stand = Stand::new(settings).await;
    stand.until_warm(1).await;
    let (_, stuck) = supervisor_and_cli(&stand);
    stuck.id.signal(Signal::STOP);
    let mut client = socket(&stand, "/v1/chat/completions", &chat("[[echo:a]]", true)).await;
    stand.until_load(1, 0).await;
    for n in 0..3 {
        let frames = stand.stream(&format!("[[echo:{n}]]"), json!({})).await;
        assert_eq!(text(&frames), n.to_string());
    }
    let told = read_until(&mut client, "agent timed out").await;
    assert!(!told.contains("\"stop\""), "{told}");
    stand.until_load(0, 0).await;
    stand.until_warm(1).await;
    until_true("only those of the one that waits are left", || stand.processes() == 2).await;
}

#[tokio::test]
async fn faults_failing_turns_leave_as_many_processes_as_the_pool() {
    let warm = WarmSettings { least: 1, per_model: 2, total: 2, max_age_seconds: 600 };
    let stand = Stand::new(GatewaySettings { warm, ..cold() }).await;
    let mut turns = tokio::task::JoinSet::new();
    for n in 0..60 {
        let stream = n % 2 == 0;
        let turn = answer(stand.chat(&format!("[[fail:{n}]]"), json!({"stream": stream})));
        turns.spawn(async move { (stream, turn.await) });
    }
    while let Some(done) = turns.join_next().await {
        let (stream, (status, told)) = done.unwrap();
        // A stream that waited long for its place has sent its status, and gets an error frame.
        assert!(status == 503 || stream && status == 200, "{status} {told}");
        assert!(told.to_string().contains("execution_failed"), "{told}");
    }
    stand.until_load(0, 0).await;
    let deadline = Instant::now() + BOUND;
    // Each of the pool's two is a supervisor and the CLI.
    while stand.processes() > 4 {
        assert!(Instant::now() < deadline, "{} processes", stand.processes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The server is killed while processes wait, a stream runs and a job runs.
#[tokio::test]
async fn faults_kill_9_of_the_server_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let settings = json!({"program": env!("CARGO_BIN_EXE_scripted-claude"), "warm": {"least": 2}});
    let mut server = std::process::Command::new(env!("CARGO_BIN_EXE_afk-gateway"))
        .arg("serve")
        .arg(folder.path().join("state"))
        .arg(settings.to_string())
        .env("API_BEARER_TOKEN", TOKEN)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = server.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
    let address: std::net::SocketAddr = line.trim().parse().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |path: &str, body: Value| {
        client.post(format!("http://{address}{path}")).bearer_auth(TOKEN).body(body.to_string())
    };
    let mut stream = post("/v1/chat/completions", chat("[[fork:2]][[echo:a]][[hang]]", true))
        .send()
        .await
        .unwrap();
    stream.chunk().await.unwrap();
    let job = json!({"prompt": "[[hang]]", "agent": "a"});
    assert_eq!(post("/execute", job).send().await.unwrap().status(), 202);
    let jobs = client.get(format!("http://{address}/jobs")).bearer_auth(TOKEN);
    let checkouts = folder.path().join("state/checkouts");
    // A checkout and its home.
    let left = || std::fs::read_dir(&checkouts).unwrap().count();
    let deadline = Instant::now() + BOUND;
    // Waiting processes, a stream's with two grandchildren, and a job's, each with a supervisor.
    loop {
        let text = jobs.try_clone().unwrap().send().await.unwrap().text().await.unwrap();
        let living = crate::stand::living(&folder);
        if text.contains("\"status\":\"running\"") && living >= 8 && left() == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{living} {text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.kill().unwrap();
    server.wait().unwrap();
    crate::stand::until_none(&folder).await;
    assert_eq!(left(), 2, "nobody could remove it");
    // After a restart the job has ended as an error, and its checkout is gone.
    let stand = Stand::at(folder, cold()).await;
    assert_eq!(left(), 0);
    let (_, jobs) = stand.get("/jobs").await;
    assert_eq!(jobs["jobs"][0]["status"], "error");
}

/// The thread that started the child ends meanwhile, and the child must not die with it.
#[test]
fn faults_a_child_that_is_silent_lives() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).thread_keep_alive(Duration::from_millis(20)).enable_all();
    runtime.build().unwrap().block_on(async {
        let stand = Stand::new(cold()).await;
        let prompt = "[[sleep:6000]][[echo:late]]";
        let (frames, (status, body)) =
            tokio::join!(stand.stream(prompt, json!({})), answer(stand.chat(prompt, json!({}))));
        assert_eq!((text(&frames).as_str(), frames.last().unwrap().as_str()), ("late", "[DONE]"));
        let said = &body["choices"][0]["message"]["content"];
        assert_eq!((status, said), (200, &json!("late")), "{body}");
    });
}
