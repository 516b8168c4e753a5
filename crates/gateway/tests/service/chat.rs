//! Chat completions: shapes, prompts, ends.

use serde_json::{Value, json};

use crate::stand::{Stand, answer, cold, frames, text, with};

#[tokio::test]
async fn gateway_a_completion_in_one_piece_has_openai_s_shape_and_real_counts() {
    let stand = Stand::new(cold()).await;
    let (status, body) = answer(stand.chat("[[echo:hello there]]", json!({}))).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["object"], "chat.completion");
    let id = body["id"].as_str().unwrap().strip_prefix("chatcmpl-").unwrap();
    assert!(id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(body["model"], "sonnet");
    assert_eq!(body["choices"][0]["message"]["content"], "hello there");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["usage"]["prompt_tokens"], 15);
    assert_eq!(body["usage"]["completion_tokens"], 5);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
    assert!(
        body.get("error").is_none() && body["choices"][0]["message"].get("tool_calls").is_none()
    );
    stand.until_no_processes().await;
}

#[tokio::test]
async fn gateway_prompts_are_flattened_by_kind() {
    let stand = Stand::new(cold()).await;
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "[[prompt]]"}]},
    ]);
    let body = json!({"messages": messages});
    let (_, whole) = answer(stand.post("/v1/chat/completions", &body)).await;
    assert_eq!(
        whole["choices"][0]["message"]["content"],
        "System instructions:\nBe brief.\n\n---\n\nRequest:\nHello\n\n[[prompt]]"
    );
    let body = with(body, "stream", true);
    let streamed = stand.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(
        text(&frames(&streamed.text().await.unwrap())),
        "System instructions:\nBe brief.\n\n---\n\nUser: Hello\nAssistant: Hi\nUser: [[prompt]]"
    );
}

#[tokio::test]
async fn facts_a_stream_has_a_role_its_deltas_one_finish_usage_and_an_end() {
    let stand = Stand::new(cold()).await;
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let response = stand.chat("[[echo:a b c]]", more).send().await.unwrap();
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    assert!(response.headers().contains_key("x-request-id"));
    let frames = frames(&response.text().await.unwrap());
    assert_eq!(frames.last().unwrap(), "[DONE]");
    assert_eq!(text(&frames), "a b c");
    let chunks: Vec<Value> = frames[..frames.len() - 1]
        .iter()
        .map(|frame| serde_json::from_str(frame).unwrap())
        .collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let finishes: Vec<_> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(finishes, ["stop"]);
    let usage = chunks.last().unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(20)));
    for chunk in &chunks {
        assert_eq!(
            (&chunk["id"], &chunk["created"], &chunk["model"]),
            (&chunks[0]["id"], &chunks[0]["created"], &chunks[0]["model"])
        );
    }
}

#[tokio::test]
async fn facts_finish_reasons_are_the_model_s_own() {
    let stand = Stand::new(cold()).await;
    for (reason, finish) in
        [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", "content_filter")]
    {
        let prompt = format!("[[reason:{reason}]][[echo:x]]");
        let (_, body) = answer(stand.chat(&prompt, json!({}))).await;
        assert_eq!(body["choices"][0]["finish_reason"], finish);
        let frames = stand.stream(&prompt, json!({})).await;
        assert!(frames[frames.len() - 2].contains(&format!("\"finish_reason\":\"{finish}\"")));
    }
}

#[tokio::test]
async fn facts_a_failure_before_the_first_delta_is_a_real_503() {
    let stand = Stand::new(cold()).await;
    for stream in [false, true] {
        for (prompt, detail) in [
            ("[[stderr:the sign-in is gone]][[exit:1]]", "the sign-in is gone"),
            ("[[fail:API Error: 500]]", "API Error: 500"),
            ("[[exit:3]]", "exit 3"),
        ] {
            let request = stand.chat(prompt, json!({"stream": stream}));
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 503, "{prompt}");
            assert_eq!(response.headers()["x-should-retry"], "false");
            let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
            assert_eq!(body["detail"], detail);
            assert_eq!(
                body["error"],
                json!({"message": format!("execution failed: {detail}"), "type": "server_error",
                    "code": "execution_failed"})
            );
        }
    }
    stand.until_no_processes().await;
}

#[tokio::test]
async fn facts_a_failure_after_it_ends_as_an_error_frame_without_a_finish() {
    let stand = Stand::new(cold()).await;
    for prompt in ["[[echo:half]][[die]]", "[[echo:half]][[exit:0]]", "[[echo:half]][[fail:gone]]"]
    {
        let frames = stand.stream(prompt, json!({})).await;
        assert_eq!(frames.last().unwrap(), "[DONE]", "{prompt}");
        let error: Value = serde_json::from_str(&frames[frames.len() - 2]).unwrap();
        assert_eq!(error["error"]["code"], "execution_failed", "{prompt}");
        assert!(!frames.concat().contains("\"finish_reason\":\"stop\""), "{prompt}");
        assert_eq!(text(&frames), "half");
    }
}

