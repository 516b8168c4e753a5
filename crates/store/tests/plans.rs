//! No query walks a table that grows. SQLite explains every statement that the calls of the store
//! and of the local tracker run: each finds its rows by an index, or reads rows that stay few
//! however many runs have been settled.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::freeze::{Acknowledgement, Paging};
use afk_core::hold::HoldCause;
use afk_core::ids::Actor;
use afk_core::presence::Claim;
use afk_core::request::{PersonRequest, Request};
use afk_core::run::Transition;
use afk_engine::ports::{
    AdmitLimits, CheckSpan, Commit, DayCaps, DoorbellSend, Filter, Journals as _, Labels, MemoKey,
    Page, Store as _, Switch, SwitchState, Tracker as _,
};
use afk_sim::story::{Story, good_work};
use afk_store::local_tracker::LocalTracker;
use afk_store::{OpenOptions, Store, TrackerPort};
use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Partial indexes, which hold few rows: what is live, waits, is on, or was given up.
const FEW: &[&str] = &[
    "runs_live",
    "runs_one_live_per_issue",
    "runs_one_lock_per_repo",
    "outbox_due",
    "outbox_given_up",
    "requests_open",
    "switches_on",
];
/// Tables with at most one row for each repository or person, and lists that a statement is given.
const SMALL: &[&str] = &["comments_heard", "heartbeat", "holds", "json_each", "presence"];
/// Tables of which a range holds few rows: the names before and after those of freezes.
const RANGES: &[&str] = &["switches"];
/// Indexes that are walked in their order, up to the statement's limit.
const WALKED: &[&str] = &["runs_by_time", "runs_handed_back"];
/// The source of the traits: each of their calls is made here.
const TRAITS: [&str; 2] = [
    include_str!("../../engine/src/ports/store.rs"),
    include_str!("../../engine/src/ports/tracker.rs"),
];

#[tokio::test]
async fn no_query_walks_a_table_that_grows() {
    let statements = Statements::default();
    tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(statements.clone()),
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("afk.db");
    let options = OpenOptions { is_dead: |_| true, ..OpenOptions::default() };
    let store = options.open(&path).await.unwrap();
    statements.taken();
    calls_of_the_store(&store).await;
    calls_of_the_tracker(&store).await;
    // Once the store is closed, every statement has been logged.
    store.close().await;
    let told = statements.taken();
    assert!(told.len() > 50, "the statements are not told: {told:#?}");

    let options = SqliteConnectOptions::new().filename(&path);
    let mut raw = SqliteConnection::connect_with(&options).await.unwrap();
    assert_eq!(faults(&mut raw, &told).await, Vec::<String>::new());
    sqlx::raw_sql("DROP INDEX runs_live").execute(&mut raw).await.unwrap();
    let without = faults(&mut raw, &told).await;
    assert!(without.iter().any(|fault| fault.contains("FROM runs WHERE live = 1")), "{without:?}");
}

#[test]
fn every_call_is_made() {
    let made = include_str!("plans.rs");
    for text in TRAITS {
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("async fn "));
        for name in names.map(|rest| rest.split('(').next().unwrap()) {
            assert!(made.contains(&format!(".{name}(")), "nobody calls {name} here");
        }
    }
}

#[test]
fn a_walk_is_told_from_a_search() {
    for (sql, step, walks) in [
        ("", "SCAN runs", true),
        ("", "SCAN l USING COVERING INDEX ledger_by_day", true),
        ("", "SEARCH runs USING AUTOMATIC COVERING INDEX (repo=?)", true),
        ("SELECT 1 LIMIT 2", "SCAN runs", true),
        ("", "SCAN runs USING INDEX runs_by_time", true),
        ("SELECT 1 LIMIT 2", "SCAN runs USING INDEX runs_by_time", false),
        ("", "SCAN runs USING INDEX runs_live", false),
        ("", "SCAN comments_heard", false),
        ("", "SCAN CONSTANT ROW", false),
        ("", "SCAN json_each VIRTUAL TABLE INDEX 1:", false),
        ("", "SEARCH runs USING INDEX sqlite_autoindex_runs_1 (id=?)", false),
        ("", "SEARCH requests USING INTEGER PRIMARY KEY (rowid>?)", true),
        ("", "SEARCH requests USING INDEX requests_open (seq>?)", false),
        ("", "SEARCH issue_comments USING INDEX issue_comments_since (repo=? AND at>?)", false),
        ("SELECT 1 LIMIT 2", "USE TEMP B-TREE FOR ORDER BY", true),
        ("", "USE TEMP B-TREE FOR ORDER BY", false),
        ("SELECT 1 LIMIT 2", "USE TEMP B-TREE FOR LAST TERM OF ORDER BY", false),
    ] {
        assert_eq!(is_walk(sql, step), walks, "{step}");
    }
}

