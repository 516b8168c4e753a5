//! The outbox: effects that the world cannot show, such as a doorbell.
//!
//! Rows are written in the transaction of the transition that causes them, under
//! an id that is stable: the same send twice is one row. Whoever delivers claims
//! rows for a while and says how it went; a claimant that dies loses its claim by
//! time, so delivery is at least once and the id is for the receiver to tell.

use std::collections::BTreeSet;
use std::time::Duration;

use afk_core::ids::At;
use afk_engine::ports::{DoorbellSend, Outgoing};
use sqlx::SqliteConnection;

use super::{Store, StoreError, from_json, from_micros, micros, to_json};

/// Text of a failure is kept up to this many characters.
const MAX_ERROR: usize = 2000;

/// A send that a transition causes, as it is written.
pub(super) struct Send {
    /// Its stable id: the same id twice is sent once.
    id: String,
    /// The name of the doorbell.
    pub(super) name: String,
    kind: String,
    body: String,
    not_before: At,
}

impl Send {
    /// Rings a doorbell, not before then.
    pub(super) fn new(send: &DoorbellSend, not_before: At) -> Result<Self, StoreError> {
        let (id, name, kind) = (send.id(), send.name.clone(), send.doorbell.kind.to_string());
        Ok(Self { id, name, kind, body: to_json(&send.doorbell)?, not_before })
    }
}

/// Claims up to `limit` sends that are due, oldest first, for `ttl`; none to a doorbell that
/// is among `busy`. One that cannot be read can never be rung: it is given up, so that it is
/// not in the way of the others.
pub(super) async fn claim(
    store: &Store,
    owner: &str,
    ttl: Duration,
    now: At,
    limit: u32,
    busy: &BTreeSet<Option<String>>,
) -> Result<Vec<Outgoing>, StoreError> {
    let busy = names(busy);
    if !is_due(store, now, &busy).await? {
        // Asked twice a second: the write lock is taken for what there is.
        return Ok(Vec::new());
    }
    let mut claimed = Vec::new();
    for (id, name, body, attempts, _) in claim_rows(store, owner, ttl, now, limit, busy).await? {
        match from_json("a doorbell", &body) {
            Ok(doorbell) => {
                let attempts = attempts.saturating_sub(1);
                claimed.push(Outgoing { id, name, doorbell, attempts });
            }
            Err(error) => {
                let error = store.fault(error).to_string();
                tracing::error!(doorbell = id, error, "doorbell given up");
                failed(store, &id, owner, &error, None, now).await?;
            }
        }
    }
    Ok(claimed)
}

/// Names as a JSON list, in which an empty one stands for none.
fn names(busy: &BTreeSet<Option<String>>) -> String {
    let names: Vec<&str> = busy.iter().map(|name| name.as_deref().unwrap_or("")).collect();
    serde_json::json!(names).to_string()
}

async fn is_due(store: &Store, now: At, busy: &str) -> Result<bool, StoreError> {
    let due = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM outbox WHERE delivered_at IS NULL \
         AND abandoned_at IS NULL AND not_before <= ?1 \
         AND (lease_until IS NULL OR lease_until <= ?1) \
         AND coalesce(name, '') NOT IN (SELECT value FROM json_each(?2)))",
    )
    .bind(micros(now))
    .bind(busy)
    .fetch_one(store.readers())
    .await?;
    Ok(due)
}

/// Id, name, body, which try this is (from 1), since when it is due.
type Claimed = (String, Option<String>, String, u32, i64);

async fn claim_rows(
    store: &Store,
    owner: &str,
    ttl: Duration,
    now: At,
    limit: u32,
    busy: String,
) -> Result<Vec<Claimed>, StoreError> {
    let owner = owner.to_owned();
    let until = micros(now.checked_add(ttl).unwrap_or(At::MAX));
    let now = micros(now);
    store
        .write(move |tx| {
            Box::pin(async move {
                let mut rows: Vec<Claimed> = sqlx::query_as(
                    "UPDATE outbox SET lease_owner = ?1, lease_until = ?2, attempts = attempts + 1 \
                     WHERE id IN (SELECT id FROM outbox WHERE delivered_at IS NULL \
                         AND abandoned_at IS NULL AND not_before <= ?3 \
                         AND (lease_until IS NULL OR lease_until <= ?3) \
                         AND coalesce(name, '') NOT IN (SELECT value FROM json_each(?5)) \
                         ORDER BY not_before, id LIMIT ?4) \
                     RETURNING id, name, body_json, attempts, not_before",
                )
                .bind(owner)
                .bind(until)
                .bind(now)
                .bind(limit)
                .bind(busy)
                .fetch_all(tx)
                .await?;
                // RETURNING has no order of its own.
                rows.sort_by(|a, b| (a.4, &a.0).cmp(&(b.4, &b.0)));
                Ok(rows)
            })
        })
        .await
}

