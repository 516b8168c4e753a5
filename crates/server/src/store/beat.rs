//! The note that a control plane runs: what tells a pause of the machine, or of
//! whoever starts us, from time in which somebody was there to act.

use jiff::Timestamp;

use super::{Store, StoreError, from_micros, micros};

impl Store {
    /// Notes that a control plane runs at `now`; gives when the last note was.
    pub async fn beat(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let last: Option<i64> =
                    sqlx::query_scalar("SELECT at FROM heartbeat").fetch_optional(&mut *tx).await?;
                sqlx::query(
                    "INSERT INTO heartbeat (id, at) VALUES (1, ?1) \
                     ON CONFLICT (id) DO UPDATE SET at = max(at, ?1)",
                )
                .bind(micros(now))
                .execute(&mut *tx)
                .await?;
                last.map(|at| from_micros("the last heartbeat", at)).transpose()
            })
        })
        .await
    }
}
