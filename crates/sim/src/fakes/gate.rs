//! A gate before every port call: whoever drives the simulation lets calls through one at a time,
//! and decides what each of them suffers.
//!
//! Without a gate a call happens at once. With one, two engines can be interleaved
//! at every call, and dropped in the middle of any.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use afk_core::ids::At;
use afk_engine::ports::PortErrorKind;

/// What a call suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Done,
    /// It fails before it did anything.
    Before(PortErrorKind),
    /// It fails after its effect: only the answer is lost.
    After(PortErrorKind),
    /// It fails, and its effect comes later, if it can.
    Late,
    /// It is answered with the world as it was a while ago, if it only reads what is far away.
    Stale,
    /// It is answered in another order and each thing twice, if it reads many.
    Twice,
    /// Its process dies before it did anything.
    DiesBefore,
    /// Its process dies after its effect.
    DiesAfter,
    /// Its process dies, and its effect comes later, if it can.
    DiesLate,
}

/// A call that waits to be let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub ticket: u64,
    /// The control plane that calls.
    pub plane: usize,
    /// Its name.
    pub name: &'static str,
    /// When it was made.
    pub since: At,
    /// The task that made it, if tasks do: they are numbered as they begin.
    pub task: u64,
}

/// The gate that all doors share.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tickets: u64,
    /// What waits, and who is to be woken for it.
    waiting: Vec<(Waiting, Waker)>,
    granted: Option<(u64, Fate)>,
    died: bool,
}

impl Gate {
    /// Waiting calls in a fixed order: which of two was made first in one poll is random, and not
    /// determined by the seed.
    pub fn waiting(&self) -> Vec<Waiting> {
        let mut waiting: Vec<Waiting> = self.lock().waiting.iter().map(|(one, _)| *one).collect();
        waiting.sort_by_key(|one| (one.plane, one.name, one.since, one.task, one.ticket));
        waiting
    }

    /// Lets one call through when its engine is polled next.
    pub fn grant(&self, ticket: u64, fate: Fate) {
        let mut state = self.lock();
        state.granted = Some((ticket, fate));
        for (_, waker) in state.waiting.iter().filter(|(one, _)| one.ticket == ticket) {
            waker.wake_by_ref();
        }
    }

    /// Whether the process of the last call died in it.
    pub fn take_died(&self) -> bool {
        std::mem::take(&mut self.lock().died)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One control plane's way through the gate.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) gate: Gate,
    pub(super) plane: usize,
}

impl Door {
    /// Waits until the call `name` is let through.
    pub(super) fn enter(&self, name: &'static str, since: At) -> Enter {
        Enter { door: self.clone(), name, since, ticket: None }
    }

    /// The process dies here: nothing after this happens.
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

/// The number of the current task; 0 outside of any.
fn task() -> u64 {
    tokio::task::try_id().and_then(|id| id.to_string().parse().ok()).unwrap_or_default()
}

impl Drop for Enter {
    fn drop(&mut self) {
        self.door.gate.lock().waiting.retain(|(one, _)| Some(one.ticket) != self.ticket);
    }
}
