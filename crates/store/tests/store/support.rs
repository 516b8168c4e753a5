//! What the tests of the store share: a folder, runs, changes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::ids::RunId;
use afk_core::run::{Run, Transition};
use afk_core::usd::Usd;
use afk_engine::ports::{Admission, AdmitLimits, Commit, DayCaps, DoorbellSend, Store as _};
use afk_sim::story::{Story, good_work};
use afk_store::{OpenOptions, Store};
use jiff::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_770_000_000 + second).unwrap()
}

pub(crate) fn run_id(n: u128) -> RunId {
    RunId::new(Uuid::from_u128(n))
}

/// Limits that refuse nothing.
pub(crate) fn free() -> AdmitLimits {
    AdmitLimits { max_at_work: 1000, caps: DayCaps { repo: None, all: None, start: at(0) } }
}

/// Limits of which only the caps of the day bind: of one repo, and of all.
pub(crate) fn capped(repo: Option<Usd>, all: Option<Usd>) -> AdmitLimits {
    AdmitLimits { caps: DayCaps { repo, all, start: at(0) }, ..free() }
}

/// A run as it is admitted, with a budget of a dollar.
pub(crate) async fn run(n: u128, issue: &str) -> Run {
    static ADMITTED: OnceCell<Run> = OnceCell::const_new();
    let admitted = ADMITTED.get_or_init(|| async {
        let story = Story::new().with_issue(vec![good_work()]);
        story.until("admitted", |world| !world.store.all().is_empty()).await;
        story.run()
    });
    let (id, issue, budget) = (run_id(n), issue.parse().unwrap(), Usd::micros(1_000_000));
    Run { id, issue, budget, ..admitted.await.clone() }
}

/// A commit from this version to the next; the run's title names the version.
pub(crate) async fn change(n: u128, expected: u64) -> Commit {
    let mut run = run(n, "o/a#1").await;
    run.pinned.title = format!("step {expected}");
    let step = Transition::Away { from: at(0), to: at(1) };
    Commit::new(run, expected, 0, step, at(1))
}

/// The same commit, but it settles the run.
pub(crate) async fn end(n: u128, expected: u64) -> Commit {
    let mut commit = change(n, expected).await;
    commit.run.settled_at = Some(at(1));
    commit
}

pub(crate) async fn admit(store: &Store, n: u128, issue: &str, limits: &AdmitLimits) -> Admission {
    store.admit(&run(n, issue).await, limits, at(0)).await.unwrap()
}

/// The `nth` send of run `n` to the doorbell `terminal`.
pub(crate) fn bell(n: u128, nth: u32) -> DoorbellSend {
    bell_of("terminal", n, nth)
}

/// The `nth` send of run `n` to the doorbell called `name`.
pub(crate) fn bell_of(name: &str, n: u128, nth: u32) -> DoorbellSend {
    let issue = "o/a#1".parse().unwrap();
    let doorbell = Doorbell::new(&Ring {
        run: run_id(n),
        issue: &issue,
        kind: DoorbellKind::Frozen,
        reason: None,
        detail: "red",
        link: None,
        nth,
    });
    DoorbellSend { name: name.to_owned(), doorbell }
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
    /// Opens the store with this [`OpenOptions::is_dead`].
    pub(crate) async fn open_with(&self, is_dead: fn(&str) -> bool) -> Store {
        let options = OpenOptions { is_dead, ..OpenOptions::default() };
        options.open(&self.file()).await.unwrap()
    }
    /// A connection of another program to the file.
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

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
