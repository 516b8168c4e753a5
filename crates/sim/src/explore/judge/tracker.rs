//! Judges the issues: what our own account did to them, and with what reason.

use std::collections::BTreeMap;

use afk_core::comment::marker;
use afk_core::ids::{IssueRef, RunId};
use afk_core::issue::{Comment, IssueChange, IssueEvent};
use afk_core::plan::End;
use afk_core::run::{Cancel, CancelHow, Run};

use super::Judge;
use crate::world::{BREAKS, IssueRecord, VOIDS, World, own};

impl Judge {
    pub(super) fn tracker(&mut self, world: &World) {
        for (issue, record) in &world.tracker.issues {
            let now = (record.events.len(), record.comments.len());
            let known = self.tracked.insert(issue.clone(), now).unwrap_or_default();
            if known == now {
                continue;
            }
            let events = record.events.iter().skip(known.0).filter(|event| by_us(event));
            for event in events {
                match &event.what {
                    IssueChange::Closed => self.closed(world, issue),
                    what if what.adds(&world.config.in_progress_label) => {
                        let mut turns = world.agents.turns.values();
                        if !turns.any(|turn| self.of(turn.request.run, issue)) {
                            self.wrong.push(format!("{issue} was locked before its thread"));
                        }
                    }
                    _ => {}
                }
            }
            let mut marked = BTreeMap::new();
            for comment in record.comments.iter().filter(|comment| ours(comment)) {
                for id in self.runs.keys().filter(|id| comment.body.contains(&marker(**id))) {
                    *marked.entry(*id).or_insert(0) += 1;
                }
            }
            if let Some((run, count)) = marked.iter().find(|(_, count)| **count > 1) {
                self.wrong.push(format!("{run} has {count} comments on {issue}"));
            }
        }
    }

    /// What the issue of an ended run should show and does not, although nobody has undone it
    /// since.
    pub(super) fn untold(
        &self,
        world: &World,
        run: &Run,
        record: &IssueRecord,
    ) -> Option<&'static str> {
        let config = &world.config;
        let since = self.ended.get(&run.id).copied().unwrap_or_default();
        let undone = |which: &dyn Fn(&IssueChange) -> bool| {
            record.events[since..].iter().any(|event| which(&event.what))
        };
        let (human, ready) = (&config.human_label, &config.ready_label);
        let end = run.conclusion.as_ref().map(|conclusion| conclusion.end)?;
        let handed = !record.has(human) && !undone(&|what| what.removes(human));
        // An issue that a person withdrew must not stay ready, or it would be dispatched again by
        // itself.
        let over = end != End::Withdrawn || run.cancel.as_ref().is_some_and(taken_back);
        let open = record.issue.open && !undone(&|what| *what == IssueChange::Reopened);
        let untold = [
            (end.is_handed_over() && handed, "is not given to people"),
            (end == End::Done && open, "is not closed"),
            (over && record.has(ready) && !undone(&|what| what.adds(ready)), "is ready still"),
        ];
        untold.into_iter().find(|(is, _)| *is).map(|(_, what)| what)
    }

    /// A run is withdrawn only because of something that somebody did to its issue, whatever a
    /// webhook said and whatever could not be read.
    pub(super) fn withdrawn(&mut self, world: &World, run: &Run, how: CancelHow) {
        let Some(record) = world.tracker.issues.get(&run.issue) else { return };
        let ready = &world.config.ready_label;
        let happened = |which: &dyn Fn(&IssueChange) -> bool| {
            record.events.iter().any(|event| which(&event.what))
        };
        let grounded = match how {
            CancelHow::Closed => {
                !record.issue.open || happened(&|what| *what == IssueChange::Closed)
            }
            CancelHow::Unreadied => !record.has(ready) || happened(&|what| what.removes(ready)),
            CancelHow::Unlocked
            | CancelHow::Unenrolled
            | CancelHow::Stopped
            | CancelHow::PullClosed => true,
        };
        if !grounded {
            self.wrong.push(format!("{} is withdrawn as {how:?}, which nobody did", run.id));
        }
    }

    fn of(&self, run: RunId, issue: &IssueRef) -> bool {
        self.live().any(|live| live.id == run && live.issue == *issue)
    }

    fn closed(&mut self, world: &World, issue: &IssueRef) {
        let done = self.known().filter(|run| run.issue == *issue).find(|run| {
            let ended = run.conclusion.as_ref().is_some_and(|one| one.end == End::Done);
            let stages = world.config.repos.get(&issue.repo);
            let stages = stages.and_then(|repo| world.config.limits(repo).stages);
            ended && run.evidence(stages.as_ref()).is_complete().is_ok()
        });
        let Some(landed) = done.and_then(Run::landed) else {
            self.wrong.push(format!("{issue} was closed without its evidence"));
            return;
        };
        if world.git.purged.contains(&landed.commit) {
            // Whether the commit was there when the run ended is judged by `Judge::done`.
            return;
        }
        // The landed commit must be green, or a later one.
        let mut at = world.git.remotes.get(&issue.repo);
        let (mut green, mut there) = (false, false);
        while let Some(id) = at.filter(|_| !there) {
            let files = world.git.files_of(id).unwrap_or_default();
            let holds = |what| files.values().any(|text| text.contains(what));
            green |= !holds(BREAKS) && !holds(VOIDS);
            there = *id == landed.commit;
            at = world.git.commits.get(id).and_then(|commit| commit.parents.first());
        }
        if !(green && there) {
            self.wrong.push(format!("{issue} was closed and what landed is not green"));
        }
    }
}

fn taken_back(cancel: &Cancel) -> bool {
    use CancelHow::{Closed, PullClosed, Stopped, Unlocked, Unreadied};
    matches!(cancel.how, Closed | Stopped | Unlocked | Unreadied | PullClosed)
}

/// The event that put `label` on an issue, if the issue has it now.
pub(super) fn put_on<'a>(record: &'a IssueRecord, label: &str) -> Option<&'a IssueEvent> {
    let on = |event: &&IssueEvent| event.what.adds(label);
    record.events.iter().rev().find(on).filter(|_| record.has(label))
}

/// Whether our own account wrote the comment.
pub(super) fn ours(comment: &Comment) -> bool {
    comment.author.as_ref().is_some_and(|author| author.id == own().id)
}

/// Whether our own account caused the event.
pub(in super::super) fn by_us(event: &IssueEvent) -> bool {
    event.actor.as_ref().is_some_and(|actor| actor.id == own().id)
}
