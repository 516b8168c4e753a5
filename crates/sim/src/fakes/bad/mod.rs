//! Known-bad loops: each bends what one call sees or does, as a loop with that fault
//! would. The explorer must catch every one of them, or its invariants prove nothing.
//!
//! A bad loop is made by changing the world around a call and putting it back; no
//! code of the loop itself knows of it.

mod bends;

use afk_core::config::Config;
use afk_core::ids::{JobKey, JobOf, RunId};
use afk_core::issue::Permission;
use afk_core::message::{RUN_TRAILER, trailer};
use afk_core::run::{Run, TurnEnd};
use afk_engine::ports::TurnRequest;

use crate::world::{TurnState, World, own};
use bends::{
    bell_first, bell_twice, clock_from_dispatch, hiding, long_ago, proves_again, ready_left_on,
    recording, rewriting, uncorrected, voids_pass, without_costs,
};

/// A fault that a loop may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// The agent is started before its turn is recorded.
    DispatchBeforeRecord,
    /// The in-progress label is put on before there is a thread.
    LabelBeforeThread,
    /// Every pass that sees a red or refused commit begins a turn for it.
    CorrectiveTurnEveryPass,
    /// The ready label stays when a run has ended.
    ReadyLabelLeftOn,
    /// Which runs are live is told from labels.
    LockReadFromLabels,
    /// A turn that ended well counts as success.
    CompletedIsSuccess,
    /// The comment is not found again.
    CommentReposted,
    /// The bell rings before its outcome is kept, which then fails.
    DoorbellBeforeCommit,
    /// The fix-forward clock runs from dispatch.
    ClockFromDispatch,
    /// A proof that ended is run again.
    ProvesForEver,
    /// What lands is not what was proved.
    LandsUnproved,
    /// Freezes are forgotten.
    FreezeForgotten,
    /// Admission rechecks nothing.
    AdmitsUnchecked,
    /// What turns cost is not counted.
    SpendIgnored,
    /// A halt is not seen.
    HaltIgnored,
    /// Whoever labels an issue counts as trusted.
    TrustsAnyone,
    /// Retries follow at once.
    RetriesAtOnce,
    /// No issue blocks another.
    BlockersIgnored,
    /// The kill switch is not seen.
    KillSwitchIgnored,
    /// Every repo counts as enrolled.
    AllowlistIgnored,
    /// Outcomes are kept while agents are alive.
    ConcludesOverTheLiving,
    /// Bells that did not ring are struck off.
    BellsLost,
    /// An end rings two bells.
    BellsTwice,
    /// The in-progress label is not put on.
    LockNotShown,
    /// Leases are not let go.
    LeasesKept,
    /// Branches of candidates stay on the remote.
    TriesLeft,
    /// A comment that is not shown is posted at once.
    CommentUnsettled,
    /// Switches that cannot be read count as off.
    UnreadableIsOff,
    /// A stage that could not run counts as green.
    VoidIsGreen,
}

