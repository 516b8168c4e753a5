//! Which runs were asked something of late, so that a request ends the wait of its run.
//!
//! The driver reads it beside the switches, twice a second, by one query for all runs.
//! It carries no fact but that there is something to read: the pass reads what it is.

use std::collections::BTreeMap;

use afk_core::ids::RunId;
use tokio::sync::watch;

use crate::ports::Store;

/// The number of the newest request that each run was seen to be asked.
#[derive(Debug, Default)]
pub(crate) struct AskedOf {
    newest: watch::Sender<BTreeMap<RunId, u64>>,
}

/// What one run was asked, as one task has seen it.
pub(crate) struct Heed {
    run: RunId,
    newest: watch::Receiver<BTreeMap<RunId, u64>>,
    known: Option<u64>,
}

impl AskedOf {
    /// Reads what is new; nothing where nobody waits.
    pub(crate) async fn read(&self, store: &dyn Store) {
        if self.newest.receiver_count() == 0 {
            return;
        }
        let after = self.newest.borrow().values().max().copied().unwrap_or(0);
        match store.open_requests(after).await {
            Ok(open) if open.is_empty() => {}
            Ok(open) => self.newest.send_modify(|newest| {
                newest.extend(open.iter().map(|request| (request.run, request.seq)));
            }),
            // Whoever was asked looks by itself before long.
            Err(error) => tracing::warn!(error = error.chain(), "requests unreadable"),
        }
    }

    /// What `run` is asked from now on.
    pub(crate) fn heed(&self, run: RunId) -> Heed {
        Heed { run, newest: self.newest.subscribe(), known: None }
    }
}

impl Heed {
    /// Whatever was asked so far is about to be read: only what comes after wakes.
    pub(crate) fn about_to_read(&mut self) {
        self.known = self.newest.borrow().get(&self.run).copied();
    }

    /// Until the run is asked something that it was not about to read.
    pub(crate) async fn asked(&mut self) {
        let (run, known) = (self.run, self.known);
        let other = |newest: &BTreeMap<RunId, u64>| newest.get(&run).copied() != known;
        let nobody_tells = self.newest.wait_for(other).await.is_err();
        if nobody_tells {
            std::future::pending::<()>().await;
        }
    }
}
