//! Measures the store of a large installation: 100,000 settled runs on 10,000 repositories, and
//! 100,000 closed issues.
//!
//! Makes such a store in the folder of its argument, or in one of its own, and times on it what a
//! daemon does twice a second, and a tick that finds nothing. `cargo xtask bench scale` goes on
//! with the program itself on the same store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use afk_core::ids::RepoName;
use afk_core::run::Run;
use afk_engine::Engine;
use afk_engine::ports::{Admission, AdmitLimits, DayCaps, Filter, Ports, Store as _, Tracker};
use afk_sim::story::{Story, config, enroll, good_work};
use afk_store::local_tracker::LocalTracker;
use afk_store::{Store, TrackerPort};
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection};
use tokio_util::sync::CancellationToken;

const RUNS: u32 = 100_000;
const REPOS: u32 = 10_000;
/// The time between two admissions, in microseconds: with one every five minutes the runs are those
/// of a year.
const EVERY: i64 = 300_000_000;
/// Each figure is the median of this many measurements.
const TIMES: usize = 31;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // `cargo bench` adds an argument of its own.
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let own = tempfile::tempdir_in(".").unwrap();
    let folder = folder.map_or_else(|| own.path().to_owned(), PathBuf::from);
    runtime.block_on(measure(&folder.join("afk.db")));
}

async fn measure(file: &Path) {
    let told = Story::new().with_issue(vec![good_work()]);
    let settled = told.settle().await;
    Store::open(file).await.unwrap().close().await;
    let since = Instant::now();
    fill(file, &settled).await;
    let megabytes = std::fs::metadata(file).unwrap().len() / 1_000_000;
    println!("filled: {} s, {megabytes} MB", since.elapsed().as_secs());

    let store = Store::open(file).await.unwrap();
    let tracker: Arc<dyn Tracker> =
        Arc::new(TrackerPort::new(LocalTracker::new(store.clone(), "user:ann", [].into())));
    let sim = told.sim;
    sim.with(|world| {
        world.config = config();
        for n in 0..REPOS {
            enroll(&mut world.config, &repo(n));
        }
    });
    let now = Timestamp::now();
    let ports =
        Ports { store: Arc::new(store.clone()), tracker: Arc::clone(&tracker), ..sim.ports() };
    let engine = Engine::new(ports, "bench");

    let none = BTreeSet::new();
    let beat = async || {
        store.switches().await.unwrap();
        assert!(store.live_runs().await.unwrap().is_empty());
        assert!(
            store.claim("bench", Duration::from_secs(1), now, 1, &none).await.unwrap().is_empty()
        );
        store.open_requests(0).await.unwrap();
    };
    show("beat", &beat).await;
    let tick = async || {
        let ticked = engine.tick(true, &CancellationToken::new()).await.unwrap();
        assert!(ticked.admitted.is_empty() && ticked.not_dispatched.is_none());
    };
    show("quiet tick", &tick).await;
    let names: Vec<RepoName> = (0..REPOS).map(|n| repo(n).parse().unwrap()).collect();
    let ready = async || {
        assert_eq!(
            tracker.ready_everywhere(&names, "ready").await.map(|all| all.len()),
            Some(names.len())
        );
    };
    show("ready issues of all repositories", &ready).await;
    let until: Vec<_> = store.comments_read_until().await.unwrap().into_iter().collect();
    let comments = async || {
        assert_eq!(
            tracker.comments_everywhere(&until).await.map(|all| all.len()),
            Some(names.len())
        );
    };
    show("new comments of all repositories", &comments).await;
    let runs = async || assert_eq!(store.runs(&Filter::default()).await.unwrap().len(), 100);
    show("newest 100 runs", &runs).await;
    let of_repo = async || {
        let filter = Filter { repo: Some(repo(7).parse().unwrap()), ..Filter::default() };
        assert_eq!(store.runs(&filter).await.unwrap().len(), 10);
    };
    show("runs of a repository", &of_repo).await;
    let handed_back = async || {
        let filter = Filter { handed_back: true, ..Filter::default() };
        assert_eq!(store.runs(&filter).await.unwrap().len(), 100);
    };
    show("runs handed to people", &handed_back).await;
    let spent = async || {
        store.spent(now).await.unwrap();
    };
    show("spend of today", &spent).await;
    let limits = AdmitLimits {
        max_at_work: 0,
        caps: DayCaps { repo: settled.budget.into(), all: settled.budget.into(), start: now },
    };
    let new = Run { id: "01999999-0000-7000-8000-000000000000".parse().unwrap(), ..settled };
    let admit = async || {
        let refused = store.admit(&new, &limits, now).await.unwrap();
        assert!(matches!(refused, Admission::Refused(_)));
    };
    show("admission refused", &admit).await;
    store.close().await;
}

