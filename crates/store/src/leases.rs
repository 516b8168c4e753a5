//! Leases: which process may work on what, for a while.
//!
//! A lease has a generation, which grows with each new owner and each release, and never goes back.
//! A write under a lease names the generation ([`Fence`]), and is refused if the writer has lost
//! the lease meanwhile, however late it comes. An owner is one process, whose name is never reused;
//! it may renew a lease in its own name, even an expired one, without a new generation.

use std::time::Duration;

use afk_core::ids::At;
use sqlx::SqliteConnection;

use super::{Store, StoreError, from_micros, micros, signed};

/// The lease, and its generation, that a write relies on.
pub(super) struct Fence {
    pub(super) key: String,
    pub(super) generation: u64,
}

/// Who holds a lease, or held it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseHolder {
    /// The latest owner.
    pub owner: String,
    /// When the lease expires; in the past if nobody holds it.
    pub until: At,
}

impl LeaseHolder {
    /// Whether the lease, which is taken for `ttl`, is held at `now`.
    pub fn holds(&self, ttl: Duration, now: At) -> bool {
        self.until > now && self.until <= latest_end(now, ttl)
    }
}

/// The time beyond which no lease or claim for `ttl` ends that was taken by this clock: one that
/// ends later was taken before the clock was set back, and is over. A small step back, as of a clock
/// that is kept exact, takes nothing from a holder that is at work.
pub(super) fn latest_end(now: At, ttl: Duration) -> At {
    now.checked_add(ttl.saturating_mul(2)).unwrap_or(At::MAX)
}

impl Store {
    /// Returns who holds the lease on `key`, or held it last; none if nobody ever did.
    pub async fn lease_holder(&self, key: &str) -> Result<Option<LeaseHolder>, StoreError> {
        let mut reader = self.readers().acquire().await.map_err(|e| self.fault(e))?;
        holder(&mut reader, key).await.map_err(|e| self.fault(e))
    }
}

/// Takes the lease on `key` for `ttl`, or renews it for its holder; returns its generation, or none
/// while another process holds it that may be alive.
pub(super) async fn lease(
    store: &Store,
    key: &str,
    owner: &str,
    ttl: Duration,
    now: At,
) -> Result<Option<u64>, StoreError> {
    let (granted, holder) = take(store, key, owner, None, ttl, now).await?;
    // SQLite is used by one machine only: a lease of a dead process need not be waited out.
    match holder.filter(|holder| (store.inner.is_dead)(&holder.owner)) {
        Some(dead) => Ok(take(store, key, owner, Some(dead.owner), ttl, now).await?.0),
        None => Ok(granted),
    }
}

/// The generation if the lease is granted, otherwise its holder. The lease of the owner `dead`,
/// which is known to be gone, is granted as if it had expired.
async fn take(
    store: &Store,
    key: &str,
    owner: &str,
    dead: Option<String>,
    ttl: Duration,
    now: At,
) -> Result<(Option<u64>, Option<LeaseHolder>), StoreError> {
    let (key, owner) = (key.to_owned(), owner.to_owned());
    let until = now.checked_add(ttl).unwrap_or(At::MAX);
    store
        .write(move |tx| {
            Box::pin(async move {
                // An owner whose lease expired, and was taken by nobody in between, keeps its
                // generation.
                let granted: Option<i64> = sqlx::query_scalar(
                    "INSERT INTO leases (key, owner, generation, until) VALUES (?1, ?2, 1, ?3) \
                     ON CONFLICT (key) DO UPDATE SET owner = ?2, until = ?3, \
                     generation = generation + (owner <> ?2) \
                     WHERE owner = ?2 OR until <= ?4 OR until > ?6 OR owner = ?5 \
                     RETURNING generation",
                )
                .bind(&key)
                .bind(owner)
                .bind(micros(until))
                .bind(micros(now))
                .bind(dead)
                .bind(micros(latest_end(now, ttl)))
                .fetch_optional(&mut *tx)
                .await?;
                match granted {
                    Some(generation) => Ok((Some(generation as u64), None)),
                    None => Ok((None, holder(tx, &key).await?)),
                }
            })
        })
        .await
}

/// Releases the lease if it is `owner`'s. Writes under its generation are refused from then on.
pub(super) async fn unlease(store: &Store, key: &str, owner: &str) -> Result<(), StoreError> {
    let (key, owner) = (key.to_owned(), owner.to_owned());
    store
        .write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE leases SET until = 0, generation = generation + 1 \
                     WHERE key = ? AND owner = ?",
                )
                .bind(key)
                .bind(owner)
                .execute(tx)
                .await?;
                Ok(())
            })
        })
        .await
}

/// Whether the generation of `fence` is the current one; of a lease that was never granted, that
/// is 0.
pub(super) async fn is_in_force(
    tx: &mut SqliteConnection,
    fence: &Fence,
) -> Result<bool, StoreError> {
    let now: Option<i64> = sqlx::query_scalar("SELECT generation FROM leases WHERE key = ?")
        .bind(&fence.key)
        .fetch_optional(tx)
        .await?;
    Ok(now.unwrap_or(0) == signed(fence.generation))
}

async fn holder(
    connection: &mut SqliteConnection,
    key: &str,
) -> Result<Option<LeaseHolder>, StoreError> {
    let row: Option<(String, i64)> =
        sqlx::query_as("SELECT owner, until FROM leases WHERE key = ?")
            .bind(key)
            .fetch_optional(connection)
            .await?;
    row.map(|(owner, until)| {
        let until = from_micros("the end of a lease", until)?;
        Ok(LeaseHolder { owner, until })
    })
    .transpose()
}