/// Says that `id` was delivered; false when the claim was no longer `owner`'s.
pub(super) async fn done(
    store: &Store,
    id: &str,
    owner: &str,
    now: At,
) -> Result<bool, StoreError> {
    let (id, owner, now) = (id.to_owned(), owner.to_owned(), micros(now));
    store
        .write(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE outbox SET delivered_at = ?, lease_owner = NULL, lease_until = NULL, \
                     last_error = NULL WHERE id = ? AND lease_owner = ? AND delivered_at IS NULL",
                )
                .bind(now)
                .bind(id)
                .bind(owner)
                .execute(tx)
                .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
}

/// Says that `id` failed and is due again at `again`, or is given up where that is none;
/// false when the claim was no longer `owner`'s.
pub(super) async fn failed(
    store: &Store,
    id: &str,
    owner: &str,
    error: &str,
    again: Option<At>,
    now: At,
) -> Result<bool, StoreError> {
    let (id, owner) = (id.to_owned(), owner.to_owned());
    let error: String = error.chars().take(MAX_ERROR).collect();
    let abandoned_at = again.is_none().then(|| micros(now));
    let not_before = again.map(micros);
    store
        .write(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE outbox SET not_before = coalesce(?, not_before), abandoned_at = ?, \
                     last_error = ?, lease_owner = NULL, lease_until = NULL \
                     WHERE id = ? AND lease_owner = ? AND delivered_at IS NULL",
                )
                .bind(not_before)
                .bind(abandoned_at)
                .bind(error)
                .bind(id)
                .bind(owner)
                .execute(tx)
                .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
}

/// A doorbell of which something was given up since it last rang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Its name; none of rows that are older than names.
    pub name: Option<String>,
    /// How many of its rings were given up.
    pub count: u64,
    /// When the first of them was.
    pub first: At,
    /// When the last of them was.
    pub last: At,
    /// Why the last of them failed.
    pub error: String,
}

impl Store {
    /// The doorbells that were given up after `since` and have not rung after that, by name.
    pub async fn given_up(&self, since: At) -> Result<Vec<GivenUp>, StoreError> {
        let found = self.given_up_by_name(since).await;
        found.map_err(|error| self.fault(error))
    }

    async fn given_up_by_name(&self, since: At) -> Result<Vec<GivenUp>, StoreError> {
        let rows: Vec<(Option<String>, i64, i64, i64)> = sqlx::query_as(
            "SELECT name, count(*), min(abandoned_at), max(abandoned_at) FROM outbox AS one \
             WHERE abandoned_at IS NOT NULL AND abandoned_at > ?1 \
             AND NOT EXISTS (SELECT 1 FROM outbox WHERE name IS one.name \
                 AND delivered_at IS NOT NULL AND delivered_at > one.abandoned_at) \
             GROUP BY name ORDER BY name",
        )
        .bind(micros(since))
        .fetch_all(self.readers())
        .await?;
        let mut found = Vec::new();
        for (name, count, first, last) in rows {
            let error: Option<String> = sqlx::query_scalar(
                "SELECT last_error FROM outbox WHERE name IS ?1 AND abandoned_at = ?2 LIMIT 1",
            )
            .bind(&name)
            .bind(last)
            .fetch_optional(self.readers())
            .await?
            .flatten();
            let at = |at| from_micros("a time in the outbox", at);
            let (first, last, count) = (at(first)?, at(last)?, count as u64);
            found.push(GivenUp { name, count, first, last, error: error.unwrap_or_default() });
        }
        Ok(found)
    }

    /// How many sends wait, and since when the oldest of them has been due.
    pub async fn outbox_backlog(&self) -> Result<(u64, Option<At>), StoreError> {
        let (count, oldest): (i64, Option<i64>) = sqlx::query_as(
            "SELECT count(*), min(not_before) FROM outbox \
             WHERE delivered_at IS NULL AND abandoned_at IS NULL",
        )
        .fetch_one(self.readers())
        .await
        .map_err(|e| self.fault(e))?;
        let oldest = oldest.map(|at| from_micros("a time in the outbox", at)).transpose();
        Ok((count as u64, oldest.map_err(|e| self.fault(e))?))
    }
}

/// Writes the sends of a transition, or of what no run has found out; those that are there already stay as they are.
pub(super) async fn enqueue(
    connection: &mut SqliteConnection,
    run: Option<&str>,
    sends: &[Send],
) -> Result<(), StoreError> {
    for send in sends {
        sqlx::query(
            "INSERT INTO outbox (id, name, run, kind, body_json, not_before) \
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        )
        .bind(&send.id)
        .bind(&send.name)
        .bind(run)
        .bind(&send.kind)
        .bind(&send.body)
        .bind(micros(send.not_before))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Whether a send of `run` to that doorbell waits to be delivered, or one to all of them.
pub(super) async fn waits(
    connection: &mut SqliteConnection,
    run: &str,
    name: &str,
) -> Result<bool, StoreError> {
    let found: Option<(String,)> = sqlx::query_as(
        "SELECT id FROM outbox WHERE run = ?1 AND delivered_at IS NULL AND abandoned_at IS NULL \
         AND (name IS NULL OR name = ?2) LIMIT 1",
    )
    .bind(run)
    .bind(name)
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}
