//! Tests of the fake over HTTP: what each answer shows, and which requests are refused as wrong.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use afk_core::config::Policy;
use afk_core::ids::{IssueRef, Oid, RepoName};
use afk_core::issue::Permission;
use afk_core::run::PullState;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Fault, ForgejoFake, Hook, Job, Kind, Protection, Route, Run, Settings, Status};
use afk_sim::fakes::Sim;
use afk_sim::world::{World, own, person};

const TOKEN: &str = "thetokenthatnobodyelsehas";
const READY: &str = "ready-for-agent";

/// An answer.
struct Got {
    status: u16,
    head: String,
    text: String,
    body: Value,
}

impl Got {
    /// A header.
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    /// The values of this field in its entries.
    fn all(&self, field: &str) -> Vec<String> {
        let text = |value: &Value| {
            value[field].as_str().map_or_else(|| value[field].to_string(), str::to_owned)
        };
        self.body.as_array().into_iter().flatten().map(text).collect()
    }
}

struct Home {
    sim: Sim,
    fake: ForgejoFake,
}

impl Home {
    fn of(kind: Kind, admin: bool) -> Self {
        let at = "2026-11-02T10:00:00.25Z".parse().unwrap();
        let mut world = World::new(Policy::default(), at);
        for (who, permission) in [("ann", Permission::Write), ("bea", Permission::Maintain)] {
            world.tracker.permissions.insert(who.to_owned(), permission);
        }
        let sim = Sim::new(world);
        let settings = Settings { token: TOKEN.to_owned(), kind, admin };
        let fake = ForgejoFake::start(&sim, settings).unwrap();
        Self { sim, fake }
    }

    fn new() -> Self {
        Self::of(Kind::Forgejo, true)
    }

