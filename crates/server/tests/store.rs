//! The store on real files: races, fences, crashes, and files that are not ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use afk::store::{
    Admission, Caps, Commit, CommitOutcome, JournalEntry, JournalFault, JournalReport, LedgerEntry,
    NewRun, NewSend, OpenOptions, Refusal, RunFilter, Store, StoreErrorKind, SwitchName,
};
use afk_core::ids::{IssueRef, RunId};
use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

const DAY: Date = date(2026, 3, 1);
const FREE: Caps = Caps { max_live: 1000, repo_day: None, all_day: None };

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_770_000_000 + second).unwrap()
}

fn run_id(n: u128) -> RunId {
    RunId::new(Uuid::from_u128(n))
}

fn new_run(n: u128, issue: &str) -> NewRun {
    NewRun {
        run: run_id(n),
        issue: issue.parse::<IssueRef>().unwrap(),
        state: r#"{"phase":"worktree"}"#.to_owned(),
        reserve: 1_000_000,
        at: at(0),
        day: DAY,
        journal: JournalEntry { kind: "admitted".into(), body: "{}".into() },
        sends: vec![],
    }
}

fn change(n: u128, expected_version: u64) -> Commit {
    Commit {
        run: run_id(n),
        expected_version,
        state: format!(r#"{{"step":{expected_version}}}"#),
        live: true,
        reserved: 1_000_000,
        at: at(1),
        journal: JournalEntry { kind: "step".into(), body: format!("[{expected_version}]") },
        sends: vec![],
        ledger: vec![],
        fence: None,
        freeze: None,
    }
}

async fn admit(store: &Store, n: u128, issue: &str, caps: Caps) -> Admission<Refusal> {
    store.admit(new_run(n, issue), move |facts| caps.check(facts)).await.unwrap()
}

struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    fn file(&self) -> PathBuf {
        self.dir.path().join("afk.db")
    }
    async fn open(&self) -> Store {
        Store::open(&self.file()).await.unwrap()
    }
    /// Somebody else with the file in hand.
    async fn raw(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.file());
        SqliteConnection::connect_with(&options).await.unwrap()
    }
}

