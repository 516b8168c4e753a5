//! Runs: one row each, changed by compare-and-swap, with one journal row for each change.
//!
//! A commit writes the new record, the journal row, the sends, the cost of turns and a freeze in
//! one transaction, or none of it. Admission is in [`super::admit`].

use afk_core::ids::{At, IssueRef, RunId};
use afk_core::usd::Usd;
use afk_engine::ports::{AdmitLimits, Commit, Committed, Filter, LiveRun, StoredRun, Switch};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::error::StoreErrorKind;
use super::{
    Store, StoreError, admit, freezes, from_json, journal, leases, ledger, micros, outbox, parse,
    signed, switches, to_json,
};

/// How many runs are listed by default.
const LISTED: u32 = 100;

impl Store {
    /// Returns the ids of the runs whose id begins with `prefix`, newest first, at most `limit`.
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
}

/// One run.
pub(super) async fn load(store: &Store, run: RunId) -> Result<Option<StoredRun>, StoreError> {
    let row: Option<Row> = sqlx::query_as("SELECT id, version, state_json FROM runs WHERE id = ?")
        .bind(run.to_string())
        .fetch_optional(store.readers())
        .await?;
    row.map(decode).transpose()
}

/// All live runs, oldest first.
pub(super) async fn live(store: &Store) -> Result<Vec<StoredRun>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, version, state_json FROM runs WHERE live = 1 ORDER BY admitted_at, id",
    )
    .fetch_all(store.readers())
    .await?;
    rows.into_iter().map(decode).collect()
}

/// The live runs without their records, oldest first.
pub(super) async fn live_names(store: &Store) -> Result<Vec<LiveRun>, StoreError> {
    let rows: Vec<(String, String, i64, bool)> = sqlx::query_as(
        "SELECT id, repo, issue_number, locks FROM runs WHERE live = 1 ORDER BY admitted_at, id",
    )
    .fetch_all(store.readers())
    .await?;
    let decode = |(id, repo, number, holds_lock): (String, String, i64, bool)| {
        let repo = parse("the repo of a run", &repo)?;
        let issue = IssueRef { repo, number: number.unsigned_abs() };
        Ok(LiveRun { run: parse("the id of a run", &id)?, issue, holds_lock })
    };
    rows.into_iter().map(decode).collect()
}

/// The runs that match, newest first.
pub(super) async fn list(store: &Store, filter: &Filter) -> Result<Vec<StoredRun>, StoreError> {
    let mut query: QueryBuilder<Sqlite> =
        QueryBuilder::new("SELECT id, version, state_json FROM runs r WHERE 1 = 1");
    if let Some(repo) = &filter.repo {
        query.push(" AND repo = ").push_bind(repo.to_string());
    }
    if let Some(number) = filter.issue {
        query.push(" AND issue_number = ").push_bind(signed(number));
    }
    if filter.handed_back {
        query.push(
            " AND handed_back = 1 AND NOT EXISTS (SELECT 1 FROM runs later WHERE \
             later.repo = r.repo AND later.issue_number = r.issue_number \
             AND (later.admitted_at, later.id) > (r.admitted_at, r.id))",
        );
    }
    let limit = if filter.limit == 0 { LISTED } else { filter.limit };
    query.push(" ORDER BY admitted_at DESC, id DESC LIMIT ").push_bind(limit);
    let rows: Vec<Row> = query.build_query_as().fetch_all(store.readers()).await?;
    rows.into_iter().map(decode).collect()
}

/// A commit, in the form in which it is written.
struct Change {
    id: String,
    expected: u64,
    fence: leases::Fence,
    state: String,
    live: bool,
    /// Whether the run has the repo's lock afterwards, and whether it waits for it.
    locks: bool,
    waits: bool,
    handed_back: bool,
    reserved: Usd,
    at: At,
    entry: journal::Entry,
    sends: Vec<outbox::Send>,
    charges: Vec<ledger::Charged>,
    /// The value of the row of the freeze that it causes, if it causes one.
    freeze: Option<String>,
    limits: Option<AdmitLimits>,
}

