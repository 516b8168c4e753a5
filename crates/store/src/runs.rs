//! Runs: one row each, changed by compare-and-swap, with one journal row a change.
//!
//! `commit` writes the new state, the journal row, the sends and the ledger
//! entries in one transaction, or nothing. Admission is in [`super::admit`].

use afk_core::ids::{IssueRef, RepoName, RunId};
use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite};

use super::error::StoreErrorKind;
use super::{
    Fence, JournalEntry, LedgerEntry, NewSend, Store, StoreError, SwitchName, check_document,
    from_micros, journal, leases, ledger, micros, outbox, parse, signed, switches,
};

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its id.
    pub run: RunId,
    /// What it is to land.
    pub issue: IssueRef,
    /// Whether it holds its repo.
    pub live: bool,
    /// Its version, from 1; counts its journal rows.
    pub version: u64,
    /// Its state, as JSON.
    pub state: String,
    /// What it may still spend, in micro-dollars.
    pub reserved: u64,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// Which runs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only those of this repo.
    pub repo: Option<RepoName>,
    /// Only those of this issue number.
    pub number: Option<u64>,
    /// Only live ones, or only those that are over.
    pub live: Option<bool>,
    /// Only those admitted before this time: the next page.
    pub before: Option<Timestamp>,
}

/// A change of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Which run.
    pub run: RunId,
    /// The version that the change was planned on.
    pub expected_version: u64,
    /// The new state, as JSON.
    pub state: String,
    /// Whether it holds its repo from now on; once false, never true again.
    pub live: bool,
    /// What it may still spend, in micro-dollars.
    pub reserved: u64,
    /// When.
    pub at: Timestamp,
    /// The one journal row.
    pub journal: JournalEntry,
    /// What is to be sent because of it.
    pub sends: Vec<NewSend>,
    /// What was learned about its spend.
    pub ledger: Vec<LedgerEntry>,
    /// The lease that the caller works under.
    pub fence: Option<Fence>,
    /// Freezes the run's repo in the same transaction.
    pub freeze: Option<FreezeRepo>,
}

/// A freeze that a run's outcome causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeRepo {
    /// By whom: the run.
    pub by: String,
    /// Why, and what else belongs to it, as JSON.
    pub value: String,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is durable.
    Committed {
        /// The run's version now.
        version: u64,
    },
    /// Somebody else changed the run first; nothing was written.
    Conflict {
        /// The version it has.
        actual: u64,
    },
    /// The caller lost its lease; nothing was written.
    Fenced {
        /// The generation that is in force.
        generation: u64,
    },
}

impl Store {
    /// Changes one run, if it still has the expected version and the lease is held.
    pub async fn commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        check(&commit).map_err(|e| self.fault(e))?;
        self.write(move |tx| Box::pin(async move { apply(tx, &commit).await })).await
    }

    /// One run.
    pub async fn load(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, repo, issue_number, live, version, state_json, reserved_micro_usd, \
             admitted_at, updated_at FROM runs WHERE id = ?",
        )
        .bind(run.to_string())
        .fetch_optional(self.readers())
        .await
        .map_err(|e| self.fault(e))?;
        row.map(decode).transpose().map_err(|e| self.fault(e))
    }

    /// All live runs, oldest first.
    pub async fn live_runs(&self) -> Result<Vec<RunRow>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, repo, issue_number, live, version, state_json, reserved_micro_usd, \
             admitted_at, updated_at FROM runs WHERE live = 1 ORDER BY admitted_at, id",
        )
        .fetch_all(self.readers())
        .await
        .map_err(|e| self.fault(e))?;
        rows.into_iter().map(|row| decode(row).map_err(|e| self.fault(e))).collect()
    }

    /// The runs whose id begins so, newest first, at most so many.
    pub async fn runs_beginning(&self, prefix: &str, limit: u32) -> Result<Vec<RunId>, StoreError> {
        // Letters and digits sort before `~`, so that the index on ids finds them.
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM runs WHERE id >= ?1 AND id < ?1 || '~' \
                                ORDER BY id DESC LIMIT ?2",
        )
        .bind(prefix)
        .bind(limit)
        .fetch_all(self.readers())
        .await
        .map_err(|e| self.fault(e))?;
        ids.iter().map(|id| parse("the id of a run", id).map_err(|e| self.fault(e))).collect()
    }

    /// The runs that match, newest first.
    pub async fn runs(&self, filter: &RunFilter, limit: u32) -> Result<Vec<RunRow>, StoreError> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
            "SELECT id, repo, issue_number, live, version, state_json, reserved_micro_usd, \
             admitted_at, updated_at FROM runs WHERE 1 = 1",
        );
        if let Some(repo) = &filter.repo {
            query.push(" AND repo = ").push_bind(repo.to_string());
        }
        if let Some(number) = filter.number {
            query.push(" AND issue_number = ").push_bind(signed(number));
        }
        if let Some(live) = filter.live {
            query.push(" AND live = ").push_bind(i64::from(live));
        }
        if let Some(before) = filter.before {
            query.push(" AND admitted_at < ").push_bind(micros(before));
        }
        query.push(" ORDER BY admitted_at DESC, id DESC LIMIT ").push_bind(limit);
        let rows: Vec<Row> =
            query.build_query_as().fetch_all(self.readers()).await.map_err(|e| self.fault(e))?;
        rows.into_iter().map(|row| decode(row).map_err(|e| self.fault(e))).collect()
    }
}