    /// Sends a request as it is given.
    fn send(&self, request: &str) -> Got {
        let address = self.fake.url().replace("http://", "");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A body that breaks off is read as far as it goes.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_str(text).unwrap_or_default();
        Got { status, head: head.to_owned(), text: text.to_owned(), body }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Got {
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let length = body.len();
        self.send(&format!(
            "{method} /api/v1{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: \
             token {TOKEN}\r\n{kind}content-length: {length}\r\n\r\n{body}"
        ))
    }

    fn get(&self, path: &str) -> Got {
        self.ask("GET", path, None)
    }

    fn post(&self, path: &str, body: &Value) -> Got {
        self.ask("POST", path, Some(body))
    }

    fn patch(&self, path: &str, body: &Value) -> Got {
        self.ask("PATCH", path, Some(body))
    }

    fn later(&self, seconds: i64) {
        self.sim.advance(SignedDuration::from_secs(seconds));
    }

    fn file(&self, name: &str, labels: &[&str]) -> IssueRef {
        let filed = self.sim.with(|world| world.file(name, "Do it.", labels, "ann"));
        self.later(10);
        filed
    }

    fn updated(&self, issue: &IssueRef) -> i64 {
        self.sim.with(|world| world.tracker.issues[issue].updated.as_second())
    }

    /// What was recorded as wrong since the last call.
    fn wrong(&self) -> Vec<String> {
        self.sim.with(|world| std::mem::take(&mut world.wrong))
    }

    fn done(self, test: &str) {
        assert_eq!(self.fake.faults_left(), 0, "{test}");
        self.fake.check(test);
    }
}

fn repo(name: &str) -> RepoName {
    name.parse().unwrap()
}

#[test]
fn what_nobody_may_send_is_refused_and_recorded() {
    let check = |kind: Kind, request: &str, expected: &str| {
        let home = Home::of(kind, true);
        let request = format!("{request}\r\nhost: x\r\nconnection: close\r\n");
        let body = if request.contains("content-length") { "\r\n{}" } else { "\r\n" };
        let got = home.send(&format!("{request}{body}"));
        assert!(got.status >= 400, "{request}: {}", got.status);
        let wrong = home.wrong();
        assert!(wrong.iter().any(|one| one.contains(expected)), "{request}: {wrong:?}");
    };
    let (forgejo, gitea) = (Kind::Forgejo, Kind::Gitea);
    let token = format!("authorization: token {TOKEN}");
    let get = |path: &str| format!("GET /api/v1/{path} HTTP/1.1\r\n{token}");
    check(forgejo, "GET /api/v1/user HTTP/1.1", "no token");
    check(forgejo, "GET /api/v1/user HTTP/1.1\r\nauthorization: Basic eDp5", "no token");
    check(forgejo, &get("teams"), "no such operation");
    check(forgejo, &format!("GET /user HTTP/1.1\r\n{token}"), "no such operation");
    check(forgejo, &get("repos/o/r/issues?q=x"), "no parameter q");
    check(forgejo, &get("repos/o/r/issues?state=opened"), "no state opened");
    check(gitea, &get("repos/o/r/issues?sort=leastupdate"), "no parameter sort");
    let github = "accept: application/vnd.github+json";
    check(forgejo, &format!("{}\r\n{github}", get("user")), "media type");
    let patch =
        format!("PATCH /api/v1/repos/o/r/issues/1 HTTP/1.1\r\n{token}\r\ncontent-length: 2");
    check(forgejo, &patch, "content type");
}

#[test]
fn a_token_counts_in_both_ways_and_no_other_does() {
    let home = Home::new();
    let ask = |authorization: &str| {
        let head = "GET /api/v1/user HTTP/1.1\r\nhost: x\r\nconnection: close";
        home.send(&format!("{head}\r\nauthorization: {authorization}\r\n\r\n"))
    };
    assert_eq!(ask(&format!("token {TOKEN}")).body["login"], "afk");
    assert_eq!(ask(&format!("Bearer {TOKEN}")).body["login"], "afk");
    home.fake.rotate("another");
    let refused = ask(&format!("token {TOKEN}"));
    assert_eq!(refused.status, 401);
    assert!(refused.body["message"].is_string() && refused.body["url"].is_string());
    home.done("a_token");
}

#[test]
fn an_issue_is_shown_as_the_description_has_it() {
    for kind in [Kind::Forgejo, Kind::Gitea] {
        let home = Home::of(kind, true);
        home.file("o/r#1", &["zeta", "alpha"]);
        let issue = home.get("/repos/o/r/issues/1");
        let named = |field: &str| issue.body[field].clone();
        assert_eq!((named("number"), named("state")), (json!(1), json!("open")));
        assert_eq!((named("assignees"), named("assets")), (Value::Null, json!([])));
        assert_eq!(issue.body["labels"][0]["name"], "alpha", "labels are in order of their names");
        let created = match kind {
            Kind::Forgejo => "2026-11-02T11:00:00+01:00",
            Kind::Gitea => "2026-11-02T10:00:00Z",
        };
        assert_eq!(named("created_at"), created);
        assert_eq!(home.get("/version").status, 200);
        assert_eq!(home.get("/repos/o/r").body["full_name"], "o/r");
        let missing = home.get("/repos/o/r/issues/9");
        assert_eq!((missing.status, &missing.body["errors"]), (404, &json!([])));
        let comments = home.get("/repos/o/r/issues/9/comments");
        assert_eq!(comments.status, if kind == Kind::Forgejo { 404 } else { 500 });
        home.done("an_issue_is_shown");
    }
}

#[test]
fn a_list_by_a_label_that_is_not_there_is_everything() {
    let home = Home::new();
    home.file("o/r#1", &[READY]);
    home.file("o/r#2", &["bug"]);
    home.file("o/other#3", &["elsewhere"]);
    let list = |labels: &str| home.get(&format!("/repos/o/r/issues?labels={labels}")).all("number");
    assert_eq!(list(READY), ["1"]);
    assert_eq!(list("elsewhere"), ["2", "1"], "it is another repo's");
    assert_eq!(list("READY-FOR-AGENT"), ["2", "1"], "case counts");
    assert_eq!(list(&format!("nobody-has-it,{READY}")), ["1"]);
    home.fake.add_label(&repo("o/r"), "empty");
    assert_eq!(list("empty"), [""; 0]);
    assert_eq!(home.wrong(), [""; 0]);
    list(&format!("bug,{READY}"));
    assert!(home.wrong()[0].contains("several labels"));
    home.done("a_list_by_a_label");
}

#[test]
fn a_list_of_issues_has_pages_whatever_is_asked() {
    let home = Home::new();
    for n in 1..=70 {
        home.file(&format!("o/r#{n}"), &[READY]);
    }
    let first = home.get("/repos/o/r/issues");
    assert_eq!((first.all("number").len(), first.header("x-total-count")), (30, Some("70")));
    assert_eq!(first.all("number")[0], "70", "newest first");
    let link = first.header("link").unwrap();
    let (base, path) = (home.fake.url(), "/api/v1/repos/o/r/issues?page=");
    let expected = format!("<{base}{path}2>; rel=\"next\",<{base}{path}3>; rel=\"last\"");
    assert_eq!(link, expected);
    let much = home.get("/repos/o/r/issues?limit=100&page=2");
    assert_eq!(much.all("number").len(), 20, "no page has more than 50");
    assert!(much.header("link").unwrap().contains("rel=\"prev\""));
    let since = "2026-11-02T10:11:30Z";
    let changed = home.get(&format!("/repos/o/r/issues?since={since}&sort=leastupdate"));
    assert_eq!(changed.all("number"), ["70"], "the second itself counts");
    assert_eq!(home.get("/repos/o/r/issues?since=yesterday").status, 422);
    home.done("a_list_of_issues");
}

#[test]
fn a_timeline_is_whole_or_its_pages_lie() {
    let home = Home::new();
    let issue = home.file("o/r#1", &[]);
    let timeline = |query: &str| home.get(&format!("/repos/o/r/issues/1/timeline{query}"));
    let empty = timeline("");
    assert_eq!((empty.text.as_str(), empty.header("x-total-count")), ("null", Some("0")));
    home.sim.with(|world| {
        world.set_label(&issue, READY, true, &person("ann"));
        world.set_title(&issue, "Other work", &person("bea"));
        world.write_comment(&issue, "hello", &person("eve"));
    });
    home.later(10);
    home.fake.hidden_entries(&issue, 3);
    home.later(10);
    home.fake.odd_entry(&issue);
    home.fake.null_entry(&issue);
    home.sim.with(|world| world.set_label(&issue, READY, false, &person("ann")));
    let whole = timeline("?limit=2");
    let kinds = ["label", "change_title", "comment", "moved_to_mars", "null", "label"];
    let mut all = whole.all("type");
    all.sort_by_key(|kind| kinds.iter().position(|one| one == kind));
    assert_eq!(all, ["label", "label", "change_title", "comment", "moved_to_mars", "null"]);
    assert_eq!(whole.header("x-total-count"), Some("6"), "what cannot be seen is not counted");
    let labels: Vec<&Value> =
        whole.body.as_array().unwrap().iter().filter(|one| one["type"] == "label").collect();
    assert_eq!((&labels[0]["body"], &labels[1]["body"]), (&json!("1"), &json!("")));
    assert_eq!(labels[0]["label"]["name"], READY);
    let counted = |page: u32| {
        let got = timeline(&format!("?limit=3&page={page}"));
        assert_eq!(got.header("link"), None);
        (got.all("type").len(), got.header("x-total-count").unwrap().to_owned(), got.text)
    };
    assert_eq!((counted(1).0, counted(1).1.as_str()), (3, "3"));
    assert_eq!((counted(2).0, counted(2).2.as_str()), (0, "null"), "and more follows");
    assert_eq!(counted(3).0, 3);
    assert_eq!(counted(4).2, "null");
    home.done("a_timeline");
}

#[test]
fn a_deleted_label_takes_its_history_with_it_and_touches_nothing() {
    let home = Home::new();
    let issue = home.file("o/r#1", &[READY, "bug"]);
    let kinds = || home.get("/repos/o/r/issues/1/timeline").all("type").len();
    let (before, id) = (home.updated(&issue), label_id(&home, READY));
    home.later(60);
    home.fake.delete_label(&issue.repo, READY);
    assert_eq!((home.updated(&issue), kinds()), (before, 1));
    assert_eq!(home.get("/repos/o/r/issues/1/labels").all("name"), ["bug"]);
    assert_eq!(home.fake.labels(&issue.repo), ["bug"]);
    home.sim.with(|world| world.set_label(&issue, READY, true, &person("bea")));
    assert_eq!(kinds(), 2, "it was put on again");
    assert_ne!(label_id(&home, READY), id, "and is another label");
    home.done("a_deleted_label");
}

fn label_id(home: &Home, name: &str) -> String {
    let all = home.get("/repos/o/r/labels");
    let at = all.all("name").iter().position(|one| one == name).unwrap();
    all.all("id")[at].clone()
}

#[test]
fn a_renamed_label_is_told_of_as_if_it_had_always_had_its_name() {
    let home = Home::new();
    let issue = home.file("o/r#1", &["later"]);
    let (before, id) = (home.updated(&issue), label_id(&home, "later"));
    home.later(60);
    home.fake.rename_label(&issue.repo, "later", READY);
    let timeline = home.get("/repos/o/r/issues/1/timeline");
    assert_eq!(timeline.body[0]["label"]["name"], READY);
    assert_eq!((home.updated(&issue), label_id(&home, READY)), (before, id));
    assert_eq!(home.get(&format!("/repos/o/r/issues?labels={READY}")).all("number"), ["1"]);
    home.done("a_renamed_label");
}

#[test]
fn labels_must_be_there_before_they_are_put_on() {
    let home = Home::new();
    let issue = home.file("o/r#1", &["bug"]);
    let put = |labels: Value| home.post("/repos/o/r/issues/1/labels", &json!({ "labels": labels }));
    let before = home.updated(&issue);
    assert_eq!(put(json!(["nobody made it"])).all("name"), ["bug"]);
    assert_eq!(home.updated(&issue), before);
    let label = json!({ "name": "a b/c", "color": "#00AABB" });
    let made = home.post("/repos/o/r/labels", &label);
    assert_eq!((made.status, &made.body["color"]), (201, &json!("00aabb")));
    assert_eq!(put(json!(["a b/c", "bug"])).all("name"), ["a b/c", "bug"]);
    let id: u64 = label_id(&home, "a b/c").parse().unwrap();
    let take =
        |label: &str| home.ask("DELETE", &format!("/repos/o/r/issues/1/labels/{label}"), None);
    assert_eq!(take("a%20b%2Fc").status, 204);
    assert_eq!(take(&id.to_string()).status, 204, "it is not there any more");
    assert_eq!(put(json!([id])).all("name"), ["a b/c", "bug"]);
    assert_eq!(take(&id.to_string()).status, 204);
    assert_eq!(take("unheard-of").status, 422);
    let told = home.get("/repos/o/r/issues/1/timeline").all("body");
    assert_eq!(told, ["1", "1", "", "1", ""], "what changed nothing is not told");
    assert_eq!(home.post("/repos/o/r/labels", &json!({ "name": "x", "color": "red" })).status, 422);
    assert_eq!(home.wrong(), [""; 0]);
    home.post("/repos/o/r/labels", &label);
    assert!(home.wrong()[0].contains("already"));
    home.done("labels");
}

#[test]
fn gitea_takes_labels_off_by_number_alone() {
    let home = Home::of(Kind::Gitea, false);
    home.file("o/r#1", &["bug"]);
    let take =
        |label: &str| home.ask("DELETE", &format!("/repos/o/r/issues/1/labels/{label}"), None);
    assert_eq!(take(&label_id(&home, "bug")).status, 204);
    assert_eq!(take("7").status, 422);
    assert_eq!(home.wrong(), [""; 0]);
    take("bug");
    assert!(home.wrong()[0].contains("by number"));
    home.done("gitea_labels");
}

#[test]
fn only_the_edit_of_a_comment_does_not_touch_the_issue() {
    let home = Home::new();
    let issue = home.file("o/r#1", &["bug"]);
    let other = home.file("o/r#2", &[]);
    let touches = |act: &dyn Fn()| {
        home.later(60);
        let before = home.updated(&issue);
        act();
        home.updated(&issue) > before
    };
    let posted = home.post("/repos/o/r/issues/1/comments", &json!({ "body": "ours" }));
    assert_eq!(posted.status, 201);
    let id = &posted.body["id"];
    let edit = || {
        let edited =
            home.patch(&format!("/repos/o/r/issues/comments/{id}"), &json!({ "body": "x" }));
        assert_eq!((edited.status, &edited.body["body"]), (200, &json!("x")));
    };
    assert!(!touches(&edit));
    let since = home.sim.with(|world| world.now);
    assert!(!touches(&edit));
    let comments = |path: &str| home.get(&format!("{path}?since={since}")).all("body");
    assert_eq!(comments("/repos/o/r/issues/1/comments"), ["x"], "it was edited since");
    assert_eq!(comments("/repos/o/r/issues/comments"), ["x"]);
    assert!(touches(&|| drop(home.post("/repos/o/r/issues/1/comments", &json!({ "body": "y" })))));
    assert!(touches(&|| home.fake.edit_silently(&issue, "Another text.")));
    assert!(touches(&|| home.fake.depend(&issue, &other, true, &person("ann"))));
    assert!(touches(&|| home.fake.refer(&issue, &other, &person("ann"))));
    assert!(!touches(&|| drop(home.patch("/repos/o/r/issues/2", &json!({ "state": "closed" })))));
    assert!(touches(&|| home.fake.depend(&issue, &other, false, &person("ann"))));
    let kinds = home.get("/repos/o/r/issues/1/timeline").all("type");
    let expected =
        ["label", "comment", "comment", "add_dependency", "issue_ref", "remove_dependency"];
    assert_eq!(kinds, expected);
    home.fake.set_updated(&issue, since);
    assert_eq!(home.updated(&issue), since.as_second());
    home.done("touches");
}

#[test]
fn an_issue_is_closed_unless_something_forbids_it() {
    let home = Home::new();
    let (one, two) = (home.file("o/r#1", &[]), home.file("o/other#2", &[]));
    let close = |state: &str| home.patch("/repos/o/r/issues/1", &json!({ "state": state })).status;
    home.fake.depend(&one, &two, true, &person("ann"));
    home.later(10);
    let blockers = home.get("/repos/o/r/issues/1/dependencies");
    assert_eq!(blockers.body[0]["repository"]["full_name"], "o/other");
    assert_eq!(close("closed"), 412);
    home.fake.hide(&two.repo, true);
    let hidden = home.get("/repos/o/r/issues/1/dependencies");
    assert_eq!((&hidden.body[0]["id"], &hidden.body[0]["number"]), (&json!(0), &json!(2)));
    assert_eq!(home.get("/repos/o/other/issues/2").status, 404);
    home.sim.with(|world| world.set_open(&two, false, &person("ann")));
    assert_eq!((close("closed"), close("closed"), close("open")), (201, 201, 201));
    home.fake.lock(&one);
    let secret = home.get("/repos/o/r/issues/1/dependencies");
    assert_eq!(
        (secret.all("title"), secret.all("state")),
        (vec!["HIDDEN".into()], vec!["open".into()])
    );
    assert_eq!(close("closed"), 403);
    assert_eq!(home.post("/repos/o/r/issues/1/comments", &json!({ "body": "x" })).status, 403);
    home.fake.archive(&one.repo);
    assert_eq!(close("closed"), 423);
    let kinds = home.get("/repos/o/r/issues/1/timeline").all("type");
    assert_eq!(kinds, ["add_dependency", "close", "reopen"]);
    home.done("closing");
}

#[test]
fn only_administrators_read_what_others_may_do() {
    let may = |home: &Home, who: &str| {
        let got = home.get(&format!("/repos/o/r/collaborators/{who}/permission"));
        (got.status, got.body["permission"].as_str().unwrap_or_default().to_owned())
    };
    let said = |status: u16, word: &str| (status, word.to_owned());
    let home = Home::new();
    assert_eq!(may(&home, "ann"), said(200, "write"));
    assert_eq!(may(&home, "bea"), said(200, "write"), "there is no level between");
    assert_eq!(may(&home, "eve"), said(404, ""));
    home.sim.with(|world| world.file("o/r#1", "Do it.", &[], "eve"));
    home.get("/repos/o/r/issues/1");
    assert_eq!(may(&home, "eve"), said(200, "none"), "by now there is one");
    home.sim.with(|world| world.tracker.unknown.insert("ann".to_owned()));
    assert_eq!(may(&home, "ann"), said(403, ""));
    home.done("permissions");
    for (kind, stranger) in [(Kind::Forgejo, 404), (Kind::Gitea, 403)] {
        let home = Home::of(kind, false);
        assert_eq!(may(&home, "ann"), said(403, ""));
        assert_eq!(may(&home, "nobody"), said(stranger, ""));
        assert_eq!(may(&home, "afk"), said(200, "write"));
        assert_eq!(home.get("/repos/o/r/hooks").status, 403);
        assert_eq!(home.get("/repos/o/r/branch_protections").status, 403);
        home.done("permissions_of_others");
    }
}

#[test]
fn whoever_does_not_exist_any_more_is_a_ghost() {
    let home = Home::new();
    let issue = home.file("o/r#1", &[READY]);
    home.sim.with(|world| {
        world.tracker.issues.get_mut(&issue).unwrap().events[0].actor = None;
    });
    let timeline = home.get("/repos/o/r/issues/1/timeline");
    assert_eq!(timeline.body[0]["user"]["id"], -1);
    home.done("a_ghost");
}

/// A branch with a commit, for requests about it.
fn pushed(home: &Home) -> Oid {
    home.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("README.md", "hello")]);
        let commit = world.git.remotes[&repo("o/r")].clone();
        world.git.branches.insert((repo("o/r"), "afk/1".to_owned()), commit.clone());
        commit
    })
}

