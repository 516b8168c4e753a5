//! The gateway over the real Claude CLI, pinned, on a stand-in for the model's API.
//!
//! What is proven here is that the command lines and inputs fit the program that users run, that
//! nothing of the machine reaches the model, and that waiting processes help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "service/stand.rs"]
#[allow(dead_code)]
mod stand;

use std::path::Path;
use std::time::{Duration, Instant};

use afk_gateway::{GatewaySettings, WarmSettings};
use afk_stand_ins::model_api::{ModelApi, Reply, Script};
use afk_stand_ins::{claude_cli, clients};
use serde_json::{Value, json};
use stand::{BOUND, Stand, TOKEN, answer, cold, text, with};

/// A gateway over the real CLI; none, with a visible line, where that cannot be had.
async fn real(test: &str, script: Script, settings: GatewaySettings) -> Option<(Stand, ModelApi)> {
    let program = claude_cli::for_test(test)?;
    let api = ModelApi::start(script).unwrap();
    let settings =
        GatewaySettings { program: Some(program), base_url: Some(api.url()), ..settings };
    Some((Stand::new(settings).await, api))
}

/// Answers every request alike, those without tools, too: lean turns have none.
fn says(text: &str) -> Script {
    Script { plain: Some(Reply::text(text)), ..Script::default() }
}

#[tokio::test]
async fn facts_the_real_cli_answers_in_one_piece_and_as_a_stream() {
    let Some((stand, api)) = real("answers", says("one two three"), cold()).await else { return };
    let (status, body) = answer(stand.chat("Count to three.", json!({}))).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["choices"][0]["message"]["content"], "one two three");
    assert_eq!(
        (&body["usage"]["prompt_tokens"], &body["usage"]["completion_tokens"]),
        (&json!(1000), &json!(50))
    );
    let more = json!({"stream_options": {"include_usage": true}});
    let frames = stand.stream("Count to three again.", more).await;
    assert_eq!(text(&frames), "one two three");
    assert!(frames[frames.len() - 3].contains("\"finish_reason\":\"stop\""), "{frames:?}");
    let sent = api.everything_sent();
    assert!(
        sent.contains("Request:\nCount to three.") && sent.contains("User: Count to three again.")
    );
    assert!(sent.contains("You are a warm, attentive partner"), "the shipped agent is used");
    stand.until_no_processes().await;
}

/// The official SDKs and `LiteLLM`, with nothing scripted between them and the model's API.
#[tokio::test]
async fn facts_the_sdks_and_litellm_talk_to_the_real_cli() {
    let test = "the SDKs over the real CLI";
    let Some((stand, _api)) = real(test, says("one two three"), cold()).await else { return };
    let (Some(python), Some(sdk)) = (clients::python(test), clients::node(test)) else { return };
    let script =
        |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
    let mut by_python = tokio::process::Command::new(python);
    by_python.arg(script("real.py")).arg(stand.url("")).arg(TOKEN);
    let mut by_node = tokio::process::Command::new("node");
    by_node.arg(script("real.mjs")).arg(sdk).arg(stand.url("")).arg(TOKEN);
    for mut command in [by_python, by_node] {
        command.stdin(std::process::Stdio::null()).kill_on_drop(true).env("NO_PROXY", "*");
        let output = tokio::time::timeout(Duration::from_mins(2), command.output()).await;
        let output = output.expect("in time").unwrap();
        let told = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&told));
    }
    stand.until_no_processes().await;
}

#[tokio::test]
async fn facts_a_waiting_process_answers_like_a_new_one() {
    let warm = WarmSettings { least: 1, per_model: 1, total: 1, max_age_seconds: 600 };
    let settings = GatewaySettings { warm, ..cold() };
    let Some((stand, api)) = real("waiting", says("warm words"), settings).await else { return };
    let deadline = Instant::now() + BOUND;
    while !stand.get("/metrics").await.1.as_str().unwrap().contains("warm_processes 1\n") {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let frames = stand.stream("canary-of-a", json!({})).await;
    assert_eq!(text(&frames), "warm words");
    let (_, metrics) = stand.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("starts_total{process=\"warm\"} 1"), "{metrics}");
    // Another caller's request has nothing of it.
    let before = api.requests().len();
    let (status, body) = answer(stand.chat("of b", json!({}))).await;
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("warm words")));
    for request in &api.requests()[before..] {
        assert!(!request.body.to_string().contains("canary-of-a"));
    }
}

