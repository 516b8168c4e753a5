//! The state of one repo, and when it is probed again.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use afk_core::ids::{At, RepoName};
use afk_engine::ports::{PortError, PortResult};
use jiff::SignedDuration;
use tokio::sync::{Mutex, MutexGuard};

use super::{IssueCache, Issues};

/// How old the probe may be for a pass over a run: the next poll brings a newer one.
pub(super) const FOR_A_PASS: SignedDuration = SignedDuration::from_secs(60);
/// How old the probe may be for a poll: the several calls of one poll share a probe.
pub(super) const FOR_A_POLL: SignedDuration = SignedDuration::from_secs(5);
/// How long after a webhook the forge's answers may still be old: reads probe again meanwhile.
const AFTER_A_WAKE: SignedDuration = SignedDuration::from_secs(20);
/// How old the probe may be meanwhile, unless another webhook comes.
const WOKEN: SignedDuration = SignedDuration::from_secs(2);
/// The shortest time between two probes because of webhooks, so that a flood of them costs no more.
const APART: SignedDuration = SignedDuration::from_millis(500);

/// The kind of the notes that hold a repo's [`IssueCache`].
const KIND: &str = "issues";

/// The state of one repo.
#[derive(Default)]
pub(super) struct RepoState {
    seen: Mutex<CachedRepo>,
    /// What the newest webhook means for reads.
    news: std::sync::Mutex<News>,
    /// Issues whose details must be read live.
    stale: std::sync::Mutex<BTreeSet<u64>>,
}

/// The newest webhook, which says no more than that something happened.
#[derive(Default)]
struct News {
    /// Until when what happened may not be visible yet.
    until: Option<At>,
    /// Whether no probe has begun since it came.
    unread: bool,
}

/// What was seen, and when.
#[derive(Default)]
pub(super) struct CachedRepo {
    pub(super) seen: IssueCache,
    /// When the last probe that was answered began.
    probed: Option<At>,
    /// Whether the notes were read.
    recalled: bool,
}

impl RepoState {
    /// Notes that a webhook came at `now`.
    pub(super) fn wake(&self, now: At) {
        *self.news() = News { until: now.checked_add(AFTER_A_WAKE).ok(), unread: true };
    }

    fn news(&self) -> std::sync::MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next read of this issue's details a live one.
    pub(super) fn forget(&self, number: u64) {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
    }

    /// Whether a webhook came so recently that answers may still be old.
    pub(super) fn is_woken(&self, now: At) -> bool {
        self.news().until.is_some_and(|until| now < until)
    }

    /// What was last seen, however old.
    pub(super) async fn kept(&self) -> MutexGuard<'_, CachedRepo> {
        self.seen.lock().await
    }
}

impl Issues {
    /// Returns the repo as it was seen no longer ago than `at_most`, after a probe if necessary.
    /// Calls during a probe wait for it.
    pub(super) async fn seen<'a>(
        &self,
        repo: &RepoName,
        state: &'a RepoState,
        at_most: SignedDuration,
    ) -> PortResult<MutexGuard<'a, CachedRepo>> {
        let mut kept = state.seen.lock().await;
        let forgotten =
            std::mem::take(&mut *state.stale.lock().unwrap_or_else(PoisonError::into_inner));
        for number in forgotten {
            kept.seen.forget(number);
        }
        let now = self.now();
        let at_most = if state.is_woken(now) { WOKEN } else { at_most };
        // After the clock was set back, the age is unknown, and the repo is probed.
        let age = kept.probed.map(|probed| now.duration_since(probed));
        let age = age.filter(|age| !age.is_negative());
        // A probe from before the webhook does not show what happened, however recent it is.
        let unread = std::mem::take(&mut state.news().unread);
        if unread && age.is_some_and(|age| age < APART) {
            let next = kept.probed.and_then(|probed| probed.checked_add(APART).ok());
            self.clock.sleep_until(next.unwrap_or(now)).await;
        } else if !unread && age.is_some_and(|age| age <= at_most) {
            return Ok(kept);
        }
        if !kept.recalled {
            let noted = self.notes.read(KIND, &self.note_key(repo)).await?;
            kept.seen =
                noted.and_then(|noted| serde_json::from_value(noted).ok()).unwrap_or_default();
            kept.recalled = true;
        }
        self.known_limits().await;
        let begun = self.now();
        let changed = self.forge.changes(repo, &mut kept.seen).await;
        self.share_limits().await;
        // A failed probe leaves the webhook unread.
        state.news().unread |= unread && changed.is_err();
        if changed? {
            kept.seen.trim();
            self.note(repo, &kept).await?;
        }
        kept.probed = Some(begun);
        Ok(kept)
    }

    /// Writes what was seen to the notes, for the next process.
    pub(super) async fn note(&self, repo: &RepoName, kept: &CachedRepo) -> PortResult<()> {
        let value = serde_json::to_value(&kept.seen).map_err(PortError::permanent)?;
        self.notes.write(KIND, &self.note_key(repo), &value, self.now()).await
    }

    fn note_key(&self, repo: &RepoName) -> String {
        format!("{}/{}", self.name, self.places.of(repo))
    }
}
