//! Steps of time, and whoever sleeps until the next one. Sleepers are woken in the order in which
//! they fell asleep, so that the same seed wakes them in the same order.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Counts the steps of time, and wakes sleepers.
#[derive(Debug, Clone, Default)]
pub(super) struct Ticks {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    passed: u64,
    sleepers: u64,
    asleep: BTreeMap<u64, Waker>,
}

impl Ticks {
    /// Makes a step of time: every sleeper wakes up.
    pub(super) fn pass(&self) {
        let woken = {
            let mut state = self.lock();
            state.passed += 1;
            std::mem::take(&mut state.asleep)
        };
        woken.into_values().for_each(Waker::wake);
    }

    /// Sleeps until the next step of time.
    pub(super) fn next(&self) -> Sleep {
        let mut state = self.lock();
        state.sleepers += 1;
        Sleep { ticks: self.clone(), since: state.passed, id: state.sleepers }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sleeper, until time has passed.
pub(super) struct Sleep {
    ticks: Ticks,
    since: u64,
    id: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.ticks.lock();
        if state.passed > self.since {
            return Poll::Ready(());
        }
        state.asleep.insert(self.id, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.ticks.lock().asleep.remove(&self.id);
    }
}
