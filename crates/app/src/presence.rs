//! Presence: the resources that people claimed, and the issues on which runs are at work.
//!
//! Every interface claims with the same four values (resource, holder, purpose, time to live) and
//! gets the same answers.

use afk_core::ids::At;
use afk_core::presence::{ClaimError, Presence, of_run};
use afk_engine::ports::{PortError, Store as _};
use afk_store::{Store, StoreError};
use jiff::SignedDuration;

/// The holder shown for live runs.
const HOLDER: &str = "afk";

/// Why presence could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum PresenceError {
    /// The claim is invalid.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Live runs could not be read.
    #[error("{}", .0.chain())]
    Runs(PortError),
}

/// Lists the claims that hold at `now` and the live runs, sorted by resource and holder.
pub async fn list(store: &Store, now: At) -> Result<Vec<Presence>, PresenceError> {
    let live = store.live().await.map_err(PresenceError::Runs)?;
    let mut all = store.presence_claims(now).await?;
    let runs = live.iter().map(|stored| &stored.run);
    all.extend(runs.map(|run| of_run(&run.issue, HOLDER, run.admitted_at)));
    all.sort_by(|a, b| (&a.resource, &a.holder).cmp(&(&b.resource, &b.holder)));
    Ok(all)
}

/// Claims `resource` for `holder` until `now` plus `ttl`, or renews their claim.
pub async fn claim(
    store: &Store,
    resource: &str,
    holder: &str,
    purpose: &str,
    ttl: SignedDuration,
    now: At,
) -> Result<Presence, PresenceError> {
    let claim = afk_core::presence::Claim::new(resource, purpose, ttl)?;
    Ok(store.presence_claim(&claim, holder, now).await?)
}

/// Ends the claim of `holder`; false if they had none.
pub async fn release(
    store: &Store,
    resource: &str,
    holder: &str,
    now: At,
) -> Result<bool, PresenceError> {
    Ok(store.presence_release(resource, holder, now).await?)
}
