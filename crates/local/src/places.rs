//! Places for the jobs of proofs, which limit how many of them are at work at once, over all runs.
//!
//! Each proof starts as many jobs as the machine has cores, and every repository may have a run:
//! without a common limit, a busy moment would start so many that all of them run out of time.
//! [`LocalJobs`](super::LocalJobs) takes the places. A job that an earlier process started takes
//! one once it is observed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use afk_agent::host::{self, Job as Hosted};
use afk_core::ids::{JobKey, JobOf, RunId};

use super::world::Local;

/// A job, by its run and key.
type Which = (RunId, JobKey);

/// All places of this machine.
pub(super) struct Places {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The jobs that have a place, and whether each was begun: before that, it has no state to
    /// observe.
    taken: BTreeMap<Which, bool>,
    /// The runs that found no place free.
    waiting: BTreeSet<RunId>,
}

/// A place whose job is being started. Dropping it marks the job as begun.
pub(super) struct Place<'a> {
    places: &'a Places,
    which: Which,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(begun) = self.places.state().taken.get_mut(&self.which) {
            *begun = true;
        }
    }
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), state: Mutex::default() }
    }

    /// Whether a job with this key needs a place.
    pub(super) fn needs(key: &JobKey) -> bool {
        key.of().is_some_and(JobOf::judges)
    }

    /// Takes a place for the job, which keeps it until it is over; `None` if all are taken.
    pub(super) async fn take(&self, local: &Local, run: RunId, key: &JobKey) -> Option<Place<'_>> {
        self.clear(local).await;
        let which = (run, key.clone());
        let mut state = self.state();
        if state.taken.len() >= self.most && !state.taken.contains_key(&which) {
            state.waiting.insert(run);
            return None;
        }
        state.waiting.remove(&run);
        state.taken.insert(which.clone(), false);
        Some(Place { places: self, which })
    }

    /// Gives a place to a job that was observed at work, whoever started it.
    pub(super) fn seen(&self, run: RunId, key: &JobKey) {
        if Self::needs(key) {
            self.state().taken.entry((run, key.clone())).or_insert(true);
        }
    }

    /// Whether the run waits for a place.
    pub(super) fn awaited_by(&self, run: RunId) -> bool {
        self.state().waiting.contains(&run)
    }

    /// Whether a place is free.
    pub(super) async fn is_free(&self, local: &Local) -> bool {
        self.clear(local).await;
        self.state().taken.len() < self.most
    }

    /// Forgets the waiting runs that are not `live`.
    pub(super) fn retain(&self, live: &BTreeSet<RunId>) {
        self.state().waiting.retain(|run| live.contains(run));
    }

    /// Frees the places of jobs that are over.
    async fn clear(&self, local: &Local) {
        let begun: Vec<Which> = {
            let state = self.state();
            state
                .taken
                .iter()
                .filter(|(_, begun)| **begun)
                .map(|(which, _)| which.clone())
                .collect()
        };
        for which in begun {
            let over = match Hosted::open(local.job(which.0, &which.1)) {
                None => true,
                Some(job) => {
                    matches!(
                        job.status().await,
                        Ok(host::JobState::Ended(_) | host::JobState::Lost)
                    )
                }
            };
            // The job may have been forgotten and started anew meanwhile.
            let mut state = self.state();
            if over && state.taken.get(&which) == Some(&true) {
                state.taken.remove(&which);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
