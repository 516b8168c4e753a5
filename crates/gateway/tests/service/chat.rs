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

/// Returns the answer to these messages, in one piece or as a stream.
async fn said(stand: &Stand, messages: &Value, stream: bool) -> String {
    let body = json!({"messages": messages, "stream": stream});
    let response = stand.post("/v1/chat/completions", &body).send().await.unwrap();
    let (status, body) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 200, "{messages} {stream}: {body}");
    if stream {
        return text(&frames(&body));
    }
    let body: Value = serde_json::from_str(&body).unwrap();
    body["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn facts_roles_come_in_any_order_and_those_of_tools_are_text() {
    let stand = Stand::new(cold()).await;
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    for (messages, whole, streamed) in [
        (
            json!([say("user", "6 times 7?"), say("function", "42"), say("user", "[[prompt]]")]),
            "Request:\n6 times 7?\n\n42\n\n[[prompt]]",
            "User: 6 times 7?\nTool: 42\nUser: [[prompt]]",
        ),
        (
            json!([
                say("assistant", "Hi"),
                say("user", "a"),
                say("user", "[[prompt]]"),
                say("developer", "Be brief.")
            ]),
            "System instructions:\nBe brief.\n\n---\n\nRequest:\na\n\n[[prompt]]",
            "System instructions:\nBe brief.\n\n---\n\nAssistant: Hi\nUser: a\nUser: [[prompt]]",
        ),
        // A voice agent lets the model greet first.
        (
            json!([say("system", "Greet the caller. [[prompt]]")]),
            "System instructions:\nGreet the caller. [[prompt]]",
            "System instructions:\nGreet the caller. [[prompt]]",
        ),
    ] {
        assert_eq!(said(&stand, &messages, false).await, whole);
        assert_eq!(said(&stand, &messages, true).await, streamed);
    }
}

#[tokio::test]
async fn gateway_the_model_is_echoed_as_it_was_named() {
    let stand = Stand::new(cold()).await;
    for model in ["haiku", "claude-opus-4-7"] {
        let named = json!({"model": model});
        let (_, body) = answer(stand.chat("[[argv]]", named.clone())).await;
        assert_eq!(body["model"], model);
        let argv = body["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(argv.contains(&format!("--model {model} ")), "{argv}");
        let frames = stand.stream("[[echo:x]]", named).await;
        for frame in &frames[..frames.len() - 1] {
            let chunk: Value = serde_json::from_str(frame).unwrap();
            assert_eq!(chunk["model"], model);
        }
    }
    let (_, body) = answer(stand.chat("[[echo:x]]", json!({"model": null}))).await;
    assert_eq!(body["model"], "sonnet");
}

/// All lean turns run in one folder, which is emptied at the start and never written to.
#[tokio::test]
async fn gateway_lean_turns_run_in_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("state/scratch");
    std::fs::create_dir_all(scratch.join("left")).unwrap();
    std::fs::write(scratch.join("CLAUDE.md"), "of an earlier one").unwrap();
    let stand = Stand::at(folder, cold()).await;
    let whole = said(&stand, &json!([{"role": "user", "content": "[[folder]]"}]), false).await;
    let streamed = text(&stand.stream("[[folder]]", json!({})).await);
    let turn = json!({"session_id": "s", "message": "[[folder]]"});
    let (_, turn) = answer(stand.post("/v1/conversational", &turn)).await;
    let scratch = scratch.canonicalize().unwrap();
    for told in [&whole, &streamed, turn["reply"].as_str().unwrap()] {
        assert_eq!(told, scratch.to_str().unwrap());
    }
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
}

/// The prompt must be no argument: everybody can see those, and their size is limited.
#[tokio::test]
async fn facts_a_prompt_of_a_megabyte_is_read_from_standard_input_everywhere() {
    let warm = afk_gateway::WarmSettings { least: 1, per_model: 1, total: 1, max_age_seconds: 600 };
    let stand = Stand::new(afk_gateway::GatewaySettings { warm, ..cold() }).await;
    let prompt = format!("[[prompt]]{}", "x".repeat(1 << 20));
    let long = |text: &str| assert!(text.len() >= prompt.len() && text.contains("[[prompt]]xxx"));
    let until = std::time::Instant::now() + crate::stand::BOUND;
    while !stand.get("/metrics").await.1.as_str().unwrap().contains("warm_processes 1\n") {
        assert!(std::time::Instant::now() < until);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    long(&text(&stand.stream(&prompt, json!({})).await));
    let (_, metrics) = stand.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("starts_total{process=\"warm\"} 1\n"), "{metrics}");
    for more in [
        json!({"stream": false}),
        json!({"model": "haiku", "stream": true}),
        json!({"stream": false, "agent": "triage"}),
    ] {
        long(&stand.chat(&prompt, more).send().await.unwrap().text().await.unwrap());
    }
    let turn = json!({"session_id": "s", "message": prompt});
    long(answer(stand.post("/v1/conversational", &turn)).await.1["reply"].as_str().unwrap());
    let order = json!({"prompt": prompt, "agent": "worker"});
    let (_, told) = answer(stand.post("/execute", &order)).await;
    let path = format!("/jobs/{}/stream", told["job_id"].as_str().unwrap());
    let followed = stand.client.get(stand.url(&path)).bearer_auth(crate::stand::TOKEN);
    let followed = followed.send().await.unwrap().text().await.unwrap();
    assert!(followed.contains("\"status\":\"completed\""));
    long(&followed);
    for start in stand.starts() {
        assert!(!start.contains("xxx"), "{}", start.len());
    }
}

