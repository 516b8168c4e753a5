//! Judges how long an issue waits that nothing keeps from being dispatched, where daemons look by
//! themselves: not at all after a webhook, and no longer than the poll without one.
//!
//! Whatever disturbs them, a call that fails or another tracker that is mute, may take its time to
//! be got over. That a tracker's account is limited excuses only its own repos.

use std::collections::BTreeMap;

use afk_core::ids::{At, IssueRef};
use jiff::SignedDuration;

use super::super::truth::all_open;
use super::Judge;
use crate::world::{IssueRecord, World};

/// How long a disturbance lasts: a repo that failed is skipped for five minutes at most.
const DISTURBED: SignedDuration = SignedDuration::from_secs(400);
/// How long an issue may wait after a webhook.
const HEARD: SignedDuration = SignedDuration::from_secs(2);
/// How many polls it may wait without one: those of a repo that sends webhooks are fewer.
const POLLS: i32 = 8;

/// What was seen of issues that could be dispatched.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Until when they are disturbed.
    until: Option<At>,
    /// Since when each issue could be dispatched.
    since: BTreeMap<IssueRef, At>,
}

impl Judge {
    /// What must happen within a time may take longer after `at`.
    pub(in super::super) fn disturbed(&mut self, at: At) {
        let until = at.checked_add(DISTURBED).unwrap_or(At::MAX);
        self.waits.until = self.waits.until.max(Some(until));
    }

    /// Judges what waits now, when no control plane has anything left to do before time passes.
    pub(in super::super) fn overdue(&mut self, world: &World) {
        let mut known = std::mem::take(&mut self.waits.since);
        let mut still = BTreeMap::new();
        for (issue, record) in &world.tracker.issues {
            if !self.could_begin(world, issue, record) {
                continue;
            }
            let since = known.remove(issue).unwrap_or(world.now);
            still.insert(issue.clone(), since);
            let from = self.waits.until.map_or(since, |until| since.max(until));
            let waited = world.now.duration_since(from);
            let poll = SignedDuration::from_secs(world.config.poll_seconds.cast_signed());
            if waited > poll * POLLS {
                self.wrong.push(format!("{issue} waits for {waited} and no poll finds it"));
            }
            let news = world.hooks.heard.iter().rev().find(|heard| {
                heard.hook.repo == issue.repo
                    && heard.at >= from
                    && world.now.duration_since(heard.at) > HEARD
            });
            if let Some(heard) = news {
                let at = heard.at;
                self.wrong.push(format!("{issue} waits although a webhook came at {at}"));
            }
        }
        self.waits.since = still;
    }

    /// Whether nothing keeps `issue` from being dispatched now.
    fn could_begin(&self, world: &World, issue: &IssueRef, record: &IssueRecord) -> bool {
        let config = &world.config;
        let Some(repo) = config.repos.get(&issue.repo) else { return false };
        let free = self.live().count() < config.max_concurrent_runs as usize
            && !self.live().any(|run| run.issue.repo == issue.repo);
        free && !world.tracker.mute.contains(&issue.repo)
            && world.limited_until(&issue.repo).is_none()
            && all_open(world, issue, record)
            && self.fits(world, config.budget(repo))
    }
}
