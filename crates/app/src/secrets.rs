//! One [`Secrets`] port over all sources: those of this machine, and Vault.
//!
//! A secret that was read is remembered, so that it can be masked in whatever is kept or shown.

use std::sync::Arc;

use afk_core::secret::SecretSource;
use afk_engine::ports::{Clock, PortResult, Secrets};
use afk_local::{KnownSecrets, LocalSecrets, SystemClock};
use afk_remote::VaultSecrets;
use async_trait::async_trait;
use secrecy::SecretString;

use crate::config::Config;

/// Reads the secrets that a configuration names.
pub(crate) struct AllSecrets {
    near: Arc<LocalSecrets>,
    vault: VaultSecrets,
    known: KnownSecrets,
}

impl AllSecrets {
    /// Creates the port: `known` remembers what is read. Vault needs [`Self::configure`] first.
    pub(crate) fn new(known: KnownSecrets, clock: Arc<dyn Clock>) -> Self {
        let near = Arc::new(LocalSecrets::new(known.clone()));
        let vault = VaultSecrets::new(near.clone(), clock);
        Self { near, vault, known }
    }

    /// Replaces the settings of Vault by those of `config`.
    pub(crate) fn configure(&self, config: &Config) {
        self.vault.configure(&config.remote);
    }

    /// Renews the token for Vault if it is time.
    pub(crate) async fn renew_if_due(&self) {
        self.vault.renew_if_due().await;
    }
}

/// Reads one secret of `config`, for callers without an [`App`](crate::App).
pub(crate) async fn read_secret(
    config: &Config,
    source: &SecretSource,
) -> PortResult<SecretString> {
    once(config).read(source).await
}

/// Logs in to the Vault of `config` as a trial; none if no Vault is configured.
pub(crate) async fn try_vault(config: &Config) -> Option<PortResult<()>> {
    config.remote.vault.as_ref()?;
    Some(once(config).vault.enter().await)
}

fn once(config: &Config) -> AllSecrets {
    let all = AllSecrets::new(KnownSecrets::default(), Arc::new(SystemClock));
    all.configure(config);
    all
}

#[async_trait]
impl Secrets for AllSecrets {
    async fn read(&self, source: &SecretSource) -> PortResult<SecretString> {
        match source {
            SecretSource::Env(_) | SecretSource::File(_) | SecretSource::Command(_) => {
                self.near.read(source).await
            }
            SecretSource::Vault(place) => {
                let value = self.vault.read(place).await?;
                self.known.learn(&value);
                Ok(value)
            }
        }
    }
}
