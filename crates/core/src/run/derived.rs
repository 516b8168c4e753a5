//! What follows from a run's record: counters, phase, keys. Computed each time, never stored.

use jiff::SignedDuration;

use super::{Attempt, Candidate, EndedTurn, PullState, Run, Turn, TurnEnd, TurnFacts};
use crate::config;
use crate::elapsed::Standstill;
use crate::ids::{At, JobKey, JobOf, Oid};
use crate::phase::Phase;
use crate::plan::{End, TurnCause};
use crate::request::Request;
use crate::spend::Ledger;
use crate::usd::Usd;
use crate::verdict::{StageAnswer, StageNames, Verdict, fold};

/// Minimum wait before a usage limit without a known reset time is tried again.
const UNKNOWN_RESET: SignedDuration = SignedDuration::from_mins(15);
/// Maximum duration of a usage limit: a week, and some for clocks that differ.
const LONGEST_USAGE_LIMIT: SignedDuration = SignedDuration::from_hours(8 * 24);
/// What the names of candidates' branches on the remote begin with.
pub const TRY_PREFIX: &str = "afk/try/";

impl Run {
    /// The newest attempt.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// The newest turn.
    pub fn turn(&self) -> Option<&Turn> {
        self.attempts.iter().rev().find_map(|attempt| attempt.turns.last())
    }

    /// The candidate that is on its way to the default branch.
    pub fn candidate(&self) -> Option<&Candidate> {
        let attempt = self.attempt()?;
        let candidate = attempt.candidates.last()?;
        (attempt.refused.is_none() && candidate.landed_at.is_none()).then_some(candidate)
    }

    /// The newest candidate, if a push of it was begun and its result has not been read since.
    pub fn unconfirmed_push(&self) -> Option<&Candidate> {
        let newest = self.attempt()?.candidates.last()?;
        (newest.sent_at.is_some() && newest.landed_at.is_none()).then_some(newest)
    }

    /// Every candidate with its number, from 1 over the whole run.
    pub fn candidates(&self) -> impl Iterator<Item = (u32, &Candidate)> {
        (1..).zip(self.attempts.iter().flat_map(|attempt| &attempt.candidates))
    }

    /// What this run found out about `commit` of the default branch: its verdict if the run landed
    /// it, or red if a candidate of the run failed there like its base. None if it found out
    /// nothing decisive.
    pub fn verdict_on(&self, commit: &Oid, stages: Option<&StageNames>) -> Option<Verdict> {
        let decisive = |verdict| match verdict {
            Verdict::Red | Verdict::Green => Some(verdict),
            Verdict::Pending => None,
        };
        self.candidates().map(|(_, one)| one).find_map(|one| {
            if one.red_bases.contains(commit) {
                return Some(Verdict::Red);
            }
            let landed = one.landed_at.is_some() && one.commit == *commit;
            let stages = stages.filter(|_| landed)?;
            decisive(fold(one.answers(stages)))
        })
    }

    /// The branch on the remote that is candidate `n`'s own.
    pub fn try_branch(&self, n: u32) -> String {
        format!("{TRY_PREFIX}{}/{n}", self.id)
    }

    /// The candidates whose branch may still be on the remote but is no longer needed: landed,
    /// refused, superseded, or the run has ended.
    pub fn spent_tries(&self) -> Vec<u32> {
        let newest = self.candidates().last().map(|(n, _)| n);
        let under_way = newest.filter(|_| self.candidate().is_some() && self.conclusion.is_none());
        let there = |one: &Candidate| one.tried.is_some_and(|tried| tried.removed_at.is_none());
        let spent = self.candidates().filter(|(n, one)| Some(*n) != under_way && there(one));
        spent.map(|(n, _)| n).collect()
    }

    /// The newest landed commit.
    pub fn landed(&self) -> Option<&Candidate> {
        self.attempts.iter().rev().find_map(Attempt::landed)
    }

