//! The invariants. After every step the judge compares the world with what it saw
//! before, and says what must not have happened.
//!
//! It believes the world and the journal's rows, and no answer that the loop gave.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::ids::{At, IssueRef, JobKey, Oid, RepoName, RunId};
use afk_core::issue::{IssueChange, IssueEvent};
use afk_core::message::{ATTEMPT_TRAILER, RUN_TRAILER, trailer};
use afk_core::plan::{End, TurnCause};
use afk_core::run::{Run, Stage, Transition};
use afk_core::usd::Usd;
use afk_core::verdict::StageAnswer;
use jiff::SignedDuration;

use super::truth::Truth;
use crate::world::{BREAKS, IssueRecord, TurnState, World, own};

/// How long a control plane that has seen a halt may still start or push.
const HALT: SignedDuration = SignedDuration::from_secs(2);

/// Who did the step, where a control plane did.
#[derive(Debug, Clone, Copy)]
pub(super) struct By {
    pub(super) plane: usize,
    pub(super) call: &'static str,
    /// When the call was made.
    pub(super) since: At,
    /// The step at which its tick began, or of the oldest answer that it was given.
    pub(super) tick: u64,
    /// Whether it was answered with what the world said.
    pub(super) answered: bool,
}

/// What was seen so far, and what is wrong.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) wrong: Vec<String>,
    truth: Truth,
    runs: BTreeMap<RunId, (usize, Option<Run>)>,
    turns: BTreeSet<JobKey>,
    jobs: usize,
    /// Starts of each job that nothing excuses: a stopped or lost one may start again.
    starts: BTreeMap<JobKey, u32>,
    heads: BTreeMap<RepoName, Oid>,
    landings: BTreeSet<(String, String)>,
    bells: usize,
    events: BTreeMap<IssueRef, usize>,
    halted: BTreeMap<usize, At>,
}

impl Judge {
    /// Judges the step that has just been made.
    pub(super) fn look(&mut self, world: &World, step: u64, by: Option<By>) {
        self.truth.look(world, step);
        self.switches(world, by);
        self.rows(world, by);
        self.turns(world, by);
        self.jobs(world, by);
        self.landings(world, by);
        self.tracker(world);
        for bell in world.rung.iter().skip(self.bells) {
            if !world.store.outbox.contains_key(&bell.id.to_string()) {
                self.wrong.push(format!("a bell rang before its outcome was kept: {}", bell.title));
            }
        }
        self.bells = world.rung.len();
        self.wrong.extend(world.wrong.iter().cloned());
    }

    /// A control plane died: what it had seen is forgotten.
    pub(super) fn died(&mut self, plane: usize) {
        self.halted.remove(&plane);
    }

    fn switches(&mut self, world: &World, by: Option<By>) {
        let Some(by) = by.filter(|by| by.call == "store.switches" && by.answered) else { return };
        if world.store.switches.halt.is_some() && !world.store.unreadable_switches {
            self.halted.entry(by.plane).or_insert(world.now);
        } else {
            self.halted.remove(&by.plane);
        }
    }

    /// Complains where `by` began something although it had known of a halt.
    fn not_halted(&mut self, by: Option<By>, what: &str) {
        let Some(by) = by else { return };
        let seen = self.halted.get(&by.plane);
        if seen.is_some_and(|seen| by.since.duration_since(*seen) > HALT) {
            self.wrong.push(format!("{what} although a halt was known"));
        }
    }

    fn rows(&mut self, world: &World, by: Option<By>) {
        for (id, kept) in &world.store.runs {
            let (known, mut run) = self.runs.remove(id).unwrap_or_default();
            let fresh = kept.journal.iter().skip(known);
            for row in fresh {
                let Ok(transition) = serde_json::from_str::<Transition>(&row.transition) else {
                    self.wrong.push(format!("a row of {id} cannot be read"));
                    continue;
                };
                self.row(world, run.as_ref(), row.at, &transition, by);
                match (&mut run, transition) {
                    (None, Transition::Admitted { run: first }) => run = Some(*first),
                    (Some(run), transition) => run.apply(row.at, transition),
                    (None, _) => self.wrong.push(format!("the journal of {id} has no beginning")),
                }
            }
            self.runs.insert(*id, (kept.journal.len(), run));
        }
        let live = self.live().count();
        if live > world.config.max_concurrent_runs as usize {
            self.wrong.push(format!("{live} runs are live"));
        }
        let repos: BTreeSet<&RepoName> = self.live().map(|run| &run.issue.repo).collect();
        if repos.len() != live {
            self.wrong.push("two runs are live on one repo".to_owned());
        }
    }

