//! The outbox: doorbells to be rung. A pass cannot see in the world whether a doorbell rang, so
//! this is recorded here.
//!
//! A row, also called a send, is written in the transaction of the transition that causes it, under
//! a stable id: the same send twice is one row. A deliverer claims rows for a while, and records
//! how the delivery went. The claim of one that dies expires, so delivery is at least once, and the
//! receiver tells repeats by the id.

use std::collections::BTreeSet;
use std::time::Duration;

use afk_core::ids::At;
use afk_core::trouble::LONGEST_LIMIT;
use afk_engine::ports::{DoorbellSend, Outgoing};
use sqlx::SqliteConnection;

use super::leases::latest_end;
use super::{Store, StoreError, from_json, from_micros, micros, to_json};

/// How many characters of a failure's text are kept.
const MAX_ERROR: usize = 2000;

/// A row to be written.
pub(super) struct Send {
    /// Its stable id: the same id twice is one row.
    id: String,
    /// The name of the doorbell.
    pub(super) name: String,
    kind: String,
    body: String,
    not_before: At,
}

impl Send {
    /// The row for a send that is due at `not_before`.
    pub(super) fn new(send: &DoorbellSend, not_before: At) -> Result<Self, StoreError> {
        let (id, name, kind) = (send.id(), send.name.clone(), send.doorbell.kind.to_string());
        Ok(Self { id, name, kind, body: to_json(&send.doorbell)?, not_before })
    }
}

/// Claims up to `limit` due sends for `ttl`, oldest first, except those to doorbells in `busy`. A
/// send that cannot be read can never be delivered: it is given up, so that it is not in the way of
/// the others.
pub(super) async fn claim(
    store: &Store,
    owner: &str,
    ttl: Duration,
    now: At,
    limit: u32,
    busy: &BTreeSet<Option<String>>,
) -> Result<Vec<Outgoing>, StoreError> {
    let busy = names(busy);
    if !is_due(store, ttl, now, &busy).await? {
        // Called twice a second: the write lock is only taken if something is due.
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

/// The names as a JSON list, in which an empty name stands for rows without one.
fn names(busy: &BTreeSet<Option<String>>) -> String {
    let names: Vec<&str> = busy.iter().map(|name| name.as_deref().unwrap_or("")).collect();
    serde_json::json!(names).to_string()
}

/// The latest time to which a failure at `now` can put a send off. One whose time is later still is
/// from before the clock was set back.
fn furthest(now: At) -> i64 {
    micros(now.checked_add(LONGEST_LIMIT).unwrap_or(At::MAX))
}

async fn is_due(store: &Store, ttl: Duration, now: At, busy: &str) -> Result<bool, StoreError> {
    let due = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM outbox WHERE delivered_at IS NULL \
         AND abandoned_at IS NULL AND (not_before <= ?1 OR not_before > ?3) \
         AND (lease_until IS NULL OR lease_until <= ?1 OR lease_until > ?4) \
         AND coalesce(name, '') NOT IN (SELECT value FROM json_each(?2)))",
    )
    .bind(micros(now))
    .bind(busy)
    .bind(furthest(now))
    .bind(micros(latest_end(now, ttl)))
    .fetch_one(store.readers())
    .await?;
    Ok(due)
}

/// Id, doorbell's name, body, the number of this attempt (from 1), and since when it is due.
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
    let (furthest, last_claim) = (furthest(now), micros(latest_end(now, ttl)));
    let now = micros(now);
    store
        .write(move |tx| {
            Box::pin(async move {
                let mut rows: Vec<Claimed> = sqlx::query_as(
                    "UPDATE outbox SET lease_owner = ?1, lease_until = ?2, attempts = attempts + 1 \
                     WHERE id IN (SELECT id FROM outbox WHERE delivered_at IS NULL \
                         AND abandoned_at IS NULL AND (not_before <= ?3 OR not_before > ?6) \
                         AND (lease_until IS NULL OR lease_until <= ?3 OR lease_until > ?7) \
                         AND coalesce(name, '') NOT IN (SELECT value FROM json_each(?5)) \
                         ORDER BY not_before, id LIMIT ?4) \
                     RETURNING id, name, body_json, attempts, not_before",
                )
                .bind(owner)
                .bind(until)
                .bind(now)
                .bind(limit)
                .bind(busy)
                .bind(furthest)
                .bind(last_claim)
                .fetch_all(tx)
                .await?;
                // RETURNING has no order of its own.
                rows.sort_by(|a, b| (a.4, &a.0).cmp(&(b.4, &b.0)));
                Ok(rows)
            })
        })
        .await
}

/// Records that the send `id` was delivered; false if the claim was no longer `owner`'s.
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

/// Records that the send `id` failed and is due again at `again`, or is given up if that is none;
/// false if the claim was no longer `owner`'s.
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

/// A doorbell of which sends were given up since it last rang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The doorbell's name; none for rows from before rows had names.
    pub name: Option<String>,
    /// How many sends were given up.
    pub count: u64,
    /// When the first of them was given up.
    pub first: At,
    /// When the last of them was given up.
    pub last: At,
    /// Why the last of them failed; empty if that was not recorded.
    pub error: String,
}

impl Store {
    /// Returns the doorbells of which sends were given up after `since`, and that have not rung
    /// since, by name.
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

    /// Returns how many sends wait for delivery, and when the earliest of them is or was due.
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

/// Writes the sends of a transition of `run`, or of something that no run found out. Rows that
/// exist already stay as they are.
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

/// Whether a send of `run` to the doorbell `name`, or to all doorbells, waits to be delivered.
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
