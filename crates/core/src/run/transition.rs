//! What can happen to a run's record. Each transition is one journal row, and applying the rows in
//! order gives the record.

use serde::{Deserialize, Serialize};

use super::{
    AttemptRefusal, Cancel, Candidate, LabelsSeen, PullSeen, PushFailure, Reset, ResumedHead, Run,
    StageRecord, Start, TurnCost, TurnEnd, TurnFacts, WorkspaceInspection,
};
use crate::ask::{self, Answer};
use crate::elapsed::Standstill;
use crate::guardrails::GuardrailReport;
use crate::ids::{At, Oid};
use crate::impediment::Impediment;
use crate::plan::{End, RedCause, TurnCause};
use crate::proof::ProofReport;
use crate::request::PersonRequest;
use crate::usd::Usd;

/// One step of a run's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "transition", rename_all = "snake_case")]
pub enum Transition {
    /// The run was admitted; its record as it began.
    Admitted {
        /// The new run.
        run: Box<Run>,
    },
    /// The workspace was created.
    Opened {
        /// Where the work starts from.
        start: Start,
    },
    /// The verify command fails on the head that the work would start from: nothing is begun.
    BaseFails {
        /// Why, in a sentence for people.
        why: String,
    },
    /// The run goes on from the head that an ended run left: its first attempt has that head and no
    /// turn.
    Resumed {
        /// What it goes on from.
        resumed: ResumedHead,
    },
    /// A turn is about to be started: from here on it can be found by its key.
    TurnBegun {
        /// Why it is begun.
        cause: TurnCause,
        /// The budget that is left for it.
        reserved: Usd,
        /// Whether it opens a new attempt.
        attempt: bool,
    },
    /// The workspace was reset to the default head, before the newest attempt's turn.
    Reset {
        /// To which commit, and what was left.
        reset: Reset,
    },
    /// The newest turn was told to stop.
    TurnInterrupted {
        /// Whether it had stalled.
        stalled: bool,
    },
    /// The newest turn ended.
    TurnEnded {
        /// How it ended.
        how: TurnEnd,
        /// What its executor reports of it.
        facts: Box<TurnFacts>,
    },
    /// The workspace was inspected after a turn.
    Inspected {
        /// What the turn left.
        left: WorkspaceInspection,
    },
    /// A candidate was made: from here on only this commit counts.
    Integrated {
        /// The candidate.
        candidate: Box<Candidate>,
    },
    /// The guardrails judged the newest candidate, or what landed without a proof.
    Guarded {
        /// Their report.
        report: GuardrailReport,
    },
    /// The proof of the newest candidate, or of what landed without one, was decided.
    Proved {
        /// Its report.
        report: Box<ProofReport>,
    },
    /// The newest attempt was refused before landing.
    Refused {
        /// Why, and the details.
        refused: AttemptRefusal,
    },
    /// The newest candidate is about to be pushed to a branch of its own.
    TryBegun,
    /// The newest candidate was found on its own branch.
    TryPushed,
    /// A stage answered about the newest candidate, differently than before.
    CandidateAnswered {
        /// Its answer.
        stage: StageRecord,
    },
    /// The default branch fails as the newest candidate failed.
    BaseRed {
        /// The branch's head.
        commit: Oid,
    },
    /// A candidate's own branch was found to be removed.
    TryRemoved {
        /// The candidate's number, from 1, over the whole run.
        n: u32,
    },
    /// The newest candidate is about to be pushed to the default branch: from here on
    /// it may be there.
    PushBegun,
    /// The newest candidate was not found on the default branch; or, where the agent lands by
    /// itself, it has brought nothing new.
    NotLanded,
    /// What the agent brought to the default branch by itself was found there.
    Found {
        /// Everything that was found, as one change that has landed.
        candidate: Box<Candidate>,
    },
    /// A push of the newest candidate did not arrive, and the remote is as it was before.
    Unpushed {
        /// The branch.
        branch: String,
        /// What the remote said.
        why: String,
        /// What became of the push.
        how: PushFailure,
    },
    /// The newest candidate was found on the default branch.
    Landed {
        /// The commit there; differs from the candidate if people merged it.
        commit: Oid,
    },
    /// The newest candidate's pull request is about to be opened: from here on people may
    /// merge it.
    PullBegun,
    /// The pull request was seen, and has changed since it was last seen.
    PullSeen {
        /// What it shows now.
        seen: PullSeen,
    },
    /// Nothing is left to do until people decide on the pull request: the repo's lock, the run's
    /// place and its reserved budget are free for others.
    SteppedAside,
    /// The run has the lock and a place again.
    TookUp {
        /// Its budget from now on: as before, or as much as the caps of the day have room for.
        budget: Usd,
    },
    /// What people merged of the newest candidate was found on the default branch.
    Adopted {
        /// The commit there.
        commit: Oid,
        /// The commit's parent.
        base: Oid,
        /// The commit's tree.
        tree: Oid,
    },
    /// A stage answered about the landed commit, differently than before.
    StageAnswered {
        /// Its answer.
        stage: StageRecord,
    },
    /// A red verdict was attributed.
    Attributed {
        /// Whose fault it is.
        cause: RedCause,
    },
    /// Labels of ours were seen on the issue.
    LabelsSeen {
        /// All that were seen so far.
        labels: LabelsSeen,
    },
    /// A person withdrew the issue.
    Cancelled {
        /// Who and how.
        cancel: Cancel,
    },
    /// The run took a person's request.
    Asked {
        /// The request.
        #[serde(rename = "asked")]
        request: PersonRequest,
        /// What was done about it.
        answer: String,
    },
    /// The agent asked a question in the newest turn.
    Questioned {
        /// The question.
        asked: ask::PendingQuestion,
        /// When policy answers it, unless a person has.
        until: At,
    },
    /// Policy answered a question of the agent.
    Answered {
        /// The question's number, from 1, over the whole run.
        n: u32,
        /// The answer.
        answer: Answer,
    },
    /// The comment is about to be posted: from here on it may exist.
    CommentBegun,
    /// The comment was posted, or found.
    CommentPosted {
        /// Its id on the tracker.
        id: String,
    },
    /// The executor reported where people can watch the run's thread.
    ThreadLinked {
        /// The address.
        link: String,
    },
    /// Agent and jobs were told to stop.
    Stopping,
    /// Agent and jobs are gone, or need not stop any more.
    Stopped,
    /// The run's clocks stopped.
    Paused {
        /// Why they stopped.
        #[serde(default)]
        why: Standstill,
    },
    /// The run's clocks go on.
    Unpaused,
    /// No control plane ran for a while.
    Away {
        /// When that interval began.
        from: At,
        /// When it ended.
        to: At,
    },
    /// The clock was set back after it was ahead: what pauses have of the time to come is cut off.
    ClockSetBack,
    /// A pass met an impediment, different from the last one.
    Impeded {
        /// The impediment.
        by: Impediment,
    },
    /// The impediment is cleared.
    Unimpeded,
    /// The outcome is decided.
    Concluded {
        /// How it ended.
        end: End,
        /// Why, in a sentence for people.
        why: String,
        /// What is charged for the newest turn if its end was not recorded; none if it ended, or
        /// was never begun.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        charged: Option<Box<TurnCost>>,
    },
    /// The world shows every effect of the outcome.
    Settled,
}