async fn sql(connection: &mut SqliteConnection, text: &'static str) -> Result<(), String> {
    sqlx::raw_sql(text).execute(connection).await.map(|_| ()).map_err(|e| e.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_stores_on_one_file_exactly_one_admits_a_run_for_a_repo() {
    let home = Home::new();
    let (left, right) = (home.open().await, home.open().await);
    for round in 0..20_u128 {
        let issue = format!("o/r{round}#1");
        let (a, b) = tokio::join!(
            admit(&left, round * 2 + 1, &issue, FREE),
            admit(&right, round * 2 + 2, &issue, FREE)
        );
        let won = |x: &Admission<Refusal>| usize::from(*x == Admission::Admitted);
        assert_eq!(won(&a) + won(&b), 1, "{a:?} {b:?}");
        let busy = |x: &Admission<Refusal>| matches!(x, Admission::RepoBusy { .. });
        assert!(busy(&a) || busy(&b), "{a:?} {b:?}");
    }
    assert_eq!(left.live_runs().await.unwrap().len(), 20);
}

#[tokio::test]
async fn an_admission_is_refused_for_each_reason_and_done_once() {
    let home = Home::new();
    let store = home.open().await;
    let refused = |r| Admission::Refused(r);
    let tight = Caps { max_live: 1, ..FREE };

    assert_eq!(admit(&store, 1, "o/a#1", tight).await, Admission::Admitted);
    assert_eq!(admit(&store, 1, "o/a#1", tight).await, Admission::AlreadyAdmitted { version: 1 });
    assert!(matches!(admit(&store, 2, "o/a#2", tight).await, Admission::RepoBusy { .. }));
    assert_eq!(admit(&store, 3, "o/b#1", tight).await, refused(Refusal::Capacity { live: 1 }));
    let repo_cap = Caps { repo_day: Some(999_999), ..FREE };
    assert_eq!(admit(&store, 3, "o/b#1", repo_cap).await, refused(Refusal::RepoSpend { total: 0 }));
    // The first run has a million reserved: no room for a second million.
    let all_cap = Caps { all_day: Some(1_999_999), ..FREE };
    assert_eq!(
        admit(&store, 3, "o/b#1", all_cap).await,
        refused(Refusal::AllSpend { total: 1_000_000 })
    );
    let throw = async |name: SwitchName, on| {
        store.set_switch(name, on, "{}", "user:ann", at(2)).await.unwrap();
    };
    for (name, refusal) in [
        (SwitchName::Freeze("o/b".parse().unwrap()), Refusal::Frozen),
        (SwitchName::Pause, Refusal::Paused),
        (SwitchName::Halt, Refusal::Halted),
    ] {
        throw(name.clone(), true).await;
        assert_eq!(admit(&store, 3, "o/b#1", FREE).await, refused(refusal));
        throw(name, false).await;
    }
    assert_eq!(admit(&store, 3, "o/b#1", FREE).await, Admission::Admitted);
    let switches = store.switches().await.unwrap();
    assert_eq!(switches.halt.map(|s| (s.on, s.by)), Some((false, "user:ann".to_owned())));
}

#[tokio::test]
async fn a_switch_that_cannot_be_understood_is_a_halt() {
    let home = Home::new();
    let store = home.open().await;
    let mut raw = home.raw().await;
    sql(&mut raw, "INSERT INTO switches VALUES ('freeze:???', 0, '{}', 'x', 0)").await.unwrap();
    assert!(store.switches().await.unwrap().halted());
    assert_eq!(admit(&store, 1, "o/a#1", FREE).await, Admission::Refused(Refusal::Halted));
    sql(&mut raw, "DELETE FROM switches; INSERT INTO switches VALUES ('halt', 7, 'x', 'x', 0)")
        .await
        .unwrap();
    assert!(store.switches().await.unwrap().halted());
}

#[tokio::test]
async fn a_commit_on_an_old_version_writes_nothing() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", FREE).await;
    let first = store.commit(change(1, 1)).await.unwrap();
    assert_eq!(first, CommitOutcome::Committed { version: 2 });
    let mut late = change(1, 1);
    late.sends.push(send("s"));
    assert_eq!(store.commit(late).await.unwrap(), CommitOutcome::Conflict { actual: 2 });
    assert_eq!(store.journal(run_id(1), 1, 10).await.unwrap().len(), 2);
    assert_eq!(store.outbox_backlog().await.unwrap(), (0, None));

    let missing = store.commit(change(9, 1)).await.unwrap_err();
    assert!(matches!(missing.kind(), StoreErrorKind::NotFound(_)), "{missing}");
    let mut bad = change(1, 2);
    bad.state = "{".into();
    let bad = store.commit(bad).await.unwrap_err();
    assert!(bad.to_string().contains("refuses the state of a run: not JSON"), "{bad}");
}

#[tokio::test]
async fn a_run_that_is_over_frees_its_repo_and_stays_over() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", FREE).await;
    store.commit(Commit { live: false, ..change(1, 1) }).await.unwrap();
    let again = store.commit(change(1, 2)).await.unwrap_err();
    assert!(matches!(again.kind(), StoreErrorKind::Finished(_)), "{again}");
    assert_eq!(admit(&store, 2, "o/a#1", FREE).await, Admission::Admitted);
    let filter = RunFilter { live: Some(false), ..RunFilter::default() };
    let over: Vec<_> = store.runs(&filter, 9).await.unwrap().iter().map(|r| r.run).collect();
    assert_eq!(over, [run_id(1)]);
}

#[tokio::test]
async fn a_holder_that_lost_its_lease_cannot_commit() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", FREE).await;
    let ttl = SignedDuration::from_secs(30);
    let old = store.lease("run:1", "p1", ttl, at(0)).await.unwrap().unwrap();
    assert_eq!(store.lease("run:1", "p2", ttl, at(29)).await.unwrap(), None);
    assert_eq!(store.lease("run:1", "p1", ttl, at(29)).await.unwrap(), None);
    assert_eq!(store.lease_holder("run:1").await.unwrap().unwrap().owner, "p1");
    let new = store.lease("run:1", "p2", ttl, at(30)).await.unwrap().unwrap();
    assert!(new.generation > old.generation);
    assert_eq!(store.renew(&old, ttl, at(31)).await.unwrap(), None);
    assert!(!store.release(&old).await.unwrap());

    let under =
        |lease: &afk::store::Lease, v| Commit { fence: Some(lease.fence()), ..change(1, v) };
    assert_eq!(
        store.commit(under(&old, 1)).await.unwrap(),
        CommitOutcome::Fenced { generation: new.generation }
    );
    assert_eq!(
        store.commit(under(&new, 1)).await.unwrap(),
        CommitOutcome::Committed { version: 2 }
    );
    let new = store.renew(&new, ttl, at(40)).await.unwrap().unwrap();
    assert_eq!(new.until, at(70));
    assert!(store.release(&new).await.unwrap());
    assert!(matches!(store.commit(under(&new, 2)).await.unwrap(), CommitOutcome::Fenced { .. }));
    assert!(store.lease("run:1", "p3", ttl, at(41)).await.unwrap().is_some());
}

