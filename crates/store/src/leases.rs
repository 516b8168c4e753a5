//! Leases: who may work on what, for a while, among several processes.
//!
//! Every grant has a generation that only grows. Whoever writes under a lease
//! names its generation ([`Fence`]), and a write by a holder that lost the lease
//! meanwhile is refused, however late it comes. A lease is exclusive: its own
//! holder asks in vain too, until it is released or its time is over.

use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use super::{Store, StoreError, from_micros, micros, signed};

/// A lease that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// On what.
    pub key: String,
    /// To whom: one name a process, never used again.
    pub owner: String,
    /// The fencing number.
    pub generation: u64,
    /// Until when, to the microsecond.
    pub until: Timestamp,
}

impl Lease {
    /// What a write under this lease is checked by.
    pub fn fence(&self) -> Fence {
        Fence { key: self.key.clone(), generation: self.generation }
    }
}

/// The grant that a write relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The lease's key.
    pub key: String,
    /// Its generation.
    pub generation: u64,
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseHolder {
    /// To whom it was granted last.
    pub owner: String,
    /// The fencing number now.
    pub generation: u64,
    /// Until when; in the past where nobody holds it.
    pub until: Timestamp,
}

impl Store {
    /// Takes the lease on `key` for `ttl`, or answers `None` while it is held.
    pub async fn lease(
        &self,
        key: &str,
        owner: &str,
        ttl: SignedDuration,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        let until = now.saturating_add(ttl).unwrap_or(Timestamp::MAX);
        let (key, owner) = (key.to_owned(), owner.to_owned());
        self.write(move |tx| {
            Box::pin(async move {
                let generation: Option<i64> = sqlx::query_scalar(
                    "INSERT INTO leases (key, owner, generation, until) VALUES (?1, ?2, 1, ?3) \
                     ON CONFLICT (key) DO UPDATE SET owner = ?2, generation = generation + 1, \
                     until = ?3 WHERE until <= ?4 RETURNING generation",
                )
                .bind(&key)
                .bind(&owner)
                .bind(micros(until))
                .bind(micros(now))
                .fetch_optional(tx)
                .await?;
                Ok(generation.map(|n| Lease { key, owner, generation: n as u64, until }))
            })
        })
        .await
    }

    /// Takes the lease on `key` from `dead`, an owner that is known to be gone; `None`
    /// when somebody else holds it by now.
    pub async fn take_over(
        &self,
        key: &str,
        dead: &str,
        owner: &str,
        ttl: SignedDuration,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        let until = now.saturating_add(ttl).unwrap_or(Timestamp::MAX);
        let (key, dead, owner) = (key.to_owned(), dead.to_owned(), owner.to_owned());
        self.write(move |tx| {
            Box::pin(async move {
                let generation: Option<i64> = sqlx::query_scalar(
                    "UPDATE leases SET owner = ?1, generation = generation + 1, until = ?2 \
                     WHERE key = ?3 AND owner = ?4 RETURNING generation",
                )
                .bind(&owner)
                .bind(micros(until))
                .bind(&key)
                .bind(&dead)
                .fetch_optional(tx)
                .await?;
                Ok(generation.map(|n| Lease { key, owner, generation: n as u64, until }))
            })
        })
        .await
    }

    /// Holds `lease` for `ttl` from now on; `None` when it was lost.
    pub async fn renew(
        &self,
        lease: &Lease,
        ttl: SignedDuration,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        let until = now.saturating_add(ttl).unwrap_or(Timestamp::MAX);
        let renewed = Lease { until, ..lease.clone() };
        self.write(move |tx| {
            Box::pin(async move {
                // Over, but with nobody's grant in between: it may go on.
                let done = sqlx::query(
                    "UPDATE leases SET until = ? WHERE key = ? AND owner = ? AND generation = ?",
                )
                .bind(micros(until))
                .bind(&renewed.key)
                .bind(&renewed.owner)
                .bind(signed(renewed.generation))
                .execute(tx)
                .await?;
                Ok((done.rows_affected() > 0).then_some(renewed))
            })
        })
        .await
    }

    /// Gives `lease` back; false when it was lost before. Writes under it are
    /// refused from then on.
    pub async fn release(&self, lease: &Lease) -> Result<bool, StoreError> {
        let lease = lease.clone();
        self.write(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE leases SET until = 0, generation = generation + 1 \
                     WHERE key = ? AND owner = ? AND generation = ?",
                )
                .bind(&lease.key)
                .bind(&lease.owner)
                .bind(signed(lease.generation))
                .execute(tx)
                .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }

    /// Who holds `key`, or held it last.
    pub async fn lease_holder(&self, key: &str) -> Result<Option<LeaseHolder>, StoreError> {
        let row: Option<(String, i64, i64)> =
            sqlx::query_as("SELECT owner, generation, until FROM leases WHERE key = ?")
                .bind(key)
                .fetch_optional(self.readers())
                .await
                .map_err(|e| self.fault(e))?;
        row.map(|(owner, generation, until)| {
            let until = from_micros("the end of a lease", until).map_err(|e| self.fault(e))?;
            Ok(LeaseHolder { owner, generation: generation as u64, until })
        })
        .transpose()
    }
}

/// `Some` with the generation that is in force when `fence` is not.
pub(super) async fn fenced_off(
    connection: &mut SqliteConnection,
    fence: &Fence,
) -> Result<Option<u64>, StoreError> {
    let now: Option<i64> = sqlx::query_scalar("SELECT generation FROM leases WHERE key = ?")
        .bind(&fence.key)
        .fetch_optional(connection)
        .await?;
    let now = now.unwrap_or(0) as u64;
    Ok((now != fence.generation).then_some(now))
}
