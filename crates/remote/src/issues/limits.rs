//! An account's limits, shared with other processes: whoever ticks by a scheduler, or runs beside
//! another one, waits for what the other was told, and `status` shows what is left.
//!
//! The note is read before each probe, and written when a limit begins, whatever met it.

use std::sync::{Arc, Mutex, PoisonError};

use afk_core::ids::At;
use afk_engine::ports::{Clock, Notes};
use async_trait::async_trait;
use jiff::SignedDuration;

use super::Issues;
use crate::http::{AnswerCounts, Heeds, Limits};

/// What is kept in the notes.
const KIND: &str = "limits";
/// How often the quota is noted at most; a limit is noted at once.
const EVERY: SignedDuration = SignedDuration::from_secs(30);

/// The note.
pub(super) struct Shared {
    /// The forge's name in the configuration.
    name: String,
    notes: Arc<dyn Notes>,
    clock: Arc<dyn Clock>,
    /// What it says, as far as this process knows, and when it was written or first read.
    known: Mutex<Option<(Limits, At)>>,
}

impl Shared {
    pub(super) fn new(name: &str, notes: Arc<dyn Notes>, clock: Arc<dyn Clock>) -> Self {
        Self { name: name.to_owned(), notes, clock, known: Mutex::default() }
    }

    fn known(&self) -> Option<(Limits, At)> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, limits: Limits, at: At) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((limits, at));
    }

    /// What it says. A note that cannot be read is none.
    async fn read(&self) -> Limits {
        let noted = self.notes.read(KIND, &self.name).await.ok().flatten();
        let noted = noted.and_then(|noted| serde_json::from_value(noted).ok());
        let noted: Limits = noted.unwrap_or_default();
        if self.known().is_none_or(|(known, _)| known != noted) {
            self.knows(noted, self.clock.now());
        }
        noted
    }

    async fn write(&self, limits: Limits) {
        let now = self.clock.now();
        self.knows(limits, now);
        let Ok(value) = serde_json::to_value(limits) else { return };
        if let Err(error) = self.notes.write(KIND, &self.name, &value, now).await {
            tracing::debug!(error = error.chain(), forge = self.name, "limits not noted");
        }
    }
}

#[async_trait]
impl Heeds for Shared {
    async fn limited(&self, limits: Limits) {
        self.write(limits).await;
    }
}

impl Issues {
    /// How the forge answered this process so far.
    pub(crate) fn answer_counts(&self) -> AnswerCounts {
        self.forge.account().answer_counts()
    }

    /// What this process or another one was told last.
    pub(crate) async fn known_limits(&self) -> Limits {
        let account = self.forge.account();
        account.was_told(self.shared.read().await);
        account.limits()
    }

    /// Notes what was told since, if it is worth it.
    pub(super) async fn share_limits(&self) {
        let (now, limits) = (self.now(), self.forge.account().limits());
        let worth = self.shared.known().is_none_or(|(noted, at)| {
            let age = now.duration_since(at);
            noted.until != limits.until || (noted != limits && (age.is_negative() || age >= EVERY))
        });
        if worth {
            // A limit that another process met meanwhile stands.
            self.shared.write(self.known_limits().await).await;
        }
    }
}
