//! The gateway over the real Claude CLI, pinned, on a stand-in for the model's API.
//!
//! Proves that the command lines and inputs fit the program that users run, that nothing of the
//! machine reaches the model, and that waiting processes save time.
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

/// Starts a gateway over the real CLI. `None`, with a visible line, where the CLI cannot be had.
async fn real(test: &str, script: Script, settings: GatewaySettings) -> Option<(Stand, ModelApi)> {
    real_at(tempfile::tempdir().unwrap(), test, script, settings).await
}

/// Does the same on a folder that may have something in it.
async fn real_at(
    folder: tempfile::TempDir,
    test: &str,
    script: Script,
    settings: GatewaySettings,
) -> Option<(Stand, ModelApi)> {
    let program = claude_cli::for_test(test)?;
    let api = ModelApi::start(script).unwrap();
    let settings =
        GatewaySettings { program: Some(program), base_url: Some(api.url()), ..settings };
    Some((Stand::at(folder, settings).await, api))
}

/// Writes a file and the folders above it.
fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Writes the definition of an agent with tools into the CLI's home.
fn put_worker(folder: &tempfile::TempDir) {
    let place = folder.path().join("state/home/.claude/agents/worker.md");
    put(&place, "---\nname: worker\ndescription: works\n---\nYou work.\n");
}

/// Orders a job and returns it when it is over.
async fn done(stand: &Stand, order: &Value) -> Value {
    let (status, told) = answer(stand.post("/execute", order)).await;
    assert_eq!(status, 202, "{told}");
    let path = format!("/jobs/{}", told["job_id"].as_str().unwrap());
    let deadline = Instant::now() + BOUND;
    loop {
        let (_, job) = stand.get(&path).await;
        if !matches!(job["status"].as_str(), Some("queued" | "running")) {
            return job;
        }
        assert!(Instant::now() < deadline, "{job}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A script that answers every request alike, also those without tools, which lean turns send.
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
    stand.until_warm(1).await;
    let frames = stand.stream("canary-of-a", json!({})).await;
    assert_eq!(text(&frames), "warm words");
    let metrics = stand.metrics().await;
    assert!(metrics.contains("starts_total{process=\"warm\"} 1"), "{metrics}");
    // Another caller's request contains nothing of the first one's.
    let before = api.requests().len();
    let (status, body) = answer(stand.chat("of b", json!({}))).await;
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("warm words")));
    for request in &api.requests()[before..] {
        assert!(!request.body.to_string().contains("canary-of-a"));
    }
}

