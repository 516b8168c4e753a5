//! The verdict: stages asked in order about the landed commit, and whose a red is.
//!
//! A `command` stage is a job in a clean clone of the commit. Red is attributed
//! before it is paid for: the same stage is asked of the base, and where ours was
//! not judged or is excused, of the commits that came after it.

use std::time::Duration;

use afk_core::config;
use afk_core::ids::{JobKey, JobOf, Oid};
use afk_core::message;
use afk_core::plan::RedCause;
use afk_core::run::{Candidate, Stage, Transition};
use afk_core::verdict::{Attribution, Descendant, StageAnswer, Trouble, attribute};

use super::{Acted, Pass, Watch};
use crate::ports::{CommitText, Job, JobEnd, JobKind, PortResult};

/// Commits after ours that are asked, one after another.
const MAX_DESCENDANTS: usize = 10;

impl Pass<'_> {
    /// Asks the first stage that has not succeeded, and attributes its failure.
    pub(super) async fn ask_stages(&mut self) -> PortResult<Acted> {
        let Some(landed) = self.run.landed().cloned() else { return Ok(Acted::Again) };
        let Some(stage) = self.waiting_stage(&landed) else { return Ok(Acted::Again) };
        match answer_to(&landed, &stage) {
            Some(StageAnswer::Failure) => {
                let Some(base) = self.ask_base(&landed, &stage).await? else {
                    return Ok(Acted::wait(Watch::Jobs, None));
                };
                // Descendants are asked by row 19, once it is known that the red is not ours.
                let cause = cause_of(attribute(Trouble::Failure, base, &[]));
                self.commit(Transition::Attributed { cause }).await?;
                Ok(Acted::Again)
            }
            Some(
                StageAnswer::None | StageAnswer::Pending | StageAnswer::Void | StageAnswer::Success,
            )
            | None => match self.ask(&stage, &landed.commit, true, 0).await? {
                None => Ok(Acted::wait(Watch::Jobs, None)),
                Some((answer, tail)) => self.answered(&stage, answer, tail, None).await,
            },
        }
    }

    /// Asks the trouble's stage about the commits after ours, oldest first, until one
    /// of them decides.
    pub(super) async fn ask_descendants(&mut self) -> PortResult<Acted> {
        let Some(landed) = self.run.landed().cloned() else { return Ok(Acted::Again) };
        let Some(stage) = self.waiting_stage(&landed) else { return Ok(Acted::Again) };
        let trouble = answer_to(&landed, &stage).and_then(StageAnswer::trouble);
        let Some(own) = trouble else { return Ok(Acted::Again) };
        let mut base = StageAnswer::None;
        if own == Trouble::Failure {
            match self.ask_base(&landed, &stage).await? {
                Some(answer) => base = answer,
                None => return Ok(Acted::wait(Watch::Jobs, None)),
            }
        }
        let (repo, branch) = (self.run.issue.repo.clone(), self.branch());
        self.ports().git.default_head(&repo, &branch, &self.token()).await?;
        let commits = self.after(&landed).await?;
        let mut answers = Vec::new();
        let mut found = attribute(own, base, &answers);
        for commit in &commits {
            let Some((answer, tail)) = self.ask(&stage, &commit.id, true, 0).await? else {
                return Ok(Acted::wait(Watch::Jobs, None));
            };
            if answer == StageAnswer::Failure && base == StageAnswer::None {
                // Only now does it matter whether the base had it already.
                match self.ask_base(&landed, &stage).await? {
                    Some(answer) => base = answer,
                    None => return Ok(Acted::wait(Watch::Jobs, None)),
                }
            }
            answers.push(Descendant { answer, ours: self.is_own(commit) });
            found = attribute(own, base, &answers);
            let (answer, tail) = match (found, own) {
                (Attribution::SpokenFor { .. }, _) => (StageAnswer::Success, None),
                // The next pass attributes it as a failure of our own.
                (Attribution::Ours, Trouble::Void) => (StageAnswer::Failure, tail),
                (Attribution::Ours, Trouble::Failure) => break,
                (Attribution::NotOurs { .. } | Attribution::Void, _) => continue,
            };
            let link = Some(format!("its descendant {}", commit.id));
            return self.answered(&stage, answer, tail, link).await;
        }
        let cause = cause_of(found);
        if found == Attribution::Void || landed.red == Some(cause) {
            return Ok(Acted::wait(Watch::Nothing, None));
        }
        self.commit(Transition::Attributed { cause }).await?;
        Ok(Acted::Again)
    }

    /// The stage's answer for the commit that ours was built on: none while it is under way.
    async fn ask_base(
        &self,
        landed: &Candidate,
        stage: &config::Stage,
    ) -> PortResult<Option<StageAnswer>> {
        self.ask_below(&landed.base, &landed.commit, stage).await
    }

    /// The commits after what landed that may speak for it, oldest first.
    async fn after(&self, landed: &Candidate) -> PortResult<Vec<CommitText>> {
        let (repo, branch) = (&self.run.issue.repo, self.branch());
        self.ports().git.descendants(repo, &branch, &landed.commit, MAX_DESCENDANTS).await
    }

    fn is_own(&self, commit: &CommitText) -> bool {
        message::trailer(&commit.message, message::RUN_TRAILER)
            == Some(self.run.id.to_string().as_str())
    }

    /// Every commit that a stage of this run may have worked on.
    pub(super) async fn judged(&self) -> PortResult<Vec<Oid>> {
        let candidates = self.run.attempts.iter().flat_map(|attempt| &attempt.candidates);
        let mut judged = Vec::new();
        for landed in candidates.filter(|candidate| candidate.landed_at.is_some()) {
            judged.push(landed.commit.clone());
            judged.extend(self.all_below(&landed.base, &landed.commit).await?);
            let void = |stage: &Stage| stage.answer == StageAnswer::Void || stage.link.is_some();
            if landed.red == Some(RedCause::NotOurs) || landed.stages.iter().any(void) {
                judged.extend(self.after(landed).await?.into_iter().map(|commit| commit.id));
            }
        }
        for (_, tried) in self.run.candidates().filter(|(_, one)| one.tried.is_some()) {
            judged.push(tried.commit.clone());
            for base in tried.red_bases.iter().chain([&tried.base]) {
                judged.extend(self.all_below(base, &tried.commit).await?);
            }
        }
        Ok(judged)
    }

    async fn answered(
        &mut self,
        stage: &config::Stage,
        answer: StageAnswer,
        tail: Option<String>,
        link: Option<String>,
    ) -> PortResult<Acted> {
        let at = self.now();
        let stage = Stage { name: stage.name.clone(), answer, at, link, tail, again: 0 };
        self.commit(Transition::StageAnswered { stage }).await?;
        Ok(Acted::Again)
    }

    /// The key of the job that asks the stage about `commit`, after `again` that could
    /// not run.
    pub(super) fn stage_key(&self, stage: &config::Stage, commit: &Oid, again: u32) -> JobKey {
        let nth = if again == 0 { String::new() } else { format!(".{}", again + 1) };
        JobKey::new(self.run.id, JobOf::Stage, &format!("{commit}.{}{nth}", slug(stage)))
    }

    /// What the stage says of `commit`, which the default branch has or has not, asked once
    /// more after `again` that could not run; none while it is under way.
    pub(super) async fn ask(
        &self,
        stage: &config::Stage,
        commit: &Oid,
        landed: bool,
        again: u32,
    ) -> PortResult<Option<(StageAnswer, Option<String>)>> {
        let bound = stage.timeout_seconds.unwrap_or(self.config.stage_timeout_seconds);
        let job = Job {
            key: self.stage_key(stage, commit, again),
            run: self.run.id,
            repo: self.run.issue.repo.clone(),
            kind: JobKind::Stage { commit: commit.clone(), landed },
            argv: stage.command.clone(),
            timeout: Duration::from_secs(bound),
            network: self.repo.network.stages,
        };
        Ok(self.job(job).await?.map(|end| (answer_of(&end), Some(said(end)))))
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

/// What the stage last said of the landed commit.
fn answer_to(landed: &Candidate, stage: &config::Stage) -> Option<StageAnswer> {
    landed.stage(&stage.name).map(|known| known.answer)
}

/// Only what is ours is ever paid for.
fn cause_of(found: Attribution) -> RedCause {
    match found {
        Attribution::Ours => RedCause::Ours,
        Attribution::NotOurs { .. } | Attribution::Void | Attribution::SpokenFor { .. } => {
            RedCause::NotOurs
        }
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

/// The end of what it said; where it said nothing, why it could not run.
fn said(end: JobEnd) -> String {
    match end.could_not_run {
        Some(why) if end.tail.trim().is_empty() => why,
        Some(_) | None => end.tail,
    }
}

/// A stage's name as part of a job key, which takes few characters.
fn slug(stage: &config::Stage) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = stage.name.chars().map(plain).take(40).collect();
    // Two names may look alike after that.
    format!("{name}-{}", afk_core::digest::Digest::of(&stage.name).short())
}
