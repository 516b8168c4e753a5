//! Ctrl-C and SIGTERM: the first one asks for a clean stop, the second one stops at once.

use std::sync::atomic::{AtomicBool, Ordering};

use afk_app::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Answer;
use super::exit::Exit;
use super::out::Out;

/// What the first signal is answered with by a command that works runs.
pub(super) const RUNS_GO_ON: &str = "\
Stopping; press Ctrl-C again to stop at once. Agents at work go on in the background, and may
still spend; the next `afk run` or `afk tick` continues their runs, and `afk halt` stops them.";

/// The signals of one command.
pub(super) struct Interrupt {
    token: CancellationToken,
    hit: AtomicBool,
    keyboard: Signal,
    term: Signal,
}

impl Interrupt {
    /// Starts catching signals; from now on they do not end the process.
    pub(super) fn new() -> Answer<Self> {
        let on = |kind| {
            signal(kind).map_err(|e| Error::failed(format!("cannot watch for signals: {e}")))
        };
        Ok(Self {
            token: CancellationToken::new(),
            hit: AtomicBool::new(false),
            keyboard: on(SignalKind::interrupt())?,
            term: on(SignalKind::terminate())?,
        })
    }

    /// Returns the token that the first signal cancels.
    pub(super) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Awaits `work`. The first signal cancels the token and lets the work come to an end, the
    /// second ends the process. The first is answered with `told`. Also returns whether there was a
    /// signal.
    pub(super) async fn around<T>(
        &mut self,
        out: &Out,
        told: &str,
        work: impl Future<Output = T>,
    ) -> (T, bool) {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return (done, self.hit.load(Ordering::Relaxed)),
                _ = self.keyboard.recv() => {}
                _ = self.term.recv() => {}
            }
            if self.hit.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            out.note(told);
            self.token.cancel();
        }
    }
}
