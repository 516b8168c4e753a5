//! Which repos are looked at again before the next poll, because something in them could not be
//! read or done, and when.
//!
//! Where webhooks wake the engine the next poll may be an hour away, and no webhook comes because a
//! read failed. The pause doubles with each failure in a row, up to the interval of the poll. A
//! repo is never tried before the time until which it is skipped, such as the end of a rate limit,
//! unless the clock is set back. [`super::trackers`] is the caller; nothing here reads a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use afk_core::ids::{At, RepoName};
use jiff::SignedDuration;

use crate::bounds::later;
use crate::ports::Switches;

/// How long after the first failure a repo is looked at again.
const FIRST: SignedDuration = SignedDuration::from_secs(10);

/// The repos to look at again.
#[derive(Debug, Default)]
pub(super) struct Retries {
    of: BTreeMap<RepoName, Retry>,
}

#[derive(Debug)]
struct Retry {
    /// Failures in a row.
    failures: u32,
    /// From when until when the repo is not looked at again; none once the next look is due.
    pause: Option<Range<At>>,
}

impl Retry {
    fn new(failures: u32) -> Self {
        Self { failures, pause: None }
    }

    /// Whether the pause is over. A clock that was set back ends it.
    fn is_over(&self, now: At) -> bool {
        self.pause.as_ref().is_none_or(|pause| !pause.contains(&now))
    }
}

impl Retries {
    /// Records that something in `repo` could not be read or done just now.
    pub(super) fn failed(&mut self, repo: RepoName, poll: SignedDuration, now: At) {
        let retry = self.of.entry(repo).or_insert(Retry::new(0));
        // A flood of wake-ups that all fail counts as one failure.
        if retry.is_over(now) {
            retry.failures = retry.failures.saturating_add(1);
        }
        let pause = FIRST.checked_mul(1 << retry.failures.saturating_sub(1).min(16));
        retry.pause = Some(now..later(now, pause.map_or(poll, |pause| pause.min(poll))));
    }

    /// Records that `repo` is skipped until then.
    pub(super) fn skipped(&mut self, repo: RepoName, until: At, now: At) {
        let retry = self.of.entry(repo).or_insert(Retry::new(1));
        let known = retry.pause.take().filter(|pause| pause.contains(&now));
        retry.pause = Some(now..known.map_or(until, |pause| pause.end.max(until)));
    }

    /// Ends the retries of those repos of `looked` that have not `failed`.
    pub(super) fn looked(
        &mut self,
        looked: &BTreeSet<RepoName>,
        failed: impl Fn(&RepoName) -> bool,
    ) {
        self.of.retain(|repo, _| !looked.contains(repo) || failed(repo));
    }

    /// Forgets repos that are not configured.
    pub(super) fn forget_others(&mut self, known: impl Fn(&RepoName) -> bool) {
        self.of.retain(|repo, _| known(repo));
    }

    /// Takes the repos whose next look is due.
    pub(super) fn take(&mut self, now: At) -> BTreeSet<RepoName> {
        let waits = self.of.iter_mut().filter(|(_, retry)| retry.pause.is_some());
        waits
            .filter(|(_, retry)| retry.is_over(now))
            .map(|(repo, retry)| {
                retry.pause = None;
                repo.clone()
            })
            .collect()
    }

    /// When the next look is due.
    pub(super) fn next(&self) -> Option<At> {
        self.of.values().filter_map(|retry| Some(retry.pause.as_ref()?.end)).min()
    }
}

/// The dispatch that a change of the switches allows and that was held back before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lifted {
    /// Nothing.
    Nothing,
    /// Dispatch on these repos, which were frozen.
    Freezes(BTreeSet<RepoName>),
    /// Dispatch anywhere.
    Everything,
}