async fn calls_of_the_store(store: &Store) {
    let told = Story::new().with_issue(vec![good_work()]);
    told.marked().await;
    let run = told.run();
    let (id, repo) = (run.id, run.issue.repo.clone());
    let second = Duration::from_secs(1);
    let limits =
        AdmitLimits { max_at_work: 1, caps: DayCaps { repo: None, all: None, start: at(0) } };
    store.admit(&run, &limits, at(0)).await.unwrap();
    store.load(id).await.unwrap().unwrap();
    let generation = store.lease(&format!("run:{id}"), "a", second, at(0)).await.unwrap().unwrap();
    let away = Transition::Away { from: at(0), to: at(1) };
    let mut commit = Commit::new(run.clone(), 1, generation, away, at(1));
    commit.sends = vec![send(&run, 0)];
    commit.freeze = Some("red".to_owned());
    store.commit(commit).await.unwrap();
    // As the holder, as another owner, and after the holder has gone.
    store.lease(&format!("run:{id}"), "a", second, at(1)).await.unwrap();
    store.lease(&format!("run:{id}"), "b", second, at(1)).await.unwrap();
    store.unlease(&format!("run:{id}"), "b").await.unwrap();
    store.live().await.unwrap();
    store.live_runs().await.unwrap();
    for (repo, issue) in
        [(None, None), (Some(repo.clone()), None), (Some(repo.clone()), Some(run.issue.number))]
    {
        store.runs(&Filter { repo, issue, limit: 1, ..Filter::default() }).await.unwrap();
    }
    let back = Filter { handed_back: true, ..Filter::default() };
    store.runs(&back).await.unwrap();
    store.journal(id, 0).await.unwrap();
    store.switches().await.unwrap();
    let state = SwitchState { by: "ann".to_owned(), at: at(1), why: "disk".to_owned() };
    store.throw(&Switch::Pause, &state).await.unwrap();
    store.lift(&Switch::Pause, "ann", at(2)).await.unwrap();
    let before = Paging::begun(id, at(1));
    let after = Paging { nth: 1, last: at(2), ..before.clone() };
    let sends = [send(&run, 1)];
    let page = Page { before: &before, after: &after, sends: &sends };
    store.page(&repo, &page).await.unwrap();
    let busy = BTreeSet::from([Some("webhook".to_owned()), None]);
    for due in store.claim("a", second, at(9), 9, &busy).await.unwrap() {
        store.rung(&due.id, "a", at(9)).await.unwrap();
        store.not_rung(&due.id, "a", "503", Some(at(9)), at(9)).await.unwrap();
    }
    assert!(store.page(&repo, &page).await.unwrap());
    store.acknowledge(&repo, &Acknowledgement { by: "ann".to_owned(), at: at(3) }).await.unwrap();
    assert!(store.unfreeze(&repo, "ann", at(4)).await.unwrap());
    let (cause, looked) = (HoldCause::Machine, CheckSpan { began: at(5), answered: at(5) });
    assert!(store.hold(&cause, looked, &[send(&run, 2)]).await.unwrap());
    store.holds().await.unwrap();
    store.unhold(&cause, CheckSpan { began: at(6), answered: at(6) }).await.unwrap();
    let key = MemoKey { kind: "k".to_owned(), tree: "t".to_owned(), command: "c".to_owned() };
    store.remember(&key, &1.into(), at(1)).await.unwrap();
    store.recall(&key).await.unwrap().unwrap();
    assert_eq!(store.forget_results("k", at(2)).await.unwrap(), 1);
    store.spent(at(0)).await.unwrap();
    let by = ann();
    let request = PersonRequest { id: "x".to_owned(), at: at(1), by, what: Request::Stop };
    store.add_request(id, &request).await.unwrap();
    store.requests(id).await.unwrap();
    store.requests_on(&run.issue).await.unwrap();
    store.open_requests(0).await.unwrap();
    store.answer("x", "done", at(2)).await.unwrap();
    store.note_comments_read(&repo, at(1)).await.unwrap();
    store.comments_read_until().await.unwrap();
    store.beat(at(1), SignedDuration::MAX).await.unwrap();

    store.chain(id).await.unwrap();
    store.verify_journal(id).await.unwrap();
    store.runs_beginning("0199", 2).await.unwrap();
    store.last_beat().await.unwrap();
    store.lease_holder("serve").await.unwrap();
    store.outbox_backlog().await.unwrap();
    store.given_up(at(0)).await.unwrap();
    let ttl = SignedDuration::from_secs(9);
    let claim = Claim { resource: "db".to_owned(), purpose: "a look".to_owned(), ttl };
    store.presence_claim(&claim, "ann", at(1)).await.unwrap();
    store.presence_claims(at(1)).await.unwrap();
    store.presence_release("db", "ann", at(1)).await.unwrap();
}

