//! The outbox and the doorbells: what is due, each send claimed by one control plane at a time, and
//! what rang.

use std::collections::BTreeSet;
use std::time::Duration;

use afk_core::doorbell::{Doorbell, DoorbellKind};
use afk_core::ids::At;
use afk_engine::ports::{DoorbellSend, Outgoing, PortError, PortErrorKind, PortResult};

use super::World;

/// A row of the outbox.
#[derive(Debug, Clone)]
pub struct Send {
    /// Which doorbell rings; none in a row of old, which is for all of them.
    pub name: Option<String>,
    /// What it rings.
    pub doorbell: Doorbell,
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
        Self { name, doorbell, due, attempts: 0, claim: None, rung: false, given_up: false }
    }

    /// Whether it is still to be delivered.
    pub fn waits(&self) -> bool {
        !self.rung && !self.given_up
    }
}

/// The doorbells of the configuration.
#[derive(Debug, Clone)]
pub struct Doorbells {
    /// Their names.
    pub names: Vec<String>,
    /// The names of those that ring for what landed, too; the others for what is for people.
    pub for_done: BTreeSet<String>,
    /// Out of order.
    pub broken: BTreeSet<String>,
    /// They do not even fail: they do not answer.
    pub hanging: BTreeSet<String>,
    /// What rang, repeats included.
    pub rung: Vec<(String, Doorbell)>,
}

impl Default for Doorbells {
    fn default() -> Self {
        let names = vec!["terminal".to_owned()];
        let for_done = names.iter().cloned().collect();
        let (broken, hanging) = (BTreeSet::new(), BTreeSet::new());
        Self { names, for_done, broken, hanging, rung: Vec::new() }
    }
}

impl Doorbells {
    /// A second one beside the terminal, for what is for people.
    pub fn add_webhook(&mut self) {
        self.names.push("webhook".to_owned());
    }

    /// All of them out of order, or mended.
    pub fn break_all(&mut self, on: bool) {
        self.broken.clear();
        if on {
            self.broken.extend(self.names.iter().cloned());
        }
    }

    /// The names of those that want doorbells of this kind.
    pub fn wanting(&self, kind: DoorbellKind) -> Vec<String> {
        let wants = |name: &&String| kind != DoorbellKind::Done || self.for_done.contains(*name);
        self.names.iter().filter(wants).cloned().collect()
    }

    pub(crate) fn ring(&mut self, name: &str, doorbell: &Doorbell) -> PortResult<()> {
        if !self.names.iter().any(|known| known == name) {
            let why = format!("no doorbell {name} is configured");
            return Err(PortError::new(PortErrorKind::NotFound, why));
        }
        if self.broken.contains(name) {
            return Err(PortError::transient(format!("the doorbell {name} is out of order")));
        }
        self.rung.push((name.to_owned(), doorbell.clone()));
        Ok(())
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