fn send(id: &str) -> NewSend {
    NewSend {
        id: id.into(),
        kind: "doorbell".into(),
        body: r#"{"title":"done"}"#.into(),
        not_before: at(5),
    }
}

#[tokio::test]
async fn a_send_is_claimed_by_one_retried_and_delivered() {
    let home = Home::new();
    let (store, other) = (home.open().await, home.open().await);
    admit(&store, 1, "o/a#1", FREE).await;
    let sends = vec![send("b"), send("a"), send("c")];
    store.commit(Commit { sends, ..change(1, 1) }).await.unwrap();
    store.commit(Commit { sends: vec![send("a")], ..change(1, 2) }).await.unwrap();

    let ttl = SignedDuration::from_secs(10);
    let claim = async |store: &Store, owner: &str, second, n| {
        let sends = store.outbox_claim(owner, at(second), ttl, n).await.unwrap();
        sends.into_iter().map(|s| (s.id, s.attempt)).collect::<Vec<_>>()
    };
    let row = |id: &str, attempt| (id.to_owned(), attempt);
    assert_eq!(claim(&store, "p1", 4, 9).await, []);
    assert_eq!(claim(&store, "p1", 5, 2).await, [row("a", 1), row("b", 1)]);
    assert_eq!(claim(&other, "p2", 6, 9).await, [row("c", 1)]);
    assert!(store.outbox_done("a", "p1", at(7)).await.unwrap());
    assert!(!store.outbox_done("a", "p1", at(7)).await.unwrap());
    assert!(!store.outbox_done("c", "p1", at(7)).await.unwrap());
    assert!(other.outbox_failed("c", "p2", "503", Some(at(60)), at(7)).await.unwrap());
    // p1 died with b in hand: its claim ends by time.
    assert_eq!(claim(&other, "p2", 15, 9).await, [row("b", 2)]);
    assert!(!store.outbox_done("b", "p1", at(16)).await.unwrap());
    assert!(other.outbox_failed("b", "p2", "gone", None, at(16)).await.unwrap());
    assert_eq!(claim(&other, "p2", 99, 9).await, [row("c", 2)]);
    assert_eq!(store.outbox_backlog().await.unwrap(), (1, Some(at(60))));
}

#[tokio::test]
async fn spend_is_charged_once_a_turn_and_an_estimate_gives_way() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", FREE).await;
    let entry = |micro_usd, estimated| LedgerEntry {
        session: "s".into(),
        process: "p".into(),
        turn: "1".into(),
        day: DAY,
        micro_usd,
        estimated,
        body: "{}".into(),
    };
    for (version, (given, expected)) in [
        ((70, true), 70),
        ((90, true), 90),
        ((80, false), 80),
        ((500, true), 80),
        ((81, false), 81),
    ]
    .into_iter()
    .enumerate()
    {
        let ledger = vec![entry(given.0, given.1)];
        let commit = Commit { ledger, reserved: 5, ..change(1, version as u64 + 1) };
        store.commit(commit).await.unwrap();
        assert_eq!(store.spend_of_run(run_id(1)).await.unwrap(), expected);
    }
    let repo = "o/a".parse().unwrap();
    for repo in [None, Some(&repo)] {
        assert_eq!(store.spend_today(repo, DAY).await.unwrap().total(), 86);
    }
    let elsewhere = "o/b".parse().unwrap();
    assert_eq!(store.spend_today(Some(&elsewhere), DAY).await.unwrap().total(), 0);
    assert_eq!(store.spend_today(None, DAY.tomorrow().unwrap()).await.unwrap().spent, 0);
}