impl Bad {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::DispatchBeforeRecord,
        Self::LabelBeforeThread,
        Self::CorrectiveTurnEveryPass,
        Self::ReadyLabelLeftOn,
        Self::LockReadFromLabels,
        Self::CompletedIsSuccess,
        Self::CommentReposted,
        Self::DoorbellBeforeCommit,
        Self::ClockFromDispatch,
        Self::ProvesForEver,
        Self::LandsUnproved,
        Self::FreezeForgotten,
        Self::AdmitsUnchecked,
        Self::SpendIgnored,
        Self::HaltIgnored,
        Self::TrustsAnyone,
        Self::RetriesAtOnce,
        Self::BlockersIgnored,
        Self::KillSwitchIgnored,
        Self::AllowlistIgnored,
        Self::ConcludesOverTheLiving,
        Self::BellsLost,
        Self::BellsTwice,
        Self::LockNotShown,
        Self::LeasesKept,
        Self::TriesLeft,
        Self::CommentUnsettled,
        Self::UnreadableIsOff,
        Self::VoidIsGreen,
    ];

    /// The configuration as this loop sees it.
    pub(super) fn config(self, config: &mut Config) {
        match self {
            Self::KillSwitchIgnored => config.kill_switch = false,
            Self::AllowlistIgnored => config.allowlist = config.repos.keys().cloned().collect(),
            _ => {}
        }
    }

    /// The call `name`, as this loop makes it.
    pub(super) fn around<T>(
        self,
        world: &mut World,
        name: &str,
        act: impl FnOnce(&mut World) -> T,
    ) -> T {
        if name.starts_with("store.") {
            self.around_store(world, name, act)
        } else {
            self.around_world(world, name, act)
        }
    }

    fn around_store<T>(
        self,
        world: &mut World,
        name: &str,
        act: impl FnOnce(&mut World) -> T,
    ) -> T {
        match (self, name) {
            (Self::HaltIgnored, "store.switches" | "store.admit") => {
                let halt = world.store.switches.halt.take();
                let answer = act(world);
                world.store.switches.halt = halt;
                answer
            }
            (Self::FreezeForgotten, "store.switches" | "store.admit") => {
                let frozen = std::mem::take(&mut world.store.switches.frozen);
                let answer = act(world);
                world.store.switches.frozen = frozen;
                answer
            }
            (Self::UnreadableIsOff, "store.switches") => {
                let unreadable = std::mem::take(&mut world.store.unreadable_switches);
                let answer = act(world);
                world.store.unreadable_switches = unreadable;
                answer
            }
            (Self::AdmitsUnchecked, "store.admit") => hiding(world, |_| true, act),
            (Self::LockReadFromLabels, "store.live") => {
                let label = &world.config.in_progress_label;
                let issues = world.tracker.issues.iter();
                let locked: Vec<_> = issues
                    .filter(|(_, one)| one.has(label))
                    .map(|(issue, _)| issue.clone())
                    .collect();
                hiding(world, |kept| !locked.contains(&kept.run.issue), act)
            }
            (Self::ClockFromDispatch, "store.load") => rewriting(world, clock_from_dispatch, act),
            (Self::SpendIgnored, "store.load") => rewriting(world, without_costs, act),
            (Self::RetriesAtOnce, "store.load") => rewriting(world, long_ago, act),
            (Self::CorrectiveTurnEveryPass, "store.load") => rewriting(world, uncorrected, act),
            (Self::ProvesForEver, "store.recall") => {
                let memos = std::mem::take(&mut world.store.memos);
                let answer = act(world);
                world.store.memos = memos;
                answer
            }
            (
                Self::ClockFromDispatch
                | Self::SpendIgnored
                | Self::RetriesAtOnce
                | Self::CorrectiveTurnEveryPass
                | Self::CommentUnsettled
                | Self::CommentReposted,
                "store.commit",
            ) => recording(world, act),
            (Self::DoorbellBeforeCommit, "store.commit") => bell_first(world, act),
            (Self::BellsTwice, "store.commit") => bell_twice(world, act),
            (Self::LeasesKept, "store.unlease") => {
                let leases = world.store.leases.clone();
                let answer = act(world);
                world.store.leases = leases;
                answer
            }
            (Self::CommentUnsettled | Self::CommentReposted, "store.load") => {
                rewriting(world, |run| run.posted = None, act)
            }
            _ => act(world),
        }
    }

    fn around_world<T>(
        self,
        world: &mut World,
        name: &str,
        act: impl FnOnce(&mut World) -> T,
    ) -> T {
        match (self, name) {
            (Self::CommentReposted, "tracker.comments") => {
                let issues = world.tracker.issues.clone();
                world.tracker.issues.values_mut().for_each(|one| one.comments.clear());
                let answer = act(world);
                world.tracker.issues = issues;
                answer
            }
            (Self::TrustsAnyone, "tracker.permission") => {
                let permissions = world.tracker.permissions.clone();
                for who in ["bob", "mallory"] {
                    world.tracker.permissions.insert(who.to_owned(), Permission::Admin);
                }
                let answer = act(world);
                world.tracker.permissions = permissions;
                answer
            }
            (Self::BlockersIgnored, "tracker.blocker") => {
                let issues = world.tracker.issues.clone();
                world.tracker.issues.values_mut().for_each(|one| one.issue.open = false);
                let answer = act(world);
                world.tracker.issues = issues;
                answer
            }
            (Self::ReadyLabelLeftOn, "tracker.label" | "tracker.issue" | "tracker.ready") => {
                ready_left_on(world, name, act)
            }
            (Self::LockNotShown, "tracker.label") => {
                let label = world.config.in_progress_label.clone();
                let before = world.tracker.issues.clone();
                let answer = act(world);
                for (issue, now) in &mut world.tracker.issues {
                    let had = before.get(issue).filter(|then| !then.has(&label));
                    if let Some(then) = had.filter(|_| now.has(&label)) {
                        now.clone_from(then);
                    }
                }
                answer
            }
            (Self::TriesLeft, "git.remove_branch") => {
                let branches = world.git.branches.clone();
                let answer = act(world);
                world.git.branches = branches;
                answer
            }
            (Self::ProvesForEver, "jobs.observe") => proves_again(world, act),
            (Self::VoidIsGreen, "jobs.observe") => voids_pass(world, act),
            (Self::ConcludesOverTheLiving, "jobs.alive") => {
                let turns = std::mem::take(&mut world.agents.turns);
                let jobs = std::mem::take(&mut world.jobs.jobs);
                let answer = act(world);
                (world.agents.turns, world.jobs.jobs) = (turns, jobs);
                answer
            }
            (Self::BellsLost, "notifier.ring") => {
                let rung = world.rung.len();
                let answer = act(world);
                world.rung.truncate(rung);
                answer
            }
            (Self::DispatchBeforeRecord | Self::LabelBeforeThread, "git.prepare") => {
                let answer = act(world);
                self.too_early(world);
                answer
            }
            (Self::CompletedIsSuccess, "executor.observe") => {
                let answer = act(world);
                let finished = world.agents.turns.values().filter(|turn| {
                    matches!(turn.state, TurnState::Ended(TurnEnd::Finished { .. }))
                });
                let runs: Vec<RunId> = finished.map(|turn| turn.request.run).collect();
                for run in runs {
                    if let Some(issue) = world.store.runs.get(&run).map(|k| k.run.issue.clone()) {
                        world.set_open(&issue, false, &own());
                    }
                }
                answer
            }
            (Self::LandsUnproved, "git.push") => {
                let before = world.git.remotes.clone();
                let answer = act(world);
                for (repo, head) in world.git.remotes.clone() {
                    let message = world.git.commits.get(&head).map(|commit| commit.message.clone());
                    let ours = message.is_some_and(|text| trailer(&text, RUN_TRAILER).is_some());
                    if ours && before.get(&repo) != Some(&head) {
                        world.amend_default(&repo, "src/unproved", "x");
                    }
                }
                answer
            }
            _ => act(world),
        }
    }

    /// Does what comes later as soon as there is a workspace.
    fn too_early(self, world: &mut World) {
        let fresh = world.store.runs.values().map(|kept| &kept.run).filter(|run| {
            let there = world.git.workspaces.contains_key(&run.id);
            there && run.start.is_none() && run.settled_at.is_none()
        });
        let fresh: Vec<Run> = fresh.cloned().collect();
        for run in fresh {
            if self == Self::LabelBeforeThread {
                let label = world.config.in_progress_label.clone();
                world.set_label(&run.issue, &label, true, &own());
                continue;
            }
            let request = TurnRequest {
                key: JobKey::new(run.id, JobOf::Turn, "1"),
                run: run.id,
                repo: run.issue.repo.clone(),
                thread: run.id.thread(),
                n: 1,
                prompt: String::new(),
                budget: run.budget,
                deadline: std::time::Duration::from_mins(10),
                network: true,
            };
            // Whether it started is for the judge to see.
            let _ = world.start_turn(&request);
        }
    }
}
