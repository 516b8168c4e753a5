//! The file itself: who may read it, what it survives, and which files are no store.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use afk_engine::ports::{Committed, PortErrorKind, Store as _, Switch, SwitchState};
use afk_store::*;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use crate::support::*;

#[tokio::test]
async fn the_file_is_for_its_owner_alone() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    for name in ["afk.db", "afk.db-wal", "afk.db-shm"] {
        assert_eq!(mode(&home.dir.path().join(name)), 0o600, "{name}");
    }
    store.close().await;
    std::fs::set_permissions(home.file(), PermissionsExt::from_mode(0o644)).unwrap();
    home.open().await;
    assert_eq!(mode(&home.file()), 0o600);
}

fn quick(millis: u64) -> OpenOptions {
    let busy_timeout = Duration::from_millis(millis);
    OpenOptions { busy_timeout, readers: 1, ..OpenOptions::default() }
}

async fn refused(home: &Home) -> String {
    let quick = quick(100);
    let text = quick.open(&home.file()).await.unwrap_err().to_string();
    text.replace(&home.dir.path().display().to_string(), "<dir>")
}

#[tokio::test]
async fn files_that_cannot_be_the_store_are_refused_and_left_as_they_are() {
    let home = Home::new();
    std::fs::write(home.file(), "not a database, but a file of another program").unwrap();
    std::fs::set_permissions(home.file(), PermissionsExt::from_mode(0o640)).unwrap();
    insta::assert_snapshot!(refused(&home).await, @"the store <dir>/afk.db is not a store of afk: it is another program's file; it was left as it is, choose another path: error returned from database: (code: 26) file is not a database");
    assert!(std::fs::read_to_string(home.file()).unwrap().starts_with("not a database"));
    assert_eq!(mode(&home.file()), 0o640);

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
    insta::assert_snapshot!(refused(&home).await, @"the store <dir>/afk.db was written by a newer afk (schema 9000, this binary knows up to 15); run the newer binary or restore a backup made before it");

    let home = Home::new();
    home.open().await.close().await;
    let mut bytes = std::fs::read(home.file()).unwrap();
    bytes[100..4096].fill(0xa5);
    std::fs::write(home.file(), bytes).unwrap();
    insta::assert_snapshot!(refused(&home).await, @"the store <dir>/afk.db is damaged: the database file is malformed; stop every process that uses it and restore a backup: error returned from database: (code: 11) database disk image is malformed");

    let home = Home::new();
    std::fs::create_dir(home.file()).unwrap();
    insta::assert_snapshot!(refused(&home).await, @"the store <dir>/afk.db cannot be opened: it is not a regular file");

    let home = Home::new();
    let missing = home.dir.path().join("no/afk.db");
    let error = Store::open(&missing).await.unwrap_err().to_string();
    assert!(error.ends_with("cannot be opened: its folder does not exist; create it first"));
}

/// A store as the binary before the newest migration left it.
async fn older(home: &Home) {
    std::fs::write(home.file(), "").unwrap();
    let mut raw = home.raw().await;
    sql(&mut raw, "PRAGMA application_id = 0x61666b31").await.unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let all = Migrator::new(folder).await.unwrap();
    let mut migrations: Vec<_> = all.iter().cloned().collect();
    migrations.pop();
    Migrator::with_migrations(migrations).run(&mut raw).await.unwrap();
    raw.close().await.unwrap();
}

/// The lease on `key` in the name of `owner`, until a minute after `at(0)`.
async fn leased(home: &Home, key: &str, owner: &str) {
    let taken = sqlx::query("INSERT INTO leases VALUES (?, ?, 1, ?)");
    let taken = taken.bind(key).bind(owner).bind(at(60).as_microsecond());
    taken.execute(&mut home.raw().await).await.unwrap();
}

async fn schema(home: &Home) -> i64 {
    let newest = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations");
    newest.fetch_one(&mut home.raw().await).await.unwrap()
}

