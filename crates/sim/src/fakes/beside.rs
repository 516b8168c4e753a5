//! What adapters need beside the system that they talk to, for tests: notes, secrets, and a clock
//! that makes nobody wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use afk_core::ids::At;
use afk_core::secret::SecretSource;
use afk_engine::ports::{Clock, Notes, PortError, PortErrorKind, PortResult, Secrets};
use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::Value;

use super::Sim;

/// Notes in memory. Adapters that share them find each other's notes, as processes do with a store.
#[derive(Debug, Default)]
pub struct MemoryNotes(Mutex<BTreeMap<(String, String), Value>>);

#[async_trait]
impl Notes for MemoryNotes {
    async fn read(&self, kind: &str, key: &str) -> PortResult<Option<Value>> {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(notes.get(&(kind.to_owned(), key.to_owned())).cloned())
    }

    async fn write(&self, kind: &str, key: &str, value: &Value, _now: At) -> PortResult<()> {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.insert((kind.to_owned(), key.to_owned()), value.clone());
        Ok(())
    }
}

/// Secrets by the environment variable that would hold them.
#[derive(Debug, Default)]
pub struct MemorySecrets {
    held: Mutex<BTreeMap<String, String>>,
    reads: AtomicUsize,
}

impl MemorySecrets {
    /// Makes the variable hold this secret.
    pub fn set(&self, variable: &str, secret: &str) {
        let mut secrets = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.insert(variable.to_owned(), secret.to_owned());
    }

    /// Makes the variable hold nothing.
    pub fn remove(&self, variable: &str) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(variable);
    }

    /// How often any secret was read so far.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Secrets for MemorySecrets {
    async fn read(&self, source: &SecretSource) -> PortResult<SecretString> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let secrets = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match source {
            SecretSource::Env(variable) => secrets.get(variable),
            SecretSource::File(_) | SecretSource::Command(_) | SecretSource::Vault(_) => None,
        };
        let missing = || PortError::new(PortErrorKind::Auth, format!("{source} holds nothing"));
        found.map(|secret| SecretString::from(secret.clone())).ok_or_else(missing)
    }
}

/// The world's clock, moved on by whoever waits for a time, so that nobody waits.
#[derive(Clone)]
pub struct Jumping(pub Sim);

#[async_trait]
impl Clock for Jumping {
    fn now(&self) -> At {
        self.0.now()
    }

    async fn sleep_until(&self, at: At) {
        let wait = at.duration_since(self.0.now());
        if wait.is_positive() {
            self.0.advance(wait);
        }
    }
}
