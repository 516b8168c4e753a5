//! The adapter with an emulator of GitHub that others wrote, npm's `emulate`, so that its
//! assumptions about GitHub are not only our own.
//!
//! What the emulator lacks is answered by a proxy of the test ([`GAPS`]), as GitHub would answer
//! for an issue to which nothing of the kind happened. A gap is filled only where the emulator
//! answers 404, and each must be met, so that the test fails once the emulator has learned it.
//! Beyond the gaps:
//!
//! - it sends no `ETag`, so that every poll is a whole answer;
//! - it knows no rules of branches (404), as old Enterprise Servers do not;
//! - it knows the account of an app only once that has acted (404 before);
//! - its installation tokens are of the older shape, without dots.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use afk_core::ids::{At, IssueRef, Oid};
use afk_core::issue::{IssueChange, Permission};
use afk_core::verdict::StageAnswer;
use afk_core::{comment::marker, config};
use afk_engine::ports::{Labels, StageQuery, Stages as _};
use afk_remote::{HookOutcome, HookRefusal, Needs, PolledStages, RemoteSettings, Severity};
use afk_sim::fakes::{Jumping, Sim};
use afk_stand_ins::emulate::{self, Emulator};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::checks::NoGit;
use crate::app_key;
use crate::support::{Fake, Home, READY, repo, run, world};

/// What the emulator does not know: the method, the end of the path, and GitHub's answer.
const GAPS: [(&str, &str, &str); 4] = [
    (
        "POST",
        "/graphql",
        r#"{"data":{"repository":{"issue":{"lastEditedAt":null,"userContentEdits":{"nodes":[],
            "pageInfo":{"hasNextPage":false,"endCursor":null}}}}}}"#,
    ),
    ("GET", "/dependencies/blocked_by", "[]"),
    // Its route of an issue comes before that of all comments, and takes "comments" for a number.
    ("GET", "/issues/comments", "[]"),
    ("GET", "/statuses", "[]"),
];