#[tokio::test]
async fn a_store_that_an_older_afk_works_is_left_as_it_is_until_that_one_has_stopped() {
    let newest = {
        let home = Home::new();
        home.open().await.close().await;
        schema(&home).await
    };
    let now = |second| OpenOptions { now: Some(at(second)), ..quick(100) };
    for key in ["serve", "run:01990000-0000-7000-8000-000000000000"] {
        let home = Home::new();
        older(&home).await;
        let before = schema(&home).await;
        assert!(before < newest);
        leased(&home, key, "an-older-afk").await;
        for options in [now(59), quick(100)] {
            let error = options.open(&home.file()).await.unwrap_err();
            assert_eq!(*error.kind(), StoreErrorKind::InUse("an-older-afk".to_owned()), "{key}");
        }
        assert_eq!(schema(&home).await, before, "{key}");
        // Its lease has expired.
        now(60).open(&home.file()).await.unwrap().close().await;
        assert_eq!(schema(&home).await, newest, "{key}");
        // A store with the newest schema is shared with whoever works it.
        now(59).open(&home.file()).await.unwrap().close().await;

        // A lease that ends so late was taken before the clock was set back.
        let home = Home::new();
        older(&home).await;
        leased(&home, key, "an-older-afk").await;
        now(0).open(&home.file()).await.unwrap_err();
        now(-1).open(&home.file()).await.unwrap().close().await;
        assert_eq!(schema(&home).await, newest, "{key}");
    }

    let home = Home::new();
    older(&home).await;
    leased(&home, "serve", "a-dead-afk").await;
    // A lease that no process at work holds.
    leased(&home, "house", "kept by an-older-afk").await;
    insta::assert_snapshot!(refused(&home).await, @"the store <dir>/afk.db is in use by an older afk (a-dead-afk): stop that one first; the next command of this binary then brings the store up to date");
    let options = OpenOptions { is_dead: |owner| owner == "a-dead-afk", ..now(0) };
    options.open(&home.file()).await.unwrap().close().await;
    assert_eq!(schema(&home).await, newest);
}

#[tokio::test]
async fn a_lock_held_too_long_is_said_and_the_next_write_goes_through() {
    let home = Home::new();
    let quick = quick(500);
    let store = quick.open(&home.file()).await.unwrap();
    let mut raw = home.raw().await;
    sql(&mut raw, "BEGIN IMMEDIATE").await.unwrap();
    let state = SwitchState { by: "x".to_owned(), at: at(0), why: String::new() };
    let error = store.throw(&Switch::Halt, &state).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Transient);
    assert!(error.chain().contains("is locked: another process"), "{error}");
    sql(&mut raw, "ROLLBACK").await.unwrap();
    store.throw(&Switch::Halt, &state).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_and_a_read_only_file_are_told_apart_and_leave_the_store_whole() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    store.close().await;
    // The nearest to a full disk without mounting one: a cap on this connection's pages.
    let options = SqliteConnectOptions::new().filename(home.file()).pragma("max_page_count", "1");
    let mut raw = SqliteConnection::connect_with(&options).await.unwrap();
    let text = "INSERT INTO outbox VALUES ('x', (SELECT id FROM runs), 'k', \
        json_quote(hex(zeroblob(1000000))), 0, 0, NULL, NULL, NULL, NULL, NULL, NULL)";
    let error = sqlx::query(text).execute(&mut raw).await.unwrap_err();
    let error = afk_store::StoreError::from(error);
    assert_eq!(*error.kind(), StoreErrorKind::DiskFull);
    raw.close().await.unwrap();
    let options = SqliteConnectOptions::new().filename(home.file()).read_only(true);
    let mut raw = SqliteConnection::connect_with(&options).await.unwrap();
    let error = sqlx::query("DELETE FROM outbox").execute(&mut raw).await.unwrap_err();
    assert_eq!(*afk_store::StoreError::from(error).kind(), StoreErrorKind::ReadOnly);
    raw.close().await.unwrap();
    let store = home.open().await;
    let report = store.verify_journal(run_id(1)).await.unwrap();
    assert_eq!(report, JournalReport::Intact { rows: 1 });
}

#[tokio::test]
async fn a_backup_to_a_full_disk_names_the_copy_and_not_the_store() {
    let home = Home::new();
    let store = home.open().await;
    let small = home.dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=16k", "tmpfs"];
    let mounted = Command::new("mount").args(mount).arg(&small).stderr(Stdio::null()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("SKIPPED: no file system could be mounted to fill it");
        return;
    }
    let refused = store.backup(&small.join("copy.db"), false).await;
    Command::new("umount").arg("-l").arg(&small).status().unwrap();
    let error = refused.unwrap_err();
    assert!(matches!(error.kind(), StoreErrorKind::NotCopied(_)), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("was not copied to") && told.contains("small/copy.db"), "{told}");
}

const CHILD_FILE: &str = "AFK_TEST_STORE_FILE";
const CHILD_RUNS: u128 = 16;

/// Started by the test below. Commits on many runs until it is killed, and prints each commit
/// that was answered.
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
                    let mut commit = change(n, version).await;
                    commit.sends = vec![bell(n, version as u32)];
                    let outcome = store.commit(commit).await.unwrap();
                    version += 1;
                    assert_eq!(outcome, Committed::Yes { version });
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
        admit(&store, n, &format!("o/r{n}#1"), &free()).await;
    }
    store.close().await;
    let mut answered = vec![1_u64; CHILD_RUNS as usize + 1];
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "files::child_that_commits", "--ignored", "--nocapture"])
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
            if row.version > 1 {
                assert_eq!(row.run.pinned.title, format!("step {}", row.version - 1));
            }
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
