//! The outbox and the doorbells: which sends are due, claimed by one control plane at a time, and
//! what rang.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afk_core::config::DoorbellPolicy;
use afk_core::doorbell::{Doorbell, DoorbellKind};
use afk_core::hold::HoldCause;
use afk_core::ids::{AdapterName, At};
use afk_core::trouble::LONGEST_LIMIT;
use afk_engine::ports::{CheckSpan, DoorbellSend, Outgoing, PortError, PortErrorKind, PortResult};

use super::World;

/// A row of the outbox.
#[derive(Debug, Clone)]
pub struct Send {
    /// The doorbell's name; none in a row from before rows were split by doorbell, which is for
    /// all.
    pub name: Option<String>,
    /// What it rings.
    pub doorbell: Doorbell,
    /// Why dispatch is held, where the row is about that and not about a run.
    pub cause: Option<HoldCause>,
    /// When it may be claimed at the earliest.
    pub due: At,
    /// How often it was claimed.
    pub attempts: u32,
    /// The control plane that claimed it, and until when.
    pub claim: Option<(String, At)>,
    /// Whether it was delivered.
    pub rung: bool,
    /// Whether it was given up.
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

/// Something that holds dispatch and was told without a run, or that held it once.
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    /// When it was found to hold dispatch.
    pub since: At,
    /// When it was found cleared, if it was.
    pub cleared_at: Option<At>,
}

/// The doorbells that the configuration names.
#[derive(Debug, Clone, Default)]
pub struct Doorbells {
    /// Names of doorbells that fail.
    pub broken: BTreeSet<String>,
    /// Names of doorbells that do not even fail: they never answer.
    pub hanging: BTreeSet<String>,
    /// What rang, by the doorbell's name, oldest first, repeats included.
    pub rung: Vec<(String, Doorbell)>,
}

impl World {
    /// Configures a second doorbell beside the terminal, which rings what is for people.
    pub fn add_webhook(&mut self) {
        let webhook = DoorbellPolicy::of_kind(AdapterName::known("webhook"));
        self.config.notify.push(DoorbellPolicy { done: false, ..webhook });
    }

    /// Breaks all doorbells, or repairs them.
    pub fn break_doorbells(&mut self, on: bool) {
        self.doorbells.broken.clear();
        if on {
            let names = self.doorbell_names();
            self.doorbells.broken.extend(names);
        }
    }

    /// The names of the configured doorbells.
    pub fn doorbell_names(&self) -> Vec<String> {
        self.config.doorbells().map(|(name, _)| name.into()).collect()
    }

    /// The names of the doorbells that want this kind.
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
        let holds = self.store.holds.iter().filter(|(_, hold)| hold.cleared_at.is_none());
        holds.map(|(cause, hold)| (cause.clone(), hold.since)).collect()
    }

    pub(crate) fn hold(
        &mut self,
        cause: &HoldCause,
        looked: CheckSpan,
        sends: &[DoorbellSend],
    ) -> bool {
        let known = self.store.holds.get(cause);
        if known.is_some_and(|known| known.cleared_at.is_none_or(|at| at >= looked.began)) {
            return false;
        }
        let hold = Hold { since: looked.answered, cleared_at: None };
        self.store.holds.insert(cause.clone(), hold);
        for send in sends {
            let row = Send::new(send.clone(), looked.answered);
            let row = Send { cause: Some(cause.clone()), ..row };
            self.store.outbox.entry(send.id()).or_insert(row);
        }
        true
    }

    pub(crate) fn unhold(&mut self, cause: &HoldCause, looked: CheckSpan) -> bool {
        let known = self.store.holds.get_mut(cause);
        let held = known.filter(|one| one.cleared_at.is_none() && one.since < looked.began);
        held.map(|hold| hold.cleared_at = Some(looked.answered)).is_some()
    }
}

impl World {
    /// Whether every doorbell rang or was given up.
    pub fn all_rung(&self) -> bool {
        !self.store.outbox.values().any(Send::waits)
    }

    /// What rang, whichever doorbell rang it, repeats included.
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
        let furthest = now.checked_add(LONGEST_LIMIT).unwrap_or(At::MAX);
        let last_claim = now.checked_add(ttl.saturating_mul(2)).unwrap_or(At::MAX);
        let due = self.store.outbox.iter_mut().filter(|(_, send)| {
            let over = |until: At| until <= now || until > last_claim;
            let free = send.claim.as_ref().is_none_or(|(_, until)| over(*until));
            let due = send.due <= now || send.due > furthest;
            send.waits() && due && free && !busy.contains(&send.name)
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
        now: At,
    ) -> PortResult<()> {
        let furthest = now.checked_add(LONGEST_LIMIT).unwrap_or(At::MAX);
        if let Some(again) = again.filter(|again| *again > furthest) {
            return Err(self.complain(format!("{id} is put off until {again}")));
        }
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
