//! What known-bad loops see of the tracker, and do to it.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::issue::{IssueChange, IssueEvent, Permission, same_label};
use afk_core::plan::End;
use afk_core::run::Run;
use jiff::SignedDuration;

use super::Bad;
use super::bends::{bending, ready_left_on};
use crate::world::{HookSays, IssueRecord, World, own, person};

/// For how long after a webhook a repo is still read.
const OF_LATE: SignedDuration = SignedDuration::from_secs(16);

impl Bad {
    pub(super) fn around_tracker<T>(
        self,
        world: &mut World,
        name: &str,
        act: impl FnOnce(&mut World) -> T,
    ) -> T {
        match (self, name) {
            (Self::CommentReposted, "tracker.comments") => {
                bent(world, |one| one.comments.clear(), act)
            }
            (Self::TrustsAnyone, "tracker.permission") => trusting(world, &["bob", "mallory"], act),
            (Self::BlockersIgnored, "tracker.blocker") => {
                bent(world, |one| one.issue.open = false, act)
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
                trusting(world, &["mallory"], act)
            }
            (Self::ForeignLockIgnored, "tracker.labelled")
            | (Self::DispatchesNothing, "tracker.ready") => {
                bending(world, |world| &mut world.tracker.issues, BTreeMap::clear, act)
            }
            (Self::WebhookBelieved, "tracker.ready" | "tracker.issue") => as_told(world, act),
            (Self::PollsNoMore, "tracker.ready") if is_quiet(world) => {
                bending(world, |world| &mut world.tracker.issues, BTreeMap::clear, act)
            }
            (Self::LimitIgnored, _) => bending(
                world,
                |world| &mut world.tracker.limits.unread,
                |unread| *unread = true,
                act,
            ),
            (Self::LimitIsAbsence, "tracker.issue") if is_limited(world) => {
                world.unlimited(|world| bent(world, closed, act))
            }
            (Self::LimitIsAbsence, _) => world.unlimited(act),
            (Self::ReleasesForEver, "tracker.issue")
                if world.store.requests.iter().any(|(_, one)| one.answered.is_none()) =>
            {
                bent(world, |one| one.events.retain(|event| event.actor != Some(own())), act)
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
                world.tracker.issues.values_mut().for_each(|one| self.comments(one, false));
                answer
            }
            (Self::CommentUnmarked | Self::BoxesLeftOpen, "tracker.comments") => {
                bent(world, |one| self.comments(one, true), act)
            }
            _ => act(world),
        }
    }

    /// Makes the call `act` on a world whose issues show already what the end of their runs is to
    /// show.
    fn shown_already<T>(self, world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
        let human = world.config.human_label.clone();
        let ready = world.config.ready_label.clone();
        let runs = world.store.all();
        bent(
            world,
            |record| {
                let ours = |run: &&Run| run.settled_at.is_none() && run.issue == record.issue.issue;
                let end = runs.iter().find(ours).and_then(|run| run.conclusion.as_ref());
                match end.map(|conclusion| conclusion.end) {
                    Some(End::Done) if self == Self::LeftOpen => record.issue.open = false,
                    Some(End::NeedsHuman | End::Frozen) if self == Self::HumanLabelLeftOff => {
                        record.issue.labels.push(human.clone());
                    }
                    Some(End::Withdrawn) if self == Self::StoppedStaysReady => {
                        record.issue.labels.retain(|label| !same_label(label, &ready));
                    }
                    _ => {}
                }
            },
            act,
        )
    }

    /// Turns our comments into what this loop writes, or, if `believed`, into what it believes to
    /// have written.
    fn comments(self, record: &mut IssueRecord, believed: bool) {
        let (good, bad) = match self {
            Self::CommentUnmarked => ("<!-- afk-run:", "<!-- a-run:"),
            _ => ("- [x] ", "- [ ] "),
        };
        let (from, to) = if believed { (bad, good) } else { (good, bad) };
        let ours = record
            .comments
            .iter_mut()
            .filter(|one| one.author.as_ref().is_some_and(|by| *by == own()));
        let ended = |body: &str| self == Self::CommentUnmarked || body.contains("**Landed.**");
        for comment in ours.filter(|comment| ended(&comment.body)) {
            comment.body = comment.body.replace(from, to);
        }
    }
}

/// Makes the call `act` on a world whose issues are all changed by `bend`.
fn bent<T>(
    world: &mut World,
    mut bend: impl FnMut(&mut IssueRecord),
    act: impl FnOnce(&mut World) -> T,
) -> T {
    let all = |issues: &mut BTreeMap<_, _>| issues.values_mut().for_each(&mut bend);
    bending(world, |world| &mut world.tracker.issues, all, act)
}

/// Makes the call `act` on a world in which ann released every issue that a webhook says was
/// released.
fn as_told<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    let told = world.hooks.received.iter().filter_map(|received| match &received.hook.says {
        HookSays::Released(issue) => Some(issue.clone()),
        HookSays::Something | HookSays::Pull { .. } | HookSays::Stage { .. } => None,
    });
    let told: BTreeSet<_> = told.collect();
    let ready = world.config.ready_label.clone();
    let bend = |record: &mut IssueRecord| {
        if told.contains(&record.issue.issue) && !record.has(&ready) {
            record.issue.labels.push(ready.clone());
            let what = IssueChange::Labeled { label: ready.clone() };
            record.events.push(IssueEvent { at: record.updated, actor: Some(person("ann")), what });
        }
    };
    bent(world, bend, act)
}

/// Makes the issue look as if somebody had closed it.
fn closed(record: &mut IssueRecord) {
    record.issue.open = false;
    let (at, what) = (record.updated, IssueChange::Closed);
    record.events.push(IssueEvent { at, actor: None, what });
}

/// Whether the account of the repo that is being read is limited.
fn is_limited(world: &World) -> bool {
    let about = world.tracker.limits.about.as_ref();
    about.is_some_and(|repo| world.limited_until(repo).is_some())
}

/// Whether the repo that is being read has sent webhooks, but none of late.
fn is_quiet(world: &World) -> bool {
    let about = world.tracker.limits.about.as_ref();
    let mut of_repo =
        world.hooks.received.iter().filter(|received| Some(&received.hook.repo) == about);
    of_repo.next_back().is_some_and(|received| world.now.duration_since(received.at) > OF_LATE)
}

/// Makes the call `act` on a world in which these accounts may do everything.
fn trusting<T>(world: &mut World, who: &[&str], act: impl FnOnce(&mut World) -> T) -> T {
    let all = who.iter().map(|one| ((*one).to_owned(), Permission::Admin));
    let bend = |permissions: &mut BTreeMap<_, _>| permissions.extend(all);
    bending(world, |world| &mut world.tracker.permissions, bend, act)
}
