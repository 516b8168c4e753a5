//! Stages that are polled. What is asked about for the first time has nothing yet; with each
//! step of the world it gets on: it is pending, then it is decided by what its commit
//! holds, as the jobs of stages are ([`super::jobs`]). A test may let a stage say other
//! things first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use afk_core::ids::{At, Oid, RunId};
use afk_core::verdict::StageAnswer;
use afk_engine::ports::{PortError, PortErrorKind, PortResult, StageQuery, StageReport};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::World;
use super::jobs::{BREAKS, VOIDS};

/// What a poll is answered, whatever the commit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// This.
    Answer(StageAnswer),
    /// Pending, with a next look after so many seconds.
    Look(i64),
    /// It is down for a moment.
    Down,
    /// It asks to be left alone for so many seconds.
    Limited(i64),
}

/// A poll that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    /// By which run.
    pub run: RunId,
    /// Of which stage.
    pub stage: String,
    /// About which commit.
    pub commit: Oid,
    /// When.
    pub at: At,
    /// What it was told; none where that was no answer.
    pub told: Option<StageAnswer>,
}

/// Every stage that is polled.
#[derive(Debug, Clone, Default)]
pub struct StageWorld {
    /// What each stage says next.
    pub says: BTreeMap<String, VecDeque<Says>>,
    /// Every poll, oldest first.
    pub polls: Vec<Poll>,
    /// Stages that take what is pending for passed.
    pub(crate) lenient: bool,
    /// How far each stage is with each commit that it was asked about.
    reached: BTreeMap<(String, Oid), u32>,
}

impl StageWorld {
    pub(super) fn step(&mut self) {
        for steps in self.reached.values_mut() {
            *steps += 1;
        }
    }
}

impl World {
    pub(crate) fn poll_stage(&mut self, query: &StageQuery) -> PortResult<StageReport> {
        let (stage, commit) = (query.stage.name.clone(), query.commit.clone());
        let landed = self.git.has_landed(&commit);
        let tried: BTreeSet<&Oid> = self.git.branches.values().collect();
        if query.stage.is_run() || !(landed || tried.contains(&commit)) {
            return Err(self.complain(format!("{stage} cannot be polled about {commit}")));
        }
        let mut poll = Poll { run: query.run, stage, commit, at: self.now, told: None };
        let answer = self.answer_of(&poll);
        if let Ok(report) = &answer {
            poll.told = Some(report.answer);
        }
        self.stages.polls.push(poll);
        answer
    }

    fn answer_of(&mut self, poll: &Poll) -> PortResult<StageReport> {
        let at = (poll.stage.clone(), poll.commit.clone());
        let steps = *self.stages.reached.entry(at).or_default();
        let mut next_look = None;
        let after = |seconds| self.now.checked_add(SignedDuration::from_secs(seconds)).ok();
        let says = self.stages.says.get_mut(&poll.stage).and_then(VecDeque::pop_front);
        let answer = match says {
            Some(Says::Answer(answer)) => answer,
            Some(Says::Look(seconds)) => {
                next_look = after(seconds);
                StageAnswer::Pending
            }
            Some(Says::Down) => return Err(PortError::transient("503 from the stage")),
            Some(Says::Limited(seconds)) => {
                let until = after(seconds).unwrap_or(At::MAX);
                let kind = PortErrorKind::RateLimited { until };
                return Err(PortError::new(kind, "429 from the stage"));
            }
            None => self.decided(poll, steps),
        };
        let link = Some(format!("https://ci.test/{}/{}", poll.stage, poll.commit.short()));
        let tail = (answer == StageAnswer::Failure).then(|| "it failed".to_owned());
        Ok(StageReport { answer, link, tail, next_look })
    }

    fn decided(&self, poll: &Poll, steps: u32) -> StageAnswer {
        let files = self.git.files_of(&poll.commit).unwrap_or_default();
        let holds = |what| files.values().any(|text| text.contains(what));
        let (hangs, absent) = (&self.jobs.hanging, &self.jobs.absent);
        match steps {
            _ if self.stages.lenient => StageAnswer::Success,
            0 => StageAnswer::None,
            1 => StageAnswer::Pending,
            _ if hangs.contains(&poll.stage) => StageAnswer::Pending,
            _ if absent.contains(&poll.stage) || holds(VOIDS) => StageAnswer::Void,
            _ if self.jobs.failing.contains(&poll.stage) || holds(BREAKS) => StageAnswer::Failure,
            _ => StageAnswer::Success,
        }
    }
}
