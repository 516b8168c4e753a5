//! Stops and kills the server: what clients, agents and the audit log see of it.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{BOUND, Place, SOON, TOKEN, answer, kinds, until, verified};

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_mid_turn_is_told_and_leaves_nothing() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "please hang").await;
    server.attach(&session).await.until_text("I hang").await;
    until("the agent, what it started, and its supervisor are there", || place.alive() >= 4).await;
    server.kill();
    until("nothing of the agent is left", || place.alive() == 0).await;

    let server = place.serve();
    let events = server.transcript(&session).await;
    assert_eq!(kinds(&events), ["user", "session", "text", "error", "turn_end"]);
    assert!(events[3]["error"].as_str().unwrap().starts_with("the server was stopped"));
    server.started(&session, "go on").await;
    let mut stream = server.attach(&session).await;
    stream.until_turn_end().await;
    let more = stream.until_turn_end().await;
    assert_eq!(kinds(&more), ["user", "session", "tool", "text", "result", "turn_end"]);
    assert!(place.calls().ends_with(&format!("--resume {session}\n")), "{}", place.calls());
    drop(server);
    let (whole, said) = verified(&place.audit());
    assert!(whole && !said.contains("has no end"), "{said}");
    let audit = std::fs::read_to_string(place.audit()).unwrap();
    assert!(audit.contains("unknown: the server died before it ended"), "{audit}");
    // The same log with one word changed does not pass the check.
    std::fs::write(place.audit(), audit.replacen("hang", "sing", 1)).unwrap();
    let (whole, said) = verified(&place.audit());
    assert!(!whole && said.contains("broken at line"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlives_the_server_and_its_supervisors_is_ended_by_the_next_server() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "please hang").await;
    server.attach(&session).await.until_text("I hang").await;
    until("the agent, what it started, and its supervisor are there", || place.alive() >= 4).await;
    let supervisors = place.supervisors();
    assert!(!supervisors.is_empty());
    // All are killed as if at once, as when memory runs out: no supervisor sees the server die.
    for supervisor in &supervisors {
        supervisor.signal(Signal::STOP);
    }
    server.kill();
    for supervisor in &supervisors {
        supervisor.signal(Signal::KILL);
    }
    until("the supervisors are gone", || place.supervisors().is_empty()).await;
    assert!(place.alive() >= 2, "the agent lives on");
    let server = place.serve();
    assert_eq!(place.alive(), 0);
    assert!(server.log().contains("an earlier server left behind"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_turns_and_streams_soon() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "please hang").await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(server.attach(&session).await);
    }
    streams[0].until_text("I hang").await;
    // One more turn, in the middle of a flood that one client does not read.
    let flooded = server.session().await;
    let _stalled = server.stalled(&flooded).await;
    server.started(&flooded, "please flood").await;
    // By then the flood is more than the buffers of a connection hold.
    server.attach(&flooded).await.until(|event| event["id"] == 150).await;
    assert!(server.stop() < SOON);
    assert_eq!(place.alive(), 0);
    for mut stream in streams {
        while stream.next().await.is_some() {}
    }
    let last_of = |session: &str| {
        let log = std::fs::read_to_string(place.sessions().join(session).join("events.jsonl"));
        let log = log.unwrap();
        log.lines().rev().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let last = last_of(&session);
    assert_eq!(last[0], r#"{"kind":"turn_end"}"#);
    assert!(last[1].contains("the server is being stopped"), "{}", last[1]);
    // The flood was stopped, or had filled its log a moment before. Either way its turn has an end.
    assert_eq!(last_of(&flooded)[0], r#"{"kind":"turn_end"}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_and_five_kills_and_every_transcript_is_the_same() {
    const CLIENTS: usize = 50;
    const KILLS: usize = 5;
    let place = Place::new();
    let mut server = place.serve();
    let session = server.session().await;
    let address = server.address.clone();
    // Each client reconnects with its place in the stream until it has seen the last turn's end.
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| tokio::spawn(client(address.clone(), session.clone(), n, KILLS + 1)))
        .collect();
    for kill in 0..KILLS {
        server.started(&session, &format!("stream {kill}")).await;
        // Kill the server in the middle of the turn, at another event each time.
        server
            .attach(&session)
            .await
            .until(|event| {
                event["text"] == format!("line {}", 7 + 13 * kill)
                    && event["id"].as_u64() > Some(lines(&place, &session, kill))
            })
            .await;
        let at = server.kill();
        server = place.serve_at(&at);
    }
    server.started(&session, "stream to the end").await;
    let mut transcripts = Vec::new();
    for client in clients {
        let Ok(transcript) = tokio::time::timeout(BOUND, client).await else {
            let log = std::fs::read_to_string(place.sessions().join(&session).join("events.jsonl"));
            let log = log.unwrap();
            let ends = log.matches("\"turn_end\"").count();
            let last = log.lines().last().unwrap_or_default();
            let (done, said) = (transcripts.len(), server.log());
            panic!("{done} are done, {ends} turns ended, the last event: {last}, said: {said}");
        };
        transcripts.push(transcript.expect("no panic"));
    }
    let kept = std::fs::read_to_string(place.sessions().join(&session).join("events.jsonl"));
    let events = kept.unwrap().lines().count();
    let expected = &transcripts[0];
    assert!(transcripts.iter().all(|transcript| transcript == expected), "all the same");
    let ids: Vec<u64> = expected.lines().map(id).collect();
    assert_eq!(ids, (0..events as u64).collect::<Vec<_>>(), "nothing twice, nothing lost");
    println!(
        "{CLIENTS} clients, {KILLS} kills, {events} events, {} bytes each: byte-equal",
        expected.len()
    );
    assert_eq!(place.alive(), 0);
}

/// Returns how many events there were before turn `n` began.
fn lines(place: &Place, session: &str, n: usize) -> u64 {
    let log = std::fs::read_to_string(place.sessions().join(session).join("events.jsonl"));
    let log = log.unwrap();
    let begun = log.lines().position(|line| line.contains(&format!("\"stream {n}\"")));
    begun.unwrap() as u64
}

fn id(line: &str) -> u64 {
    let event: Value = serde_json::from_str(line).expect("an object");
    event["id"].as_u64().expect("a number")
}

/// Runs one client until `turns` turns have ended. Returns its events' data, one a line.
async fn client(address: String, session: String, n: usize, turns: usize) -> String {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{address}/api/session/{session}/stream");
    let (mut all, mut ends) = (String::new(), 0);
    loop {
        let last = all.lines().count().checked_sub(1);
        let request = match (last, n % 2) {
            (None, _) => http.get(&url),
            (Some(last), 0) => http.get(&url).header("Last-Event-ID", last),
            (Some(last), _) => http.get(format!("{url}?last_event_id={last}")),
        };
        let Ok(mut response) = request.bearer_auth(TOKEN).send().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut buffer = Vec::new();
        while let Ok(Some(bytes)) = response.chunk().await {
            buffer.extend_from_slice(&bytes);
            while let Some(end) = buffer.windows(2).position(|two| two == b"\n\n") {
                let frame: Vec<u8> = buffer.drain(..end + 2).collect();
                let frame = String::from_utf8(frame).unwrap();
                if let Some(data) =
                    frame.strip_prefix("id: ").and_then(|rest| rest.split_once("data: "))
                {
                    all.push_str(data.1.trim_end_matches('\n'));
                    all.push('\n');
                    ends += usize::from(data.1.contains("\"kind\":\"turn_end\""));
                }
            }
            if ends == turns {
                return all;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_gone_is_told() {
    let place = Place::new().with(&["--max-sessions", "2"]);
    let server = place.serve();
    let first = server.session().await;
    server.started(&first, "hello").await;
    server.transcript(&first).await;
    // The session is removed once the server has noticed that nobody is attached any more.
    let deadline = std::time::Instant::now() + BOUND;
    while place.sessions().join(&first).exists() {
        assert!(std::time::Instant::now() < deadline, "it never makes room");
        // A new session is refused while all are in use.
        answer(server.post("/api/session")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, body) = answer(server.get(&format!("/api/session/{first}/stream"))).await;
    assert_eq!((status.as_u16(), body["detail"].as_str()), (404, Some("session not found")));
}
