//! What stages answered about a commit, and when each must run or be polled again.
//!
//! A failure counts once the stage has failed twice. A stage that could not run, or that fails on
//! the base too, is run again after a growing pause: a few times on a candidate, until its deadline
//! on what landed. The answers alone determine the next time.

use serde::{Deserialize, Serialize};

use super::{BaseAsked, Candidate, Run};
use crate::ids::{At, Oid};
use crate::verdict::{StageAnswer, StageNames};

/// How many times a stage that could not run on a candidate is run again.
const AGAIN: u32 = 2;

/// The newest answer of one stage about a commit: a landed one, or a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRecord {
    /// The stage's name.
    pub name: String,
    /// What it answered.
    pub answer: StageAnswer,
    /// When it answered; for a confirmed failure, when the failure was confirmed.
    pub at: At,
    /// A link for people.
    pub link: Option<String>,
    /// The end of its output, if it failed.
    pub tail: Option<String>,
    /// The number of its newest run, from 0; it is run again as long as no run has decided.
    #[serde(default)]
    pub again: u32,
    /// When it was last run again after a failure, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<At>,
    /// Whether the stage failed twice, so that the failure counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confirmed: bool,
    /// Whether it passed after it had failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
    /// Whether the stage brings the commit to its users, or sees it there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deploys: bool,
}

impl StageRecord {
    /// Returns the first answer of the stage `name`, without link and output.
    pub fn new(name: &str, answer: StageAnswer, at: At) -> Self {
        Self {
            name: name.to_owned(),
            answer,
            at,
            link: None,
            tail: None,
            again: 0,
            asked_at: None,
            confirmed: false,
            flaky: false,
            deploys: false,
        }
    }

    /// Returns what to record of this answer if `known` was recorded of the stage before; none if
    /// it is not news. A success stays, and a failure stays until there is a success.
    pub fn after(self, known: Option<&Self>) -> Option<Self> {
        use StageAnswer::{Failure, None as Nothing, Pending, Success, Void};
        let Some(known) = known else {
            return (self.answer != Nothing).then_some(self);
        };
        match (known.answer, self.answer) {
            (Success, _) | (Failure, Nothing | Pending) => None,
            (Failure, Failure) => (self.again > known.again).then_some(Self {
                // `at` starts the deadline: anew when the failure is confirmed, then no more.
                at: if known.confirmed { known.at } else { self.at },
                asked_at: Some(self.at),
                confirmed: true,
                ..self
            }),
            // The failure stays as it was; only the number of the run goes up.
            (Failure, Void) => (self.again > known.again).then(|| Self {
                again: self.again,
                asked_at: Some(self.at),
                ..known.clone()
            }),
            (Failure, Success) => Some(Self { flaky: true, ..self }),
            (Nothing | Pending | Void, _) => {
                let new = self.answer != known.answer
                    || self.again != known.again
                    || self.link != known.link;
                new.then_some(self)
            }
        }
    }

    /// The run to poll or start next: its number, and when it may start if it has to wait. None
    /// once the stage has passed.
    pub fn next_asking(&self) -> Option<(u32, Option<At>)> {
        let again = self.again + 1;
        let paused = self.asked_at.unwrap_or(self.at).checked_add(Run::backoff(again)).ok();
        match self.answer {
            StageAnswer::None | StageAnswer::Pending => Some((self.again, None)),
            StageAnswer::Failure if self.again == 0 => Some((again, None)),
            StageAnswer::Failure | StageAnswer::Void => Some((again, paused)),
            StageAnswer::Success => None,
        }
    }

    /// Whether it failed, and that is confirmed.
    pub fn is_red(&self) -> bool {
        self.answer == StageAnswer::Failure && self.confirmed
    }

    /// Whether it could not run, and was tried too often to be run again.
    pub fn never_ran(&self) -> bool {
        self.answer == StageAnswer::Void && self.again >= AGAIN
    }
}

impl Candidate {
    /// The newest answer of the stage `name`.
    pub fn stage(&self, name: &str) -> Option<&StageRecord> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The run of the stage `name` to poll or start next before landing: its number, and when it
    /// may start if it has to wait. None if the stage has decided, or is not run again.
    pub fn next_asking(&self, name: &str) -> Option<(u32, Option<At>)> {
        let Some(known) = self.stage(name) else { return Some((0, None)) };
        known.next_asking().filter(|_| !known.never_ran() && !known.is_red())
    }

    /// Whether a stage of it is running, according to the record.
    pub(super) fn is_at_work(&self) -> bool {
        self.answered(&[StageAnswer::Pending]).next().is_some()
    }

    /// What each of `stages` has answered, in their order.
    pub fn answers(&self, stages: &StageNames) -> Vec<StageAnswer> {
        let answer = |name: &String| self.stage(name).map_or(StageAnswer::None, |one| one.answer);
        stages.names().iter().map(answer).collect()
    }

    /// When the wait for the next result began: for the next stage's answer or, after a failure,
    /// for its attribution and a fix.
    pub fn waiting_since(&self) -> At {
        let answered = self.answered(&[StageAnswer::Success, StageAnswer::Failure]);
        answered.chain(self.landed_at).max().unwrap_or(self.at)
    }

    /// When the wait for the next stage before landing began.
    pub fn asked_since(&self) -> At {
        let pushed = self.tried.and_then(|tried| tried.pushed_at);
        let answered = self.answered(&[StageAnswer::Success, StageAnswer::Void]);
        answered.chain(pushed).max().unwrap_or(self.at)
    }