#[test]
fn a_pull_request_is_opened_once_and_is_an_issue_among_others() {
    for kind in [Kind::Forgejo, Kind::Gitea] {
        let home = Home::of(kind, true);
        let commit = pushed(&home);
        let asked = json!({ "title": "Say", "body": "It says.", "head": "afk/1", "base": "main" });
        let open = || home.post("/repos/o/r/pulls", &asked);
        let opened = open();
        assert_eq!((opened.status, &opened.body["state"]), (201, &json!("open")));
        assert_eq!(opened.body["head"]["sha"], commit.as_str());
        assert_eq!(open().status, 409);
        let number = opened.body["number"].to_string();
        let found =
            |query: &str| home.get(&format!("/repos/o/r/pulls?{query}")).all("number").len();
        let ignored = usize::from(kind == Kind::Gitea);
        assert_eq!((found("head=afk%2F1"), found("head=other"), found("")), (1, ignored, 1));
        home.file("o/r#1", &[]);
        assert_eq!(home.get("/repos/o/r/issues").all("number").len(), 2);
        assert_eq!(home.get("/repos/o/r/issues?type=issues").all("number"), ["1"]);
        let issue = home.get(&format!("/repos/o/r/issues/{number}"));
        assert_eq!(issue.body["pull_request"]["merged"], false);
        let close =
            || home.patch(&format!("/repos/o/r/pulls/{number}"), &json!({ "state": "closed" }));
        if kind == Kind::Forgejo {
            assert_eq!((close().status, close().status), (201, 201));
        } else {
            home.sim.with(|world| world.people_merge(&repo("o/r")));
            assert_eq!(close().status, 412);
            let merged = home.get("/repos/o/r/pulls?state=closed");
            let state =
                home.sim.with(|world| world.pulls.pulls.values().next().unwrap().state.clone());
            let PullState::Merged { commit } = state else { panic!("{state:?}") };
            assert_eq!(merged.body[0]["merge_commit_sha"], commit.as_str());
        }
        home.done("a_pull_request");
    }
}

