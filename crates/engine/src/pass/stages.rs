//! The verdict: stages asked in order about the landed commit, and whose a red is.
//!
//! A stage of kind `command` is run: a job in a clean clone of the commit. Every other is
//! polled. A failure is asked once more before it is believed. Red is attributed before it
//! is paid for: the same stage is asked of the base, and where ours was not judged or is
//! excused, of the commits that came after it, and of ours again.

use std::time::Duration;

use afk_core::config;
use afk_core::ids::{At, JobKey, JobOf, Oid};
use afk_core::message;
use afk_core::plan::RedCause;
use afk_core::run::{Candidate, Stage, Transition};
use afk_core::verdict::{Attribution, Descendant, StageAnswer, Trouble, attribute};

use super::{Acted, Pass, Wait, Watch};
use crate::paced::Polled;
use crate::ports::{CommitText, Job, JobEnd, JobKind, PortResult, StageQuery, StageReport};

/// Commits after ours that are asked, one after another.
const MAX_DESCENDANTS: usize = 10;

/// What came of asking a stage about a commit.
pub(super) enum Heard {
    /// It answers this; what is not decided may change at the end of the wait.
    Says(StageReport, Wait),
    /// It is at work, or may not be asked yet.
    NotYet(Wait),
}

impl Heard {
    /// Whether it answers so.
    pub(super) fn is(&self, answer: StageAnswer) -> bool {
        matches!(self, Self::Says(report, _) if report.answer == answer)
    }

    /// Another answer in the place of the one that it gave.
    pub(super) fn instead(self, answer: StageAnswer) -> Self {
        match self {
            Self::Says(report, wait) => Self::Says(StageReport { answer, ..report }, wait),
            Self::NotYet(wait) => Self::NotYet(wait),
        }
    }

    /// The same, where what is pending is no answer, nor, with `nothing`, what is not there.
    pub(super) fn at_its_end(self, nothing: bool) -> Self {
        let waits = self.is(StageAnswer::Pending) || (nothing && self.is(StageAnswer::None));
        match self {
            Self::Says(_, wait) if waits => Self::NotYet(wait),
            other => other,
        }
    }
}

