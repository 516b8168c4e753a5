//! The heartbeat: a note of when a control plane last ran. It tells time in which the machine
//! slept, or no tick was scheduled, from time in which a control plane was there to act.

use jiff::{SignedDuration, Timestamp};

use super::{Store, StoreError, from_micros, micros};

/// A note that is further ahead than this was made before the clock was set back.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);

/// Records that a control plane runs at `now`. If the last note is older than `within`, nothing is
/// written, and its time is returned instead.
pub(super) async fn beat(
    store: &Store,
    now: Timestamp,
    within: SignedDuration,
) -> Result<Option<Timestamp>, StoreError> {
    store
        .write(move |tx| {
            Box::pin(async move {
                let last: Option<i64> =
                    sqlx::query_scalar("SELECT at FROM heartbeat").fetch_optional(&mut *tx).await?;
                let last = last.map(|at| from_micros("the last heartbeat", at)).transpose()?;
                if let Some(old) = last.filter(|last| now.duration_since(*last) > within) {
                    return Ok(Some(old));
                }
                sqlx::query(
                    "INSERT INTO heartbeat (id, at) VALUES (1, ?1) \
                     ON CONFLICT (id) DO UPDATE \
                     SET at = CASE WHEN at > ?2 THEN ?1 ELSE max(at, ?1) END",
                )
                .bind(micros(now))
                .bind(micros(now.checked_add(AHEAD).unwrap_or(Timestamp::MAX)))
                .execute(&mut *tx)
                .await?;
                Ok(None)
            })
        })
        .await
}

impl Store {
    /// Returns when a control plane last recorded that it runs; none if none ever did.
    pub async fn last_beat(&self) -> Result<Option<Timestamp>, StoreError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT at FROM heartbeat")
            .fetch_optional(self.readers())
            .await
            .map_err(|e| self.fault(e))?;
        let last = last.map(|at| from_micros("the last heartbeat", at)).transpose();
        last.map_err(|e| self.fault(e))
    }
}
