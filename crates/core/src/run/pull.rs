//! The pull request of a candidate, for repos in which people decide what lands.

use serde::{Deserialize, Serialize};

use super::{Candidate, Run};
use crate::ids::{At, Oid};
use crate::message;
use crate::usd::Usd;

/// A candidate's pull request. Its branch follows from the record, so that it can be found after a
/// crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// When opening it was decided.
    pub begun_at: At,
    /// What was last seen of it; none if nothing was.
    pub seen: Option<PullSeen>,
}

/// A pull request as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullSeen {
    /// A link for people.
    pub link: String,
    /// What people decided.
    pub state: PullState,
}

/// What people decided about a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PullState {
    /// Nothing yet.
    Open,
    /// They merged it.
    Merged {
        /// The commit that the default branch got.
        commit: Oid,
    },
    /// They closed it.
    Closed,
    /// Another one replaced it.
    Superseded,
}

impl Candidate {
    /// Records that its pull request is about to be opened, after which people may merge it.
    pub(super) fn begin_pull(&mut self, at: At) {
        self.sent_at.get_or_insert(at);
        self.pull.get_or_insert(Pull { begun_at: at, seen: None });
    }

    /// What people decided about its pull request, as last seen.
    pub fn pull_state(&self) -> Option<&PullState> {
        self.pull.as_ref()?.seen.as_ref().map(|seen| &seen.state)
    }
}

impl Run {
    /// Whether it has its repo's lock: then it also counts for the capacity and reserves the rest of
    /// its budget.
    pub fn holds_lock(&self) -> bool {
        self.settled_at.is_none() && self.aside_since.is_none()
    }

    /// What is reserved of the day's caps for what it may still spend: nothing while people decide
    /// on its pull request, and once it is over. A turn under way may spend what was reserved for
    /// it, even if the budget was lowered since.
    pub fn reserved(&self) -> Usd {
        if self.conclusion.is_some() || self.aside_since.is_some() {
            return Usd::ZERO;
        }
        let under_way = self.turn().filter(|turn| turn.ended.is_none());
        self.budget_left().max(under_way.map_or(Usd::ZERO, |turn| turn.reserved))
    }

    /// What is left of its budget. What a turn under way has cost so far is not spent yet.
    pub fn budget_left(&self) -> Usd {
        self.budget.saturating_sub(self.spent())
    }

    /// Whether a turn is under way that may spend more than what is left of the budget, because
    /// the budget was lowered since the turn was begun.
    pub(super) fn lowered_under_turn(&self) -> bool {
        let under_way = self.turn().filter(|turn| turn.ended.is_none());
        under_way.is_some_and(|turn| turn.reserved > self.budget_left())
    }

    pub(super) fn step_aside(&mut self, at: At) {
        self.aside_since.get_or_insert(at);
    }

    pub(super) fn take_up(&mut self, budget: Usd) {
        self.aside_since = None;
        self.budget = budget;
        // The run took the label off by itself, and has not seen it present since.
        self.labels_seen.in_progress = false;
    }

    /// Whether it stepped aside and needs the lock again, because its pull request was merged.
    pub fn wants_lock(&self) -> bool {
        let merged = |one: &Candidate| {
            one.landed_at.is_some() || matches!(one.pull_state(), Some(PullState::Merged { .. }))
        };
        self.aside_since.is_some()
            && self.conclusion.is_none()
            && self.attempt().and_then(|of| of.candidates.last()).is_some_and(merged)
    }

    /// Whether it stepped aside, and people have not decided on its pull request.
    pub(super) fn awaits_people(&self) -> bool {
        self.aside_since.is_some() && self.conclusion.is_none() && !self.wants_lock()
    }

    /// The branch of the pull request of the newest candidate, by which it is found again.
    pub fn pull_branch(&self) -> String {
        self.try_branch(self.candidates().last().map_or(0, |(n, _)| n))
    }
}

/// Title and body of the pull request whose candidate has this message. The trailers stay in the
/// commit.
pub fn pull_text(commit: &str) -> (String, String) {
    let (title, body) = commit.split_once('\n').unwrap_or((commit, ""));
    let trailers = [message::RUN_TRAILER, message::ATTEMPT_TRAILER];
    let is_trailer =
        |line: &&str| trailers.iter().any(|name| line.starts_with(&format!("{name}:")));
    let body: Vec<&str> = body.lines().filter(|line| !is_trailer(line)).collect();
    (title.trim().to_owned(), body.join("\n").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_request_says_what_its_commit_says() {
        let check = |commit: &str, title: &str, body: &str| {
            assert_eq!(pull_text(commit), (title.to_owned(), body.to_owned()), "{commit:?}");
        };
        check("Say two", "Say two", "");
        let trailers = format!("{}: r\n{}: 1\n", message::RUN_TRAILER, message::ATTEMPT_TRAILER);
        check(
            &format!("Say two\n\nSo that it is said.\n\nRefs #7\n{trailers}"),
            "Say two",
            "So that it is said.\n\nRefs #7",
        );
    }
}
