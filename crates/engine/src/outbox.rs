//! Rings the doorbells that transitions left in the outbox: one row for each doorbell of the
//! configuration that wants it.
//!
//! Delivery is at least once with a stable id: a send is claimed for a while, delivered, and
//! only then struck off; what fails is tried again with backoff, and given up after about a
//! day of trying. Doorbells ring side by side, each within a bound: while one does not answer
//! nothing more is claimed for it, and the others ring.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afk_core::doorbell::{Doorbell, DoorbellKind};
use afk_core::text::Mask;
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::bounds::{later, within};
use crate::driver::BEAT;
use crate::ports::{DoorbellSend, Outgoing, PortResult};

/// How long a claimed send is ours; a crash gives it back after this.
const CLAIM: Duration = Duration::from_mins(1);
/// How long a doorbell may take to answer: less than a claim lasts.
const RING: SignedDuration = SignedDuration::from_secs(30);
/// How many sends are claimed at once.
const BATCH: u32 = 20;
/// A send is given up after this many failures: by the backoff, after a day. Time in which no
/// control plane ran does not count.
pub const MOST_ATTEMPTS: u32 = 150;

/// What happened with sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rung {
    /// Delivered.
    pub rung: u32,
    /// Not delivered, and tried again later.
    pub not_rung: u32,
    /// Not delivered, and given up.
    pub given_up: u32,
}

impl Rung {
    fn add(&mut self, other: Self) {
        self.rung += other.rung;
        self.not_rung += other.not_rung;
        self.given_up += other.given_up;
    }
}

/// Doorbells that are ringing.
#[derive(Default)]
struct Ringing<'a> {
    lanes: FuturesUnordered<BoxFuture<'a, (Option<String>, PortResult<Rung>)>>,
    /// The names of those that have not answered yet.
    busy: BTreeSet<Option<String>>,
}

impl Engine {
    /// The rows of the outbox that `doorbell` is written to.
    pub(crate) fn sends(&self, doorbell: &Doorbell) -> Vec<DoorbellSend> {
        let names = self.wanting(doorbell.kind).into_iter();
        names.map(|name| DoorbellSend { name, doorbell: doorbell.clone() }).collect()
    }

    /// The names of the doorbells that ring for `kind`.
    fn wanting(&self, kind: DoorbellKind) -> Vec<String> {
        let (policy, _) = self.ports.settings.current();
        let wanting = policy.doorbells().filter(|(_, doorbell)| doorbell.wants(kind));
        wanting.map(|(name, _)| name.into()).collect()
    }

    /// Rings what is due, pages included, once: what a doorbell fails to ring is left for
    /// the next time.
    pub fn ring(&self) -> BoxFuture<'_, PortResult<Rung>> {
        Box::pin(async move {
            self.page_or_warn().await;
            let (mut ringing, mut all) = (Ringing::default(), Rung::default());
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

    /// Rings what is due, pages included, until `stop`; then what is due still.
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

    /// Begins to ring what is due for doorbells that are not ringing already.
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

    /// Delivers what one doorbell is to ring.
    async fn deliver_all(&self, sends: Vec<Outgoing>) -> PortResult<Rung> {
        let mut all = Rung::default();
        for one in join_all(sends.iter().map(|send| self.deliver(send))).await {
            all.add(one?);
        }
        Ok(all)
    }

    async fn deliver(&self, send: &Outgoing) -> PortResult<Rung> {
        let (store, clock) = (&self.ports.store, &*self.ports.clock);
        let what = send.name.as_deref().unwrap_or("a doorbell");
        let Err(error) = within(clock, RING, what, self.ring_one(send)).await else {
            store.rung(&send.id, &self.owner, clock.now()).await?;
            return Ok(Rung { rung: 1, ..Rung::default() });
        };
        // A receiver may say anything, and people are shown it.
        let (told, until, mask) = (error.chain(), error.reset(), Mask::default());
        let (error, id, attempts) = (mask.text(&told), &send.id, send.attempts + 1);
        let (now, title) = (clock.now(), &send.doorbell.title);
        if attempts >= MOST_ATTEMPTS {
            tracing::error!(doorbell = id, title, attempts, %error, "doorbell given up");
            store.not_rung(id, &self.owner, &error, None, now).await?;
            return Ok(Rung { given_up: 1, ..Rung::default() });
        }
        tracing::warn!(doorbell = id, %error, "doorbell not rung, will try again");
        // Before a limit ends, another attempt gets the same answer.
        let again = later(now, backoff(send.attempts)).max(until.unwrap_or(now));
        store.not_rung(id, &self.owner, &error, Some(again), now).await?;
        Ok(Rung { not_rung: 1, ..Rung::default() })
    }

    async fn ring_one(&self, send: &Outgoing) -> PortResult<()> {
        let doorbells = &self.ports.doorbells;
        if let Some(name) = &send.name {
            return doorbells.ring(name, &send.doorbell).await;
        }
        // Written when a row was for all doorbells: rung again as a whole where one fails.
        let names = self.wanting(send.doorbell.kind);
        let rings = names.iter().map(|name| doorbells.ring(name, &send.doorbell));
        join_all(rings).await.into_iter().collect()
    }
}

/// 5 s, 10 s, 20 s … at most ten minutes.
fn backoff(attempts: u32) -> SignedDuration {
    SignedDuration::from_secs((5_i64 << attempts.min(7)).min(600))
}
