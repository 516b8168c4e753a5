//! Delivers what transitions left in the outbox: one row, here called a send, for each doorbell of
//! the configuration that wants the message.
//!
//! Delivery is at least once, with a stable id: a send is claimed for a while, delivered, and only
//! then struck off. A send that fails is tried again with backoff, and given up after about a day
//! of trying. Doorbells ring side by side, each within a time limit: while one does not answer,
//! nothing more is claimed for it, and the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afk_core::doorbell::{Doorbell, DoorbellKind};
use afk_core::text::Mask;
use afk_core::trouble;
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::bounds::{later, within};
use crate::driver::BEAT;
use crate::ports::{DoorbellSend, Outgoing, PortResult};

/// How long a claim lasts: after a crash its sends are due again after this time.
const CLAIM: Duration = Duration::from_mins(1);
/// How long a doorbell may take to answer: shorter than a claim.
const RING: SignedDuration = SignedDuration::from_secs(30);
/// How many sends are claimed at once.
const BATCH: u32 = 20;
/// A send is given up after this many failures, which by the backoff is after a day. Time in which
/// no control plane ran does not count.
pub const MOST_ATTEMPTS: u32 = 150;

/// How many sends were delivered, and how many were not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingCounts {
    /// How many were delivered.
    pub rung: u32,
    /// How many failed and are tried again later.
    pub not_rung: u32,
    /// How many failed and were given up.
    pub given_up: u32,
}

impl RingCounts {
    fn add(&mut self, other: Self) {
        self.rung += other.rung;
        self.not_rung += other.not_rung;
        self.given_up += other.given_up;
    }
}

/// Doorbells with deliveries under way, each in a lane of its own.
#[derive(Default)]
struct Ringing<'a> {
    lanes: FuturesUnordered<BoxFuture<'a, (Option<String>, PortResult<RingCounts>)>>,
    /// Names of the doorbells for which nothing is claimed, because they have not answered yet, or
    /// failed in this round.
    busy: BTreeSet<Option<String>>,
}

impl Engine {
    /// The rows to write to the outbox for `doorbell`.
    pub(crate) fn sends(&self, doorbell: &Doorbell) -> Vec<DoorbellSend> {
        let names = self.wanting(doorbell.kind).into_iter();
        names.map(|name| DoorbellSend { name, doorbell: doorbell.clone() }).collect()
    }

    /// The names of the configured doorbells that want messages of `kind`.
    fn wanting(&self, kind: DoorbellKind) -> Vec<String> {
        let (policy, _) = self.ports.settings.current();
        let wanting = policy.doorbells().filter(|(_, doorbell)| doorbell.wants(kind));
        wanting.map(|(name, _)| name.into()).collect()
    }

