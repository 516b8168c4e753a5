//! What was started again, so that it is started once for each number.
//!
//! The far end shows it, too, and that is what counts after a crash. This remembers what it does not
//! show: what it refused, or has not shown yet.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use afk_core::ids::{Oid, RunId};
use afk_engine::ports::{PortErrorKind, PortResult, StageQuery};

/// How many stages are remembered.
const MOST: usize = 4096;

/// The highest number for which each run's stage was started again.
#[derive(Debug, Default)]
pub(super) struct Started(Mutex<BTreeMap<(RunId, String, Oid), u32>>);

impl Started {
    /// Sends `asked`, unless it was answered before that what the query names is started, or is not.
    /// None if it was, or if the answer says no. A request that failed or was never sent uses nothing
    /// up: the next poll sees what came of it, and asks again.
    pub(super) async fn once<T>(
        &self,
        query: &StageQuery,
        asked: impl Future<Output = PortResult<T>>,
    ) -> PortResult<Option<T>> {
        let key = (query.run, query.stage.name.clone(), query.commit.clone());
        if self.known().get(&key).is_some_and(|before| *before >= query.again) {
            return Ok(None);
        }
        let answer = match asked.await {
            Ok(answer) => Some(answer),
            Err(error) => match error.kind {
                PortErrorKind::Auth | PortErrorKind::NotFound | PortErrorKind::Permanent => None,
                PortErrorKind::Transient
                | PortErrorKind::RateLimited { .. }
                | PortErrorKind::Cancelled => return Err(error),
            },
        };
        let mut known = self.known();
        if known.len() >= MOST && !known.contains_key(&key) {
            // The oldest run: its id begins with the time.
            known.pop_first();
        }
        known.insert(key, query.again);
        Ok(answer)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(RunId, String, Oid), u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
