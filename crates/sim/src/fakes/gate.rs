//! A gate before every port call. Whoever drives the simulation lets calls through one at a time,
//! and decides the fate of each.
//!
//! Without a gate a call happens at once. With one, two engines can be interleaved at every call,
//! and dropped in the middle of any.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use afk_core::ids::At;
use afk_engine::ports::PortErrorKind;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is answered normally.
    Done,
    /// It fails before it did anything.
    Before(PortErrorKind),
    /// It fails after its effect: only the answer is lost.
    After(PortErrorKind),
    /// It fails, and its effect comes later, if it is one of [`super::LATE`].
    Late,
    /// It is answered with the world as it was a while ago, if it is one of [`super::FAR`].
    Stale,
    /// It is answered in another order and with every entry twice, if it is one of [`super::MANY`].
    Twice,
    /// Its process dies before it did anything.
    DiesBefore,
    /// Its process dies after its effect.
    DiesAfter,
    /// Its process dies, and its effect comes later, if it is one of [`super::LATE`].
    DiesLate,
}

/// A call that waits to be let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its ticket, by which [`Gate::grant`] lets it through; in the order of arrival, from 1.
    pub ticket: u64,
    /// The control plane that calls.
    pub plane: usize,
    /// The call's name, such as `git.push`.
    pub name: &'static str,
    /// When it was made.
    pub since: At,
    /// The number of the tokio task that made it, in the order in which tasks begin; 0 outside of
    /// any.
    pub task: u64,
}

/// The gate that all control planes' doors share.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tickets: u64,
    /// The calls that wait, each with the waker of its task.
    waiting: Vec<(Waiting, Waker)>,
    granted: Option<(u64, Fate)>,
    died: bool,
}

impl Gate {
    /// Waiting calls in a fixed order. It is not their order of arrival: which of two calls is made
    /// first within one poll is random, and not determined by the seed.
    pub fn waiting(&self) -> Vec<Waiting> {
        let mut waiting: Vec<Waiting> = self.lock().waiting.iter().map(|(one, _)| *one).collect();
        waiting.sort_by_key(|one| (one.plane, one.name, one.since, one.task, one.ticket));
        waiting
    }

    /// Lets one call through, with this fate, when its task is polled next.
    pub fn grant(&self, ticket: u64, fate: Fate) {
        let mut state = self.lock();
        state.granted = Some((ticket, fate));
        for (_, waker) in state.waiting.iter().filter(|(one, _)| one.ticket == ticket) {
            waker.wake_by_ref();
        }
    }

    /// Whether the process died in the last call; says so once.
    pub fn take_died(&self) -> bool {
        std::mem::take(&mut self.lock().died)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One control plane's access to the gate.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) gate: Gate,
    pub(super) plane: usize,
}

impl Door {
    /// Waits until the call `name` is let through, and returns its fate.
    pub(super) fn enter(&self, name: &'static str, since: At) -> Enter {
        Enter { door: self.clone(), name, since, ticket: None }
    }

    /// Reports that the process died, and never returns: nothing after this happens.
    pub(super) async fn die(&self) {
        self.gate.lock().died = true;
        std::future::pending::<()>().await;
    }
}

/// A call on its way through the gate.
pub(super) struct Enter {
    door: Door,
    name: &'static str,
    since: At,
    ticket: Option<u64>,
}

impl Future for Enter {
    type Output = Fate;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Fate> {
        let this = self.get_mut();
        let mut state = this.door.gate.lock();
        let Some(ticket) = this.ticket else {
            state.tickets += 1;
            let ticket = state.tickets;
            this.ticket = Some(ticket);
            let (plane, name, since) = (this.door.plane, this.name, this.since);
            let waiting = Waiting { ticket, plane, name, since, task: task() };
            state.waiting.push((waiting, context.waker().clone()));
            return Poll::Pending;
        };
        match state.granted {
            Some((granted, fate)) if granted == ticket => {
                state.granted = None;
                Poll::Ready(fate)
            }
            Some(_) | None => {
                for (one, waker) in &mut state.waiting {
                    if one.ticket == ticket {
                        waker.clone_from(context.waker());
                    }
                }
                Poll::Pending
            }
        }
    }
}

/// The number of the current tokio task; 0 outside of any.
fn task() -> u64 {
    tokio::task::try_id().and_then(|id| id.to_string().parse().ok()).unwrap_or_default()
}

impl Drop for Enter {
    fn drop(&mut self) {
        self.door.gate.lock().waiting.retain(|(one, _)| Some(one.ticket) != self.ticket);
    }
}