#[tokio::test]
async fn the_journal_cannot_be_changed_and_a_change_made_all_the_same_is_named() {
    let home = Home::new();
    let store = home.open().await;
    let run = run_id(1);
    admit(&store, 1, "o/a#1", FREE).await;
    for version in 1..5 {
        store.commit(change(1, version)).await.unwrap();
    }
    assert_eq!(store.verify_journal(run).await.unwrap(), JournalReport::Intact { rows: 5 });

    let mut raw = home.raw().await;
    for refused in [
        "UPDATE journal SET kind = 'x' WHERE run_seq = 3",
        "DELETE FROM journal WHERE run_seq = 3",
        "INSERT OR REPLACE INTO journal SELECT seq, run, run_seq, at, 'x', body_json, prev_hash, \
         hash FROM journal WHERE run_seq = 3",
    ] {
        let error = sql(&mut raw, refused).await.unwrap_err();
        assert!(error.contains("the journal is append-only"), "{error}");
    }
    let broken = |run_seq, seq, fault| JournalReport::Broken { run_seq, seq, fault };
    sql(&mut raw, "DROP TRIGGER journal_is_not_edited; DROP TRIGGER journal_is_not_cut")
        .await
        .unwrap();
    for (damage, mend, expected) in [
        (
            "UPDATE journal SET body_json = '[9]' WHERE run_seq = 3",
            "UPDATE journal SET body_json = '[2]' WHERE run_seq = 3",
            broken(3, Some(3), JournalFault::Edited),
        ),
        (
            "UPDATE journal SET at = at + 1 WHERE run_seq = 1",
            "UPDATE journal SET at = at - 1 WHERE run_seq = 1",
            broken(1, Some(1), JournalFault::Edited),
        ),
        (
            "UPDATE runs SET journal_hash = 'x'",
            "UPDATE runs SET journal_hash = (SELECT hash FROM journal WHERE run_seq = 5)",
            broken(5, None, JournalFault::HeadDiffers),
        ),
        (
            "CREATE TABLE cut AS SELECT * FROM journal WHERE run_seq = 5; \
             DELETE FROM journal WHERE run_seq = 5",
            "INSERT INTO journal SELECT * FROM cut",
            broken(5, None, JournalFault::Missing),
        ),
        (
            "DELETE FROM journal WHERE run_seq = 2",
            "SELECT 1",
            broken(2, None, JournalFault::Missing),
        ),
    ] {
        sql(&mut raw, damage).await.unwrap();
        assert_eq!(store.verify_journal(run).await.unwrap(), expected, "{damage}");
        sql(&mut raw, mend).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failing_write_in_a_group_undoes_itself_alone() {
    let home = Home::new();
    let store = home.open().await;
    for n in 1..=60 {
        admit(&store, n, &format!("o/r{n}#1"), FREE).await;
    }
    // Every third is an error inside the transaction, every third a conflict.
    let tasks: Vec<_> = (1..=60)
        .map(|n: u128| {
            let store = store.clone();
            tokio::spawn(async move {
                match n % 3 {
                    0 => store.commit(change(n + 1000, 1)).await.is_err(),
                    1 => {
                        store.commit(change(n, 7)).await.unwrap()
                            == CommitOutcome::Conflict { actual: 1 }
                    }
                    _ => {
                        store.commit(change(n, 1)).await.unwrap()
                            == CommitOutcome::Committed { version: 2 }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    for n in 1..=60 {
        let rows = if n % 3 == 2 { 2 } else { 1 };
        let report = store.verify_journal(run_id(n)).await.unwrap();
        assert_eq!(report, JournalReport::Intact { rows });
    }
    // A panic in the caller's decision is that caller's error alone.
    let panicked =
        store.admit(new_run(99, "o/p#1"), |_| -> Result<(), ()> { panic!("caller's own") }).await;
    assert_eq!(*panicked.unwrap_err().kind(), StoreErrorKind::Closed);
    assert_eq!(admit(&store, 99, "o/p#1", FREE).await, Admission::Admitted);
}

#[tokio::test]
async fn a_closed_store_has_done_what_was_asked_and_refuses_more() {
    let home = Home::new();
    let store = home.open().await;
    let clone = store.clone();
    let pending = tokio::spawn(async move { admit(&clone, 1, "o/a#1", FREE).await });
    assert_eq!(pending.await.unwrap(), Admission::Admitted);
    store.close().await;
    let error = store.commit(change(1, 1)).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::Closed);
    let again = home.open().await;
    assert_eq!(again.load(run_id(1)).await.unwrap().map(|r| r.version), Some(1));
}

#[tokio::test]
async fn a_backup_is_whole_private_and_never_written_over_a_file() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", FREE).await;
    let target = home.dir.path().join("copy.db");
    store.backup(&target).await.unwrap();
    assert_eq!(mode(&target), 0o600);
    assert!(store.backup(&target).await.unwrap_err().to_string().contains("already"));
    let copy = Store::open(&target).await.unwrap();
    let report = copy.verify_journal(run_id(1)).await.unwrap();
    assert_eq!(report, JournalReport::Intact { rows: 1 });
}

#[tokio::test]
async fn a_result_is_remembered_by_its_key() {
    let home = Home::new();
    let store = home.open().await;
    store.remember("proof", "t1", "d1", "1", at(0)).await.unwrap();
    store.remember("proof", "t1", "d1", "2", at(1)).await.unwrap();
    assert_eq!(store.memo("proof", "t1", "d1").await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.memo("proof", "t1", "d2").await.unwrap(), None);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_file_is_for_its_owner_alone() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", FREE).await;
    for name in ["afk.db", "afk.db-wal", "afk.db-shm"] {
        assert_eq!(mode(&home.dir.path().join(name)), 0o600, "{name}");
    }
    store.close().await;
    std::fs::set_permissions(home.file(), PermissionsExt::from_mode(0o644)).unwrap();
    home.open().await;
    assert_eq!(mode(&home.file()), 0o600);
}

async fn refused(home: &Home) -> String {
    let quick = OpenOptions { busy_timeout: Duration::from_millis(100), readers: 1 };
    let text = quick.open(&home.file()).await.unwrap_err().to_string();
    text.replace(&home.dir.path().display().to_string(), "<dir>")
}

#[tokio::test]
async fn files_that_cannot_be_the_store_are_refused_and_left_as_they_are() {
    let home = Home::new();
    std::fs::write(home.file(), "not a database, but a file of another program").unwrap();
    insta::assert_snapshot!(refused(&home).await, @"the store <dir>/afk.db is not a store of afk: it is another program's file; it was left as it is, choose another path: error returned from database: (code: 26) file is not a database");
    assert!(std::fs::read_to_string(home.file()).unwrap().starts_with("not a database"));

    let home = Home::new();
    std::fs::write(home.file(), "").unwrap();
    sql(&mut home.raw().await, "CREATE TABLE recipes (name TEXT)").await.unwrap();
    let before = std::fs::read(home.file()).unwrap();
    insta::assert_snapshot!(refused(&home).await, @"the store <dir>/afk.db is not a store of afk: it is another program's file; it was left as it is, choose another path");
    assert_eq!(std::fs::read(home.file()).unwrap(), before);

    let home = Home::new();
    home.open().await.close().await;
    sql(
        &mut home.raw().await,
        "INSERT INTO _sqlx_migrations VALUES (9000, 'later', '2030-01-01', 1, x'00', 1)",
    )
    .await
    .unwrap();
    insta::assert_snapshot!(refused(&home).await, @"the store <dir>/afk.db was written by a newer afk (schema 9000, this binary knows up to 2); run the newer binary or restore a backup made before it");

    let home = Home::new();
    home.open().await.close().await;
    let mut bytes = std::fs::read(home.file()).unwrap();
    bytes[100..4096].fill(0xa5);
    std::fs::write(home.file(), bytes).unwrap();
    insta::assert_snapshot!(refused(&home).await, @"the store <dir>/afk.db is damaged: the database file is malformed; stop all that use it and restore a backup: error returned from database: (code: 11) database disk image is malformed");

    let home = Home::new();
    std::fs::create_dir(home.file()).unwrap();
    insta::assert_snapshot!(refused(&home).await, @"the store <dir>/afk.db cannot be opened: it is not a regular file");

    let home = Home::new();
    let missing = home.dir.path().join("no/afk.db");
    let error = Store::open(&missing).await.unwrap_err().to_string();
    assert!(error.ends_with("cannot be opened: its directory does not exist; make it first"));
}

#[tokio::test]
async fn a_lock_held_too_long_is_said_and_the_next_write_goes_through() {
    let home = Home::new();
    let quick = OpenOptions { busy_timeout: Duration::from_millis(50), readers: 1 };
    let store = quick.open(&home.file()).await.unwrap();
    let mut raw = home.raw().await;
    sql(&mut raw, "BEGIN IMMEDIATE").await.unwrap();
    let error = store.set_switch(SwitchName::Halt, true, "{}", "x", at(0)).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::Locked);
    assert!(error.is_transient());
    sql(&mut raw, "ROLLBACK").await.unwrap();
    store.set_switch(SwitchName::Halt, true, "{}", "x", at(0)).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_and_a_read_only_file_are_told_apart_and_leave_the_store_whole() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", FREE).await;
    store.close().await;
    // The nearest to a full disk that needs no mount: a cap on pages, of this connection.
    let options = SqliteConnectOptions::new().filename(home.file()).pragma("max_page_count", "1");
    let mut raw = SqliteConnection::connect_with(&options).await.unwrap();
    let text = "INSERT INTO outbox VALUES ('x', (SELECT id FROM runs), 'k', \
        json_quote(hex(zeroblob(1000000))), 0, 0, NULL, NULL, NULL, NULL, NULL)";
    let error = sqlx::query(text).execute(&mut raw).await.unwrap_err();
    let error = afk::store::StoreError::from(error);
    assert_eq!(*error.kind(), StoreErrorKind::DiskFull);
    raw.close().await.unwrap();
    let options = SqliteConnectOptions::new().filename(home.file()).read_only(true);
    let mut raw = SqliteConnection::connect_with(&options).await.unwrap();
    let error = sqlx::query("DELETE FROM outbox").execute(&mut raw).await.unwrap_err();
    assert_eq!(*afk::store::StoreError::from(error).kind(), StoreErrorKind::ReadOnly);
    raw.close().await.unwrap();
    let store = home.open().await;
    let report = store.verify_journal(run_id(1)).await.unwrap();
    assert_eq!(report, JournalReport::Intact { rows: 1 });
}

const CHILD_FILE: &str = "AFK_TEST_STORE_FILE";
const CHILD_RUNS: u128 = 16;

/// Started by the test below; commits on many runs until it is killed, and says
/// each commit that was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of another test"]
async fn child_that_commits() {
    let Some(file) = std::env::var_os(CHILD_FILE) else { return };
    let store = Store::open(Path::new(&file)).await.unwrap();
    let tasks: Vec<_> = (1..=CHILD_RUNS)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut version = store.load(run_id(n)).await.unwrap().unwrap().version;
                loop {
                    let sends = vec![send(&format!("{n}-{version}"))];
                    let commit = Commit { sends, ..change(n, version) };
                    let outcome = store.commit(commit).await.unwrap();
                    version += 1;
                    assert_eq!(outcome, CommitOutcome::Committed { version });
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "\ncommitted {n} {version}").unwrap();
                }
            })
        })
        .collect();
    futures_util::future::join_all(tasks).await;
}

