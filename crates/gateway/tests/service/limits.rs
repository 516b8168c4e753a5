//! What a token may use: requests a minute, requests at once, dollars a day.

use std::time::{Duration, Instant};

use afk_gateway::{Gateway, GatewaySettings, Scope, TokenFile, TokenLimits, WarmSettings};
use reqwest::RequestBuilder;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::jobs::{OVER, cancel, submit, until, until_true};
use crate::stand::{BOUND, Stand, answer, cold, frames, text};

/// A caller whose token has every scope, and limits.
struct Caller(SecretString);

impl Caller {
    fn new(stand: &Stand, name: &str, limits: TokenLimits) -> Self {
        let file = TokenFile::new(&stand.folder.path().join("state"));
        let now = jiff::Timestamp::now();
        Self(file.create(name, Scope::ALL.to_vec(), limits, now).unwrap())
    }

    fn post(&self, stand: &Stand, path: &str, body: &Value) -> RequestBuilder {
        let request = stand.client.post(stand.url(path)).bearer_auth(self.0.expose_secret());
        request.body(body.to_string())
    }

    fn chat(&self, stand: &Stand, prompt: &str, stream: bool) -> RequestBuilder {
        let messages = json!([{"role": "user", "content": prompt}]);
        let body = json!({"messages": messages, "stream": stream});
        self.post(stand, "/v1/chat/completions", &body)
    }

    fn talk(&self, stand: &Stand, message: &str) -> RequestBuilder {
        let turn = json!({"session_id": "s", "message": message});
        self.post(stand, "/v1/conversational", &turn)
    }

    fn order(&self, stand: &Stand, prompt: &str, usd: f64) -> RequestBuilder {
        let order = json!({"prompt": prompt, "agent": "worker", "max_budget_usd": usd});
        self.post(stand, "/execute", &order)
    }

    /// Orders a job for `usd`, whose budget must be `budget` at first. Returns its id.
    async fn job(&self, stand: &Stand, prompt: &str, usd: f64, budget: f64) -> String {
        let (status, told) = answer(self.order(stand, prompt, usd)).await;
        assert_eq!(status, 202, "{told}");
        let id = told["job_id"].as_str().unwrap().to_owned();
        has_budget(&stand.get(&format!("/jobs/{id}")).await.1, budget);
        id
    }
}

/// Waits for the next day if it is about to begin: what was spent by then would be forgotten in the
/// middle of a test.
async fn well_within_a_day() {
    const LONGEST: i64 = 60;
    let left = 86_400 - jiff::Timestamp::now().as_second().rem_euclid(86_400);
    if left <= LONGEST {
        tokio::time::sleep(Duration::from_secs(left.unsigned_abs())).await;
    }
}

const fn usd_per_day(usd: f64) -> TokenLimits {
    TokenLimits { usd_per_day: Some(usd), requests_per_minute: None, concurrency: None }
}

const ONE_AT_ONCE: TokenLimits =
    TokenLimits { usd_per_day: None, requests_per_minute: None, concurrency: Some(1) };

#[track_caller]
fn has_budget(job: &Value, usd: f64) {
    assert!((job["max_budget_usd"].as_f64().unwrap() - usd).abs() < 1e-9, "{usd}: {job}");
}

/// Checks that a request is refused by a limit that may be over in a second.
async fn refused(request: RequestBuilder, why: &str) {
    let refused = request.send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(!refused.headers().contains_key("x-should-retry"));
    let refused: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    let error = json!({"message": why, "type": "rate_limit_error", "code": "limit_reached"});
    assert_eq!(refused, json!({"detail": why, "error": error}));
}

