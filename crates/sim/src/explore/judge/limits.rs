//! Judges tracker calls: no account that was told to wait is used before the time that it was told,
//! no repo is read without end, and no run ends because of a limit.

use std::collections::{BTreeMap, VecDeque};

use afk_core::ids::{At, RepoName, RunId};
use afk_core::trouble;
use jiff::SignedDuration;

use super::{By, Judge};
use crate::world::World;

/// The time in which listings of a repo are counted.
const WHILE: SignedDuration = SignedDuration::from_secs(20);
/// The most listings of a repo in that time: whatever wakes a control plane in it, even if each
/// wake-up lists the repo three times, makes fewer.
const LISTINGS: usize = 200;

/// What was seen of tracker calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// How many calls were judged.
    judged: usize,
    /// Until when each account was told to wait, and at which step, by control plane and account.
    told: BTreeMap<(usize, String), (At, u64)>,
    /// When each repo was listed lately, by control plane and repo.
    listed: BTreeMap<(usize, RepoName), VecDeque<At>>,
}

impl Calls {
    /// Forgets what a control plane was told, because it died.
    pub(super) fn died(&mut self, plane: usize) {
        self.told.retain(|(of, _), _| *of != plane);
    }

    /// Forgets what every control plane was told, because the clock was set back.
    pub(super) fn went_back(&mut self) {
        self.told.clear();
    }
}

impl Judge {
    pub(super) fn calls(&mut self, world: &World, step: u64, by: Option<By>) {
        self.calls.told.retain(|_, (until, _)| world.now < *until);
        for asked in world.tracker.asked.iter().skip(self.calls.judged) {
            let account = (asked.plane, world.tracker.home(&asked.repo));
            let told = self.calls.told.get(&account);
            // Calls that were under way when it was told cannot be taken back.
            if told.is_some_and(|(_, since)| by.is_some_and(|by| by.made > *since)) {
                let (call, repo) = (asked.call, &asked.repo);
                self.wrong.push(format!("{call} of {repo} was called before the time it was told"));
            }
            if let Some(reset) = asked.told {
                let until = trouble::retry_at(1, Some(reset), asked.at);
                self.calls.told.insert(account, (until, step));
            }
            if asked.call == "tracker.ready" {
                let of = (asked.plane, asked.repo.clone());
                let listed = self.calls.listed.entry(of).or_default();
                listed.push_back(asked.at);
                listed.retain(|at| asked.at.duration_since(*at) < WHILE);
                if listed.len() > LISTINGS {
                    self.wrong.push(format!("{} is read without end", asked.repo));
                }
            }
        }
        self.calls.judged = world.tracker.asked.len();
    }

    /// No run ends because of a limit of its tracker: limits are waited out.
    pub(super) fn not_limited(&mut self, run: RunId, why: &str) {
        if why.contains("too many requests") || why.contains("limits how often it is called") {
            self.wrong.push(format!("{run} ends because its tracker is limited: {why}"));
        }
    }
}
