//! What can happen to a run's record. One transition is one journal row, and
//! applying the rows in order gives the record again.

use serde::{Deserialize, Serialize};

use super::{
    Cancel, Candidate, LabelsSeen, Left, PullSeen, Refused, Reset, Run, Stage, Start, TurnEnd,
    TurnFacts,
};
use crate::ask::{self, Answer};
use crate::guardrails::GuardrailReport;
use crate::ids::{At, Oid};
use crate::impediment::Impediment;
use crate::plan::{End, RedCause, TurnCause};
use crate::proof::ProofReport;
use crate::request::Asked;
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
    /// The workspace was made.
    Opened {
        /// Where the work starts from.
        start: Start,
    },
    /// A turn is about to be started: from here on its key finds it.
    TurnBegun {
        /// Why.
        cause: TurnCause,
        /// What the budget has left for it.
        reserved: Usd,
        /// Whether it opens a new attempt.
        attempt: bool,
    },
    /// The workspace was put on the default head, before the newest attempt's turn.
    Reset {
        /// On which, and what was left.
        reset: Reset,
    },
    /// The newest turn was told to stop.
    TurnInterrupted {
        /// Because it had stalled.
        stalled: bool,
    },
    /// The newest turn ended.
    TurnEnded {
        /// How.
        how: TurnEnd,
        /// What it took.
        facts: Box<TurnFacts>,
    },
    /// The workspace was looked at after a turn.
    Inspected {
        /// What the turn left.
        left: Left,
    },
    /// A candidate was made: from here on only this commit counts.
    Integrated {
        /// The candidate.
        candidate: Box<Candidate>,
    },
    /// The guardrails spoke about the newest candidate.
    Guarded {
        /// What they said.
        report: GuardrailReport,
    },
    /// The proof of the newest candidate was decided.
    Proved {
        /// What it said.
        report: Box<ProofReport>,
    },
    /// The newest attempt was refused before landing.
    Refused {
        /// Why.
        refused: Refused,
    },
    /// The newest candidate is about to be pushed to a branch of its own.
    TryBegun,
    /// It was found there.
    TryPushed,
    /// A stage answered about the newest candidate, other than before.
    CandidateAnswered {
        /// What it said.
        stage: Stage,
    },
    /// The default branch fails where the newest candidate failed.
    BaseRed {
        /// Its head.
        commit: Oid,
    },
    /// A candidate's own branch was found gone.
    TryRemoved {
        /// The candidate's number, from 1, over the whole run.
        n: u32,
    },
    /// The newest candidate is about to be pushed to the default branch: from here on
    /// it may be there.
    PushBegun,
    /// It was not found there; or, where the agent lands by itself, nothing new of it.
    NotLanded,
    /// What the agent brought to the default branch by itself was found there.
    Found {
        /// All of it as one change that has landed.
        candidate: Box<Candidate>,
    },
    /// The newest candidate was found on the default branch.
    Landed {
        /// The commit there; another than the candidate where people merged it.
        commit: Oid,
    },
    /// The newest candidate's pull request is about to be opened: from here on people may
    /// merge it.
    PullBegun,
    /// It was seen, other than before.
    PullSeen {
        /// How.
        seen: PullSeen,
    },
    /// What people merged of the newest candidate was found on the default branch.
    Adopted {
        /// The commit there.
        commit: Oid,
        /// The commit that it stands on.
        base: Oid,
        /// Its tree.
        tree: Oid,
    },
    /// A stage answered about the landed commit, other than before.
    StageAnswered {
        /// What it said.
        stage: Stage,
    },
    /// A red verdict was attributed.
    Attributed {
        /// To whom.
        cause: RedCause,
    },
    /// Labels of ours were seen on the issue.
    LabelsSeen {
        /// Which, so far.
        labels: LabelsSeen,
    },
    /// A person took the issue back.
    Cancelled {
        /// Who and how.
        cancel: Cancel,
    },
    /// The run took a person's request.
    Asked {
        /// The request.
        asked: Asked,
        /// What is done about it.
        answer: String,
    },
    /// The agent asked something in the newest turn.
    Questioned {
        /// What.
        asked: ask::Asked,
        /// When policy answers it, unless a person has.
        until: At,
    },
    /// Policy answered it.
    Answered {
        /// Its number, from 1, over the whole run.
        n: u32,
        /// What the agent is told.
        answer: Answer,
    },
    /// The comment is about to be posted: from here on it may be there.
    CommentBegun,
    /// The comment was posted, or found.
    CommentPosted {
        /// Its id on the tracker.
        id: String,
    },
    /// What is alive was told to stop.
    Stopping,
    /// It need not stop any more, or is gone.
    Stopped,
    /// A clock pause began.
    Paused,
    /// The clock pause ended.
    Unpaused,
    /// A stretch in which no control plane ran.
    Away {
        /// From when.
        from: At,
        /// To when.
        to: At,
    },
    /// Something was in the way of a pass, other than before.
    Impeded {
        /// What.
        by: Impediment,
    },
    /// It is out of the way.
    Unimpeded,
    /// The outcome is decided.
    Concluded {
        /// How it ended.
        end: End,
        /// Why, in a sentence for people.
        why: String,
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
            Self::Landed { .. } => "landed",
            Self::PullBegun => "pull_begun",
            Self::PullSeen { .. } => "pull_seen",
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
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Unpaused => "unpaused",
            Self::Away { .. } => "away",
            Self::Impeded { .. } => "impeded",
            Self::Unimpeded => "unimpeded",
            Self::Concluded { .. } => "concluded",
            Self::Settled => "settled",
        }
    }
}
