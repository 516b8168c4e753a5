//! Pushes that did not arrive although the remote could be read, and when to try again.
//!
//! That is neither a branch that moved (its head differs: a new candidate is made) nor a remote
//! that cannot be read (it is waited for): the remote is as it was before the push. The cause may
//! be a hook, a permission, a lock that a killed process left, or a name in the way. Some of these
//! pass by themselves, so the push is tried a few times.

use serde::{Deserialize, Serialize};

use super::{Candidate, Run};
use crate::ids::At;
use crate::impediment;

/// How often a push that does not arrive is tried, the first time included.
const PUSHES: u32 = 4;

/// Pushes of a candidate to one branch that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedPush {
    /// The branch that they went to.
    pub branch: String,
    /// How many there were.
    pub times: u32,
    /// When the first did not arrive.
    pub since: At,
    /// When the newest did not arrive.
    pub at: At,
    /// What the remote said to the newest.
    pub why: String,
    /// The remote said that it had taken the newest push: that is not pushed again, because people
    /// may have taken it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken: bool,
}

/// What became of a push that did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushFailure {
    /// The remote refused it.
    Refused,
    /// Its answer was lost, so that it may still arrive.
    Lost,
    /// The remote took it, and does not show it.
    Taken,
}

impl FailedPush {
    /// When to try again; none if it was tried often enough.
    pub fn retry_at(&self) -> Option<At> {
        let next = self.at.checked_add(Run::backoff(self.times)).unwrap_or(At::MAX);
        (self.times < PUSHES).then_some(next)
    }

    /// Adds a push that did not arrive to those in `known`, which count if they went to the same
    /// branch.
    pub(super) fn after(
        known: Option<&Self>,
        branch: String,
        why: &str,
        how: PushFailure,
        at: At,
    ) -> Self {
        let known = known.filter(|known| known.branch == branch);
        let times = known.map_or(1, |known| known.times + 1);
        let since = known.map_or(at, |known| known.since);
        let taken = how == PushFailure::Taken;
        Self { branch, times, since, at, why: impediment::kept(why), taken }
    }
}

impl Candidate {
    /// Records that a push of it to `branch` did not arrive.
    pub(super) fn did_not_arrive(&mut self, branch: String, why: &str, how: PushFailure, at: At) {
        match how {
            // A refused push cannot arrive any more.
            PushFailure::Refused => self.sent_at = None,
            PushFailure::Lost | PushFailure::Taken => {}
        }
        let next = FailedPush::after(self.unpushed.as_ref(), branch, why, how, at);
        self.unpushed = Some(next);
    }

    /// Records that it was found on its own branch, so that no push of it is missing any more.
    pub(super) fn arrived_on_its_branch(&mut self, at: At) {
        self.unpushed = None;
        if let Some(tried) = &mut self.tried {
            tried.pushed_at.get_or_insert(at);
        }
    }
}

impl Run {
    /// The push that does not arrive, in a sentence for people, and since when.
    pub(super) fn unpushed(&self) -> Option<(String, At)> {
        let candidate = self.candidate()?;
        let unpushed = candidate.unpushed.as_ref()?;
        let FailedPush { branch, times, since, why, .. } = unpushed;
        let commit = candidate.commit.short();
        let often = if *times > 1 { format!(", {times} times") } else { String::new() };
        let what = format!("the push of {commit} to {branch} did not arrive{often}: {why}");
        Some((what, *since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> At {
        At::from_second(second).unwrap()
    }

    #[test]
    fn a_push_is_tried_again_after_pauses_that_grow_and_not_for_ever() {
        let mut known: Option<FailedPush> = None;
        let mut tried = Vec::new();
        let mut now = at(0);
        loop {
            let (main, how) = ("main".to_owned(), PushFailure::Refused);
            let next = FailedPush::after(known.as_ref(), main, "locked", how, now);
            tried.push(now.as_second());
            let again = next.retry_at();
            known = Some(next);
            let Some(again) = again else { break };
            now = again;
        }
        assert_eq!(tried, [0, 10, 30, 70]);
        let known = known.unwrap();
        assert_eq!((known.times, known.since), (4, at(0)));
        // Another branch is another push.
        let (other, how) = ("afk/try/1".to_owned(), PushFailure::Taken);
        let other = FailedPush::after(Some(&known), other, "no", how, at(99));
        assert!(other.taken && !known.taken);
        assert_eq!((other.times, other.since, other.retry_at()), (1, at(99), Some(at(109))));
    }
}