    /// Delivers what is due, pages included. A doorbell that fails gets nothing more in this call;
    /// the rest of its sends is left for the next one.
    pub fn ring(&self) -> BoxFuture<'_, PortResult<RingCounts>> {
        Box::pin(async move {
            self.page_or_warn().await;
            let (mut ringing, mut all) = (Ringing::default(), RingCounts::default());
            self.claim_due(&mut ringing).await?;
            while let Some((name, rung)) = ringing.lanes.next().await {
                let rung = rung?;
                if rung.not_rung + rung.given_up == 0 {
                    ringing.busy.remove(&name);
                }
                all.add(rung);
                self.claim_due(&mut ringing).await?;
            }
            Ok(all)
        })
    }

    /// Delivers what is due, pages included, until `stop`; then delivers what is still due and
    /// returns.
    pub(crate) async fn ring_until(&self, stop: &CancellationToken) {
        let clock = &*self.ports.clock;
        let mut ringing = Ringing::default();
        loop {
            let stops = stop.is_cancelled();
            self.page_or_warn().await;
            if let Err(error) = self.claim_due(&mut ringing).await {
                tracing::warn!(error = error.chain(), "cannot read the outbox; will try again");
            }
            if stops && ringing.lanes.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                Some((name, rung)) = ringing.lanes.next() => {
                    ringing.busy.remove(&name);
                    if let Err(error) = rung {
                        tracing::warn!(error = error.chain(), "could not record which doorbells rang");
                    }
                }
                () = stop.cancelled(), if !stops => {}
                () = clock.sleep_until(later(clock.now(), BEAT)) => {}
            }
        }
    }

    async fn page_or_warn(&self) {
        let page = within(&*self.ports.clock, RING, "paging again", self.page_again()).await;
        if let Err(error) = page {
            tracing::warn!(error = error.chain(), "cannot read the freezes; will try again");
        }
    }

    /// Claims what is due for doorbells that are not busy, and begins to deliver it.
    async fn claim_due<'a>(&'a self, ringing: &mut Ringing<'a>) -> PortResult<()> {
        loop {
            let (store, clock) = (&self.ports.store, &*self.ports.clock);
            let claim = store.claim(&self.owner, CLAIM, clock.now(), BATCH, &ringing.busy);
            let due = within(clock, RING, "reading the outbox", claim).await?;
            if due.is_empty() {
                return Ok(());
            }
            let mut lanes: BTreeMap<Option<String>, Vec<Outgoing>> = BTreeMap::new();
            for send in due {
                lanes.entry(send.name.clone()).or_default().push(send);
            }
            for (name, sends) in lanes {
                ringing.busy.insert(name.clone());
                let lane = async move { (name, self.deliver_all(sends).await) };
                ringing.lanes.push(lane.boxed());
            }
        }
    }

    /// Delivers the sends of one doorbell, side by side.
    async fn deliver_all(&self, sends: Vec<Outgoing>) -> PortResult<RingCounts> {
        let mut all = RingCounts::default();
        for one in join_all(sends.iter().map(|send| self.deliver(send))).await {
            all.add(one?);
        }
        Ok(all)
    }

    async fn deliver(&self, send: &Outgoing) -> PortResult<RingCounts> {
        let (store, clock) = (&self.ports.store, &*self.ports.clock);
        let what = send.name.as_deref().unwrap_or("a doorbell");
        let Err(error) = within(clock, RING, what, self.ring_one(send)).await else {
            store.rung(&send.id, &self.owner, clock.now()).await?;
            return Ok(RingCounts { rung: 1, ..RingCounts::default() });
        };
        // People are shown the error, and a receiver may have put anything into it.
        let (told, reset, mask) = (error.chain(), error.reset(), Mask::default());
        let (error, id, attempts) = (mask.text(&told), &send.id, send.attempts + 1);
        let (now, title) = (clock.now(), &send.doorbell.title);
        if attempts >= MOST_ATTEMPTS {
            tracing::error!(doorbell = id, title, attempts, %error, "doorbell given up");
            store.not_rung(id, &self.owner, &error, None, now).await?;
            return Ok(RingCounts { given_up: 1, ..RingCounts::default() });
        }
        tracing::warn!(doorbell = id, %error, "doorbell not rung, will try again");
        // Before a rate limit ends, another attempt gets the same answer.
        let until = reset.map_or(now, |reset| trouble::retry_at(1, Some(reset), now));
        let again = later(now, backoff(send.attempts)).max(until);
        store.not_rung(id, &self.owner, &error, Some(again), now).await?;
        Ok(RingCounts { not_rung: 1, ..RingCounts::default() })
    }

    async fn ring_one(&self, send: &Outgoing) -> PortResult<()> {
        let doorbells = &self.ports.doorbells;
        if let Some(name) = &send.name {
            return doorbells.ring(name, &send.doorbell).await;
        }
        // A row without a name is from when a row was for all doorbells: if one of them fails, it
        // is delivered to all again.
        let names = self.wanting(send.doorbell.kind);
        let rings = names.iter().map(|name| doorbells.ring(name, &send.doorbell));
        join_all(rings).await.into_iter().collect()
    }
}

/// The pause before the next attempt: 5 s, 10 s, 20 s … at most ten minutes.
fn backoff(attempts: u32) -> SignedDuration {
    SignedDuration::from_secs((5_i64 << attempts.min(7)).min(600))
}
