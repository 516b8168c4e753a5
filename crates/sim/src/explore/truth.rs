//! What the gates should answer, derived from the world without the loop's own code: for each issue
//! and gate, the last step at which the gate was open.

use std::collections::BTreeMap;

use afk_core::ids::{Actor, IssueRef, RepoName};
use afk_core::issue::{IssueChange, IssueEvent, Permission};

use super::judge::by_us;
use crate::world::{IssueRecord, World};

/// The gates that a dispatch must have found open.
const GATES: [&str; 9] = [
    "switches",
    "kill switch",
    "allowlist",
    "freeze",
    "machine",
    "repo lock",
    "trust",
    "blockers",
    "open and ready",
];

/// The last step at which each gate of each issue was open, and at which nothing was halted.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// The last step at which the halt was readable and off.
    running: u64,
    open: BTreeMap<IssueRef, [Option<u64>; GATES.len()]>,
}

impl Truth {
    /// Notes which gates are open at `step`.
    pub(super) fn look(&mut self, world: &World, step: u64) {
        let switches = &world.store.switches;
        if switches.halt.is_none() && !world.store.unreadable_switches {
            self.running = step;
        }
        for (issue, record) in &world.tracker.issues {
            let known = self.open.entry(issue.clone()).or_default();
            for (last, open) in known.iter_mut().zip(gates(world, issue, record)) {
                if open {
                    *last = Some(step);
                }
            }
        }
    }

    /// Whether the halt was on, or unreadable, at every step since `since`.
    pub(super) fn halted(&self, since: u64) -> bool {
        self.running < since
    }

    /// The gates of `issue` that were closed at every step since `since`.
    pub(super) fn shut(&self, issue: &IssueRef, since: u64) -> Vec<&'static str> {
        let known = self.open.get(issue).copied().unwrap_or_default();
        let shut = |last: Option<u64>| last.is_none_or(|last| last < since);
        GATES.into_iter().zip(known).filter(|(_, last)| shut(*last)).map(|(gate, _)| gate).collect()
    }
}

/// Whether every gate of `issue` itself is open now, and `verify` passes on its base.
pub(super) fn all_open(world: &World, issue: &IssueRef, record: &IssueRecord) -> bool {
    let head = world.git.remotes.get(&issue.repo).and_then(|head| world.git.commits.get(head));
    let verified = head.is_none_or(|head| world.verifies(&head.tree));
    verified && gates(world, issue, record).into_iter().all(|open| open)
}

fn gates(world: &World, issue: &IssueRef, record: &IssueRecord) -> [bool; GATES.len()] {
    let (config, switches) = (&world.config, &world.store.switches);
    let ready = record.has(&config.ready_label);
    let readable = !world.store.unreadable_switches;
    [
        readable && switches.halt.is_none() && switches.pause.is_none(),
        !config.kill_switch && world.bad_config.is_none(),
        config.allowlist.contains(&issue.repo),
        switches.freeze_of(&issue.repo).is_none(),
        !world.agents.missing && !held(world),
        !locked(world, &issue.repo),
        ready && ann_may(world) && trusted(record, &config.ready_label),
        unblocked(world, issue, &record.issue.body),
        ready && record.issue.open,
    ]
}

/// Whether a live run waits for the agent, which is the same for all repos in these worlds.
fn held(world: &World) -> bool {
    let mut runs = world.store.runs.values().map(|kept| &kept.run);
    runs.any(|run| run.settled_at.is_none() && run.holds_agent(world.now).is_some())
}

/// Whether an open issue of `repo` has the in-progress label and no live run.
fn locked(world: &World, repo: &RepoName) -> bool {
    let label = &world.config.in_progress_label;
    let known = |issue: &IssueRef| {
        let mut runs = world.store.runs.values().map(|kept| &kept.run);
        runs.any(|run| run.issue == *issue && run.settled_at.is_none())
    };
    let mut issues = world.tracker.issues.iter();
    issues.any(|(issue, record)| {
        issue.repo == *repo && record.issue.open && record.has(label) && !known(issue)
    })
}

/// Whether ann may write now. Nobody else ever may.
fn ann_may(world: &World) -> bool {
    world.tracker.permissions.get("ann").is_some_and(|may| *may >= Permission::Write)
}

/// Whether the ready label counts. It must be there, put on by ann, or by us at her request, and
/// nobody else may have changed the text since, or in the same second: trackers tell no order
/// within one.
fn trusted(record: &IssueRecord, label: &str) -> bool {
    let events = &record.events;
    let by_ann = |event: &IssueEvent| event.actor.as_ref().is_some_and(|by| by.id == "ann");
    let mut released = false;
    for event in events {
        match &event.what {
            what if what.adds(label) => {
                let spoils = |other: &IssueEvent| {
                    other.at.as_second() == event.at.as_second()
                        && matches!(other.what, IssueChange::Edited | IssueChange::Renamed)
                        && !by_ann(other)
                };
                let hers = by_ann(event) && !events.iter().any(spoils);
                released = hers || (by_us(event) && asked_again(record));
            }
            what if what.removes(label) => released = false,
            IssueChange::Edited | IssueChange::Renamed => released &= by_ann(event),
            IssueChange::Labeled { .. }
            | IssueChange::Unlabeled { .. }
            | IssueChange::Closed
            | IssueChange::Reopened => {}
        }
    }
    released
}

/// Whether ann requested a retry in a comment, and nobody else has changed the text since.
fn asked_again(record: &IssueRecord) -> bool {
    let ann = |actor: Option<&Actor>| actor.is_some_and(|actor| actor.id == "ann");
    let edited = |event: &&IssueEvent| {
        matches!(event.what, IssueChange::Edited | IssueChange::Renamed)
            && !ann(event.actor.as_ref())
    };
    let spoiled = record.events.iter().filter(edited).map(|event| event.at).max();
    record.comments.iter().any(|comment| {
        ann(comment.author.as_ref())
            && comment.body == "/afk retry"
            && spoiled.is_none_or(|spoiled| spoiled.as_second() < comment.at.as_second())
    })
}

/// Whether no open issue blocks this one. These worlds know one clause: `Blocked by #1`, at the
/// beginning of the body.
fn unblocked(world: &World, issue: &IssueRef, body: &str) -> bool {
    if !body.starts_with("Blocked by #1") {
        return true;
    }
    let first = IssueRef { repo: issue.repo.clone(), number: 1 };
    world.tracker.issues.get(&first).is_some_and(|first| !first.issue.open)
}