    fn live(&self) -> impl Iterator<Item = &Run> {
        let runs = self.runs.values().filter_map(|(_, run)| run.as_ref());
        runs.filter(|run| run.settled_at.is_none())
    }

    /// One new row, over the record before it.
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
        match row {
            Transition::TurnBegun { cause, .. } => self.turn_begun(world, run, at, *cause, by),
            Transition::Concluded { end, why } => self.concluded(world, run, at, *end, why),
            _ => {}
        }
    }

    fn room(&mut self, world: &World, new: &Run) {
        let Some(cap) = world.config.day_budget_usd else { return };
        let spent = |run: &Run| match run.settled_at {
            Some(_) => run.spent(),
            None => run.spent().max(run.budget),
        };
        let runs = self.runs.values().filter_map(|(_, run)| run.as_ref());
        let sum: u64 = runs.map(|run| spent(run).as_micros()).sum();
        if sum + new.budget.as_micros() > cap.as_micros() {
            self.wrong.push(format!("{} was admitted beyond the day's budget", new.id));
        }
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
                wrong.extend(shut.iter().map(|gate| format!("against the gate {gate}")));
            }
            TurnCause::FixForward
                if run.fix_forwards() >= world.config.fix_forward_max_attempts =>
            {
                wrong.push("beyond the fix-forwards".to_owned());
            }
            TurnCause::Refused if run.refusals() >= world.config.landing_refusals_max => {
                wrong.push("beyond the refusals".to_owned());
            }
            TurnCause::Retry => {
                let failures = run.failures_in_a_row();
                let due = run.ends().last().map(|ended| ended.at + Run::backoff(failures));
                if failures > world.config.executor_retries_max || due.is_some_and(|due| at < due) {
                    wrong.push("beyond the retries or before its time".to_owned());
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
        let failed = |stage: &&Stage| stage.answer == StageAnswer::Failure;
        let landed = run.landed();
        let red = landed.and_then(|one| one.stages.iter().find(failed));
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

    fn turns(&mut self, world: &World, by: Option<By>) {
        let mut at_work = BTreeMap::new();
        for (key, turn) in &world.agents.turns {
            let request = &turn.request;
            if turn.state == TurnState::Running {
                *at_work.entry(&request.repo).or_insert(0) += 1;
                let settled = self.runs.get(&request.run).and_then(|(_, run)| run.as_ref());
                if settled.is_none_or(|run| run.settled_at.is_some()) {
                    self.wrong.push(format!("{key} is alive and its run is not"));
                }
            }
            if !self.turns.insert(key.clone()) {
                continue;
            }
            self.not_halted(by, "a turn was started");
            let run = self.runs.get(&request.run).and_then(|(_, run)| run.as_ref());
            let recorded = run.and_then(Run::turn).is_some_and(|t| t.n == request.n);
            if !recorded {
                self.wrong.push(format!("{key} was started and is not recorded"));
            }
            let all = world.agents.turns.values().filter(|other| other.request.run == request.run);
            let spent = all.filter(|other| other.request.n < request.n);
            let spent: u64 = spent.map(|other| other.script.cost.as_micros()).sum();
            let budget = run.map_or(Usd::default(), |run| run.budget);
            if spent + request.budget.as_micros() > budget.as_micros() {
                self.wrong.push(format!("{key} may spend more than is left"));
            }
        }
        for (repo, count) in at_work {
            if count > 1 {
                self.wrong.push(format!("{count} agents are at work on {repo}"));
            }
        }
    }

    fn jobs(&mut self, world: &World, by: Option<By>) {
        for key in world.jobs.started.iter().skip(self.jobs) {
            if !key.as_str().contains(".hook.") {
                self.not_halted(by, "a job was started");
            }
            let starts = self.starts.entry(key.clone()).or_insert(0);
            *starts += 1;
            // Each of a scenario's few halts, crashes and losses may cost one more start.
            if *starts > 12 {
                self.wrong.push(format!("{key} was started {starts} times"));
            }
        }
        self.jobs = world.jobs.started.len();
    }

    fn landings(&mut self, world: &World, by: Option<By>) {
        for (repo, head) in &world.git.remotes {
            let before = self.heads.insert(repo.clone(), head.clone());
            if before.as_ref() == Some(head) {
                continue;
            }
            let mut at = Some(head.clone());
            while let Some(id) = at.filter(|id| Some(id) != before.as_ref()) {
                let Some(commit) = world.git.commits.get(&id) else { break };
                let of = trailer(&commit.message, RUN_TRAILER)
                    .zip(trailer(&commit.message, ATTEMPT_TRAILER));
                if let Some((run, attempt)) = of {
                    let (run, attempt) = (run.to_owned(), attempt.to_owned());
                    self.landed(world, repo, &id, (run, attempt), by);
                }
                at = commit.parents.first().cloned();
            }
        }
    }

    fn landed(
        &mut self,
        world: &World,
        repo: &RepoName,
        id: &Oid,
        of: (String, String),
        by: Option<By>,
    ) {
        self.not_halted(by, "a push was made");
        let run = of.0.parse::<RunId>().ok().and_then(|run| self.runs.get(&run));
        let run = run.and_then(|(_, run)| run.as_ref());
        let candidate = run.and_then(Run::candidate).filter(|one| one.commit == *id);
        let clear = candidate.is_some_and(|one| {
            one.guardrails.as_ref().is_some_and(afk_core::guardrails::GuardrailReport::passed)
                && one.proof.as_ref().is_some_and(afk_core::proof::ProofReport::accepted)
        });
        let passes = world.git.commits.get(id).is_some_and(|commit| world.verifies(&commit.tree));
        if !clear || !passes {
            self.wrong.push(format!("{id} landed on {repo} unproved"));
        }
        if let (Some(run), Some(by)) = (run, by)
            && self.truth.shut(&run.issue, by.tick).contains(&"freeze")
        {
            self.wrong.push(format!("{id} landed on {repo}, which is frozen"));
        }
        if !self.landings.insert(of) {
            self.wrong.push(format!("an attempt landed on {repo} twice"));
        }
    }

    fn tracker(&mut self, world: &World) {
        for (issue, record) in &world.tracker.issues {
            let known = self.events.insert(issue.clone(), record.events.len()).unwrap_or(0);
            let events = record
                .events
                .iter()
                .skip(known)
                .filter(|event| event.actor.as_ref().is_some_and(|actor| actor.id == own().id));
            for event in events {
                match &event.what {
                    IssueChange::Closed => self.closed(world, issue),
                    IssueChange::Labeled { label } if *label == world.config.in_progress_label => {
                        let mut turns = world.agents.turns.values();
                        if !turns.any(|turn| self.of(turn.request.run, issue)) {
                            self.wrong.push(format!("{issue} was locked before its thread"));
                        }
                    }
                    _ => {}
                }
            }
            let own = record.comments.iter().filter(|comment| {
                comment.author.as_ref().is_some_and(|author| author.id == own().id)
            });
            let mut marked = BTreeMap::new();
            for comment in own {
                for id in self.runs.keys().filter(|id| comment.body.contains(&id.to_string())) {
                    *marked.entry(*id).or_insert(0) += 1;
                }
            }
            if let Some((run, count)) = marked.iter().find(|(_, count)| **count > 1) {
                self.wrong.push(format!("{run} has {count} comments on {issue}"));
            }
        }
    }

    fn of(&self, run: RunId, issue: &IssueRef) -> bool {
        self.live().any(|live| live.id == run && live.issue == *issue)
    }

    fn closed(&mut self, world: &World, issue: &IssueRef) {
        let runs = self.runs.values().filter_map(|(_, run)| run.as_ref());
        let done = runs.filter(|run| run.issue == *issue).find(|run| {
            let ended = run.conclusion.as_ref().is_some_and(|one| one.end == End::Done);
            let stages = world.config.repos.get(&issue.repo);
            let stages = stages.and_then(|repo| world.config.limits(repo).stages);
            ended && run.evidence(stages.as_ref()).is_complete().is_ok()
        });
        let Some(landed) = done.and_then(Run::landed) else {
            self.wrong.push(format!("{issue} was closed without its evidence"));
            return;
        };
        // Green in truth: the landed commit, or one that came after it.
        let mut at = world.git.remotes.get(&issue.repo);
        let (mut green, mut there) = (false, false);
        while let Some(id) = at.filter(|_| !there) {
            let files = world.git.files_of(id).unwrap_or_default();
            green |= !files.values().any(|text| text.contains(BREAKS));
            there = *id == landed.commit;
            at = world.git.commits.get(id).and_then(|commit| commit.parents.first());
        }
        if !(green && there) {
            self.wrong.push(format!("{issue} was closed and what landed is not green"));
        }
    }

    /// What must be so when all has been calm for long.
    pub(super) fn rest(&mut self, world: &World) {
        for (id, (_, run)) in &self.runs {
            let Some(run) = run else { continue };
            let stored = world.store.runs.get(id).map(|kept| &kept.run);
            if stored != Some(run) {
                self.wrong.push(format!("the record of {id} is not what its journal says"));
            }
            let Some(end) = run.conclusion.as_ref().map(|conclusion| conclusion.end) else {
                self.wrong.push(format!("{id} never ended"));
                continue;
            };
            if run.settled_at.is_none() {
                self.wrong.push(format!("{id} never settled"));
            }
            let rings = |kind| {
                let (nth, detail) = (0, "");
                let issue = &run.issue;
                let ring = Ring { run: *id, issue, kind, reason: None, detail, link: None, nth };
                let id = Doorbell::new(&ring).id;
                world.rung.iter().any(|bell| bell.id == id)
            };
            let wanted = match end {
                End::Done => Some(DoorbellKind::Done),
                End::NeedsHuman => Some(DoorbellKind::NeedsHuman),
                End::Frozen => Some(DoorbellKind::Frozen),
                End::Released => None,
            };
            for kind in [DoorbellKind::Done, DoorbellKind::NeedsHuman, DoorbellKind::Frozen] {
                if rings(kind) != (wanted == Some(kind)) {
                    self.wrong.push(format!("{id} ended as {end:?} and {kind} rang wrongly"));
                }
            }
            let kept = world.git.forensics.contains(id);
            if world.git.workspaces.contains_key(id) && !kept {
                self.wrong.push(format!("{id} left its workspace"));
            }
        }
        for (issue, record) in &world.tracker.issues {
            self.labels(world, issue, record);
        }
    }

    /// No label of ours says what is not so; what people put on stays theirs.
    fn labels(&mut self, world: &World, issue: &IssueRef, record: &IssueRecord) {
        let runs = self.runs.values().filter_map(|(_, run)| run.as_ref());
        let newest = runs.filter(|run| run.issue == *issue).max_by_key(|run| run.admitted_at);
        let put_on = |name: &str| {
            let on = |event: &&IssueEvent| matches!(&event.what, IssueChange::Labeled { label } if label == name);
            record.events.iter().rev().find(on).filter(|_| record.has(name))
        };
        let lock = put_on(&world.config.in_progress_label);
        let ours = lock.and_then(|event| event.actor.as_ref());
        if ours.is_some_and(|actor| actor.id == own().id) {
            self.wrong.push(format!("{issue} is locked by no run"));
        }
        let Some(newest) = newest else { return };
        let Some(end) = newest.conclusion.as_ref() else { return };
        let ready = put_on(&world.config.ready_label).is_some_and(|event| event.at < end.at);
        if ready && end.end != End::Released {
            self.wrong.push(format!("{issue} is ready still, and its run ended as {:?}", end.end));
        }
    }
}
