//! Tries a candidate on a branch of its own: pushes it there, runs its stages, removes the branch.
//!
//! For repos with `landing = "tested"`: the default branch only ever gets a commit for which the
//! stages marked `before_landing` have passed. The branch's name follows from the record, which has
//! the try before anything is pushed, so that the branch is found and removed after a crash.
//! Landing itself is in `land`.

use afk_core::config;
use afk_core::elapsed::deadline;
use afk_core::impediment::Impediment;
use afk_core::plan::Refusal;
use afk_core::run::{AttemptRefusal, Candidate, StageRecord, Transition};
use afk_core::verdict::StageAnswer;

use super::stages::{StageStatus, recorded};
use super::{Acted, Pass, Watch};
use crate::ports::{JobState, PortResult};

impl Pass<'_> {
    /// Pushes the candidate to its own branch, or finds that it is there.
    pub(super) async fn try_candidate(&mut self) -> PortResult<Acted> {
        let Some(candidate) = self.run.candidate().cloned() else { return Ok(Acted::Again) };
        if candidate.tried.is_none() {
            self.commit(Transition::TryBegun).await?;
        }
        let Some((n, _)) = self.run.candidates().last() else { return Ok(Acted::Again) };
        let name = self.run.try_branch(n);
        if let Some(acted) = self.is_tried(&name, &candidate).await? {
            return Ok(acted);
        }
        if let Some(acted) = self.after_unpushed(&candidate).await? {
            return Ok(acted);
        }
        let (git, repo) = (self.ports().git.clone(), self.run.issue.repo.clone());
        let head = git.default_head(&repo, &self.branch(), &self.token()).await?;
        if !git.contains(&repo, &head, &candidate.base).await? {
            // The default branch was rewritten: commits that people took out must not come back on
            // this branch.
            return self.integrate().await;
        }
        if !self.may_push().await? {
            return Ok(Acted::Again);
        }
        let pushed = git.push(&repo, &name, &candidate.commit, &self.token()).await?;
        if let Some(acted) = self.is_tried(&name, &candidate).await? {
            return Ok(acted);
        }
        self.unpushed(name, pushed).await
    }

    /// Runs or polls the first marked stage that has not passed, again if it could not run. A
    /// failure refuses the candidate, unless the base fails, too.
    pub(super) async fn check_candidate(&mut self) -> PortResult<Acted> {
        let Some(candidate) = self.run.candidate().cloned() else { return Ok(Acted::Again) };
        let Some(stage) = self.awaited(&candidate) else { return Ok(Acted::Again) };
        let known = candidate.stage(&stage.name);
        if let Some(failed) = known.filter(|one| one.is_red()) {
            return self.attribute_try(&candidate, &stage, failed).await;
        }
        let now = self.now();
        let silence = self.config.limits(&self.repo).candidate;
        let silent = deadline(candidate.asked_since(), silence, now, &self.run.pauses);
        let Some((again, from)) = candidate.next_asking(&stage.name) else {
            return Ok(Acted::wait(Watch::Nothing, silent));
        };
        if let Some(from) = from.filter(|from| now < *from) {
            return Ok(Acted::wait(Watch::Nothing, Some(from)));
        }
        let (report, wait) = match self.run_or_poll(&stage, &candidate.commit, false, again).await?
        {
            StageStatus::Says(report, wait) => (report, wait),
            StageStatus::NotYet(wait) => return Ok(wait.into()),
        };
        let Some(stage) = recorded(&stage, report, again, now).after(known) else {
            return Ok(wait.into());
        };
        self.commit(Transition::CandidateAnswered { stage }).await?;
        Ok(Acted::Again)
    }

    /// Refuses the candidate for a stage that failed, unless the stage fails on the base, too.
    async fn attribute_try(
        &mut self,
        candidate: &Candidate,
        stage: &config::Stage,
        failed: &StageRecord,
    ) -> PortResult<Acted> {
        let (base, commit) = (&candidate.base, &candidate.commit);
        match self.check_base(base, commit, stage, (failed.again, failed.at)).await? {
            StageStatus::NotYet(wait) => Ok(wait.into()),
            StageStatus::Says(report, _) if report.answer == StageAnswer::Failure => {
                self.commit(Transition::BaseRed { commit: base.clone() }).await?;
                Ok(Acted::Again)
            }
            StageStatus::Says(..) => self.refuse(refused(failed, candidate)).await,
        }
    }

    /// Runs the failed stage on the default head, after a growing pause or at once if the head is
    /// new, to see whether the failure that base and candidate shared is fixed. If it is, a new
    /// candidate is made on that head.
    pub(super) async fn check_base_again(&mut self) -> PortResult<Acted> {
        let Some(candidate) = self.run.candidate().cloned() else { return Ok(Acted::Again) };
        let Some(stage) = self.awaited(&candidate) else { return Ok(Acted::Again) };
        let (repo, branch, now) = (self.run.issue.repo.clone(), self.branch(), self.now());
        let head = self.ports().git.default_head(&repo, &branch, &self.token()).await?;
        let failed = candidate.stage(&stage.name);
        let (failed, at) = failed.map_or((0, candidate.at), |failed| (failed.again, failed.at));
        let same = candidate.base_asked.filter(|_| candidate.red_bases.last() == Some(&head));
        let again = match same {
            None => failed,
            Some(asked) if now < asked.next() => {
                return Ok(Acted::wait(Watch::Nothing, Some(asked.next())));
            }
            Some(asked) => failed + asked.again + 1,
        };
        match self.check_base(&head, &candidate.commit, &stage, (again, at)).await? {
            StageStatus::NotYet(wait) => Ok(wait.into()),
            StageStatus::Says(report, _) if report.answer == StageAnswer::Failure => {
                self.commit(Transition::BaseRed { commit: head }).await?;
                Ok(Acted::Again)
            }
            StageStatus::Says(..) => self.integrate().await,
        }
    }

    /// Whether the stage that is awaited before landing has ended without its answer being recorded
    /// yet. Then it does not count as silent, however long it took.
    pub(super) async fn has_unrecorded_answer(&self) -> PortResult<bool> {
        let on_remote = |one: &&Candidate| one.tried.is_some_and(|tried| tried.pushed_at.is_some());
        let Some(candidate) = self.run.candidate().filter(on_remote) else { return Ok(false) };
        let Some(next) = self.awaited(candidate).filter(config::Stage::is_run) else {
            return Ok(false);
        };
        let Some((again, _)) = candidate.next_asking(&next.name) else { return Ok(false) };
        if candidate.stage(&next.name).is_some_and(|known| known.again == again) {
            return Ok(false);
        }
        let key = self.stage_key(&next, &candidate.commit, again);
        let job = self.ports().jobs.observe(self.run.id, &key).await?;
        Ok(matches!(job, JobState::Ended(end) if !end.stopped))
    }

    /// Removes the branches of candidates that no longer need them. A halt keeps them: no push is
    /// started under a halt.
    pub(super) async fn remove_tries(&mut self) -> PortResult<()> {
        for n in self.run.spent_tries() {
            if self.brake.halted() {
                return Ok(());
            }
            let (repo, name) = (self.run.issue.repo.clone(), self.run.try_branch(n));
            self.ports().git.remove_branch(&repo, &name, &self.token()).await?;
            self.commit(Transition::TryRemoved { n }).await?;
        }
        Ok(())
    }

    /// The first stage that must pass before landing and has not.
    fn awaited(&self, candidate: &Candidate) -> Option<config::Stage> {
        let passed = |stage: &config::Stage| {
            let mut known = candidate.stages.iter().filter(|known| known.name == stage.name);
            known.any(|known| known.answer == StageAnswer::Success)
        };
        let mut marked = self.repo.stages.iter().filter(|stage| stage.before_landing);
        marked.find(|stage| !passed(stage)).cloned()
    }

    /// Records the push if the remote's branch is at the candidate, and an impediment if it is at
    /// another commit; none if there is no such branch.
    async fn is_tried(&mut self, name: &str, candidate: &Candidate) -> PortResult<Option<Acted>> {
        let repo = self.run.issue.repo.clone();
        match self.ports().git.head(&repo, name, &self.token()).await? {
            Some(head) if head == candidate.commit => {
                self.commit(Transition::TryPushed).await?;
                Ok(Some(Acted::Again))
            }
            Some(head) => {
                let (branch, remote) = (name.to_owned(), self.ports().git.remote(&repo));
                self.impede(Impediment::TryTaken { branch, remote, head }).await.map(Some)
            }
            None => Ok(None),
        }
    }
}

fn refused(stage: &StageRecord, candidate: &Candidate) -> AttemptRefusal {
    let detail = format!("stage {} fails on {}", stage.name, candidate.commit.short());
    let output = stage.tail.clone().unwrap_or_default();
    AttemptRefusal { why: Refusal::Stage, detail, output, conflict: None }
}
