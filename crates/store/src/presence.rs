//! Presence claims of people: a claim counts until it expires, and the next claim removes expired
//! ones.

use afk_core::presence::{Claim, Presence};
use jiff::Timestamp;

use super::error::StoreErrorKind;
use super::{Store, StoreError, from_micros, micros};

/// Maximum number of claims.
const MAX_CLAIMS: i64 = 10_000;

impl Store {
    /// Writes a claim of `holder`, or renews theirs on the same resource, which keeps its start
    /// time.
    pub async fn presence_claim(
        &self,
        claim: &Claim,
        holder: &str,
        now: Timestamp,
    ) -> Result<Presence, StoreError> {
        let (claim, holder) = (claim.clone(), holder.to_owned());
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query("DELETE FROM presence WHERE until <= ?")
                    .bind(micros(now))
                    .execute(&mut *tx)
                    .await?;
                let kept: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM presence").fetch_one(&mut *tx).await?;
                if kept >= MAX_CLAIMS {
                    let why = format!("there are {kept} already: wait until some end");
                    let what = "a claim".to_owned();
                    return Err(StoreError::new(StoreErrorKind::Malformed { what, why }));
                }
                let until = now.saturating_add(claim.ttl).unwrap_or(Timestamp::MAX);
                let since: i64 = sqlx::query_scalar(
                    "INSERT INTO presence (resource, holder, purpose, since, until) \
                     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (resource, holder) \
                     DO UPDATE SET purpose = ?3, until = ?5 RETURNING since",
                )
                .bind(&claim.resource)
                .bind(&holder)
                .bind(&claim.purpose)
                .bind(micros(now))
                .bind(micros(until))
                .fetch_one(tx)
                .await?;
                let Claim { resource, purpose, .. } = claim;
                let since = from_micros("the time of a claim", since)?;
                Ok(Presence { resource, holder, purpose, since, until: Some(until) })
            })
        })
        .await
    }

    /// Ends the claim of `holder` on `resource`; false if there was none, or if it had expired.
    pub async fn presence_release(
        &self,
        resource: &str,
        holder: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (resource, holder) = (resource.to_owned(), holder.to_owned());
        self.write(move |tx| {
            Box::pin(async move {
                let ended: Option<i64> = sqlx::query_scalar(
                    "DELETE FROM presence WHERE resource = ? AND holder = ? RETURNING until",
                )
                .bind(resource)
                .bind(holder)
                .fetch_optional(tx)
                .await?;
                Ok(ended.is_some_and(|until| until > micros(now)))
            })
        })
        .await
    }

    /// Returns the claims that are valid at `now`, sorted by resource and holder.
    pub async fn presence_claims(&self, now: Timestamp) -> Result<Vec<Presence>, StoreError> {
        let rows: Vec<(String, String, String, i64, i64)> = sqlx::query_as(
            "SELECT resource, holder, purpose, since, until FROM presence WHERE until > ? \
             ORDER BY resource, holder",
        )
        .bind(micros(now))
        .fetch_all(self.readers())
        .await
        .map_err(|e| self.fault(e))?;
        let decoded = rows.into_iter().map(|(resource, holder, purpose, since, until)| {
            let at = |micros| from_micros("the time of a claim", micros);
            let (since, until) = (at(since)?, Some(at(until)?));
            Ok(Presence { resource, holder, purpose, since, until })
        });
        decoded.collect::<Result<_, StoreError>>().map_err(|e| self.fault(e))
    }
}
