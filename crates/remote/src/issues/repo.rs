//! One repo as it was seen, and when it is looked at again.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use afk_core::ids::{At, RepoName};
use afk_engine::ports::{PortError, PortResult};
use jiff::SignedDuration;
use tokio::sync::{Mutex, MutexGuard};

use super::{Issues, Seen};

/// How old the probe may be for a pass over a run: the next poll brings a newer one.
pub(super) const FOR_A_PASS: SignedDuration = SignedDuration::from_secs(60);
/// How old it may be for whoever polls: several calls of one poll share one.
pub(super) const FOR_A_POLL: SignedDuration = SignedDuration::from_secs(5);
/// After a webhook the first answers may still be old ones: for so long, each read probes again.
const AFTER_A_WAKE: SignedDuration = SignedDuration::from_secs(20);
/// The shortest time between two probes then.
const WOKEN: SignedDuration = SignedDuration::from_secs(2);

/// What is kept in the notes.
const KIND: &str = "issues";

/// One repo.
#[derive(Default)]
pub(super) struct RepoState {
    seen: Mutex<Kept>,
    /// Until when a webhook's news may not be visible yet.
    woken: std::sync::Mutex<Option<At>>,
    /// Issues of which nothing that was read counts any more.
    stale: std::sync::Mutex<BTreeSet<u64>>,
}

/// What was seen, and when.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) seen: Seen,
    /// When the probe last answered.
    probed: Option<At>,
    /// Whether the notes were read.
    recalled: bool,
}

impl RepoState {
    /// Something happened there.
    pub(super) fn wake(&self, now: At) {
        let until = now.checked_add(AFTER_A_WAKE).ok();
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// The next read of this issue is live.
    pub(super) fn forget(&self, number: u64) {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
    }

    /// Whether a webhook came a moment ago.
    pub(super) fn is_woken(&self, now: At) -> bool {
        let until = *self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| now < until)
    }

    /// What was last seen, however old.
    pub(super) async fn kept(&self) -> MutexGuard<'_, Kept> {
        self.seen.lock().await
    }
}

impl Issues {
    /// The repo as it was seen no longer ago than `at_most`. Whoever comes while it is probed
    /// waits for that probe.
    pub(super) async fn seen<'a>(
        &self,
        repo: &RepoName,
        state: &'a RepoState,
        at_most: SignedDuration,
    ) -> PortResult<MutexGuard<'a, Kept>> {
        let mut kept = state.seen.lock().await;
        let forgotten =
            std::mem::take(&mut *state.stale.lock().unwrap_or_else(PoisonError::into_inner));
        for number in forgotten {
            kept.seen.forget(number);
        }
        let now = self.now();
        let at_most = if state.is_woken(now) { WOKEN } else { at_most };
        let age = kept.probed.map(|probed| now.duration_since(probed));
        // A clock that was set back makes nothing newer.
        if age.is_some_and(|age| !age.is_negative() && age <= at_most) {
            return Ok(kept);
        }
        if !kept.recalled {
            let noted = self.notes.read(KIND, &self.note_key(repo)).await?;
            kept.seen =
                noted.and_then(|noted| serde_json::from_value(noted).ok()).unwrap_or_default();
            kept.recalled = true;
        }
        self.known_limits().await;
        let changed = self.forge.changes(repo, &mut kept.seen).await;
        self.share_limits().await;
        if changed? {
            kept.seen.trim();
            self.note(repo, &kept).await?;
        }
        kept.probed = Some(now);
        Ok(kept)
    }

    /// Notes what is kept, for the next process.
    pub(super) async fn note(&self, repo: &RepoName, kept: &Kept) -> PortResult<()> {
        let value = serde_json::to_value(&kept.seen).map_err(PortError::permanent)?;
        self.notes.write(KIND, &self.note_key(repo), &value, self.now()).await
    }

    fn note_key(&self, repo: &RepoName) -> String {
        format!("{}/{}", self.name, self.places.of(repo))
    }
}
