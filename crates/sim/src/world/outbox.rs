//! The outbox: doorbells that are to ring, each claimed by one control plane at a time.

use std::time::Duration;

use afk_core::doorbell::Doorbell;
use afk_core::ids::At;
use afk_engine::ports::{Outgoing, PortResult};

use super::World;

/// A row of the outbox.
#[derive(Debug, Clone)]
pub struct Send {
    /// What is to be sent.
    pub doorbell: Doorbell,
    /// Not before.
    pub due: At,
    /// Claims so far.
    pub attempts: u32,
    /// By whom it is claimed, and until when.
    pub claim: Option<(String, At)>,
    /// It was delivered.
    pub rung: bool,
}

impl World {
    pub(crate) fn claim(
        &mut self,
        owner: &str,
        ttl: Duration,
        now: At,
        at_most: u32,
    ) -> Vec<Outgoing> {
        let until = now.checked_add(ttl).unwrap_or(At::MAX);
        let due = self.store.outbox.iter_mut().filter(|(_, send)| {
            let free = send.claim.as_ref().is_none_or(|(_, until)| *until <= now);
            !send.rung && send.due <= now && free
        });
        due.take(at_most as usize)
            .map(|(id, send)| {
                send.claim = Some((owner.to_owned(), until));
                send.attempts += 1;
                let attempts = send.attempts - 1;
                Outgoing { id: id.clone(), doorbell: send.doorbell.clone(), attempts }
            })
            .collect()
    }

    pub(crate) fn delivered(&mut self, id: &str, owner: &str, again: Option<At>) -> PortResult<()> {
        let Some(send) = self.store.outbox.get_mut(id) else {
            return Err(self.complain(format!("no doorbell {id}")));
        };
        if send.claim.as_ref().is_some_and(|(by, _)| by == owner) {
            send.claim = None;
            match again {
                None => send.rung = true,
                Some(again) => send.due = again,
            }
        }
        Ok(())
    }
}
