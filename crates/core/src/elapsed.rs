//! Which time counts for a run's deadlines.
//!
//! A run's clocks stop while people decide, while a usage limit is waited out, and while no control
//! plane runs. Those intervals are recorded as pauses, and deadlines only count the rest.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::ids::At;

/// A recorded time that is further ahead of the clock than this is from before the clock was set
/// back. A clock that is kept exact takes smaller steps.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);

/// An interval that does not count; open while `to` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it began.
    pub from: At,
    /// When it ended; none while it lasts.
    pub to: Option<At>,
    /// Why the clocks stand still.
    #[serde(default)]
    pub why: Standstill,
}

/// Why clocks stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standstill {
    /// The run waits for people, for a usage limit or for its agent. That wait may have a limit of
    /// its own. Pauses recorded before reasons were stored count as this.
    #[default]
    Wait,
    /// A person holds it: by a halt, or by a freeze.
    #[serde(rename = "held")]
    ByPerson,
    /// No control plane runs.
    Away,
}

impl Standstill {
    /// Whether it is the run's own wait.
    const fn is_wait(self) -> bool {
        match self {
            Self::Wait => true,
            Self::ByPerson | Self::Away => false,
        }
    }
}

/// The time between `since` and `now` that no pause covers; zero if `now` is earlier.
pub fn elapsed(since: At, now: At, pauses: &[Pause]) -> Duration {
    let mut spans: Vec<(At, At)> =
        pauses.iter().map(|pause| (pause.from, pause.to.unwrap_or(now).min(now))).collect();
    spans.sort_unstable();
    let mut off = Duration::ZERO;
    let mut covered = since;
    for (from, to) in spans {
        off += between(from.max(covered), to);
        covered = covered.max(to);
    }
    between(since, now).saturating_sub(off)
}

/// The time between `since` and `now` for a wait that itself stops the run's clocks. It leaves out
/// only the time in which nothing could come of the wait: while a person held the run, and while no
/// control plane ran.
pub fn waited(since: At, now: At, pauses: &[Pause]) -> Duration {
    elapsed(since, now, &standstills(pauses))
}

/// The pauses that are not a wait of the run itself.
pub fn standstills(pauses: &[Pause]) -> Vec<Pause> {
    pauses.iter().copied().filter(|pause| !pause.why.is_wait()).collect()
}

/// When `bound` will have elapsed since `since`, if no pause is added; none while one is open.
pub fn deadline(since: At, bound: Duration, now: At, pauses: &[Pause]) -> Option<At> {
    if pauses.iter().any(|pause| pause.to.is_none()) {
        return None;
    }
    let left = bound.saturating_sub(elapsed(since, now, pauses));
    now.checked_add(left).ok()
}

/// The first moment in `from..to` that no pause covers; none if all of it is covered.
pub fn uncovered(from: At, to: At, pauses: &[Pause]) -> Option<At> {
    let mut spans: Vec<(At, At)> =
        pauses.iter().map(|pause| (pause.from, pause.to.unwrap_or(At::MAX))).collect();
    spans.sort_unstable();
    let mut first = from;
    for (begun, ended) in spans {
        if begun <= first {
            first = first.max(ended);
        }
    }
    (first < to).then_some(first)
}

/// Whether `pauses`, which were recorded as they began or after they ended, show at `now` that the
/// clock was set back since.
pub fn show_set_back(pauses: &[Pause], now: At) -> bool {
    let latest = now.checked_add(AHEAD).unwrap_or(At::MAX);
    pauses.iter().any(|pause| pause.to.unwrap_or(pause.from) > latest)
}

/// Cuts off what `pauses` have of the time after `now`: it is yet to come, and nothing is known of
/// it.
pub fn cut(pauses: &mut [Pause], now: At) {
    for pause in pauses {
        pause.from = pause.from.min(now);
        pause.to = pause.to.map(|to| to.min(now));
    }
}

