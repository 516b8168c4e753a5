//! Looks at the trackers, home by home, and dispatches what was found.
//!
//! Each home has a task of its own. Dispatch waits a moment for all of them, so that the most
//! urgent issue goes first, but no longer: what a slow home answers later is dispatched then, and a
//! home that hangs is not looked at a second time meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use afk_core::config::Policy;
use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use super::{BEAT, Shared};
use crate::Engine;
use crate::bounds::later;
use crate::dispatch::Listed;
use crate::ports::{PortError, PortErrorKind, PortResult};

/// How long dispatch waits for homes that answer slowly.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);

/// Requests for a look that does not wait for the poll, and the results of looks.
#[derive(Clone)]
pub(super) struct Looks(Arc<Inner>);

struct Inner {
    /// Number of requested looks; the start requests the first.
    requested: watch::Sender<u64>,
    /// Number of looks begun, by request or by the poll.
    begun: watch::Sender<u64>,
    newest: watch::Sender<Look>,
}

/// The result of the newest look.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// The newest request that it covers.
    request: u64,
    /// Whether every home has answered, or failed to.
    complete: bool,
    admitted: usize,
    error: Option<(PortErrorKind, String)>,
}

impl Default for Looks {
    fn default() -> Self {
        let (requested, _) = watch::channel(1);
        let (begun, _) = watch::channel(0);
        let (newest, _) = watch::channel(Look::default());
        Self(Arc::new(Inner { requested, begun, newest }))
    }
}

impl Looks {
    /// Requests a look.
    pub(super) fn request(&self) {
        self.0.requested.send_modify(|nth| *nth += 1);
    }

    /// Notifies of every look that is begun.
    pub(super) fn begun(&self) -> watch::Receiver<u64> {
        self.0.begun.subscribe()
    }

    /// Notifies of every result.
    pub(super) fn results(&self) -> watch::Receiver<Look> {
        self.0.newest.subscribe()
    }

    /// Whether all homes were looked at since the newest request, and nothing was dispatched; an
    /// error if that is unknown.
    pub(super) fn found_nothing(&self) -> PortResult<bool> {
        let newest = self.0.newest.borrow();
        if !newest.complete || newest.request < *self.0.requested.borrow() {
            return Ok(false);
        }
        match &newest.error {
            Some((kind, why)) => Err(PortError::new(*kind, why.clone())),
            None => Ok(newest.admitted == 0),
        }
    }
}

/// A home that is being looked at.
struct Looking {
    home: String,
    /// The request that the look covers.
    request: u64,
}

impl Engine {
    /// Looks at the trackers by the poll, by request, and when the configuration changed.
    pub(super) async fn watch_trackers(&self, shared: &Shared) {
        let Shared { drive, brake, looks, .. } = shared;
        let (clock, settings) = (&*self.ports.clock, &*self.ports.settings);
        let mut requests = looks.0.requested.subscribe();
        let (mut tasks, mut looking) = (JoinSet::new(), HashMap::<Id, Looking>::new());
        let mut found = Found::default();
        let (mut next, mut in_force) = (clock.now(), settings.current());
        let (mut request, mut patience) = (0, None);
        loop {
            let now = clock.now();
            let newest = settings.current();
            if !same(&newest, &in_force) {
                // Whoever arms, enrols or fixes something must not wait for the poll.
                in_force = newest;
                next = now;
            }
            let requested = *requests.borrow_and_update();
            if now >= next || requested > request {
                request = requested;
                let poll = in_force.0.poll_seconds;
                next = later(now, SignedDuration::from_secs(poll.cast_signed()));
                looks.0.begun.send_modify(|nth| *nth += 1);
                for (home, repos) in self.homes() {
                    if looking.values().any(|one| one.home == home) {
                        continue;
                    }
                    let (engine, brake, dispatch) = (self.clone(), brake.clone(), drive.dispatch);
                    let look = async move { engine.look(&brake, &repos, dispatch).await };
                    looking.insert(tasks.spawn(look).id(), Looking { home, request });
                }
                patience = Some(later(now, PATIENCE));
            }
            let awaited = looking.values().any(|one| one.request == request);
            let decides = match patience {
                Some(until) => !awaited || now >= until,
                None => found.is_new,
            };
            if decides {
                patience = None;
                let found = std::mem::take(&mut found);
                let (mut admitted, mut error) = (0, found.error);
                match self.dispatch(brake, found.listed).await {
                    Ok(done) => admitted = done.admitted.len(),
                    Err(failed) => error = Some(failed),
                }
                if let Some(error) = &error {
                    tracing::warn!(error = error.chain(), "nothing dispatched, will try again");
                }
                let error = error.map(|error| (error.kind, error.chain()));
                let complete = looking.is_empty();
                looks.0.newest.send_replace(Look { request, complete, admitted, error });
            }
            let wake = later(clock.now(), BEAT);
            tokio::select! {
                biased;
                Some(done) = tasks.join_next_with_id() => {
                    let (id, look) = match done {
                        Ok((id, look)) => (id, look),
                        Err(error) => (error.id(), Err(PortError::transient(error))),
                    };
                    found.add(look);
                    if looking.remove(&id).is_some_and(|one| one.request < request) {
                        // It began before the newest request.
                        next = clock.now();
                    }
                }
                Ok(()) = requests.changed() => {}
                () = clock.sleep_until(wake) => {}
            }
        }
    }
}

/// Results of looks that dispatch has not used yet.
#[derive(Default)]
struct Found {
    listed: Listed,
    error: Option<PortError>,
    is_new: bool,
}

impl Found {
    fn add(&mut self, look: PortResult<Listed>) {
        self.is_new = true;
        match look {
            Ok(listed) => self.listed.add(listed),
            Err(error) => self.error = Some(error),
        }
    }
}

/// Whether two readings of the configuration are the same for dispatch.
fn same(a: &(Arc<Policy>, Option<String>), b: &(Arc<Policy>, Option<String>)) -> bool {
    (Arc::ptr_eq(&a.0, &b.0) || a.0 == b.0) && a.1.is_some() == b.1.is_some()
}
