//! Wakes what waits for a repo when its tracker or CI says that something happened there.
//!
//! A wake-up carries no facts: whoever is woken reads. All wake-ups of a repo that come before it
//! is read count as one, so that a flood of them costs as much as one, and delays no other repo. A
//! read right after a wake-up may still get the old state, so the repo is read again a little
//! later, twice.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::ids::{At, RepoName};
use jiff::SignedDuration;
use tokio::sync::watch;

use crate::bounds::later;

/// How long after a wake-up a repo is read again.
const AGAIN: [SignedDuration; 2] = [SignedDuration::from_secs(3), SignedDuration::from_secs(15)];
/// A repo whose webhooks wake the engine is polled only after this many intervals of the poll.
const STRETCH: i32 = 6;
/// For how long after a wake-up a repo is expected to wake the engine again.
const EXPECTED: SignedDuration = SignedDuration::from_hours(24);

/// How often each repo has woken the engine.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    of: watch::Sender<BTreeMap<RepoName, u64>>,
}

/// The wake-ups of one repo, as one task has seen them.
pub(crate) struct WakeWatch {
    repo: RepoName,
    newest: watch::Receiver<BTreeMap<RepoName, u64>>,
    known: Option<u64>,
}

impl Wakes {
    /// Wakes what waits for `repo`.
    pub(crate) fn wake(&self, repo: &RepoName) {
        self.of.send_modify(|all| *all.entry(repo.clone()).or_default() += 1);
    }

    /// Watches for wake-ups of `repo` from now on.
    pub(crate) fn watch(&self, repo: &RepoName) -> WakeWatch {
        WakeWatch { repo: repo.clone(), newest: self.of.subscribe(), known: None }
    }

    /// Forgets repos that are not configured.
    pub(crate) fn forget_others(&self, known: impl Fn(&RepoName) -> bool) {
        self.of.send_if_modified(|all| {
            let before = all.len();
            all.retain(|repo, _| known(repo));
            // Whoever has seen wake-ups of such a repo must count anew.
            all.len() != before
        });
    }

    /// Notifies of every wake-up.
    pub(crate) fn subscribe(&self) -> watch::Receiver<BTreeMap<RepoName, u64>> {
        self.of.subscribe()
    }
}

impl WakeWatch {
    /// Marks all wake-ups so far as seen, because the caller is about to read: only later ones
    /// count.
    pub(crate) fn mark_read(&mut self) {
        self.known = self.newest.borrow().get(&self.repo).copied();
    }

    /// Returns once the repo has a wake-up that was not marked as seen.
    pub(crate) async fn changed(&mut self) {
        let (repo, known) = (&self.repo, self.known);
        let other = |all: &BTreeMap<RepoName, u64>| all.get(repo).copied() != known;
        let nobody_tells = self.newest.wait_for(other).await.is_err();
        if nobody_tells {
            std::future::pending::<()>().await;
        }
    }
}

/// Which repos must be read: those that woke the engine, and those that are due again.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// For each repo, the count of [`Wakes`] that was taken in last.
    counted: BTreeMap<RepoName, u64>,
    /// Repos to be read as soon as their home is free.
    now: BTreeSet<RepoName>,
    /// Repos to be read again, by the time at which they are due.
    again: BTreeMap<At, BTreeSet<RepoName>>,
    /// When each repo woke the engine last.
    woke: BTreeMap<RepoName, At>,
    /// When each repo in `woke` was read last.
    read: BTreeMap<RepoName, At>,
}

impl Due {
    /// Takes in the wake-ups so far: `all` are the counts of [`Wakes`].
    pub(crate) fn take(&mut self, all: &BTreeMap<RepoName, u64>, now: At) {
        for (repo, count) in all {
            if self.counted.get(repo) != Some(count) {
                self.counted.insert(repo.clone(), *count);
                self.now.insert(repo.clone());
                self.woke.insert(repo.clone(), now);
                for pause in AGAIN {
                    self.again.entry(later(now, pause)).or_default().insert(repo.clone());
                }
            }
        }
    }

