//! A candidate on a branch of its own: pushed there, its stages asked, the branch removed.
//!
//! For repos that land tested: the default branch only ever gets a commit whose marked
//! stages have passed for that very commit. The branch's name follows from the record, in
//! which the try is begun before anything is pushed, so that it is found and removed
//! whoever died on the way. Landing itself is `land`'s.

use afk_core::config;
use afk_core::elapsed::deadline;
use afk_core::plan::Refusal;
use afk_core::run::{Candidate, Refused, Stage, Transition};
use afk_core::verdict::StageAnswer;

use super::{Acted, Pass, Watch};
use crate::ports::{JobState, PortError, PortResult, Push};

impl Pass<'_> {
    /// Pushes the candidate to its own branch, or finds that it is there.
    pub(super) async fn try_candidate(&mut self) -> PortResult<Acted> {
        let Some(candidate) = self.run.candidate().cloned() else { return Ok(Acted::Again) };
        if candidate.tried.is_none() {
            self.commit(Transition::TryBegun).await?;
        }
        let Some((n, _)) = self.run.candidates().last() else { return Ok(Acted::Again) };
        let name = self.run.try_branch(n);
        if self.is_tried(&name, &candidate).await? {
            return Ok(Acted::Again);
        }
        if !self.may_push().await? {
            return Ok(Acted::Again);
        }
        let repo = self.run.issue.repo.clone();
        let pushed = self.ports().git.push(&repo, &name, &candidate.commit, &self.token()).await?;
        if self.is_tried(&name, &candidate).await? {
            return Ok(Acted::Again);
        }
        let (remote, short) = (&self.repo.remote, candidate.commit.short());
        Err(match pushed {
            Push::Refused { why } => PortError::permanent(format!(
                "{remote} refused the push of {short} to {name}: {why}"
            )),
            Push::Moved => {
                PortError::permanent(format!("{name} on {remote} moved while {short} was pushed"))
            }
            Push::Landed | Push::Unknown => PortError::transient(format!(
                "{short} was pushed to {name}, but the remote does not show it yet"
            )),
        })
    }

    /// Asks the first marked stage that has not passed; its failure refuses the candidate.
    pub(super) async fn ask_candidate(&mut self) -> PortResult<Acted> {
        let Some(candidate) = self.run.candidate().cloned() else { return Ok(Acted::Again) };
        let Some(stage) = self.awaited(&candidate) else { return Ok(Acted::Again) };
        let known = candidate.stages.iter().find(|known| known.name == stage.name).cloned();
        if let Some(failed) = known.as_ref().filter(|one| one.answer == StageAnswer::Failure) {
            // Whoever heard it died before the refusal was recorded.
            return self.refuse(refused(failed, &candidate)).await;
        }
        let Some((answer, tail)) = self.ask(&stage, &candidate.commit).await? else {
            return Ok(Acted::wait(Watch::Jobs, None));
        };
        if known.is_some_and(|known| known.answer == answer) {
            let limit = self.config.limits(&self.repo).candidate;
            let (since, now) = (candidate.asked_since(), self.now());
            let until = deadline(since, limit, now, &self.run.pauses);
            return Ok(Acted::wait(Watch::Nothing, until));
        }
        let at = self.now();
        let stage = Stage { name: stage.name, answer, at, link: None, tail };
        self.commit(Transition::CandidateAnswered { stage: stage.clone() }).await?;
        match answer {
            StageAnswer::Failure => self.refuse(refused(&stage, &candidate)).await,
            StageAnswer::None | StageAnswer::Pending | StageAnswer::Success | StageAnswer::Void => {
                Ok(Acted::Again)
            }
        }
    }

    /// Whether the stage that is awaited before landing has ended, and nobody recorded yet
    /// what it said: its silence is over, however long it was.
    pub(super) async fn has_unheard(&self) -> PortResult<bool> {
        let on_remote = |one: &&Candidate| one.tried.is_some_and(|tried| tried.pushed_at.is_some());
        let Some(candidate) = self.run.candidate().filter(on_remote) else { return Ok(false) };
        let Some(next) = self.awaited(candidate) else { return Ok(false) };
        if candidate.stages.iter().any(|known| known.name == next.name) {
            return Ok(false);
        }
        let key = self.stage_key(&next, &candidate.commit);
        let job = self.ports().jobs.observe(self.run.id, &key).await?;
        Ok(matches!(job, JobState::Ended(end) if !end.stopped))
    }

    /// Removes the branches of candidates that are through. A halt keeps them: it starts
    /// no push, of whatever kind.
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

    /// Why a candidate that nobody answered about ends the run.
    pub(super) fn unanswered(&self) -> String {
        let Some(candidate) = self.run.candidate() else { return String::new() };
        let Some(stage) = self.awaited(candidate) else { return String::new() };
        let branch = self.run.candidates().last().map(|(n, _)| self.run.try_branch(n));
        let minutes = self.config.limits(&self.repo).candidate.as_secs() / 60;
        let said = candidate.stages.iter().find(|known| known.name == stage.name);
        let cause = match said.map(|known| (known.answer, known.tail.as_deref())) {
            Some((StageAnswer::Void, tail)) => {
                format!("it could not run: {}", tail.unwrap_or_default().trim())
            }
            Some(_) | None => "nothing of it was ever there".to_owned(),
        };
        format!(
            "stage {} gave no answer within {minutes} minutes about {} on {}, so it did not land: \
             {cause}",
            stage.name,
            candidate.commit.short(),
            branch.unwrap_or_default()
        )
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

    /// Records the try if the remote shows the candidate on its branch.
    async fn is_tried(&mut self, name: &str, candidate: &Candidate) -> PortResult<bool> {
        let repo = self.run.issue.repo.clone();
        match self.ports().git.head(&repo, name, &self.token()).await? {
            Some(head) if head == candidate.commit => {
                self.commit(Transition::TryPushed).await.map(|()| true)
            }
            Some(other) => Err(PortError::permanent(format!(
                "{name} on {} is {}, which this run did not push there",
                self.repo.remote,
                other.short()
            ))),
            None => Ok(false),
        }
    }
}

fn refused(stage: &Stage, candidate: &Candidate) -> Refused {
    let detail = format!("stage {} fails on {}", stage.name, candidate.commit.short());
    let output = stage.tail.clone().unwrap_or_default();
    Refused { why: Refusal::Stage, detail, output, conflict: None }
}
