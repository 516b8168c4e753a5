//! A control plane, and what it is doing: resting, ticking, or serving as a daemon.
//!
//! It goes on only when it is polled, and dies by being dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use afk_engine::Engine;
use afk_engine::driver::{Drive, TickReport, Until};
use afk_engine::ports::PortResult;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::judge::UndisturbedTick;

/// How often a daemon's runtime is polled until none of its tasks can go on. Each poll runs about
/// sixty tasks, those that are woken meanwhile included.
const SETTLES: usize = 4;

/// A control plane.
pub(super) struct Plane {
    pub(super) engine: Engine,
    pub(super) owner: String,
    going: Going,
    /// The oldest step that its knowledge may be from: that at which the tick began, or of the
    /// oldest answer that the tick got. For a daemon it is the newest step at which it waited for
    /// no call; only its knowledge of the switches may be older.
    pub(super) began: u64,
    /// The step at which it asked for the switches that it knows now.
    pub(super) switches: u64,
    /// The step at which its tick began, as long as nothing has disturbed the tick.
    pub(super) whole: Option<u64>,
    /// The result of the last tick, if nothing disturbed it and it is still to be judged.
    pub(super) ticked: Option<UndisturbedTick>,
}

type Ticking = Pin<Box<dyn Future<Output = PortResult<TickReport>>>>;

enum Going {
    Rests,
    Ticks(Ticking),
    Drives(Runtime, JoinHandle<PortResult<()>>),
}

/// Set when a tick is to be polled again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

impl Plane {
    /// A control plane that rests, or a daemon, from `step` on.
    pub(super) fn new(engine: Engine, owner: String, step: u64, daemon: bool) -> Self {
        let going = if daemon { drives(&engine) } else { Going::Rests };
        Self { engine, owner, going, began: step, switches: step, whole: None, ticked: None }
    }

    /// Whether it does nothing before it is told to tick.
    pub(super) fn rests(&self) -> bool {
        matches!(self.going, Going::Rests)
    }

    /// Whether it is in the middle of a tick.
    pub(super) fn ticks(&self) -> bool {
        matches!(self.going, Going::Ticks(_))
    }

    /// The oldest step that anything which it knows may be from.
    pub(super) fn tick_of(&self, daemon: bool) -> u64 {
        if daemon { self.began.min(self.switches) } else { self.began }
    }

    /// Begins a tick.
    pub(super) fn tick(&mut self) {
        let engine = self.engine.clone();
        let tick = async move { engine.tick(true, &CancellationToken::new()).await };
        self.going = Going::Ticks(Box::pin(tick));
    }

    /// Polls it until it waits for something; returns whether it is a daemon that has ended,
    /// although nobody told it to.
    pub(super) fn poll(&mut self) -> bool {
        match &mut self.going {
            Going::Rests => false,
            Going::Ticks(ticking) => {
                if let Some(done) = polled(ticking) {
                    self.going = Going::Rests;
                    let whole = self.whole.zip(done.ok());
                    self.ticked =
                        whole.map(|(began, done)| UndisturbedTick { began, passed: done.passed });
                }
                false
            }
            Going::Drives(runtime, driving) => {
                runtime.block_on(async {
                    for _ in 0..SETTLES {
                        tokio::task::yield_now().await;
                    }
                });
                driving.is_finished()
            }
        }
    }
}

/// Polls a tick until it waits for something; returns its result once it is over.
fn polled(ticking: &mut Ticking) -> Option<PortResult<TickReport>> {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let mut polled = ticking.as_mut().poll(&mut context);
    // One part of a tick may have woken another that was polled before it.
    while polled.is_pending() && woken.0.swap(false, Relaxed) {
        polled = ticking.as_mut().poll(&mut context);
    }
    match polled {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// A daemon on a runtime of its own, which goes on only when it is polled.
fn drives(engine: &Engine) -> Going {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime for a daemon: {error}"),
    };
    let engine = engine.clone();
    let drive = Drive { dispatch: true, until: Until::Shutdown };
    let driving =
        runtime.spawn(async move { engine.drive(drive, &CancellationToken::new()).await });
    Going::Drives(runtime, driving)
}
