//! Repos that cannot be read at the moment, and when to try each again.
//!
//! A failing repo affects no other: it is skipped for a time that doubles, or until the time that
//! its tracker named, or until the clock is set back. Kept in memory only: a control plane that
//! starts tries every repo.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::ids::{At, RepoName};

/// How long a repo is skipped after its first failure.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
/// The longest that a failing repo is skipped.
const LONGEST: SignedDuration = SignedDuration::from_mins(5);
/// The longest that a rate limit is believed: a wrong reset time must not lose a repo.
pub const LONGEST_LIMIT: SignedDuration = SignedDuration::from_hours(1);

/// The failures of one repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong last.
    pub why: String,
    /// When the first of these failures happened.
    pub since: At,
    /// When the last of them happened.
    pub last: At,
    /// How many failures there were without an answer between them.
    pub failures: u32,
    /// When the repo is tried again.
    pub until: At,
}

impl Trouble {
    /// Whether the repo must be skipped at `now`. A clock that was set back ends that: by the new
    /// time it would take as much longer.
    pub fn waits(&self, now: At) -> bool {
        (self.last..self.until).contains(&now)
    }
}

/// The repos that cannot be read at the moment.
#[derive(Debug, Clone, Default)]
pub struct Troubles {
    of: BTreeMap<RepoName, Trouble>,
}

impl Troubles {
    /// Whether `repo` must be skipped at `now`.
    pub fn waits(&self, repo: &RepoName, now: At) -> bool {
        self.of.get(repo).is_some_and(|trouble| trouble.waits(now))
    }

    /// Records a failure; `reset` is when a rate limit ends. Returns whether it is news: a first
    /// failure, or another reason than before.
    pub fn failed(&mut self, repo: &RepoName, why: &str, reset: Option<At>, now: At) -> bool {
        let before = self.of.remove(repo);
        let (since, failures) =
            before.as_ref().map_or((now, 1), |old| (old.since, old.failures.saturating_add(1)));
        let news = before.is_none_or(|old| old.why != why);
        let until = retry_at(failures, reset, now);
        let why = why.to_owned();
        self.of.insert(repo.clone(), Trouble { why, since, last: now, failures, until });
        news
    }

    /// Records that `repo` answered; returns the failures that are over.
    pub fn answered(&mut self, repo: &RepoName) -> Option<Trouble> {
        self.of.remove(repo)
    }

    /// The failing repos, by name.
    pub fn all(&self) -> impl Iterator<Item = (&RepoName, &Trouble)> {
        self.of.iter()
    }

    /// Forgets repos that are no longer read.
    pub fn retain(&mut self, asked: impl Fn(&RepoName) -> bool) {
        self.of.retain(|repo, _| asked(repo));
    }
}

/// When to try again after `failures` consecutive failures; `reset` is the end of a rate limit, if
/// the last failure named one.
pub fn retry_at(failures: u32, reset: Option<At>, now: At) -> At {
    let doubled = FIRST.checked_mul(1 << failures.saturating_sub(1).min(16));
    let pause = doubled.unwrap_or(LONGEST).min(LONGEST);
    let later = |by| now.checked_add(by).unwrap_or(At::MAX);
    match reset {
        None => later(pause),
        Some(reset) => reset.clamp(later(SignedDuration::from_secs(1)), later(LONGEST_LIMIT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> At {
        At::from_second(second).unwrap()
    }

    #[test]
    fn the_pause_doubles_up_to_five_minutes_and_a_limit_is_waited_out() {
        let check = |failures, reset: Option<i64>, expected: i64| {
            assert_eq!(retry_at(failures, reset.map(at), at(1000)), at(1000 + expected));
        };
        check(0, None, 10);
        check(1, None, 10);
        check(2, None, 20);
        check(5, None, 160);
        check(6, None, 300);
        check(u32::MAX, None, 300);
        check(1, Some(1900), 900);
        // A reset in the past, and an absurd one.
        check(9, Some(3), 1);
        check(1, Some(1_000_000), 3600);
    }

    #[test]
    fn a_trouble_is_news_once_and_ends_with_an_answer() {
        let (a, b): (RepoName, RepoName) = ("o/a".parse().unwrap(), "o/b".parse().unwrap());
        let mut now = Troubles::default();
        assert!(now.failed(&a, "no such host", None, at(0)));
        assert!(!now.failed(&a, "no such host", None, at(10)));
        assert!(now.failed(&a, "no way in", None, at(30)));
        assert!(now.waits(&a, at(69)) && !now.waits(&a, at(70)) && !now.waits(&b, at(0)));
        assert!(!now.waits(&a, at(29)), "the clock was set back");
        let told: Vec<_> = now.all().map(|(repo, trouble)| (repo, trouble.failures)).collect();
        assert_eq!(told, [(&a, 3)]);
        let over = now.answered(&a).unwrap();
        assert_eq!((over.since, over.failures), (at(0), 3));
        assert!(now.failed(&a, "no way in", None, at(100)) && now.answered(&b).is_none());
        now.retain(|repo| *repo == b);
        assert_eq!(now.all().count(), 0);
    }
}
