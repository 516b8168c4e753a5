//! Which commits came after another, for stages that are polled: a rollout of a later commit counts
//! for ours.
//!
//! The adapter of the stages knows no git, and that of git no stages, so the two meet here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use afk_core::ids::{At, Oid};
use afk_engine::ports::{Clock, Git, PortResult, StageQuery, Store};
use afk_remote::Ancestry;
use async_trait::async_trait;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

/// Maximum number of later commits that are listed for one commit.
const MOST: usize = 500;
/// How long a list of later commits is reused; without this, every poll would fetch.
const FRESH: SignedDuration = SignedDuration::from_mins(1);
/// Number of remembered lists at which all of them are dropped.
const KNOWN: usize = 256;

/// Answers which commits are later, from the default branch in the mirror after a fetch.
pub(crate) struct Mirrored {
    git: Arc<dyn Git>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    known: Mutex<BTreeMap<Oid, Later>>,
}

/// The commits that came after one, and when they were listed.
struct Later {
    commits: Arc<[Oid]>,
    at: At,
}

impl Mirrored {
    pub(crate) fn new(git: Arc<dyn Git>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { git, store, clock, known: Mutex::default() }
    }

    /// Returns the commits after the query's, fetched at most once every [`FRESH`].
    async fn later(&self, query: &StageQuery) -> PortResult<Arc<[Oid]>> {
        let now = self.clock.now();
        if let Some(known) = self.known(&query.commit, now) {
            return Ok(known);
        }
        let Some(stored) = self.store.load(query.run).await? else { return Ok([].into()) };
        let branch = stored.run.branch();
        // A poll that is dropped stops the fetch.
        let token = CancellationToken::new();
        let _stops = token.clone().drop_guard();
        self.git.default_head(&query.repo, branch, &token).await?;
        let after = self.git.descendants(&query.repo, branch, &query.commit, MOST).await?;
        let commits: Arc<[Oid]> = after.into_iter().map(|commit| commit.id).collect();
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KNOWN {
            all.clear();
        }
        all.insert(query.commit.clone(), Later { commits: commits.clone(), at: now });
        Ok(commits)
    }

    fn known(&self, commit: &Oid, now: At) -> Option<Arc<[Oid]>> {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(commit).filter(|known| now.duration_since(known.at).abs() < FRESH);
        known.map(|known| known.commits.clone())
    }
}

#[async_trait]
impl Ancestry for Mirrored {
    async fn is_descendant(&self, query: &StageQuery, digits: &str) -> PortResult<bool> {
        // A commit that has not landed is on no default branch.
        if !query.landed {
            return Ok(false);
        }
        let later = self.later(query).await?;
        Ok(later.iter().any(|commit| commit.as_str().starts_with(digits)))
    }
}
