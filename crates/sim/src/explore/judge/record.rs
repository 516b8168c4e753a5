//! Judges the journal: what each new row may say after the rows before it.

use std::collections::BTreeSet;

use afk_core::ids::{At, IssueRef, RepoName};
use afk_core::plan::{End, RedCause, Refusal, TurnCause};
use afk_core::replay::Context;
use afk_core::request::Request;
use afk_core::run::{EndedTurn, Run, StageRecord, Transition};
use afk_core::usd::Usd;
use afk_core::verdict::StageAnswer;
use jiff::SignedDuration;
use serde::Deserialize;

use super::{By, Judge, bells, tracker};
use crate::world::World;

/// Rows of a journal after which its run counts as going in circles. The longest of a good loop
/// have a few hundred.
const ROWS: usize = 1_000;

impl Judge {
    pub(super) fn rows(&mut self, world: &World, by: Option<By>) {
        for (id, kept) in &world.store.runs {
            let (known, mut run) = self.runs.remove(id).unwrap_or_default();
            let fresh = kept.journal.iter().skip(known);
            for row in fresh {
                let Ok(transition) = serde_json::from_str::<Transition>(&row.transition) else {
                    self.wrong.push(format!("a row of {id} cannot be read"));
                    continue;
                };
                self.row(world, run.as_ref(), row.at, &transition, by);
                if let (Some(run), Transition::Concluded { end, why, .. }) = (&run, &transition) {
                    self.planned(run, &row.context, *end, why);
                }
                match (&mut run, transition) {
                    (None, Transition::Admitted { run: first }) => run = Some(*first),
                    (Some(run), transition) => run.apply(row.at, transition),
                    (None, _) => self.wrong.push(format!("the journal of {id} has no beginning")),
                }
                if let Some(run) = &run {
                    self.bounds(world, run);
                }
            }
            if kept.journal.len() > ROWS {
                self.wrong.push(format!("the journal of {id} has no end"));
            }
            self.runs.insert(*id, (kept.journal.len(), run));
        }
        let live = self.live().filter(|run| run.holds_lock()).count();
        if live > world.config.max_concurrent_runs as usize {
            self.wrong.push(format!("{live} runs are live"));
        }
        let locked = self.live().filter(|run| run.holds_lock());
        let repos: BTreeSet<&RepoName> = locked.map(|run| &run.issue.repo).collect();
        if repos.len() != live {
            self.wrong.push("two runs are live on one repo".to_owned());
        }
        let issues: BTreeSet<&IssueRef> = self.live().map(|run| &run.issue).collect();
        if issues.len() != self.live().count() {
            self.wrong.push("two runs are live on one issue".to_owned());
        }
    }

    /// Judges one new row by the record before it.
    fn row(
        &mut self,
        world: &World,
        before: Option<&Run>,
        at: At,
        row: &Transition,
        by: Option<By>,
    ) {
        let Some(run) = before else {
            let Transition::Admitted { run } = row else { return };
            self.room(world, run);
            return;
        };
        if run.settled_at.is_some() {
            self.wrong.push(format!("{} goes on after it was settled", run.id));
        }
        if run.aside_since.is_some() && works(row) {
            let kind = row.kind();
            self.wrong.push(format!("{} goes on ({kind}) without the lock of its repo", run.id));
        }
        match row {
            Transition::TurnBegun { cause, reserved, .. } => {
                if run.spent().as_micros() + reserved.as_micros()
                    > run.budget.max(run.spent()).as_micros()
                {
                    self.wrong.push(format!("a turn of {} reserves more than is left", run.id));
                }
                self.turn_begun(world, run, at, *cause, by);
            }
            Transition::Resumed { .. } => {
                let shut = self.truth.shut(&run.issue, by.map_or(0, |by| by.tick));
                let wrong = shut.iter().map(|gate| {
                    format!("{} goes on from a head although the gate {gate} was closed", run.id)
                });
                self.wrong.extend(wrong);
            }
            Transition::Concluded { end, why, .. } => {
                self.concluded(world, run, at, *end, why);
                self.not_limited(run.id, why);
                if *end == End::Done {
                    self.done(world, run, by);
                }
                self.none_open(world, run, why);
                self.kept_frozen(world, run, *end);
                let events = world.tracker.issues.get(&run.issue).map(|one| one.events.len());
                self.ended.insert(run.id, events.unwrap_or_default());
                for bell in bells(world, run, *end) {
                    if world.store.outbox.contains_key(&bell.row()) != bell.wanted {
                        self.wrong.push(format!(
                            "{} ends as {end:?}, and its doorbell {} is queued or left out by \
                             mistake",
                            run.id, bell.kind
                        ));
                    }
                }
            }
            Transition::Asked { request, .. } if request.by.id != "ann" => {
                self.wrong.push(format!(
                    "{} does what {} asks, who is not trusted",
                    run.id, request.by.id
                ));
            }
            Transition::Asked { request, .. } => {
                if let Request::Budget { usd } = request.what
                    && usd > run.budget
                    && !self.fits(world, usd)
                {
                    self.wrong.push(format!("{} may spend beyond the day's budget", run.id));
                }
            }
            Transition::Cancelled { cancel } => self.withdrawn(world, run, cancel.how),
            Transition::Settled => self.settled(world, run),
            Transition::Attributed { .. } => {
                if let Some(landed) = run.landed() {
                    self.believed(world, run, landed);
                }
            }
            Transition::Refused { refused } if refused.why == Refusal::Stage => {
                if let Some(candidate) = run.candidate() {
                    self.believed(world, run, candidate);
                }
            }
            _ => {}
        }
    }

