//! The spend ledger: what each turn cost, keyed by what produced the number.
//!
//! An entry is written with the transition that learned it, and again with a
//! better number: an estimate is replaced by what was charged, never added to it.
//! What a live run may still spend is its reservation, kept with the run.

use afk_core::ids::{RepoName, RunId};
use jiff::civil::Date;
use sqlx::SqliteConnection;

use super::{Store, StoreError, check_document, signed};

/// The cost of one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The executor's session.
    pub session: String,
    /// The process of that session.
    pub process: String,
    /// The turn within it.
    pub turn: String,
    /// The day that it counts for.
    pub day: Date,
    /// What it cost, in micro-dollars.
    pub micro_usd: u64,
    /// Priced from what was streamed, since no result came.
    pub estimated: bool,
    /// The raw counters and the executor's version, as JSON.
    pub body: String,
}

/// A sum over the ledger, and what live runs may still add to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spend {
    /// Charged, in micro-dollars.
    pub spent: u64,
    /// Reserved by live runs, in micro-dollars.
    pub reserved: u64,
}

impl Spend {
    /// Both together.
    pub fn total(self) -> u64 {
        self.spent.saturating_add(self.reserved)
    }
}

impl Store {
    /// What was spent on `day` and is reserved now, on one repo or on all.
    pub async fn spend_today(
        &self,
        repo: Option<&RepoName>,
        day: Date,
    ) -> Result<Spend, StoreError> {
        let mut connection = self.readers().acquire().await.map_err(|e| self.fault(e))?;
        read(&mut connection, repo, day).await.map_err(|e| self.fault(e))
    }

    /// What was spent on `day` and is reserved now, by each repo that did either.
    pub async fn spend_by_repo(&self, day: Date) -> Result<Vec<(RepoName, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT repo, sum(micro_usd) FROM (SELECT repo, micro_usd FROM ledger WHERE day = ? \
             UNION ALL SELECT repo, reserved_micro_usd FROM runs WHERE live = 1) GROUP BY repo",
        )
        .bind(day.to_string())
        .fetch_all(self.readers())
        .await
        .map_err(|e| self.fault(e))?;
        let decoded = rows.into_iter().map(|(repo, sum)| {
            Ok((super::parse("the repo of a spend", &repo)?, sum.cast_unsigned()))
        });
        decoded.collect::<Result<_, StoreError>>().map_err(|e| self.fault(e))
    }

    /// What `run` has spent so far.
    pub async fn spend_of_run(&self, run: RunId) -> Result<u64, StoreError> {
        let spent: i64 =
            sqlx::query_scalar("SELECT coalesce(sum(micro_usd), 0) FROM ledger WHERE run = ?")
                .bind(run.to_string())
                .fetch_one(self.readers())
                .await
                .map_err(|e| self.fault(e))?;
        Ok(spent as u64)
    }
}

/// What was spent on a day, and what live runs may still spend: each by its own index.
const OF_ALL: &str = "SELECT (SELECT coalesce(sum(micro_usd), 0) FROM ledger WHERE day = ?), \
     (SELECT coalesce(sum(reserved_micro_usd), 0) FROM runs WHERE live = 1)";
const OF_REPO: &str = "SELECT \
     (SELECT coalesce(sum(micro_usd), 0) FROM ledger WHERE day = ?1 AND repo = ?2), \
     (SELECT coalesce(sum(reserved_micro_usd), 0) FROM runs WHERE live = 1 AND repo = ?2)";

pub(super) async fn read(
    connection: &mut SqliteConnection,
    repo: Option<&RepoName>,
    day: Date,
) -> Result<Spend, StoreError> {
    let query = match repo {
        Some(repo) => sqlx::query_as(OF_REPO).bind(day.to_string()).bind(repo.to_string()),
        None => sqlx::query_as(OF_ALL).bind(day.to_string()),
    };
    let (spent, reserved): (i64, i64) = query.fetch_one(connection).await?;
    Ok(Spend { spent: spent as u64, reserved: reserved as u64 })
}

pub(super) async fn record(
    connection: &mut SqliteConnection,
    run: &str,
    repo: &str,
    entries: &[LedgerEntry],
) -> Result<(), StoreError> {
    for entry in entries {
        // A number that was charged is not put back to an estimate by a late pass.
        sqlx::query(
            "INSERT INTO ledger (session, process, turn, run, repo, day, micro_usd, estimated, \
             body_json) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
             ON CONFLICT (session, process, turn) DO UPDATE SET micro_usd = ?7, estimated = ?8, \
             body_json = ?9 WHERE estimated = 1 OR ?8 = 0",
        )
        .bind(&entry.session)
        .bind(&entry.process)
        .bind(&entry.turn)
        .bind(run)
        .bind(repo)
        .bind(entry.day.to_string())
        .bind(signed(entry.micro_usd))
        .bind(i64::from(entry.estimated))
        .bind(&entry.body)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

pub(super) fn check(entries: &[LedgerEntry]) -> Result<(), StoreError> {
    entries.iter().try_for_each(|entry| check_document("a ledger entry", &entry.body))
}
