//! The journal: what each run saw, decided and did, one row for each commit, chained by hashes.
//!
//! Only `admit` and `commit` write rows. Triggers keep rows from being changed or deleted; the hash
//! chain detects changes that were made to the file directly. A row's `hash` covers the row and the
//! previous hash. The run's row in `runs` has the newest hash and the number of rows, so that
//! truncation is detected, too.

use afk_core::chain::{self, Link};
use afk_core::ids::{At, RunId};
use afk_core::run::Transition;
use afk_engine::ports::JournalRow;
use serde_json::{Value, json};
use sqlx::{SqliteConnection, SqliteExecutor};

use super::{Store, StoreError, from_json, from_micros, micros, signed, to_json};

/// How many rows of the journal are read at once.
const PAGE: u32 = 500;

/// The content of the journal row of one commit.
pub(super) struct Entry {
    /// The stable word for the kind of transition.
    kind: &'static str,
    /// The transition and its context, as JSON.
    body: String,
}

impl Entry {
    /// The row for `transition`; `context` is what was seen and planned when it happened.
    pub(super) fn new(transition: &Transition, context: &Value) -> Result<Self, StoreError> {
        let body = json!({ "transition": transition, "context": context });
        Ok(Self { kind: transition.kind(), body: to_json(&body)? })
    }
}

/// The result of [`Store::verify_journal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalReport {
    /// Every row is intact.
    Intact {
        /// The number of rows.
        rows: u64,
    },
    /// A row is not intact; this is the first such row.
    Broken {
        /// The row's number within the run, from 1.
        run_seq: u64,
        /// The row's number in the whole journal; `None` unless the fault is in the row itself.
        seq: Option<u64>,
        /// What is wrong with the row.
        fault: JournalFault,
    },
}

/// What is wrong with a row of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalFault {
    /// No row has this number within the run.
    Missing,
    /// The content does not match the hash: the row was edited.
    Edited,
    /// The previous hash in the row is not the hash of the row before it.
    Unchained,
    /// The run's row in `runs` has another last hash, or another number of rows.
    HeadDiffers,
}

/// `seq`, `run_seq`, time, kind, body, previous hash, hash.
type Row = (i64, i64, i64, String, String, String, String);

impl Store {
    /// Checks the whole chain of `run`, and reports the first row that is not intact.
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
            let rows = rows(&mut *snapshot, run, expected).await.map_err(|e| self.fault(e))?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if let Some(report) = check(run, &row, expected, &prev) {
                    return Ok(report);
                }
                prev = row.6;
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

/// The rows of `run` after row `after`, at most a page of them.
pub(super) async fn page(
    store: &Store,
    run: RunId,
    after: u64,
) -> Result<Vec<JournalRow>, StoreError> {
    let rows = rows(store.readers(), run, signed(after.saturating_add(1))).await?;
    let read = |(_, seq, at, kind, body, _, hash): Row| {
        let at = from_micros("a time in the journal", at)?;
        let body = from_json("a journal row", &body)?;
        Ok(JournalRow { seq: seq as u64, at, kind, body, hash })
    };
    rows.into_iter().map(read).collect()
}

/// Every row of `run` with its text as it was hashed, oldest first.
pub(super) async fn chain(store: &Store, run: RunId) -> Result<Vec<Link>, StoreError> {
    let mut links: Vec<Link> = Vec::new();
    loop {
        let from = links.last().map_or(1, |link| signed(link.seq) + 1);
        let rows = rows(store.readers(), run, from).await?;
        if rows.is_empty() {
            return Ok(links);
        }
        links.extend(rows.into_iter().map(|(_, seq, at, kind, body, prev_hash, hash)| Link {
            seq: seq as u64,
            at,
            kind,
            body,
            prev_hash,
            hash,
        }));
    }
}

/// A page of the journal of `run`, from row number `from` on; 1 is the first.
async fn rows<'c>(
    reader: impl SqliteExecutor<'c>,
    run: RunId,
    from: i64,
) -> Result<Vec<Row>, StoreError> {
    let rows = sqlx::query_as(
        "SELECT seq, run_seq, at, kind, body_json, prev_hash, hash FROM journal \
         WHERE run = ? AND run_seq >= ? ORDER BY run_seq LIMIT ?",
    )
    .bind(run.to_string())
    .bind(from)
    .bind(PAGE)
    .fetch_all(reader)
    .await?;
    Ok(rows)
}

/// Writes row number `run_seq` of `run` and returns its hash.
pub(super) async fn append(
    tx: &mut SqliteConnection,
    run: &str,
    run_seq: i64,
    at: At,
    entry: &Entry,
    prev_hash: &str,
) -> Result<String, StoreError> {
    let hash = chain::hash(run, run_seq as u64, micros(at), entry.kind, &entry.body, prev_hash);
    sqlx::query(
        "INSERT INTO journal (run, run_seq, at, kind, body_json, prev_hash, hash) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(run)
    .bind(run_seq)
    .bind(micros(at))
    .bind(entry.kind)
    .bind(&entry.body)
    .bind(prev_hash)
    .bind(&hash)
    .execute(tx)
    .await?;
    Ok(hash)
}

fn check(run: RunId, row: &Row, expected: i64, prev: &str) -> Option<JournalReport> {
    let (seq, run_seq, at, kind, body, prev_hash, hash) = row;
    let told = chain::hash(&run.to_string(), *run_seq as u64, *at, kind, body, prev_hash);
    let broken = |fault, seq| Some(JournalReport::Broken { run_seq: expected as u64, seq, fault });
    if *run_seq != expected {
        broken(JournalFault::Missing, None)
    } else if told != *hash {
        broken(JournalFault::Edited, Some(*seq as u64))
    } else if prev_hash != prev {
        broken(JournalFault::Unchained, Some(*seq as u64))
    } else {
        None
    }
}