    /// The newest landed commit, with the number of its attempt in front.
    pub fn newest_landing(&self) -> Option<(u32, &Candidate)> {
        self.attempts.iter().rev().find_map(|attempt| Some((attempt.n, attempt.landed()?)))
    }

    /// The commits of the default branch, as it was then, that its agent was given to work on,
    /// newest first: where the workspace began, what it was reset to, and heads that it was told of
    /// because its work conflicted with them.
    pub fn given(&self) -> Vec<&Oid> {
        let later = self.attempts.iter().rev().flat_map(Attempt::given);
        later.chain(self.start.as_ref().map(|start| &start.base)).collect()
    }

    /// What is below this run's `commit`, whose parent is `base`: the newest commit that is not the
    /// run's own, and what the run had landed before that, oldest first.
    pub fn base_under<'a>(&'a self, base: &'a Oid, commit: &Oid) -> (&'a Oid, Vec<&'a Candidate>) {
        let mut landed = self.landed_before(commit);
        let mut base = base;
        while let Some(own) = landed.pop_if(|one| one.commit == *base) {
            base = &own.base;
        }
        (base, landed)
    }

    /// What the run had landed before `commit`, oldest first.
    pub fn landed_before(&self, commit: &Oid) -> Vec<&Candidate> {
        let all = self.candidates().map(|(_, one)| one).take_while(|one| one.commit != *commit);
        all.filter(|one| one.landed_at.is_some()).collect()
    }

    /// The commit that the next work is compared with: the newest head that landed or commit that
    /// the workspace was reset to, otherwise the start.
    pub fn base(&self) -> Option<&Oid> {
        let newest = self.attempts.iter().rev().find_map(Attempt::base);
        newest.or(self.start.as_ref().map(|start| &start.base))
    }

    /// Whether the workspace must be reset before the newest turn is started: for a fix-forward,
    /// and whenever it is still at commits that landed as another commit.
    pub fn needs_reset(&self) -> bool {
        let Some((newest, before)) = self.attempts.split_last() else { return false };
        // The newest attempt that landed or was reset decides.
        let last = before.iter().rev().find(|attempt| attempt.base().is_some());
        let behind = last.is_some_and(|attempt| attempt.landed().is_some());
        let ours = !self.agent_lands();
        ours && newest.reset.is_none() && (behind || newest.cause == TurnCause::FixForward)
    }

    /// When the issue was released, by the tracker's clock: comments after that are meant for this
    /// run.
    pub fn released_at(&self) -> At {
        self.release.as_ref().map_or(self.admitted_at, |release| release.at)
    }

    /// Whether a person requested a retry since `at`.
    pub fn retry_asked_since(&self, at: At) -> bool {
        self.requests
            .iter()
            .any(|answered| answered.request.what == Request::Retry && answered.at >= at)
    }

    /// The ledger of this run.
    pub fn ledger(&self) -> Ledger {
        let turns = self.attempts.iter().flat_map(|attempt| &attempt.turns);
        let costs = turns.filter_map(|turn| match &turn.ended {
            Some(ended) => ended.facts.cost.as_ref(),
            None => turn.charged.as_deref(),
        });
        costs.map(|cost| (cost.key.clone(), cost.entry.clone())).collect()
    }

    /// The ends of its turns, oldest first.
    pub fn ends(&self) -> impl Iterator<Item = &EndedTurn> {
        let turns = self.attempts.iter().flat_map(|attempt| &attempt.turns);
        turns.filter_map(|turn| turn.ended.as_ref())
    }

    /// The total of its ledger.
    pub fn spent(&self) -> Usd {
        self.ledger().total()
    }

    /// The number of attempts that were refused before landing.
    pub fn refusals(&self) -> u32 {
        count(&self.attempts, |attempt| attempt.refused.is_some())
    }

    /// The number of attempts that were begun to fix a landed commit.
    pub fn fix_forwards(&self) -> u32 {
        count(&self.attempts, |attempt| attempt.cause == TurnCause::FixForward)
    }

    /// The number of consecutive failed turns up to the newest, which the limit of retries bounds.
    /// Turns whose agent could not work at all neither count nor reset the count.
    pub fn failures_in_a_row(&self) -> u32 {
        let turns = self.attempts.iter().rev().flat_map(|attempt| attempt.turns.iter().rev());
        let ends = turns.map(|turn| turn.ended.as_ref().map(|ended| &ended.how));
        let ends = ends.filter(|how| !matches!(how, Some(TurnEnd::Unavailable { .. })));
        let failed = ends.take_while(|how| {
            matches!(how, Some(TurnEnd::Failed { .. } | TurnEnd::Lost | TurnEnd::Stalled))
        });
        failed.count() as u32
    }

    /// The number of consecutive turns that a usage limit ended, with or without failures between
    /// them, since a turn got further.
    pub fn limits_in_a_row(&self) -> u32 {
        let turns = self.attempts.iter().rev().flat_map(|attempt| attempt.turns.iter().rev());
        let ends = turns.map(|turn| turn.ended.as_ref().map(|ended| &ended.how));
        let broken = ends.take_while(|how| match how {
            Some(
                TurnEnd::Limited { .. }
                | TurnEnd::Unavailable { .. }
                | TurnEnd::Failed { .. }
                | TurnEnd::Hopeless { .. }
                | TurnEnd::Stalled
                | TurnEnd::Lost,
            ) => true,
            Some(TurnEnd::Finished { .. } | TurnEnd::Interrupted) | None => false,
        });
        broken.filter(|how| matches!(how, Some(TurnEnd::Limited { .. }))).count() as u32
    }

    /// When the usage limit that ended the newest turn is assumed to have reset. A reported time is
    /// believed within bounds: a growing pause, and the longest that a limit lasts.
    pub fn limit_over(&self) -> Option<At> {
        let ended = self.turn()?.ended.as_ref()?;
        let TurnEnd::Limited { resets_at } = ended.how else { return None };
        let doublings = self.limits_in_a_row().saturating_sub(1).min(9);
        let pause = SignedDuration::from_secs((10_i64 << doublings).min(3600));
        let after = |by| ended.at.checked_add(by).unwrap_or(At::MAX);
        let told = resets_at.unwrap_or_else(|| after(UNKNOWN_RESET));
        Some(told.clamp(after(pause), after(LONGEST_USAGE_LIMIT)))
    }

    /// Why its clocks stand still; none if they run.
    pub fn standstill(&self) -> Option<Standstill> {
        self.pauses.iter().find(|pause| pause.to.is_none()).map(|pause| pause.why)
    }

    /// Why its clocks stand still at `now`, if what the run waits for could not be observed: for
    /// the recorded reason, as long as the record shows that it lasts. A port that keeps failing
    /// must not stop the clocks for ever. `frozen` says whether its repo is frozen.
    pub fn standstill_unseen(&self, frozen: bool, now: At) -> Option<Standstill> {
        self.standstill().filter(|why| match why {
            Standstill::Wait => self.waits_still(now),
            Standstill::ByPerson => frozen,
            Standstill::Away => false,
        })
    }

    /// Whether its record shows that it waits for an answer, people, a limit or its agent.
    fn waits_still(&self, now: At) -> bool {
        let undecided = |one: &Candidate| match one.pull_state() {
            None | Some(PullState::Open) => one.pull.is_some(),
            Some(PullState::Merged { .. } | PullState::Closed | PullState::Superseded) => false,
        };
        if self.aside_since.is_some() || self.candidate().is_some_and(undecided) {
            return true;
        }
        let Some(turn) = self.turn() else { return false };
        match turn.ended.as_ref().map(|ended| &ended.how) {
            None => self.open_questions().any(|question| now < question.until),
            Some(TurnEnd::Limited { .. }) => self.limit_over().is_some_and(|over| now < over),
            Some(TurnEnd::Unavailable { .. }) => {
                self.unavailable().is_some_and(|found| now < found.again)
            }
            Some(
                TurnEnd::Finished { .. }
                | TurnEnd::Failed { .. }
                | TurnEnd::Hopeless { .. }
                | TurnEnd::Stalled
                | TurnEnd::Interrupted
                | TurnEnd::Lost,
            ) => false,
        }
    }

    /// The phase that the recorded evidence has reached; `stages` are its repo's.
    pub fn phase(&self, stages: &[config::Stage]) -> Phase {
        if self.conclusion.as_ref().is_some_and(|conclusion| conclusion.end == End::Done) {
            return Phase::Done;
        }
        if let Some(landed) = self.landed() {
            // The stages that do not deploy are the repo's CI, green once every one has passed.
            let (deploy, ci): (Vec<_>, Vec<_>) = stages.iter().partition(|one| one.deploys());
            let passed = |one: &config::Stage| {
                landed.stage(&one.name).is_some_and(|one| one.answer == StageAnswer::Success)
            };
            let green = !ci.is_empty() && ci.into_iter().all(passed);
            return if green && !deploy.is_empty() { Phase::Deployed } else { Phase::Ci };
        }
        match self.candidate().and_then(|candidate| candidate.proof.as_ref()) {
            Some(proof) if proof.accepted() => Phase::Pushed,
            Some(_) | None if self.start.is_some() => Phase::TestsRed,
            Some(_) | None => Phase::Worktree,
        }
    }

    /// Whether the checklist has a line for the deployment: one of the repo's `stages` deploys or,
    /// once all is ticked, has answered about what landed.
    pub fn deploys(&self, stages: &[config::Stage]) -> bool {
        let done = self.conclusion.as_ref().is_some_and(|ended| ended.end == End::Done);
        let asked = || self.landed().is_some_and(|one| one.stages.iter().any(|one| one.deploys));
        (!done && stages.iter().any(config::Stage::deploys)) || asked()
    }

    /// The key of the turn's job.
    pub fn turn_key(&self, n: u32) -> JobKey {
        JobKey::new(self.id, JobOf::Turn, &n.to_string())
    }

    /// When the n-th retry may begin, counted from the failure: min(10 s · 2^(n−1), 5 min).
    pub fn backoff(failures: u32) -> SignedDuration {
        let doublings = failures.saturating_sub(1).min(5);
        SignedDuration::from_secs((10_i64 << doublings).min(300))
    }
}

