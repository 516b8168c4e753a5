//! What each [`Transition`] changes in the record.
//!
//! A pass applies a transition to a copy of the record and commits both together. Replay and the
//! evidence apply the rows of a journal again, so the result depends on nothing but the record, the
//! transition and its time.
//!
//! Applying is not idempotent: a second [`Transition::TurnBegun`] is a second turn. That each
//! transition is applied once is ensured by the store, which commits only on the version that the
//! pass has read. Where the same thing may be seen or requested twice, the first time stays, and a
//! request that the run took before changes nothing.

use super::{
    AnsweredRequest, Attempt, Cancel, CancelHow, Candidate, Conclusion, EndedTurn, Interrupt,
    PostedComment, PullSeen, PullState, RecordedAnswer, Run, StageRecord, Start, Transition,
    TryBranch, Turn, TurnCost,
};
use crate::elapsed::{Pause, Standstill, cut};
use crate::ids::{At, Oid};
use crate::impediment::{Impediment, RecordedImpediment};
use crate::plan::{RedCause, TurnCause};
use crate::request::{PersonRequest, Request};
use crate::usd::Usd;
use crate::verdict::StageAnswer;

impl Run {
    /// The record after `transition`, which happened at `at`.
    ///
    /// Total: a transition that does not fit the record changes nothing, because truncated or
    /// edited journals are reported by the hash chain and not by a panic.
    pub fn apply(&mut self, at: At, transition: Transition) {
        match transition {
            Transition::Admitted { run } => *self = *run,
            Transition::Opened { start } => self.open(start),
            Transition::BaseFails { why } => self.base_fails = Some(why),
            Transition::Resumed { resumed } => self.resume(resumed),
            Transition::TurnBegun { cause, reserved, attempt } => {
                self.begin_turn(at, cause, reserved, attempt);
            }
            Transition::Reset { reset } => {
                self.on_attempt(|attempt| attempt.reset = Some(reset));
            }
            Transition::TurnInterrupted { stalled } => {
                if let Some(turn) = self.turn_mut() {
                    turn.interrupt.get_or_insert(Interrupt { at, stalled });
                }
            }
            Transition::TurnEnded { how, facts } => {
                if let Some(turn) = self.turn_mut() {
                    turn.ended = Some(EndedTurn { at, how, facts: *facts });
                    // What was read before the end may not be all that the turn brought.
                    turn.read_at = None;
                }
            }
            Transition::Inspected { left } => self.on_attempt(|attempt| attempt.left = Some(left)),
            Transition::Integrated { candidate } => {
                self.on_attempt(|attempt| attempt.candidates.push(*candidate));
            }
            Transition::Guarded { report } => {
                self.on_judged(|candidate| candidate.guardrails = Some(report));
            }
            Transition::Proved { report } => {
                self.on_judged(|candidate| candidate.proof = Some(*report));
            }
            Transition::Refused { refused } => {
                self.on_attempt(|attempt| attempt.refused = Some(refused));
            }
            Transition::TryBegun => self.on_candidate(|one| {
                one.tried.get_or_insert(TryBranch::begun(at));
            }),
            Transition::TryPushed => self.on_candidate(|one| one.arrived_on_its_branch(at)),
            Transition::CandidateAnswered { stage } => {
                self.on_candidate(|candidate| candidate.record_answer(stage));
            }
            Transition::BaseRed { commit } => self.on_candidate(|one| one.base_is_red(commit, at)),
            Transition::TryRemoved { n } => self.remove_try(n, at),
            Transition::PushBegun => self.on_candidate(|candidate| {
                candidate.sent_at.get_or_insert(at);
            }),
            Transition::NotLanded => {
                self.on_candidate(|candidate| candidate.sent_at = None);
                self.was_read(at);
            }
            Transition::Unpushed { branch, why, how } => {
                self.on_candidate(|one| one.did_not_arrive(branch, &why, how, at));
            }
            Transition::Found { candidate } => {
                self.on_attempt(|attempt| {
                    let landed_at = Some(at);
                    attempt.candidates.push(Candidate { landed_at, ..*candidate });
                });
                self.was_read(at);
            }
            Transition::Landed { commit } => self.land(at, commit),
            Transition::PullBegun => self.on_candidate(|one| one.begin_pull(at)),
            Transition::PullSeen { seen } => self.see_pull(at, seen),
            Transition::SteppedAside => self.step_aside(at),
            Transition::TookUp { budget } => self.take_up(budget),
            Transition::Adopted { commit, base, tree } => self.adopt(at, commit, base, tree),
            Transition::StageAnswered { stage } => self.answer(stage),
            Transition::Attributed { cause } => self.attribute(at, cause),
            Transition::LabelsSeen { labels } => self.labels_seen = labels,
            Transition::Cancelled { cancel } => self.cancel = Some(cancel),
            Transition::Asked { request, answer } => self.answer_request(at, request, answer),
            Transition::Questioned { asked, until } => self.question(at, asked, until),
            Transition::Answered { n, answer } => {
                self.record_answer_to(n, RecordedAnswer { at, by: None, answer });
            }
            Transition::CommentBegun => self.posted = Some(PostedComment { at, id: None }),
            Transition::CommentPosted { id } => {
                let posted = self.posted.get_or_insert(PostedComment { at, id: None });
                posted.id = Some(id);
            }
            Transition::ThreadLinked { link } => self.thread_link = Some(link),
            Transition::Stopping => {
                self.stopping_since.get_or_insert(at);
            }
            Transition::Stopped => self.stopping_since = None,
            Transition::Paused { why } => self.pause(at, why),
            Transition::Unpaused => self.unpause(at),
            Transition::Away { from, to } => self.was_alone(from, to),
            Transition::ClockSetBack => cut(&mut self.pauses, at),
            Transition::Impeded { by } => self.impede(at, by),
            Transition::Unimpeded => self.out_of_the_way(at),
            Transition::Concluded { end, why, charged } => {
                self.conclude(Conclusion { end, why, at }, charged);
            }
            Transition::Settled => {
                self.out_of_the_way(at);
                self.settled_at = Some(at);
            }
        }
    }

