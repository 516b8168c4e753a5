//! What the tests of the store share: a folder, runs, changes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use afk_core::ids::{IssueRef, RunId};
use afk_store::{Admission, Caps, Commit, JournalEntry, NewRun, NewSend, Refusal, Store};
use jiff::Timestamp;
use jiff::civil::{Date, date};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

pub(crate) const DAY: Date = date(2026, 3, 1);
pub(crate) const FREE: Caps = Caps { max_live: 1000, repo_day: None, all_day: None };

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_770_000_000 + second).unwrap()
}

pub(crate) fn run_id(n: u128) -> RunId {
    RunId::new(Uuid::from_u128(n))
}

pub(crate) fn new_run(n: u128, issue: &str) -> NewRun {
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

pub(crate) fn change(n: u128, expected_version: u64) -> Commit {
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

pub(crate) async fn admit(store: &Store, n: u128, issue: &str, caps: Caps) -> Admission<Refusal> {
    store.admit(new_run(n, issue), move |facts| caps.check(facts)).await.unwrap()
}

pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("afk.db")
    }
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.file()).await.unwrap()
    }
    /// Somebody else with the file in hand.
    pub(crate) async fn raw(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.file());
        SqliteConnection::connect_with(&options).await.unwrap()
    }
}

pub(crate) async fn sql(
    connection: &mut SqliteConnection,
    text: &'static str,
) -> Result<(), String> {
    sqlx::raw_sql(text).execute(connection).await.map(|_| ()).map_err(|e| e.to_string())
}

pub(crate) fn send(id: &str) -> NewSend {
    NewSend {
        id: id.into(),
        kind: "doorbell".into(),
        body: r#"{"title":"done"}"#.into(),
        not_before: at(5),
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