/// The emulator, behind the proxy.
struct Emulated {
    url: String,
    emulator: Emulator,
    filled: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Fake for Emulated {
    fn url(&self) -> String {
        self.url.clone()
    }
    fn faults_left(&self) -> usize {
        0
    }
    /// Checks that each gap was met: one that the emulator has closed must be removed.
    fn check(&self, test: &str) {
        let filled = self.filled.lock().unwrap().clone();
        let expected: BTreeSet<&str> = GAPS.iter().map(|(_, path, _)| *path).collect();
        assert_eq!(filled, expected, "{test}: the emulator has learned something");
    }
}

#[derive(Clone)]
struct Proxy {
    client: reqwest::Client,
    to: String,
    filled: Arc<Mutex<BTreeSet<&'static str>>>,
}

async fn forward(
    State(proxy): State<Proxy>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let url = format!("{}{}", proxy.to, uri.path_and_query().unwrap());
    let mut request = proxy.client.request(method.clone(), url).body(body);
    for name in ["authorization", "accept", "content-type", "if-none-match"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let gap =
        GAPS.iter().find(|(of, path, _)| *of == method.as_str() && uri.path().ends_with(path));
    if let (404, Some((_, path, body))) = (status.as_u16(), gap) {
        proxy.filled.lock().unwrap().insert(path);
        return ([("content-type", "application/json")], *body).into_response();
    }
    let mut headers = HeaderMap::new();
    for name in ["content-type", "link", "location", "etag", "x-oauth-scopes"] {
        if let Some(value) = answer.headers().get(name) {
            headers.insert(name, value.clone());
        }
    }
    (status, headers, answer.bytes().await.unwrap()).into_response()
}

/// A repository of `o`, in which `ann` may write; `tim` is a stranger. None, with a visible line,
/// if the emulator is not available.
async fn emulated(test: &str, table: Value) -> Option<Home<Emulated>> {
    let permissions = json!({
        "actions": "read", "checks": "read", "contents": "write", "issues": "write",
        "metadata": "read", "pull_requests": "write", "statuses": "read",
    });
    let seed = json!({
        "tokens": {
            "ghp_o": { "login": "o", "scopes": ["repo"] },
            "ghp_ann": { "login": "ann", "scopes": ["repo"] },
            "ghp_tim": { "login": "tim", "scopes": ["repo"] },
        },
        "github": {
            "users": [{ "login": "o" }, { "login": "ann" }, { "login": "tim" }],
            "repos": [{ "owner": "o", "name": "r" }],
            "apps": [{
                "app_id": app_key::ID, "slug": "afk", "name": "afk",
                "private_key": app_key::pem(), "permissions": permissions, "events": ["issues"],
                "installations": [
                    { "installation_id": 7, "account": "o", "repositories": ["o/r"] },
                ],
            }],
        },
    });
    let emulator = emulate::for_test(test, &seed)?;
    let filled = Arc::new(Mutex::new(BTreeSet::new()));
    let client = reqwest::Client::new();
    let proxy = Proxy { client, to: emulator.url().to_owned(), filled: filled.clone() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(forward).with_state(proxy);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut world = world();
    // The emulator checks signed times by its own clock.
    world.now = At::now();
    let emulated = Emulated { url, emulator, filled };
    let home = Home::at(Sim::new(world), emulated, table);
    home.secrets.set("KEY", app_key::pem());
    home.secrets.set("OWNER", "ghp_o");
    let write = json!({ "permission": "push" });
    home.does("ghp_o", "PUT", "/repos/o/r/collaborators/ann", write).await;
    Some(home)
}

fn as_the_app() -> Value {
    json!({ "kind": "github", "app": { "id": app_key::ID, "key": { "env": "KEY" } } })
}

impl Home<Emulated> {
    /// Sends a request of somebody else than the adapter.
    async fn does(&self, token: &str, method: &str, path: &str, body: Value) -> Value {
        let method: Method = method.parse().unwrap();
        let url = format!("{}{path}", self.fake.emulator.url());
        let request = reqwest::Client::new().request(method, url).bearer_auth(token);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
    }

    async fn sees(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.fake.emulator.url());
        let answer = reqwest::Client::new().get(url).bearer_auth("ghp_o").send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// `ann` files an issue, and somebody releases it.
    async fn filed(&self, by: &str) -> IssueRef {
        let body = json!({ "title": "Greet", "body": "Do it." });
        let issue = self.does("ghp_ann", "POST", "/repos/o/r/issues", body).await;
        let number = issue["number"].as_u64().unwrap();
        let path = format!("/repos/o/r/issues/{number}/labels");
        self.does(by, "POST", &path, json!({ "labels": [READY] })).await;
        IssueRef { repo: repo("o/r"), number }
    }
}

#[tokio::test]
async fn an_issue_goes_its_way_there_with_the_tokens_of_an_app() {
    let Some(home) = emulated("emulated_issue", as_the_app()).await else { return };
    let (issue, strange) = (home.filed("ghp_ann").await, home.filed("ghp_o").await);
    let tracker = home.tracker();
    let ready = tracker.ready(&issue.repo, READY).await.unwrap();
    let of: BTreeSet<u64> = ready.iter().map(|one| one.issue.number).collect();
    assert_eq!(of, BTreeSet::from([issue.number, strange.number]));
    // Who released the issue, by id, and their permission.
    let view = tracker.issue(&issue).await.unwrap();
    assert_eq!((view.issue.title.as_str(), view.issue.body.as_str()), ("Greet", "Do it."));
    let labelled =
        |what: &IssueChange| matches!(what, IssueChange::Labeled { label } if label == READY);
    let event = view.events.iter().find(|event| labelled(&event.what)).unwrap();
    let ann = event.actor.clone().unwrap();
    assert_eq!((ann.login.as_str(), ann.bot), ("ann", false));
    assert_eq!(tracker.permission(&issue.repo, &ann).await.unwrap(), Permission::Write);
    let at_work = Labels { add: vec!["agent-in-progress".into()], remove: vec![] };
    tracker.label(&issue, &at_work).await.unwrap();
    // There is one comment, however often it is posted; then its text is replaced.
    let own = tracker.own_account(&issue.repo).await.unwrap();
    assert_eq!((own.login.as_str(), own.bot), ("afk[bot]", true));
    let body = format!("ours\n{}", marker(run()));
    let id = tracker.comment(&issue, run(), &body).await.unwrap();
    assert_eq!(tracker.comment(&issue, run(), &body).await.unwrap(), id);
    tracker.edit_comment(&issue, &id, &body.replace("ours", "still ours")).await.unwrap();
    let comments = tracker.comments(&issue).await.unwrap();
    let [comment] = comments.as_slice() else { panic!("{comments:?}") };
    assert!(comment.body.starts_with("still ours"), "{comment:?}");
    assert_eq!(comment.author.as_ref().unwrap().id, own.id);
    assert_eq!(tracker.comments_since(&issue.repo, home.now()).await.unwrap(), []);
    // Labels, and closing the issue.
    tracker.label(&issue, &Labels { add: vec![], remove: vec![READY.into()] }).await.unwrap();
    let ready = tracker.ready(&issue.repo, READY).await.unwrap();
    assert_eq!(ready.iter().map(|one| one.issue.number).collect::<Vec<_>>(), [strange.number]);
    tracker.close(&issue).await.unwrap();
    let seen = home.sees(&format!("/repos/o/r/issues/{}", issue.number)).await;
    assert_eq!((&seen["state"], &seen["state_reason"]), (&json!("closed"), &json!("completed")));
    assert_eq!(seen["labels"][0]["name"], "agent-in-progress");
    tracker.reopen(&issue).await.unwrap();
    assert!(tracker.issue(&issue).await.unwrap().issue.open);
    // The stage meets the remaining gaps.
    checks(&home).await;
    home.done("emulated_issue");
}

/// Checks what the stage `checks` says of a commit with check runs.
async fn checks(home: &Home<Emulated>) {
    let branch = home.sees("/repos/o/r/branches/main").await;
    let commit: Oid = branch["commit"]["sha"].as_str().unwrap().parse().unwrap();
    let (secrets, clock) = (home.secrets.clone(), Arc::new(Jumping(home.sim.clone())));
    let stages = PolledStages::new(secrets, clock, Arc::new(NoGit), Arc::new(home.restarted()));
    let table = json!({ "name": "ci", "kind": "checks", "required": ["ci"] });
    let settings = json!({ "repos": { "o/r": { "stages": [table] } } });
    let settings: RemoteSettings = serde_json::from_value(settings).unwrap();
    stages.configure(Arc::new(settings));
    let stage: config::Stage = serde_json::from_value(table).unwrap();
    let says = async || {
        let query = StageQuery {
            run: run(),
            repo: repo("o/r"),
            stage: stage.clone(),
            commit: commit.clone(),
            landed: true,
            again: 0,
        };
        stages.poll(&query).await.unwrap_or_else(|error| panic!("{}", error.chain())).answer
    };
    assert_eq!(says().await, StageAnswer::None);
    let begun = json!({ "name": "ci", "head_sha": commit, "status": "in_progress" });
    let check = home.does("ghp_o", "POST", "/repos/o/r/check-runs", begun).await;
    assert_eq!(says().await, StageAnswer::Pending);
    let path = format!("/repos/o/r/check-runs/{}", check["id"]);
    for (conclusion, expected) in [
        ("failure", StageAnswer::Failure),
        ("cancelled", StageAnswer::Void),
        ("success", StageAnswer::Success),
    ] {
        let ended = json!({ "status": "completed", "conclusion": conclusion });
        home.does("ghp_o", "PATCH", &path, ended).await;
        assert_eq!(says().await, expected, "{conclusion}");
    }
}

#[tokio::test]
async fn what_the_doctor_makes_there_is_signed_and_heard() {
    const SECRET: &str = "a secret of webhooks";
    let table = json!({
        "kind": "github", "token": { "env": "OWNER" }, "webhook_secret": { "env": "HOOK" },
    });
    let Some(home) = emulated("emulated_hooks", table).await else { return };
    home.secrets.set("HOOK", SECRET);
    let (hooks, mut heard) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/home", listener.local_addr().unwrap());
    let hear = async move |headers: HeaderMap, body: Bytes| drop(hooks.send((headers, body)));
    let app = axum::Router::new().fallback(hear);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let needs = Needs {
        labels: Some(vec![(READY.to_owned(), "an agent may work on it")]),
        pushes: false,
        opens_pulls: false,
        webhook: Some(url),
        make: true,
    };
    let name = "home".parse().unwrap();
    let found = home.forges.examine(&repo("o/r"), &name, &needs).await.unwrap();
    assert!(found.iter().all(|one| one.severity == Severity::Fine), "{found:#?}");
    home.filed("ghp_ann").await;
    // The first delivery is about the webhook itself.
    let bound = std::time::Duration::from_secs(30);
    let (headers, body) = loop {
        let next = tokio::time::timeout(bound, heard.recv()).await;
        let (headers, body) = next.expect("a webhook comes").unwrap();
        if headers.get("x-github-event").is_some_and(|event| event == "issues") {
            break (headers, body);
        }
    };
    let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let mut forged = body.to_vec();
    *forged.last_mut().unwrap() = b' ';
    let heard = home.forges.receive_hook(&name, &header, &forged).await;
    assert_eq!(heard, Err(HookRefusal::WrongSignature));
    let heard = home.forges.receive_hook(&name, &header, &body).await;
    assert_eq!(heard, Ok(HookOutcome::Woke(repo("o/r"))));
    assert_eq!(home.forges.receive_hook(&name, &header, &body).await, Ok(HookOutcome::Repeated));
}
