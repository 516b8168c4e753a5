//! Slots for the jobs of proofs, which limit how many of them are at work at once, over all runs.
//!
//! Each proof starts as many jobs as the machine has cores, and every repository may have a run:
//! without a common limit, a busy moment would start so many that all of them run out of time.
//! [`LocalJobs`](super::LocalJobs) takes the slots. A job that an earlier process started takes
//! one once it is observed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use afk_agent::host::{self, Job as Hosted};
use afk_core::ids::{JobKey, JobOf, RunId};

use super::world::Local;

/// A job, by its run and key.
type JobId = (RunId, JobKey);

/// All slots of this machine.
pub(super) struct JobSlots {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The jobs that have a slot, and whether each was begun: before that, it has no state to
    /// observe.
    taken: BTreeMap<JobId, bool>,
    /// The runs that found no slot free.
    waiting: BTreeSet<RunId>,
}

/// A slot whose job is being started. Dropping it marks the job as begun.
pub(super) struct JobSlot<'a> {
    slots: &'a JobSlots,
    id: JobId,
}

impl Drop for JobSlot<'_> {
    fn drop(&mut self) {
        if let Some(begun) = self.slots.state().taken.get_mut(&self.id) {
            *begun = true;
        }
    }
}

impl JobSlots {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), state: Mutex::default() }
    }

    /// Whether a job with this key needs a slot.
    pub(super) fn needs(key: &JobKey) -> bool {
        key.of().is_some_and(JobOf::judges)
    }

    /// Takes a slot for the job, which keeps it until it is over; `None` if all are taken.
    pub(super) async fn take(
        &self,
        local: &Local,
        run: RunId,
        key: &JobKey,
    ) -> Option<JobSlot<'_>> {
        self.clear(local).await;
        let id = (run, key.clone());
        let mut state = self.state();
        if state.taken.len() >= self.most && !state.taken.contains_key(&id) {
            state.waiting.insert(run);
            return None;
        }
        state.waiting.remove(&run);
        state.taken.insert(id.clone(), false);
        Some(JobSlot { slots: self, id })
    }

    /// Gives a slot to a job that was observed at work, whoever started it.
    pub(super) fn seen(&self, run: RunId, key: &JobKey) {
        if Self::needs(key) {
            self.state().taken.entry((run, key.clone())).or_insert(true);
        }
    }

    /// Whether the run waits for a slot.
    pub(super) fn awaited_by(&self, run: RunId) -> bool {
        self.state().waiting.contains(&run)
    }

    /// Whether a slot is free.
    pub(super) async fn is_free(&self, local: &Local) -> bool {
        self.clear(local).await;
        self.state().taken.len() < self.most
    }

    /// Forgets the waiting runs that are not `live`.
    pub(super) fn retain(&self, live: &BTreeSet<RunId>) {
        self.state().waiting.retain(|run| live.contains(run));
    }

    /// Frees the slots of jobs that are over.
    async fn clear(&self, local: &Local) {
        let begun: Vec<JobId> = {
            let state = self.state();
            state.taken.iter().filter(|(_, begun)| **begun).map(|(id, _)| id.clone()).collect()
        };
        for id in begun {
            let over = match Hosted::open(local.job(id.0, &id.1)) {
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
            if over && state.taken.get(&id) == Some(&true) {
                state.taken.remove(&id);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
