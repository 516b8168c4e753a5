//! Wakes the tasks of runs when a person makes a request, so that it ends the wait of its run.
//!
//! The driver reads new requests together with the switches, twice a second, by one query for all
//! runs. The wake-up carries no facts: the pass reads the request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use afk_core::ids::RunId;
use tokio::sync::watch;

use crate::ports::{OpenRequest, PortResult, Store};

/// The number of the newest request to each live run, as of the last read.
#[derive(Debug, Default)]
pub(crate) struct NewestRequests {
    of: watch::Sender<BTreeMap<RunId, u64>>,
    /// The number of the newest request that was read, to whichever run.
    read: AtomicU64,
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
        let open = store.open_requests(self.read.load(Ordering::Relaxed)).await?;
        self.note(&open);
        Ok(())
    }

    fn note(&self, open: &[OpenRequest]) {
        let Some(newest) = open.iter().map(|request| request.seq).max() else { return };
        let numbers = open.iter().map(|request| (request.run, request.seq));
        self.of.send_modify(|all| all.extend(numbers));
        self.read.fetch_max(newest, Ordering::Relaxed);
    }

    /// Forgets the runs that are not live. Nothing is lost if one has begun since: its first pass
    /// reads its requests anyway.
    pub(crate) fn forget_others(&self, is_live: impl Fn(&RunId) -> bool) {
        self.of.send_if_modified(|newest| {
            newest.retain(|run, _| is_live(run));
            // Nobody waits for a run that is over.
            false
        });
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use afk_core::ids::{Actor, At};
    use afk_core::request::{PersonRequest, Request};

    use super::*;

    fn request(run: RunId, seq: u64) -> OpenRequest {
        let by = Actor { id: "ann".to_owned(), login: "ann".to_owned(), bot: false };
        let (id, at) = (seq.to_string(), At::UNIX_EPOCH);
        OpenRequest { seq, run, request: PersonRequest { id, by, at, what: Request::Stop } }
    }

    #[tokio::test]
    async fn a_run_that_is_over_is_forgotten_and_its_requests_stay_read() {
        let live: RunId = "00000001-0000-0000-0000-000000000001".parse().unwrap();
        let over: RunId = "00000001-0000-0000-0000-000000000002".parse().unwrap();
        let all = NewestRequests::default();
        let mut watch = all.watch(live);
        watch.mark_read();
        all.note(&[request(live, 1), request(over, 2)]);
        watch.changed().await;
        watch.mark_read();
        all.forget_others(|run| *run == live);
        assert_eq!(*all.of.borrow(), BTreeMap::from([(live, 1)]));
        assert_eq!(all.read.load(Ordering::Relaxed), 2);
        let none = tokio::time::timeout(Duration::from_millis(1), watch.changed()).await;
        assert!(none.is_err(), "nothing new was requested of it");
    }
}