#[tokio::test]
async fn facts_a_stream_that_takes_too_long_ends_as_an_error_too() {
    let settings = afk_gateway::GatewaySettings { conversational_timeout_seconds: 1, ..cold() };
    let stand = Stand::new(settings).await;
    let frames = stand.stream("[[echo:half]][[hang]]", json!({})).await;
    let error: Value = serde_json::from_str(&frames[frames.len() - 2]).unwrap();
    assert_eq!(error["error"]["message"], "execution failed: agent timed out");
    let body = json!({"session_id": "s", "message": "[[hang]]"});
    let (status, body) = answer(stand.post("/v1/conversational", &body)).await;
    assert_eq!((status, &body["detail"]), (503, &json!("agent timed out")));
    stand.until_no_processes().await;
    stand.until_load(0, 0).await;
}

/// Text that comes with the result alone is cut as well, and is not lost where it came in pieces that
/// are not shown.
#[tokio::test]
async fn facts_a_stream_of_a_whole_answer_is_cut_at_its_stop_sequence() {
    let stand = Stand::new(cold()).await;
    let result = json!({"type": "result", "subtype": "success", "is_error": false,
        "result": "one END two"});
    let frames = stand.stream(&format!("[[raw:{result}]]"), json!({"stop": ["END"]})).await;
    assert_eq!(text(&frames), "one ");
    assert!(frames[frames.len() - 2].contains("\"finish_reason\":\"stop\""));
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
    let more = json!({"response_format": format, "stop": ["END"]});
    let frames = stand.stream("[[echo:{\"a\": 1} END two]]", more).await;
    assert_eq!(text(&frames), "{\"a\": 1} ");
}

#[tokio::test]
async fn facts_an_answer_is_cut_at_its_stop_sequence() {
    let stand = Stand::new(cold()).await;
    let prompt = "[[echo:one END two]]";
    let (_, body) = answer(stand.chat(prompt, json!({"stop": "END"}))).await;
    assert_eq!(body["choices"][0]["message"]["content"], "one ");
    let frames = stand.stream("[[echo:one END two]][[hang]]", json!({"stop": ["END"]})).await;
    assert_eq!(text(&frames), "one ");
    assert!(frames[frames.len() - 2].contains("\"finish_reason\":\"stop\""));
    stand.until_no_processes().await;
}

#[tokio::test]
async fn facts_fields_reach_the_command_line() {
    let stand = Stand::new(cold()).await;
    let schema =
        json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
    let more = json!({"model": "opus", "reasoning_effort": "high", "response_format": schema});
    let (_, body) = answer(stand.chat("[[argv]]", more)).await;
    let argv = body["choices"][0]["message"]["content"].as_str().unwrap();
    for words in [
        "--agent structured",
        "--model opus",
        "--effort high",
        "--json-schema {\"type\":\"object\"}",
        "--no-session-persistence",
        "--setting-sources user",
    ] {
        assert!(argv.contains(words), "{words} in {argv}");
    }
    assert!(!argv.contains("[[argv]]"), "the prompt is no argument");
    assert!(!argv.contains("--dangerously-skip-permissions"));
}

#[tokio::test]
async fn gateway_an_unsupported_model_is_refused_before_anything_is_started() {
    let stand = Stand::new(cold()).await;
    let (status, body) = answer(stand.chat("hi", json!({"model": "gpt-4"}))).await;
    assert_eq!(status, 400);
    let supported = json!([
        "claude-haiku-4-5",
        "claude-opus-4-7",
        "claude-sonnet-4-6",
        "haiku",
        "opus",
        "sonnet"
    ]);
    assert_eq!(body["supported"], supported);
    let (status, _) = answer(stand.chat("hi", json!({"n": 2}))).await;
    assert_eq!(status, 422);
    assert!(stand.starts().is_empty());
}

#[tokio::test]
async fn gateway_output_that_is_no_json_is_the_answer() {
    let stand = Stand::new(cold()).await;
    let (status, body) = answer(stand.chat("[[raw:just words]]", json!({}))).await;
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("just words")));
    let (_, body) = answer(stand.chat("[[raw:{\"content\":\"inside\"}]]", json!({}))).await;
    assert_eq!(body["choices"][0]["message"]["content"], "inside");
}

#[tokio::test]
async fn gateway_an_agent_that_is_named_answers_from_a_folder_of_its_own() {
    let stand = Stand::new(cold()).await;
    let (_, body) = answer(stand.chat("[[argv]][[folder]]", json!({"agent": "triage"}))).await;
    let said = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(said.contains("--agent triage") && said.contains("--max-budget-usd 2"), "{said}");
    assert!(!said.contains("--dangerously-skip-permissions"), "{said}");
    assert!(said.contains("/checkouts/afk-job-"), "{said}");
    let left = std::fs::read_dir(stand.folder.path().join("state/checkouts")).unwrap().count();
    assert_eq!(left, 0);
}
