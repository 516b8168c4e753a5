//! The outbox: effects that the world cannot show, such as a doorbell.
//!
//! Rows are written in the transaction of the transition that causes them, under
//! an id that is stable: the same send twice is one row. Whoever delivers claims
//! rows for a while and says how it went; a claimant that dies loses its claim by
//! time, so delivery is at least once and the id is for the receiver to tell.

use afk_core::ids::RunId;
use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use super::{Store, StoreError, check_document, from_micros, micros, parse};

/// Text of a failure is kept up to this many characters.
const MAX_ERROR: usize = 2000;

/// A send that a transition causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSend {
    /// Its stable id: the same id twice is sent once.
    pub id: String,
    /// Which kind: a stable word.
    pub kind: String,
    /// What to send, as JSON.
    pub body: String,
    /// Not to be sent earlier.
    pub not_before: Timestamp,
}

/// A send that was claimed for delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its stable id.
    pub id: String,
    /// Whose.
    pub run: RunId,
    /// Which kind.
    pub kind: String,
    /// What to send, as JSON.
    pub body: String,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// When it became due first, or again.
    pub not_before: Timestamp,
}

impl Store {
    /// Claims up to `limit` sends that are due, oldest first, for `ttl`.
    pub async fn outbox_claim(
        &self,
        owner: &str,
        now: Timestamp,
        ttl: SignedDuration,
        limit: u32,
    ) -> Result<Vec<Outgoing>, StoreError> {
        if !self.outbox_is_due(now).await? {
            // Asked twice a second: the write lock is taken for what there is.
            return Ok(Vec::new());
        }
        let owner = owner.to_owned();
        let until = micros(now.saturating_add(ttl).unwrap_or(Timestamp::MAX));
        let now = micros(now);
        self.write(move |tx| {
            Box::pin(async move {
                let rows: Vec<(String, String, String, String, u32, i64)> = sqlx::query_as(
                    "UPDATE outbox SET lease_owner = ?1, lease_until = ?2, attempts = attempts + 1 \
                     WHERE id IN (SELECT id FROM outbox WHERE delivered_at IS NULL \
                         AND abandoned_at IS NULL AND not_before <= ?3 \
                         AND (lease_until IS NULL OR lease_until <= ?3) \
                         ORDER BY not_before, id LIMIT ?4) \
                     RETURNING id, run, kind, body_json, attempts, not_before",
                )
                .bind(owner)
                .bind(until)
                .bind(now)
                .bind(limit)
                .fetch_all(tx)
                .await?;
                let mut sends =
                    rows.into_iter().map(decode).collect::<Result<Vec<_>, StoreError>>()?;
                // RETURNING has no order of its own.
                sends.sort_by(|a, b| (a.not_before, &a.id).cmp(&(b.not_before, &b.id)));
                Ok(sends)
            })
        })
        .await
    }

    async fn outbox_is_due(&self, now: Timestamp) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE delivered_at IS NULL \
             AND abandoned_at IS NULL AND not_before <= ?1 \
             AND (lease_until IS NULL OR lease_until <= ?1))",
        )
        .bind(micros(now))
        .fetch_one(self.readers())
        .await
        .map_err(|e| self.fault(e))
    }

    /// Says that `id` was delivered; false when the claim was no longer `owner`'s.
    pub async fn outbox_done(
        &self,
        id: &str,
        owner: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (id, owner, now) = (id.to_owned(), owner.to_owned(), micros(now));
        self.write(move |tx| {
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

    /// Says that `id` failed and is due again at `retry_at`, or is given up where
    /// that is `None`; false when the claim was no longer `owner`'s.
    pub async fn outbox_failed(
        &self,
        id: &str,
        owner: &str,
        error: &str,
        retry_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (id, owner) = (id.to_owned(), owner.to_owned());
        let error: String = error.chars().take(MAX_ERROR).collect();
        let abandoned_at = retry_at.is_none().then(|| micros(now));
        let not_before = retry_at.map(micros);
        self.write(move |tx| {
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

    /// How many sends wait, and since when the oldest of them has been due.
    pub async fn outbox_backlog(&self) -> Result<(u64, Option<Timestamp>), StoreError> {
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

/// Writes the sends of a transition; those that are there already stay as they are.
pub(super) async fn enqueue(
    connection: &mut SqliteConnection,
    run: &str,
    sends: &[NewSend],
) -> Result<(), StoreError> {
    for send in sends {
        sqlx::query(
            "INSERT INTO outbox (id, run, kind, body_json, not_before) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(&send.id)
        .bind(run)
        .bind(&send.kind)
        .bind(&send.body)
        .bind(micros(send.not_before))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Whether a send of `run` waits to be delivered.
pub(super) async fn waits(
    connection: &mut SqliteConnection,
    run: &str,
) -> Result<bool, StoreError> {
    let found: Option<(String,)> = sqlx::query_as(
        "SELECT id FROM outbox WHERE run = ? AND delivered_at IS NULL AND abandoned_at IS NULL \
         LIMIT 1",
    )
    .bind(run)
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

pub(super) fn check(sends: &[NewSend]) -> Result<(), StoreError> {
    sends.iter().try_for_each(|send| check_document("the body of a send", &send.body))
}

fn decode(row: (String, String, String, String, u32, i64)) -> Result<Outgoing, StoreError> {
    let (id, run, kind, body, attempt, not_before) = row;
    Ok(Outgoing {
        id,
        run: parse("a run id in the outbox", &run)?,
        kind,
        body,
        attempt,
        not_before: from_micros("a time in the outbox", not_before)?,
    })
}
