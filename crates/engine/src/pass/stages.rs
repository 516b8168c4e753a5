//! The verdict: runs or polls the stages of the landed commit in order, and decides whose fault a
//! failure is.
//!
//! A stage of kind `command` is run: a job in a clean clone of the commit. Every other is polled. A
//! failure only counts after it was repeated. It is attributed before a fix-forward is spent on it:
//! the same stage is run on the base. If the run's own commit got no result, or if the base excuses
//! it, the stage is run on later commits, and on the run's own again.

use std::time::Duration;

use afk_core::config;
use afk_core::ids::{At, JobKey, JobOf, Oid};
use afk_core::message;
use afk_core::plan::RedCause;
use afk_core::run::{Candidate, StageRecord, Transition};
use afk_core::verdict::{Attribution, Descendant, StageAnswer, StageTrouble, attribute};

use super::{Acted, Pass, Wait, Watch};
use crate::paced::Polled;
use crate::ports::{CommitText, Job, JobEnd, JobKind, PortResult, StageQuery, StageReport};

/// Maximum number of later commits that are checked.
const MAX_DESCENDANTS: usize = 10;

/// The result of running or polling a stage.
pub(super) enum StageStatus {
    /// The stage's answer. If it is undecided, it may have changed by the end of the wait.
    Says(StageReport, Wait),
    /// It is running, or must not be polled yet.
    NotYet(Wait),
}

impl StageStatus {
    /// Whether the stage gave this answer.
    pub(super) fn is(&self, answer: StageAnswer) -> bool {
        matches!(self, Self::Says(report, _) if report.answer == answer)
    }

    /// The same status with `answer` in place of its own.
    pub(super) fn with_answer(self, answer: StageAnswer) -> Self {
        match self {
            Self::Says(report, wait) => Self::Says(StageReport { answer, ..report }, wait),
            Self::NotYet(wait) => Self::NotYet(wait),
        }
    }

    /// The same status, but a pending answer becomes `NotYet`, and with `nothing` so does a missing
    /// one.
    pub(super) fn at_its_end(self, nothing: bool) -> Self {
        let waits = self.is(StageAnswer::Pending) || (nothing && self.is(StageAnswer::None));
        match self {
            Self::Says(_, wait) if waits => Self::NotYet(wait),
            other => other,
        }
    }
}

