//! Pull requests on which people decide. They are read twice a minute for as long as that takes:
//! what was read last is kept with its tag, so that an answer that nothing has changed, which
//! GitHub does not count against the quota, is enough.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use afk_core::ids::RepoName;

use crate::http::Validator;
use crate::pulls::Pull;

/// How many branches are kept. Beyond that all are forgotten, which costs each one whole answer.
const MANY: usize = 1_000;

/// A branch of a repo.
type Branch = (RepoName, String);

/// The branches with an open pull request, as they were last read.
#[derive(Default)]
pub(super) struct Watched(Mutex<HashMap<Branch, (Validator, Vec<Pull>)>>);

impl Watched {
    /// What was read last, and the validator of that answer.
    pub(super) fn of(&self, repo: &RepoName, branch: &str) -> Option<(Validator, Vec<Pull>)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&(repo.clone(), branch.to_owned())).cloned()
    }

    /// Keeps what was read, while one of the pull requests is open.
    pub(super) fn read(&self, repo: &RepoName, branch: &str, validator: Validator, pulls: &[Pull]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (repo.clone(), branch.to_owned());
        kept.remove(&at);
        if pulls.iter().any(|pull| pull.open) {
            if kept.len() >= MANY {
                kept.clear();
            }
            kept.insert(at, (validator, pulls.to_vec()));
        }
    }
}