#[tokio::test]
async fn gateway_requests_at_once_are_bounded_on_every_route_together() {
    const WHY: &str = "this token runs 1 requests at once at most";
    let stand = Stand::new(cold()).await;
    let one = Caller::new(&stand, "one", ONE_AT_ONCE);
    let all_are_refused = async || {
        refused(one.chat(&stand, "[[echo:x]]", false), WHY).await;
        refused(one.chat(&stand, "[[echo:x]]", true), WHY).await;
        refused(one.talk(&stand, "[[echo:x]]"), WHY).await;
        refused(one.order(&stand, "[[echo:x]]", 1.0), WHY).await;
    };
    // A job counts until it is over, and no longer.
    let order = || one.order(&stand, "[[hang]]", 1.0).header("idempotency-key", "k");
    let (status, running) = answer(order()).await;
    assert_eq!(status, 202);
    all_are_refused().await;
    // The same order with the same key is not another job.
    assert_eq!(answer(order()).await, (202, running.clone()));
    cancel(&stand, running["job_id"].as_str().unwrap()).await;
    assert_eq!(answer(one.talk(&stand, "[[echo:x]]")).await.0, 200);
    let held = tokio::spawn(one.chat(&stand, "[[hang]]", true).send());
    stand.until_load(1, 0).await;
    all_are_refused().await;
    held.abort();
    stand.until_load(0, 0).await;
    // A caller who has heard the end may ask again at once.
    for n in 0..5 {
        let response = one.chat(&stand, &format!("[[echo:{n}]]"), true).send().await.unwrap();
        let heard = response.text().await.unwrap();
        assert_eq!(text(&frames(&heard)), n.to_string(), "{heard}");
        assert_eq!(answer(one.chat(&stand, &format!("[[echo:{n}]]"), false)).await.0, 200);
    }
}

/// The token's limits have no room for a second request, so a retry must not count as one.
#[tokio::test]
async fn facts_a_retry_that_takes_over_its_run_is_not_counted_twice() {
    well_within_a_day().await;
    let stand = Stand::new(cold()).await;
    let limits = TokenLimits { usd_per_day: Some(1.0), ..ONE_AT_ONCE };
    let one = Caller::new(&stand, "one", limits);
    let slow = "[[sleep:700]][[echo:once]]";
    for request in
        [one.chat(&stand, slow, false), one.chat(&stand, slow, true), one.talk(&stand, slow)]
    {
        let before = stand.starts().len();
        let first = tokio::spawn(request.try_clone().unwrap().send());
        stand.until_load(1, 0).await;
        first.abort();
        let retry = request.header("x-stainless-retry-count", "1").send().await.unwrap();
        assert_eq!(retry.status(), 200);
        assert!(retry.text().await.unwrap().contains("once"));
        assert_eq!(stand.starts().len() - before, 1);
        stand.until_load(0, 0).await;
    }
}

#[tokio::test]
async fn gateway_what_runs_at_once_cannot_pass_the_dollars_of_the_day_together() {
    const WHY: &str =
        "the rest of this token's 7 US dollars of today is reserved for its requests under way";
    well_within_a_day().await;
    let stand = Stand::new(GatewaySettings { max_concurrency: 2, ..cold() }).await;
    let seven = Caller::new(&stand, "seven", usd_per_day(7.0));
    let mut holders = Vec::new();
    for _ in 0..2 {
        holders.push(submit(&stand, "[[hang]]", json!({})).await);
    }
    let one = seven.job(&stand, "[[hang]]", 5.0, 5.0).await;
    let two = seven.job(&stand, "[[hang]]", 5.0, 2.0).await;
    refused(seven.order(&stand, "[[hang]]", 5.0), WHY).await;
    refused(seven.chat(&stand, "[[echo:x]]", true), WHY).await;
    refused(seven.talk(&stand, "[[echo:x]]"), WHY).await;
    // Other tokens are not affected, and the reserves are free again when the jobs are over.
    cancel(
        &stand,
        &Caller::new(&stand, "other", usd_per_day(7.0)).job(&stand, "x", 5.0, 5.0).await,
    )
    .await;
    cancel(&stand, &one).await;
    cancel(&stand, &two).await;
    let two = seven.job(&stand, "[[note]][[hang]]", 2.0, 2.0).await;
    cancel(&stand, &holders[0]).await;
    until_noted(&stand, 1).await;
    cancel(&stand, &holders[1]).await;
    let three = seven.job(&stand, "[[echo:x]]", 5.0, 5.0).await;
    assert_eq!(until(&stand, &three, &OVER).await["status"], "completed");
    // Left are 4.99: three cost a cent, two has 2.00 reserved. A chat's turn reserves another 2.00.
    let chat = tokio::spawn(seven.chat(&stand, "[[note]][[hang]]", true).send());
    until_noted(&stand, 2).await;
    let four = seven.job(&stand, "[[hang]]", 2.5, 2.5).await;
    let five = seven.job(&stand, "[[hang]]", 2.5, 0.49).await;
    cancel(&stand, &four).await;
    // The chat and job two are broken off in mid-turn, so all of their reserves are charged.
    chat.abort();
    cancel(&stand, &two).await;
    has_budget(&until(&stand, &five, &["running"]).await, 2.5);
    // A job that waited before a restart has its reserve afterwards, too.
    let held = submit(&stand, "[[hang]]", json!({})).await;
    until(&stand, &held, &["running"]).await;
    let six = seven.job(&stand, "[[hang]]", 3.0, 0.49).await;
    let stand = Stand::at(stand.stop().await, cold()).await;
    assert_eq!(stand.get(&format!("/jobs/{five}")).await.1["status"], "error");
    has_budget(&until(&stand, &six, &["running"]).await, 0.49);
    refused(seven.order(&stand, "[[hang]]", 5.0), WHY).await;
}

