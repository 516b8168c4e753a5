//! The outbox and the doorbells: what is due, each send claimed by one control plane at a time, and
//! what rang.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afk_core::config::DoorbellPolicy;
use afk_core::doorbell::{Doorbell, DoorbellKind};
use afk_core::hold::HoldCause;
use afk_core::ids::{AdapterName, At};
use afk_engine::ports::{DoorbellSend, Looked, Outgoing, PortError, PortErrorKind, PortResult};

use super::World;

/// A row of the outbox.
#[derive(Debug, Clone)]
pub struct Send {
    /// Which doorbell rings; none in a row of old, which is for all of them.
    pub name: Option<String>,
    /// What it rings.
    pub doorbell: Doorbell,
    /// What dispatch is held for, where it rings without a run.
    pub cause: Option<HoldCause>,
    /// Not before.
    pub due: At,
    /// Claims so far.
    pub attempts: u32,
    /// By whom it is claimed, and until when.
    pub claim: Option<(String, At)>,
    /// It was delivered.
    pub rung: bool,
    /// It was given up.
    pub given_up: bool,
}

impl Send {
    /// A row that nobody has claimed yet.
    pub fn new(send: DoorbellSend, due: At) -> Self {
        let DoorbellSend { name, doorbell } = send;
        let name = Some(name);
        Self {
            name,
            doorbell,
            cause: None,
            due,
            attempts: 0,
            claim: None,
            rung: false,
            given_up: false,
        }
    }

    /// Whether it is still to be delivered.
    pub fn waits(&self) -> bool {
        !self.rung && !self.given_up
    }
}

/// What holds dispatch and was told without a run, or did.
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    /// Since when.
    pub since: At,
    /// When it was found mended.
    pub mended_at: Option<At>,
}

/// The doorbells that the configuration names.
#[derive(Debug, Clone, Default)]
pub struct Doorbells {
    /// Out of order.
    pub broken: BTreeSet<String>,
    /// They do not even fail: they do not answer.
    pub hanging: BTreeSet<String>,
    /// What rang, repeats included.
    pub rung: Vec<(String, Doorbell)>,
}

impl World {
    /// A second doorbell beside the terminal, for what is for people.
    pub fn add_webhook(&mut self) {
        let webhook = DoorbellPolicy::of_kind(AdapterName::known("webhook"));
        self.config.notify.push(DoorbellPolicy { done: false, ..webhook });
    }

    /// All doorbells out of order, or mended.
    pub fn break_doorbells(&mut self, on: bool) {
        self.doorbells.broken.clear();
        if on {
            let names = self.doorbell_names();
            self.doorbells.broken.extend(names);
        }
    }

    /// The names of the doorbells.
    pub fn doorbell_names(&self) -> Vec<String> {
        self.config.doorbells().map(|(name, _)| name.into()).collect()
    }

    /// The names of those that want doorbells of this kind.
    pub fn doorbells_wanting(&self, kind: DoorbellKind) -> Vec<String> {
        let wanting = self.config.doorbells().filter(|(_, doorbell)| doorbell.wants(kind));
        wanting.map(|(name, _)| name.into()).collect()
    }

    pub(crate) fn ring(&mut self, name: &str, doorbell: &Doorbell) -> PortResult<()> {
        if !self.doorbell_names().iter().any(|known| known == name) {
            let why = format!("no doorbell {name} is configured");
            return Err(PortError::new(PortErrorKind::NotFound, why));
        }
        if self.doorbells.broken.contains(name) {
            return Err(PortError::transient(format!("the doorbell {name} is out of order")));
        }
        self.doorbells.rung.push((name.to_owned(), doorbell.clone()));
        Ok(())
    }

    pub(crate) fn holds(&self) -> BTreeMap<HoldCause, At> {
        let holds = self.store.holds.iter().filter(|(_, hold)| hold.mended_at.is_none());
        holds.map(|(cause, hold)| (cause.clone(), hold.since)).collect()
    }

    pub(crate) fn hold(
        &mut self,
        cause: &HoldCause,
        looked: Looked,
        sends: &[DoorbellSend],
    ) -> bool {
        let known = self.store.holds.get(cause);
        if known.is_some_and(|known| known.mended_at.is_none_or(|at| at >= looked.began)) {
            return false;
        }
        let hold = Hold { since: looked.answered, mended_at: None };
        self.store.holds.insert(cause.clone(), hold);
        for send in sends {
            let row = Send::new(send.clone(), looked.answered);
            let row = Send { cause: Some(cause.clone()), ..row };
            self.store.outbox.entry(send.id()).or_insert(row);
        }
        true
    }

    pub(crate) fn unhold(&mut self, cause: &HoldCause, looked: Looked) -> bool {
        let known = self.store.holds.get_mut(cause);
        let held = known.filter(|one| one.mended_at.is_none() && one.since < looked.began);
        held.map(|hold| hold.mended_at = Some(looked.answered)).is_some()
    }
}

impl World {
    /// Whether every doorbell rang or was given up.
    pub fn all_rung(&self) -> bool {
        !self.store.outbox.values().any(Send::waits)
    }

    /// What rang, by whatever doorbell, repeats included.
    pub fn rung(&self) -> Vec<&Doorbell> {
        self.doorbells.rung.iter().map(|(_, doorbell)| doorbell).collect()
    }

    pub(crate) fn claim(
        &mut self,
        owner: &str,
        ttl: Duration,
        now: At,
        at_most: u32,
        busy: &BTreeSet<Option<String>>,
    ) -> Vec<Outgoing> {
        let until = now.checked_add(ttl).unwrap_or(At::MAX);
        let due = self.store.outbox.iter_mut().filter(|(_, send)| {
            let free = send.claim.as_ref().is_none_or(|(_, until)| *until <= now);
            send.waits() && send.due <= now && free && !busy.contains(&send.name)
        });
        due.take(at_most as usize)
            .map(|(id, send)| {
                send.claim = Some((owner.to_owned(), until));
                send.attempts += 1;
                let attempts = send.attempts - 1;
                let (id, name, doorbell) = (id.clone(), send.name.clone(), send.doorbell.clone());
                Outgoing { id, name, doorbell, attempts }
            })
            .collect()
    }

    pub(crate) fn delivered(&mut self, id: &str, owner: &str) -> PortResult<()> {
        self.of_claim(id, owner, |send| send.rung = true)
    }

    pub(crate) fn not_delivered(
        &mut self,
        id: &str,
        owner: &str,
        again: Option<At>,
    ) -> PortResult<()> {
        self.of_claim(id, owner, |send| match again {
            None => send.given_up = true,
            Some(again) => send.due = again,
        })
    }

    fn of_claim(
        &mut self,
        id: &str,
        owner: &str,
        change: impl FnOnce(&mut Send),
    ) -> PortResult<()> {
        let Some(send) = self.store.outbox.get_mut(id) else {
            return Err(self.complain(format!("no doorbell {id}")));
        };
        if send.claim.as_ref().is_some_and(|(by, _)| by == owner) {
            send.claim = None;
            change(send);
        }
        Ok(())
    }
}
