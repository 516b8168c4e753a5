//! What can happen to a run's record. One transition is one journal row, and
//! applying the rows in order gives the record again.

use serde::{Deserialize, Serialize};

use super::{
    Attempt, Cancel, CancelHow, Candidate, Conclusion, Ended, Given, Heard, Interrupt, LabelsSeen,
    Left, Posted, Refused, Reset, Run, Stage, Start, Tried, Turn, TurnEnd, TurnFacts,
};
use crate::ask::{self, Answer};
use crate::elapsed::Pause;
use crate::guardrails::GuardrailReport;
use crate::ids::{At, Oid};
use crate::plan::{End, RedCause, TurnCause};
use crate::proof::ProofReport;
use crate::request::{Asked, Request};
use crate::usd::Usd;
use crate::verdict::StageAnswer;

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
    /// It was not found there.
    NotLanded,
    /// The newest candidate was found on the default branch.
    Landed {
        /// The commit there; another than the candidate where people merged it.
        commit: Oid,
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
            Self::Landed { .. } => "landed",
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
            Self::Concluded { .. } => "concluded",
            Self::Settled => "settled",
        }
    }
}

impl Run {
    /// The record after `transition`, which happened `at`.
    ///
    /// Total: a transition that does not fit the record changes nothing, since a
    /// journal that was cut or edited is named by its hash chain, not by a panic.
    pub fn apply(&mut self, at: At, transition: Transition) {
        match transition {
            Transition::Admitted { run } => *self = *run,
            Transition::Opened { start } => self.open(start),
            Transition::TurnBegun { cause, reserved, attempt } => {
                self.begin_turn(at, cause, reserved, attempt);
            }
            Transition::Reset { reset } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.reset = Some(reset);
                }
            }
            Transition::TurnInterrupted { stalled } => {
                if let Some(turn) = self.turn_mut() {
                    turn.interrupt.get_or_insert(Interrupt { at, stalled });
                }
            }
            Transition::TurnEnded { how, facts } => {
                if let Some(turn) = self.turn_mut() {
                    turn.ended = Some(Ended { at, how, facts: *facts });
                }
            }
            Transition::Inspected { left } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.left = Some(left);
                }
            }
            Transition::Integrated { candidate } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.candidates.push(*candidate);
                }
            }
            Transition::Guarded { report } => {
                self.on_candidate(|candidate| candidate.guardrails = Some(report));
            }
            Transition::Proved { report } => {
                self.on_candidate(|candidate| candidate.proof = Some(*report));
            }
            Transition::Refused { refused } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.refused = Some(refused);
                }
            }
            Transition::TryBegun => self.on_candidate(|candidate| {
                let tried = Tried { begun_at: at, pushed_at: None, removed_at: None };
                candidate.tried.get_or_insert(tried);
            }),
            Transition::TryPushed => self.on_candidate(|candidate| {
                if let Some(tried) = &mut candidate.tried {
                    tried.pushed_at.get_or_insert(at);
                }
            }),
            Transition::CandidateAnswered { stage } => {
                self.on_candidate(|candidate| candidate.hear(stage));
            }
            Transition::BaseRed { commit } => self.on_candidate(|candidate| {
                if !candidate.red_bases.contains(&commit) {
                    candidate.red_bases.push(commit);
                }
            }),
            Transition::TryRemoved { n } => self.remove_try(n, at),
            Transition::PushBegun => self.on_candidate(|candidate| {
                candidate.sent_at.get_or_insert(at);
            }),
            Transition::NotLanded => self.on_candidate(|candidate| candidate.sent_at = None),
            Transition::Landed { commit } => self.on_candidate(|candidate| {
                if candidate.commit != commit {
                    // What was said of another commit says nothing of this one.
                    candidate.stages.clear();
                    (candidate.guardrails, candidate.proof) = (None, None);
                }
                candidate.commit = commit;
                candidate.landed_at = Some(at);
            }),
            Transition::StageAnswered { stage } => self.answer(stage),
            Transition::Attributed { cause } => self.attribute(at, cause),
            Transition::LabelsSeen { labels } => self.labels_seen = labels,
            Transition::Cancelled { cancel } => self.cancel = Some(cancel),
            Transition::Asked { asked, answer } => self.hear(at, asked, answer),
            Transition::Questioned { asked, until } => self.question(at, asked, until),
            Transition::Answered { n, answer } => self.give(n, Given { at, by: None, answer }),
            Transition::CommentBegun => self.posted = Some(Posted { at, id: None }),
            Transition::CommentPosted { id } => {
                let posted = self.posted.get_or_insert(Posted { at, id: None });
                posted.id = Some(id);
            }
            Transition::Stopping => {
                self.stopping_since.get_or_insert(at);
            }
            Transition::Stopped => self.stopping_since = None,
            Transition::Paused => {
                if self.pauses.iter().all(|pause| pause.to.is_some()) {
                    self.pauses.push(Pause { from: at, to: None });
                }
            }
            Transition::Unpaused => self.unpause(at),
            Transition::Away { from, to } => self.pauses.push(Pause { from, to: Some(to) }),
            Transition::Concluded { end, why } => {
                self.conclusion = Some(Conclusion { end, why, at });
            }
            Transition::Settled => self.settled_at = Some(at),
        }
    }

    fn open(&mut self, start: Start) {
        let asked = start.workflow.as_ref().and_then(|workflow| workflow.policy.budget_usd);
        self.budget = asked.map_or(self.budget, |asked| asked.min(self.budget));
        self.start = Some(start);
    }

    fn hear(&mut self, at: At, asked: Asked, answer: String) {
        if self.heard.iter().any(|heard| heard.asked.id == asked.id) {
            return;
        }
        match &asked.what {
            Request::Stop => {
                let (by, how) = (Some(asked.by.clone()), CancelHow::Stopped);
                self.cancel.get_or_insert(Cancel { by, how, at });
            }
            Request::Budget { usd } => self.budget = *usd,
            Request::Answer { .. } | Request::Allow { .. } | Request::Deny { .. } => {
                self.give_asked(at, &asked);
            }
            Request::Retry
            | Request::Say { .. }
            | Request::Unfreeze
            | Request::Release
            | Request::Unclear { .. } => {}
        }
        self.heard.push(Heard { asked, at, answer, turn: None });
    }

    /// Closes whatever pause is open.
    pub(super) fn unpause(&mut self, at: At) {
        for pause in &mut self.pauses {
            pause.to.get_or_insert(at);
        }
    }

    fn begin_turn(&mut self, at: At, cause: TurnCause, reserved: Usd, attempt: bool) {
        let n = self.turn().map_or(1, |turn| turn.n + 1);
        if cause == TurnCause::Said {
            let unsaid: Vec<String> = self.unsaid().map(|heard| heard.asked.id.clone()).collect();
            for heard in self.heard.iter_mut().filter(|one| unsaid.contains(&one.asked.id)) {
                heard.turn = Some(n);
            }
        }
        let turn = Turn {
            n,
            cause,
            begun_at: at,
            reserved,
            interrupt: None,
            questions: Vec::new(),
            ended: None,
        };
        match self.attempts.last_mut() {
            Some(last) if !attempt => {
                last.turns.push(turn);
                if let Some(left) = last.left.take() {
                    last.dirty = left.dirty;
                }
            }
            Some(_) | None => {
                let n = self.attempts.len() as u32 + 1;
                self.attempts.push(Attempt {
                    n,
                    cause,
                    reset: None,
                    turns: vec![turn],
                    left: None,
                    dirty: Vec::new(),
                    candidates: Vec::new(),
                    refused: None,
                });
            }
        }
    }

    fn answer(&mut self, stage: Stage) {
        if let Some(landed) = self.landed_mut() {
            if stage.answer == StageAnswer::Failure {
                // What was said of another stage's failure says nothing of this one.
                landed.red = None;
            }
            landed.hear(stage);
        }
    }

    fn remove_try(&mut self, n: u32, at: At) {
        let mut all = self.attempts.iter_mut().flat_map(|attempt| &mut attempt.candidates);
        let nth = (n as usize).checked_sub(1).and_then(|before| all.nth(before));
        if let Some(tried) = nth.and_then(|candidate| candidate.tried.as_mut()) {
            tried.removed_at.get_or_insert(at);
        }
    }

    /// The fix-forward clock runs from the first red of ours, when its stage said so,
    /// and from no other.
    fn attribute(&mut self, at: At, cause: RedCause) {
        let Some(landed) = self.landed_mut() else { return };
        landed.red = Some(cause);
        let failed = landed.stages.iter().find(|stage| stage.answer == StageAnswer::Failure);
        let red_at = failed.map_or(at, |stage| stage.at);
        match cause {
            RedCause::Ours => {
                self.first_red_at.get_or_insert(red_at);
            }
            RedCause::NotOurs => {}
        }
    }

    pub(super) fn turn_mut(&mut self) -> Option<&mut Turn> {
        self.attempts.iter_mut().rev().find_map(|attempt| attempt.turns.last_mut())
    }

    fn landed_mut(&mut self) -> Option<&mut Candidate> {
        let attempts = self.attempts.iter_mut().rev();
        let mut all = attempts.flat_map(|attempt| attempt.candidates.iter_mut().rev());
        all.find(|candidate| candidate.landed_at.is_some())
    }

    fn on_candidate(&mut self, change: impl FnOnce(&mut Candidate)) {
        if let Some(candidate) =
            self.attempts.last_mut().and_then(|last| last.candidates.last_mut())
        {
            change(candidate);
        }
    }
}
