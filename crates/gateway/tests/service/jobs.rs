//! Jobs: what is kept of them, how they end, and what a restart makes of them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use afk_gateway::GatewaySettings;
use serde_json::{Value, json};

use crate::faults::{chat, read_until, socket};
use crate::stand::{BOUND, Stand, TOKEN, answer, cold};

pub(crate) async fn submit(stand: &Stand, prompt: &str, more: Value) -> String {
    let mut body = json!({"prompt": prompt, "agent": "worker"});
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    let (status, told) = answer(stand.post("/execute", &body)).await;
    assert_eq!((status, &told["status"]), (202, &json!("queued")), "{told}");
    let id = told["job_id"].as_str().unwrap().to_owned();
    assert!(id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    id
}

pub(crate) async fn until(stand: &Stand, id: &str, statuses: &[&str]) -> Value {
    let deadline = Instant::now() + BOUND;
    loop {
        let (status, job) = stand.get(&format!("/jobs/{id}")).await;
        assert_eq!(status, 200);
        if statuses.contains(&job["status"].as_str().unwrap()) {
            return job;
        }
        assert!(Instant::now() < deadline, "{job}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) const OVER: [&str; 4] = ["completed", "failed", "timeout", "error"];

pub(crate) async fn cancel(stand: &Stand, id: &str) -> Value {
    let path = stand.url(&format!("/jobs/{id}"));
    let (status, job) = answer(stand.client.delete(path).bearer_auth(TOKEN)).await;
    assert_eq!(status, 200, "{job}");
    job
}

pub(crate) async fn until_true(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns how many checkouts there are. A checkout and its home count as one, and either of them
/// alone as well.
pub(crate) fn checkouts(stand: &Stand) -> usize {
    let entries = std::fs::read_dir(stand.folder.path().join("state/checkouts")).unwrap();
    let names = entries.map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.trim_end_matches(".home").to_owned()
    });
    names.collect::<HashSet<_>>().len()
}

#[tokio::test]
async fn gateway_a_job_is_told_by_its_exit_code_and_its_outcome() {
    let stand = Stand::new(cold()).await;
    let metadata = json!({"ticket": 7, "nested": [null, {"a": "b"}]});
    let id = submit(&stand, "[[stderr:a word]][[echo:done]]", json!({"metadata": metadata})).await;
    let job = until(&stand, &id, &OVER).await;
    assert_eq!((&job["status"], &job["exit_code"]), (&json!("completed"), &json!(0)));
    assert_eq!((&job["metadata"], &job["agent"]), (&metadata, &json!("worker")));
    assert_eq!((&job["outcome"], &job["stderr"]), (&json!("succeeded"), &json!("a word\n")));
    let lines: Vec<&str> =
        job["output"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(
        lines.concat().contains("\"result\":\"done\"") && lines.iter().all(|l| l.ends_with('\n'))
    );
    for time in ["created_at", "started_at", "finished_at"] {
        assert!(job[time].as_str().unwrap().ends_with('Z'), "{time}");
    }
    let of = |name: &str| job[name].as_f64().unwrap();
    assert_eq!((of("max_budget_usd"), of("timeout_seconds")), (5.0, 2700.0), "by default");
    let argv = stand.starts().concat();
    assert!(argv.contains("--max-budget-usd 5 "), "{argv}");
    let id = submit(&stand, "[[fail:API Error]]", json!({})).await;
    let job = until(&stand, &id, &OVER).await;
    assert_eq!((&job["status"], &job["exit_code"]), (&json!("failed"), &json!(1)));
    assert_eq!(job["outcome"], "failed");
    // A turn in which a tool was denied exits with 0; only the outcome tells.
    let result = json!({"type": "result", "subtype": "success", "is_error": false, "result": "done",
        "permission_denials": [{"tool_name": "Bash", "tool_use_id": "t"}]});
    let id = submit(&stand, &format!("[[raw:{result}]]"), json!({})).await;
    let job = until(&stand, &id, &OVER).await;
    assert_eq!((&job["status"], &job["exit_code"]), (&json!("completed"), &json!(0)));
    assert_eq!(job["outcome"], "failed");
    assert!(job["outcome_reason"].as_str().unwrap().contains("Bash"), "{job}");
    stand.until_no_processes().await;
}

#[tokio::test]
async fn gateway_a_job_that_is_told_as_over_has_left_nothing() {
    let stand = Stand::new(cold()).await;
    let id = submit(&stand, "[[fork:2]][[hang]]", json!({"timeout_seconds": 0.5})).await;
    let job = until(&stand, &id, &OVER).await;
    assert_eq!((stand.processes(), checkouts(&stand)), (0, 0));
    assert_eq!((&job["status"], &job["outcome"]), (&json!("timeout"), &json!("stopped")));
    assert_eq!(job["error"], "the job ran for over 0.5 seconds");
    let id = submit(&stand, "[[fork:2]][[hang]]", json!({})).await;
    // The supervisor, the CLI, and two grandchildren in sessions of their own.
    until_true("it does not run", || stand.processes() == 4).await;
    assert_eq!(checkouts(&stand), 1);
    assert_eq!(cancel(&stand, &id).await["error"], "cancelled");
    assert_eq!((stand.processes(), checkouts(&stand)), (0, 0));
}

#[tokio::test]
async fn gateway_what_a_job_prints_is_drained_however_much_it_is() {
    let stand = Stand::new(cold()).await;
    // More than a pipe holds, alternately on standard output and standard error.
    let flood = "complaint ".repeat(20_000);
    let prompt = format!(
        "[[print:20000]][[stderr:{flood}]][[size:3000000]][[stderr:{flood}]][[stderr:last words]]"
    );
    let id = submit(&stand, &prompt, json!({})).await;
    // Returns when the job has ended.
    followed(&stand, &id, Some("19999")).await;
    let (_, job) = stand.get(&format!("/jobs/{id}")).await;
    assert_eq!((&job["status"], &job["outcome"]), (&json!("completed"), &json!("succeeded")));
    assert_eq!(job["output_truncated"], false);
    let output = job["output"].as_array().unwrap();
    let last = output.last().unwrap().as_str().unwrap();
    assert_eq!((output.len(), last.ends_with('\n')), (20_001, true));
    assert!(last.len() > 3_000_000, "{}", last.len());
    let stderr = job["stderr"].as_str().unwrap();
    assert!(stderr.len() <= 16 * 1024 && stderr.ends_with(" \nlast words\n"), "{}", stderr.len());
}

#[tokio::test]
async fn gateway_a_job_s_metadata_is_told_as_it_was_written() {
    let stand = Stand::new(cold()).await;
    let metadata = r#"{"z": 1.0, "a": 123456789012345678901234567890, "n" : [ 1e2 ]}"#;
    let body = format!(r#"{{"prompt": "[[echo:x]]", "metadata": {metadata}, "agent": "worker"}}"#);
    let (status, told) = answer(stand.raw("/execute", body)).await;
    assert_eq!(status, 202, "{told}");
    let id = told["job_id"].as_str().unwrap();
    let path = format!("/jobs/{id}");
    let told = async |stand: &Stand, path: &str| {
        let asked = stand.client.get(stand.url(path)).bearer_auth(TOKEN);
        let text = asked.send().await.unwrap().text().await.unwrap();
        assert!(text.contains(&format!("\"metadata\":{metadata},")), "{text}");
    };
    told(&stand, &path).await;
    until(&stand, id, &["completed"]).await;
    let stand = Stand::at(stand.stop().await, cold()).await;
    told(&stand, &path).await;
    told(&stand, "/jobs").await;
}

#[tokio::test]
async fn gateway_a_job_s_command_line_is_the_known_one_and_has_no_prompt() {
    let stand = Stand::new(cold()).await;
    let id = submit(&stand, "--help [[argv]]", json!({"max_budget_usd": 1.5})).await;
    let job = until(&stand, &id, &OVER).await;
    let said = job["output"].to_string();
    let argv = "-p --agent worker --dangerously-skip-permissions --max-budget-usd 1.5 --output-format json";
    assert!(said.contains(argv), "{said}");
}

#[tokio::test]
async fn gateway_a_job_goes_on_without_its_caller_and_can_be_cancelled() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let running = submit(&stand, "[[hang]]", json!({})).await;
    until(&stand, &running, &["running"]).await;
    stand.until_starts(1).await;
    let waiting = submit(&stand, "[[echo:x]]", json!({})).await;
    for id in [&waiting, &running] {
        let job = cancel(&stand, id).await;
        assert_eq!((&job["status"], &job["error"]), (&json!("error"), &json!("cancelled")));
    }
    stand.until_no_processes().await;
    let unknown = stand.client.delete(stand.url("/jobs/0123456789ab")).bearer_auth(TOKEN);
    assert_eq!(answer(unknown).await.0, 404);
    let done = submit(&stand, "[[echo:x]]", json!({})).await;
    until(&stand, &done, &["completed"]).await;
    assert_eq!(stand.starts().len(), 2, "the job that waited was started");
    assert_eq!(cancel(&stand, &done).await["status"], "completed");
}

#[tokio::test]
async fn gateway_jobs_survive_a_restart() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let done = submit(&stand, "[[echo:x]]", json!({})).await;
    until(&stand, &done, &["completed"]).await;
    let running = submit(&stand, "[[hang]]", json!({})).await;
    until(&stand, &running, &["running"]).await;
    let waiting = submit(&stand, "[[echo:later]]", json!({})).await;
    let stand = Stand::at(stand.stop().await, cold()).await;
    assert_eq!(until(&stand, &done, &OVER).await["status"], "completed");
    let job = until(&stand, &running, &OVER).await;
    assert_eq!(job["status"], "error");
    assert!(job["error"].as_str().unwrap().contains("stopped while the job ran"), "{job}");
    assert_eq!(until(&stand, &waiting, &OVER).await["status"], "completed");
}

/// While the service stops, answers under way end one by one, and their places come up.
#[tokio::test]
async fn gateway_a_job_that_waits_when_the_service_stops_is_not_begun_and_runs_after_a_restart() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let body = chat("[[echo:half]][[hang]]", true);
    let mut stream = socket(&stand, "/v1/chat/completions", &body).await;
    read_until(&mut stream, "half").await;
    let waiting = submit(&stand, "[[echo:later]]", json!({})).await;
    stand.until_load(1, 1).await;
    stand.gateway.stop();
    read_until(&mut stream, "[DONE]").await;
    stand.until_load(0, 0).await;
    assert_eq!(stand.starts().len(), 1, "the job was begun");
    let stand = Stand::at(stand.stop().await, cold()).await;
    assert_eq!(until(&stand, &waiting, &OVER).await["status"], "completed");
    assert_eq!(stand.starts().len(), 2);
}

#[tokio::test]
async fn gateway_jobs_are_listed_by_pages_and_evicted_when_their_time_is_over() {
    let stand = Stand::new(GatewaySettings { job_ttl_seconds: 1, ..cold() }).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(submit(&stand, &format!("[[hang]]{n}"), json!({})).await);
    }
    ids.reverse();
    let (_, first) = stand.get("/jobs?limit=2").await;
    let listed = |page: &Value| -> Vec<String> {
        let jobs = page["jobs"].as_array().unwrap();
        jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&first), ids[..2]);
    let next = first["next"].as_str().unwrap();
    let (_, second) = stand.get(&format!("/jobs?limit=3&after={next}")).await;
    assert_eq!((listed(&second).as_slice(), &second["next"]), (&ids[2..], &Value::Null));
    assert_eq!(stand.get("/jobs?limit=0").await.0, 422);
    let (status, told) = stand.get("/jobs?after=000000000000").await;
    assert_eq!((status, &told["error"]["code"]), (404, &json!("job_not_found")));
    // Its time begins when it has ended.
    cancel(&stand, &ids[0]).await;
    let deadline = Instant::now() + BOUND;
    while stand.get(&format!("/jobs/{}", ids[0])).await.0 != 404 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the request for the stream of a job by a client that has the events up to `last`.
fn follow(stand: &Stand, id: &str, last: Option<&str>) -> reqwest::RequestBuilder {
    let request = stand.client.get(stand.url(&format!("/jobs/{id}/stream"))).bearer_auth(TOKEN);
    match last {
        Some(last) => request.header("last-event-id", last),
        None => request,
    }
}

async fn followed(stand: &Stand, id: &str, last: Option<&str>) -> String {
    follow(stand, id, last).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn gateway_a_job_can_be_followed_and_taken_up_again() {
    let stand = Stand::new(cold()).await;
    let id = submit(&stand, "[[print:2]][[sleep:300]][[echo:end]]", json!({})).await;
    let all = followed(&stand, &id, None).await;
    let end = "event: end\ndata: {";
    assert!(all.starts_with("id: 0\nevent: output\ndata: {\"line\":\"line 0\\n\"}\n\n"), "{all}");
    assert!(all.contains("id: 2\nevent: output\ndata: {\"line\":") && all.contains(end), "{all}");
    assert_eq!(followed(&stand, &id, None).await, all, "replayed when it is over");
    // Lines that a client has are not sent again; the end always is.
    let rest = all.split_inclusive("\n\n").skip(1).collect::<String>();
    assert_eq!(followed(&stand, &id, Some("0")).await, rest);
    let last = followed(&stand, &id, Some("2")).await;
    assert!(last.starts_with(end), "{last}");
    // Clients that cannot set a header use the query. A number that cannot be right replays all.
    let path = stand.url(&format!("/jobs/{id}/stream?last_event_id=0"));
    let told = stand.client.get(path).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(told.text().await.unwrap(), rest);
    for odd in ["99", "x", "-1"] {
        assert_eq!(followed(&stand, &id, Some(odd)).await, all, "{odd}");
    }
    assert_eq!(stand.get("/jobs/0123456789ab/stream").await.0, 404);
}

/// Followers that come at any time and read at any speed, one of whom does not read at all for a
/// while: each gets the same, and the job waits for none of them.
#[tokio::test]
async fn gateway_followers_of_a_job_all_get_the_same() {
    let stand = Stand::new(cold()).await;
    let id = submit(&stand, "[[print:20000]][[sleep:200]][[print:20000]]", json!({})).await;
    let mut stalled = follow(&stand, &id, None).send().await.unwrap();
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let request = follow(&stand, &id, None);
        others.spawn(async move { request.send().await.unwrap().text().await.unwrap() });
    }
    // Returns when the job has ended.
    let whole = followed(&stand, &id, None).await;
    assert_eq!(whole.matches("event: output").count(), 40_001);
    while let Some(other) = others.join_next().await {
        assert!(other.unwrap() == whole, "a follower got something else");
    }
    let mut late = Vec::new();
    while let Some(piece) = stalled.chunk().await.unwrap() {
        late.extend_from_slice(&piece);
    }
    assert!(String::from_utf8(late).unwrap() == whole, "the one that stalled");
    let (_, job) = stand.get(&format!("/jobs/{id}")).await;
    assert_eq!(job["status"], "completed");
    assert_eq!(job["output"].as_array().unwrap().len(), 40_001);
}

#[tokio::test]
async fn gateway_what_a_job_printed_before_a_restart_is_kept_with_its_numbers() {
    let stand = Stand::new(cold()).await;
    let id = submit(&stand, "[[print:3]][[hang]]", json!({})).await;
    let deadline = Instant::now() + BOUND;
    while stand.get(&format!("/jobs/{id}")).await.1["output"].as_array().unwrap().len() < 3 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut before = follow(&stand, &id, None).send().await.unwrap();
    let mut seen = String::new();
    while !seen.contains("id: 2\n") {
        seen += &String::from_utf8_lossy(&before.chunk().await.unwrap().unwrap());
    }
    let stand = Stand::at(stand.stop().await, cold()).await;
    let after = followed(&stand, &id, Some("0")).await;
    let rest = seen.split_inclusive("\n\n").skip(1).collect::<String>();
    assert!(after.starts_with(&rest) && after.contains("\"status\":\"error\""), "{after}");
}

#[tokio::test]
async fn facts_a_job_s_idempotency_key_is_honoured_at_once_and_after_a_restart() {
    let stand = Stand::new(cold()).await;
    let order = |stand: &Stand, key: &str| {
        let body = json!({"prompt": "[[echo:x]]", "agent": "worker"});
        answer(stand.post("/execute", &body).header("idempotency-key", key.to_owned()))
    };
    let (one, same, other) =
        tokio::join!(order(&stand, "k"), order(&stand, "k"), order(&stand, "l"));
    assert_eq!((one.0, &one.1), (202, &same.1));
    assert_ne!(one.1, other.1);
    let stand = Stand::at(stand.stop().await, cold()).await;
    assert_eq!(order(&stand, "k").await.1, one.1);
    assert_eq!(stand.get("/jobs").await.1["jobs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn gateway_a_sign_in_that_a_job_has_renewed_outlives_the_job_s_home() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("state/home/.claude/.credentials.json");
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    std::fs::write(&kept, "{}").unwrap();
    let stand = Stand::at(folder, cold()).await;
    // The newer sign-in is kept, and file systems' clocks are coarse.
    let tick = || tokio::time::sleep(Duration::from_millis(20));
    tick().await;
    let id = submit(&stand, r#"[[renew:{"n":1}]][[echo:x]]"#, json!({})).await;
    assert_eq!(until(&stand, &id, &OVER).await["status"], "completed");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), r#"{"n":1}"#);
    tick().await;
    let chat = stand.chat(r#"[[renew:{"n":2}]][[echo:x]]"#, json!({"agent": "triage"}));
    assert_eq!(answer(chat).await.0, 200);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), r#"{"n":2}"#);
    // As a killed service leaves the home of a job.
    tick().await;
    let folder = stand.stop().await;
    let left = folder.path().join("state/checkouts/afk-job-0123.home");
    std::fs::create_dir_all(left.join(".claude")).unwrap();
    std::fs::write(left.join(".claude/.credentials.json"), r#"{"n":3}"#).unwrap();
    // And a checkout whose repository has such a file.
    let checkout = folder.path().join("state/checkouts/afk-job-4567");
    std::fs::create_dir_all(checkout.join(".claude")).unwrap();
    tick().await;
    std::fs::write(checkout.join(".claude/.credentials.json"), r#"{"n":4}"#).unwrap();
    let _stand = Stand::at(folder, cold()).await;
    assert!(!left.exists() && !checkout.exists());
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), r#"{"n":3}"#);
}

/// Returns the median time that `/health` takes to answer.
async fn health_takes(stand: &Stand) -> Duration {
    let mut times = Vec::new();
    for _ in 0..41 {
        let asked = Instant::now();
        stand.load().await;
        times.push(asked.elapsed());
    }
    times.sort();
    times[20]
}

#[tokio::test]
async fn faults_the_probes_answer_while_everything_else_is_busy() {
    let stand = Stand::new(cold()).await;
    let idle = health_takes(&stand).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(submit(&stand, &format!("[[print:20000]][[hang]]{n}"), json!({})).await);
    }
    stand.until_load(10, 0).await;
    let (_, health) = stand.get("/health").await;
    assert_eq!(health["busy"], true);
    let busy = health_takes(&stand).await;
    assert!(busy < Duration::from_millis(50).max(idle * 20), "{busy:?}, and {idle:?} at rest");
    // The probes also answer while large requests fill the queue.
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..90 {
        let prompt = format!("[[echo:{n}]]{}", "x".repeat(100_000));
        waiting.spawn(answer(stand.chat(&prompt, json!({"stream": n % 2 == 0}))));
    }
    let deadline = Instant::now() + BOUND;
    loop {
        for path in ["/health", "/healthz", "/readyz"] {
            let asked = stand.client.get(stand.url(path)).send();
            let told = tokio::time::timeout(Duration::from_secs(30), asked).await;
            assert_eq!(told.expect(path).unwrap().status(), 200, "{path}");
        }
        let load = stand.load().await;
        if load == (10, 90) {
            break;
        }
        assert!(Instant::now() < deadline, "{load:?}");
    }
    // The hundred and first is refused, and told when to come again: nothing ran.
    let job = json!({"prompt": "p", "agent": "a"});
    for (request, status, says, kind) in [
        (stand.post("/execute", &job), 429, "Queue full", "rate_limit_error"),
        (stand.chat("x", json!({})), 503, "queue full", "server_error"),
    ] {
        let refused = request.send().await.unwrap();
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (status, &"9".parse().unwrap())
        );
        let refused: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
        let error = json!({"message": says, "type": kind, "code": "queue_full"});
        assert_eq!(refused, json!({"detail": says, "error": error}));
    }
    for id in &ids {
        cancel(&stand, id).await;
    }
    while let Some(done) = waiting.join_next().await {
        let (status, told) = done.unwrap();
        assert_eq!(status, 200, "{told}");
    }
}