/// Changes one run, if it still has the expected version, its lease is held, and the caps of the
/// day have room.
pub(super) async fn commit(store: &Store, commit: Commit) -> Result<Committed, StoreError> {
    let Commit { run, expected, generation, transition, context, at, sends, freeze, limits } =
        commit;
    let change = Change {
        id: run.id.to_string(),
        expected,
        fence: leases::Fence { key: format!("run:{}", run.id), generation },
        state: to_json(&run)?,
        live: run.settled_at.is_none(),
        locks: run.holds_lock(),
        waits: run.wants_lock(),
        handed_back: run.conclusion.as_ref().is_some_and(|end| end.end.is_handed_over()),
        reserved: run.reserved(),
        at,
        entry: journal::Entry::new(&transition, &context)?,
        sends: sends.iter().map(|bell| outbox::Send::new(bell, at)).collect::<Result<_, _>>()?,
        charges: ledger::charged(&run.ledger())?,
        freeze: freeze.map(|why| freezes::by_run(run.id, why, at)).transpose()?,
        limits,
    };
    store.write(move |tx| Box::pin(async move { apply(tx, &change).await })).await
}

async fn apply(tx: &mut SqliteConnection, change: &Change) -> Result<Committed, StoreError> {
    if !leases::is_in_force(tx, &change.fence).await? {
        return Ok(Committed::Fenced);
    }
    let id = &change.id;
    let found: Option<(i64, i64, bool, String, String, i64)> = sqlx::query_as(
        "SELECT version, live, locks, journal_hash, repo, reserved_micro_usd FROM runs \
         WHERE id = ?",
    )
    .bind(id)
    .fetch_optional(&mut *tx)
    .await?;
    let (version, live, locks, prev_hash, repo, reserved) =
        found.ok_or_else(|| StoreError::not_found(format_args!("run {id}")))?;
    if version as u64 != change.expected {
        return Ok(Committed::Conflict);
    }
    if change.live && live == 0 {
        return Err(StoreError::new(StoreErrorKind::Finished(id.clone())));
    }
    let takes = change.locks && !locks;
    let more = change.reserved.saturating_sub(Usd::micros(reserved.unsigned_abs()));
    if let Some(why) = admit::refuses(tx, &repo, takes, more, change.limits.as_ref()).await? {
        return Ok(Committed::Refused(why));
    }
    let next = version + 1;
    let hash = journal::append(tx, id, next, change.at, &change.entry, &prev_hash).await?;
    sqlx::query(
        "UPDATE runs SET version = ?, live = ?, locks = ?, waits = ?, handed_back = ?, state_json = ?, \
         reserved_micro_usd = ?, journal_hash = ?, updated_at = ? WHERE id = ?",
    )
    .bind(next)
    .bind(i64::from(change.live))
    .bind(i64::from(change.locks))
    .bind(i64::from(change.waits))
    .bind(i64::from(change.handed_back))
    .bind(&change.state)
    .bind(signed(change.reserved.as_micros()))
    .bind(hash)
    .bind(micros(change.at))
    .bind(id)
    .execute(&mut *tx)
    .await?;
    outbox::enqueue(tx, Some(id), &change.sends).await?;
    ledger::record(tx, id, &repo, &change.charges).await?;
    if let Some(value) = &change.freeze {
        let freeze = Switch::Freeze(parse("the repo of a run", &repo)?);
        switches::set(tx, &freeze, true, value, id, change.at).await?;
    }
    Ok(Committed::Yes { version: next as u64 })
}

/// Id, version and record of a run.
type Row = (String, i64, String);

fn decode((id, version, state): Row) -> Result<StoredRun, StoreError> {
    let run = from_json(format_args!("the record of run {id}"), &state)?;
    Ok(StoredRun { run, version: version as u64 })
}