    /// Marks the repos as due that are to be read again by `now`, or later than any wake-up can
    /// ask for, because the clock was set back since.
    pub(crate) fn tick(&mut self, now: At) {
        let latest = AGAIN.map(|pause| later(now, pause)).into_iter().fold(now, At::max);
        while let Some(due) = self.again.first_entry().filter(|due| *due.key() <= now) {
            self.now.extend(due.remove());
        }
        while let Some(due) = self.again.last_entry().filter(|due| *due.key() > latest) {
            self.now.extend(due.remove());
        }
    }

    /// Adds repos to be read although they did not wake the engine.
    pub(crate) fn add(&mut self, repos: BTreeSet<RepoName>) {
        self.now.extend(repos);
    }

    /// When the next repo is due again.
    pub(crate) fn next(&self) -> Option<At> {
        self.again.keys().next().copied()
    }

    /// The repos that are due.
    pub(crate) fn repos(&self) -> impl Iterator<Item = &RepoName> {
        self.now.iter()
    }

    /// Forgets repos that are not configured. [`Wakes`] must have forgotten them before, or their
    /// old wake-ups count as new ones.
    pub(crate) fn forget_others(&mut self, known: impl Fn(&RepoName) -> bool) {
        self.counted.retain(|repo, _| known(repo));
        self.now.retain(&known);
        self.again.retain(|_, repos| {
            repos.retain(&known);
            !repos.is_empty()
        });
        self.woke.retain(|repo, _| known(repo));
        self.read.retain(|repo, _| known(repo));
    }

    /// Leaves out of `repos`, which are about to be polled, those that wake the engine by
    /// themselves and were read not long ago.
    pub(crate) fn stretch(
        &mut self,
        mut repos: BTreeSet<RepoName>,
        poll: SignedDuration,
        now: At,
    ) -> BTreeSet<RepoName> {
        let long = poll.checked_mul(STRETCH).unwrap_or(SignedDuration::MAX);
        repos.retain(|repo| {
            let since = |at: Option<&At>| at.map(|at| now.duration_since(*at));
            let expected = since(self.woke.get(repo)).is_some_and(|age| age < EXPECTED);
            let recent =
                since(self.read.get(repo)).is_some_and(|age| !age.is_negative() && age < long);
            self.now.contains(repo) || !expected || !recent
        });
        repos
    }