impl Pass<'_> {
    /// Runs or polls the first stage that has not succeeded, and attributes its failure.
    pub(super) async fn check_stages(&mut self) -> PortResult<Acted> {
        let Some(landed) = self.run.landed().cloned() else { return Ok(Acted::Again) };
        let Some(stage) = self.waiting_stage(&landed) else { return Ok(Acted::Again) };
        match landed.stage(&stage.name).filter(|known| known.is_red()) {
            Some(red) => match self.check_base_of_landed(&landed, &stage, red).await? {
                StageStatus::NotYet(wait) => Ok(wait.into()),
                StageStatus::Says(base, _) => {
                    // Row 19 of the table in `afk_core::plan` asks the descendants, once the
                    // failure is known not to be ours.
                    let cause = cause_of(attribute(StageTrouble::Failure, base.answer, &[]));
                    self.commit(Transition::Attributed { cause }).await?;
                    Ok(Acted::Again)
                }
            },
            None => self.check_own(&landed, &stage).await,
        }
    }

    /// Runs or polls the stage for what landed, if it is due, and records what is new.
    async fn check_own(&mut self, landed: &Candidate, stage: &config::Stage) -> PortResult<Acted> {
        let known = landed.stage(&stage.name);
        let next = known.map_or(Some((0, None)), StageRecord::next_asking);
        let Some((again, from)) = next else { return Ok(Acted::Again) };
        if let Some(from) = from.filter(|from| self.now() < *from) {
            return Ok(Acted::wait(Watch::Nothing, Some(from)));
        }
        match self.run_or_poll(stage, &landed.commit, true, again).await? {
            StageStatus::NotYet(wait) => Ok(wait.into()),
            StageStatus::Says(report, wait) => {
                let said = recorded(stage, report, again, self.now());
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

    /// Runs or polls the failed stage for later commits, oldest first, until one of them decides;
    /// if none does, for the landed commit again.
    pub(super) async fn check_descendants(&mut self) -> PortResult<Acted> {
        let Some(landed) = self.run.landed().cloned() else { return Ok(Acted::Again) };
        let Some(stage) = self.waiting_stage(&landed) else { return Ok(Acted::Again) };
        let Some(known) = landed.stage(&stage.name) else { return Ok(Acted::Again) };
        let Some(own) = known.answer.trouble() else { return Ok(Acted::Again) };
        // The base is asked once for each time that our commit failed.
        let attributed = landed.attributed == Some(known.again);
        let mut base = (own == StageTrouble::Failure && attributed).then_some(StageAnswer::Failure);
        if own == StageTrouble::Failure && !attributed {
            match self.check_base_of_landed(&landed, &stage, known).await? {
                StageStatus::Says(report, _) => base = Some(report.answer),
                StageStatus::NotYet(wait) => return Ok(wait.into()),
            }
        }
        let (repo, branch) = (self.run.issue.repo.clone(), self.branch());
        self.ports().git.default_head(&repo, &branch, &self.token()).await?;
        let commits = self.after(&landed).await?;
        let mut answers = Vec::new();
        let mut look = At::MAX;
        let mut found = attribute(own, base.unwrap_or(StageAnswer::None), &answers);
        for commit in &commits {
            let (report, wait) = match self.run_or_poll(&stage, &commit.id, true, 0).await? {
                StageStatus::Says(report, wait) => (report, wait),
                StageStatus::NotYet(wait) => return Ok(wait.into()),
            };
            look = look.min(wait.until.unwrap_or(At::MAX));
            if report.answer == StageAnswer::Failure && base.is_none() {
                // The base's answer only matters once a descendant has failed.
                match self.check_base_of_landed(&landed, &stage, known).await? {
                    StageStatus::Says(report, _) => base = Some(report.answer),
                    StageStatus::NotYet(wait) => return Ok(wait.into()),
                }
            }
            answers.push(Descendant { answer: report.answer, ours: self.is_own(commit) });
            found = attribute(own, base.unwrap_or(StageAnswer::None), &answers);
            let (answer, tail) = match (found, own) {
                (Attribution::SpokenFor { .. }, _) => (StageAnswer::Success, None),
                // The next pass attributes it as a failure of our own.
                (Attribution::Ours, StageTrouble::Void) => (StageAnswer::Failure, report.tail),
                (Attribution::Ours, StageTrouble::Failure) => break,
                (Attribution::NotOurs { .. } | Attribution::Void, _) => continue,
            };
            let link = Some(format!("its descendant {}", commit.id));
            let confirmed = answer == StageAnswer::Failure;
            let spoken = StageRecord::new(&stage.name, answer, self.now());
            let (again, deploys) = (known.again, known.deploys);
            let stage = StageRecord { link, tail, confirmed, again, deploys, ..spoken };
            self.commit(Transition::StageAnswered { stage }).await?;
            return Ok(Acted::Again);
        }
        let cause = cause_of(found);
        let again = own == StageTrouble::Failure && !attributed;
        if found != Attribution::Void && (again || landed.red != Some(cause)) {
            self.commit(Transition::Attributed { cause }).await?;
            return Ok(Acted::Again);
        }
        // Whatever was wrong may be fixed by now.
        Ok(self.check_own(&landed, &stage).await?.no_later_than(look))
    }

    /// The stage's answer for the base of the landed commit.
    async fn check_base_of_landed(
        &self,
        landed: &Candidate,
        stage: &config::Stage,
        own: &StageRecord,
    ) -> PortResult<StageStatus> {
        self.check_base(&landed.base, &landed.commit, stage, (own.again, own.at)).await
    }

    /// The commits after the landed one that may answer for it, oldest first.
    async fn after(&self, landed: &Candidate) -> PortResult<Vec<CommitText>> {
        let (repo, branch) = (&self.run.issue.repo, self.branch());
        self.ports().git.descendants(repo, &branch, &landed.commit, MAX_DESCENDANTS).await
    }

    fn is_own(&self, commit: &CommitText) -> bool {
        message::trailer(&commit.message, message::RUN_TRAILER)
            == Some(self.run.id.to_string().as_str())
    }

    /// Adds to `judged` every commit that a stage of this run may have worked on. If one of the
    /// reads fails, those that were listed before it are in there.
    pub(super) async fn judged(&self, judged: &mut Vec<Oid>) -> PortResult<()> {
        let candidates = self.run.attempts.iter().flat_map(|attempt| &attempt.candidates);
        for landed in candidates.filter(|candidate| candidate.landed_at.is_some()) {
            judged.push(landed.commit.clone());
            judged.extend(self.base_commits(&landed.base, &landed.commit).await?);
            let void =
                |stage: &StageRecord| stage.answer == StageAnswer::Void || stage.link.is_some();
            if landed.red == Some(RedCause::NotOurs) || landed.stages.iter().any(void) {
                judged.extend(self.after(landed).await?.into_iter().map(|commit| commit.id));
            }
        }
        for (_, tried) in self.run.candidates().filter(|(_, one)| one.tried.is_some()) {
            judged.push(tried.commit.clone());
            for base in tried.red_bases.iter().chain([&tried.base]) {
                judged.extend(self.base_commits(base, &tried.commit).await?);
            }
        }
        Ok(())
    }

    /// The key of the job that runs the stage on `commit`, after `again` earlier runs.
    pub(super) fn stage_key(&self, stage: &config::Stage, commit: &Oid, again: u32) -> JobKey {
        let nth = if again == 0 { String::new() } else { format!(".{}", again + 1) };
        JobKey::new(self.run.id, JobOf::Stage, &format!("{commit}.{}{nth}", slug(stage)))
    }

    /// The stage's answer for `commit`, which has `landed` or not. `again` is the number of earlier
    /// runs without a final answer; each number is a run of its own.
    pub(super) async fn run_or_poll(
        &self,
        stage: &config::Stage,
        commit: &Oid,
        landed: bool,
        again: u32,
    ) -> PortResult<StageStatus> {
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
            None => StageStatus::NotYet(wait),
            Some(end) => StageStatus::Says(report_of(end), wait),
        })
    }

    async fn poll(
        &self,
        stage: &config::Stage,
        commit: &Oid,
        landed: bool,
        again: u32,
    ) -> PortResult<StageStatus> {
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
            Polled::Says(report, until) => StageStatus::Says(report, wait(until)),
            Polled::NotYet(until) => StageStatus::NotYet(wait(until)),
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

/// Only a failure of ours uses up a fix-forward.
fn cause_of(found: Attribution) -> RedCause {
    match found {
        Attribution::Ours => RedCause::Ours,
        Attribution::NotOurs { .. } | Attribution::Void | Attribution::SpokenFor { .. } => {
            RedCause::NotOurs
        }
    }
}

/// A stage's answer, as it is recorded.
pub(super) fn recorded(
    stage: &config::Stage,
    report: StageReport,
    again: u32,
    at: At,
) -> StageRecord {
    let StageReport { answer, link, tail, next_look: _ } = report;
    let deploys = stage.deploys();
    StageRecord { link, tail, again, deploys, ..StageRecord::new(&stage.name, answer, at) }
}

/// The answer of a stage that ran as a job. Exit code 0 is a success. A command that could not run
/// (126, 127, or no exit code) gives no result, but one that exceeded a limit has failed.
fn report_of(end: JobEnd) -> StageReport {
    let answer = match end.code {
        Some(0) => StageAnswer::Success,
        None if end.limit.is_some() => StageAnswer::Failure,
        Some(126 | 127) | None => StageAnswer::Void,
        Some(_) => StageAnswer::Failure,
    };
    // The command's own output does not say why it was ended.
    let tail = match end.could_not_run {
        Some(why) if end.tail.trim().is_empty() => why,
        Some(why) => format!("{}\n{why}", end.tail.trim_end()),
        None => end.tail,
    };
    StageReport { answer, link: None, tail: Some(tail), next_look: None }
}

/// A stage's name as part of a job key, which allows few characters. The digest keeps apart two
/// names that become the same.
fn slug(stage: &config::Stage) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = stage.name.chars().map(plain).take(40).collect();
    // Two names may become the same.
    format!("{name}-{}", afk_core::digest::Digest::of(&stage.name).short())
}
