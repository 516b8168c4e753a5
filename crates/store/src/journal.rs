//! The journal: what each run saw, decided and did, one row a commit, chained.
//!
//! Rows are written by `admit` and `commit` only. Triggers keep them from being
//! changed or deleted; the chain names what was changed all the same, by somebody
//! with the file in hand. `hash` covers the row and the hash before it, and the
//! run's own row keeps the newest hash and the count, so that a cut tail shows too.

use afk_core::chain;
use afk_core::ids::RunId;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::{Store, StoreError, from_micros, micros, parse, signed};

/// What one commit says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Which kind of step: a stable word.
    pub kind: String,
    /// Everything else, as JSON.
    pub body: String,
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRow {
    /// Its place among all rows of the store.
    pub seq: u64,
    /// Whose.
    pub run: RunId,
    /// Its place in the run, from 1; equal to the run's version after it.
    pub run_seq: u64,
    /// When, to the microsecond.
    pub at: Timestamp,
    /// Which kind of step.
    pub kind: String,
    /// The rest, as JSON.
    pub body: String,
    /// The hash of the row before, empty for the first.
    pub prev_hash: String,
    /// SHA-256 over this row and `prev_hash`, in hex.
    pub hash: String,
}

/// What [`Store::verify_journal`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalReport {
    /// Every row is what was written.
    Intact {
        /// How many there are.
        rows: u64,
    },
    /// The first row that is not.
    Broken {
        /// The place in the run, from 1.
        run_seq: u64,
        /// The row's `seq` in the store; `None` where the row is gone.
        seq: Option<u64>,
        /// What is wrong with it.
        fault: JournalFault,
    },
}

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalFault {
    /// It is missing: another, or none, is in its place.
    Missing,
    /// Its content does not give its hash: it was edited.
    Edited,
    /// It does not follow on the row before it.
    Unchained,
    /// The run's own row names another last hash.
    HeadDiffers,
}

type Row = (i64, String, i64, i64, String, String, String, String);

impl Store {
    /// The rows of `run` from place `from` (1 is the first) on, at most `limit`.
    pub async fn journal(
        &self,
        run: RunId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<JournalRow>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT seq, run, run_seq, at, kind, body_json, prev_hash, hash FROM journal \
             WHERE run = ? AND run_seq >= ? ORDER BY run_seq LIMIT ?",
        )
        .bind(run.to_string())
        .bind(signed(from))
        .bind(limit)
        .fetch_all(self.readers())
        .await
        .map_err(|e| self.fault(e))?;
        rows.into_iter().map(|row| decode(row).map_err(|e| self.fault(e))).collect()
    }

    /// Checks the whole chain of `run` and names the first row that is torn,
    /// edited or gone.
    pub async fn verify_journal(&self, run: RunId) -> Result<JournalReport, StoreError> {
        let mut snapshot = self.readers().begin().await.map_err(|e| self.fault(e))?;
        let head: Option<(i64, String)> =
            sqlx::query_as("SELECT version, journal_hash FROM runs WHERE id = ?")
                .bind(run.to_string())
                .fetch_optional(&mut *snapshot)
                .await
                .map_err(|e| self.fault(e))?;
        let (version, head) =
            head.ok_or_else(|| self.fault(StoreError::not_found(format_args!("run {run}"))))?;
        let mut expected = 1_i64;
        let mut prev = String::new();
        loop {
            let rows: Vec<Row> = sqlx::query_as(
                "SELECT seq, run, run_seq, at, kind, body_json, prev_hash, hash FROM journal \
                 WHERE run = ? AND run_seq >= ? ORDER BY run_seq LIMIT 500",
            )
            .bind(run.to_string())
            .bind(expected)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(|e| self.fault(e))?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if let Some(report) = check(&row, expected, &prev) {
                    return Ok(report);
                }
                prev = row.7;
                expected += 1;
            }
        }
        let rows = (expected - 1) as u64;
        Ok(if rows < version as u64 {
            JournalReport::Broken { run_seq: rows + 1, seq: None, fault: JournalFault::Missing }
        } else if prev != head || rows != version as u64 {
            JournalReport::Broken { run_seq: rows, seq: None, fault: JournalFault::HeadDiffers }
        } else {
            JournalReport::Intact { rows }
        })
    }
}

/// Writes the row at place `run_seq` and answers with its hash.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    run: &str,
    run_seq: i64,
    at: Timestamp,
    entry: &JournalEntry,
    prev_hash: &str,
) -> Result<String, StoreError> {
    let (kind, body) = (&entry.kind, &entry.body);
    let hash = chain::hash(run, run_seq as u64, micros(at), kind, body, prev_hash);
    sqlx::query(
        "INSERT INTO journal (run, run_seq, at, kind, body_json, prev_hash, hash) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(run)
    .bind(run_seq)
    .bind(micros(at))
    .bind(&entry.kind)
    .bind(&entry.body)
    .bind(prev_hash)
    .bind(&hash)
    .execute(connection)
    .await?;
    Ok(hash)
}

fn check(row: &Row, expected: i64, prev: &str) -> Option<JournalReport> {
    let (seq, run, run_seq, at, kind, body, prev_hash, hash) = row;
    let broken = |fault, seq| Some(JournalReport::Broken { run_seq: expected as u64, seq, fault });
    if *run_seq != expected {
        broken(JournalFault::Missing, None)
    } else if chain::hash(run, *run_seq as u64, *at, kind, body, prev_hash) != *hash {
        broken(JournalFault::Edited, Some(*seq as u64))
    } else if prev_hash != prev {
        broken(JournalFault::Unchained, Some(*seq as u64))
    } else {
        None
    }
}

fn decode(row: Row) -> Result<JournalRow, StoreError> {
    let (seq, run, run_seq, at, kind, body, prev_hash, hash) = row;
    Ok(JournalRow {
        seq: seq as u64,
        run: parse("a run id in the journal", &run)?,
        run_seq: run_seq as u64,
        at: from_micros("a time in the journal", at)?,
        kind,
        body,
        prev_hash,
        hash,
    })
}