/// What the switches `now` let begin that those of `before` held back. `None` stands for switches
/// that could not be read.
pub(super) fn lifted(before: Option<&Switches>, now: Option<&Switches>) -> Lifted {
    let stops = |switches: &Switches| switches.halt.is_some() || switches.pause.is_some();
    let Some(now) = now.filter(|now| !stops(now)) else { return Lifted::Nothing };
    let Some(before) = before.filter(|before| !stops(before)) else { return Lifted::Everything };
    let frozen = before.frozen.iter().map(|(repo, _)| repo);
    let thawed: BTreeSet<RepoName> =
        frozen.filter(|repo| now.freeze_of(repo).is_none()).cloned().collect();
    if thawed.is_empty() { Lifted::Nothing } else { Lifted::Freezes(thawed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Freeze, SwitchState};

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(n: i64) -> At {
        At::from_second(1_800_000_000 + n).unwrap()
    }

    fn repos(names: &[&str]) -> BTreeSet<RepoName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn repo(name: &str) -> RepoName {
        name.parse().unwrap()
    }

    #[test]
    fn the_pause_doubles_up_to_the_poll() {
        for (poll, expected) in [(3600, [10, 20, 40, 80]), (30, [10, 20, 30, 30]), (1, [1; 4])] {
            let (mut retries, mut now) = (Retries::default(), 0);
            for pause in expected {
                retries.failed(repo("o/a"), SignedDuration::from_secs(poll), at(now));
                assert_eq!(retries.next(), Some(at(now + pause)), "a poll each {poll} s");
                assert_eq!(retries.take(at(now + pause - 1)), repos(&[]));
                now += pause;
                assert_eq!(retries.take(at(now)), repos(&["o/a"]));
                assert_eq!(retries.next(), None, "taken once");
            }
        }
        let mut retries = Retries::default();
        for n in 0..100_000 {
            retries.failed(repo("o/a"), HOUR, at(n * 3600));
        }
        assert_eq!(retries.next(), Some(at(100_000 * 3600)));
    }

    #[test]
    fn looks_in_between_that_fail_put_off_the_next_one_and_count_once() {
        let mut retries = Retries::default();
        for second in 0..9 {
            retries.failed(repo("o/a"), HOUR, at(second));
            assert_eq!(retries.next(), Some(at(second + 10)));
        }
        retries.failed(repo("o/a"), HOUR, at(18));
        assert_eq!(retries.next(), Some(at(38)));
    }

    #[test]
    fn a_repo_is_not_tried_while_it_is_skipped() {
        let mut retries = Retries::default();
        retries.failed(repo("o/a"), HOUR, at(0));
        retries.skipped(repo("o/a"), at(900), at(0));
        retries.skipped(repo("o/b"), at(300), at(0));
        assert_eq!(retries.take(at(299)), repos(&[]));
        assert_eq!(retries.take(at(300)), repos(&["o/b"]));
        assert_eq!(retries.take(at(900)), repos(&["o/a"]));
        // One failure so far, so the pause is the second one.
        retries.failed(repo("o/a"), HOUR, at(900));
        assert_eq!(retries.next(), Some(at(920)));
        retries.skipped(repo("o/a"), at(910), at(900));
        assert_eq!(retries.next(), Some(at(920)));
    }

    #[test]
    fn a_clock_that_was_set_back_ends_a_pause() {
        let mut retries = Retries::default();
        retries.failed(repo("o/a"), HOUR, at(7200));
        retries.skipped(repo("o/b"), at(9000), at(7200));
        assert_eq!(retries.take(at(7200)), repos(&[]));
        assert_eq!(retries.take(at(7199)), repos(&["o/a", "o/b"]));
        // What is recorded then counts by the new time, and nothing of the old one.
        retries.failed(repo("o/b"), HOUR, at(7300));
        retries.skipped(repo("o/b"), at(200), at(100));
        assert_eq!((retries.take(at(199)), retries.next()), (repos(&[]), Some(at(200))));
        assert_eq!(retries.take(at(200)), repos(&["o/b"]));
    }

    #[test]
    fn only_what_was_looked_at_and_did_not_fail_is_over() {
        let mut retries = Retries::default();
        for name in ["o/a", "o/b", "o/c"] {
            retries.failed(repo(name), HOUR, at(0));
        }
        retries.looked(&repos(&["o/a", "o/b"]), |failed| *failed == repo("o/b"));
        assert_eq!(retries.take(at(10)), repos(&["o/b", "o/c"]));
        retries.forget_others(|repo| repo.to_string() != "o/b");
        retries.failed(repo("o/c"), HOUR, at(10));
        assert_eq!((retries.next(), retries.of.len()), (Some(at(30)), 1));
    }

    #[test]
    fn what_a_switch_held_back_begins_when_it_is_lifted() {
        let on = || SwitchState { by: "ann".to_owned(), at: at(0), why: String::new() };
        let halt = || Switches { halt: Some(on()), ..Switches::default() };
        let pause = || Switches { pause: Some(on()), ..Switches::default() };
        let frozen = |names: &[&str]| {
            let freeze = |name: &&str| (repo(name), Freeze { thrown: on(), paging: None });
            Switches { frozen: names.iter().map(freeze).collect(), ..Switches::default() }
        };
        let none = Switches::default;
        for (before, now, expected) in [
            (Some(none()), Some(none()), Lifted::Nothing),
            (None, None, Lifted::Nothing),
            (None, Some(none()), Lifted::Everything),
            (None, Some(pause()), Lifted::Nothing),
            (Some(none()), None, Lifted::Nothing),
            (Some(halt()), Some(none()), Lifted::Everything),
            (Some(pause()), Some(none()), Lifted::Everything),
            (Some(pause()), Some(halt()), Lifted::Nothing),
            (Some(none()), Some(pause()), Lifted::Nothing),
            (Some(none()), Some(frozen(&["o/a"])), Lifted::Nothing),
            (
                Some(frozen(&["o/a", "o/b"])),
                Some(frozen(&["o/b"])),
                Lifted::Freezes(repos(&["o/a"])),
            ),
            (Some(frozen(&["o/a"])), Some(pause()), Lifted::Nothing),
        ] {
            assert_eq!(lifted(before.as_ref(), now.as_ref()), expected, "{before:?} {now:?}");
        }
    }
}
