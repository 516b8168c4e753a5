//! Judges labels against the store: an issue may lag behind its run, but for no longer than one
//! undisturbed tick.

use afk_core::ids::{IssueRef, RunId};
use afk_core::plan::End;
use afk_core::run::Run;

use super::Judge;
use super::tracker::{by_us, put_on};
use crate::world::{IssueRecord, TurnState, World};

/// A tick that nothing disturbed: no fault, no halt, no other control plane.
#[derive(Debug)]
pub(in super::super) struct UndisturbedTick {
    /// The step at which it began.
    pub(in super::super) began: u64,
    /// The runs that had their pass in it.
    pub(in super::super) passed: Vec<RunId>,
}

impl Judge {
    /// Records what each issue shows that is not true of its live run, and since when.
    pub(super) fn shown(&mut self, world: &World, step: u64) {
        let mut untrue = std::mem::take(&mut self.untrue);
        let mut still = std::collections::BTreeMap::new();
        for run in self.live() {
            let Some(record) = world.tracker.issues.get(&run.issue) else { continue };
            if let Some(what) = difference(world, run, record) {
                let since = untrue.remove(&run.issue).filter(|(known, _)| *known == what);
                let since = since.map_or(step, |(_, since)| since);
                still.insert(run.issue.clone(), (what, since));
            }
        }
        self.untrue = still;
    }

    /// What an issue showed before a whole tick that was not true must be corrected after it.
    pub(in super::super) fn ticked(&mut self, world: &World, tick: &UndisturbedTick) {
        let told = |issue: &IssueRef| {
            let mut live = self.live();
            live.any(|run| run.issue == *issue && tick.passed.contains(&run.id))
                && !world.tracker.mute.contains(&issue.repo)
        };
        let late =
            self.untrue.iter().filter(|(issue, (_, since))| *since < tick.began && told(issue));
        let late: Vec<String> =
            late.map(|(issue, (what, _))| format!("{issue} {what} after a whole tick")).collect();
        self.wrong.extend(late);
    }
}

/// What an issue shows that is not true of its live run.
fn difference(world: &World, run: &Run, record: &IssueRecord) -> Option<String> {
    let config = &world.config;
    let locked = record.has(&config.in_progress_label);
    let Some(end) = run.conclusion.as_ref().map(|conclusion| conclusion.end) else {
        let mut turns = world.agents.turns.values();
        let started = turns.any(|turn| turn.request.run == run.id);
        if run.aside_since.is_some() {
            let ours = put_on(record, &config.in_progress_label).is_some_and(by_us);
            return ours.then(|| "is still locked".to_owned());
        }
        return (started && run.cancel.is_none() && !locked).then(|| "is not locked".to_owned());
    };
    let working = |turn: &crate::world::AgentTurn| {
        turn.request.run == run.id && turn.state == TurnState::Running
    };
    if world.agents.turns.values().any(working) {
        // The loop first waits for what no interrupt stops.
        return None;
    }
    let ours = put_on(record, &config.in_progress_label).is_some_and(by_us);
    let human = end.is_handed_over();
    let ready = record.has(&config.ready_label) && end != End::Withdrawn;
    let untrue = [
        (ours, "is still locked"),
        (human && !record.has(&config.human_label), "is not given to people"),
        (ready, "is still ready"),
        (end == End::Done && record.issue.open, "is still open"),
    ];
    untrue.into_iter().find(|(is, _)| *is).map(|(_, what)| what.to_owned())
}
