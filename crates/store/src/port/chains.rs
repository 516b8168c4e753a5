//! Journals as they were hashed, for whoever keeps them with what was made of them.

use afk_core::chain::Link;
use afk_core::ids::RunId;
use afk_engine::ports::{Journals, PortResult};
use async_trait::async_trait;

use super::{JOURNAL_PAGE, fault};
use crate::Store;

/// The journals of a store.
#[derive(Debug, Clone)]
pub struct Chains(Store);

impl Chains {
    /// The journals of `store`.
    pub fn new(store: Store) -> Self {
        Self(store)
    }
}

#[async_trait]
impl Journals for Chains {
    async fn chain(&self, run: RunId) -> PortResult<Vec<Link>> {
        let mut rows: Vec<Link> = Vec::new();
        loop {
            let from = rows.last().map_or(1, |row| row.seq + 1);
            let more = self.0.journal(run, from, JOURNAL_PAGE).await.map_err(fault)?;
            if more.is_empty() {
                return Ok(rows);
            }
            rows.extend(more.into_iter().map(|row| Link {
                seq: row.run_seq,
                at: row.at.as_microsecond(),
                kind: row.kind,
                body: row.body,
                prev_hash: row.prev_hash,
                hash: row.hash,
            }));
        }
    }
}