#[test]
fn a_branch_says_whether_it_takes_our_pushes() {
    let home = Home::new();
    assert_eq!(home.get("/repos/o/r/branches/main").status, 404, "the repo is empty");
    pushed(&home);
    assert_eq!(home.get("/repos/o/r/branches/main").body["user_can_push"], true);
    assert_eq!(home.get("/repos/o/r/branch_protections").body, json!([]));
    let contexts = Some(vec!["ci / *".to_owned()]);
    home.fake.protect(&repo("o/r"), Protection { may_push: false, contexts, approvals: 2 });
    let branch = home.get("/repos/o/r/branches/main").body;
    let named = |field: &str| branch[field].clone();
    assert_eq!((named("protected"), named("user_can_push")), (json!(true), json!(false)));
    assert_eq!(named("status_check_contexts"), json!(["ci / *"]));
    assert_eq!(
        (named("enable_status_check"), named("required_approvals")),
        (json!(true), json!(2))
    );
    assert_eq!(home.get("/repos/o/r/branches/afk%2F1").body["protected"], false);
    assert_eq!(home.get("/repos/o/r/branch_protections").body[0]["rule_name"], "main");
    home.done("a_branch");
}

#[test]
fn a_webhook_is_made_listed_and_signed() {
    let home = Home::new();
    home.file("o/r#1", &[READY]);
    let header = |all: &[(String, String)], name: &str| {
        all.iter().find(|(one, _)| one == name).map(|(_, value)| value.clone())
    };
    let (unsigned, _) = home.fake.hook("push", &repo("o/r"));
    assert_eq!(header(&unsigned, "X-Forgejo-Signature").as_deref(), Some(""));
    let config = json!({ "url": "https://loop.test/hooks", "content_type": "json", "secret": "s" });
    let asked = json!({ "type": "gitea", "config": config, "events": ["issues", "push"] });
    let made = home.post("/repos/o/r/hooks", &asked);
    assert_eq!((made.status, &made.body["active"]), (201, &json!(false)), "nobody asked for that");
    assert_eq!(made.body["config"]["secret"], Value::Null);
    assert!(made.body["events"].as_array().unwrap().contains(&json!("issue_label")));
    assert_eq!(home.fake.hooks(&repo("o/r"))[0].secret.as_deref(), Some("s"));
    home.fake.add_hook(
        &repo("o/r"),
        Hook {
            url: "https://loop.test/other".to_owned(),
            secret: Some("shh".to_owned()),
            events: vec!["push".to_owned()],
            active: true,
            content_type: "json".to_owned(),
        },
    );
    assert_eq!(home.get("/repos/o/r/hooks").all("url").len(), 2);
    let (headers, body) = home.fake.hook("issue_label", &repo("o/r"));
    let signature = header(&headers, "X-Forgejo-Signature").unwrap();
    assert_eq!(signature.len(), 64);
    assert_eq!(header(&headers, "X-Hub-Signature-256"), Some(format!("sha256={signature}")));
    assert_eq!(header(&headers, "X-Gitea-Event").as_deref(), Some("issues"));
    assert_eq!(header(&headers, "X-Forgejo-Event-Type").as_deref(), Some("issue_label"));
    assert_ne!(header(&headers, "X-Forgejo-Delivery"), header(&unsigned, "X-Forgejo-Delivery"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["repository"]["full_name"], &body["number"]), (&json!("o/r"), &json!(1)));
    home.done("a_webhook");
}

