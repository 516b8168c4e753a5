//! The verdict: stages asked in order about the landed commit, and whose a red is.
//!
//! A `command` stage is a job in a clean clone of the commit. Red is attributed
//! before it is paid for: the same stage is asked of the base.

use std::time::Duration;

use afk_core::config;
use afk_core::ids::{JobKey, Oid};
use afk_core::plan::RedCause;
use afk_core::run::{Candidate, Stage, Transition};
use afk_core::verdict::{Attribution, StageAnswer, Trouble, attribute};

use super::{Acted, Pass, Watch};
use crate::ports::{Job, JobEnd, JobKind, PortResult};

impl Pass<'_> {
    /// Asks the first stage that has not succeeded, and attributes its failure.
    pub(super) async fn ask_stages(&mut self) -> PortResult<Acted> {
        let Some(landed) = self.run.landed().cloned() else { return Ok(Acted::Again) };
        let Some(stage) = self.waiting_stage(&landed) else { return Ok(Acted::Again) };
        let answer = |stage: &Stage| stage.answer;
        match landed.stages.iter().find(|known| known.name == stage.name).map(answer) {
            Some(StageAnswer::Failure) => self.attribute(&landed, &stage).await,
            Some(
                StageAnswer::None | StageAnswer::Pending | StageAnswer::Void | StageAnswer::Success,
            )
            | None => match self.ask(&stage, &landed.commit).await? {
                None => Ok(Acted::wait(Watch::Jobs, None)),
                Some((answer, tail)) => self.answered(&stage, answer, tail, None).await,
            },
        }
    }

    /// Asks the trouble's stage about the default head: where that descends from
    /// what landed, its success speaks for it.
    pub(super) async fn ask_descendants(&mut self) -> PortResult<Acted> {
        let Some(landed) = self.run.landed().cloned() else { return Ok(Acted::Again) };
        let Some(stage) = self.waiting_stage(&landed) else { return Ok(Acted::Again) };
        let repo = self.run.issue.repo.clone();
        let branch = self.branch();
        let head = self.ports().git.default_head(&repo, &branch, &self.token()).await?;
        if head == landed.commit {
            return Ok(Acted::wait(Watch::Nothing, None));
        }
        match self.ask(&stage, &head).await? {
            None => Ok(Acted::wait(Watch::Jobs, None)),
            Some((StageAnswer::Success, _)) => {
                let link = Some(format!("its descendant {head}"));
                self.answered(&stage, StageAnswer::Success, None, link).await
            }
            Some(_) => Ok(Acted::wait(Watch::Nothing, None)),
        }
    }

    async fn attribute(&mut self, landed: &Candidate, stage: &config::Stage) -> PortResult<Acted> {
        // A fix stands on our own red commit, which would excuse whatever it brings:
        // what counts is the branch as it was before this run landed anything.
        let base = self.run.first_landed().map_or(&landed.base, |first| &first.base).clone();
        let Some((base, _)) = self.ask(stage, &base).await? else {
            return Ok(Acted::wait(Watch::Jobs, None));
        };
        // Descendants are asked by row 19, once it is known that the red is not ours.
        let cause = match attribute(Trouble::Failure, base, &[]) {
            Attribution::Ours => RedCause::Ours,
            Attribution::NotOurs { .. } | Attribution::Void | Attribution::SpokenFor { .. } => {
                RedCause::NotOurs
            }
        };
        self.commit(Transition::Attributed { cause }).await?;
        Ok(Acted::Again)
    }

    async fn answered(
        &mut self,
        stage: &config::Stage,
        answer: StageAnswer,
        tail: Option<String>,
        link: Option<String>,
    ) -> PortResult<Acted> {
        let at = self.now();
        let stage = Stage { name: stage.name.clone(), answer, at, link, tail };
        self.commit(Transition::StageAnswered { stage }).await?;
        Ok(Acted::Again)
    }

    /// What the stage says of `commit`; none while it is under way.
    async fn ask(
        &self,
        stage: &config::Stage,
        commit: &Oid,
    ) -> PortResult<Option<(StageAnswer, Option<String>)>> {
        let bound = stage.timeout_seconds.unwrap_or(self.config.stage_timeout_seconds);
        let job = Job {
            key: JobKey::new(self.run.id, "stage", &format!("{commit}.{}", slug(stage))),
            run: self.run.id,
            repo: self.run.issue.repo.clone(),
            kind: JobKind::Stage { commit: commit.clone() },
            argv: stage.command.clone(),
            timeout: Duration::from_secs(bound),
            network: self.repo.network.stages,
        };
        Ok(self.job(job).await?.map(|end| (answer_of(&end), Some(end.tail))))
    }

    fn waiting_stage(&self, landed: &Candidate) -> Option<config::Stage> {
        let succeeded = |stage: &config::Stage| {
            landed
                .stages
                .iter()
                .any(|known| known.name == stage.name && known.answer == StageAnswer::Success)
        };
        self.repo.stages.iter().find(|stage| !succeeded(stage)).cloned()
    }
}

/// Exit 0 is a success; what could not run says nothing of the commit.
fn answer_of(end: &JobEnd) -> StageAnswer {
    match end.code {
        Some(0) => StageAnswer::Success,
        Some(126 | 127) | None => StageAnswer::Void,
        Some(_) => StageAnswer::Failure,
    }
}

/// A stage's name as part of a job key, which takes few characters.
fn slug(stage: &config::Stage) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = stage.name.chars().map(plain).take(40).collect();
    // Two names may look alike after that.
    format!("{name}-{}", afk_core::digest::Digest::of(&stage.name).short())
}