impl EndedTurn {
    /// Whether its executor ever received the turn: one that was stopped before that has no facts.
    pub fn started(&self) -> bool {
        !(matches!(self.how, TurnEnd::Interrupted | TurnEnd::Stalled)
            && self.facts == TurnFacts::default())
    }
}

impl Attempt {
    /// Its newest candidate that landed.
    fn landed(&self) -> Option<&Candidate> {
        self.candidates.iter().rev().find(|candidate| candidate.landed_at.is_some())
    }

    /// Heads of the default branch that its agent, or the agent of the next attempt, was given to
    /// work on, newest first; also what the head of an ended run stands on.
    fn given(&self) -> impl Iterator<Item = &Oid> {
        let conflict = self.refused.as_ref().and_then(|refused| refused.conflict.as_ref());
        let told = conflict.map(|(head, _)| head);
        let reset = self.reset.as_ref().map(|reset| &reset.onto);
        let resumed = self.resumed.as_ref().map(|resumed| &resumed.base);
        told.into_iter().chain(reset).chain(resumed)
    }

    /// The commit that it sets for later work to be compared with, if it sets one.
    fn base(&self) -> Option<&Oid> {
        let landed = self.landed().map(|landed| &landed.head);
        landed.or(self.reset.as_ref().map(|reset| &reset.onto))
    }
}

fn count(attempts: &[Attempt], which: impl Fn(&Attempt) -> bool) -> u32 {
    attempts.iter().filter(|attempt| which(attempt)).count() as u32
}
