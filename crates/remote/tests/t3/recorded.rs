//! The fake servers compared with recorded exchanges of real ones: the same requests at the same
//! times get the same answers, but for ids, times and sequences.
//!
//! Of a text that the agent wrote while it was interrupted only the presence is compared;
//! activities are compared without their order.

use std::collections::BTreeMap;
use std::path::Path;

use afk_fakes::t3::{Flavour, T3Fake};
use afk_sim::fakes::Sim;
use afk_sim::world::World;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use crate::support::TOKEN;

/// A recording that is replayed with a fake.
struct Played {
    sim: Sim,
    fake: T3Fake,
    http: reqwest::Client,
    /// The bearer that requests are sent with: the newest that the fake gave out.
    bearer: String,
    /// The fake's ids of agents' requests, by the recorded ids.
    asked: BTreeMap<String, String>,
    /// The fake's ids of turns, by the recorded ids.
    turns: BTreeMap<String, String>,
    /// The fake's sequences, by the recorded ones.
    sequences: BTreeMap<u64, u64>,
}

fn flavour(version: &str) -> Flavour {
    match version {
        "0.0.27" => Flavour::V27,
        "main-0822" => Flavour::August,
        _ => Flavour::V33,
    }
}

async fn play(version: &str, scenario: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/t3");
    let text =
        std::fs::read_to_string(folder.join(version).join(format!("{scenario}.json"))).unwrap();
    let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
    let began = began(&entries);
    let sim = Sim::new(World::new(afk_core::config::Policy::default(), began));
    let fake = T3Fake::start(&sim, flavour(version), TOKEN).unwrap();
    fake.has_folder("/srv/repo", true);
    fake.pairs("TOKEN");
    let http = reqwest::Client::new();
    let mut played = Played {
        sim,
        fake,
        http,
        bearer: TOKEN.to_owned(),
        asked: BTreeMap::new(),
        turns: BTreeMap::new(),
        sequences: BTreeMap::new(),
    };
    played.set_up(&entries).await;
    let (mut last, mut compared) = (0, 0);
    for pair in entries.windows(2) {
        let (sent, got) = (&pair[0], &pair[1]);
        let at = sent["t_ms"].as_i64().unwrap();
        played.sim.advance(SignedDuration::from_millis(at - last));
        last = at;
        if sent["dir"] != "request" {
            let note = sent["body"].as_str().or(sent["note"].as_str()).unwrap_or_default();
            if note.contains("SIGKILL") {
                played.fake.kill();
            }
            if note.contains("started again") {
                played.fake.revive();
            }
            continue;
        }
        assert_eq!(got["dir"], "response", "{scenario}: {got}");
        let what = format!("{version} {scenario} at {at} ms: {}", sent["body"]);
        played.compare(sent, got, &what).await;
        compared += 1;
    }
    assert!(compared > 1, "{scenario} compared {compared} answers");
}

/// When the recording began, by the time of its first command.
fn began(entries: &[Value]) -> afk_core::ids::At {
    let dated = entries.iter().find_map(|entry| {
        let at: afk_core::ids::At = entry["body"]["createdAt"].as_str()?.parse().ok()?;
        at.checked_sub(SignedDuration::from_millis(entry["t_ms"].as_i64()?)).ok()
    });
    dated.unwrap_or_else(|| "2026-11-28T10:00:00Z".parse().unwrap())
}

impl Played {
    /// Makes the projects that a recording expects to exist.
    async fn set_up(&self, entries: &[Value]) {
        let made: Vec<&str> = entries
            .iter()
            .filter(|entry| entry["body"]["type"] == "project.create")
            .filter_map(|entry| entry["body"]["projectId"].as_str())
            .collect();
        let mut needed: Vec<&str> = entries
            .iter()
            .filter(|entry| entry["body"]["type"] == "thread.create")
            .filter_map(|entry| entry["body"]["projectId"].as_str())
            .filter(|id| !made.contains(id) && *id != "p-none")
            .collect();
        needed.dedup();
        for project in needed {
            let command = json!({
                "type": "project.create", "commandId": format!("set-up-{project}"),
                "projectId": project, "title": "demo", "workspaceRoot": "/srv/repo",
                "createdAt": "2026-11-28T10:00:00.000Z",
            });
            let sent = self.http.post(format!("{}api/orchestration/dispatch", self.fake.url()));
            let sent = sent.bearer_auth(TOKEN).body(command.to_string()).send().await.unwrap();
            assert_eq!(sent.status(), 200, "{}", sent.text().await.unwrap());
        }
    }