impl Pass<'_> {
    /// Asks the first stage that has not succeeded, and attributes its failure.
    pub(super) async fn ask_stages(&mut self) -> PortResult<Acted> {
        let Some(landed) = self.run.landed().cloned() else { return Ok(Acted::Again) };
        let Some(stage) = self.waiting_stage(&landed) else { return Ok(Acted::Again) };
        match landed.stage(&stage.name).filter(|known| known.is_red()) {
            Some(red) => match self.ask_base(&landed, &stage, red).await? {
                Heard::NotYet(wait) => Ok(wait.into()),
                Heard::Says(base, _) => {
                    // Descendants are asked by row 19, once the red is known to be not ours.
                    let cause = cause_of(attribute(Trouble::Failure, base.answer, &[]));
                    self.commit(Transition::Attributed { cause }).await?;
                    Ok(Acted::Again)
                }
            },
            None => self.ask_own(&landed, &stage).await,
        }
    }

    /// Asks the stage about what landed, where its time has come, and records what is new.
    async fn ask_own(&mut self, landed: &Candidate, stage: &config::Stage) -> PortResult<Acted> {
        let known = landed.stage(&stage.name);
        let next = known.map_or(Some((0, None)), Stage::next_asking);
        let Some((again, from)) = next else { return Ok(Acted::Again) };
        if let Some(from) = from.filter(|from| self.now() < *from) {
            return Ok(Acted::wait(Watch::Nothing, Some(from)));
        }
        match self.ask(stage, &landed.commit, true, again).await? {
            Heard::NotYet(wait) => Ok(wait.into()),
            Heard::Says(report, wait) => {
                let said = said(stage, report, again, self.now());
                match said.after(known) {
                    None => Ok(wait.into()),
                    Some(stage) => {
                        self.commit(Transition::StageAnswered { stage }).await?;
                        Ok(Acted::Again)
                    }
                }
            }
        }
    }

    /// Asks the trouble's stage about the commits after ours, oldest first, until one
    /// of them decides; where none does, about ours again.
    pub(super) async fn ask_descendants(&mut self) -> PortResult<Acted> {
        let Some(landed) = self.run.landed().cloned() else { return Ok(Acted::Again) };
        let Some(stage) = self.waiting_stage(&landed) else { return Ok(Acted::Again) };
        let Some(known) = landed.stage(&stage.name) else { return Ok(Acted::Again) };
        let Some(own) = known.answer.trouble() else { return Ok(Acted::Again) };
        // It is asked once for each time that ours has failed.
        let attributed = landed.attributed == Some(known.again);
        let mut base = (own == Trouble::Failure && attributed).then_some(StageAnswer::Failure);
        if own == Trouble::Failure && !attributed {
            match self.ask_base(&landed, &stage, known).await? {
                Heard::Says(report, _) => base = Some(report.answer),
                Heard::NotYet(wait) => return Ok(wait.into()),
            }
        }
        let (repo, branch) = (self.run.issue.repo.clone(), self.branch());
        self.ports().git.default_head(&repo, &branch, &self.token()).await?;
        let commits = self.after(&landed).await?;
        let mut answers = Vec::new();
        let mut look = At::MAX;
        let mut found = attribute(own, base.unwrap_or(StageAnswer::None), &answers);
        for commit in &commits {
            let (report, wait) = match self.ask(&stage, &commit.id, true, 0).await? {
                Heard::Says(report, wait) => (report, wait),
                Heard::NotYet(wait) => return Ok(wait.into()),
            };
            look = look.min(wait.until.unwrap_or(At::MAX));
            if report.answer == StageAnswer::Failure && base.is_none() {
                // Only now does it matter whether the base had it already.
                match self.ask_base(&landed, &stage, known).await? {
                    Heard::Says(report, _) => base = Some(report.answer),
                    Heard::NotYet(wait) => return Ok(wait.into()),
                }
            }
            answers.push(Descendant { answer: report.answer, ours: self.is_own(commit) });
            found = attribute(own, base.unwrap_or(StageAnswer::None), &answers);
            let (answer, tail) = match (found, own) {
                (Attribution::SpokenFor { .. }, _) => (StageAnswer::Success, None),
                // The next pass attributes it as a failure of our own.
                (Attribution::Ours, Trouble::Void) => (StageAnswer::Failure, report.tail),
                (Attribution::Ours, Trouble::Failure) => break,
                (Attribution::NotOurs { .. } | Attribution::Void, _) => continue,
            };
            let link = Some(format!("its descendant {}", commit.id));
            let confirmed = answer == StageAnswer::Failure;
            let spoken = Stage::new(&stage.name, answer, self.now());
            let stage = Stage { link, tail, confirmed, again: known.again, ..spoken };
            self.commit(Transition::StageAnswered { stage }).await?;
            return Ok(Acted::Again);
        }
        let cause = cause_of(found);
        let again = own == Trouble::Failure && !attributed;
        if found != Attribution::Void && (again || landed.red != Some(cause)) {
            self.commit(Transition::Attributed { cause }).await?;
            return Ok(Acted::Again);
        }
        // Whatever was the matter may be mended by now.
        Ok(self.ask_own(&landed, &stage).await?.no_later_than(look))
    }

    /// The stage's answer for the commit that ours was built on.
    async fn ask_base(
        &self,
        landed: &Candidate,
        stage: &config::Stage,
        own: &Stage,
    ) -> PortResult<Heard> {
        self.ask_below(&landed.base, &landed.commit, stage, (own.again, own.at)).await
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

    /// The key of the job that asks the stage about `commit`, after `again` that could
    /// not run.
    pub(super) fn stage_key(&self, stage: &config::Stage, commit: &Oid, again: u32) -> JobKey {
        let nth = if again == 0 { String::new() } else { format!(".{}", again + 1) };
        JobKey::new(self.run.id, JobOf::Stage, &format!("{commit}.{}{nth}", slug(stage)))
    }

    /// What the stage says of `commit`, which the default branch has or has not, asked once
    /// more after `again` times.
    pub(super) async fn ask(
        &self,
        stage: &config::Stage,
        commit: &Oid,
        landed: bool,
        again: u32,
    ) -> PortResult<Heard> {
        if !stage.is_run() {
            return self.poll(stage, commit, landed, again).await;
        }
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
        let wait = Wait { until: None, watch: Watch::Jobs };
        Ok(match self.job(job).await? {
            None => Heard::NotYet(wait),
            Some(end) => Heard::Says(report_of(end), wait),
        })
    }

    async fn poll(
        &self,
        stage: &config::Stage,
        commit: &Oid,
        landed: bool,
        again: u32,
    ) -> PortResult<Heard> {
        let query = StageQuery {
            run: self.run.id,
            repo: self.run.issue.repo.clone(),
            stage: stage.clone(),
            commit: commit.clone(),
            landed,
            again,
        };
        let wait = |until| Wait { until: Some(until), watch: Watch::Nothing };
        Ok(match self.engine.stages.poll(&query).await? {
            Polled::Says(report, until) => Heard::Says(report, wait(until)),
            Polled::NotYet(until) => Heard::NotYet(wait(until)),
        })
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

/// Only what is ours is ever paid for.
fn cause_of(found: Attribution) -> RedCause {
    match found {
        Attribution::Ours => RedCause::Ours,
        Attribution::NotOurs { .. } | Attribution::Void | Attribution::SpokenFor { .. } => {
            RedCause::NotOurs
        }
    }
}

/// What a stage said, as it is recorded.
pub(super) fn said(stage: &config::Stage, report: StageReport, again: u32, at: At) -> Stage {
    let StageReport { answer, link, tail, next_look: _ } = report;
    Stage { link, tail, again, ..Stage::new(&stage.name, answer, at) }
}

/// Exit 0 is a success; what could not run says nothing of the commit, and what runs over
/// its time fails as any other.
fn report_of(end: JobEnd) -> StageReport {
    let answer = match end.code {
        Some(0) => StageAnswer::Success,
        None if end.timed_out => StageAnswer::Failure,
        Some(126 | 127) | None => StageAnswer::Void,
        Some(_) => StageAnswer::Failure,
    };
    // Where it said nothing, why it could not run.
    let tail = match end.could_not_run {
        Some(why) if end.tail.trim().is_empty() => why,
        Some(_) | None => end.tail,
    };
    StageReport { answer, link: None, tail: Some(tail), next_look: None }
}

/// A stage's name as part of a job key, which takes few characters.
fn slug(stage: &config::Stage) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = stage.name.chars().map(plain).take(40).collect();
    // Two names may look alike after that.
    format!("{name}-{}", afk_core::digest::Digest::of(&stage.name).short())
}
