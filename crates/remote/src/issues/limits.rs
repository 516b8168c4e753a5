//! An account's limits, shared with other processes: whoever ticks by a scheduler waits for what an
//! earlier tick was told, and `status` shows what is left.

use std::sync::{Mutex, PoisonError};

use afk_core::ids::At;
use jiff::SignedDuration;

use super::Issues;
use crate::http::{AnswerCounts, Limits};

/// What is kept in the notes.
const KIND: &str = "limits";
/// How often the quota is noted at most; a limit is noted at once.
const EVERY: SignedDuration = SignedDuration::from_secs(30);

/// What was noted last.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Option<(Limits, At)>>);

impl Shared {
    fn get(&self) -> Option<(Limits, At)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, limits: Limits, at: At) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((limits, at));
    }
}

impl Issues {
    /// How the forge answered this process so far.
    pub(crate) fn answer_counts(&self) -> AnswerCounts {
        self.forge.account().answer_counts()
    }

    /// What this process or another one was told last. A note that cannot be read is none.
    pub(crate) async fn known_limits(&self) -> Limits {
        let (now, account) = (self.now(), self.forge.account());
        if self.shared.get().is_none() {
            let noted = self.notes.read(KIND, &self.name).await.ok().flatten();
            let noted = noted.and_then(|noted| serde_json::from_value(noted).ok());
            let noted: Limits = noted.unwrap_or_default();
            account.was_told(noted);
            self.shared.set(noted, now);
        }
        account.limits()
    }

    /// Notes what was told since, if it is worth it.
    pub(super) async fn share_limits(&self) {
        let (now, limits) = (self.now(), self.forge.account().limits());
        let worth = self.shared.get().is_none_or(|(noted, at)| {
            let age = now.duration_since(at);
            noted.until != limits.until || (noted != limits && (age.is_negative() || age >= EVERY))
        });
        if !worth {
            return;
        }
        self.shared.set(limits, now);
        let Ok(value) = serde_json::to_value(limits) else { return };
        if let Err(error) = self.notes.write(KIND, &self.name, &value, now).await {
            tracing::debug!(error = error.chain(), forge = self.name, "limits not noted");
        }
    }
}
