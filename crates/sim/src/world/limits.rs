//! What trackers allow an account to ask, and what they were asked.
//!
//! A spent quota names the time at which it is full again. A secondary limit names none: it ends
//! when nobody has asked for a minute, which is what adapters say of it.

use std::collections::BTreeMap;

use afk_core::ids::{At, RepoName};
use afk_engine::ports::{PortError, PortErrorKind, PortResult};
use jiff::SignedDuration;

use super::World;

/// How long nobody may ask before a secondary limit ends.
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A call about a repo that reached its tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerCall {
    /// The control plane that made it.
    pub plane: usize,
    /// The repo.
    pub repo: RepoName,
    /// The call's name.
    pub call: &'static str,
    /// When it was answered.
    pub at: At,
    /// Until when the caller was told to wait.
    pub told: Option<At>,
}

/// The limits that a test sets beside [`super::TrackerWorld::limited`].
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// By account: how many more calls are answered, and how long the rest are refused after that.
    pub quotas: BTreeMap<String, (u64, SignedDuration)>,
    /// By account: until when nobody may ask, because too much was asked in too short a time.
    pub secondary: BTreeMap<String, At>,
    /// Whether refusals come without their time, as to a known-bad loop that ignores it.
    pub(crate) unread: bool,
    /// Until when the newest refusal holds, if [`Limits::unread`] kept that from the loop.
    refused: Option<At>,
    /// The repo that the current call is about.
    pub(crate) about: Option<RepoName>,
}

impl World {
    /// Until when the account of `repo` is limited, if it is now.
    pub fn limited_until(&self, repo: &RepoName) -> Option<At> {
        let home = self.tracker.home(repo);
        let of_home = self.tracker.limited.iter().filter(|(one, _)| self.tracker.home(one) == home);
        let times = of_home.map(|(_, until)| until).chain(self.tracker.limits.secondary.get(&home));
        times.filter(|until| self.now < **until).max().copied()
    }

    /// Runs `act` without limits, as a person whose account has none.
    pub fn unlimited<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let limits = std::mem::take(&mut self.tracker.limits);
        let limited = std::mem::take(&mut self.tracker.limited);
        let answer = act(self);
        (self.tracker.limits, self.tracker.limited) = (limits, limited);
        answer
    }

    /// Counts one call by the account of `repo`; an error if the account is limited, or is from
    /// this call on.
    pub(super) fn within_limits(&mut self, repo: &RepoName) -> PortResult<()> {
        let home = self.tracker.home(repo);
        if let Some((left, window)) = self.tracker.limits.quotas.get_mut(&home) {
            if *left == 0 {
                let until = self.now.checked_add(*window).unwrap_or(At::MAX);
                self.tracker.limits.quotas.remove(&home);
                self.tracker.limited.insert(repo.clone(), until);
            } else {
                *left -= 1;
            }
        }
        let limits = &mut self.tracker.limits;
        if let Some(until) = limits.secondary.get_mut(&home).filter(|until| self.now < **until) {
            // Whoever goes on asking is kept out for longer.
            *until = (*until).max(self.now.checked_add(MINUTE).unwrap_or(At::MAX));
        }
        let Some(until) = self.limited_until(repo) else { return Ok(()) };
        if self.tracker.limits.unread {
            self.tracker.limits.refused = Some(until);
            return Err(PortError::transient("403"));
        }
        Err(PortError::new(PortErrorKind::RateLimited { until }, "too many requests"))
    }

    /// Limits the account of `repo` because it asked too much in too short a time.
    pub fn limit_for_a_minute(&mut self, repo: &RepoName) {
        let until = self.now.checked_add(MINUTE).unwrap_or(At::MAX);
        self.tracker.limits.secondary.insert(self.tracker.home(repo), until);
    }

    /// Notes that a call about `repo` reaches its tracker.
    pub(crate) fn asks(&mut self, repo: &RepoName) {
        self.tracker.limits.about = Some(repo.clone());
        self.tracker.limits.refused = None;
    }

    /// Records the call as answered; `reset` is until when it was refused, if a limit refused it.
    pub(crate) fn asked(&mut self, plane: usize, call: &'static str, reset: Option<At>) {
        let told = self.tracker.limits.refused.take().or(reset);
        let at = self.now;
        if let Some(repo) = self.tracker.limits.about.take() {
            self.tracker.asked.push(TrackerCall { plane, repo, call, at, told });
        }
    }
}