async fn calls_of_the_tracker(store: &Store) {
    let local = LocalTracker::new(store.clone(), "user:ann", [].into());
    let port = TrackerPort::new(local.clone());
    let repo = "o/r".parse().unwrap();
    let issue = local.create(&repo, "One", "", &ann(), at(0)).await.unwrap();
    local.list(Some(&repo), Some(true), None).await.unwrap();
    local.edit(&issue, Some("Two"), Some("x"), &ann(), at(1)).await.unwrap();
    let labels = Labels { add: vec!["ready".to_owned()], remove: vec!["other".to_owned()] };
    port.label(&issue, &labels).await.unwrap();
    port.ready(&repo, "ready").await.unwrap();
    port.ready_everywhere(std::slice::from_ref(&repo), "ready").await.unwrap();
    port.labelled(&repo, "ready").await.unwrap();
    port.issue(&issue).await.unwrap();
    port.permission(&repo, &ann()).await.unwrap();
    port.blocker(&issue.repo, &issue).await.unwrap();
    port.own_account(&repo).await.unwrap();
    let run = "01990000-0000-7000-8000-000000000000".parse().unwrap();
    let id = port.comment(&issue, run, "text").await.unwrap();
    port.edit_comment(&issue, &id, "other text").await.unwrap();
    port.comments(&issue).await.unwrap();
    port.comments_since(&repo, at(0)).await.unwrap();
    port.comments_everywhere(&[(repo, at(0))]).await.unwrap();
    port.close(&issue).await.unwrap();
    port.reopen(&issue).await.unwrap();
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_770_000_000 + second).unwrap()
}

fn ann() -> Actor {
    LocalTracker::user("ann")
}

fn send(run: &afk_core::run::Run, nth: u32) -> DoorbellSend {
    let doorbell = Doorbell::new(&Ring {
        run: run.id,
        issue: &run.issue,
        kind: DoorbellKind::Frozen,
        reason: None,
        detail: "red",
        link: None,
        nth,
    });
    DoorbellSend { name: "terminal".to_owned(), doorbell }
}

/// The steps of the query plans that walk a table, each with its statement.
async fn faults(raw: &mut SqliteConnection, told: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for sql in told {
        let explained = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explained).persistent(false).fetch_all(&mut *raw).await.unwrap();
        // A sort below another step sorts the few labels of one issue.
        let of_a_row = |parent: i64, step: &String| parent != 0 && step.starts_with("USE TEMP");
        let steps = plan.into_iter().filter(|(_, parent, _, step)| !of_a_row(*parent, step));
        let walks = steps.map(|row| row.3).filter(|step| is_walk(sql, step));
        faults.extend(walks.map(|step| format!("{step}\n    {sql}")));
    }
    faults
}

/// Whether a step of a query plan may read, or sort, all of a table that grows.
fn is_walk(sql: &str, step: &str) -> bool {
    let index = step.split_once("INDEX ").and_then(|(_, rest)| rest.split(' ').next());
    let is = |known: &[&str]| index.is_some_and(|index| known.contains(&index));
    if let Some(rest) = step.strip_prefix("SCAN ") {
        let table = rest.split(' ').next().unwrap_or_default();
        let none =
            table.starts_with('(') || table == "CONSTANT" || step.contains(" VIRTUAL TABLE ");
        let stops = is(WALKED) && sql.contains(" LIMIT ");
        return !(none || SMALL.contains(&table) || is(FEW) || stops);
    }
    // A range may hold the whole table.
    let table = step.strip_prefix("SEARCH ").and_then(|rest| rest.split(' ').next());
    let bounds = step.rsplit_once('(').is_some_and(|(_, by)| !by.contains("=?"));
    if let Some(table) = table.filter(|_| bounds) {
        let few = SMALL.contains(&table) || RANGES.contains(&table) || is(FEW);
        return !(few || sql.contains(" LIMIT "));
    }
    // A statement that returns all rows may sort them; one that sorts all to return a few walks.
    let sorts = step == "USE TEMP B-TREE FOR ORDER BY" && sql.contains(" LIMIT ");
    step.contains("AUTOMATIC") || sorts
}

/// The statements that sqlx logs.
#[derive(Debug, Default, Clone)]
struct Statements(Arc<Mutex<BTreeSet<String>>>);

impl Statements {
    fn taken(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl<S: tracing::Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        // sqlx logs a short statement as a summary alone.
        let sql = if text.statement.is_empty() { text.summary } else { text.statement };
        let sql = sql.trim();
        if ["SELECT", "INSERT", "UPDATE", "DELETE"].iter().any(|verb| sql.starts_with(verb)) {
            self.0.lock().unwrap().insert(sql.to_owned());
        }
    }
}

#[derive(Default)]
struct Text {
    summary: String,
    statement: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.statement),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
