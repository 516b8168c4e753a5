//! What stages answered about a commit, and what is still to be asked of them.
//!
//! A stage that could not run on a candidate is asked again a few times, each time by
//! another job. Which asking is next, and from when, is told from the answers alone.

use serde::{Deserialize, Serialize};

use super::{Candidate, Run};
use crate::ids::At;
use crate::verdict::{StageAnswer, Stages};

/// How often a stage that could not run on a candidate is asked again.
const AGAIN: u32 = 2;

/// The newest answer of one stage about a commit: a landed one, or a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The stage's name.
    pub name: String,
    /// What it answered.
    pub answer: StageAnswer,
    /// When.
    pub at: At,
    /// Where a person can look.
    pub link: Option<String>,
    /// The end of its output, where it failed.
    pub tail: Option<String>,
    /// How often it had been asked before and could not run.
    #[serde(default)]
    pub again: u32,
}

impl Stage {
    /// Whether it could not run so often that it is not asked again.
    pub fn never_ran(&self) -> bool {
        self.answer == StageAnswer::Void && self.again >= AGAIN
    }
}

impl Candidate {
    /// The newest answer of the stage `name`.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The next asking of the stage `name` before landing: after how many that could not
    /// run it comes, and from when, where it waits for anything. None where it has decided,
    /// or is not asked again.
    pub fn next_asking(&self, name: &str) -> Option<(u32, Option<At>)> {
        let Some(known) = self.stage(name) else { return Some((0, None)) };
        match known.answer {
            StageAnswer::None | StageAnswer::Pending => Some((known.again, None)),
            StageAnswer::Void if known.never_ran() => None,
            StageAnswer::Void => {
                let again = known.again + 1;
                Some((again, known.at.checked_add(Run::backoff(again)).ok()))
            }
            StageAnswer::Success | StageAnswer::Failure => None,
        }
    }

    /// What each of `stages` has answered, in their order.
    pub fn answers(&self, stages: &Stages) -> Vec<StageAnswer> {
        let answer = |name: &String| self.stage(name).map_or(StageAnswer::None, |one| one.answer);
        stages.names().iter().map(answer).collect()
    }

    /// Since when what is awaited could be known: the next stage's answer, or once one
    /// failed, whose that is and who mends it.
    pub fn waiting_since(&self) -> At {
        let heard = self.answered(&[StageAnswer::Success, StageAnswer::Failure]);
        heard.chain(self.landed_at).max().unwrap_or(self.at)
    }

    /// Since when the stage that is awaited before landing could have answered.
    pub fn asked_since(&self) -> At {
        let pushed = self.tried.and_then(|tried| tried.pushed_at);
        let heard = self.answered(&[StageAnswer::Success, StageAnswer::Void]);
        heard.chain(pushed).max().unwrap_or(self.at)
    }

    /// When it failed before landing.
    pub fn failed_at(&self) -> Option<At> {
        self.answered(&[StageAnswer::Failure]).max()
    }

    /// Whether one of its stages says nothing of it.
    pub(super) fn is_void(&self) -> bool {
        self.answered(&[StageAnswer::Void]).next().is_some()
    }

    /// When stages answered so.
    fn answered(&self, which: &'static [StageAnswer]) -> impl Iterator<Item = At> {
        self.stages.iter().filter(|stage| which.contains(&stage.answer)).map(|stage| stage.at)
    }

    /// Takes a stage's newest answer.
    pub(super) fn hear(&mut self, stage: Stage) {
        match self.stages.iter_mut().find(|known| known.name == stage.name) {
            Some(known) => *known = stage,
            None => self.stages.push(stage),
        }
    }
}
