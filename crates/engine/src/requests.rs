//! Wakes the tasks of runs when a person makes a request, so that it ends the wait of its run.
//!
//! The driver reads new requests together with the switches, twice a second, by one query for all
//! runs. The wake-up carries no facts: the pass reads the request.

use std::collections::BTreeMap;

use afk_core::ids::RunId;
use tokio::sync::watch;

use crate::ports::{PortResult, Store};

/// The number of the newest request to each run, as of the last read.
#[derive(Debug, Default)]
pub(crate) struct NewestRequests {
    of: watch::Sender<BTreeMap<RunId, u64>>,
}

/// The newest request to one run, as one task has seen it.
pub(crate) struct RequestWatch {
    run: RunId,
    newest: watch::Receiver<BTreeMap<RunId, u64>>,
    known: Option<u64>,
}

impl NewestRequests {
    /// Reads new requests; does nothing if no task watches for any.
    pub(crate) async fn read(&self, store: &dyn Store) -> PortResult<()> {
        if self.of.receiver_count() == 0 {
            return Ok(());
        }
        let after = self.of.borrow().values().max().copied().unwrap_or(0);
        let open = store.open_requests(after).await?;
        if !open.is_empty() {
            self.of.send_modify(|newest| {
                newest.extend(open.iter().map(|request| (request.run, request.seq)));
            });
        }
        Ok(())
    }

    /// Watches for requests to `run` from now on.
    pub(crate) fn watch(&self, run: RunId) -> RequestWatch {
        RequestWatch { run, newest: self.of.subscribe(), known: None }
    }
}

impl RequestWatch {
    /// Marks all requests so far as read, because the caller is about to read them: only later ones
    /// wake.
    pub(crate) fn mark_read(&mut self) {
        self.known = self.newest.borrow().get(&self.run).copied();
    }

    /// Returns when the run has a request that was not marked as read.
    pub(crate) async fn changed(&mut self) {
        let (run, known) = (self.run, self.known);
        let other = |newest: &BTreeMap<RunId, u64>| newest.get(&run).copied() != known;
        let nobody_tells = self.newest.wait_for(other).await.is_err();
        if nobody_tells {
            std::future::pending::<()>().await;
        }
    }
}