#[tokio::test]
async fn faults_no_file_of_the_machine_reaches_the_model_by_any_route() {
    let Some((stand, api)) = real("canary", says("ok"), cold()).await else { return };
    let secret = stand.folder.path().join("secret.txt");
    std::fs::write(&secret, "canary-in-a-file").unwrap();
    // Instructions in the CLI's own home, and where it runs.
    let home = stand.folder.path().join("state/home");
    for place in
        [home.join(".claude/CLAUDE.md"), stand.folder.path().join("state/scratch/CLAUDE.md")]
    {
        std::fs::write(place, "canary-in-instructions").unwrap();
    }
    let secret = secret.display();
    let mentions = [
        format!("see @{secret}"),
        format!("see @\"{secret}\" please"),
        format!("```\n@{secret}\n```"),
    ];
    // All of them in one message, on each route.
    let mention = mentions.join(" and ");
    assert_eq!(answer(stand.chat(&mention, json!({}))).await.0, 200);
    stand.stream(&mention, json!({})).await;
    for message in [mention.as_str(), "/clear", "--help"] {
        let turn = json!({"session_id": message, "message": message});
        let (status, body) = answer(stand.post("/v1/conversational", &turn)).await;
        assert_eq!((status, &body["reply"]), (200, &json!("ok")), "{message}");
    }
    let sent = api.everything_sent();
    assert!(!sent.contains("canary-in-a-file") && !sent.contains("canary-in-instructions"));
    assert!(sent.contains("(at)") && sent.contains("(slash)clear"));
}

