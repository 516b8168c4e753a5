//! The webhook doorbell: a signed POST.
//!
//! The signature is HMAC-SHA256 of the body in `X-Afk-Signature-256`, written as
//! `sha256=<hex>`. `X-Afk-Delivery` carries the doorbell's stable id, so that a
//! receiver can drop repeats.

use std::time::Duration;

use afk_core::doorbell::Doorbell;
use afk_engine::ports::{PortError, PortResult};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Posts doorbells. One client serves every webhook.
#[derive(Debug, Clone)]
pub struct Webhook {
    client: reqwest::Client,
}

impl Webhook {
    /// A client that follows no redirect: the body is only for the configured receiver.
    pub fn new() -> PortResult<Self> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("afk/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(PortError::permanent)?;
        Ok(Self { client })
    }

    /// Posts `doorbell` to `url`, signed with `key`.
    pub async fn post(&self, url: &str, key: &SecretString, doorbell: &Doorbell) -> PortResult<()> {
        let body = serde_json::to_vec(doorbell).map_err(PortError::permanent)?;
        let signature = sign(key.expose_secret().as_bytes(), &body)?;
        let sent = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("x-afk-delivery", doorbell.id.to_string())
            .header("x-afk-signature-256", signature)
            .body(body)
            .send()
            .await
            .map_err(|error| PortError::transient(error.without_url()))?;
        if sent.status().is_success() {
            return Ok(());
        }
        let status = sent.status();
        Err(PortError::transient(format!(
            "the webhook answered {status}: check its url and secret"
        )))
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
        // The example of RFC 4231, case 2.
        let signed = sign(b"Jefe", b"what do ya want for nothing?").unwrap();
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signed, expected);
    }
}
