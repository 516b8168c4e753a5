//! The end: what must be so when all has been calm for long.

use afk_core::ids::IssueRef;
use afk_core::plan::End;

use super::tracker::{by_us, put_on};
use super::{Judge, bells};
use crate::world::{IssueRecord, World};

/// A scenario's few people may release an issue again so often at most.
const DISPATCHES: usize = 12;

impl Judge {
    /// What must be so when all has been calm for long.
    pub(in super::super) fn rest(&mut self, world: &World) {
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
            for (kind, bell, wanted) in bells(run, end) {
                let rang = world.rung.iter().any(|rung| rung.id.to_string() == bell);
                if rang != wanted || world.store.outbox.contains_key(&bell) != wanted {
                    self.wrong.push(format!("{id} ended as {end:?} and {kind} rang wrongly"));
                }
            }
            let lease = world.store.leases.get(&format!("run:{id}"));
            if lease.is_some_and(|lease| lease.until > world.now) {
                self.wrong.push(format!("{id} is settled and still leased"));
            }
            let tries = format!("afk/try/{id}/");
            if world.git.branches.keys().any(|(_, branch)| branch.starts_with(&tries)) {
                self.wrong.push(format!("{id} left a branch of its own on the remote"));
            }
            let kept = world.git.forensics.contains(id);
            if world.git.workspaces.contains_key(id) && !kept {
                self.wrong.push(format!("{id} left its workspace"));
            }
        }
        for (issue, record) in &world.tracker.issues {
            self.labels(world, issue, record);
            let runs = self.known().filter(|run| run.issue == *issue).count();
            if runs > DISPATCHES {
                self.wrong.push(format!("{issue} was dispatched {runs} times"));
            }
        }
    }

    /// No label of ours says what is not so; what people put on stays theirs.
    fn labels(&mut self, world: &World, issue: &IssueRef, record: &IssueRecord) {
        let lock = put_on(record, &world.config.in_progress_label);
        if lock.is_some_and(by_us) {
            self.wrong.push(format!("{issue} is locked by no run"));
        }
        let of_issue = self.known().filter(|run| run.issue == *issue);
        let newest = of_issue.max_by_key(|run| run.admitted_at);
        let Some(end) = newest.and_then(|run| run.conclusion.as_ref()) else { return };
        let ready =
            put_on(record, &world.config.ready_label).is_some_and(|event| event.at < end.at);
        // Where the clock was put back, times do not tell what was first.
        if ready && end.end != End::Released && !self.back {
            self.wrong.push(format!("{issue} is ready still, and its run ended as {:?}", end.end));
        }
    }
}
