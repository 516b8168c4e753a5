//! A cache of what was read of candidates that are being judged.
//!
//! A proof takes several passes, and each needs the change and its trees again. Both follow from
//! commits that never change, so they are kept in memory for the next pass; after a restart they
//! are read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use afk_core::config::Repo;
use afk_core::ids::{Oid, RunId};
use afk_core::proof::{Fetch, TreeRecipe};
use afk_core::shared::Shared;

use super::judge::Change;

/// Maximum size of the blobs of a change that is kept; a larger change is read again by each pass.
const MOST_BYTES: usize = 8 << 20;
/// For how many runs a change is kept; one more drops them all.
const MOST_RUNS: usize = 16;

/// For each run, what was read of one candidate: the newest that was judged.
#[derive(Default)]
pub(crate) struct CandidateCache(BTreeMap<RunId, CachedCandidate>);

struct CachedCandidate {
    commit: Oid,
    /// The repo's table when the change was read, because its policy shapes the change.
    repo: Shared<Repo>,
    change: Arc<Change>,
    trees: Vec<(TreeRecipe, Oid)>,
    fetches: Vec<(Oid, Fetch)>,
}

impl CandidateCache {
    /// The change of the candidate `commit` of `run`, if it was read under the same `repo`.
    pub(super) fn change(
        &self,
        run: RunId,
        commit: &Oid,
        repo: &Shared<Repo>,
    ) -> Option<Arc<Change>> {
        let one = self.0.get(&run).filter(|one| one.commit == *commit && one.repo == *repo)?;
        Some(Arc::clone(&one.change))
    }

    /// Keeps a change, unless it is large.
    pub(super) fn keep(
        &mut self,
        run: RunId,
        commit: Oid,
        repo: Shared<Repo>,
        change: &Arc<Change>,
    ) {
        if change.blobs.bytes() > MOST_BYTES {
            return;
        }
        if self.0.len() >= MOST_RUNS {
            self.0.clear();
        }
        let change = Arc::clone(change);
        self.0.insert(
            run,
            CachedCandidate { commit, repo, change, trees: Vec::new(), fetches: Vec::new() },
        );
    }

    /// The tree that `recipe` makes of the candidate `commit` of `run`.
    pub(super) fn tree(&self, run: RunId, commit: &Oid, recipe: &TreeRecipe) -> Option<Oid> {
        let one = self.0.get(&run).filter(|one| one.commit == *commit)?;
        one.trees.iter().find(|(known, _)| known == recipe).map(|(_, tree)| tree.clone())
    }

    /// What is fetched for a tree of the candidate `commit` of `run`.
    pub(super) fn fetch(&self, run: RunId, commit: &Oid, tree: &Oid) -> Option<Fetch> {
        let one = self.0.get(&run).filter(|one| one.commit == *commit)?;
        one.fetches.iter().find(|(known, _)| known == tree).map(|(_, fetch)| fetch.clone())
    }

    /// Keeps what is fetched for a tree, if the change of its candidate is kept.
    pub(super) fn keep_fetch(&mut self, run: RunId, commit: &Oid, tree: &Oid, fetch: &Fetch) {
        if let Some(one) = self.0.get_mut(&run).filter(|one| one.commit == *commit) {
            one.fetches.push((tree.clone(), fetch.clone()));
        }
    }

    /// Keeps the tree that a recipe makes, if the change of its candidate is kept.
    pub(super) fn keep_tree(&mut self, run: RunId, commit: &Oid, recipe: TreeRecipe, tree: Oid) {
        if let Some(one) = self.0.get_mut(&run).filter(|one| one.commit == *commit) {
            one.trees.push((recipe, tree));
        }
    }
}
