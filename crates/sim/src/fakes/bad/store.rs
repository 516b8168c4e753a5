//! What the known-bad loops see and do of the store.

use super::Bad;
use super::bends::{
    bell_first, bell_twice, clock_from_dispatch, hiding, long_ago, recording, rewriting,
    uncorrected, unsent, without_costs,
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
            (Self::PushForgotten, "store.load") => rewriting(world, unsent, act),
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
                | Self::CommentReposted
                | Self::PushForgotten,
                "store.commit",
            ) => recording(world, act),
            (Self::DoorbellBeforeCommit, "store.commit") => bell_first(world, act),
            (Self::FreezeNotKept, "store.commit") => {
                let frozen = world.store.switches.frozen.clone();
                let answer = act(world);
                world.store.switches.frozen = frozen;
                answer
            }
            (Self::RequestsUnanswered, "store.answer") => {
                let requests = world.store.requests.clone();
                let answer = act(world);
                world.store.requests = requests;
                answer
            }
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
}
