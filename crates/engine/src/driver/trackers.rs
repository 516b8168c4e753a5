//! Looks at the trackers, home by home, and dispatches what was found.
//!
//! Each home has a task of its own. Dispatch waits a moment for all of them, so that the most
//! urgent issue goes first, but no longer: what a slow home answers later is dispatched then, and a
//! home that hangs is not looked at a second time meanwhile. A repo that wakes us is looked at by
//! itself, at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use afk_core::config::Policy;
use afk_core::ids::RepoName;
use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use super::{BEAT, Shared};
use crate::Engine;
use crate::bounds::later;
use crate::dispatch::Listed;
use crate::ports::{PortError, PortErrorKind, PortResult};
use crate::switches::Brake;
use crate::wakes::Due;

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
        let (mut wakes, mut due) = (self.wakes.subscribe(), Due::default());
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
                let polls = requested == request;
                request = requested;
                let poll = in_force.0.poll_seconds;
                let poll = SignedDuration::from_secs(poll.cast_signed());
                next = later(now, poll);
                looks.0.begun.send_modify(|nth| *nth += 1);
                due.forget_others(|repo| in_force.0.repos.contains_key(repo));
                for (home, repos) in self.homes() {
                    if looking.values().any(|one| one.home == home) {
                        continue;
                    }
                    let repos = if polls { due.stretch(repos, poll, now) } else { repos };
                    let id = self.begin_look(&mut tasks, brake, repos, drive.dispatch);
                    looking.insert(id, Looking { home, request });
                }
                patience = Some(later(now, PATIENCE));
            }
            due.take(&wakes.borrow_and_update(), now);
            due.tick(now);
            if due.is_some() {
                for (home, repos) in self.homes() {
                    if looking.values().any(|one| one.home == home) {
                        continue;
                    }
                    let woken = due.of(&repos, now);
                    if !woken.is_empty() {
                        let id = self.begin_look(&mut tasks, brake, woken, drive.dispatch);
                        looking.insert(id, Looking { home, request });
                    }
                }
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
                    tracing::warn!(error = error.chain(), "could not dispatch; will try again");
                }
                let error = error.map(|error| (error.kind, error.chain()));
                let complete = looking.is_empty();
                looks.0.newest.send_replace(Look { request, complete, admitted, error });
            }
            let beat = later(clock.now(), BEAT);
            let wake = due.next().map_or(beat, |at| at.min(beat));
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
                Ok(()) = wakes.changed() => {}
                () = clock.sleep_until(wake) => {}
            }
        }
    }
}

impl Engine {
    /// Begins a look at `repos`, which share a home.
    fn begin_look(
        &self,
        tasks: &mut JoinSet<PortResult<Listed>>,
        brake: &Brake,
        repos: BTreeSet<RepoName>,
        dispatch: bool,
    ) -> Id {
        let (engine, brake) = (self.clone(), brake.clone());
        tasks.spawn(async move { engine.look(&brake, &repos, dispatch).await }).id()
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
