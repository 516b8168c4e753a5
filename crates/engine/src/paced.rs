//! Keeps polled stages from being polled again before a pause is over, however often a pass asks.
//!
//! The pause is 5 s and doubles up to 60 s while the answer stays the same, unless the stage names
//! the time of its next look. Meanwhile the last answer is returned. A wake-up of the repo shortens
//! the pause to the first one, but no further, so that a flood of wake-ups costs no more than that.
//! Kept in memory only: after a start each stage is polled once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use afk_core::ids::{At, Oid, RepoName, RunId};
use afk_core::trouble;
use jiff::SignedDuration;

use crate::bounds::later;
use crate::ports::{Clock, PortError, PortErrorKind, PortResult, StageQuery, StageReport, Stages};

/// The first pause.
const FIRST: SignedDuration = SignedDuration::from_secs(5);
/// The longest pause, unless the stage names one.
const LONGEST: SignedDuration = SignedDuration::from_secs(60);
/// The longest pause that a stage may name.
const NAMED: SignedDuration = SignedDuration::from_mins(10);
/// After this time without a poll, a commit is forgotten.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);

/// The result of a poll.
pub(crate) enum Polled {
    /// The stage's answer, now or at the last poll, and the time of the next poll.
    Says(StageReport, At),
    /// There is no answer for this round yet, and it is too early to poll before then.
    NotYet(At),
}

/// The last answer about a commit.
struct Known {
    repo: RepoName,
    again: u32,
    /// How many polls in a row gave this answer.
    polls: u32,
    said: Result<StageReport, (PortErrorKind, String)>,
    asked: At,
    until: At,
}

/// The run that asks, the repo, the stage's name, and the commit.
type Key = (RunId, RepoName, String, Oid);

/// The polled stages, with pauses between polls.
pub(crate) struct Paced {
    stages: Arc<dyn Stages>,
    clock: Arc<dyn Clock>,
    known: Mutex<BTreeMap<Key, Known>>,
}

impl Paced {
    pub(crate) fn new(stages: Arc<dyn Stages>, clock: Arc<dyn Clock>) -> Self {
        Self { stages, clock, known: Mutex::default() }
    }

    /// The stage's answer, polled if its pause is over.
    pub(crate) async fn poll(&self, query: &StageQuery) -> PortResult<Polled> {
        let StageQuery { run, repo, stage, commit, .. } = query;
        let key = (*run, repo.clone(), stage.name.clone(), commit.clone());
        let now = self.clock.now();
        if let Some(known) = self.known().get(&key).filter(|known| known.holds(now)) {
            return known.given(query.again);
        }
        let answer = self.stages.poll(query).await;
        let now = self.clock.now();
        let mut all = self.known();
        all.retain(|_, known| now.duration_since(known.asked).abs() < FORGOTTEN);
        let polls = all.get(&key).map_or(0, |before| before.polls_with(query.again, &answer));
        let pause = (FIRST * (1 << polls.min(4))).min(LONGEST);
        let until = match &answer {
            Ok(StageReport { next_look: Some(at), .. }) => {
                (*at).clamp(later(now, FIRST), later(now, NAMED))
            }
            Ok(StageReport { next_look: None, .. }) => later(now, pause),
            Err(error) => error
                .reset()
                .map_or_else(|| later(now, pause), |at| trouble::retry_at(1, Some(at), now)),
        };
        let said = answer.map_err(|error| (error.kind, error.chain()));
        let (repo, again) = (query.repo.clone(), query.again);
        let known = Known { repo, again, polls: polls + 1, said, asked: now, until };
        let given = known.given(query.again);
        all.insert(key, known);
        given
    }

