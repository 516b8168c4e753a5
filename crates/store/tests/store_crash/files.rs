//! The files of a store as a dead process leaves them: the database, and its write-ahead log, which
//! has the commits that are not in the database yet.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use afk_store::Store;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::OnceCell;

/// Size of the header of a log, before its first frame.
const LOG_HEADER: usize = 32;
/// Size of the header of a frame, before its page.
const FRAME_HEADER: usize = 24;
const PAGE: usize = 4096;

/// A database and its log. The index of the log is left out: the first process to open the store
/// makes a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Files {
    /// An empty store, as one that was opened and closed leaves it.
    pub(crate) async fn fresh() -> Self {
        static FRESH: OnceCell<Files> = OnceCell::const_new();
        let make = || async {
            let dir = folder();
            let path = dir.path().join("afk.db");
            Store::open(&path).await.unwrap().close().await;
            Self::of(&path)
        };
        FRESH.get_or_init(make).await.clone()
    }

    /// Writes the files of a store at `path`.
    pub(crate) fn put(&self, path: &Path) {
        fs::write(path, &self.database).unwrap();
        fs::write(log_path(path), &self.log).unwrap();
    }

    /// The database after SQLite has written every whole commit of the log into it.
    pub(crate) async fn folded(&self) -> Vec<u8> {
        let dir = folder();
        let path = dir.path().join("afk.db");
        self.put(&path);
        let mut raw = open(&path).await;
        let (busy, ..): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut raw).await.unwrap();
        assert_eq!(busy, 0);
        raw.close().await.unwrap();
        fs::read(&path).unwrap()
    }

    /// What SQLite's integrity check finds wrong with the files; `ok` if nothing.
    pub(crate) async fn checked(&self) -> String {
        let dir = folder();
        let path = dir.path().join("afk.db");
        self.put(&path);
        let mut raw = open(&path).await;
        let check = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut raw).await.unwrap();
        raw.close().await.unwrap();
        check
    }

    /// The files of the store at `path`, which no process has open any more.
    pub(crate) fn of(path: &Path) -> Self {
        Self { database: fs::read(path).unwrap(), log: log(path) }
    }

    /// The same database with this log.
    pub(crate) fn with(&self, log: &[u8]) -> Self {
        Self { database: self.database.clone(), log: log.to_vec() }
    }
}

/// Places at which a write of so many bytes is cut off: in the first header, right after it, in the
/// first page, after that, in the middle, before the last page, before the last byte.
pub(crate) fn cuts(written: usize) -> Vec<usize> {
    let cuts = [
        1,
        FRAME_HEADER - 1,
        FRAME_HEADER,
        FRAME_HEADER + PAGE / 2,
        FRAME_HEADER + PAGE,
        written / 2,
        written.saturating_sub(PAGE),
        written - 1,
    ];
    let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| (1..written).contains(cut)).collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// How many transactions end in `log` from byte `from` on.
pub(crate) fn commits(log: &[u8], from: usize) -> usize {
    let frames = log[from.max(LOG_HEADER)..].chunks(FRAME_HEADER + PAGE);
    // The size of the database, which only the last frame of a transaction has.
    frames.filter(|frame| frame[4..8] != [0; 4]).count()
}

/// The log of the store at `path`.
pub(crate) fn log(path: &Path) -> Vec<u8> {
    match fs::read(log_path(path)) {
        Ok(log) => log,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// A folder for a store.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("afk-store-crash-").tempdir().unwrap()
}

/// A plain connection to files that no process has open any more.
async fn open(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).synchronous(SqliteSynchronous::Off);
    SqliteConnection::connect_with(&options).await.unwrap()
}

fn log_path(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}
