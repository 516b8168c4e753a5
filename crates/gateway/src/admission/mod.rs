//! Decides who may run now: the [queue](queue), and the places that callers wait for.
//!
//! Every route that starts an agent takes a [`Place`] first. A place is given up by dropping it, so
//! a caller who goes away, for whatever reason, frees it.

mod queue;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

pub(crate) use queue::{Bounds, Key};
use queue::{Queue, Ticket};

/// The one admission of a service.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    queue: Queue,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
}

/// The queue is full, and when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    /// Whole seconds: one for every full round of calls that wait, between 1 and 60.
    pub(crate) retry_after: u64,
}

/// How busy the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) active: usize,
    pub(crate) queued: usize,
    pub(crate) capacity: usize,
}

/// A place in the queue or, once [`Place::ready`] returned, among those that run.
#[derive(Debug)]
pub(crate) struct Place {
    ticket: Ticket,
    ready: Option<oneshot::Receiver<()>>,
    admission: Admission,
}

impl Admission {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Mutex::new(Inner { queue: Queue::new(bounds), waiting: HashMap::new() })))
    }

    /// Takes a place in the queue, behind the others of the same key if one is given.
    pub(crate) fn enter(&self, key: Option<Key>) -> Result<Place, Full> {
        let mut inner = self.lock();
        let Some(ticket) = inner.queue.enter(key) else {
            let waits = inner.queue.queued() / inner.queue.bounds().capacity.max(1);
            return Err(Full { retry_after: (waits as u64).clamp(1, 60) });
        };
        let ready = if inner.queue.is_active(ticket) {
            None
        } else {
            let (tell, ready) = oneshot::channel();
            inner.waiting.insert(ticket, tell);
            Some(ready)
        };
        Ok(Place { ticket, ready, admission: self.clone() })
    }

    /// Returns how busy the service is now.
    pub(crate) fn load(&self) -> Load {
        let inner = self.lock();
        let (active, queued) = (inner.queue.active(), inner.queue.queued());
        Load { active, queued, capacity: inner.queue.bounds().capacity }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until the call may run.
    pub(crate) async fn ready(&mut self) {
        if let Some(ready) = &mut self.ready {
            // Only the place's own drop removes an unused sender, so this is never an error.
            let _ = ready.await;
            self.ready = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.admission.lock();
        inner.waiting.remove(&self.ticket);
        for started in inner.queue.leave(self.ticket) {
            if let Some(tell) = inner.waiting.remove(&started) {
                // If the receiver is gone, its place is being dropped on another thread, and that
                // drop lets the next one run.
                let _ = tell.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_that_is_dropped_lets_the_next_one_run() {
        let admission = Admission::new(Bounds { capacity: 1, depth: 3 });
        let first = admission.enter(None).unwrap();
        let abandoned = admission.enter(None).unwrap();
        let mut third = admission.enter(None).unwrap();
        assert_eq!(admission.enter(None).err(), Some(Full { retry_after: 2 }));
        drop(abandoned);
        assert_eq!(admission.load(), Load { active: 1, queued: 1, capacity: 1 });
        drop(first);
        third.ready().await;
        assert_eq!(admission.load(), Load { active: 1, queued: 0, capacity: 1 });
        drop(third);
        assert_eq!(admission.load(), Load { active: 0, queued: 0, capacity: 1 });
    }
}
