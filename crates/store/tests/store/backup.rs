//! Backups are whole, private, and each of one moment.

use afk_engine::ports::Store as _;
use afk_store::*;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use crate::support::*;

#[tokio::test]
async fn a_backup_is_whole_private_and_never_written_over_a_file() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    let target = home.dir.path().join("copy.db");
    let bytes = store.backup(&target, false).await.unwrap();
    assert_eq!((mode(&target), bytes), (0o600, target.metadata().unwrap().len()));
    let refused = store.backup(&target, false).await.unwrap_err().to_string();
    for said in [
        "afk.db was not copied to",
        "copy.db: the file exists already",
        "left unchanged",
        "--force",
    ] {
        assert!(refused.contains(said), "{said}: {refused}");
    }
    let folder = store.backup(home.dir.path(), false).await.unwrap_err().to_string();
    assert!(folder.contains("that is a folder; name a file in it"), "{folder}");
    let nowhere = store.backup(&home.dir.path().join("no/copy.db"), false).await.unwrap_err();
    assert!(
        nowhere.to_string().ends_with("no/copy.db: its folder does not exist; create it first")
    );
    admit(&store, 2, "o/b#1", &free()).await;
    store.backup(&target, true).await.unwrap();
    for name in ["afk.db", "afk.db-wal", "afk.db.lock"] {
        let own = home.dir.path().join(name);
        let error = store.backup(&own, true).await.unwrap_err().to_string();
        assert!(error.contains("a file of the store itself"), "{error}");
    }
    let left = std::fs::read_dir(home.dir.path()).unwrap().flatten();
    let parts = left.filter(|e| e.file_name().to_string_lossy().starts_with(".afk-backup"));
    assert_eq!(parts.count(), 0);
    let copy = Store::open(&target).await.unwrap();
    assert!(copy.load(run_id(2)).await.unwrap().is_some(), "the newer one");
    let report = copy.verify_journal(run_id(1)).await.unwrap();
    assert_eq!(report, JournalReport::Intact { rows: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_beside_a_writer_are_each_one_moment_of_the_store() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, done) = (store.clone(), done.clone());
        async move {
            let mut version = 1;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                store.commit(change(1, version).await).await.unwrap();
                version += 1;
            }
            version
        }
    });
    let mut seen = Vec::new();
    for n in 0..5 {
        let target = home.dir.path().join(format!("copy-{n}.db"));
        store.backup(&target, false).await.unwrap();
        let options = SqliteConnectOptions::new().filename(&target).read_only(true);
        let mut raw = SqliteConnection::connect_with(&options).await.unwrap();
        let check: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut raw).await.unwrap();
        assert_eq!(check, "ok");
        raw.close().await.unwrap();
        let copy = Store::open(&target).await.unwrap();
        let version = copy.load(run_id(1)).await.unwrap().unwrap().version;
        let report = copy.verify_journal(run_id(1)).await.unwrap();
        assert_eq!(report, JournalReport::Intact { rows: version });
        seen.push(version);
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let written = writer.await.unwrap();
    assert!(seen.is_sorted() && seen[0] < written, "{seen:?} of {written}");
    println!("5 backups beside a writer, at versions {seen:?} of {written}");
}
