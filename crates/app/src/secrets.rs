//! Every source of secrets as one: those of this machine, and those in Vault.
//!
//! Whatever is read is known from then on, and masked.

use std::sync::Arc;

use afk_core::secret::SecretSource;
use afk_engine::ports::{Clock, PortResult, Secrets};
use afk_local::{KnownSecrets, LocalSecrets, SystemClock};
use afk_remote::VaultSecrets;
use async_trait::async_trait;
use secrecy::SecretString;

use crate::config::Config;

/// The secrets of a configuration.
pub(crate) struct AllSecrets {
    near: Arc<LocalSecrets>,
    vault: VaultSecrets,
    known: KnownSecrets,
}

impl AllSecrets {
    /// Secrets that `known` remembers when they are read; none is in Vault yet.
    pub(crate) fn new(known: KnownSecrets, clock: Arc<dyn Clock>) -> Self {
        let near = Arc::new(LocalSecrets::new(known.clone()));
        let vault = VaultSecrets::new(near.clone(), clock);
        Self { near, vault, known }
    }

    /// Puts `config` in the place of what there is.
    pub(crate) fn configure(&self, config: &Config) {
        self.vault.configure(&config.remote);
    }

    /// Keeps alive what reads from Vault.
    pub(crate) async fn tend(&self) {
        self.vault.tend().await;
    }
}

/// A secret of `config`, for one who asks once.
pub(crate) async fn read_secret(
    config: &Config,
    source: &SecretSource,
) -> PortResult<SecretString> {
    once(config).read(source).await
}

/// Whether Vault lets in whom `config` names; none if it names no Vault.
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
