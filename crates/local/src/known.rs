//! The secrets that this process knows, which are masked in what agents and jobs write.
//!
//! A secret that was read is remembered for as long as the process lives, so that after a rotation
//! the old value stays masked where it was written. Credentials that an earlier process may have
//! given to an agent are read before the first mask is made ([`Local::mask`]).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use afk_core::secret::SecretSource;
use afk_core::text::Mask;
use secrecy::{ExposeSecret, SecretString};

use super::settings::{Acp, Agent, Command};
use super::sign_in;
use super::world::Local;

/// How long to wait before a source that could not be read is tried again.
const AGAIN: Duration = Duration::from_mins(1);

/// Secrets, and the mask made from them. Cheap to clone; clones share their contents.
#[derive(Clone, Debug, Default)]
pub struct KnownSecrets(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    values: Vec<SecretString>,
    mask: Arc<Mask>,
    sources: HashMap<Origin, ReadAttempt>,
}

/// Where an agent's credential comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Origin {
    Source(SecretSource),
    SignIn(PathBuf),
}

#[derive(Debug, Clone, Copy)]
enum ReadAttempt {
    Read,
    Failed(Instant),
}

impl KnownSecrets {
    /// Remembers a secret.
    pub fn learn(&self, value: &SecretString) {
        let mut state = self.state();
        if state.values.iter().all(|known| known.expose_secret() != value.expose_secret()) {
            state.values.push(value.clone());
            state.mask = Arc::new(Mask::new(state.values.iter().map(ExposeSecret::expose_secret)));
        }
    }

    /// Remembers what was read from `source`.
    pub(super) fn learn_from(&self, source: &SecretSource, value: &SecretString) {
        self.learn(value);
        self.state().sources.insert(Origin::Source(source.clone()), ReadAttempt::Read);
    }

    /// Returns the mask for what is known now.
    pub fn mask(&self) -> Arc<Mask> {
        self.state().mask.clone()
    }

    /// Whether `origin` should be read now. If so, it counts as failed until it was read.
    fn is_due(&self, origin: &Origin) -> bool {
        let mut state = self.state();
        let due = match state.sources.get(origin) {
            None => true,
            Some(ReadAttempt::Read) => false,
            Some(ReadAttempt::Failed(at)) => at.elapsed() >= AGAIN,
        };
        if due {
            state.sources.insert(origin.clone(), ReadAttempt::Failed(Instant::now()));
        }
        due
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent whenever the lock is released, so a thread that panicked has
        // broken nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Local {
    /// Returns the mask for what agents and jobs write, after learning the credentials of all
    /// agents.
    pub(super) async fn mask(&self) -> Arc<Mask> {
        for agent in self.own().all_agents() {
            self.learn_of(&agent).await;
        }
        self.known.mask()
    }

    /// Learns the credentials that an agent may have been given.
    async fn learn_of(&self, agent: &Agent) {
        match agent {
            Agent::Claude(claude) => match &claude.api_key {
                Some(source) => self.learn_source(source).await,
                None => self.learn_sign_in(sign_in::home(claude), sign_in::values).await,
            },
            Agent::Codex(codex) => {
                let home = sign_in::codex_home(codex.home.as_deref());
                match &codex.api_key {
                    Some(source) => self.learn_source(source).await,
                    None => self.learn_sign_in(home, sign_in::codex_values).await,
                }
            }
            Agent::Acp(Acp { process, .. }) | Agent::Command(Command { process, .. }) => {
                let key = process.api.as_ref().map(|api| &api.key);
                for source in process.secret_env.values().chain(key) {
                    self.learn_source(source).await;
                }
            }
            Agent::Scripted(_) => {}
        }
    }

    async fn learn_source(&self, source: &SecretSource) {
        if self.known.is_due(&Origin::Source(source.clone())) {
            match self.secrets.read(source).await {
                Ok(value) => self.known.learn_from(source, &value),
                // No agent starts without the secret; a running one may have got it before.
                Err(error) => tracing::debug!(%error, "a secret cannot be masked by its value"),
            }
        }
    }

    async fn learn_sign_in(&self, home: PathBuf, read: fn(&Path) -> Vec<SecretString>) {
        let origin = Origin::SignIn(home.clone());
        if self.known.is_due(&origin) {
            let values = tokio::task::spawn_blocking(move || read(&home)).await;
            for value in values.unwrap_or_default() {
                self.known.learn(&value);
            }
            self.known.state().sources.insert(origin, ReadAttempt::Read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_once_stays_masked() {
        let known = KnownSecrets::default();
        let shared = known.clone();
        for value in ["first-value", "second-value", "first-value"] {
            shared.learn(&SecretString::from(value));
        }
        let masked = known.mask().text("first-value and second-value").into_owned();
        assert_eq!(masked, "*********** and ************");
        assert_eq!(known.state().values.len(), 2);
        assert!(!format!("{known:?}").contains("value-"), "{known:?}");
    }

    #[test]
    fn a_source_is_read_once_and_a_failed_one_not_at_once_again() {
        let known = KnownSecrets::default();
        let source = SecretSource::Env("AFK_KEY".to_owned());
        let origin = Origin::Source(source.clone());
        assert!(known.is_due(&origin));
        assert!(!known.is_due(&origin), "it failed a moment ago");
        known.learn_from(&source, &SecretString::from("some-value"));
        assert!(!known.is_due(&origin));
        assert!(known.is_due(&Origin::SignIn(PathBuf::from("/home/ada"))));
    }
}
