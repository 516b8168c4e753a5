//! Remembered results: what a command said about a tree, so that it is not asked
//! again. Keyed by the kind of question, the tree and a digest of the command.

use jiff::Timestamp;

use super::{Store, StoreError, check_document, micros};

impl Store {
    /// The result that was remembered, as JSON.
    pub async fn memo(
        &self,
        kind: &str,
        tree: &str,
        command_digest: &str,
    ) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar(
            "SELECT body_json FROM results WHERE kind = ? AND tree = ? AND command_digest = ?",
        )
        .bind(kind)
        .bind(tree)
        .bind(command_digest)
        .fetch_optional(self.readers())
        .await
        .map_err(|e| self.fault(e))
    }

    /// Remembers a result, in place of an older one.
    pub async fn remember(
        &self,
        kind: &str,
        tree: &str,
        command_digest: &str,
        body: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        check_document("a result", body).map_err(|e| self.fault(e))?;
        let [kind, tree, digest, body] = [kind, tree, command_digest, body].map(str::to_owned);
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO results (kind, tree, command_digest, body_json, at) \
                     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (kind, tree, command_digest) \
                     DO UPDATE SET body_json = ?4, at = ?5",
                )
                .bind(kind)
                .bind(tree)
                .bind(digest)
                .bind(body)
                .bind(micros(at))
                .execute(tx)
                .await?;
                Ok(())
            })
        })
        .await
    }
}
