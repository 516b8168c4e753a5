//! Looks at the trackers, home by home, and dispatches what was found.
//!
//! Each look at a home is a task of its own. Dispatch waits a moment for all of them, so that the
//! most urgent issue goes first, but no longer: what a slow home answers later is dispatched then,
//! and a home that hangs is not looked at a second time meanwhile. A repo that woke the engine is
//! looked at alone and at once. One in which something could not be read or done is looked at again
//! before long ([`super::retries`]), and so is one that a switch held back, once that is lifted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use afk_core::config::Policy;
use afk_core::ids::{At, RepoName};
use afk_core::trouble::Trouble;
use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use super::retries::{Lifted, Retries, lifted};
use super::{BEAT, Shared};
use crate::Engine;
use crate::bounds::later;
use crate::dispatch::HomeListing;
use crate::ports::{PortError, PortErrorKind, PortResult};
use crate::wakes::Due;

/// How long dispatch waits for homes that answer slowly, before it does without them.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);

/// Requests for a look before the next poll is due, and the results of looks.
#[derive(Clone)]
pub(super) struct Looks(Arc<Inner>);

struct Inner {
    /// How many looks were requested so far; it begins at 1, so that a start looks at once.
    requested: watch::Sender<u64>,
    /// How many looks at all homes were begun so far, by request or by the poll.
    begun: watch::Sender<u64>,
    newest: watch::Sender<DispatchResult>,
}

/// The result of the newest dispatch.
#[derive(Debug, Clone, Default)]
pub(super) struct DispatchResult {
    /// The number of the newest request that it covers.
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
        let (newest, _) = watch::channel(DispatchResult::default());
        Self(Arc::new(Inner { requested, begun, newest }))
    }
}

impl Looks {
    /// Requests a look at all homes.
    pub(super) fn request(&self) {
        self.0.requested.send_modify(|nth| *nth += 1);
    }

    /// Notifies of every look that is begun.
    pub(super) fn begun(&self) -> watch::Receiver<u64> {
        self.0.begun.subscribe()
    }