    /// Every end, and its reason, is what the plan decides on what the pass saw.
    fn planned(&mut self, run: &Run, context: &serde_json::Value, end: End, why: &str) {
        let planned = Context::deserialize(context).ok().and_then(|one| one.ending(run));
        if planned.as_ref().is_none_or(|(other, because)| *other != end || because != why) {
            self.wrong.push(format!(
                "{} ends as {end:?} ({why}), and what was planned is {planned:?}",
                run.id
            ));
        }
    }

    /// No run exceeds its limits, whatever happens to it.
    fn bounds(&mut self, world: &World, run: &Run) {
        let config = &world.config;
        let (refused, fixes) = (run.refusals(), run.fix_forwards());
        let said = run
            .requests
            .iter()
            .filter(|answered| matches!(answered.request.what, Request::Say { .. }));
        let most = 1 + config.landing_refusals_max + config.fix_forward_max_attempts;
        if refused > config.landing_refusals_max
            || fixes > config.fix_forward_max_attempts
            || run.attempts.len() > most as usize + said.count()
        {
            let attempts = run.attempts.len();
            let what = format!("{attempts} attempts, {refused} refusals, {fixes} fix-forwards");
            self.wrong.push(format!("{} has {what}", run.id));
        }
        let most = self.budgets.entry(run.id).or_default();
        *most = run.budget.max(*most);
    }

    /// A settled run leaves nothing behind that would be in the way of the next one on its repo.
    fn settled(&mut self, world: &World, run: &Run) {
        let Some(record) = world.tracker.issues.get(&run.issue) else { return };
        if run.conclusion.is_none() {
            self.wrong.push(format!("{} is settled without an end", run.id));
        }
        if tracker::put_on(record, &world.config.in_progress_label).is_some_and(tracker::by_us) {
            self.wrong.push(format!("{} is settled and its issue still locked", run.id));
        }
        if let Some(turn) = run.turn().filter(|turn| turn.ended.is_none() && turn.charged.is_none())
            && world.agents.turns.contains_key(&run.turn_key(turn.n))
        {
            let what = format!("{} is settled, but turn {} was never charged", run.id, turn.n);
            self.wrong.push(what);
        }
        if let Some(what) = self.untold(world, run, record) {
            self.wrong.push(format!("{} is settled and its issue {what}", run.id));
        }
    }

    /// A freeze is recorded in the same commit as the end that causes it.
    fn kept_frozen(&mut self, world: &World, run: &Run, end: End) {
        let freezes = world.config.repos.get(&run.issue.repo).is_some_and(|repo| repo.freeze_repo);
        let frozen = world.store.switches.freeze_of(&run.issue.repo).is_some();
        if end == End::Frozen && freezes && !frozen {
            self.wrong.push(format!("{} ends as Frozen and its repo is not", run.id));
        }
    }

    fn room(&mut self, world: &World, new: &Run) {
        if !self.fits(world, new.budget) {
            self.wrong.push(format!("{} was admitted beyond the day's budget", new.id));
        }
    }

