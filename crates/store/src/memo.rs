//! Remembered results of commands on trees, so that they need not run again, by kind, tree, and the
//! digest of the command. The notes of adapters are here, too, with a key of theirs in place of the
//! tree, and no command.

use afk_core::ids::At;
use afk_engine::ports::MemoKey;
use serde_json::Value;

use super::{Store, StoreError, from_json, micros, to_json};

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
