//! Polled stages. The first poll has no answer; with each step of the world the stage progresses:
//! it is pending, then decided by the contents of its commit, like the jobs of stages
//! ([`super::jobs`]). A test may prepare other answers, which are given first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use afk_core::ids::{At, Oid, RepoName, RunId};
use afk_core::verdict::StageAnswer;
use afk_engine::ports::{PortError, PortErrorKind, PortResult, StageQuery, StageReport};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::World;
use super::jobs::{BREAKS, VOIDS};

/// A prepared answer to a poll, whatever the commit contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// This answer.
    Answer(StageAnswer),
    /// Pending, with the next poll after so many seconds.
    Look(i64),
    /// The stage is down: a transient error.
    Down,
    /// A limit: the stage is not to be polled for so many seconds.
    Limited(i64),
}

/// A poll that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    /// The run that polled.
    pub run: RunId,
    /// The repo of the run.
    pub repo: RepoName,
    /// The name of the stage.
    pub stage: String,
    /// The commit that it was polled about.
    pub commit: Oid,
    /// When it was polled.
    pub at: At,
    /// The answer; none if the poll failed.
    pub told: Option<StageAnswer>,
}

/// Every polled stage.
#[derive(Debug, Clone, Default)]
pub struct StageWorld {
    /// Prepared answers by stage, first one first.
    pub says: BTreeMap<String, VecDeque<Says>>,
    /// Every poll, oldest first.
    pub polls: Vec<Poll>,
    /// Whether every stage passes at once, as a known-bad loop believes.
    pub(crate) lenient: bool,
    /// How many steps the world has made since each stage was first polled about each commit.
    reached: BTreeMap<(RepoName, String, Oid), u32>,
}

impl StageWorld {
    pub(super) fn step(&mut self) {
        for steps in self.reached.values_mut() {
            *steps += 1;
        }
    }

    /// The steps of each stage with each commit that it was polled about.
    pub(super) fn reached(&self) -> Vec<((RepoName, String, Oid), u32)> {
        self.reached.iter().map(|(at, steps)| (at.clone(), *steps)).collect()
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
        let (run, repo, at) = (query.run, query.repo.clone(), self.now);
        let mut poll = Poll { run, repo, stage, commit, at, told: None };
        let answer = self.answer_of(&poll);
        if let Ok(report) = &answer {
            poll.told = Some(report.answer);
        }
        self.stages.polls.push(poll);
        answer
    }

    fn answer_of(&mut self, poll: &Poll) -> PortResult<StageReport> {
        let at = (poll.repo.clone(), poll.stage.clone(), poll.commit.clone());
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
            None => self.decided(&poll.stage, &poll.commit, steps),
        };
        let link = Some(format!("https://ci.test/{}/{}", poll.stage, poll.commit.short()));
        let tail = (answer == StageAnswer::Failure).then(|| "it failed".to_owned());
        Ok(StageReport { answer, link, tail, next_look })
    }

    /// What a stage answers about a commit, so many steps after it was first polled about it.
    pub(crate) fn decided(&self, stage: &str, commit: &Oid, steps: u32) -> StageAnswer {
        let files = self.git.files_of(commit).unwrap_or_default();
        let holds = |what| files.values().any(|text| text.contains(what));
        let (hangs, absent) = (&self.jobs.hanging, &self.jobs.absent);
        match steps {
            _ if self.stages.lenient => StageAnswer::Success,
            0 => StageAnswer::None,
            1 => StageAnswer::Pending,
            _ if hangs.contains(stage) => StageAnswer::Pending,
            _ if absent.contains(stage) || holds(VOIDS) => StageAnswer::Void,
            _ if self.jobs.failing.contains(stage) || holds(BREAKS) => StageAnswer::Failure,
            _ => StageAnswer::Success,
        }
    }
}
