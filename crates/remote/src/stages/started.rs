//! Restarts of pipelines and workflow runs, so that there is one for each restart that the engine
//! counts.
//!
//! The CI server shows its restarts itself, which is what counts after a crash. This remembers what
//! the server does not show: restarts that it refused, or does not show yet.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use afk_core::ids::{Oid, RunId};
use afk_engine::ports::{PortErrorKind, PortResult, StageQuery};

/// How many stages are remembered.
const MOST: usize = 4096;

/// The highest number ([`StageQuery::again`]) with which each run's stage was restarted.
#[derive(Debug, Default)]
pub(super) struct Started(Mutex<BTreeMap<Key, u32>>);

/// The run, the stage's name, the commit, and the id of the workflow run on the CI server: a
/// workflow that follows another one may have to be restarted after it. 0 where a restart has a new
/// id.
type Key = (RunId, String, Oid, u64);

impl Started {
    /// Awaits `asked`, which requests a restart of workflow run `id`, unless one was granted or
    /// refused before for the query's number. Returns none in that case, and when the restart is
    /// refused now. After a transient error nothing is remembered: the next poll sees what came of
    /// it, and asks again.
    pub(super) async fn once<T>(
        &self,
        query: &StageQuery,
        id: u64,
        asked: impl Future<Output = PortResult<T>>,
    ) -> PortResult<Option<T>> {
        let key = (query.run, query.stage.name.clone(), query.commit.clone(), id);
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
            // The first key is of the oldest run, whose id begins with the time.
            known.pop_first();
        }
        known.insert(key, query.again);
        Ok(answer)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Key, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
