//! Doorbells: a line on the terminal, and a signed POST.
//!
//! The signature is HMAC-SHA256 of the body in `X-Afk-Signature-256`, written as
//! `sha256=<hex>`. `X-Afk-Delivery` carries the doorbell's stable id, so that a
//! receiver can drop repeats.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use afk_core::config::Notify;
use afk_core::doorbell::{Doorbell, DoorbellKind};
use afk_engine::ports::{Notifier, PortError, PortResult, Settings};
use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret as _;
use sha2::Sha256;
use uuid::Uuid;

use super::invocations::secret;

/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Doorbells that are remembered as shown on the terminal.
const SHOWN: usize = 256;

/// How this process shows a doorbell to whoever sits at its terminal.
type Show = Box<dyn Fn(&Doorbell) + Send + Sync>;

static TERMINAL: OnceLock<Show> = OnceLock::new();

/// Says once how doorbells are shown: what owns the terminal knows what moves on it, and
/// whether anybody reads words there. Until then they are lines on standard error.
pub(crate) fn shown_by(show: impl Fn(&Doorbell) + Send + Sync + 'static) {
    // A second one in one process is refused, which only tests could try.
    let _ = TERMINAL.set(Box::new(show));
}

/// All doorbells that are configured.
pub struct Bells {
    settings: Arc<dyn Settings>,
    client: reqwest::Client,
    /// The newest doorbells that were shown: where a webhook beside the terminal fails, all
    /// is rung again, and nobody wants to be shown the same each time.
    shown: Mutex<VecDeque<Uuid>>,
}

impl Bells {
    /// The doorbells of `settings`.
    pub fn new(settings: Arc<dyn Settings>) -> Result<Self, PortError> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("afk/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(PortError::permanent)?;
        Ok(Self { settings, client, shown: Mutex::default() })
    }

    /// Whether the doorbell was not shown yet; from now on it was.
    fn is_first(&self, id: Uuid) -> bool {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.contains(&id) {
            return false;
        }
        shown.push_back(id);
        if shown.len() > SHOWN {
            shown.pop_front();
        }
        true
    }

    async fn post(&self, url: &str, key: &[u8], doorbell: &Doorbell) -> PortResult<()> {
        let body = serde_json::to_vec(doorbell).map_err(PortError::permanent)?;
        let signature = sign(key, &body)?;
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

#[async_trait]
impl Notifier for Bells {
    async fn ring(&self, doorbell: &Doorbell) -> PortResult<()> {
        let (config, _) = self.settings.current();
        let mut failed = None;
        for bell in &config.notify {
            let rung = match bell {
                Notify::Terminal => {
                    if self.is_first(doorbell.id) {
                        show(doorbell);
                    }
                    Ok(())
                }
                Notify::Webhook { done: false, .. } if doorbell.kind == DoorbellKind::Done => {
                    Ok(())
                }
                Notify::Webhook { url, secret: source, .. } => match secret(source).read().await {
                    Ok(key) => self.post(url, key.expose_secret().as_bytes(), doorbell).await,
                    Err(error) => Err(PortError::transient(error)),
                },
            };
            if let Err(error) = rung {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Nobody may be reading: that is no failure of the doorbell.
fn show(doorbell: &Doorbell) {
    if let Some(show) = TERMINAL.get() {
        show(doorbell);
    } else {
        let _ = writeln!(std::io::stderr(), "{}", doorbell.title);
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
    use afk_core::config::Config;
    use afk_core::doorbell::Ring;
    use afk_core::ids::IssueRef;

    use super::*;

    #[test]
    fn the_signature_is_the_one_that_receivers_compute() {
        // The example of RFC 4231, case 2.
        let signed = sign(b"Jefe", b"what do ya want for nothing?").unwrap();
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signed, expected);
    }

    struct Fixed(Arc<Config>);

    impl Settings for Fixed {
        fn current(&self) -> (Arc<Config>, Option<String>) {
            (self.0.clone(), None)
        }
    }

    #[tokio::test]
    async fn the_terminal_shows_a_doorbell_once_however_often_it_is_rung() {
        // A webhook beside it that fails each time: nobody listens there.
        let config = "notify = [{ kind = \"terminal\" }, { kind = \"webhook\", \
                      url = \"http://127.0.0.1:1/\", secret = { env = \"PATH\" } }]";
        let bells = Bells::new(Arc::new(Fixed(Arc::new(toml::from_str(config).unwrap())))).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shown = seen.clone();
        shown_by(move |doorbell| shown.lock().unwrap().push(doorbell.title.clone()));
        let issue: IssueRef = "o/web#7".parse().unwrap();
        let run = "0198c0de-0000-7000-8000-0000000000aa".parse().unwrap();
        for nth in [0, 0, 1, 0, 1] {
            let (kind, detail) = (DoorbellKind::NeedsHuman, "why");
            let ring = Ring { run, issue: &issue, kind, reason: None, detail, link: None, nth };
            bells.ring(&Doorbell::new(&ring)).await.unwrap_err();
        }
        assert_eq!(seen.lock().unwrap().len(), 2);
    }
}
