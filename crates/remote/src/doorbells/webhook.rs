//! The webhook doorbells: each a signed POST.
//!
//! The signature is HMAC-SHA256 of the body in `X-Afk-Signature-256`, written as
//! `sha256=<hex>`. `X-Afk-Delivery` carries the doorbell's stable id, so that a
//! receiver can drop repeats.

use std::sync::Arc;
use std::time::Duration;

use afk_core::config::Mistake;
use afk_core::doorbell::Doorbell;
use afk_core::ids::At;
use afk_core::secret::SecretSource;
use afk_engine::ports::{Clock, Doorbells, PortError, PortErrorKind, PortResult, Secrets};
use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use super::{Named, address, missing};
use crate::http;
use crate::settings::{DoorbellTable, RemoteSettings};

/// The kind of these doorbells in the configuration.
pub const WEBHOOK: &str = "webhook";

/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a webhook posts to, and what signs it.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    url: Url,
    secret: SecretSource,
}

impl Target {
    /// Reads the table; an error lists its mistakes.
    pub(super) fn read(table: &DoorbellTable) -> Result<Self, Vec<Mistake>> {
        let url = table.url.as_deref().map(address).transpose();
        match (url, &table.secret) {
            (Ok(Some(url)), Some(secret)) => Ok(Self { url, secret: secret.clone() }),
            (url, secret) => {
                let url = match url {
                    Ok(Some(_)) => None,
                    Ok(None) => Some(missing("a webhook needs a url; add it")),
                    Err(mistake) => Some(mistake),
                };
                let secret = secret.is_none().then(|| missing("a webhook needs a secret; add it"));
                Err(url.into_iter().chain(secret).collect())
            }
        }
    }
}

/// The doorbells that are webhooks. One client serves all of them.
pub struct Webhooks {
    client: http::Client,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    named: Named<()>,
}

impl Webhooks {
    /// Without any doorbell, until [`Self::configure`]. `secrets` reads the keys of signatures.
    pub fn new(secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Self {
        Self { client: http::client(), secrets, clock, named: Named::new(WEBHOOK) }
    }

    /// Replaces the configuration.
    pub fn configure(&self, settings: Arc<RemoteSettings>) {
        self.named.configure(settings);
    }

    /// Posts `doorbell` to `url`, signed with `key`.
    async fn post(&self, url: Url, key: &SecretString, doorbell: &Doorbell) -> PortResult<()> {
        let body = serde_json::to_vec(doorbell).map_err(PortError::permanent)?;
        let signature = sign(key.expose_secret().as_bytes(), &body)?;
        let sent = self
            .client
            .get()?
            .post(url)
            .timeout(TIMEOUT)
            .header("content-type", "application/json")
            .header("x-afk-delivery", doorbell.id.to_string())
            .header("x-afk-signature-256", signature)
            .body(body)
            .send()
            .await
            .map_err(|error| PortError::transient(error.without_url()))?;
        let status = sent.status();
        if status.is_success() {
            return Ok(());
        }
        let until = http::retry_at(status, sent.headers(), self.clock.now());
        Err(refusal(status, until))
    }
}

#[async_trait]
impl Doorbells for Webhooks {
    async fn ring(&self, name: &str, doorbell: &Doorbell) -> PortResult<()> {
        let Target { url, secret } = self.named.target(name, Target::read)?;
        let key = self.secrets.read(&secret).await?;
        self.post(url, &key, doorbell).await
    }
}

/// The error of a refusal; `until` is the time until which the receiver asks us to wait.
fn refusal(status: StatusCode, until: Option<At>) -> PortError {
    match until {
        Some(until) => {
            let why = format!("the webhook answered {status}: again at {until}");
            PortError::new(PortErrorKind::RateLimited { until }, why)
        }
        None => {
            PortError::transient(format!("the webhook answered {status}: check its url and secret"))
        }
    }
}

/// The signature of `body` under `key`.
fn sign(key: &[u8], body: &[u8]) -> PortResult<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(PortError::permanent)?;
    mac.update(body);
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_receivers_compute() {
        // Test case 2 of RFC 4231.
        let signed = sign(b"Jefe", b"what do ya want for nothing?").unwrap();
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signed, expected);
    }

    #[test]
    fn a_receiver_that_asks_us_to_wait_is_waited_for() {
        let until = At::from_second(1_800_000_030).unwrap();
        let told = refusal(StatusCode::TOO_MANY_REQUESTS, Some(until));
        assert_eq!(told.kind, PortErrorKind::RateLimited { until });
        assert_eq!(refusal(StatusCode::FORBIDDEN, None).kind, PortErrorKind::Transient);
    }
}