    /// Shortens the pauses of stages in `repo`: something happened there, so that their answers may
    /// be out of date.
    pub(crate) fn wake(&self, repo: &RepoName) {
        for known in self.known().values_mut().filter(|known| known.repo == *repo) {
            known.wake();
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Key, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether the stage must not be polled yet at `now`. A clock that was set back ends the pause.
    fn holds(&self, now: At) -> bool {
        (self.asked..self.until).contains(&now)
    }

    /// Shortens the pause to the first one; a rate limit stays.
    fn wake(&mut self) {
        if !matches!(self.said, Err((PortErrorKind::RateLimited { .. }, _))) {
            self.until = self.until.min(later(self.asked, FIRST));
            // The next answer may still be the old one, so that more polls should follow soon.
            self.polls = 0;
        }
    }

    fn given(&self, again: u32) -> PortResult<Polled> {
        match &self.said {
            Ok(report) if self.again == again => Ok(Polled::Says(report.clone(), self.until)),
            Ok(_) => Ok(Polled::NotYet(self.until)),
            Err((kind, what)) => Err(PortError::new(*kind, what.clone())),
        }
    }

    /// How many polls in a row had the same answer as `answer`.
    fn polls_with(&self, again: u32, answer: &PortResult<StageReport>) -> u32 {
        let same = match (&self.said, answer) {
            (Ok(before), Ok(now)) => self.again == again && before.answer == now.answer,
            (Err(_), Err(_)) => true,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        if same { self.polls } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use afk_core::config;
    use afk_core::verdict::StageAnswer;
    use async_trait::async_trait;

    use super::*;

    /// A clock that is set by the test, and a stage that gives one answer after the other.
    #[derive(Default)]
    struct World {
        now: Mutex<i64>,
        says: Mutex<VecDeque<PortResult<StageReport>>>,
    }

    fn at(second: i64) -> At {
        At::from_second(second).unwrap()
    }

    #[async_trait]
    impl Clock for World {
        fn now(&self) -> At {
            at(*self.now.lock().unwrap())
        }
        async fn sleep_until(&self, _at: At) {}
    }

    #[async_trait]
    impl Stages for World {
        async fn poll(&self, _query: &StageQuery) -> PortResult<StageReport> {
            self.says.lock().unwrap().pop_front().expect("polled too often")
        }
    }

    fn says(answer: StageAnswer, next_look: Option<i64>) -> StageReport {
        StageReport { answer, link: None, tail: None, next_look: next_look.map(at) }
    }

    fn fails(kind: PortErrorKind) -> PortResult<StageReport> {
        Err(PortError::new(kind, "no way there"))
    }

    /// For each tuple of `asked`: polls at that second, as that `again`, and expects the answer
    /// (none if it is too early) and the second of the next poll. All of `says` must be used up.
    async fn check(says: Vec<PortResult<StageReport>>, asked: &[(i64, u32, Option<&str>, i64)]) {
        check_woken(says, asked, &[]).await;
    }

    /// The same, but the repo is woken at the seconds in `woken`.
    async fn check_woken(
        says: Vec<PortResult<StageReport>>,
        asked: &[(i64, u32, Option<&str>, i64)],
        woken: &[i64],
    ) {
        let world = Arc::new(World { says: Mutex::new(says.into()), ..World::default() });
        let paced = Paced::new(world.clone(), world.clone());
        let stage = serde_json::from_value(serde_json::json!({ "name": "ci", "kind": "checks" }));
        let stage: config::Stage = stage.unwrap();
        for (now, again, expected, next) in asked {
            *world.now.lock().unwrap() = *now;
            if woken.contains(now) {
                paced.wake(&"o/other".parse().unwrap());
                paced.wake(&"o/r".parse().unwrap());
            }
            let query = StageQuery {
                run: RunId::new(uuid::Uuid::nil()),
                repo: "o/r".parse().unwrap(),
                stage: stage.clone(),
                commit: "a".repeat(40).parse().unwrap(),
                landed: true,
                again: *again,
            };
            let (said, until) = match paced.poll(&query).await {
                Ok(Polled::Says(report, until)) => (Some(report.answer.to_string()), until),
                Ok(Polled::NotYet(until)) => (None, until),
                Err(error) => (Some(error.chain()), at(*next)),
            };
            assert_eq!((said.as_deref(), until), (*expected, at(*next)), "at {now}");
        }
        assert!(world.says.lock().unwrap().is_empty(), "polled too seldom");
    }

    #[tokio::test]
    async fn the_pause_doubles_while_nothing_new_is_said() {
        use StageAnswer::{None as Nothing, Pending, Success};
        let pending = || Ok(says(Pending, None));
        check(
            vec![Ok(says(Nothing, None)), pending(), pending(), pending(), pending(), pending()],
            &[
                (0, 0, Some("nothing there yet"), 5),
                (4, 0, Some("nothing there yet"), 5),
                (5, 0, Some("pending"), 10),
                (10, 0, Some("pending"), 20),
                (19, 0, Some("pending"), 20),
                (20, 0, Some("pending"), 40),
                (40, 0, Some("pending"), 80),
                (80, 0, Some("pending"), 140),
            ],
        )
        .await;
        // A clock that was set back ends the pause.
        check(
            vec![pending(), Ok(says(Success, None))],
            &[(100, 0, Some("pending"), 105), (50, 0, Some("success"), 55)],
        )
        .await;
    }

    #[tokio::test]
    async fn a_stage_may_name_its_next_look_within_reason() {
        use StageAnswer::Pending;
        check(
            vec![
                Ok(says(Pending, Some(90))),
                Ok(says(Pending, Some(0))),
                Ok(says(Pending, Some(99_999))),
            ],
            &[
                (0, 0, Some("pending"), 90),
                (89, 0, Some("pending"), 90),
                (90, 0, Some("pending"), 95),
                (95, 0, Some("pending"), 695),
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn what_is_asked_anew_waits_for_its_time_and_is_not_given_the_old_answer() {
        use StageAnswer::{Failure, Success};
        check(
            vec![Ok(says(Failure, None)), Ok(says(Success, None))],
            &[(0, 0, Some("failure"), 5), (1, 1, None, 5), (5, 1, Some("success"), 10)],
        )
        .await;
    }

    #[tokio::test]
    async fn what_happens_in_the_repo_ends_a_long_pause_and_no_limit() {
        use StageAnswer::{Pending, Success};
        let (pending, waits) = (|| Ok(says(Pending, None)), Some("pending"));
        check_woken(
            vec![pending(), pending(), pending(), pending(), Ok(says(Success, None))],
            &[
                (0, 0, waits, 5),
                // It waits for the first pause, however often it is woken.
                (1, 0, waits, 5),
                (2, 0, waits, 5),
                (5, 0, waits, 10),
                (10, 0, waits, 20),
                // The answer is still the old one: it is read again soon.
                (16, 0, waits, 21),
                (21, 0, Some("success"), 26),
            ],
            &[1, 2, 16],
        )
        .await;
        let limited = PortErrorKind::RateLimited { until: at(300) };
        check_woken(
            vec![fails(limited)],
            &[(0, 0, Some("no way there"), 300), (9, 0, Some("no way there"), 300)],
            &[9],
        )
        .await;
    }

    #[tokio::test]
    async fn an_error_is_given_again_until_its_pause_is_over() {
        let limited = PortErrorKind::RateLimited { until: at(300) };
        let down = Some("no way there");
        check(
            vec![fails(PortErrorKind::Transient), fails(PortErrorKind::Transient), fails(limited)],
            &[
                (0, 0, down, 5),
                (4, 0, down, 5),
                (5, 0, down, 15),
                (14, 1, down, 15),
                (15, 1, down, 300),
                (299, 1, down, 300),
            ],
        )
        .await;
    }
}