/// Covers files that prompts mention, and instructions that are not the checkout's own.
#[tokio::test]
async fn faults_no_file_of_the_machine_reaches_the_model_by_any_route() {
    // The CLI gets its folder as a pattern, so the path has all the characters that patterns use.
    let folder = tempfile::Builder::new().prefix("!a [b] {c,d} *(e)").tempdir().unwrap();
    let root = folder.path().to_owned();
    let secret = root.join("secret.txt");
    put(&secret, "canary-in-a-file");
    let secret = secret.display();
    // Instructions in the CLI's own home, and in the folders above those where it runs.
    let places = [
        "state/home/.claude/CLAUDE.md",
        "state/home/.claude/rules/all.md",
        "state/scratch/CLAUDE.md",
        "state/checkouts/CLAUDE.md",
        "state/checkouts/.claude/CLAUDE.md",
        "state/CLAUDE.local.md",
        ".claude/rules/all.md",
        "CLAUDE.md",
    ];
    for place in places {
        put(&root.join(place), &format!("canary in {place}"));
    }
    let base = root.join("base");
    put(&base.join("CLAUDE.md"), &format!("words of the checkout\n@{secret}\n"));
    put(&base.join(".claude/rules/own.md"), "rules of the checkout");
    std::os::unix::fs::symlink(root.join("secret.txt"), base.join(".claude/rules/link.md"))
        .unwrap();
    for args in [
        &["init", "-q"][..],
        &["remote", "add", "origin", "."],
        &["add", "."],
        &["commit", "-qm", "first"],
    ] {
        let who = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
        let mut git = std::process::Command::new("git");
        git.current_dir(&base).args(who).args(args);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        assert!(git.status().unwrap().success(), "{args:?}");
    }
    put_worker(&folder);
    let warm = WarmSettings { least: 1, per_model: 1, total: 1, max_age_seconds: 600 };
    let settings = GatewaySettings { warm, workspace_dir: Some(base), ..cold() };
    let made = real_at(folder, "canary", says("ok"), settings).await;
    let Some((stand, api)) = made else { return };
    // All ways to mention the file, in one message for each route.
    let mention =
        format!("see @{secret} and @\"{secret}\" please and ```\n@{secret}\n``` and so on");
    // The first kind is answered by a waiting process, the second by a new one.
    for more in [json!({}), json!({"reasoning_effort": "low"})] {
        stand.until_warm(1).await;
        assert_eq!(answer(stand.chat(&mention, more.clone())).await.0, 200);
        stand.until_warm(1).await;
        assert_eq!(text(&stand.stream(&mention, more).await), "ok");
    }
    let metrics = stand.metrics().await;
    for line in ["starts_total{process=\"warm\"} 2", "starts_total{process=\"cold\"} 2"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    for message in [mention.as_str(), "/clear", "--help"] {
        let turn = json!({"session_id": message, "message": message});
        let (status, body) = answer(stand.post("/v1/conversational", &turn)).await;
        assert_eq!((status, &body["reply"]), (200, &json!("ok")), "{message}");
    }
    let (status, body) = answer(stand.chat(&mention, json!({"agent": "worker"}))).await;
    assert_eq!(status, 200, "{body}");
    let sent = api.everything_sent();
    assert!(sent.contains("(at)") && sent.contains("(slash)clear") && sent.contains("You work."));
    assert!(!sent.contains("of the checkout"), "chat has no instructions at all");
    let order = json!({"prompt": format!("as a job, {mention}"), "agent": "worker"});
    let job = done(&stand, &order).await;
    assert_eq!(job["outcome"], "succeeded", "{job}");
    let sent = api.everything_sent();
    for words in ["as a job, see @", "words of the checkout", "rules of the checkout"] {
        assert!(sent.contains(words), "{words}");
    }
    assert!(!sent.contains("canary-in-a-file"));
    for place in places {
        assert!(!sent.contains(&format!("canary in {place}")), "{place}");
    }
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
    let kept = stand.folder.path().join("state/spend.json");
    let spent = || {
        let today: Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
        today["usd"].as_object().unwrap().values().filter_map(Value::as_f64).sum::<f64>()
    };
    let (first, before) = (spent(), api.requests().len());
    assert!(first > 0.0);
    // Each turn is charged for itself alone. The CLI also tells what the whole conversation has cost,
    // if it had the time to note that before its last process was ended.
    for (turns, message) in [(2.0, "what did I say?"), (3.0, "say it again")] {
        assert_eq!(turn(message).await.0, 200);
        assert!((spent() - turns * first).abs() < 1e-9, "{first}, then {}", spent());
    }
    let later: Vec<Value> = api.requests()[before..].iter().map(|r| r.body.clone()).collect();
    assert!(json!(later).to_string().contains("remember the blue door"));
    // The CLI has lost the conversation.
    let projects = stand.folder.path().join("state/home/.claude/projects");
    std::fs::remove_dir_all(projects).unwrap();
    let (status, body) = turn("are you there?").await;
    assert_eq!(status, 200, "{body}");
    // The gateway has forgotten the conversation.
    let known = stand.folder.path().join("state/conversations");
    let folder = stand.stop().await;
    drop(api);
    for entry in std::fs::read_dir(known).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let again = real_at(folder, "conversation", says("well"), cold()).await;
    let Some((stand, _api)) = again else { return };
    let body = json!({"session_id": "kitchen", "message": "and now?"});
    let (status, body) = answer(stand.post("/v1/conversational", &body)).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn facts_failures_of_the_real_cli_are_told() {
    // A refused key is tried again, but not for minutes.
    for status in [400, 401] {
        let script = Script { plain: Some(Reply::Status(status)), ..Script::default() };
        let Some((stand, api)) = real("failures", script, cold()).await else { return };
        let (told, body) = answer(stand.chat("fail now", json!({}))).await;
        assert_eq!(told, 503, "{body}");
        assert!(body["detail"].as_str().unwrap().contains(&status.to_string()), "{body}");
        assert!(api.requests().len() <= 3, "{status}: {} requests", api.requests().len());
        // After a slow start the stream's status was sent already, and a frame has the error.
        let response = stand.chat("fail now", json!({"stream": true})).send().await.unwrap();
        let text = response.text().await.unwrap();
        assert!(text.contains("execution failed") && text.contains(&status.to_string()), "{text}");
        assert!(!text.contains("\"stop\""), "{text}");
    }
}

#[tokio::test]
async fn facts_an_answer_of_the_real_cli_that_breaks_off_ends_as_an_error() {
    let broken = Reply::Break("one two three".into());
    let script = Script { plain: Some(broken), ..Script::default() };
    let Some((stand, _api)) = real("broken", script, cold()).await else { return };
    let frames = stand.stream("Count to three.", json!({})).await;
    assert_eq!(text(&frames), "one two three");
    let end = frames[frames.len() - 2..].concat();
    assert!(end.contains("the model's answer was broken off") && end.ends_with("[DONE]"), "{end}");
    assert!(!frames.concat().contains("\"finish_reason\":\""), "{frames:?}");
    // In one piece the CLI's second request, which is not streamed, makes the answer whole.
    let (status, body) = answer(stand.chat("Count again.", json!({}))).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["choices"][0]["message"]["content"], "one two three");
    stand.until_no_processes().await;
}

#[tokio::test]
async fn gateway_a_real_job_runs_its_agent_in_its_checkout() {
    // More than the CLI gives to the model: it keeps such an output as a file.
    let bash = Reply::bash("pwd > where && cat where && head -c 200000 /dev/zero | tr '\\0' 'x'");
    let script = Script::default().when("write it", vec![bash, Reply::text("written")]);
    let Some((stand, api)) = real("job", script, cold()).await else { return };
    put_worker(&stand.folder);
    let order = json!({"prompt": "write it", "agent": "worker", "timeout_seconds": 60});
    let job = done(&stand, &order).await;
    let told = (&job["status"], &job["outcome"]);
    assert_eq!(told, (&json!("completed"), &json!("succeeded")), "{job}");
    assert!(api.everything_sent().contains("/checkouts/afk-job-"));
    let job = done(&stand, &json!({"prompt": "write it", "agent": "nobody"})).await;
    assert_eq!(job["status"], "failed", "{job}");
    assert!(job["outcome_reason"].as_str().unwrap().contains("agent definition"), "{job}");
    // What the agent read is gone with its checkout.
    let mut folders = vec![stand.folder.path().join("state/home/.claude")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            assert!(!path.to_string_lossy().contains("afk-job-"), "{}", path.display());
            folders.extend(Some(path).filter(|path| path.is_dir()));
        }
    }
    let left: Vec<_> =
        std::fs::read_dir(stand.folder.path().join("state/checkouts")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A job may change anything in its home, which the turns of other callers must not find in theirs.
#[tokio::test]
async fn faults_what_a_job_leaves_in_its_home_reaches_no_other_caller() {
    let folder = tempfile::tempdir().unwrap();
    let (ran, shared) = (folder.path().join("ran"), folder.path().join("state/home/.claude"));
    let hook =
        json!([{"hooks": [{"type": "command", "command": format!("touch {}", ran.display())}]}]);
    let settings = json!({"hooks": {"SessionStart": hook, "UserPromptSubmit": hook}}).to_string();
    let agent = "---\nname: conversational\ndescription: x\ntools: \"\"\n---\ncanary of a job\n";
    let leave = folder.path().join("leave");
    let lines = format!(
        "cd ~/.claude && printf %s '{settings}' > settings.json && printf %s '{agent}' > \
         agents/conversational.md && echo \"left $(wc -c < settings.json) bytes\""
    );
    put(&leave, &lines);
    let bash = Reply::bash(format!("sh {}", leave.display()));
    let script = says("well").when("leave it", vec![bash, Reply::text("left")]);
    put_worker(&folder);
    let Some((stand, api)) = real_at(folder, "leaves", script, cold()).await else { return };
    let job = done(&stand, &json!({"prompt": "leave it", "agent": "worker"})).await;
    assert_eq!(job["outcome"], "succeeded", "{job}");
    let left = format!("left {} bytes", settings.len());
    assert!(api.everything_sent().contains(&left), "the job was able to leave it");
    // The job's own CLI may have run the hook.
    let _ = std::fs::remove_file(&ran);
    let others = async || {
        let before = api.requests().len();
        assert_eq!(answer(stand.chat("of another", json!({}))).await.0, 200);
        assert_eq!(text(&stand.stream("of another", json!({})).await), "well");
        let turn = json!({"session_id": "kitchen", "message": "of another"});
        assert_eq!(answer(stand.post("/v1/conversational", &turn)).await.0, 200);
        assert!(!ran.exists(), "a hook ran");
        for request in &api.requests()[before..] {
            assert!(!request.body.to_string().contains("canary of a job"));
        }
    };
    others().await;
    // Not even a hook in the gateway's own home runs for them.
    put(&shared.join("settings.json"), &settings);
    others().await;
    // The control: it runs in jobs, whose home has what is there.
    let job = done(&stand, &json!({"prompt": "say something", "agent": "worker"})).await;
    assert_eq!(job["outcome"], "succeeded", "{job}");
    assert!(ran.exists());
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

/// Measures what waiting processes gain: prints the times to the first delta. Run by `cargo xtask
/// bench gateway`.
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
            stand.until_warm(waiting).await;
            // Lets the process that was started settle.
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
