//! Conversations: their ids, their order, and how they heal.

use serde_json::json;

use crate::stand::{Stand, answer, cold};

fn turn(session: &str, message: &str) -> serde_json::Value {
    json!({"session_id": session, "message": message})
}

#[tokio::test]
async fn gateway_a_conversation_is_opened_once_and_resumed_from_then_on() {
    let stand = Stand::new(cold()).await;
    let id = "3f2c9d1e-0000-4000-8000-00000000abcd";
    let (status, body) = answer(stand.post("/v1/conversational", &turn(id, "[[argv]]"))).await;
    assert_eq!((status, &body["session_id"]), (200, &json!(id)));
    assert!(body["reply"].as_str().unwrap().contains(&format!("--session-id {id}")), "{body}");
    let (_, body) = answer(stand.post("/v1/conversational", &turn(id, "[[argv]]"))).await;
    assert!(body["reply"].as_str().unwrap().contains(&format!("--resume {id}")), "{body}");
    // After a restart, too.
    let folder = stand.stop().await;
    let stand = Stand::at(folder, cold()).await;
    let (_, body) = answer(stand.post("/v1/conversational", &turn(id, "[[argv]]"))).await;
    assert!(body["reply"].as_str().unwrap().contains(&format!("--resume {id}")), "{body}");
    assert_eq!(stand.starts().len(), 3);
}

#[tokio::test]
async fn gateway_conversations_heal_both_ways() {
    let stand = Stand::new(cold()).await;
    let home = stand.folder.path().join("state/home");
    // The CLI has the conversation, the gateway does not know: its id is taken, so resume it.
    let id = "3f2c9d1e-0000-4000-8000-000000000001";
    std::fs::create_dir_all(home.join("sessions")).unwrap();
    std::fs::write(home.join("sessions").join(id), "").unwrap();
    let (status, body) = answer(stand.post("/v1/conversational", &turn(id, "[[echo:a]]"))).await;
    assert_eq!((status, &body["reply"]), (200, &json!("a")));
    // The gateway knows the conversation and the CLI has lost it: it is opened again.
    std::fs::remove_file(home.join("sessions").join(id)).unwrap();
    let (status, body) = answer(stand.post("/v1/conversational", &turn(id, "[[echo:b]]"))).await;
    assert_eq!((status, &body["reply"]), (200, &json!("b")));
    assert_eq!(stand.starts().len(), 4);
    // A first turn that failed leaves the id taken.
    let (status, _) = answer(stand.post("/v1/conversational", &turn("x", "[[fail:no]]"))).await;
    assert_eq!(status, 503);
    let (status, body) = answer(stand.post("/v1/conversational", &turn("x", "[[echo:c]]"))).await;
    assert_eq!((status, &body["reply"]), (200, &json!("c")));
}

#[tokio::test]
async fn gateway_a_turn_s_failures_have_their_exact_bodies() {
    let settings =
        afk_gateway::GatewaySettings { max_concurrency: 1, max_queue_depth: 1, ..cold() };
    let stand = Stand::new(settings).await;
    let failed = async |body: &serde_json::Value| {
        let response = stand.post("/v1/conversational", body).send().await.unwrap();
        let retry = response.headers().get("x-should-retry").cloned();
        let wait = response.headers().get("retry-after").cloned();
        let (status, body) = (response.status().as_u16(), response.text().await.unwrap());
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        (status, body, retry.is_some_and(|retry| retry == "false"), wait)
    };
    let message = "unsupported model; supported: claude-haiku-4-5, claude-opus-4-7, \
                   claude-sonnet-4-6, haiku, opus, sonnet";
    let unsupported = json!({
        "detail": "unsupported model",
        "supported":
            ["claude-haiku-4-5", "claude-opus-4-7", "claude-sonnet-4-6", "haiku", "opus", "sonnet"],
        "error": {"message": message, "type": "invalid_request_error", "code": "model_not_found"},
    });
    let body = json!({"session_id": "s", "message": "x", "model": "gpt-4"});
    assert_eq!(failed(&body).await, (400, unsupported, false, None));
    assert!(stand.starts().is_empty());
    for (message, detail) in [
        ("[[stderr:first]][[stderr:the sign-in is gone]][[exit:1]]", "the sign-in is gone"),
        ("[[fail:API Error: 500]]", "API Error: 500"),
        ("[[exit:3]]", "exit 3"),
    ] {
        let told = json!({"detail": detail, "error": {"code": "execution_failed",
            "message": format!("execution failed: {detail}"), "type": "server_error"}});
        assert_eq!(failed(&turn(message, message)).await, (503, told, true, None), "{message}");
    }
    let request = stand.post("/v1/conversational", &turn("s", "[[hang]]"));
    let held = tokio::spawn(request.send());
    stand.until_load(1, 0).await;
    let full = json!({"detail": "queue full", "error": {"message": "queue full",
        "type": "server_error", "code": "queue_full"}});
    // Nothing ran, so the turn may be sent again.
    assert_eq!(failed(&turn("t", "x")).await, (503, full, false, Some("1".parse().unwrap())));
    held.abort();
}

#[tokio::test]
async fn faults_turns_of_one_session_run_one_after_the_other_and_starve_no_other() {
    let settings = afk_gateway::GatewaySettings { max_concurrency: 2, ..cold() };
    let stand = Stand::new(settings).await;
    let mut turns = tokio::task::JoinSet::new();
    for n in 0..10 {
        let request =
            stand.post("/v1/conversational", &turn("one", &format!("[[sleep:100]][[echo:{n}]]")));
        turns.spawn(answer(request));
    }
    stand.until_load(1, 9).await;
    let (status, body) =
        answer(stand.post("/v1/conversational", &turn("two", "[[echo:me]]"))).await;
    assert_eq!((status, &body["reply"]), (200, &json!("me")));
    let (active, queued) = stand.load().await;
    assert!(active <= 1 && queued >= 5, "the other went first: {active} {queued}");
    while let Some(done) = turns.join_next().await {
        assert_eq!(done.unwrap().0, 200);
    }
}

#[tokio::test]
async fn gateway_what_is_missing_in_a_turn_is_named() {
    let stand = Stand::new(cold()).await;
    for (body, says) in [
        (json!({"message": "x"}), "session_id is missing"),
        (json!({"session_id": "s"}), "message is missing"),
        (json!({"session_id": 1, "message": "x"}), "session_id must be a string"),
        (json!({"session_id": "s", "message": " "}), "message must not be empty"),
        (json!({"session_id": "", "message": "x"}), "session_id must be 1 to 256 characters"),
        (
            json!({"session_id": "я".repeat(257), "message": "x"}),
            "session_id must be 1 to 256 characters",
        ),
    ] {
        let (status, answer) = answer(stand.post("/v1/conversational", &body)).await;
        assert_eq!((status, &answer["detail"]), (422, &json!(says)));
    }
    assert!(stand.starts().is_empty());
}
