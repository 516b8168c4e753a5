//! Jobs: what is kept of them, where they run, and what a restart makes of them.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use afk_gateway::{GatewaySettings, Scope, TokenFile, TokenLimits};
use reqwest::RequestBuilder;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::stand::{BOUND, Stand, TOKEN, answer, cold};

async fn submit(stand: &Stand, prompt: &str, more: Value) -> String {
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

async fn until(stand: &Stand, id: &str, statuses: &[&str]) -> Value {
    let deadline = Instant::now() + BOUND;
    loop {
        let (status, job) = stand.get(&format!("/jobs/{id}")).await;
        assert_eq!(status, 200);
        if statuses.contains(&job["status"].as_str().unwrap()) {
            return job;
        }
        assert!(Instant::now() < deadline, "{job}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

const OVER: [&str; 4] = ["completed", "failed", "timeout", "error"];

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
    let id = submit(&stand, "[[fail:API Error]]", json!({})).await;
    let job = until(&stand, &id, &OVER).await;
    assert_eq!((&job["status"], &job["exit_code"]), (&json!("failed"), &json!(1)));
    assert_eq!(job["outcome"], "failed");
    let id = submit(&stand, "[[hang]]", json!({"timeout_seconds": 0.3})).await;
    let job = until(&stand, &id, &OVER).await;
    assert_eq!((&job["status"], &job["outcome"]), (&json!("timeout"), &json!("stopped")));
    stand.until_no_processes().await;
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
    let cancel = |id: &str| {
        let path = stand.url(&format!("/jobs/{id}"));
        answer(stand.client.delete(path).bearer_auth(TOKEN))
    };
    let (status, job) = cancel(&waiting).await;
    assert_eq!(
        (status, &job["status"], &job["error"]),
        (200, &json!("error"), &json!("cancelled"))
    );
    let (status, job) = cancel(&running).await;
    assert_eq!((status, &job["status"]), (200, &json!("error")));
    stand.until_no_processes().await;
    assert_eq!(cancel("0123456789ab").await.0, 404);
    let done = submit(&stand, "[[echo:x]]", json!({})).await;
    until(&stand, &done, &["completed"]).await;
    assert_eq!(stand.starts().len(), 2, "the job that waited was started");
    assert_eq!(cancel(&done).await.1["status"], "completed");
}

/// A client of the token `name` with these limits.
fn token(stand: &Stand, name: &str, limits: TokenLimits) -> impl Fn(&str) -> RequestBuilder {
    let file = TokenFile::new(&stand.folder.path().join("state"));
    let now = jiff::Timestamp::now();
    let token = file.create(name, vec![Scope::Jobs], limits, now).unwrap();
    let (client, url) = (stand.client.clone(), stand.url("/execute"));
    move |prompt| {
        let body = json!({"prompt": prompt, "agent": "worker"});
        client.post(&url).bearer_auth(token.expose_secret()).body(body.to_string())
    }
}

#[tokio::test]
async fn gateway_a_job_counts_among_its_token_s_until_it_is_over() {
    let stand = Stand::new(cold()).await;
    let one = TokenLimits { concurrency: Some(1), ..TokenLimits::default() };
    let order = token(&stand, "one", one);
    let (status, running) = answer(order("[[hang]]").header("idempotency-key", "k")).await;
    assert_eq!(status, 202);
    let (status, refused) = answer(order("[[hang]]")).await;
    assert_eq!((status, &refused["error"]["code"]), (429, &json!("limit_reached")));
    // The same order again is no other job.
    let again = answer(order("[[hang]]").header("idempotency-key", "k")).await;
    assert_eq!(again, (202, running.clone()));
    let path = stand.url(&format!("/jobs/{}", running["job_id"].as_str().unwrap()));
    assert_eq!(answer(stand.client.delete(path).bearer_auth(TOKEN)).await.0, 200);
    assert_eq!(answer(order("[[echo:x]]")).await.0, 202);
}

#[tokio::test]
async fn gateway_a_job_that_waited_has_what_is_left_when_it_runs() {
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    // Each scripted turn costs a cent.
    let cents = TokenLimits { usd_per_day: Some(0.015), ..TokenLimits::default() };
    let order = token(&stand, "cents", cents);
    let holder = submit(&stand, "[[hang]]", json!({})).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let (status, told) = answer(order(&format!("[[echo:{n}]]"))).await;
        assert_eq!(status, 202);
        ids.push(told["job_id"].as_str().unwrap().to_owned());
    }
    let path = stand.url(&format!("/jobs/{holder}"));
    assert_eq!(answer(stand.client.delete(path).bearer_auth(TOKEN)).await.0, 200);
    for (id, budget) in ids.iter().zip([0.015, 0.005]) {
        let job = until(&stand, id, &OVER).await;
        assert_eq!(job["status"], "completed", "{job}");
        assert!((job["max_budget_usd"].as_f64().unwrap() - budget).abs() < 1e-9, "{job}");
    }
    let job = until(&stand, &ids[2], &OVER).await;
    assert_eq!(job["status"], "error");
    assert!(job["error"].as_str().unwrap().contains("had spent its US dollars"), "{job}");
    // The holder's CLI may or may not have come so far as to say so.
    assert!(stand.starts().len() <= 3, "the third was started: {:?}", stand.starts());
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

#[tokio::test]
async fn gateway_jobs_are_listed_by_pages_and_evicted_when_their_time_is_over() {
    let stand = Stand::new(GatewaySettings { job_ttl_seconds: 1, ..cold() }).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(submit(&stand, &format!("[[sleep:300]][[echo:{n}]]"), json!({})).await);
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
    let deadline = Instant::now() + BOUND;
    while stand.get(&format!("/jobs/{}", ids[0])).await.0 != 404 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The stream of a job, for a client that has the event `last`.
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
    // What a client has is not sent again; the end is told to whoever asks.
    let rest = all.split_inclusive("\n\n").skip(1).collect::<String>();
    assert_eq!(followed(&stand, &id, Some("0")).await, rest);
    let last = followed(&stand, &id, Some("2")).await;
    assert!(last.starts_with(end), "{last}");
    // By the address, for a client that cannot set a header; what cannot be right replays all.
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
    until(&stand, &id, &["completed"]).await;
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
    assert_eq!(job["output"].as_array().unwrap().len(), 40_001);
}

#[tokio::test]
async fn gateway_what_a_job_printed_before_a_restart_is_kept_with_its_numbers() {
    let stand = Stand::new(cold()).await;
    let id = submit(&stand, "[[print:3]][[hang]]", json!({})).await;
    let deadline = Instant::now() + BOUND;
    while stand.get(&format!("/jobs/{id}")).await.1["output"].as_array().unwrap().len() < 3 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
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
async fn faults_the_probes_answer_while_everything_else_is_busy() {
    let stand = Stand::new(cold()).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(submit(&stand, &format!("[[print:20000]][[hang]]{n}"), json!({})).await);
    }
    stand.until_load(10, 0).await;
    let (_, health) = stand.get("/health").await;
    assert_eq!(health["busy"], true);
    // Until the queue is full, too, with large requests.
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..90 {
        let prompt = format!("[[echo:{n}]]{}", "x".repeat(100_000));
        waiting.spawn(answer(stand.chat(&prompt, json!({"stream": n % 2 == 0}))));
    }
    let deadline = Instant::now() + BOUND;
    loop {
        for path in ["/health", "/healthz", "/readyz"] {
            let asked = stand.client.get(stand.url(path)).send();
            let told = tokio::time::timeout(std::time::Duration::from_secs(5), asked).await;
            assert_eq!(told.expect(path).unwrap().status(), 200, "{path}");
        }
        let load = stand.load().await;
        if load == (10, 90) {
            break;
        }
        assert!(Instant::now() < deadline, "{load:?}");
    }
    for id in &ids {
        let path = stand.url(&format!("/jobs/{id}"));
        assert_eq!(answer(stand.client.delete(path).bearer_auth(TOKEN)).await.0, 200);
    }
    while let Some(done) = waiting.join_next().await {
        let (status, told) = done.unwrap();
        assert_eq!(status, 200, "{told}");
    }
}

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A remote with one commit, and a base clone of it.
fn remote_and_base(folder: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (work, remote, base) =
        (folder.join("work"), folder.join("remote.git"), folder.join("base"));
    std::fs::create_dir_all(&work).unwrap();
    git(&work, &["init", "-q"]);
    std::fs::write(work.join("a"), "first\n").unwrap();
    git(&work, &["add", "a"]);
    git(&work, &["commit", "-qm", "first"]);
    git(folder, &["clone", "-q", "--bare", "work", "remote.git"]);
    git(folder, &["clone", "-q", "remote.git", "base"]);
    git(&work, &["remote", "add", "origin", "../remote.git"]);
    (remote, base)
}

#[tokio::test]
async fn gateway_each_job_has_a_fresh_checkout_of_a_refreshed_base() {
    let folder = tempfile::tempdir().unwrap();
    let (remote, base) = remote_and_base(folder.path());
    let settings =
        GatewaySettings { workspace_dir: Some(base.clone()), fetch_debounce_seconds: 0, ..cold() };
    let stand = Stand::at(folder, settings).await;
    let output = async |prompt: &str| {
        let id = submit(&stand, prompt, json!({})).await;
        let job = until(&stand, &id, &OVER).await;
        assert_eq!(job["status"], "completed", "{job}");
        job["output"].to_string()
    };
    let said = output("[[read:a]][[read:.git/config]]").await;
    assert!(said.contains("first"), "{said}");
    assert!(said.contains(remote.to_str().unwrap()), "origin is the real remote: {said}");
    let work = stand.folder.path().join("work");
    std::fs::write(work.join("a"), "second\n").unwrap();
    git(&work, &["commit", "-qam", "second"]);
    git(&work, &["push", "-q", "origin", "HEAD:main"]);
    // What a job or a person left in the base is gone.
    std::fs::write(base.join("a"), "meddled\n").unwrap();
    assert!(output("[[read:a]]").await.contains("second"));
    // So are the locks of a git that was killed there.
    std::fs::write(work.join("a"), "third\n").unwrap();
    git(&work, &["commit", "-qam", "third"]);
    git(&work, &["push", "-q", "origin", "HEAD:main"]);
    for lock in ["index.lock", "refs/remotes/origin/main.lock"] {
        std::fs::write(base.join(".git").join(lock), "").unwrap();
    }
    assert!(output("[[read:a]]  ").await.contains("third"));
    // A remote that is gone: the last good state serves.
    std::fs::rename(&remote, stand.folder.path().join("elsewhere.git")).unwrap();
    assert!(output("[[read:a]] ").await.contains("third"));
    let left = std::fs::read_dir(stand.folder.path().join("state/checkouts")).unwrap().count();
    assert_eq!(left, 0);
    stand.until_no_processes().await;
}

#[tokio::test]
async fn faults_a_refresh_of_the_base_goes_on_without_the_job_that_began_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_, base) = remote_and_base(folder.path());
    let work = folder.path().join("work");
    std::fs::write(work.join("a"), "second\n").unwrap();
    git(&work, &["commit", "-qam", "second"]);
    git(&work, &["push", "-q", "origin", "HEAD:main"]);
    // The remote answers when it may.
    let (asked, may) = (folder.path().join("asked"), folder.path().join("may"));
    let slow = folder.path().join("slow");
    let script = format!(
        "#!/bin/sh\n: > '{}'\nuntil [ -e '{}' ]; do sleep 0.01; done\nexec git-upload-pack \"$@\"\n",
        asked.display(),
        may.display()
    );
    std::fs::write(&slow, script).unwrap();
    std::fs::set_permissions(&slow, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    git(&base, &["config", "remote.origin.uploadpack", slow.to_str().unwrap()]);
    let stand =
        Stand::at(folder, GatewaySettings { workspace_dir: Some(base.clone()), ..cold() }).await;
    let id = submit(&stand, "[[read:a]]", json!({})).await;
    let until_true = async |what: &str, holds: &dyn Fn() -> bool| {
        let deadline = Instant::now() + BOUND;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    until_true("the remote was not asked", &|| asked.exists()).await;
    let path = stand.url(&format!("/jobs/{id}"));
    let (_, job) = answer(stand.client.delete(path).bearer_auth(TOKEN)).await;
    assert_eq!(job["error"], "cancelled");
    std::fs::write(&may, "").unwrap();
    let refreshed = || std::fs::read_to_string(base.join("a")).is_ok_and(|a| a == "second\n");
    until_true("the base was not refreshed", &refreshed).await;
    stand.until_no_processes().await;
    assert!(!base.join(".git/index.lock").exists());
}

#[tokio::test]
async fn gateway_a_checkout_is_unlocked_with_git_crypt() {
    if Command::new("git-crypt").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "git-crypt is not installed");
        eprintln!("SKIPPED gateway_a_checkout_is_unlocked_with_git_crypt: no git-crypt");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_, base) = remote_and_base(folder.path());
    let work = folder.path().join("work");
    let crypt = |args: &[&str]| {
        assert!(
            Command::new("git-crypt").current_dir(&work).args(args).status().unwrap().success()
        );
    };
    let key = folder.path().join("key");
    crypt(&["init"]);
    crypt(&["export-key", key.to_str().unwrap()]);
    std::fs::write(work.join(".gitattributes"), "secret filter=git-crypt diff=git-crypt\n")
        .unwrap();
    std::fs::write(work.join("secret"), "the unlocked secret\n").unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "secret"]);
    git(&work, &["push", "-q", "origin", "HEAD:main"]);
    let settings = |git_crypt_key| GatewaySettings {
        workspace_dir: Some(base.clone()),
        git_crypt_key,
        ..cold()
    };
    let stand = Stand::at(folder, settings(Some(key.clone()))).await;
    let id = submit(&stand, "[[read:secret]]", json!({})).await;
    let job = until(&stand, &id, &OVER).await;
    assert!(job["output"].to_string().contains("the unlocked secret"), "{job}");
    // A key file that is not there is no error.
    let missing = stand.folder.path().join("missing");
    let stand = Stand::at(stand.stop().await, settings(Some(missing))).await;
    let id = submit(&stand, "[[read:secret]]", json!({})).await;
    let job = until(&stand, &id, &OVER).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert!(!job["output"].to_string().contains("the unlocked secret"));
    // A wrong key is.
    let wrong = stand.folder.path().join("wrong");
    std::fs::write(&wrong, "no key").unwrap();
    let stand = Stand::at(stand.stop().await, settings(Some(wrong))).await;
    let id = submit(&stand, "[[read:secret]]", json!({})).await;
    let job = until(&stand, &id, &OVER).await;
    assert_eq!(job["status"], "error");
    assert!(job["error"].as_str().unwrap().contains("git-crypt cannot unlock"), "{job}");
}
