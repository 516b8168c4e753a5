//! Going on from what an ended run left, without another turn.
//!
//! A run that was handed over before it landed anything leaves a finished head. Once a person has
//! changed what spoke against it (a label, the base, the configuration), the same head can be
//! judged again: a retry admits another run of the issue, whose first attempt has the old head and
//! no turn. Whether there is something to go on from is decided here, from the old run's record;
//! whether the mirror still has the head is for git to say.

use serde::{Deserialize, Serialize};

use super::{Attempt, Release, Run, WorkspaceInspection};
use crate::digest::Digest;
use crate::evidence::SandboxStrength;
use crate::ids::{Oid, RunId};
use crate::impediment::Impediment;
use crate::plan::{End, TurnCause};
use crate::proof::ProofReport;
use crate::request::{PersonRequest, Request};

/// What a run goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedHead {
    /// The ended run.
    pub from: RunId,
    /// The head that it left.
    pub head: Oid,
    /// The commit of the default branch, as it was then, that the head stands on.
    pub base: Oid,
    /// The digest of the transcripts of the turns that made the head.
    pub transcript: Digest,
    /// The weakest sandbox that these turns ran in.
    pub sandbox: SandboxStrength,
}

/// What an ended run left that another can go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaves {
    /// Its head.
    pub head: Oid,
    /// The digest of its transcripts.
    pub transcript: Digest,
    /// Its weakest sandbox.
    pub sandbox: SandboxStrength,
}

impl Release {
    /// Whether the issue was released by `request`. A label that a person added by a
    /// command has the time of the request, to the second, as trackers tell time.
    pub fn is_for(&self, request: &PersonRequest) -> bool {
        request.what == Request::Release
            && match &self.request_id {
                Some(id) => *id == request.id,
                None => {
                    request.by.id == self.by.id && request.at.as_second() == self.at.as_second()
                }
            }
    }
}

impl Run {
    /// What another run of the issue may go on from: the head of a run that was handed over with
    /// nothing landed, if the head was refused or was proved. None if it is not known what became
    /// of a push, if a guardrail is breached, which the same head would breach again, if git work
    /// was left unfinished, if the history below the head was rewritten, or if it is not known how
    /// the head was made.
    pub fn leaves(&self) -> Option<Leaves> {
        let end = self.conclusion.as_ref().map(|conclusion| conclusion.end);
        let handed_over = end == Some(End::NeedsHuman) && self.cancel.is_none();
        let elsewhere =
            self.agent_lands() || self.landed().is_some() || self.unconfirmed_push().is_some();
        if !handed_over || elsewhere {
            return None;
        }
        let attempt = self.attempt()?;
        let left = attempt.left.as_ref().filter(|left| left.unfinished.is_empty())?;
        let newest = attempt.candidates.last();
        let breached = newest
            .and_then(|one| one.guardrails.as_ref())
            .is_some_and(|guardrails| !guardrails.passed());
        let cleared = newest.is_some_and(|one| {
            one.head == left.head && one.proof.as_ref().is_some_and(ProofReport::accepted)
        });
        let rewritten = matches!(
            self.impeded.as_ref().map(|impeded| &impeded.by),
            Some(Impediment::Rewritten { .. })
        );
        if breached || rewritten || !(attempt.refused.is_some() || cleared) {
            return None;
        }
        let (transcript, sandbox) = (self.transcript()?, self.weakest_sandbox()?);
        Some(Leaves { head: left.head.clone(), transcript, sandbox })
    }

    /// The head of an ended run that it goes on from, if it does.
    pub fn resumed(&self) -> Option<&ResumedHead> {
        self.attempts.first()?.resumed.as_ref()
    }

    /// Whether its newest attempt is the head of an ended run as it was left, with no turn since.
    pub fn is_untouched_resumption(&self) -> bool {
        self.attempt().is_some_and(Attempt::is_untouched_resumption)
    }

    /// What it goes on from, in a sentence for people, or that it was to go on from a head and
    /// could not. None if it never was to.
    pub fn goes_on(&self) -> Option<String> {
        if let Some(ResumedHead { from, head, .. }) = self.resumed() {
            let head = head.short();
            return Some(format!(
                "it goes on from {head}, the head that run {from} left, without another turn of \
                 the agent"
            ));
        }
        let from = self.resumes?;
        match &self.start {
            None => Some(format!("it is to go on from the head that run {from} left")),
            Some(start) if start.head.is_some() && self.attempts.is_empty() => {
                Some(format!("it is to go on from the head that run {from} left"))
            }
            Some(_) => Some(format!(
                "it could not go on from the head that run {from} left, which is gone or landed, \
                 and began from scratch"
            )),
        }
    }

    pub(super) fn resume(&mut self, resumed: ResumedHead) {
        if self.start.is_none() || !self.attempts.is_empty() {
            return;
        }
        let left = WorkspaceInspection {
            head: resumed.head.clone(),
            dirty: Vec::new(),
            elsewhere: Vec::new(),
            unfinished: Vec::new(),
        };
        self.attempts.push(Attempt {
            resumed: Some(resumed),
            left: Some(left),
            ..Attempt::new(1, TurnCause::Opening)
        });
    }
}

impl Attempt {
    /// Whether it is the head of an ended run as it was left, with no turn since.
    pub(super) fn is_untouched_resumption(&self) -> bool {
        self.resumed.is_some() && self.turns.is_empty()
    }
}