#[test]
fn a_commit_has_statuses_and_runs_that_can_be_started_again() {
    let home = Home::new();
    let (commit, r) = (pushed(&home), repo("o/r"));
    let status = |state: &str| Status {
        context: "ci / test (push)".to_owned(),
        state: state.to_owned(),
        description: "Has a word".to_owned(),
        run: Some(12),
    };
    home.fake.give_status(&r, &commit, status("pending"));
    home.fake.give_status(&r, &commit, status("failure"));
    let statuses = home.get(&format!("/repos/o/r/statuses/{commit}?limit=1"));
    assert_eq!(statuses.all("status"), ["failure", "pending"], "without a page, all come");
    assert_eq!(statuses.all("id"), ["2", "1"]);
    let page = home.get("/repos/o/r/commits/main/statuses?limit=1&page=2");
    assert_eq!(page.all("status"), ["pending"]);
    assert_eq!(home.get("/repos/o/r/commits/nowhere/statuses").status, 404);
    let job = Job { name: "test".into(), status: "failure".into(), log: "1 failed\n".into() };
    let run = Run {
        number: 12,
        status: "failure".into(),
        event: "push".into(),
        branch: None,
        jobs: vec![job],
    };
    home.fake.put_run(&r, &commit, run);
    let runs = |commit: &str| home.get(&format!("/repos/o/r/actions/runs?head_sha={commit}")).body;
    assert_eq!(runs("0000000000000000000000000000000000000000")["total_count"], 0);
    let run = runs(commit.as_str())["workflow_runs"][0].clone();
    assert_eq!((&run["index_in_repo"], &run["status"]), (&json!(12), &json!("failure")));
    let jobs = home.get(&format!("/repos/o/r/actions/runs/{}/jobs", run["id"]));
    let log = home.get(&format!("/repos/o/r/actions/jobs/{}/logs", jobs.all("id")[0]));
    assert_eq!(log.text, "1 failed\n");
    let again = || home.ask("POST", &format!("/repos/o/r/actions/runs/{}/rerun", run["id"]), None);
    assert_eq!((again().status, again().status), (204, 400), "it has not ended yet");
    assert_eq!(home.fake.attempts(&r)[&12], 2);
    assert_eq!(runs(commit.as_str())["workflow_runs"][0]["status"], "waiting");
    home.done("checks");
    let gitea = Home::of(Kind::Gitea, true);
    assert_eq!(gitea.get("/repos/o/r/actions/runs").status, 404);
    gitea.done("checks_of_gitea");
}

