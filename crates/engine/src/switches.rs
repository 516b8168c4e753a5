//! The switches that stop current work: read from the store twice a second. A switch that cannot be
//! read, or not in time, counts as on.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::SignedDuration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bounds::within;
use crate::ports::{Ports, Switches};

/// Time limit of reading the switches.
const READ: SignedDuration = SignedDuration::from_secs(10);

/// The switches as last read, and a token that a halt cancels.
#[derive(Clone)]
pub struct Brake {
    inner: Arc<Inner>,
}

struct Inner {
    /// Held while the switches are read, so that a slow answer does not overwrite a newer one.
    reading: tokio::sync::Mutex<()>,
    /// None when they could not be read.
    seen: watch::Sender<Option<Switches>>,
    /// Cancelled by a halt or a shutdown, renewed when the halt is lifted.
    token: Mutex<CancellationToken>,
    shutdown: CancellationToken,
}

impl Brake {
    /// A brake that is on until the switches were read once.
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

    /// The switches, or none when they could not be read.
    pub fn switches(&self) -> Option<Switches> {
        self.inner.seen.borrow().clone()
    }

    /// Whether everything is halted, as far as is known.
    pub fn halted(&self) -> bool {
        self.inner.seen.borrow().as_ref().is_none_or(|switches| switches.halt.is_some())
    }

    /// A token for work that a halt or a shutdown stops.
    pub fn token(&self) -> CancellationToken {
        self.inner.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The shutdown that this brake was created with.
    pub fn shutdown(&self) -> CancellationToken {
        self.inner.shutdown.clone()
    }

    /// Notifies of every change from now on.
    pub fn subscribe(&self) -> watch::Receiver<Option<Switches>> {
        self.inner.seen.subscribe()
    }
}