    /// Notifies of every result.
    pub(super) fn results(&self) -> watch::Receiver<DispatchResult> {
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

/// What is being looked at, and what is to be.
#[derive(Default)]
struct Watch {
    tasks: JoinSet<PortResult<HomeListing>>,
    looking: HashMap<Id, RunningLook>,
    /// Repos that woke the engine, and others that are to be looked at before the poll.
    due: Due,
    /// Repos in which something could not be read or done.
    retries: Retries,
    /// The number of the newest request that was taken up.
    request: u64,
}

/// A home that is being looked at.
struct RunningLook {
    home: String,
    repos: Arc<BTreeSet<RepoName>>,
    /// The number of the newest request when the look began.
    request: u64,
}

impl Engine {
    /// Looks at all trackers when the poll is due, on request, and when the configuration changed;
    /// at single repos when they are due. Dispatches what was found.
    pub(super) async fn watch_trackers(&self, shared: &Shared) {
        let Shared { brake, looks, .. } = shared;
        let (clock, settings) = (&*self.ports.clock, &*self.ports.settings);
        let (mut requests, mut wakes) = (looks.0.requested.subscribe(), self.wakes.subscribe());
        let mut switches = brake.subscribe();
        let mut obeyed = switches.borrow_and_update().clone();
        let (mut watch, mut found) = (Watch::default(), LookResults::default());
        let (mut next, mut in_force) = (clock.now(), settings.current());
        let mut patience = None;
        loop {
            let now = clock.now();
            let newest = settings.current();
            let mut everywhere = false;
            if !same(&newest, &in_force) {
                // A person who arms, enrols or fixes something must not wait for the poll.
                in_force = newest;
                everywhere = true;
            }
            if *switches.borrow_and_update() != obeyed {
                let newest = brake.switches();
                match lifted(obeyed.as_ref(), newest.as_ref()) {
                    Lifted::Nothing => {}
                    Lifted::Freezes(repos) => watch.due.add(repos),
                    Lifted::Everything => everywhere = true,
                }
                obeyed = newest;
            }
            watch.due.take(&wakes.borrow_and_update(), now);
            watch.due.tick(now);
            watch.due.add(watch.retries.take(now));
            // Without a pause it would look for ever.
            let poll = in_force.0.poll_seconds.max(1);
            let poll = SignedDuration::from_secs(poll.cast_signed());
            let requested = *requests.borrow_and_update();
            everywhere |= requested > watch.request;
            // If the clock was set back, neither may be further away than when it began.
            next = next.min(later(now, poll));
            patience = patience.map(|until| At::min(until, later(now, PATIENCE)));
            if now >= next || everywhere {
                watch.request = requested;
                next = later(now, poll);
                looks.0.begun.send_modify(|nth| *nth += 1);
                self.look_at_all(&mut watch, shared, (!everywhere).then_some(poll), now);
                patience = Some(later(now, PATIENCE));
            }
            self.look_at_due(&mut watch, shared, &in_force.0, now);
            let request = watch.request;
            let awaited = watch.looking.values().any(|one| one.request == request);
            let decides = match patience {
                Some(until) => !awaited || now >= until,
                None => found.is_new,
            };
            if decides {
                patience = None;
                let found = std::mem::take(&mut found);
                let done = self.dispatch(brake, found.listed).await;
                let failed: BTreeSet<_> = found.failed.into_iter().chain(done.retry).collect();
                self.note_retries(&mut watch.retries, &found.looked, &failed, poll);
                let (admitted, error) = (done.admitted.len(), done.failed.or(found.error));
                if let Some(error) = &error {
                    tracing::warn!(error = error.chain(), "could not dispatch; will try again");
                }
                let error = error.map(|error| (error.kind, error.chain()));
                let complete = watch.looking.is_empty();
                looks.0.newest.send_replace(DispatchResult { request, complete, admitted, error });
            }
            let beat = later(clock.now(), BEAT);
            let due = [watch.due.next(), watch.retries.next()];
            let wake = due.into_iter().flatten().fold(beat, At::min);
            tokio::select! {
                biased;
                Some(done) = watch.tasks.join_next_with_id() => {
                    let (id, look) = match done {
                        Ok((id, look)) => (id, look),
                        Err(error) => (error.id(), Err(PortError::transient(error))),
                    };
                    if let Some(one) = watch.looking.remove(&id) {
                        found.add(&one.repos, look);
                        if one.request < request {
                            // The look began before the newest request, which needs another one.
                            next = clock.now();
                        }
                    }
                }
                Ok(()) = requests.changed() => {}
                Ok(()) = wakes.changed() => {}
                Ok(()) = switches.changed() => {}
                () = clock.sleep_until(wake) => {}
            }
        }
    }
}

impl Engine {
    /// Begins a look at all homes. A home that is being looked at already is due again afterwards,
    /// except for the `poll`, for which the look under way is enough. A poll also leaves out, most
    /// times, the repos whose webhooks wake the engine.
    fn look_at_all(
        &self,
        watch: &mut Watch,
        shared: &Shared,
        poll: Option<SignedDuration>,
        now: At,
    ) {
        let (config, _) = self.ports.settings.current();
        let known = |repo: &RepoName| config.repos.contains_key(repo);
        self.wakes.forget_others(known);
        watch.due.forget_others(known);
        watch.retries.forget_others(known);
        for (home, repos) in self.homes() {
            if let Some(busy) = watch.under_way(&home) {
                // A look at an older request is followed by another one anyhow.
                if poll.is_none() && busy.request == watch.request {
                    watch.due.add(repos);
                }
                continue;
            }
            let repos = match poll {
                Some(poll) => watch.due.stretch(repos, poll, now),
                None => repos,
            };
            watch.due.note_read(&repos, now);
            self.begin_look(watch, shared, home, repos);
        }
    }

    /// Begins a look at the repos that are due, except those whose home is being looked at.
    fn look_at_due(&self, watch: &mut Watch, shared: &Shared, config: &Policy, now: At) {
        let mut homes: BTreeMap<String, BTreeSet<RepoName>> = BTreeMap::new();
        for repo in watch.due.repos().filter(|repo| config.repos.contains_key(*repo)) {
            homes.entry(self.ports.tracker.home(repo)).or_default().insert(repo.clone());
        }
        for (home, repos) in homes {
            if watch.under_way(&home).is_none() {
                watch.due.note_read(&repos, now);
                self.begin_look(watch, shared, home, repos);
            }
        }
    }

    /// Begins a look at `repos`, which share a home.
    fn begin_look(
        &self,
        watch: &mut Watch,
        shared: &Shared,
        home: String,
        repos: BTreeSet<RepoName>,
    ) {
        let repos = Arc::new(repos);
        let (engine, brake, looked) = (self.clone(), shared.brake.clone(), Arc::clone(&repos));
        let dispatch = shared.drive.dispatch;
        let look = async move { engine.look(&brake, &looked, dispatch).await };
        let id = watch.tasks.spawn(look).id();
        watch.looking.insert(id, RunningLook { home, repos, request: watch.request });
    }

    /// Records which of the repos that were `looked` at are to be looked at again, and when.
    fn note_retries(
        &self,
        retries: &mut Retries,
        looked: &BTreeSet<RepoName>,
        failed: &BTreeSet<RepoName>,
        poll: SignedDuration,
    ) {
        let now = self.ports.clock.now();
        let skipped: BTreeMap<RepoName, At> = {
            let troubles = self.troubles();
            let waits = |(repo, trouble): &(&RepoName, &Trouble)| {
                trouble.waits(now) && looked.contains(*repo)
            };
            let of_these = troubles.all().filter(waits);
            of_these.map(|(repo, trouble)| (repo.clone(), trouble.until)).collect()
        };
        retries.looked(looked, |repo| failed.contains(repo) || skipped.contains_key(repo));
        for repo in failed {
            retries.failed(repo.clone(), poll, now);
        }
        for (repo, until) in skipped {
            retries.skipped(repo, until, now);
        }
    }
}

impl Watch {
    /// The look at `home` that is under way.
    fn under_way(&self, home: &str) -> Option<&RunningLook> {
        self.looking.values().find(|one| one.home == home)
    }
}

/// Results of looks that dispatch has not used yet.
#[derive(Default)]
struct LookResults {
    listed: HomeListing,
    /// The repos that were looked at, and those whose look failed as a whole.
    looked: BTreeSet<RepoName>,
    failed: BTreeSet<RepoName>,
    error: Option<PortError>,
    is_new: bool,
}

impl LookResults {
    fn add(&mut self, repos: &BTreeSet<RepoName>, look: PortResult<HomeListing>) {
        self.is_new = true;
        self.looked.extend(repos.iter().cloned());
        match look {
            Ok(listed) => self.listed.add(listed),
            Err(error) => {
                self.failed.extend(repos.iter().cloned());
                self.error = Some(error);
            }
        }
    }
}

/// Whether two readings of the configuration are the same for dispatch.
fn same(a: &(Arc<Policy>, Option<String>), b: &(Arc<Policy>, Option<String>)) -> bool {
    (Arc::ptr_eq(&a.0, &b.0) || a.0 == b.0) && a.1.is_some() == b.1.is_some()
}
