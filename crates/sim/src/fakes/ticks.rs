//! The steps of time, for those who sleep: they are woken in the order in which they fell asleep, so
//! that the same seed wakes them in the same one.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Counts the steps of time.
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
    /// Time has passed: everybody wakes up.
    pub(super) fn pass(&self) {
        let woken = {
            let mut state = self.lock();
            state.passed += 1;
            std::mem::take(&mut state.asleep)
        };
        woken.into_values().for_each(Waker::wake);
    }

    /// Ends when time passes after now.
    pub(super) fn next(&self) -> Sleep {
        let mut state = self.lock();
        state.sleepers += 1;
        Sleep { ticks: self.clone(), since: state.passed, id: state.sleepers }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who sleeps.
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