    /// Whether the day's cap has room for `budget`, beside what runs spent or may still spend.
    pub(super) fn fits(&self, world: &World, budget: Usd) -> bool {
        let Some(cap) = world.config.day_budget_usd else { return true };
        let spent = |run: &Run| match run.conclusion {
            None if run.aside_since.is_none() => {
                // A turn under way may spend what it was begun with, whatever the budget is now.
                let turn = run.turn().filter(|turn| turn.ended.is_none());
                let most = turn.map_or(Usd::ZERO, |turn| turn.reserved);
                run.budget.max(run.spent() + most)
            }
            Some(_) | None => run.spent(),
        };
        let sum: u64 = self.known().map(|run| spent(run).as_micros()).sum();
        sum + budget.as_micros() <= cap.as_micros()
    }

    fn turn_begun(&mut self, world: &World, run: &Run, at: At, cause: TurnCause, by: Option<By>) {
        let mut wrong = Vec::new();
        if run.turn().is_some_and(|turn| turn.ended.is_none()) {
            wrong.push("while another is under way".to_owned());
        }
        if run.cancel.is_some() || run.conclusion.is_some() {
            wrong.push("after the end".to_owned());
        }
        match cause {
            TurnCause::Opening => {
                let shut = self.truth.shut(&run.issue, by.map_or(0, |by| by.tick));
                wrong
                    .extend(shut.iter().map(|gate| format!("although the gate {gate} was closed")));
            }
            TurnCause::FixForward
                if run.fix_forwards() >= world.config.fix_forward_max_attempts =>
            {
                wrong.push("beyond the limit of fix-forwards".to_owned());
            }
            TurnCause::Refused if run.refusals() >= world.config.landing_refusals_max => {
                wrong.push("beyond the limit of refusals".to_owned());
            }
            TurnCause::AgentBack => {
                let due = run.unavailable().map(|found| found.again);
                let asked = |ended: &EndedTurn| run.retry_asked_since(ended.at);
                let free = self.back || run.ends().last().is_some_and(asked);
                if !free && due.is_none_or(|due| at < due) {
                    wrong.push("before its time".to_owned());
                }
            }
            TurnCause::Retry => {
                let failures = run.failures_in_a_row();
                let asked = |ended: &EndedTurn| run.retry_asked_since(ended.at);
                let ended = run.ends().last().filter(|ended| !self.back && !asked(ended));
                let due = ended.map(|ended| ended.at + Run::backoff(failures));
                if failures > world.config.executor_retries_max || due.is_some_and(|due| at < due) {
                    wrong.push("beyond the limit of retries or before its time".to_owned());
                }
            }
            _ => {}
        }
        self.wrong.extend(wrong.iter().map(|how| format!("a turn ({cause:?}) begins {how}")));
    }

    fn concluded(&mut self, world: &World, run: &Run, at: At, end: End, why: &str) {
        if !world.agents.stubborn && end != End::Frozen {
            let alive = world.alive(run.id);
            if !alive.is_empty() {
                self.wrong.push(format!("an outcome while {alive:?} is alive"));
            }
        }
        let failed = |stage: &&StageRecord| stage.answer == StageAnswer::Failure;
        // A red verdict may lack its cause for as long as a stage may take.
        let deadline = SignedDuration::from_secs(world.config.stage_timeout_seconds.cast_signed());
        let red = run.landed().and_then(|one| {
            let asked = one.red == Some(RedCause::Ours);
            let young = |stage: &&StageRecord| asked || at.duration_since(stage.at) < deadline;
            one.stages.iter().find(failed).filter(young)
        });
        let first = run.attempts.iter().flat_map(|a| &a.candidates).flat_map(|c| &c.stages);
        let first_red = first.filter(failed).map(|s| s.at).min();
        let clock = SignedDuration::from_secs(world.config.fix_forward_max_seconds.cast_signed());
        let in_time = first_red.is_some_and(|first| at.duration_since(first) < clock);
        let withheld = end == End::Frozen
            && red.is_some_and(|stage| why.starts_with(&format!("stage {} is red", stage.name)))
            && run.cancel.is_none()
            && run.fix_forwards() < world.config.fix_forward_max_attempts;
        if withheld && in_time {
            self.wrong.push("a fix-forward was withheld".to_owned());
        }
    }
}

/// Whether only a run with the lock of its repo does this.
fn works(row: &Transition) -> bool {
    matches!(
        row,
        Transition::TurnBegun { .. }
            | Transition::Integrated { .. }
            | Transition::PushBegun
            | Transition::PullBegun
            | Transition::StageAnswered { .. }
            | Transition::Attributed { .. }
    )
}
