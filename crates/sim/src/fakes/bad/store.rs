//! What known-bad loops see of the store, and do to it.

use std::collections::BTreeMap;

use super::Bad;
use super::bends::{
    available, believing, bell_first, bell_twice, bells_as_one, bells_for_ever, bending,
    clock_from_dispatch, ended_by_error, hiding, long_ago, not_renewed, proved, read, recording,
    rewriting, uncorrected, undoing, unsent, without_costs,
};
use crate::world::World;

impl Bad {
    pub(super) fn around_store<T>(
        self,
        world: &mut World,
        name: &str,
        act: impl FnOnce(&mut World) -> T,
    ) -> T {
        match (self, name) {
            (Self::HaltIgnored, "store.switches" | "store.admit") => {
                bending(world, |world| &mut world.store.switches.halt, |halt| *halt = None, act)
            }
            (Self::FreezeForgotten, "store.switches" | "store.admit") => {
                bending(world, |world| &mut world.store.switches.frozen, Vec::clear, act)
            }
            (Self::PushesUnderAFreeze, "store.switches") if about_to_push(world) => {
                bending(world, |world| &mut world.store.switches.frozen, Vec::clear, act)
            }
            (Self::PushesWithoutALease, "store.lease") if about_to_push(world) => {
                not_renewed(world, act)
            }
            (Self::UnreadableIsOff, "store.switches") => {
                let readable = |unreadable: &mut bool| *unreadable = false;
                bending(world, |world| &mut world.store.unreadable_switches, readable, act)
            }
            (Self::TakesUpUnchecked, "store.commit") => {
                let unchecked = |unchecked: &mut bool| *unchecked = true;
                bending(world, |world| &mut world.store.unchecked, unchecked, act)
            }
            (Self::AdmitsUnchecked, "store.admit") => hiding(world, |_| true, act),
            (Self::LockReadFromLabels, "store.live" | "store.live_runs") => {
                let label = &world.config.in_progress_label;
                let issues = world.tracker.issues.iter();
                let locked: Vec<_> = issues
                    .filter(|(_, one)| one.has(label))
                    .map(|(issue, _)| issue.clone())
                    .collect();
                hiding(world, |kept| !locked.contains(&kept.run.issue), act)
            }
            (Self::HoldIgnored, "store.live") => rewriting(world, available, act),
            (Self::ClockFromDispatch, "store.load") => rewriting(world, clock_from_dispatch, act),
            (Self::SpendIgnored, "store.load") => rewriting(world, without_costs, act),
            (Self::RetriesAtOnce, "store.load") => rewriting(world, long_ago, act),
            (Self::CorrectiveTurnEveryPass, "store.load") => rewriting(world, uncorrected, act),
            (Self::PushForgotten | Self::PullForgotten, "store.load") => {
                rewriting(world, unsent, act)
            }
            (Self::BelievesOneFailure, "store.load") => rewriting(world, believing, act),
            (Self::AgentLandingUnproved, "store.load") => rewriting(world, proved, act),
            (Self::AgentLandingUnread, "store.load") => rewriting(world, read, act),
            (Self::ProvesForEver, "store.recall") => {
                bending(world, |world| &mut world.store.memos, BTreeMap::clear, act)
            }
            (
                Self::ClockFromDispatch
                | Self::SpendIgnored
                | Self::RetriesAtOnce
                | Self::CorrectiveTurnEveryPass
                | Self::CommentUnsettled
                | Self::CommentReposted
                | Self::PushForgotten
                | Self::BelievesOneFailure
                | Self::PullForgotten
                | Self::AgentLandingUnproved
                | Self::AgentLandingUnread,
                "store.commit",
            ) => recording(world, act),
            (Self::DoorbellBeforeCommit, "store.commit") => bell_first(world, act),
            (Self::ErrorEndsTheRun, "store.commit") => ended_by_error(world, act),
            (Self::FreezeNotKept, "store.commit") => {
                undoing(world, |world| &mut world.store.switches.frozen, act)
            }
            (Self::RequestsUnanswered, "store.answer") => {
                undoing(world, |world| &mut world.store.requests, act)
            }
            (Self::MachineBellEveryTick, "store.holds" | "store.hold") => {
                bending(world, |world| &mut world.store.holds, BTreeMap::clear, act)
            }
            (Self::BellsTwice, "store.commit") => bell_twice(world, act),
            (Self::BellsAsOne, "store.rung") => bells_as_one(world, act),
            (Self::BellsForEver, "store.not_rung") => bells_for_ever(world, act),
            (Self::LeasesKept, "store.unlease") => {
                undoing(world, |world| &mut world.store.leases, act)
            }
            (Self::CommentUnsettled | Self::CommentReposted, "store.load") => {
                rewriting(world, |run| run.posted = None, act)
            }
            _ => act(world),
        }
    }
}

/// Whether a run has recorded that it pushes a candidate which has not landed yet.
fn about_to_push(world: &World) -> bool {
    world.store.runs.values().any(|kept| {
        kept.run.candidate().is_some_and(|one| one.sent_at.is_some() && one.landed_at.is_none())
    })
}
