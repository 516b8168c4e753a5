//! What the known-bad loops see and do of the tracker.

use afk_core::issue::Permission;
use afk_core::plan::End;

use super::Bad;
use super::bends::ready_left_on;
use crate::world::{World, own};

impl Bad {
    pub(super) fn around_tracker<T>(
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
            (Self::StrangersUnfreeze, "tracker.permission")
                if !world.store.switches.frozen.is_empty() =>
            {
                let permissions = world.tracker.permissions.clone();
                world.tracker.permissions.insert("mallory".to_owned(), Permission::Admin);
                let answer = act(world);
                world.tracker.permissions = permissions;
                answer
            }
            (Self::ForeignLockIgnored, "tracker.labelled")
            | (Self::DispatchesNothing, "tracker.ready") => {
                let issues = std::mem::take(&mut world.tracker.issues);
                let answer = act(world);
                world.tracker.issues = issues;
                answer
            }
            (Self::ReleasesForEver, "tracker.issue")
                if world.store.requests.iter().any(|(_, one)| one.answered.is_none()) =>
            {
                let issues = world.tracker.issues.clone();
                let all = world.tracker.issues.values_mut();
                all.for_each(|one| one.events.retain(|event| event.actor != Some(own())));
                let answer = act(world);
                world.tracker.issues = issues;
                answer
            }
            (
                Self::HumanLabelLeftOff | Self::LeftOpen | Self::StoppedStaysReady,
                "tracker.issue",
            ) => self.shown_already(world, act),
            (
                Self::CommentUnmarked | Self::BoxesLeftOpen,
                "tracker.comment" | "tracker.edit_comment",
            ) => {
                let answer = act(world);
                self.comments(world, false);
                answer
            }
            (Self::CommentUnmarked | Self::BoxesLeftOpen, "tracker.comments") => {
                let issues = world.tracker.issues.clone();
                self.comments(world, true);
                let answer = act(world);
                world.tracker.issues = issues;
                answer
            }
            _ => act(world),
        }
    }

    /// `act` on a world whose issues show what they should at the end of their runs.
    fn shown_already<T>(self, world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
        let issues = world.tracker.issues.clone();
        let human = world.config.human_label.clone();
        let ready = world.config.ready_label.clone();
        for run in world.store.all().iter().filter(|run| run.settled_at.is_none()) {
            let end = run.conclusion.as_ref().map(|conclusion| conclusion.end);
            let Some(record) = world.tracker.issues.get_mut(&run.issue) else { continue };
            match end {
                Some(End::Done) if self == Self::LeftOpen => record.issue.open = false,
                Some(End::NeedsHuman | End::Frozen) if self == Self::HumanLabelLeftOff => {
                    record.issue.labels.push(human.clone());
                }
                Some(End::Released) if self == Self::StoppedStaysReady => {
                    record.issue.labels.retain(|label| *label != ready);
                }
                _ => {}
            }
        }
        let answer = act(world);
        world.tracker.issues = issues;
        answer
    }

    /// Our comments as this loop believes that they are, or as it writes them.
    fn comments(self, world: &mut World, believed: bool) {
        let (good, bad) = match self {
            Self::CommentUnmarked => ("<!-- afk-run:", "<!-- a-run:"),
            _ => ("- [x] ", "- [ ] "),
        };
        let (from, to) = if believed { (bad, good) } else { (good, bad) };
        let comments = world.tracker.issues.values_mut().flat_map(|one| &mut one.comments);
        let ours = comments.filter(|one| one.author.as_ref().is_some_and(|by| *by == own()));
        let ended = |body: &str| self == Self::CommentUnmarked || body.contains("**Landed.**");
        for comment in ours.filter(|comment| ended(&comment.body)) {
            comment.body = comment.body.replace(from, to);
        }
    }
}
