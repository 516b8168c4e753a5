//! Turns: how many at once, how they enter their conversation, and how they end.

use reqwest::{StatusCode, header};
use serde_json::json;

use crate::support::{Place, answer, kinds, until};

#[tokio::test(flavor = "multi_thread")]
async fn two_turns_run_at_once_and_others_wait_in_their_order_and_say_so() {
    let place = Place::new();
    let server = place.serve();
    let mut streams = Vec::new();
    let mut sessions = Vec::new();
    for n in 0..5 {
        let session = server.session().await;
        server.started(&session, "please wait").await;
        let mut stream = server.attach(&session).await;
        if n < 2 {
            stream.until_text("I wait").await;
        } else {
            let told = stream.until(|event| event["kind"] == "queued").await;
            assert_eq!(kinds(&told), ["user", "queued"]);
            assert_eq!(told[1]["ahead"], n - 2);
            assert!(told[1]["text"].as_str().unwrap().starts_with("2 other turns are running"));
        }
        streams.push(stream);
        sessions.push(session);
    }
    // A second prompt is refused while the first waits, and waiting can be cancelled.
    assert_eq!(server.prompt(&sessions[2], "x").await.0, StatusCode::CONFLICT);
    let cancelled = answer(server.post(&format!("/api/session/{}/cancel", sessions[2]))).await;
    assert_eq!(cancelled.1, json!({"cancelled": true}));
    assert_eq!(kinds(&streams[2].until_turn_end().await), ["cancelled", "turn_end"]);
    assert_eq!(place.calls().lines().count(), 2, "those that wait have no agent");
    // As turns end, the waiting ones start in their order.
    for (done, next) in [(0, 3), (1, 4)] {
        answer(server.post(&format!("/api/session/{}/cancel", sessions[done]))).await;
        assert_eq!(kinds(&streams[done].until_turn_end().await), ["cancelled", "turn_end"]);
        streams[next].until_text("I wait").await;
        assert!(place.calls().ends_with(&format!("{}\n", sessions[next])), "{}", place.calls());
    }
    place.go();
    for n in [3, 4] {
        let rest = streams[n].until_turn_end().await;
        assert_eq!(kinds(&rest), ["tool", "text", "result", "turn_end"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_cannot_be_written_is_written_once_it_can() {
    // With SIGXFSZ ignored, a write over the limit of a file's size fails as on a full disk.
    let place = Place::new().through(&["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    let server = place.serve();
    let limit = |bytes: &str| {
        let mut command = std::process::Command::new("prlimit");
        command.args(["--pid", &server.pid().to_string(), &format!("--fsize={bytes}")]);
        assert!(command.status().unwrap().success());
    };
    let session = server.session().await;
    server.started(&session, "please wait").await;
    let mut stream = server.attach(&session).await;
    stream.until_text("I wait").await;
    limit("1:unlimited");
    place.go();
    until("it fails", || server.log().contains("end of a turn not written")).await;
    assert_eq!(server.prompt(&session, "x").await.0, StatusCode::CONFLICT, "it has not ended");
    limit("unlimited:unlimited");
    stream.until_turn_end().await;
    server.started(&session, "hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_turns_wait_and_the_next_is_refused_until_one_has_ended() {
    let place = Place::new().with(&["--max-concurrent-turns", "1"]);
    let server = place.serve();
    let running = server.session().await;
    server.started(&running, "please wait").await;
    server.attach(&running).await.until_text("I wait").await;
    // All prompts at once, as when many people see the same alarm: exactly 16 are taken.
    let mut sent = Vec::new();
    for _ in 0..18 {
        let session = server.session().await;
        let body = json!({"prompt": "hello"}).to_string();
        let request = server.post(&format!("/api/session/{session}/prompt")).body(body);
        sent.push((session, tokio::spawn(request.send())));
    }
    let (mut waiting, mut refused) = (Vec::new(), Vec::new());
    for (session, answer) in sent {
        let response = answer.await.unwrap().unwrap();
        match response.status() {
            StatusCode::OK => waiting.push(session),
            StatusCode::SERVICE_UNAVAILABLE => {
                assert_eq!(response.headers()[header::RETRY_AFTER], "30");
                let told = "16 turns are waiting already: try again when some of them have ended";
                assert_eq!(response.text().await.unwrap(), json!({"detail": told}).to_string());
                refused.push(session);
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((waiting.len(), refused.len()), (16, 2));
    assert_eq!(place.calls().lines().count(), 1, "those that wait have no agent");
    // A conversation that was refused has nothing of the prompt, and its next prompt is taken.
    place.go();
    for session in &waiting {
        server.transcript(session).await;
    }
    server.started(&refused[0], "hello again").await;
    let events = server.transcript(&refused[0]).await;
    assert_eq!(events[0], json!({"id": 0, "kind": "user", "text": "hello again"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_refuses_is_entered_the_other_way() {
    let place = Place::new();
    let server = place.serve();
    // The id is taken already, as a first turn that was killed leaves it.
    let session = server.session().await;
    std::fs::write(place.home().join(format!("known-{session}")), "").unwrap();
    server.started(&session, "hello").await;
    let whole = ["user", "session", "tool", "text", "result", "turn_end"];
    assert_eq!(kinds(&server.transcript(&session).await), whole);
    // The CLI's home was lost, so it no longer knows the conversation.
    std::fs::remove_file(place.home().join(format!("known-{session}"))).unwrap();
    let mut stream = server.attach(&session).await;
    stream.until_turn_end().await;
    server.started(&session, "hello again").await;
    assert_eq!(kinds(&stream.until_turn_end().await), whole, "the refusal is not shown");
    let flags: Vec<String> = place
        .calls()
        .lines()
        .map(|call| call.split(' ').rev().nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(flags, ["--session-id", "--resume", "--resume", "--session-id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_takes_too_long_is_killed_and_told() {
    let place = Place::new().with(&["--turn-timeout-seconds", "3"]);
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "please hang").await;
    let events = server.transcript(&session).await;
    assert_eq!(kinds(&events), ["user", "session", "text", "error", "turn_end"]);
    let error = events[3]["error"].as_str().unwrap();
    assert!(error.starts_with("the turn was stopped after 3 s"), "{error}");
    until("nothing of the agent is left", || place.alive() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_fills_its_log_to_the_end_still_ends() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "up to the brim").await;
    let events = server.transcript(&session).await;
    let told = kinds(&events);
    assert_eq!(told[..2], ["user", "session"]);
    assert_eq!(told[2..102], ["text"; 100], "no text is lost");
    assert_eq!(told[102..], ["result", "turn_end"]);
    let said = events[102]["result"].as_str().unwrap();
    let (kept, cut) = said.split_at(160 * 1024);
    assert!(kept.chars().all(|c| c == '\u{1}'), "{kept:.60}");
    assert_eq!(cut, "… (98304 more bytes)");
    // The log has no room for another turn, and the prompt is refused with the reason.
    let (status, body) = server.prompt(&session, "go on").await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{body}");
    // A turn that prints more is stopped while there is still room to say so.
    let session = server.session().await;
    server.started(&session, "over the brim").await;
    let events = server.transcript(&session).await;
    let [.., error, end] = &events[..] else { panic!("{} events", events.len()) };
    assert!(error["error"].as_str().is_some_and(|error| error.contains("largest size")), "{error}");
    assert_eq!(end["kind"], "turn_end");
    assert!(kinds(&events[2..events.len() - 2]).iter().all(|kind| *kind == "text"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_goes_on_when_every_client_is_gone() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "please wait").await;
    let mut stream = server.attach(&session).await;
    stream.until_text("I wait").await;
    drop(stream);
    // Clients that come and go do not end it either.
    for _ in 0..5 {
        drop(server.attach(&session).await);
    }
    place.go();
    let events = server.transcript(&session).await;
    assert_eq!(kinds(&events), ["user", "session", "text", "tool", "text", "result", "turn_end"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_an_agent_fails_is_told() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "it fails").await;
    let events = server.transcript(&session).await;
    assert_eq!(kinds(&events), ["user", "session", "result", "turn_end"]);
    assert_eq!(events[2]["is_error"], true);
    assert_eq!(events[2]["result"], "API Error: 529 overloaded");
    let session = server.session().await;
    server.started(&session, "please exit").await;
    let events = server.transcript(&session).await;
    assert_eq!(kinds(&events), ["user", "error", "turn_end"]);
    assert!(events[1]["error"].as_str().unwrap().contains("exit code 3"), "{events:?}");
}