    /// Records that `repos` are about to be read.
    pub(crate) fn note_read(&mut self, repos: &BTreeSet<RepoName>, now: At) {
        for repo in repos {
            self.now.remove(repo);
            if self.woke.contains_key(repo) {
                self.read.insert(repo.clone(), now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: i64) -> At {
        At::from_second(1_800_000_000 + n).unwrap()
    }

    fn repos(names: &[&str]) -> BTreeSet<RepoName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn woken(counts: &[(&str, u64)]) -> BTreeMap<RepoName, u64> {
        counts.iter().map(|(name, n)| (name.parse().unwrap(), *n)).collect()
    }

    #[test]
    fn a_flood_counts_once_and_is_read_again_twice() {
        let mut due = Due::default();
        due.take(&woken(&[("o/a", 1000), ("o/b", 1)]), at(0));
        assert_eq!(now(&due), repos(&["o/a", "o/b"]));
        due.note_read(&repos(&["o/a", "o/c"]), at(0));
        assert_eq!(now(&due), repos(&["o/b"]));
        due.note_read(&repos(&["o/b"]), at(0));
        due.take(&woken(&[("o/a", 1000), ("o/b", 1)]), at(1));
        assert_eq!(now(&due), repos(&[]), "nothing new");
        for later in [3, 15] {
            assert_eq!(due.next(), Some(at(later)));
            due.tick(at(later - 1));
            assert_eq!(now(&due), repos(&[]));
            due.tick(at(later));
            assert_eq!(now(&due), repos(&["o/a", "o/b"]));
            due.note_read(&repos(&["o/a", "o/b"]), at(later));
        }
        assert_eq!(due.next(), None);
        // By a clock that was set back, the second time is too far away, and the first one is not.
        due.take(&woken(&[("o/a", 1001)]), at(100));
        due.note_read(&repos(&["o/a"]), at(100));
        due.tick(at(99));
        assert_eq!((now(&due), due.next()), (repos(&["o/a"]), Some(at(103))));
    }

    #[test]
    fn a_repo_that_is_not_configured_is_forgotten() {
        let mut due = Due::default();
        due.take(&woken(&[("o/a", 1), ("o/b", 1)]), at(0));
        due.note_read(&repos(&["o/a", "o/b"]), at(0));
        due.take(&woken(&[("o/a", 1), ("o/b", 2)]), at(100));
        let known = |repo: &RepoName| repo.to_string() == "o/a";
        due.forget_others(known);
        assert_eq!(now(&due), repos(&[]));
        due.tick(at(200));
        assert_eq!(now(&due), repos(&["o/a"]), "only this one is read again");
        assert_eq!(due.next(), None);
        assert!(due.counted.keys().chain(due.woke.keys()).chain(due.read.keys()).all(known));
        // Once it is configured again, its wake-ups count from the first.
        let wakes = Wakes::default();
        let other: RepoName = "o/b".parse().unwrap();
        wakes.wake(&other);
        wakes.wake(&other);
        wakes.forget_others(known);
        wakes.wake(&other);
        due.take(&wakes.subscribe().borrow(), at(300));
        assert_eq!(now(&due), repos(&["o/a", "o/b"]));
    }

    fn now(due: &Due) -> BTreeSet<RepoName> {
        due.repos().cloned().collect()
    }

    #[test]
    fn repos_that_wake_us_are_polled_less_often() {
        struct Polled(Due);
        impl Polled {
            fn stretch(
                &mut self,
                all: BTreeSet<RepoName>,
                poll: SignedDuration,
                at: At,
            ) -> BTreeSet<RepoName> {
                let read = self.0.stretch(all, poll, at);
                self.0.note_read(&read, at);
                read
            }
        }
        let poll = SignedDuration::from_secs(30);
        let all = repos(&["o/a", "o/b"]);
        let mut due = Polled(Due::default());
        assert_eq!(due.stretch(all.clone(), poll, at(0)), all);
        assert_eq!(due.stretch(all.clone(), poll, at(30)), all, "neither has ever woken us");
        due.0.take(&woken(&[("o/a", 1)]), at(40));
        assert_eq!(due.stretch(all.clone(), poll, at(60)), all, "it has woken us just now");
        assert_eq!(due.stretch(all.clone(), poll, at(90)), repos(&["o/b"]));
        assert_eq!(due.stretch(all.clone(), poll, at(239)), repos(&["o/b"]));
        assert_eq!(due.stretch(all.clone(), poll, at(240)), all);
        // A repo without a wake-up for a day may have lost its webhook.
        assert_eq!(due.stretch(all.clone(), poll, at(40 + 86_400)), all);
        assert_eq!(due.stretch(all.clone(), poll, at(70 + 86_400)), all);
    }

    #[tokio::test]
    async fn a_task_is_woken_for_its_own_repo_alone() {
        let wakes = Wakes::default();
        let mut watch = wakes.watch(&"o/a".parse().unwrap());
        watch.mark_read();
        wakes.wake(&"o/b".parse().unwrap());
        let none = tokio::time::timeout(std::time::Duration::from_millis(1), watch.changed()).await;
        assert!(none.is_err());
        wakes.wake(&"o/a".parse().unwrap());
        watch.changed().await;
        watch.mark_read();
        let none = tokio::time::timeout(std::time::Duration::from_millis(1), watch.changed()).await;
        assert!(none.is_err());
    }
}
