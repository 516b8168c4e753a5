//! Faults of others that must not be ours: clients that go, wait, stall and come again; agents that
//! fork, die and flood.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stand::{BOUND, Stand, TOKEN, answer, cold, text};
use afk_gateway::{GatewaySettings, WarmSettings};

/// A request on a socket of its own, which the test closes when it likes.
async fn socket(stand: &Stand, path: &str, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(stand.address).await.unwrap();
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn chat(prompt: &str, stream: bool) -> Value {
    json!({"messages": [{"role": "user", "content": prompt}], "stream": stream})
}

/// Reads until the text contains `until`.
async fn read_until(stream: &mut TcpStream, until: &str) -> String {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains(until) {
        let read = tokio::time::timeout(BOUND, stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(read > 0, "closed after {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    text
}

#[tokio::test]
async fn faults_a_client_that_goes_frees_its_place_and_its_processes() {
    let stand = Stand::new(cold()).await;
    // In mid-stream.
    let mut client =
        socket(&stand, "/v1/chat/completions", &chat("[[echo:a]][[hang]]", true)).await;
    read_until(&mut client, "\"content\":\"a\"").await;
    drop(client);
    stand.until_load(0, 0).await;
    stand.until_no_processes().await;
    // Before the first delta.
    let client = socket(&stand, "/v1/chat/completions", &chat("[[hang]]1", true)).await;
    stand.until_load(1, 0).await;
    drop(client);
    stand.until_load(0, 0).await;
    // Not streaming.
    let client = socket(&stand, "/v1/chat/completions", &chat("[[hang]]2", false)).await;
    stand.until_load(1, 0).await;
    drop(client);
    stand.until_load(0, 0).await;
    let turn = json!({"session_id": "s", "message": "[[hang]]"});
    let client = socket(&stand, "/v1/conversational", &turn).await;
    stand.until_load(1, 0).await;
    drop(client);
    stand.until_load(0, 0).await;
    stand.until_no_processes().await;
}

#[tokio::test]
async fn faults_five_that_wait_and_go_start_nothing() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let holder = socket(&stand, "/v1/chat/completions", &chat("[[hang]]", true)).await;
    stand.until_load(1, 0).await;
    let mut waiting = Vec::new();
    for n in 0..5 {
        let stream = n % 2 == 0;
        let prompt = format!("[[echo:{n}]]");
        waiting.push(socket(&stand, "/v1/chat/completions", &chat(&prompt, stream)).await);
    }
    stand.until_load(1, 5).await;
    stand.until_starts(1).await;
    drop(waiting);
    stand.until_load(1, 0).await;
    drop(holder);
    stand.until_load(0, 0).await;
    assert_eq!(stand.starts().len(), 1);
    stand.until_no_processes().await;
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
async fn facts_a_retry_with_the_same_body_joins_the_run() {
    let stand = Stand::new(cold()).await;
    for (path, body) in [
        ("/v1/chat/completions", chat("[[sleep:700]][[echo:once]]", false)),
        ("/v1/conversational", json!({"session_id": "s", "message": "[[sleep:700]][[echo:once]]"})),
        ("/v1/chat/completions", chat("[[sleep:700]][[echo:once]]", true)),
    ] {
        let before = stand.starts().len();
        let first = socket(&stand, path, &body).await;
        stand.until_load(1, 0).await;
        drop(first);
        let retry = stand.post(path, &body).header("x-stainless-retry-count", "1");
        let response = retry.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.text().await.unwrap().contains("once"));
        assert_eq!(stand.starts().len() - before, 1, "{path}");
        stand.until_load(0, 0).await;
    }
    // Heard, so the same request is a new one.
    let (status, _) =
        answer(stand.chat("[[sleep:700]][[echo:once]]", json!({"stream": false}))).await;
    assert_eq!((status, stand.starts().len()), (200, 4));
}

#[tokio::test]
async fn facts_two_clients_that_ask_the_same_at_once_each_have_a_run() {
    let stand = Stand::new(cold()).await;
    for stream in [true, false] {
        let before = stand.starts().len();
        let body = chat("[[sleep:400]][[echo:mine]]", stream);
        let first = stand.post("/v1/chat/completions", &body);
        let second = stand.post("/v1/chat/completions", &body);
        let told = tokio::join!(first.send(), second.send());
        let told = [told.0.unwrap().text().await.unwrap(), told.1.unwrap().text().await.unwrap()];
        let id = |text: &str| {
            let rest = text.split_once("\"id\":\"").unwrap().1;
            rest.split_once('"').unwrap().0.to_owned()
        };
        assert!(told.iter().all(|text| text.contains("mine")), "{told:?}");
        assert_ne!(id(&told[0]), id(&told[1]));
        assert_eq!(stand.starts().len() - before, 2);
    }
    // A client that says that it tries again takes nothing from another one that listens.
    let body = chat("[[sleep:1500]][[echo:mine]]", true);
    let mut listens = socket(&stand, "/v1/chat/completions", &body).await;
    stand.until_load(1, 0).await;
    let retry = stand.post("/v1/chat/completions", &body).header("x-stainless-retry-count", "1");
    let (retry, heard) = tokio::join!(retry.send(), read_until(&mut listens, "[DONE]"));
    assert!(heard.contains("mine"));
    assert!(retry.unwrap().text().await.unwrap().contains("mine"));
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
    // It may have done something already.
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
async fn facts_the_key_of_a_stream_that_somebody_reads_starts_no_second_one() {
    let stand = Stand::new(cold()).await;
    let ask = |text: &str, key: &str| {
        let asked = stand.chat(text, json!({"stream": true}));
        asked.header("idempotency-key", key.to_owned()).send()
    };
    let mut first = ask("[[echo:a]][[sleep:500]][[echo:b]]", "k1").await.unwrap();
    let mut heard = String::from_utf8_lossy(&first.chunk().await.unwrap().unwrap()).into_owned();
    let second = async |n: u32| {
        let told = ask("[[echo:a]][[sleep:500]][[echo:b]]", "k1").await.unwrap();
        assert_eq!(told.status(), 409, "{n}");
        assert_eq!(told.headers()["x-should-retry"], "false");
        let body: Value = serde_json::from_str(&told.text().await.unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "idempotency_key_in_use");
    };
    second(1).await;
    heard += &first.text().await.unwrap();
    assert!(heard.ends_with("data: [DONE]\n\n"), "{heard}");
    stand.until_load(0, 0).await;
    second(2).await;
    assert_eq!(stand.starts().len(), 1);
    let other = ask("[[echo:c]]", "k2").await.unwrap().text().await.unwrap();
    assert!(other.contains("\"content\":\"c\""), "{other}");
}

/// A stream that ended without anybody's having read of it gives its key back.
#[tokio::test]
async fn facts_the_key_of_a_stream_that_nobody_read_can_be_used_again() {
    let stand = Stand::new(cold()).await;
    let gone = stand.chat("[[hang]]", json!({"stream": true})).header("idempotency-key", "k");
    let gone = tokio::spawn(gone.send());
    stand.until_load(1, 0).await;
    gone.abort();
    stand.until_load(0, 0).await;
    stand.until_no_processes().await;
    let deadline = Instant::now() + BOUND;
    loop {
        let again = stand.chat("[[echo:x]]", json!({"stream": true}));
        let again = again.header("idempotency-key", "k").send().await.unwrap();
        // Its place is free a moment before its key.
        if again.status() != 409 {
            assert!(again.text().await.unwrap().contains("\"content\":\"x\""));
            return;
        }
        assert!(Instant::now() < deadline, "the key was never given back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn facts_an_idempotency_key_is_honoured() {
    let stand = Stand::new(cold()).await;
    let ask = |text: &str, key: &str| {
        answer(stand.chat(text, json!({})).header("idempotency-key", key.to_owned()))
    };
    let (_, first) = ask("[[echo:a]]", "k1").await;
    let (_, again) = ask("[[echo:a]] ", "k1").await;
    assert_eq!(first["id"], again["id"]);
    let (_, other) = ask("[[echo:a]]", "k2").await;
    assert_ne!(first["id"], other["id"]);
    assert_eq!(stand.starts().len(), 2);
}

#[tokio::test]
async fn faults_a_silent_stream_says_something_and_holds_its_status_back_only_briefly() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let holder = socket(&stand, "/v1/chat/completions", &chat("[[hang]]", true)).await;
    stand.until_load(1, 0).await;
    let mut waiting = socket(&stand, "/v1/chat/completions", &chat("[[echo:x]]", true)).await;
    let head = read_until(&mut waiting, ": still working").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    drop(holder);
    let rest = read_until(&mut waiting, "[DONE]").await;
    assert!(rest.contains("\"content\":\"x\""));
}

#[tokio::test]
async fn faults_an_agent_that_forks_leaves_nothing() {
    let stand = Stand::new(cold()).await;
    let (status, body) = answer(stand.chat("[[fork:5]][[echo:done]]", json!({}))).await;
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("done")));
    stand.until_no_processes().await;
    // A grandchild that holds the pipe does not hold up a process that ends without a result.
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

#[tokio::test]
async fn faults_thirty_clients_that_send_much_and_go_hold_up_nobody() {
    let stand = Stand::new(cold()).await;
    let mut clients = Vec::new();
    for n in 0..30 {
        let body = chat(&format!("[[hang]]{n}{}", "x".repeat(5 << 20)), n % 2 == 0).to_string();
        let mut client = TcpStream::connect(stand.address).await.unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        // Some go in the middle of it.
        let sent = if n % 3 == 0 { body.len() } else { body.len() - 1 };
        client.write_all(&body.as_bytes()[..sent]).await.unwrap();
        clients.push(client);
    }
    drop(clients);
    assert!(stand.load().await.0 <= 10);
    stand.until_load(0, 0).await;
    stand.until_no_processes().await;
}

#[tokio::test]
async fn faults_a_slow_reader_gets_everything_and_frees_its_place() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let mut slow = socket(&stand, "/v1/chat/completions", &chat("[[deltas:800]]", true)).await;
    // It fits into what may wait for a client, so the place is free before anything is read.
    stand.until_load(0, 0).await;
    let all = read_until(&mut slow, "[DONE]").await;
    assert_eq!(all.matches("\"content\":\"word \"").count(), 800);
    // One that never reads an endless answer is cut off once another one waits for its place.
    let stuck = socket(&stand, "/v1/chat/completions", &chat("[[deltas:100000]]", true)).await;
    stand.until_load(1, 0).await;
    let (status, _) = answer(stand.chat("[[echo:me]]", json!({}))).await;
    assert_eq!(status, 200);
    drop(stuck);
    stand.until_no_processes().await;
}

#[tokio::test]
async fn faults_a_killed_cli_or_supervisor_is_an_error_and_leaves_nothing() {
    let stand = Stand::new(cold()).await;
    let state = stand.folder.path().join("state").canonicalize().unwrap();
    let entry = format!("{}={}", afk_agent::tether::MARK, state.display());
    for supervisor in [false, true] {
        let prompt = format!("[[echo:half]][[hang]]{supervisor}");
        let mut client = socket(&stand, "/v1/chat/completions", &chat(&prompt, true)).await;
        read_until(&mut client, "half").await;
        let mut found = afk_agent::sandbox::processes::marked(&entry);
        found.sort_by_key(|process| process.id.pid);
        assert_eq!(found.len(), 2);
        // The supervisor is the parent of the other.
        let (parent, child) = if found[1].parent == found[0].id.pid {
            (found[0], found[1])
        } else {
            (found[1], found[0])
        };
        let killed = if supervisor { parent } else { child };
        killed.id.signal(rustix::process::Signal::KILL);
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
    until_warm(&stand, 2).await;
    for n in 0..6 {
        let prompt = format!("canary-{n} [[prompt]]");
        let frames = stand.stream(&prompt, json!({})).await;
        assert_eq!(text(&frames), format!("User: {prompt}"));
    }
    let (_, metrics) = stand.get("/metrics").await;
    let metrics = metrics.as_str().unwrap().to_owned();
    assert!(metrics.contains("starts_total{process=\"warm\"}"), "{metrics}");
    // None is used twice: every turn has a process of its own.
    assert!(stand.starts().len() >= 6);
    let folder = stand.stop().await;
    crate::stand::until_none(&folder).await;
}

async fn until_warm(stand: &Stand, count: usize) {
    let deadline = Instant::now() + BOUND;
    loop {
        let (_, metrics) = stand.get("/metrics").await;
        if metrics.as_str().unwrap().contains(&format!("warm_processes {count}\n")) {
            return;
        }
        assert!(Instant::now() < deadline, "{metrics}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn faults_a_cli_that_cannot_start_makes_no_storm_and_heals() {
    let warm = WarmSettings { least: 3, per_model: 3, total: 3, max_age_seconds: 600 };
    let stand = Stand::new(GatewaySettings { warm, ..cold() }).await;
    until_warm(&stand, 3).await;
    let broken = stand.folder.path().join("state/home/broken");
    std::fs::write(&broken, "").unwrap();
    let before = stand.starts().len();
    for n in 0..10 {
        // The first ones find processes that wait; then each request has its own failure.
        let (status, _) = answer(stand.chat(&format!("[[fail:{n}]]"), json!({}))).await;
        assert_eq!(status, 503);
    }
    let started = stand.starts().len() - before;
    assert!(started <= 20, "{started} processes for 10 requests");
    std::fs::remove_file(&broken).unwrap();
    until_warm(&stand, 3).await;
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
        // A stream that waited for its place for long is told in a frame.
        assert!(status == 503 || stream && status == 200, "{status} {told}");
        assert!(told.to_string().contains("execution_failed"), "{told}");
    }
    stand.until_load(0, 0).await;
    let deadline = Instant::now() + BOUND;
    // Each is a supervisor and the CLI.
    while stand.processes() > 4 {
        assert!(Instant::now() < deadline, "{} processes", stand.processes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The server itself is killed, in the middle of everything.
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
    let deadline = Instant::now() + BOUND;
    // Two that wait, a stream with two grandchildren, a job: all with supervisors.
    loop {
        let text = jobs.try_clone().unwrap().send().await.unwrap().text().await.unwrap();
        let living = crate::stand::living(&folder);
        if text.contains("\"status\":\"running\"") && living >= 8 {
            break;
        }
        assert!(Instant::now() < deadline, "{living} {text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.kill().unwrap();
    server.wait().unwrap();
    crate::stand::until_none(&folder).await;
    // The job is told.
    let stand = Stand::at(folder, cold()).await;
    let (_, jobs) = stand.get("/jobs").await;
    assert_eq!(jobs["jobs"][0]["status"], "error");
}

#[tokio::test]
async fn faults_a_child_that_is_silent_lives() {
    let stand = Stand::new(cold()).await;
    let frames = stand.stream("[[sleep:1000]][[echo:late]]", json!({})).await;
    assert_eq!(text(&frames), "late");
    assert_eq!(frames.last().unwrap(), "[DONE]");
}
