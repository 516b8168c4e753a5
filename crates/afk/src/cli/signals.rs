//! The signals of the commands that serve until they are stopped: `serve`, and `serve --only
//! gateway`.

use afk_app::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{Answer, Exit};

/// The signals that a long-running command reacts to.
pub(super) struct Signals {
    /// SIGINT, as from Ctrl-C.
    pub(super) keyboard: Signal,
    /// SIGTERM.
    pub(super) term: Signal,
    /// SIGHUP.
    pub(super) hup: Signal,
}

impl Signals {
    /// Starts catching all three signals. From then on none ends the process by itself.
    pub(super) fn new() -> Answer<Self> {
        let on = |kind| {
            signal(kind).map_err(|e| Error::failed(format!("cannot watch for signals: {e}")))
        };
        Ok(Self {
            keyboard: on(SignalKind::interrupt())?,
            term: on(SignalKind::terminate())?,
            hup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to stop, and returns the exit code that it means: SIGTERM asks for a
    /// clean end, SIGINT interrupts.
    pub(super) async fn ending(&mut self) -> Exit {
        tokio::select! {
            _ = self.term.recv() => Exit::Done,
            _ = self.keyboard.recv() => Exit::Interrupted,
        }
    }
}
