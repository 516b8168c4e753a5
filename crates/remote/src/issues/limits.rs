//! An account's rate limits, shared between processes by a note: a process that is started for each
//! tick, or runs beside another one, keeps to limits that the other met, and `status` shows what is
//! left.
//!
//! The note is read before each probe, and written as soon as any request meets a limit.

use std::sync::{Arc, Mutex, PoisonError};

use afk_core::ids::At;
use afk_engine::ports::{Clock, Notes};
use async_trait::async_trait;
use jiff::SignedDuration;

use super::Issues;
use crate::http::{AnswerCounts, LimitObserver, Limits};

/// The kind of the notes that hold an account's [`Limits`].
const KIND: &str = "limits";
/// The shortest time between two notes of the quota alone; a limit is noted at once.
const EVERY: SignedDuration = SignedDuration::from_secs(30);

/// The note of one account's limits.
pub(super) struct Shared {
    /// The forge's name in the configuration.
    name: String,
    notes: Arc<dyn Notes>,
    clock: Arc<dyn Clock>,
    /// The note's contents as this process last read or wrote them, and since when.
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

    /// Reads the note. One that cannot be read counts as empty.
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
impl LimitObserver for Shared {
    async fn limited(&self, limits: Limits) {
        self.write(limits).await;
    }
}

impl Issues {
    /// Counts of how the forge has answered this process so far.
    pub(crate) fn answer_counts(&self) -> AnswerCounts {
        self.forge.account().answer_counts()
    }

    /// Reads the note, takes it into the account, and returns the account's limits.
    pub(crate) async fn known_limits(&self) -> Limits {
        let account = self.forge.account();
        account.learn_limits(self.shared.read().await);
        account.limits()
    }

    /// Writes the account's limits to the note: at once if a limit began or ended, else at most
    /// once in [`EVERY`].
    pub(super) async fn share_limits(&self) {
        let (now, limits) = (self.now(), self.forge.account().limits());
        let worth = self.shared.known().is_none_or(|(noted, at)| {
            let age = now.duration_since(at);
            noted.until != limits.until || (noted != limits && (age.is_negative() || age >= EVERY))
        });
        if worth {
            // Read once more, so that a limit that another process met meanwhile stands.
            self.shared.write(self.known_limits().await).await;
        }
    }
}
