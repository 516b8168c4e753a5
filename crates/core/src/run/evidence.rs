//! The evidence bundle of a run, made from its record only.

use super::{Candidate, EndedTurn, Run, TurnEnd};
use crate::digest::Digest;
use crate::elapsed::elapsed;
use crate::evidence::{
    Effort, Evidence, RedEvidence, RedFault, ReleaseEvidence, ReleasedBy, SandboxStrength,
    StageEvidence,
};
use crate::gates::Dispatcher;
use crate::plan::RedCause;
use crate::spend::Usage;
use crate::verdict::{StageAnswer, StageNames};

impl Run {
    /// What shows why this run may, or may not, close its issue.
    pub fn evidence(&self, stages: Option<&StageNames>) -> Evidence {
        let mut bundle = Evidence::new(self.issue.clone(), self.id);
        bundle.release = self.released();
        bundle.stages_configured = stages.map_or_else(Vec::new, |stages| stages.names().to_vec());
        let newest = self.attempts.iter().rev().find_map(|attempt| attempt.candidates.last());
        if let Some(candidate) = self.landed().or(newest) {
            bundle.base = Some(candidate.base.clone());
            bundle.candidate = Some(candidate.commit.clone());
            bundle.landed = candidate.landed_at.map(|_| candidate.commit.clone());
            bundle.diff = candidate.guardrails.as_ref().map(|report| report.stats);
            bundle.guardrails.clone_from(&candidate.guardrails);
            bundle.proof.clone_from(&candidate.proof);
        }
        let unlanded = self.candidates().map(|(_, one)| one).filter(|c| c.landed_at.is_none());
        bundle.stages.extend(unlanded.flat_map(stage_answers));
        for (attempt, candidate) in self.landings() {
            bundle.stages.extend(stage_answers(candidate));
            bundle.reds.extend(self.red(attempt, candidate));
        }
        if self.ends().next().is_some() || self.resumed().is_some() {
            bundle.effort = Some(self.effort());
        }
        bundle.resumed = self.resumed().cloned();
        bundle.transcript = self.transcript();
        bundle.sandbox = self.weakest_sandbox();
        bundle
    }

    fn released(&self) -> Option<ReleaseEvidence> {
        let release = self.release.as_ref()?;
        let how = match (self.dispatcher, &release.request_id) {
            (Dispatcher::Loop, None) => ReleasedBy::Label { label: release.label.clone() },
            (Dispatcher::Loop, Some(id)) => ReleasedBy::Asked { request: id.clone() },
            (Dispatcher::Person, _) => ReleasedBy::Command,
        };
        Some(ReleaseEvidence {
            by: release.by.clone(),
            permission: release.permission,
            at: release.at,
            how,
            pinned: self.pinned.digest.clone(),
        })
    }

    /// Everything that landed, oldest first, with its attempt's number.
    fn landings(&self) -> impl Iterator<Item = (u32, &Candidate)> {
        self.attempts.iter().flat_map(|attempt| {
            let landed = attempt.candidates.iter().filter(|one| one.landed_at.is_some());
            landed.map(move |candidate| (attempt.n, candidate))
        })
    }

    fn red(&self, attempt: u32, candidate: &Candidate) -> Option<RedEvidence> {
        let stage = candidate.stages.iter().find(|one| one.answer == StageAnswer::Failure)?;
        let later = self.landings().map(|(n, _)| n).find(|n| *n > attempt);
        Some(RedEvidence {
            commit: candidate.commit.clone(),
            stage: stage.name.clone(),
            at: stage.at,
            attribution: match candidate.red {
                Some(RedCause::Ours) | None => RedFault::Ours,
                Some(RedCause::NotOurs) => RedFault::Base,
            },
            fixed_by: later,
        })
    }

    fn effort(&self) -> Effort {
        let mut tokens = Usage::default();
        for ended in self.ends() {
            tokens += ended.facts.usage;
        }
        let last = self.conclusion.as_ref().map(|conclusion| conclusion.at);
        let last = last.or_else(|| self.ends().last().map(|ended| ended.at));
        let until = last.unwrap_or(self.admitted_at);
        let ledger = self.ledger();
        Effort {
            turns: self.ends().count() as u32,
            tokens,
            cost: ledger.total(),
            estimated: ledger.has_estimates(),
            wall_seconds: elapsed(self.admitted_at, until, &[]).as_secs(),
        }
    }

    /// One digest for all transcripts, those of the run that it goes on from included; none if
    /// there are none, or if a finished turn lacks its own. A turn that did not finish may lack
    /// one.
    pub(super) fn transcript(&self) -> Option<Digest> {
        let lacks = |end: &EndedTurn| {
            matches!(end.how, TurnEnd::Finished { .. }) && end.facts.transcript.is_none()
        };
        let own = self.ends().filter_map(|end| end.facts.transcript.as_ref());
        let before = self.resumed().map(|resumed| &resumed.transcript);
        let each: Vec<&str> = before.into_iter().chain(own).map(Digest::as_str).collect();
        let whole = !each.is_empty() && !self.ends().any(lacks);
        whole.then(|| Digest::of_list(&each))
    }

    /// The weakest sandbox that any turn ran in, those of the run that it goes on from included.
    pub(super) fn weakest_sandbox(&self) -> Option<SandboxStrength> {
        let before = self.resumed().map(|resumed| resumed.sandbox);
        let all = before.into_iter().chain(self.ends().filter_map(|end| end.facts.sandbox));
        all.min_by_key(|strength| match strength {
            SandboxStrength::None => 0,
            SandboxStrength::Partial => 1,
            SandboxStrength::Full => 2,
        })
    }
}

fn stage_answers(candidate: &Candidate) -> impl Iterator<Item = StageEvidence> {
    candidate.stages.iter().map(|stage| StageEvidence {
        stage: stage.name.clone(),
        commit: candidate.commit.clone(),
        answer: stage.answer,
        link: stage.link.clone(),
        at: stage.at,
        flaky: stage.flaky,
    })
}