/// Prints the median time of `work`.
async fn show(what: &str, work: &impl AsyncFn()) {
    work().await;
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let since = Instant::now();
        work().await;
        times.push(since.elapsed());
    }
    times.sort();
    println!("{what}: {:.3} ms", times[TIMES / 2].as_secs_f64() * 1000.0);
}

fn repo(n: u32) -> String {
    format!("f/{n}")
}

/// Fills the store with rows as they pile up in years. All runs are copies of one that was settled;
/// every twentieth was handed over to a person.
async fn fill(file: &Path, settled: &Run) {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off);
    let mut raw = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("BEGIN").execute(&mut raw).await.unwrap();
    let state = serde_json::to_string(settled).unwrap();
    let begun = Timestamp::now().as_microsecond() - EVERY * i64::from(RUNS);
    let count = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {RUNS}) "
    );
    let run = "printf('01900000-0000-7000-8000-%012x', i)";
    let repo = format!("printf('f/%d', i % {REPOS})");
    let number = format!("i / {REPOS} + 1");
    let at = format!("{begun} + i * {EVERY}");
    for insert in [
        format!(
            "INSERT INTO runs (id, repo, issue_number, live, version, state_json, \
             reserved_micro_usd, journal_hash, admitted_at, updated_at, handed_back) \
             SELECT {run}, {repo}, {number}, 0, 1, json_set(?1, '$.id', {run}, '$.issue', \
             {repo} || '#' || ({number}), '$.conclusion.end', \
             iif(i % 20 = 0, 'needs-human', 'done')), 0, '', {at}, {at}, i % 20 = 0 FROM n"
        ),
        format!(
            "INSERT INTO journal (run, run_seq, at, kind, body_json, prev_hash, hash) \
             SELECT {run}, 1, {at}, 'admitted', '{{}}', '', '' FROM n WHERE ?1 <> ''"
        ),
        format!(
            "INSERT INTO outbox (id, run, kind, body_json, not_before, attempts, delivered_at) \
             SELECT {run}, {run}, 'done', '{{}}', {at}, 1, {at} FROM n WHERE ?1 <> ''"
        ),
        format!(
            "INSERT INTO leases (key, owner, generation, until) \
             SELECT 'run:' || {run}, 'gone', 2, 0 FROM n WHERE ?1 <> ''"
        ),
        format!(
            "INSERT INTO ledger (session, process, turn, run, repo, day, micro_usd, estimated, \
             body_json) SELECT {run}, '1', '1', {run}, {repo}, \
             date(({at}) / 1000000, 'unixepoch'), 100000, 0, '{{}}' FROM n WHERE ?1 <> ''"
        ),
        format!(
            "INSERT INTO issues (repo, number, title, body, is_open, author_id, author_login, \
             author_bot, created_at, updated_at) SELECT {repo}, {number}, 'An issue', \
             'What is to be done.', i % 20 = 0, 'user:ann', 'ann', 0, {at}, {at} \
             FROM n WHERE ?1 <> ''"
        ),
        format!(
            "INSERT INTO issue_labels (repo, number, label, at) \
             SELECT {repo}, {number}, 'ready-for-human', {at} FROM n WHERE i % 20 = 0 AND ?1 <> ''"
        ),
        format!(
            "INSERT INTO issue_comments (repo, number, at, author_id, author_login, author_bot, \
             body) SELECT {repo}, {number}, {at}, 'afk', 'afk', 1, 'How far it is.' \
             FROM n WHERE ?1 <> ''"
        ),
        format!(
            "INSERT INTO comments_heard (repo, until) SELECT {repo}, max({at}) FROM n \
             WHERE ?1 <> '' GROUP BY 1"
        ),
    ] {
        let sql = sqlx::AssertSqlSafe(format!("{count}{insert}"));
        sqlx::query(sql).bind(&state).execute(&mut raw).await.unwrap();
    }
    sqlx::raw_sql("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut raw).await.unwrap();
    raw.close().await.unwrap();
}