#[tokio::test]
async fn facts_a_stream_has_a_role_its_deltas_one_finish_usage_and_an_end() {
    let stand = Stand::new(cold()).await;
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let asked = stand.chat("[[echo:a b c]]", more).header("accept-encoding", "gzip, br, deflate");
    let response = asked.send().await.unwrap();
    assert!(!response.headers().contains_key("content-encoding"), "streams are not compressed");
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

/// The CLI asks the model's API again by itself. What it then says is the whole answer, as deltas or
/// in its result alone: after some words were shown, both would make a wrong answer of them.
#[tokio::test]
async fn facts_an_answer_that_breaks_off_is_never_doubled_and_never_looks_whole() {
    let stand = Stand::new(cold()).await;
    for prompt in [
        "[[break:one two ]][[late:one two three]]",
        "[[break:one two ]][[echo:one two three]]",
        "[[break:one two ]][[sleep:200]][[echo:one two three]]",
    ] {
        let frames = stand.stream(prompt, json!({})).await;
        assert_eq!(text(&frames), "one two ", "{prompt}");
        assert_eq!(frames.last().unwrap(), "[DONE]", "{prompt}");
        let error: Value = serde_json::from_str(&frames[frames.len() - 2]).unwrap();
        let message = "execution failed: the model's answer was broken off";
        assert_eq!(error["error"]["message"], message, "{prompt}");
        assert!(!frames.concat().contains("\"finish_reason\":\""), "{prompt}");
    }
    // Nothing was shown yet: it could have been the beginning of a stop sequence.
    for prompt in ["[[break:one ]][[late:one two three]]", "[[break:one ]][[echo:one two three]]"] {
        let frames = stand.stream(prompt, json!({"stop": "one END"})).await;
        assert_eq!(text(&frames), "one two three", "{prompt}");
        assert!(frames[frames.len() - 2].contains("\"finish_reason\":\"stop\""), "{prompt}");
    }
    // What ends at a stop sequence was whole before it broke off.
    let frames = stand.stream("[[break:one END two]][[late:x]]", json!({"stop": "END"})).await;
    assert_eq!(text(&frames), "one ");
    assert!(frames[frames.len() - 2].contains("\"finish_reason\":\"stop\""));
    stand.until_no_processes().await;
}

#[tokio::test]
async fn facts_whatever_takes_too_long_ends_as_an_error_that_is_not_retried() {
    // A stream's status is sent after two seconds, so there is one to read even if the CLI starts
    // slowly.
    let stand = Stand::new(afk_gateway::GatewaySettings {
        conversational_timeout_seconds: 3,
        chat_timeout_seconds: 1,
        ..cold()
    })
    .await;
    let frames = stand.stream("[[echo:half]][[hang]]", json!({})).await;
    let error: Value = serde_json::from_str(&frames[frames.len() - 2]).unwrap();
    let object = json!({"message": "execution failed: agent timed out", "type": "server_error",
        "code": "execution_failed"});
    assert_eq!((error, frames.last().unwrap().as_str()), (json!({"error": object}), "[DONE]"));
    // The turn ran, so no client may run it again by itself.
    let turn = json!({"session_id": "s", "message": "[[hang]]"});
    for request in [
        stand.chat("[[echo:half]][[hang]]", json!({"stream": false})),
        stand.chat("[[hang]]", json!({"agent": "triage"})),
        stand.post("/v1/conversational", &turn),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["x-should-retry"], "false");
        assert!(!response.headers().contains_key("retry-after"));
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(body, json!({"detail": "agent timed out", "error": object}));
    }
    stand.until_no_processes().await;
    stand.until_load(0, 0).await;
}

/// Text that comes with the result alone is cut as well, and so is an answer to a schema, whose
/// pieces are not shown.
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
    assert!(!argv.contains("[[argv]]"), "the prompt is not an argument");
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
