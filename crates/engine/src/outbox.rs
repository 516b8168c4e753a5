//! Rings the doorbells that transitions left in the outbox.
//!
//! Delivery is at least once with a stable id: a doorbell is claimed for a while,
//! rung, and only then struck off; what fails is tried again with backoff.

use std::time::Duration;

use jiff::SignedDuration;

use crate::Engine;
use crate::ports::PortResult;

/// How long a claimed doorbell is ours; a crash gives it back after this.
const CLAIM: Duration = Duration::from_mins(1);
/// How many are claimed at once.
const BATCH: u32 = 20;

impl Engine {
    /// Rings what is due, pages included; gives how many rang and how many did not.
    pub async fn ring(&self) -> PortResult<(u32, u32)> {
        if let Err(error) = self.page_again().await {
            tracing::warn!(error = error.chain(), "freezes not looked at, will try again");
        }
        let (store, clock) = (&self.ports.store, &self.ports.clock);
        let (mut rung, mut failed) = (0, 0);
        for due in store.claim(&self.owner, CLAIM, clock.now(), BATCH).await? {
            match self.ports.notifier.ring(&due.doorbell).await {
                Ok(()) => {
                    store.rung(&due.id, &self.owner, clock.now()).await?;
                    rung += 1;
                }
                Err(error) => {
                    let error = error.chain();
                    tracing::warn!(doorbell = due.id, error, "doorbell not rung, will try again");
                    let now = clock.now();
                    let again = now.checked_add(backoff(due.attempts)).unwrap_or(now);
                    store.not_rung(&due.id, &self.owner, &error, again, now).await?;
                    failed += 1;
                }
            }
        }
        Ok((rung, failed))
    }
}

/// 5 s, 10 s, 20 s … at most ten minutes.
fn backoff(attempts: u32) -> SignedDuration {
    SignedDuration::from_secs((5_i64 << attempts.min(7)).min(600))
}