/// Waits until so many turns have noted that they run.
async fn until_noted(stand: &Stand, count: usize) {
    let path = stand.folder.path().join("state/home/notes");
    until_true("a turn runs", || {
        let noted = std::fs::read_to_string(&path).unwrap_or_default();
        noted.matches("[[note]]").count() >= count
    })
    .await;
}

/// Waits until a token has no dollars left today, and asks for no more than that.
async fn until_spent(stand: &Stand, caller: &Caller, how: &str) {
    let deadline = Instant::now() + BOUND;
    loop {
        let (status, told) = answer(caller.order(stand, "[[echo:x]]", 0.0001)).await;
        assert_eq!(status, 429, "{how}: {told}");
        if told["detail"].as_str().unwrap().contains("has spent its") {
            return;
        }
        // Not spent yet but reserved, for a run that is about to end.
        assert!(Instant::now() < deadline, "{how}: {told}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn gateway_a_turn_that_is_broken_off_costs_what_was_reserved_for_it() {
    well_within_a_day().await;
    let stand = Stand::new(cold()).await;
    let (mut callers, mut notes) = (0, 0);
    let mut caller = |stand: &Stand| {
        callers += 1;
        Caller::new(stand, &format!("caller-{callers}"), usd_per_day(0.5))
    };
    let stopping = caller(&stand);
    let body = json!({"messages": [{"role": "user", "content": "[[echo:a END b]][[hang]]"}],
        "stream": true, "stop": "END"});
    let told = stopping.post(&stand, "/v1/chat/completions", &body).send().await.unwrap();
    let told = told.text().await.unwrap();
    assert!(told.contains("\"finish_reason\":\"stop\""), "{told}");
    until_spent(&stand, &stopping, "a stop sequence").await;
    // Turns that run out of time, at a gateway of their own: the others may start slowly.
    let settings =
        GatewaySettings { conversational_timeout_seconds: 1, chat_timeout_seconds: 1, ..cold() };
    let hasty = Stand::new(settings).await;
    for kind in ["stream", "whole", "talk"] {
        let slow = caller(&hasty);
        let request = match kind {
            "talk" => slow.talk(&hasty, "[[hang]]"),
            _ => slow.chat(&hasty, "[[hang]]", kind == "stream"),
        };
        let told = request.send().await.unwrap().text().await.unwrap();
        assert!(told.contains("agent timed out"), "{kind}: {told}");
        until_spent(&hasty, &slow, kind).await;
    }
    // Turns whose client goes after they have begun.
    for kind in ["stream", "whole", "talk"] {
        let goes = caller(&stand);
        let request = match kind {
            "talk" => goes.talk(&stand, "[[note]][[hang]]"),
            _ => goes.chat(&stand, "[[note]][[hang]]", kind == "stream"),
        };
        let client = tokio::spawn(request.send());
        notes += 1;
        until_noted(&stand, notes).await;
        client.abort();
        until_spent(&stand, &goes, kind).await;
    }
    // Jobs that are cancelled, run out of time, or are killed by somebody else.
    let cancelled = caller(&stand);
    let id = cancelled.job(&stand, "[[note]][[hang]]", 5.0, 0.5).await;
    notes += 1;
    until_noted(&stand, notes).await;
    cancel(&stand, &id).await;
    until_spent(&stand, &cancelled, "a cancelled job").await;
    let slow = caller(&stand);
    let order = json!({"prompt": "[[hang]]", "agent": "worker", "timeout_seconds": 1});
    let (_, told) = answer(slow.post(&stand, "/execute", &order)).await;
    until(&stand, told["job_id"].as_str().unwrap(), &["timeout"]).await;
    until_spent(&stand, &slow, "a job out of time").await;
    let killed = caller(&stand);
    let id = killed.job(&stand, "[[die]]", 5.0, 0.5).await;
    until(&stand, &id, &["failed"]).await;
    until_spent(&stand, &killed, "a killed job").await;
    // A process that exits by itself without any tokens costs nothing.
    let wrong = caller(&stand);
    let id = wrong.job(&stand, "[[exit:1]]", 5.0, 0.5).await;
    until(&stand, &id, &["failed"]).await;
    wrong.job(&stand, "[[echo:x]]", 5.0, 0.5).await;
    // A restart forgives none of the charges.
    let stand = Stand::at(stand.stop().await, cold()).await;
    until_spent(&stand, &stopping, "after a restart").await;
    until_spent(&stand, &cancelled, "after a restart").await;
}

#[tokio::test]
async fn gateway_an_interrupted_turn_is_charged_the_cost_it_reports() {
    well_within_a_day().await;
    let warm = WarmSettings { least: 1, per_model: 1, total: 1, max_age_seconds: 600 };
    let stand = Stand::new(GatewaySettings { warm, ..cold() }).await;
    let spent = |name: &str| {
        let kept = std::fs::read(stand.folder.path().join("state/spend.json"));
        let kept: Value = serde_json::from_slice(&kept.unwrap_or_default()).unwrap_or_default();
        kept["usd"][name].as_f64().unwrap_or(0.0)
    };
    let stop = async |caller: &Caller, prompt: &str, effort: Option<&str>| {
        let mut body = json!({"messages": [{"role": "user", "content": prompt}], "stream": true,
            "stop": "END"});
        if let Some(effort) = effort {
            body["reasoning_effort"] = json!(effort);
        }
        let told = caller.post(&stand, "/v1/chat/completions", &body).send().await.unwrap();
        let told = told.text().await.unwrap();
        assert!(told.contains("\"finish_reason\":\"stop\""), "{told}");
    };
    // A warm process takes an interrupt, and then tells what its turn cost.
    let asked = Caller::new(&stand, "asked", usd_per_day(50.0));
    stand.until_warm(1).await;
    stop(&asked, "[[echo:a END b]][[wait]]", None).await;
    assert!((spent("asked") - 0.01).abs() < 1e-9, "{}", spent("asked"));
    // The same holds if the client goes. The turn's place must be free soon then, so the process has
    // little time to tell: a busy machine may be late with one of them, but not with all.
    let mut charged: Vec<f64> = Vec::new();
    while charged.last().is_none_or(|usd| (usd - 0.01).abs() >= 1e-9) {
        assert!(charged.len() < 5, "none was charged what it told: {charged:?}");
        let name = format!("goes-{}", charged.len());
        let goes = Caller::new(&stand, &name, usd_per_day(50.0));
        stand.until_warm(1).await;
        let client = tokio::spawn(goes.chat(&stand, "[[note]][[wait]]", true).send());
        until_noted(&stand, charged.len() + 1).await;
        client.abort();
        until_true("it is counted", || spent(&name) > 0.0).await;
        charged.push(spent(&name));
    }
    // An effort needs a new process, which takes no interrupt: its turn costs as much as the
    // streamed tokens do, at the dearest model's prices.
    let tokens = Caller::new(&stand, "tokens", usd_per_day(50.0));
    stop(&tokens, "[[usage:1000]][[echo:abcdef END]][[hang]]", Some("low")).await;
    let (least, most) = (0.015, 0.016);
    assert!((least..most).contains(&spent("tokens")), "{}", spent("tokens"));
}

#[tokio::test]
async fn gateway_a_job_that_ran_when_the_service_was_killed_has_cost_its_budget() {
    well_within_a_day().await;
    let stand = Stand::new(cold()).await;
    let caller = Caller::new(&stand, "killed", usd_per_day(0.5));
    let id = caller.job(&stand, "[[hang]]", 0.5, 0.5).await;
    let job = stand.folder.path().join("state/jobs").join(&id).join("job.json");
    let kept = || std::fs::read_to_string(&job).unwrap();
    until_true("it runs", || kept().contains("\"running\"")).await;
    let running = kept();
    let folder = stand.stop().await;
    // The files as a killed service leaves them.
    std::fs::write(&job, running).unwrap();
    std::fs::remove_file(folder.path().join("state/spend.json")).unwrap();
    let stand = Stand::at(folder, cold()).await;
    until_spent(&stand, &caller, "killed").await;
}

/// It would forgive every token what it has spent.
#[tokio::test]
async fn gateway_a_service_that_cannot_read_what_was_spent_today_does_not_start() {
    well_within_a_day().await;
    let stand = Stand::new(cold()).await;
    // Each scripted turn costs a cent.
    let cent = Caller::new(&stand, "cent", usd_per_day(0.01));
    assert_eq!(answer(cent.chat(&stand, "[[echo:x]]", false)).await.0, 200);
    let folder = stand.stop().await;
    let path = folder.path().join("state/spend.json");
    let good = std::fs::read_to_string(&path).unwrap();
    let null = good.replace("0.01", "null");
    assert_ne!(null, good);
    for bad in [null.as_str(), "{", ""] {
        std::fs::write(&path, bad).unwrap();
        let start = crate::stand::start(folder.path(), cold());
        let told = Gateway::open(start).await.unwrap_err().to_string();
        assert!(told.contains("spend.json: it does not tell"), "{told}");
        assert!(told.contains("correct it, or remove it"), "{told}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), bad, "it is left to be corrected");
    }
    std::fs::write(&path, &good).unwrap();
    let stand = Stand::at(folder, cold()).await;
    assert_eq!(answer(cent.chat(&stand, "[[echo:y]]", false)).await.0, 429);
    // No file is no spend.
    let folder = stand.stop().await;
    std::fs::remove_file(&path).unwrap();
    let stand = Stand::at(folder, cold()).await;
    assert_eq!(answer(cent.chat(&stand, "[[echo:z]]", false)).await.0, 200);
}

#[tokio::test]
async fn gateway_a_job_that_waited_has_its_time_and_what_is_left_when_it_runs() {
    well_within_a_day().await;
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let holder = submit(&stand, "[[hang]]", json!({})).await;
    let patient = submit(&stand, "[[echo:x]]", json!({"timeout_seconds": 2})).await;
    let ordered = Instant::now();
    let seven = Caller::new(&stand, "seven", usd_per_day(7.0));
    let full = seven.job(&stand, "[[echo:1]]", 5.0, 5.0).await;
    let rest = seven.job(&stand, "[[echo:2]]", 5.0, 2.0).await;
    // Each scripted turn costs a cent, even if its budget is less.
    let cents = Caller::new(&stand, "cents", usd_per_day(0.015));
    let mut ids = Vec::new();
    for usd in [0.005, 0.004, 0.006] {
        ids.push(cents.job(&stand, "[[echo:3]]", usd, usd).await);
    }
    // The patient job waits for longer than its time limit, which only counts from its start.
    while ordered.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cancel(&stand, &holder).await;
    assert_eq!(until(&stand, &patient, &OVER).await["status"], "completed");
    has_budget(&until(&stand, &full, &OVER).await, 5.0);
    // The job before it cost a cent of the 5.00 that were reserved, so there is more now.
    has_budget(&until(&stand, &rest, &OVER).await, 5.0);
    // The first job cost more than its budget, so there is nothing left for the second.
    let ends = [("completed", 0.005), ("error", 0.0), ("completed", 0.005)];
    for (id, (status, usd)) in ids.iter().zip(ends) {
        let job = until(&stand, id, &OVER).await;
        assert_eq!(job["status"], status, "{job}");
        has_budget(&job, usd);
        let why = job["error"].as_str().unwrap_or_default();
        assert_eq!(why.contains("had spent its US dollars"), status == "error", "{job}");
    }
    // Five jobs ran; the holder's CLI may or may not have noted its start before it was cancelled.
    assert!(stand.starts().len() <= 6, "one without a budget ran: {:?}", stand.starts());
}

#[tokio::test]
async fn gateway_a_job_whose_token_is_not_valid_any_more_has_no_budget() {
    well_within_a_day().await;
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let state = stand.folder.path().join("state");
    let (tokens, path) = (TokenFile::new(&state), state.join("tokens.json"));
    for how in ["revoked", "unreadable"] {
        let before = stand.starts().len();
        let holder = submit(&stand, "[[hang]]", json!({})).await;
        stand.until_starts(before + 1).await;
        let five = Caller::new(&stand, "five", usd_per_day(5.0));
        let waits = five.job(&stand, "[[echo:x]]", 500.0, 5.0).await;
        // The token of the environment is in no file, so its jobs run all the same.
        let other = submit(&stand, "[[echo:x]]", json!({})).await;
        match how {
            "revoked" => tokens.revoke("five").unwrap(),
            _ => std::fs::write(&path, "{").unwrap(),
        }
        cancel(&stand, &holder).await;
        let job = until(&stand, &waits, &OVER).await;
        assert_eq!(job["status"], "error", "{how}: {job}");
        has_budget(&job, 0.0);
        let why = job["error"].as_str().unwrap();
        assert!(why.contains("its token was not valid any more"), "{how}: {job}");
        let job = until(&stand, &other, &OVER).await;
        assert_eq!(job["status"], "completed", "{how}: {job}");
        has_budget(&job, 5.0);
        assert_eq!(stand.starts().len(), before + 2, "{how}");
    }
}

#[tokio::test]
async fn gateway_a_job_that_waited_for_a_restart_ends_if_its_token_is_gone() {
    well_within_a_day().await;
    let stand = Stand::new(GatewaySettings { max_concurrency: 1, ..cold() }).await;
    let holder = submit(&stand, "[[hang]]", json!({})).await;
    until(&stand, &holder, &["running"]).await;
    let five = Caller::new(&stand, "five", usd_per_day(5.0));
    let waits = five.job(&stand, "[[echo:x]]", 500.0, 5.0).await;
    let folder = stand.stop().await;
    TokenFile::new(&folder.path().join("state")).revoke("five").unwrap();
    let stand = Stand::at(folder, cold()).await;
    let job = until(&stand, &waits, &OVER).await;
    assert_eq!(job["status"], "error", "{job}");
    has_budget(&job, 0.0);
}

#[tokio::test]
async fn gateway_a_token_that_has_spent_its_day_is_refused_after_a_restart_too() {
    well_within_a_day().await;
    let stand = Stand::new(cold()).await;
    // Each scripted turn costs a cent.
    let probe = Caller::new(&stand, "probe", usd_per_day(0.015));
    assert_eq!(answer(probe.chat(&stand, "[[echo:1]]", false)).await.0, 200);
    assert_eq!(answer(probe.chat(&stand, "[[echo:2]]", false)).await.0, 200);
    let (status, body) = answer(probe.chat(&stand, "[[echo:3]]", false)).await;
    assert_eq!(status, 429);
    assert!(body["detail"].as_str().unwrap().contains("spent its 0.015 US dollars"), "{body}");
    let stand = Stand::at(stand.stop().await, cold()).await;
    assert_eq!(answer(probe.chat(&stand, "[[echo:4]]", false)).await.0, 429);
}

/// The CLI tells what a whole conversation has cost so far, too.
#[tokio::test]
async fn gateway_each_turn_of_a_conversation_is_charged_for_itself_alone() {
    well_within_a_day().await;
    let stand = Stand::new(cold()).await;
    let talks = Caller::new(&stand, "talks", usd_per_day(50.0));
    for turn in ["[[echo:1]]", "[[echo:2]]", "[[echo:3]]"] {
        assert_eq!(answer(talks.talk(&stand, turn)).await.0, 200);
    }
    let folder = stand.stop().await;
    let kept = std::fs::read(folder.path().join("state/spend.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    let spent = kept["usd"]["talks"].as_f64().unwrap();
    assert!((spent - 0.03).abs() < 1e-9, "{spent}");
}

#[tokio::test]
async fn gateway_what_a_token_has_left_of_its_day_bounds_each_turn() {
    well_within_a_day().await;
    let stand = Stand::new(cold()).await;
    let poor = Caller::new(&stand, "poor", usd_per_day(0.5));
    let rich = Caller::new(&stand, "rich", usd_per_day(50.0));
    let told = async |request: RequestBuilder| request.send().await.unwrap().text().await.unwrap();
    let requests = |caller: &Caller| {
        [
            caller.chat(&stand, "[[argv]]", false),
            caller.chat(&stand, "[[argv]]", true),
            caller.talk(&stand, "[[argv]]"),
        ]
    };
    for (request, left) in requests(&poor).into_iter().zip([0.5, 0.49, 0.48]) {
        let argv = told(request).await;
        assert!(argv.contains(&format!("--max-budget-usd {left}")), "{argv}");
    }
    for request in requests(&rich) {
        let argv = told(request).await;
        assert!(!argv.contains("max-budget-usd"), "{argv}");
    }
    // Three turns of a cent each are charged already.
    poor.job(&stand, "[[argv]]", 5.0, 0.47).await;
    // More than a chat may cost, and less than a job costs by default.
    let middling = Caller::new(&stand, "middling", usd_per_day(3.0));
    middling.job(&stand, "[[argv]]", 5.0, 3.0).await;
}