#[tokio::test]
async fn a_process_killed_while_it_commits_loses_nothing_it_was_answered() {
    let home = Home::new();
    let store = home.open().await;
    for n in 1..=CHILD_RUNS {
        admit(&store, n, &format!("o/r{n}#1"), FREE).await;
    }
    store.close().await;
    let mut answered = vec![1_u64; CHILD_RUNS as usize + 1];
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_commits", "--ignored", "--nocapture"])
            .env(CHILD_FILE, home.file())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut seen = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(rest) = line.strip_prefix("committed ") else { continue };
            let (n, version) = rest.split_once(' ').unwrap();
            answered[n.parse::<usize>().unwrap()] = version.parse().unwrap();
            seen += 1;
            if seen == 150 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 150 * round, "the child ended by itself after {seen}");

        let store = home.open().await;
        let mut total = 0;
        for n in 1..=CHILD_RUNS {
            let row = store.load(run_id(n)).await.unwrap().unwrap();
            assert!(row.version >= answered[n as usize], "run {n} lost a commit");
            assert_eq!(
                row.state,
                format!(r#"{{"step":{}}}"#, row.version - 1)
                    .replace(r#"{"step":0}"#, r#"{"phase":"worktree"}"#)
            );
            let report = store.verify_journal(run_id(n)).await.unwrap();
            assert_eq!(report, JournalReport::Intact { rows: row.version });
            total += row.version - 1;
        }
        assert_eq!(store.outbox_backlog().await.unwrap().0, total);
        store.close().await;
        let check: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&mut home.raw().await)
            .await
            .unwrap();
        assert_eq!(check, "ok");
    }
}