impl Transition {
    /// Its name in the journal.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Admitted { .. } => "admitted",
            Self::Opened { .. } => "opened",
            Self::BaseFails { .. } => "base_fails",
            Self::Resumed { .. } => "resumed",
            Self::TurnBegun { .. } => "turn_begun",
            Self::Reset { .. } => "reset",
            Self::TurnInterrupted { .. } => "turn_interrupted",
            Self::TurnEnded { .. } => "turn_ended",
            Self::Inspected { .. } => "inspected",
            Self::Integrated { .. } => "integrated",
            Self::Guarded { .. } => "guarded",
            Self::Proved { .. } => "proved",
            Self::Refused { .. } => "refused",
            Self::TryBegun => "try_begun",
            Self::TryPushed => "try_pushed",
            Self::CandidateAnswered { .. } => "candidate_answered",
            Self::BaseRed { .. } => "base_red",
            Self::TryRemoved { .. } => "try_removed",
            Self::PushBegun => "push_begun",
            Self::NotLanded => "not_landed",
            Self::Found { .. } => "found",
            Self::Unpushed { .. } => "unpushed",
            Self::Landed { .. } => "landed",
            Self::PullBegun => "pull_begun",
            Self::PullSeen { .. } => "pull_seen",
            Self::SteppedAside => "stepped_aside",
            Self::TookUp { .. } => "took_up",
            Self::Adopted { .. } => "adopted",
            Self::StageAnswered { .. } => "stage_answered",
            Self::Attributed { .. } => "attributed",
            Self::LabelsSeen { .. } => "labels_seen",
            Self::Cancelled { .. } => "cancelled",
            Self::Asked { .. } => "asked",
            Self::Questioned { .. } => "questioned",
            Self::Answered { .. } => "answered",
            Self::CommentBegun => "comment_begun",
            Self::CommentPosted { .. } => "comment_posted",
            Self::ThreadLinked { .. } => "thread_linked",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Paused { .. } => "paused",
            Self::Unpaused => "unpaused",
            Self::Away { .. } => "away",
            Self::ClockSetBack => "clock_set_back",
            Self::Impeded { .. } => "impeded",
            Self::Unimpeded => "unimpeded",
            Self::Concluded { .. } => "concluded",
            Self::Settled => "settled",
        }
    }
}
