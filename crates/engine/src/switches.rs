//! The switches as the engine last read them from the store, twice a second, and the halt's effect
//! on current work. Switches that cannot be read, or not in time, count as on.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::SignedDuration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bounds::within;
use crate::ports::{Ports, Switches};

/// Time limit of reading the switches.
const READ: SignedDuration = SignedDuration::from_secs(10);

/// The switches as last read, and a token that a halt cancels. Clones share both.
#[derive(Clone)]
pub struct Brake {
    inner: Arc<Inner>,
}

struct Inner {
    /// Held while the switches are read, so that a slow answer does not overwrite a newer one.
    reading: tokio::sync::Mutex<()>,
    /// None if the switches could not be read, or have not been yet.
    seen: watch::Sender<Option<Switches>>,
    /// Cancelled by a halt or a shutdown, renewed when the halt is lifted.
    token: Mutex<CancellationToken>,
    shutdown: CancellationToken,
}

impl Brake {
    /// Creates a brake that counts as halted until the switches are read for the first time.
    pub fn new(shutdown: CancellationToken) -> Self {
        let token = Mutex::new(shutdown.child_token());
        let (seen, _) = watch::channel(None);
        let reading = tokio::sync::Mutex::default();
        Self { inner: Arc::new(Inner { reading, seen, token, shutdown }) }
    }

    /// Reads the switches; a halt cancels current work.
    pub async fn read(&self, ports: &Ports) {
        let _reading = self.inner.reading.lock().await;
        let read =
            within(&*ports.clock, READ, "reading the switches", ports.store.switches()).await;
        if let Err(error) = &read {
            tracing::warn!(error = error.chain(), "switches unreadable: counted as on");
        }
        let read = read.ok();
        let halted = read.as_ref().is_none_or(|switches| switches.halt.is_some());
        {
            let mut token = self.inner.token.lock().unwrap_or_else(PoisonError::into_inner);
            if halted {
                token.cancel();
            } else if token.is_cancelled() && !self.inner.shutdown.is_cancelled() {
                *token = self.inner.shutdown.child_token();
            }
        }
        self.inner.seen.send_if_modified(|seen| {
            let changed = *seen != read;
            *seen = read;
            changed
        });
    }

    /// Returns the switches as last read; none if they could not be read.
    pub fn switches(&self) -> Option<Switches> {
        self.inner.seen.borrow().clone()
    }

    /// Returns whether everything is halted; true, too, if the switches could not be read.
    pub fn halted(&self) -> bool {
        self.inner.seen.borrow().as_ref().is_none_or(|switches| switches.halt.is_some())
    }

    /// Returns a token for work that a halt or a shutdown stops. After a halt is lifted there is a
    /// new token; the old one stays cancelled.
    pub fn token(&self) -> CancellationToken {
        self.inner.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the shutdown token that the brake was created with.
    pub fn shutdown(&self) -> CancellationToken {
        self.inner.shutdown.clone()
    }

    /// Returns a receiver that is notified of every change of the switches from now on.
    pub fn subscribe(&self) -> watch::Receiver<Option<Switches>> {
        self.inner.seen.subscribe()
    }
}
