//! Judges the end of a story: what must hold after a long calm.

use afk_core::comment::marker;
use afk_core::gates::BaseHealth;
use afk_core::ids::{IssueRef, RunId};
use afk_core::issue::IssueChange;
use afk_core::plan::End;
use afk_core::replay::{Row, replay};
use afk_core::request::Request;
use afk_core::run::Run;

use super::super::truth::all_open;
use super::tracker::{by_us, ours, put_on};
use super::{Judge, bells};
use crate::world::{IssueRecord, World};

/// Maximum number of dispatches of an issue: a scenario's few people cannot release it more often.
const DISPATCHES: usize = 12;

impl Judge {
    /// Judges what must hold after a long calm.
    pub(in super::super) fn rest(&mut self, world: &World) {
        self.followed();
        self.found(world);
        self.unforged();
        self.frozen_rightly(world);
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
            for bell in bells(world, run, end) {
                let rang = world.doorbells.rung.iter().any(|(name, doorbell)| {
                    *name == bell.name && doorbell.id.to_string() == bell.id
                });
                let row = world.store.outbox.get(&bell.row());
                // Only doorbells that never worked are given up.
                let dead = world.doorbells.broken.contains(&bell.name)
                    && row.is_some_and(|row| row.given_up);
                if row.is_some() != bell.wanted || (rang != bell.wanted && !dead) {
                    let kind = bell.kind;
                    self.wrong.push(format!(
                        "{id} ended as {end:?}, and its doorbell {kind} was rung or left silent by \
                         mistake"
                    ));
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
            if run.settled_at.is_some() && !world.archive.iter().any(|kept| kept.run == *id) {
                self.wrong.push(format!("{id} left no evidence"));
            }
            let kept = world.git.forensics.contains(id);
            if world.git.workspaces.contains_key(id) && !kept {
                self.wrong.push(format!("{id} left its workspace"));
            }
        }
        for (_, request) in &world.store.requests {
            if request.answered.is_none() {
                let request = &request.request;
                self.wrong
                    .push(format!("{:?} of {} was never answered", request.what, request.by.id));
            }
        }
        for (issue, record) in &world.tracker.issues {
            self.labels(world, issue, record);
            let runs: Vec<&Run> = self.known().filter(|run| run.issue == *issue).collect();
            let told =
                runs.iter().filter_map(|run| comment(world, run, record)).collect::<Vec<_>>();
            let of_issue = |run: &RunId| runs.iter().any(|one| one.id == *run);
            let asked =
                world.store.requests.iter().filter(|(run, request)| {
                    request.request.what == Request::Release && of_issue(run)
                });
            // A run whose base fails begins nothing and spends nothing, and is admitted again now
            // and then.
            let begun = runs.iter().filter(|run| run.base_fails.is_none());
            let (asked, count) = (asked.count(), begun.count());
            let on = IssueChange::Labeled { label: world.config.ready_label.clone() };
            let put = record.events.iter().filter(|event| event.what == on && by_us(event));
            if put.count() > asked {
                self.wrong.push(format!("{issue} was released again more often than was asked"));
            }
            self.wrong.extend(told);
            if count > DISPATCHES {
                self.wrong.push(format!("{issue} was dispatched {count} times"));
            }
        }
        for (cause, hold) in &world.store.holds {
            // A look that began before a hold lifts nothing, and if the clock was set back any look
            // may seem to have.
            if hold.cleared_at.is_none() && !self.back {
                self.wrong.push(format!("{cause} has cleared, but still counts as missing"));
            }
        }
        if let Some(issue) = self.waiting(world) {
            self.wrong.push(format!("{issue} could be dispatched and is not"));
        }
    }

    /// A replay of each journal makes the recorded decisions. Not checked for a known-bad loop,
    /// which decides on false facts.
    pub(in super::super) fn replayed(&mut self, world: &mut World) {
        for run in world.store.all() {
            let rows = world.journal(run.id, 0).into_iter();
            let rows: Vec<_> =
                rows.map(|row| Row { seq: row.seq, at: row.at, body: row.body }).collect();
            let differences = replay(&rows, &run).differences;
            self.wrong.extend(differences.iter().map(|one| format!("{}: {one}", run.id)));
        }
    }

    /// Finds an issue that nothing keeps from being dispatched.
    pub(in super::super) fn waiting<'a>(&self, world: &'a World) -> Option<&'a IssueRef> {
        let config = &world.config;
        if config.base_health == BaseHealth::Wait {
            // The verdict on the default branch, which may hold it, is not judged here.
            return None;
        }
        let mut issues = world.tracker.issues.iter();
        let waiting = issues.find(|(issue, record)| {
            let repo = config.repos.get(&issue.repo);
            all_open(world, issue, record)
                && repo.is_some_and(|repo| self.fits(world, config.budget(repo)))
        });
        waiting.map(|(issue, _)| issue)
    }

    /// No label of ours says something false. Labels that people put on are theirs.
    fn labels(&mut self, world: &World, issue: &IssueRef, record: &IssueRecord) {
        let lock = put_on(record, &world.config.in_progress_label);
        if lock.is_some_and(by_us) {
            self.wrong.push(format!("{issue} is locked by no run"));
        }
        let of_issue = self.known().filter(|run| run.issue == *issue);
        let Some(newest) = of_issue.max_by_key(|run| run.id) else { return };
        if let Some(what) = self.untold(world, newest, record) {
            let end = newest.conclusion.as_ref().map(|conclusion| conclusion.end);
            self.wrong.push(format!("{issue} {what}, and its run ended as {end:?}"));
        }
    }
}

/// What is wrong with the comment of an ended run. Every run that began a turn, or was handed back,
/// must have one.
fn comment(world: &World, run: &Run, record: &IssueRecord) -> Option<String> {
    let end = run.conclusion.as_ref()?.end;
    let began = world.agents.turns.values().any(|turn| turn.request.run == run.id);
    let all = record.comments.iter().filter(|comment| ours(comment));
    let of_run: Vec<_> = all.filter(|comment| comment.body.contains(&marker(run.id))).collect();
    let Some(comment) = of_run.first() else {
        let what = format!("{} ended as {end:?} and has no comment", run.id);
        return (began || end.is_handed_over()).then_some(what);
    };
    let open = ["- [ ]", "- [~]"].iter().any(|text| comment.body.contains(text));
    let says = match end {
        End::Done => "**Landed.**",
        End::NeedsHuman => "**Needs a human.**",
        End::Frozen => "**Frozen.**",
        End::Withdrawn => "**Withdrawn.**",
    };
    let stale = !comment.body.contains(says) || (end == End::Done && open);
    stale.then(|| format!("{} ended as {end:?} and its comment does not say so", run.id))
}