    fn land(&mut self, at: At, commit: Oid) {
        if self.is_at_an_obstacle() {
            // It has landed, whatever was in the way.
            self.out_of_the_way(at);
        }
        self.on_candidate(|candidate| {
            if candidate.commit != commit {
                // What was found out about another commit does not apply to this one.
                candidate.stages.clear();
                (candidate.guardrails, candidate.proof) = (None, None);
            }
            candidate.commit = commit;
            candidate.landed_at = Some(at);
        });
    }

    fn conclude(&mut self, conclusion: Conclusion, charged: Option<Box<TurnCost>>) {
        if let Some(turn) = self.turn_mut().filter(|turn| turn.ended.is_none()) {
            turn.charged = charged;
        }
        // From here on the impediment is only a part of why the run ended.
        self.out_of_the_way(conclusion.at);
        self.conclusion = Some(conclusion);
    }

    /// Records that the default branch was read for what the agent brought to it.
    fn was_read(&mut self, at: At) {
        if self.agent_lands()
            && let Some(turn) = self.turn_mut()
        {
            turn.read_at = Some(at);
        }
    }

    fn impede(&mut self, at: At, by: Impediment) {
        let since = self.impeded().map_or(at, |impeded| impeded.since);
        self.impeded = Some(RecordedImpediment { by, since, over: None });
    }

    fn see_pull(&mut self, at: At, seen: PullSeen) {
        if matches!(seen.state, PullState::Closed | PullState::Superseded) {
            self.cancel.get_or_insert(Cancel { by: None, how: CancelHow::PullClosed, at });
        }
        self.on_candidate(|candidate| {
            if let Some(pull) = &mut candidate.pull {
                pull.seen = Some(seen);
            }
        });
    }

    fn adopt(&mut self, at: At, commit: Oid, base: Oid, tree: Oid) {
        self.out_of_the_way(at);
        self.on_candidate(|candidate| {
            // The same change on the same base is what was judged, whatever its message.
            if (&candidate.base, &candidate.tree) != (&base, &tree) {
                (candidate.guardrails, candidate.proof) = (None, None);
            }
            candidate.stages.clear();
            (candidate.base, candidate.tree, candidate.commit) = (base, tree, commit);
            candidate.landed_at = Some(at);
        });
    }

    fn out_of_the_way(&mut self, at: At) {
        if let Some(impeded) = &mut self.impeded {
            impeded.over.get_or_insert(at);
        }
    }

    fn open(&mut self, start: Start) {
        let asked = start.workflow.as_ref().and_then(|workflow| workflow.policy.budget_usd);
        self.budget = asked.map_or(self.budget, |asked| asked.min(self.budget));
        self.start = Some(start);
    }