/// The time from `from` to `to`; zero if `to` is earlier.
fn between(from: At, to: At) -> Duration {
    to.duration_since(from).try_into().unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> At {
        At::from_second(second).unwrap()
    }

    fn pause(from: i64, to: i64) -> Pause {
        Pause { from: at(from), to: Some(at(to)), why: Standstill::Wait }
    }

    fn open(from: i64) -> Pause {
        Pause { from: at(from), to: None, why: Standstill::Wait }
    }

    #[test]
    fn pauses_are_taken_off_once_however_they_overlap() {
        let check = |pauses: &[Pause], expected| {
            assert_eq!(elapsed(at(100), at(200), pauses).as_secs(), expected, "{pauses:?}");
        };
        check(&[], 100);
        check(&[pause(110, 120)], 90);
        check(&[pause(110, 130), pause(120, 140)], 70);
        check(&[pause(110, 140), pause(120, 130)], 70);
        check(&[pause(0, 150)], 50);
        check(&[pause(190, 500)], 90);
        check(&[pause(0, 50), pause(300, 400)], 100);
        check(&[open(150)], 50);
        assert_eq!(elapsed(at(200), at(100), &[]), Duration::ZERO);
    }

    #[test]
    fn a_deadline_moves_with_the_pauses_and_stands_still_in_one() {
        let bound = Duration::from_mins(1);
        assert_eq!(deadline(at(0), bound, at(30), &[pause(10, 20)]), Some(at(70)));
        assert_eq!(deadline(at(0), bound, at(30), &[open(10)]), None);
    }

    #[test]
    fn a_wait_counts_but_for_the_time_in_which_nothing_could_come() {
        let check = |pauses: &[Pause], expected| {
            assert_eq!(waited(at(100), at(200), pauses).as_secs(), expected, "{pauses:?}");
        };
        let by_person = |from, to| Pause { why: Standstill::ByPerson, ..pause(from, to) };
        let away = |from, to| Pause { why: Standstill::Away, ..pause(from, to) };
        check(&[], 100);
        check(&[pause(110, 120), open(150)], 100);
        check(&[open(100), away(110, 150)], 60);
        check(&[pause(100, 150), by_person(150, 190)], 60);
        check(&[away(110, 150), by_person(140, 160)], 50);
    }

    #[test]
    fn after_a_clock_was_set_back_nothing_is_paused_in_advance() {
        let check = |mut pauses: Vec<Pause>, shows, expected: &[Pause]| {
            assert_eq!(show_set_back(&pauses, at(1000)), shows, "{pauses:?}");
            cut(&mut pauses, at(1000));
            assert_eq!(pauses, expected);
            assert!(!show_set_back(&pauses, at(1000)), "once is enough");
        };
        check(vec![pause(100, 200), open(900)], false, &[pause(100, 200), open(900)]);
        check(vec![pause(990, 1060)], false, &[pause(990, 1000)]);
        check(vec![pause(100, 200), pause(990, 8200)], true, &[pause(100, 200), pause(990, 1000)]);
        check(vec![pause(8000, 8200)], true, &[pause(1000, 1000)]);
        check(vec![open(8000)], true, &[open(1000)]);
    }

    #[test]
    fn what_is_covered_already_is_not_covered_again() {
        let pause =
            |from, to: Option<i64>| Pause { from: at(from), to: to.map(at), why: Standstill::Wait };
        let check = |pauses: &[Pause], expected: Option<i64>| {
            assert_eq!(uncovered(at(10), at(20), pauses), expected.map(at), "{pauses:?}");
        };
        check(&[], Some(10));
        check(&[pause(10, Some(15))], Some(15));
        check(&[pause(14, Some(18)), pause(10, Some(15))], Some(18));
        check(&[pause(0, Some(9)), pause(12, Some(30))], Some(10));
        check(&[pause(10, Some(15)), pause(15, Some(18))], Some(18));
        check(&[pause(10, Some(15)), pause(16, Some(18))], Some(15));
        check(&[pause(5, Some(19))], Some(19));
        check(&[pause(5, Some(20))], None);
        check(&[pause(5, None)], None);
        check(&[pause(2, Some(14)), pause(3, Some(12))], Some(14));
    }
}
