//! What was started again, so that it is started once for each number.
//!
//! The far end shows it, too, and that is what counts after a crash. This remembers what it does not
//! show: what it refused, or has not shown yet.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use afk_core::ids::{Oid, RunId};
use afk_engine::ports::StageQuery;

/// How many stages are remembered.
const MOST: usize = 4096;

/// The highest number for which each run's stage was started again.
#[derive(Debug, Default)]
pub(super) struct Started(Mutex<BTreeMap<(RunId, String, Oid), u32>>);

impl Started {
    /// Whether this is the first time that the query's number asks for it to be started.
    pub(super) fn first(&self, query: &StageQuery) -> bool {
        let key = (query.run, query.stage.name.clone(), query.commit.clone());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(&key) {
            // The oldest run: its id begins with the time.
            known.pop_first();
        }
        let before = known.insert(key, query.again);
        before.is_none_or(|before| before < query.again)
    }
}
