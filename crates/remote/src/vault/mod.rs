//! Secrets in `HashiCorp` Vault or `OpenBao`, from KV engines of version 2.
//!
//! A secret is read at each use and kept nowhere, so that a rotated one takes effect at once. Only
//! Vault's token is kept, in memory: one that is configured, or one that a login gave. It is
//! renewed after two thirds of its time; near its maximum, and where renewal is refused, a login
//! follows, for which the service account's file is read again.
//!
//! Answers are read as JSON values and never into types, because the errors of types would quote
//! them.

mod lease;
mod session;
mod settings;

use std::sync::{Arc, PoisonError, RwLock};

use afk_core::secret::VaultPlace;
use afk_engine::ports::{Clock, PortError, PortErrorKind, PortResult, Secrets};
use secrecy::SecretString;
use serde_json::Value;

use crate::http;
use crate::settings::RemoteSettings;
use session::Session;

pub use settings::{KubernetesLogin, VaultSettings};

/// Maximum length of a secret, in bytes; the same as for secrets on this machine.
const LONGEST: usize = 64 * 1024;

/// The secrets in Vault.
pub struct VaultSecrets {
    client: http::Client,
    clock: Arc<dyn Clock>,
    /// Reads the configured token, or the token of the pod's service account.
    near: Arc<dyn Secrets>,
    session: RwLock<Option<Arc<Session>>>,
}

impl VaultSecrets {
    /// Without any Vault, until [`Self::configure`]. `near` reads the secrets that open it.
    pub fn new(near: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Self {
        Self { client: http::client(), clock, near, session: RwLock::default() }
    }

    /// Replaces the configuration. The token in use is kept if Vault's table has not changed.
    pub fn configure(&self, settings: &RemoteSettings) {
        let mut session = self.session.write().unwrap_or_else(PoisonError::into_inner);
        let known = session.as_ref().map(|session| session.settings());
        if known != settings.vault.as_ref() {
            let made = settings.vault.as_ref().and_then(|vault| {
                Session::new(&self.client, self.clock.clone(), self.near.clone(), vault)
            });
            *session = made.map(Arc::new);
        }
    }

    /// Reads the secret at `place`, without trailing white space.
    pub async fn read(&self, place: &VaultPlace) -> PortResult<SecretString> {
        let Some(session) = self.session() else {
            return Err(PortError::new(PortErrorKind::NotFound, told(place, NOT_CONFIGURED)));
        };
        let whole = session.secret(place).await?;
        field(&whole, place)
    }

    /// Ensures that there is a valid token, by a login if necessary, to find out whether that
    /// works.
    pub async fn enter(&self) -> PortResult<()> {
        match self.session() {
            Some(session) => session.enter().await,
            None => Err(PortError::new(PortErrorKind::NotFound, "no Vault is configured")),
        }
    }

    /// Renews the token in use, if it is time. To be called regularly: a secret that is read once a
    /// day would not keep the token alive.
    pub async fn renew_if_due(&self) {
        if let Some(session) = self.session()
            && let Err(error) = session.renew_if_due().await
        {
            tracing::warn!(error = error.chain(), "token of Vault not renewed, will try again");
        }
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The error's text where no Vault is configured.
const NOT_CONFIGURED: &str = "cannot be read: the configuration has no table `vault`; add one with \
    its url, and a token or kubernetes";

/// The text of an error about `place`.
fn told(place: &VaultPlace, why: &str) -> String {
    format!("the secret from Vault {place} {why}")
}

/// Takes the field that `place` names from the answer to a read.
fn field(whole: &Value, place: &VaultPlace) -> PortResult<SecretString> {
    let failed = |kind, why: &str| Err(PortError::new(kind, told(place, why)));
    let Some(fields) = whole["data"]["data"].as_object() else {
        let why = "is not there: is its mount a KV engine of version 2?";
        return failed(PortErrorKind::NotFound, why);
    };
    match fields.get(place.field()) {
        None => failed(PortErrorKind::NotFound, "is not there: the secret has other fields"),
        Some(Value::String(text)) if text.trim_end().is_empty() => {
            failed(PortErrorKind::Permanent, "is empty")
        }
        Some(Value::String(text)) if text.len() > LONGEST => {
            failed(PortErrorKind::Permanent, &format!("is longer than {LONGEST} bytes"))
        }
        Some(Value::String(text)) => Ok(SecretString::from(text.trim_end())),
        Some(_) => failed(PortErrorKind::Permanent, "is not text"),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_text_and_no_error_shows_it() {
        let place: VaultPlace = "secret/afk#token".parse().unwrap();
        let of = |fields: Value| field(&json!({ "data": { "data": fields } }), &place);
        assert_eq!(of(json!({ "token": "x \n" })).unwrap().expose_secret(), "x");
        for (fields, says) in [
            (json!({ "hunter2": "hunter2" }), "has other fields"),
            (json!({ "token": 735_560_812 }), "is not text"),
            (json!({ "token": ["hunter2"] }), "is not text"),
            (json!({ "token": " \n" }), "is empty"),
            (json!({ "token": "hunter2".repeat(10_000) }), "is longer than 65536 bytes"),
            (json!("hunter2"), "version 2?"),
            (Value::Null, "version 2?"),
        ] {
            let error = of(fields).unwrap_err();
            let told = format!("{} {error:?}", error.chain());
            assert!(told.starts_with("the secret from Vault secret/afk#token is "), "{told}");
            assert!(told.contains(says) && !told.contains("hunter2"), "{told}");
            assert!(!told.contains("735560812"), "{told}");
        }
    }
}
