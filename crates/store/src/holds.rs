//! What holds dispatch although no run exists for it, and that people were told: a row for each
//! cause.
//!
//! Control planes look side by side, and a finding of one may be older than what another has noted.
//! So each look says when it began: it does not note a cause that was found cleared after that, nor
//! strike off one that was found missing after that.

use std::collections::BTreeMap;

use afk_core::hold::HoldCause;
use afk_core::ids::At;
use afk_engine::ports::{CheckSpan, DoorbellSend};

use super::{Store, StoreError, from_micros, micros, outbox};

/// What holds dispatch, and since when.
pub(super) async fn all(store: &Store) -> Result<BTreeMap<HoldCause, At>, StoreError> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT cause, since FROM holds WHERE mended_at IS NULL")
            .fetch_all(store.readers())
            .await?;
    let mut holds = BTreeMap::new();
    for (cause, since) in rows {
        // A cause that only a newer version knows is left to it.
        if let Ok(cause) = cause.parse() {
            holds.insert(cause, from_micros("the time of a hold", since)?);
        }
    }
    Ok(holds)
}

/// Notes that `cause` holds dispatch, and writes its doorbells; returns whether that is news.
pub(super) async fn hold(
    store: &Store,
    cause: &HoldCause,
    looked: CheckSpan,
    sends: &[DoorbellSend],
) -> Result<bool, StoreError> {
    let cause = cause.to_string();
    let due = looked.answered;
    let sends: Result<Vec<_>, _> = sends.iter().map(|send| outbox::Send::new(send, due)).collect();
    let sends = sends?;
    store
        .write(move |tx| {
            Box::pin(async move {
                let noted = sqlx::query(
                    "INSERT INTO holds (cause, since) VALUES (?1, ?2) \
                     ON CONFLICT (cause) DO UPDATE SET since = ?2, mended_at = NULL \
                     WHERE mended_at < ?3",
                )
                .bind(cause)
                .bind(micros(looked.answered))
                .bind(micros(looked.began))
                .execute(&mut *tx)
                .await?;
                if noted.rows_affected() == 0 {
                    return Ok(false);
                }
                outbox::enqueue(tx, None, &sends).await?;
                Ok(true)
            })
        })
        .await
}

/// Notes that `cause` was found cleared; returns whether it held dispatch until then.
pub(super) async fn unhold(
    store: &Store,
    cause: &HoldCause,
    looked: CheckSpan,
) -> Result<bool, StoreError> {
    let cause = cause.to_string();
    store
        .write(move |tx| {
            Box::pin(async move {
                let cleared = sqlx::query(
                    "UPDATE holds SET mended_at = ?2 \
                     WHERE cause = ?1 AND mended_at IS NULL AND since < ?3",
                )
                .bind(cause)
                .bind(micros(looked.answered))
                .bind(micros(looked.began))
                .execute(tx)
                .await?;
                Ok(cleared.rows_affected() > 0)
            })
        })
        .await
}
