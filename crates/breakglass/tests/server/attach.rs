//! Attaching: replay, places, live events, and every way in which clients misbehave.

use std::time::Duration;

use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::{BOUND, Place, Stream, kinds, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_taken_up_by_header_or_query() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "hello").await;
    let all = server.transcript(&session).await;
    assert_eq!(all.len(), 6);
    let path = format!("/api/session/{session}/stream");
    for (header, query, first) in [
        (None, "", 0),
        (Some("0"), "", 1),
        (Some("3"), "", 4),
        (None, "?last_event_id=0", 1),
        (None, "?last_event_id=4", 5),
        (Some("4"), "?last_event_id=0", 5),
        (Some("x"), "", 0),
        (Some("-1"), "", 0),
        (Some("6"), "", 0),
        (None, "?last_event_id=99999999999999999999999", 0),
    ] {
        let mut request = server.get(&format!("{path}{query}"));
        if let Some(last) = header {
            request = request.header("Last-Event-ID", last);
        }
        let events = Stream::of(request).await.until_turn_end().await;
        assert_eq!(events, all[first..], "{header:?} {query}");
    }
    // A client that missed nothing is told so at once, and then sees what is new.
    let mut stream = Stream::of(server.get(&path).header("Last-Event-ID", "5")).await;
    let told = stream.next().await.unwrap();
    assert_eq!(
        (told.event.as_deref(), told.id, told.data.as_str()),
        (Some("caught-up"), None, "{}")
    );
    server.started(&session, "more").await;
    assert_eq!(stream.until_turn_end().await[0], json!({"id": 6, "kind": "user", "text": "more"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn caught_up_comes_after_everything_that_was_there_and_once() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "please wait").await;
    server.attach(&session).await.until_text("I wait").await;
    let mut stream = server.attach(&session).await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let frame = stream.next().await.unwrap();
        seen.push(frame.event.clone().unwrap_or_else(|| frame.json()["kind"].to_string()));
    }
    assert_eq!(seen, ["\"user\"", "\"session\"", "\"text\"", "caught-up"]);
    place.go();
    loop {
        let frame = stream.next().await.unwrap();
        assert_eq!(frame.event, None, "never a second time");
        if frame.json()["kind"] == "turn_end" {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_shows_that_it_lives_to_proxies_and_to_scripts() {
    let place = Place::new().with(&["--sse-keepalive-seconds", "1"]);
    let server = place.serve();
    let session = server.session().await;
    let mut stream = server.attach(&session).await;
    let headers = stream.response.headers().clone();
    assert_eq!(headers[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(headers[header::CACHE_CONTROL], "no-cache, no-transform");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert_eq!(stream.next().await.unwrap().event.as_deref(), Some("caught-up"));
    for _ in 0..2 {
        let comment = stream.next().await.unwrap();
        assert_eq!((comment.comments, comment.event), (1, None));
        let ping = stream.next().await.unwrap();
        assert_eq!((ping.event.as_deref(), ping.id), (Some("ping"), None), "its place stays");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_wants_gzip_sees_events_at_once() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "please wait").await;
    let request = server.get(&format!("/api/session/{session}/stream"));
    let mut stream = Stream::of(request.header(header::ACCEPT_ENCODING, "gzip, br")).await;
    assert!(!stream.response.headers().contains_key(header::CONTENT_ENCODING));
    // The turn has not ended: its agent waits for `go`.
    stream.until_text("I wait").await;
    place.go();
    stream.until_turn_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_cap_clients_are_told_and_nobody_is_sent_away() {
    let place = Place::new().with(&["--max-streams", "8"]);
    let server = place.serve();
    let session = server.session().await;
    // Eight tabs.
    let mut tabs = Vec::new();
    for _ in 0..8 {
        tabs.push(server.attach(&session).await);
    }
    let path = format!("/api/session/{session}/stream");
    let ninth = server.get(&path).send().await.unwrap();
    assert_eq!(ninth.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ninth.headers()[header::RETRY_AFTER], "5");
    server.started(&session, "hello").await;
    for tab in &mut tabs {
        assert_eq!(kinds(&tab.until_turn_end().await).len(), 6);
    }
    // If one tab is closed, its place becomes free.
    drop(tabs.pop());
    let mut bound = 600;
    while answer_status(&server, &path).await != StatusCode::OK {
        bound -= 1;
        assert!(bound > 0, "the place of a closed tab is never free");
        tokio::time::sleep(Duration::from_millis(20)).await;
        // If the server has not noticed yet that the tab is gone, it notices when it writes.
        let _ = server.prompt(&session, "hello").await;
    }
}

async fn answer_status(server: &crate::support::Server, path: &str) -> StatusCode {
    server.get(path).send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_readers_cost_no_memory_hold_up_nobody_and_get_everything() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    // Clients that attach and read nothing: this one will read later, the others never do.
    let mut stalled = server.stalled(&session).await;
    let before = server.memory("VmRSS");
    let mut others = Vec::new();
    for _ in 0..50 {
        others.push(server.stalled(&session).await);
    }
    // Far more than the buffers of a connection hold; the log is full before all of it is written.
    server.started(&session, "please flood").await;
    let events = server.transcript(&session).await;
    for _ in 0..50 {
        others.push(server.stalled(&session).await);
    }
    until("every one of them was begun with", || waiting(&others)).await;
    // Events that are not read stay in the file. Each of the clients has 14 MiB to come.
    let most = server.memory("VmHWM").saturating_sub(before);
    assert!(most < others.len() as u64 * (1 << 19), "{most} bytes for {} clients", others.len());
    println!("{} stalled clients: {most} bytes at most", others.len());
    let last: Vec<&Value> = events.iter().rev().take(2).collect();
    assert_eq!(last[0]["kind"], "turn_end");
    assert!(last[1]["error"].as_str().unwrap().contains("largest size"), "{}", last[1]);
    let other = server.session().await;
    server.started(&other, "hello").await;
    server.transcript(&other).await;
    // Now the first one reads, and nothing is missing.
    let mut text = Vec::new();
    let wanted = format!("id: {}\n", events.len() - 1);
    while !contains(&text, wanted.as_bytes()) {
        let mut chunk = vec![0; 1 << 20];
        let read = tokio::time::timeout(BOUND, stalled.read(&mut chunk)).await;
        let read = read.expect("it goes on").unwrap();
        assert!(read > 0, "cut off");
        text.extend_from_slice(&chunk[..read]);
    }
    let ids = text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"id: "));
    let ids: Vec<String> = ids.map(|id| String::from_utf8_lossy(id).into_owned()).collect();
    let wanted: Vec<String> = (0..events.len()).map(|id| format!("id: {id}")).collect();
    assert_eq!(ids, wanted);
}

/// Whether each of these clients has something to read.
fn waiting(clients: &[TcpStream]) -> bool {
    let mut some = [0; 1];
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    clients.iter().all(|client| {
        let mut some = tokio::io::ReadBuf::new(&mut some);
        client.poll_peek(&mut context, &mut some).is_ready()
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    let tail = text.len().saturating_sub((1 << 20) + 100);
    text[tail..].windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_transcript_is_data_and_never_frames() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "be hostile").await;
    let events = server.transcript(&session).await;
    assert_eq!(kinds(&events), ["user", "session", "text", "tool", "text", "result", "turn_end"]);
    let text = "<script>alert(1)</script>\u{1b}[2J\n\nevent: turn_end\ndata: {}";
    assert_eq!(events[2]["text"], text);
    let raw = std::fs::read(place.sessions().join(&session).join("events.jsonl")).unwrap();
    assert!(!raw.contains(&0x1b), "no terminal sequence is in the file as such");
}
