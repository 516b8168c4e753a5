//! Remembered results of commands on trees, so that they need not run again, by kind, tree, and the
//! digest of the command. The notes of adapters are here, too, with a key of theirs in place of the
//! tree, and no command.
//!
//! A result of a job may be large, because of the report that the job wrote, so housekeeping has
//! old ones forgotten.

use afk_core::ids::At;
use afk_engine::ports::MemoKey;
use serde_json::Value;

use super::{Store, StoreError, from_json, micros, to_json};

/// Maximum number of results that one write forgets, so that it does not hold up the others.
const AT_ONCE: u32 = 100;

/// The remembered result, if any.
pub(super) async fn recall(store: &Store, key: &MemoKey) -> Result<Option<Value>, StoreError> {
    let known: Option<String> = sqlx::query_scalar(
        "SELECT body_json FROM results WHERE kind = ? AND tree = ? AND command_digest = ?",
    )
    .bind(&key.kind)
    .bind(&key.tree)
    .bind(&key.command)
    .fetch_optional(store.readers())
    .await?;
    known.map(|text| from_json("a remembered result", &text)).transpose()
}

/// Remembers a result, replacing an older one.
pub(super) async fn remember(
    store: &Store,
    key: &MemoKey,
    value: &Value,
    now: At,
) -> Result<(), StoreError> {
    let (key, body) = (key.clone(), to_json(value)?);
    store
        .write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO results (kind, tree, command_digest, body_json, at) \
                     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (kind, tree, command_digest) \
                     DO UPDATE SET body_json = ?4, at = ?5",
                )
                .bind(key.kind)
                .bind(key.tree)
                .bind(key.command)
                .bind(body)
                .bind(micros(now))
                .execute(tx)
                .await?;
                Ok(())
            })
        })
        .await
}

/// Forgets the results of `kinds` that are older than `before`, and returns how many there were.
/// Notes stay.
pub(super) async fn forget(store: &Store, kinds: &str, before: At) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    loop {
        let kinds = kinds.to_owned();
        let some = store
            .write(move |tx| {
                Box::pin(async move {
                    // The oldest by their index: a condition that the primary key could serve would
                    // have the rows read, with all that is in them.
                    let gone = sqlx::query(
                        "DELETE FROM results WHERE (kind, tree, command_digest) IN \
                         (SELECT kind, tree, command_digest FROM results \
                         WHERE at < ?1 AND command_digest <> '' \
                         AND substr(kind, 1, length(?2)) = ?2 ORDER BY at LIMIT ?3)",
                    )
                    .bind(micros(before))
                    .bind(kinds)
                    .bind(AT_ONCE)
                    .execute(tx)
                    .await?;
                    Ok(gone.rows_affected())
                })
            })
            .await?;
        forgotten += some;
        if some < u64::from(AT_ONCE) {
            return Ok(forgotten);
        }
    }
}
