//! `/v1/conversational`: turns of conversations that the CLI keeps itself.
//!
//! Turns of one conversation run one after the other: the admission queue has them under one key.
//! Whether a conversation exists is remembered ([`OpenedConversations`]), but the CLI has the last word: if it
//! refuses to open or to resume the conversation, the turn is tried once more the other way.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use afk_agent::agents::claude::session::{SessionUse, after_refusal};
use serde_json::json;
use uuid::Uuid;

use crate::error::ApiError;
use crate::run::{RunResources, WholeAnswer};
use crate::service::{CountedRun, Service, private_folder, text_of};
use crate::turn::command::{TurnKind, TurnSpec};
use crate::turn::transcript::Accepts;

/// How many conversations are remembered. One that is forgotten is resumed all the same.
const MOST: usize = 100_000;

/// One turn of a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) session: String,
    pub(crate) prompt: String,
    pub(crate) model: String,
}

/// Returns the CLI's session for a caller's id: a UUID stands for itself, any other text always
/// maps to the same UUID.
pub(crate) fn conversation(id: &str) -> Uuid {
    Uuid::try_parse(id).unwrap_or_else(|_| {
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("afk-conversation:{id}").as_bytes())
    })
}

/// Which conversations were opened. Each has an empty file, so that a restart knows, too.
#[derive(Debug)]
pub(crate) struct OpenedConversations {
    folder: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Each conversation's last use: its file's modification time at the start, then `clock`.
    used: HashMap<Uuid, u64>,
    clock: u64,
}

impl OpenedConversations {
    pub(crate) fn open(state: &Path) -> Self {
        let folder = state.join("conversations");
        let mut known = Known::default();
        // If the folder cannot be read, the CLI's refusals tell which conversations exist.
        let _ = private_folder(&folder);
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| Uuid::try_parse(name).ok()) else {
                continue;
            };
            let used = entry.metadata().and_then(|file| file.modified()).ok();
            let since = used.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            known.used.insert(id, since.map_or(0, |since| since.as_secs()));
        }
        known.clock = known.used.values().max().copied().unwrap_or(0);
        Self { folder, known: Mutex::new(known) }
    }

    fn is_open(&self, id: Uuid) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).used.contains_key(&id)
    }

    fn remember(&self, id: Uuid) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clock += 1;
        let clock = known.clock;
        let is_new = known.used.insert(id, clock).is_none();
        if known.used.len() > MOST {
            let oldest = known.used.iter().min_by_key(|(_, used)| **used).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                known.used.remove(&oldest);
                let _ = std::fs::remove_file(self.folder.join(oldest.to_string()));
            }
        }
        if is_new && let Err(error) = std::fs::write(self.folder.join(id.to_string()), "") {
            tracing::warn!(%error, "could not record that a conversation was opened");
        }
    }
}

impl WholeAnswer for Turn {
    async fn work(
        self,
        service: &Service,
        counted: &CountedRun,
        held: &mut RunResources,
    ) -> Result<String, ApiError> {
        let session = conversation(&self.session);
        let limit = service.settings.turn_timeout();
        let mut open = !service.opened.is_open(session);
        let mut healed = false;
        loop {
            let budget_usd = counted.small_budget_usd();
            let kind = TurnKind::Conversation { session, open, budget_usd };
            let spec = TurnSpec { model: Some(self.model.clone()), kind };
            let folder = &service.cli.scratch;
            let verdict = held
                .turn((service, counted), &spec, &self.prompt, folder, limit, Accepts::Result)
                .await?;
            service.account(counted, &verdict).await;
            if let Some(live) = held.live.take() {
                live.end().await;
            }
            match after_refusal(&verdict.outcome).map(|entry| entry == SessionUse::Open) {
                Some(other) if other != open && !healed => (open, healed) = (other, true),
                Some(_) | None => {
                    let reply = text_of(&verdict)?;
                    service.opened.remember(session);
                    let body = json!({"session_id": self.session, "reply": reply});
                    return Ok(body.to_string());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stable_text_names_one_conversation() {
        let id = "3f2c9d1e-0000-4000-8000-00000000abcd";
        assert_eq!(conversation(id).to_string(), id);
        assert_eq!(conversation("kitchen"), conversation("kitchen"));
        assert_ne!(conversation("kitchen"), conversation("Kitchen"));
        assert_ne!(conversation(""), conversation(" "));
    }

    #[test]
    fn opened_conversations_are_known_after_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let opened = OpenedConversations::open(state.path());
        let id = conversation("kitchen");
        assert!(!opened.is_open(id));
        opened.remember(id);
        assert!(opened.is_open(id));
        assert!(OpenedConversations::open(state.path()).is_open(id));
        assert!(!OpenedConversations::open(state.path()).is_open(conversation("other")));
    }
}