    /// When it failed, if a stage of it did; of several failures the latest.
    pub fn failed_at(&self) -> Option<At> {
        self.answered(&[StageAnswer::Failure]).max()
    }

    /// Whether one of its stages gave no result.
    pub(super) fn is_void(&self) -> bool {
        self.answered(&[StageAnswer::Void]).next().is_some()
    }

    /// The times of the stages whose newest answer is one of `which`.
    fn answered(&self, which: &'static [StageAnswer]) -> impl Iterator<Item = At> {
        self.stages.iter().filter(|stage| which.contains(&stage.answer)).map(|stage| stage.at)
    }

    /// Records that `base`, a head of the default branch, fails as the candidate failed.
    pub(super) fn base_is_red(&mut self, base: Oid, at: At) {
        let same = self.base_asked.filter(|_| self.red_bases.last() == Some(&base));
        self.base_asked = Some(BaseAsked { again: same.map_or(0, |known| known.again + 1), at });
        self.red_bases.retain(|known| *known != base);
        self.red_bases.push(base);
    }

    /// Records a stage's newest answer.
    pub(super) fn record_answer(&mut self, stage: StageRecord) {
        match self.stages.iter_mut().find(|known| known.name == stage.name) {
            Some(known) => *known = stage,
            None => self.stages.push(stage),
        }
    }
}

#[cfg(test)]
mod tests {
    use StageAnswer::{Failure, None as Nothing, Pending, Success, Void};

    use super::*;

    fn said(answer: StageAnswer, second: i64, again: u32) -> StageRecord {
        StageRecord { again, ..StageRecord::new("ci", answer, At::from_second(second).unwrap()) }
    }

    /// `known` with each of these answers recorded, as far as they are news.
    fn answered(
        known: Option<StageRecord>,
        all: &[(StageAnswer, i64, u32)],
    ) -> Option<StageRecord> {
        all.iter().fold(known, |known, (answer, second, again)| {
            said(*answer, *second, *again).after(known.as_ref()).or(known)
        })
    }

    #[test]
    fn a_failure_is_believed_the_second_time_and_a_success_at_once_and_for_good() {
        let check = |all: &[(StageAnswer, i64, u32)], expected: (StageAnswer, bool, bool)| {
            let known = answered(None, all).unwrap();
            assert_eq!((known.answer, known.is_red(), known.flaky), expected, "{all:?}");
        };
        check(&[(Failure, 1, 0)], (Failure, false, false));
        check(&[(Failure, 1, 0), (Failure, 2, 0)], (Failure, false, false));
        check(&[(Failure, 1, 0), (Failure, 2, 1)], (Failure, true, false));
        check(&[(Failure, 1, 0), (Success, 2, 1)], (Success, false, true));
        check(&[(Failure, 1, 0), (Failure, 2, 1), (Success, 3, 2)], (Success, false, true));
        check(&[(Success, 1, 0), (Failure, 2, 0), (Failure, 3, 1)], (Success, false, false));
        // A run without a result does not change a failure.
        check(&[(Failure, 1, 0), (Pending, 2, 1)], (Failure, false, false));
        check(&[(Failure, 1, 0), (Void, 2, 1), (Failure, 3, 2)], (Failure, true, false));
        check(&[(Failure, 1, 0), (Failure, 2, 1), (Void, 3, 2)], (Failure, true, false));
        check(&[(Void, 1, 0), (Failure, 2, 1)], (Failure, false, false));
        check(&[(Void, 1, 0), (Success, 2, 1)], (Success, false, false));
        check(&[(Pending, 1, 0), (Void, 2, 0), (Pending, 3, 1)], (Pending, false, false));
        assert_eq!(answered(None, &[(Nothing, 1, 0)]), None);
    }

    #[test]
    fn what_is_said_twice_is_no_news() {
        let check = |known: StageRecord, answer, again, news: bool| {
            assert_eq!(said(answer, 9, again).after(Some(&known)).is_some(), news, "{known:?}");
        };
        check(said(Pending, 1, 0), Pending, 0, false);
        check(said(Pending, 1, 0), Nothing, 0, true);
        check(said(Void, 1, 0), Void, 0, false);
        check(said(Void, 1, 0), Void, 1, true);
        let link = Some("https://ci.example/2".to_owned());
        check(StageRecord { link, ..said(Pending, 1, 0) }, Pending, 0, true);
    }

    #[test]
    fn what_does_not_decide_is_asked_again_after_a_pause_that_grows() {
        let check = |all: &[(StageAnswer, i64, u32)], expected: Option<(u32, Option<i64>)>| {
            let next = answered(None, all).unwrap().next_asking();
            let next = next.map(|(again, from)| (again, from.map(At::as_second)));
            assert_eq!(next, expected, "{all:?}");
        };
        check(&[(Pending, 100, 0)], Some((0, None)));
        check(&[(Success, 100, 0)], None);
        check(&[(Void, 100, 0)], Some((1, Some(110))));
        check(&[(Void, 100, 0), (Void, 110, 1)], Some((2, Some(130))));
        check(&[(Failure, 100, 0)], Some((1, None)));
        check(&[(Failure, 100, 0), (Void, 101, 1)], Some((2, Some(121))));
        check(&[(Failure, 100, 0), (Failure, 101, 1)], Some((2, Some(121))));
        check(&[(Failure, 100, 0), (Failure, 101, 1), (Void, 121, 2)], Some((3, Some(161))));
    }
}