fn check(commit: &Commit) -> Result<(), StoreError> {
    check_document("the state of a run", &commit.state)?;
    check_document("the body of a journal row", &commit.journal.body)?;
    outbox::check(&commit.sends)?;
    ledger::check(&commit.ledger)
}

async fn apply(
    tx: &mut sqlx::SqliteConnection,
    commit: &Commit,
) -> Result<CommitOutcome, StoreError> {
    if let Some(fence) = &commit.fence
        && let Some(generation) = leases::fenced_off(tx, fence).await?
    {
        return Ok(CommitOutcome::Fenced { generation });
    }
    let run = commit.run.to_string();
    let found: Option<(i64, i64, String, String)> =
        sqlx::query_as("SELECT version, live, journal_hash, repo FROM runs WHERE id = ?")
            .bind(&run)
            .fetch_optional(&mut *tx)
            .await?;
    let (version, live, prev_hash, repo) =
        found.ok_or_else(|| StoreError::not_found(format_args!("run {run}")))?;
    if version as u64 != commit.expected_version {
        return Ok(CommitOutcome::Conflict { actual: version as u64 });
    }
    if commit.live && live == 0 {
        return Err(StoreError::new(StoreErrorKind::Finished(run)));
    }
    let next = version + 1;
    let hash = journal::append(tx, &run, next, commit.at, &commit.journal, &prev_hash).await?;
    sqlx::query(
        "UPDATE runs SET version = ?, live = ?, state_json = ?, reserved_micro_usd = ?, \
         journal_hash = ?, updated_at = ? WHERE id = ?",
    )
    .bind(next)
    .bind(i64::from(commit.live))
    .bind(&commit.state)
    .bind(signed(commit.reserved))
    .bind(hash)
    .bind(micros(commit.at))
    .bind(&run)
    .execute(&mut *tx)
    .await?;
    outbox::enqueue(tx, &run, &commit.sends).await?;
    ledger::record(tx, &run, &repo, &commit.ledger).await?;
    if let Some(freeze) = &commit.freeze {
        let name = SwitchName::Freeze(super::parse("the repo of a run", &repo)?);
        switches::set(tx, &name, true, &freeze.value, &freeze.by, commit.at).await?;
    }
    Ok(CommitOutcome::Committed { version: next as u64 })
}

type Row = (String, String, i64, i64, i64, String, i64, i64, i64);

fn decode(row: Row) -> Result<RunRow, StoreError> {
    let (run, repo, number, live, version, state, reserved, admitted_at, updated_at) = row;
    Ok(RunRow {
        run: parse("the id of a run", &run)?,
        issue: IssueRef { repo: parse("the repo of a run", &repo)?, number: number as u64 },
        live: live != 0,
        version: version as u64,
        state,
        reserved: reserved as u64,
        admitted_at: from_micros("the admission of a run", admitted_at)?,
        updated_at: from_micros("the change of a run", updated_at)?,
    })
}