#[tokio::test]
async fn gateway_a_real_conversation_goes_on_and_heals() {
    let Some((stand, api)) = real("conversation", says("well"), cold()).await else { return };
    let turn = |message: &str| {
        let body = json!({"session_id": "kitchen", "message": message});
        answer(stand.post("/v1/conversational", &body))
    };
    let (status, body) = turn("remember the blue door").await;
    assert_eq!((status, &body["reply"]), (200, &json!("well")), "{body}");
    let before = api.requests().len();
    assert_eq!(turn("what did I say?").await.0, 200);
    let later: Vec<Value> = api.requests()[before..].iter().map(|r| r.body.clone()).collect();
    assert!(json!(later).to_string().contains("remember the blue door"));
    // The CLI has lost it.
    let projects = stand.folder.path().join("state/home/.claude/projects");
    std::fs::remove_dir_all(projects).unwrap();
    let (status, body) = turn("are you there?").await;
    assert_eq!(status, 200, "{body}");
    // The gateway has lost it.
    let known = stand.folder.path().join("state/conversations");
    let folder = stand.stop().await;
    for entry in std::fs::read_dir(known).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let settings = GatewaySettings {
        program: claude_cli::for_test("conversation"),
        base_url: Some(api.url()),
        ..cold()
    };
    let stand = Stand::at(folder, settings).await;
    let body = json!({"session_id": "kitchen", "message": "and now?"});
    let (status, body) = answer(stand.post("/v1/conversational", &body)).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn facts_failures_of_the_real_cli_are_told() {
    let script = Script { plain: Some(Reply::Status(400)), ..Script::default() };
    let Some((stand, _api)) = real("failures", script, cold()).await else { return };
    let (status, body) = answer(stand.chat("fail now", json!({}))).await;
    assert_eq!(status, 503);
    assert!(body["detail"].as_str().unwrap().contains("400"), "{body}");
    // A slow start may have sent the status of a stream already; then a frame tells it.
    let response = stand.chat("fail now", json!({"stream": true})).send().await.unwrap();
    let text = response.text().await.unwrap();
    assert!(text.contains("execution failed") && text.contains("400"), "{text}");
    assert!(!text.contains("\"stop\""), "{text}");
}

#[tokio::test]
async fn gateway_a_real_job_runs_its_agent_in_its_checkout() {
    let script = Script::default()
        .when("write it", vec![Reply::bash("pwd > where && cat where"), Reply::text("written")]);
    let Some((stand, api)) = real("job", script, cold()).await else { return };
    let agents = stand.folder.path().join("state/home/.claude/agents");
    let worker = "---\nname: worker\ndescription: works\n---\nYou work.\n";
    std::fs::write(Path::new(&agents).join("worker.md"), worker).unwrap();
    let order = json!({"prompt": "write it", "agent": "worker", "timeout_seconds": 60});
    let (status, told) = answer(stand.post("/execute", &order)).await;
    assert_eq!(status, 202);
    let path = format!("/jobs/{}", told["job_id"].as_str().unwrap());
    let deadline = Instant::now() + BOUND;
    let job = loop {
        let (_, job) = stand.get(&path).await;
        if !matches!(job["status"].as_str(), Some("queued" | "running")) {
            break job;
        }
        assert!(Instant::now() < deadline, "{job}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(
        (&job["status"], &job["outcome"]),
        (&json!("completed"), &json!("succeeded")),
        "{job}"
    );
    assert!(api.everything_sent().contains("/checkouts/afk-job-"));
    let missing = json!({"prompt": "write it", "agent": "nobody"});
    let (_, told) = answer(stand.post("/execute", &missing)).await;
    let path = format!("/jobs/{}", told["job_id"].as_str().unwrap());
    let deadline = Instant::now() + BOUND;
    loop {
        let (_, job) = stand.get(&path).await;
        if job["status"] == "failed" {
            assert!(job["outcome_reason"].as_str().unwrap().contains("agent definition"), "{job}");
            break;
        }
        assert!(Instant::now() < deadline, "{job}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn facts_an_answer_to_a_schema_is_json() {
    let answer_to_schema = json!({"colour": "blue"});
    let script = Script::default().when(
        "which colour",
        vec![Reply::tool("StructuredOutput", answer_to_schema.clone()), Reply::text("done")],
    );
    let Some((stand, _api)) = real("schema", script, cold()).await else { return };
    let schema = json!({"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "c", "schema": schema}});
    let more = json!({"response_format": format});
    let (status, body) = answer(stand.chat("which colour", more.clone())).await;
    assert_eq!(status, 200, "{body}");
    let said = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(said).unwrap(), answer_to_schema);
    let frames = stand.stream("which colour", with(more, "seed", 1)).await;
    assert_eq!(serde_json::from_str::<Value>(&text(&frames)).unwrap(), answer_to_schema);
}

/// What waiting processes gain: prints the times to the first delta. Run by `cargo xtask bench
/// gateway`.
#[tokio::test]
#[ignore = "a measurement"]
async fn warm_against_cold() {
    let mut medians = Vec::new();
    for waiting in [0, 1] {
        let warm = WarmSettings {
            least: waiting,
            per_model: waiting,
            total: waiting,
            max_age_seconds: 600,
        };
        let settings = GatewaySettings { warm, ..cold() };
        let Some((stand, _api)) = real("measure", says("one two"), settings).await else { return };
        let mut times = Vec::new();
        for n in 0..9 {
            let line = format!("warm_processes {waiting}\n");
            let deadline = Instant::now() + BOUND;
            while !stand.get("/metrics").await.1.as_str().unwrap().contains(&line) {
                assert!(Instant::now() < deadline);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // What was started has settled.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let begun = Instant::now();
            let more = json!({"stream": true});
            let mut response = stand.chat(&format!("say {n}"), more).send().await.unwrap();
            let mut seen = String::new();
            while !seen.contains("\"content\":\"one") {
                let chunk = response.chunk().await.unwrap().expect("a delta");
                seen.push_str(&String::from_utf8_lossy(&chunk));
            }
            times.push(begun.elapsed());
            response.text().await.unwrap();
        }
        times.sort();
        medians.push(times[times.len() / 2]);
    }
    let ratio = medians[1].as_secs_f64() / medians[0].as_secs_f64();
    println!("first delta: cold {:?}, warm {:?}, ratio {ratio:.2}", medians[0], medians[1]);
}