    fn answer_request(&mut self, at: At, request: PersonRequest, answer: String) {
        if self.requests.iter().any(|answered| answered.request.id == request.id) {
            return;
        }
        match &request.what {
            Request::Stop => {
                let (by, how) = (Some(request.by.clone()), CancelHow::Stopped);
                self.cancel.get_or_insert(Cancel { by, how, at });
            }
            Request::Budget { usd } => self.budget = *usd,
            Request::Answer { .. } | Request::Allow { .. } | Request::Deny { .. } => {
                self.record_requested_answer(at, &request);
            }
            Request::Retry
            | Request::Say { .. }
            | Request::Unfreeze
            | Request::Release
            | Request::Unclear { .. } => {}
        }
        self.requests.push(AnsweredRequest { request, at, answer, turn: None });
    }

    /// Records an interval without a control plane. Nobody could have answered the agent's
    /// questions in it, so they are postponed.
    fn was_alone(&mut self, from: At, to: At) {
        self.pauses.push(Pause { from, to: Some(to), why: Standstill::Away });
        let under_way = self.turn_mut().filter(|turn| turn.ended.is_none());
        for question in under_way.into_iter().flat_map(|turn| &mut turn.questions) {
            question.postpone(from, to);
        }
    }

    /// Stops the clocks for this reason; does nothing if they stand still for it.
    fn pause(&mut self, at: At, why: Standstill) {
        if self.standstill() != Some(why) {
            self.unpause(at);
            self.pauses.push(Pause { from: at, to: None, why });
        }
    }

    /// Closes the open pause, if any.
    pub(super) fn unpause(&mut self, at: At) {
        for pause in &mut self.pauses {
            pause.to.get_or_insert(at);
        }
    }

    fn begin_turn(&mut self, at: At, cause: TurnCause, reserved: Usd, attempt: bool) {
        let n = self.turn().map_or(1, |turn| turn.n + 1);
        if cause == TurnCause::Said {
            let unsaid: Vec<String> =
                self.undelivered_messages().map(|answered| answered.request.id.clone()).collect();
            for answered in self.requests.iter_mut().filter(|one| unsaid.contains(&one.request.id))
            {
                answered.turn = Some(n);
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
            charged: None,
            read_at: None,
        };
        match self.attempts.last_mut() {
            Some(last) if !attempt => {
                last.turns.push(turn);
                if let Some(left) = last.left.take() {
                    last.dirty = left.dirty;
                    last.unfinished = left.unfinished;
                }
            }
            Some(_) | None => {
                let n = self.attempts.len() as u32 + 1;
                self.attempts.push(Attempt { turns: vec![turn], ..Attempt::new(n, cause) });
            }
        }
    }

    fn answer(&mut self, stage: StageRecord) {
        if let Some(landed) = self.landed_mut() {
            let known = landed.stage(&stage.name).map(|known| known.answer);
            if stage.answer == StageAnswer::Failure && known != Some(StageAnswer::Failure) {
                // What was found out about another stage's failure does not apply to this one.
                landed.red = None;
            }
            landed.record_answer(stage);
        }
    }

    fn remove_try(&mut self, n: u32, at: At) {
        let mut all = self.attempts.iter_mut().flat_map(|attempt| &mut attempt.candidates);
        let nth = (n as usize).checked_sub(1).and_then(|before| all.nth(before));
        if let Some(tried) = nth.and_then(|candidate| candidate.tried.as_mut()) {
            tried.removed_at.get_or_insert(at);
        }
    }

    /// Records whose fault a red verdict is. The fix-forward clock starts at the first that is
    /// ours, when its stage reported it.
    fn attribute(&mut self, at: At, cause: RedCause) {
        let Some(landed) = self.landed_mut() else { return };
        landed.red = Some(cause);
        let failed = landed.stages.iter().find(|stage| stage.answer == StageAnswer::Failure);
        landed.attributed = failed.map(|stage| stage.again);
        let red_at = failed.map_or(at, |stage| stage.asked_at.unwrap_or(stage.at));
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

    fn on_attempt(&mut self, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.attempts.last_mut() {
            change(attempt);
        }
    }

    /// Changes the candidate that is judged: the newest one of the newest attempt or, where that
    /// has none, what landed without a proof.
    fn on_judged(&mut self, change: impl FnOnce(&mut Candidate)) {
        match self.attempts.last() {
            Some(last) if last.candidates.is_empty() => {
                if let Some(landed) = self.landed_mut() {
                    change(landed);
                }
            }
            Some(_) | None => self.on_candidate(change),
        }
    }

    fn on_candidate(&mut self, change: impl FnOnce(&mut Candidate)) {
        if let Some(candidate) =
            self.attempts.last_mut().and_then(|last| last.candidates.last_mut())
        {
            change(candidate);
        }
    }
}