    async fn compare(&mut self, sent: &Value, got: &Value, what: &str) {
        let (method, path) = (sent["method"].as_str().unwrap(), sent["path"].as_str().unwrap());
        let url = format!("{}{}", self.fake.url(), path.trim_start_matches('/'));
        let mut request = match method {
            "GET" => self.http.get(url),
            _ => self.http.post(url),
        };
        let note = sent["note"].as_str().unwrap_or_default();
        if sent["headers"].get("authorization").is_some() {
            let wrong = note.contains("wrong signature") || note.contains("expired");
            request = request.bearer_auth(if wrong { "unknown" } else { &self.bearer });
        }
        let body = match &sent["body"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            command => self.command(command).to_string(),
        };
        if body.starts_with("grant_type") {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        let answer = request.body(body).send().await;
        if got["status"].is_null() {
            let read = match answer {
                Ok(answer) => answer.bytes().await.map(drop),
                Err(error) => Err(error),
            };
            assert!(read.is_err(), "{what}: an answer, while the server was down");
            return;
        }
        let answer = answer.unwrap();
        assert_eq!(u64::from(answer.status().as_u16()), got["status"].as_u64().unwrap(), "{what}");
        let text = answer.text().await.unwrap();
        let ours: Value = if text.is_empty() {
            "".into()
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        if let Some(token) = ours["access_token"].as_str() {
            token.clone_into(&mut self.bearer);
        }
        self.learn(&ours, &got["body"], what);
        let (ours, theirs) = (shape(&cut(&ours, &got["body"])), shape(&got["body"]));
        assert_eq!(pretty(&ours), pretty(&theirs), "{what}");
    }

    /// The command as it is sent to the fake: with the fake's ids in place of the recorded ones.
    fn command(&self, command: &Value) -> Value {
        let mut command = command.clone();
        for (key, known) in [("requestId", &self.asked), ("turnId", &self.turns)] {
            if let Some(ours) = command[key].as_str().and_then(|id| known.get(id)) {
                command[key] = ours.as_str().into();
            }
        }
        if let Some(text) = command["message"]["text"].as_str()
            && text.contains("120001")
        {
            command["message"]["text"] = "y".repeat(120_001).into();
        }
        command
    }

    /// Learns which ids of the fake belong to which recorded ones, and checks that sequences agree.
    fn learn(&mut self, ours: &Value, theirs: &Value, what: &str) {
        if let (Some(ours), Some(theirs)) = (ours["sequence"].as_u64(), theirs["sequence"].as_u64())
        {
            let known = self.sequences.iter().find(|(_, one)| **one == ours).map(|(one, _)| *one);
            if let Some(known) = known {
                assert_eq!(known, theirs, "{what}: the same sequence was answered for another");
            }
            let first = *self.sequences.entry(theirs).or_insert(ours);
            assert_eq!(first, ours, "{what}: another sequence than at first");
        }
        let threads = |body: &Value| -> Vec<Value> {
            let all = body["threads"].as_array().cloned().unwrap_or_default();
            all.into_iter().chain(body.get("thread").cloned()).collect()
        };
        for one in threads(theirs) {
            let Some(mine) = threads(ours).into_iter().find(|mine| mine["id"] == one["id"]) else {
                continue;
            };
            let ids = |thread: &Value, pointer: &str| {
                thread.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
            };
            let turn = "/latestTurn/turnId";
            if let (Some(theirs), Some(ours)) = (ids(&one, turn), ids(&mine, turn)) {
                self.turns.insert(theirs, ours);
            }
            let requests = |thread: &Value| -> Vec<String> {
                let all = thread["activities"].as_array().cloned().unwrap_or_default();
                let asked =
                    all.iter().filter(|a| a["kind"].as_str().unwrap().ends_with(".requested"));
                asked.filter_map(|a| ids(a, "/payload/requestId")).collect()
            };
            self.asked.extend(requests(&one).into_iter().zip(requests(&mine)));
        }
    }
}

/// The part of the fake's answer that was recorded: some recordings have one thread of many.
fn cut(ours: &Value, theirs: &Value) -> Value {
    let mut ours = ours.clone();
    let kept: Option<Vec<&Value>> =
        theirs["threads"].as_array().map(|all| all.iter().map(|one| &one["id"]).collect());
    let threads = ours.get_mut("threads").and_then(Value::as_array_mut);
    if let (Some(kept), Some(threads)) = (kept, threads) {
        threads.retain(|one| kept.contains(&&one["id"]));
        threads.sort_by_key(|one| kept.iter().position(|id| **id == one["id"]));
    }
    if let (Some(cut), Some(fields)) = (theirs.get("cut"), ours.as_object_mut()) {
        fields.insert("cut".to_owned(), cut.clone());
        fields.retain(|key, _| theirs.get(key).is_some());
    }
    ours
}

/// An answer without what differs each time.
fn shape(body: &Value) -> Value {
    match body {
        Value::Object(fields) => {
            let mut out = Map::new();
            for (key, value) in fields {
                let kept = match (key.as_str(), value) {
                    (_, Value::Null) => Value::Null,
                    ("activities", Value::Array(all)) => {
                        let mut all: Vec<Value> = all.iter().map(shape).collect();
                        for one in &mut all {
                            one["id"] = "…".into();
                        }
                        all.sort_by_key(ToString::to_string);
                        all.into()
                    }
                    (key, Value::String(_)) if is_fresh(key) => "…".into(),
                    (key, Value::Number(_)) if is_counted(key) => 0.into(),
                    // The agent of the recordings touched a real file.
                    ("files", Value::Array(_)) => json!([]),
                    (
                        "text" | "summary" | "message" | "detail" | "lastError",
                        Value::String(text),
                    ) => words(text).into(),
                    ("message" | "detail", _) => "…".into(),
                    (_, value) => shape(value),
                };
                out.insert(key.clone(), kept);
            }
            out.into()
        }
        Value::Array(all) => all.iter().map(shape).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

/// A field that differs each time: an id that a server made, a time, a token.
fn is_fresh(key: &str) -> bool {
    let fresh = [
        "turnId",
        "traceId",
        "assistantMessageId",
        "activeTurnId",
        "checkpointRef",
        "environmentId",
        "access_token",
        "tool_use_id",
        "content",
        "sessionCookieName",
        "requestId",
        "toolCallId",
    ];
    fresh.contains(&key) || key.ends_with("At")
}

/// A number that differs each time: a sequence, a time span, or the size of a context.
fn is_counted(key: &str) -> bool {
    ["sequence", "snapshotSequence", "expires_in", "usedTokens", "lastUsedTokens"].contains(&key)
}

/// The beginning of a text, without the ids in it.
fn words(text: &str) -> String {
    if text.starts_with(". ") {
        return "half an answer".to_owned();
    }
    if text.starts_with('y') || text.starts_with("<120001") {
        return "a long text".to_owned();
    }
    let short: String = text.chars().take(24).collect();
    short
        .split("'t-")
        .next()
        .unwrap_or_default()
        .split(" thread: ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn pretty(value: &Value) -> String {
    // Ids of the agent's messages differ each time, those of users do not.
    let text = serde_json::to_string_pretty(value).unwrap();
    let lines = text.lines().map(|line| {
        let id = line.trim_start().strip_prefix("\"id\": \"");
        match id {
            Some(id)
                if id.starts_with("assistant:") || is_uuid(id.trim_end_matches(['"', ','])) =>
            {
                "\"id\": …".to_owned()
            }
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn is_uuid(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok()
}

macro_rules! recorded {
    ($($name:ident: $scenario:literal,)*) => {
        mod v27 {
            $(#[tokio::test]
            async fn $name() {
                super::play("0.0.27", $scenario).await;
            })*
        }
        mod august {
            $(#[tokio::test]
            async fn $name() {
                super::play("main-0822", $scenario).await;
            })*
        }
        mod v33 {
            $(#[tokio::test]
            async fn $name() {
                super::play("0.0.33", $scenario).await;
            })*
        }
    };
}

recorded! {
    descriptor_and_auth: "01-descriptor-and-auth",
    projects_and_threads: "02-projects-and-threads",
    turns: "03-turn",
    model_answers_400: "04-provider-http400",
    model_answers_401: "04-provider-http401",
    model_answers_500: "04-provider-http500",
    interrupts: "05-interrupt",
    approval: "06-approval",
    question: "07-question",
    kill_and_restart: "08-kill-and-restart",
    no_git_workspace: "10-no-git-workspace",
}