#[test]
fn a_renamed_repo_is_elsewhere_on_the_same_server() {
    let home = Home::new();
    let issue = home.file("o/r#1", &["bug"]);
    home.fake.delete_label(&issue.repo, "bug");
    let before = home.get("/repos/o/r").body["id"].clone();
    home.fake.rename(&repo("o/r"), &repo("o/new"));
    assert_eq!(home.get("/repos/o/new").body["id"], before);
    assert_eq!(home.get("/repos/o/new/issues/1/timeline").text, "null");
    let get = home.get("/repos/o/r/issues?state=all");
    assert_eq!(
        (get.status, get.header("location")),
        (307, Some("/api/v1/repos/o/new/issues?state=all"))
    );
    assert_eq!(home.patch("/repos/o/r/issues/1", &json!({ "state": "closed" })).status, 307);
    assert_eq!(home.get("/repos/o/new/issues/1").body["state"], "open");
    home.done("a_renamed_repo");
}

#[test]
fn every_fault_is_met_once() {
    let home = Home::new();
    let issue = home.file("o/r#1", &[]);
    let read = || home.get("/repos/o/r/issues");
    read();
    home.sim.with(|world| world.set_title(&issue, "Other", &own()));
    let with = |fault: Fault| {
        home.fake.fail(Route::Issues, fault);
        read()
    };
    assert_eq!(with(Fault::Stale).body[0]["title"], "Work on o/r#1");
    assert_eq!(with(Fault::Omits(1)).body, json!([]));
    assert_eq!(with(Fault::Status(502)).status, 502);
    assert_eq!(with(Fault::Unauthorized).status, 401);
    let limited = with(Fault::RetryAfter(37));
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("37")));
    assert!(with(Fault::Html).text.starts_with("<!DOCTYPE html>"));
    assert_eq!(with(Fault::Truncated).body, Value::Null);
    assert_eq!(with(Fault::Broken).body, Value::Null);
    let elsewhere = with(Fault::Elsewhere(302));
    assert!(!elsewhere.header("location").unwrap().starts_with(&home.fake.url()));
    home.fake.fail(Route::PostComment, Fault::Lost(502));
    let unknown = home.post("/repos/o/r/issues/1/comments", &json!({ "body": "there" }));
    assert_eq!(unknown.status, 502);
    assert_eq!(home.get("/repos/o/r/issues/1/comments").all("body"), ["there"]);
    assert_eq!(home.fake.strayed(), []);
    let newest = home.fake.take_requests().pop().unwrap();
    assert_eq!((newest.route, newest.status), (Some(Route::IssueComments), 200));
    home.done("faults");
}
