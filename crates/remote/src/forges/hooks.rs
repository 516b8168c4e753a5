//! Webhooks: whether the forge sent one, and which repo it is about.
//!
//! Nothing else is taken from a webhook: it wakes the loop, which then reads from the forge.

use std::collections::{HashSet, VecDeque};

use afk_core::ids::{At, RepoName};
use afk_core::secret::SecretSource;
use afk_engine::ports::{Clock, Secrets};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::Sha256;

/// The largest webhook that is read, in bytes. Forges send up to 25 MB, but only a name is needed.
pub const LARGEST_HOOK: usize = 8 << 20;
/// How long the secret of webhooks is kept after it was read.
const KEPT: SignedDuration = SignedDuration::from_secs(5);
/// How many deliveries are remembered, to recognise repeats.
const REMEMBERED: usize = 4096;
/// The longest id of a delivery that is remembered.
const LONGEST_ID: usize = 128;

/// Headers that carry the signature of the body, HMAC-SHA256 in hex.
const SIGNATURES: [&str; 3] = ["x-hub-signature-256", "x-forgejo-signature", "x-gitea-signature"];
/// Headers that carry the delivery's id.
const DELIVERIES: [&str; 3] = ["x-github-delivery", "x-forgejo-delivery", "x-gitea-delivery"];

/// What a webhook with a valid signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookOutcome {
    /// Something happened in this repo.
    Woke(RepoName),
    /// It is about no repo, like the one with which a forge tries the address.
    NoRepo,
    /// A delivery of the same id came before.
    Repeated,
}

/// Why a webhook is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HookRefusal {
    /// No forge of that name takes webhooks.
    #[error("no forge of that name takes webhooks: set its webhook_secret")]
    Unknown,
    /// The forge's `webhook_secret` cannot be read.
    #[error("the webhook's secret cannot be read")]
    NoSecret,
    /// It carries no signature, or the forge's `webhook_secret` is empty.
    #[error("it carries no signature: set the webhook's secret on the forge")]
    Unsigned,
    /// The signature is malformed, or not made with the forge's `webhook_secret`.
    #[error("its signature is wrong: the forge signs with a different secret")]
    WrongSignature,
    /// The body is not JSON.
    #[error("it is not JSON: set the webhook's content type to application/json")]
    NotJson,
}

/// The headers of a webhook, by their names in lower case.
pub(crate) type Header<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the signature of a webhook: 32 bytes.
pub(crate) fn signature(header: Header<'_>) -> Result<Vec<u8>, HookRefusal> {
    let given = SIGNATURES.iter().find_map(|name| header(name)).unwrap_or_default();
    let given = given.trim();
    let given = given.strip_prefix("sha256=").unwrap_or(given);
    // A forge without a secret sends an empty signature.
    if given.is_empty() {
        return Err(HookRefusal::Unsigned);
    }
    bytes(given).ok_or(HookRefusal::WrongSignature)
}

/// Checks that a webhook carries something in the form of a signature: without, its body need not
/// be read. `header` returns a header's value by its lower-case name.
pub fn may_be_signed(header: &dyn Fn(&str) -> Option<String>) -> Result<(), HookRefusal> {
    signature(header).map(drop)
}

/// Checks that `given` is the signature of the raw body.
pub(crate) fn verify(given: &[u8], body: &[u8], secret: &SecretString) -> Result<(), HookRefusal> {
    let secret = secret.expose_secret();
    // Anybody can sign with an empty secret.
    if secret.is_empty() {
        return Err(HookRefusal::Unsigned);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|_| HookRefusal::WrongSignature)?;
    mac.update(body);
    // Compares in constant time.
    mac.verify_slice(given).map_err(|_| HookRefusal::WrongSignature)
}

/// Reads the name, on its forge, of the repo that a webhook is about.
pub(crate) fn place(body: &[u8]) -> Result<Option<RepoName>, HookRefusal> {
    #[derive(Deserialize)]
    struct Hook {
        repository: Option<Repository>,
    }
    #[derive(Deserialize)]
    struct Repository {
        full_name: Option<String>,
    }
    let hook: Hook = serde_json::from_slice(body).map_err(|_| HookRefusal::NotJson)?;
    let name = hook.repository.and_then(|repository| repository.full_name);
    Ok(name.and_then(|name| name.parse().ok()))
}

/// Reads the id of the delivery, which is the same when the forge sends it again.
pub(crate) fn delivery(header: Header<'_>) -> Option<String> {
    let id = DELIVERIES.iter().find_map(|name| header(name))?;
    (!id.is_empty() && id.len() <= LONGEST_ID).then_some(id)
}

/// The secret of one forge's webhooks, kept for a moment: to read it may start a command or ask
/// another server, and anybody can send what looks like a signed webhook.
#[derive(Debug, Default)]
pub(crate) struct HookSecret(tokio::sync::Mutex<Option<(At, Option<SecretString>)>>);

impl HookSecret {
    /// Reads the secret from `source`, unless that was done less than [`KEPT`] ago. Whoever comes
    /// while it is read waits for the same answer. That it could not be read is kept, too.
    pub(crate) async fn read(
        &self,
        secrets: &dyn Secrets,
        clock: &dyn Clock,
        source: &SecretSource,
    ) -> Result<SecretString, HookRefusal> {
        let mut kept = self.0.lock().await;
        let is_fresh = |at: At| clock.now().duration_since(at).abs() < KEPT;
        if !kept.as_ref().is_some_and(|(at, _)| is_fresh(*at)) {
            let secret = secrets.read(source).await.ok();
            *kept = Some((clock.now(), secret));
        }
        let secret = kept.as_ref().and_then(|(_, secret)| secret.clone());
        secret.ok_or(HookRefusal::NoSecret)
    }
}

/// The ids of the newest deliveries.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Deliveries {
    /// Remembers a delivery; false if it was known.
    pub(crate) fn is_new(&mut self, id: String) -> bool {
        if !self.known.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// The 32 bytes of a hexadecimal text of 64 digits.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    Some(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use afk_engine::ports::{PortError, PortResult};
    use async_trait::async_trait;

    use super::*;
    use crate::stand_in::StillClock;

    /// A secret that takes a while to be read; each reading gives another one, after a first that
    /// fails.
    #[derive(Default)]
    struct Slow(AtomicUsize);

    #[async_trait]
    impl Secrets for Slow {
        async fn read(&self, _: &SecretSource) -> PortResult<SecretString> {
            let before = self.0.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            match before {
                0 => Err(PortError::transient("not yet")),
                n => Ok(SecretString::from(n.to_string())),
            }
        }
    }

    #[tokio::test]
    async fn whoever_comes_at_once_or_within_a_moment_shares_one_reading() {
        let (secrets, clock, kept) = (Slow::default(), StillClock::new(), HookSecret::default());
        let source = SecretSource::Env("HOOK".to_owned());
        let read = async || {
            let secret = kept.read(&secrets, &*clock, &source).await;
            secret.map(|secret| secret.expose_secret().to_owned())
        };
        let none = || Err(HookRefusal::NoSecret);
        assert_eq!(tokio::join!(read(), read(), read()), (none(), none(), none()));
        clock.pass(4);
        assert_eq!(read().await, none());
        clock.pass(1);
        assert_eq!(tokio::join!(read(), read()), (Ok("1".to_owned()), Ok("1".to_owned())));
        clock.pass(5);
        assert_eq!(read().await, Ok("2".to_owned()));
    }

    /// The example in GitHub's documentation.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNATURE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(name: &str, value: &str, secret: &str, expected: Result<(), HookRefusal>) {
        let header = |asked: &str| (asked == name).then(|| value.to_owned());
        let secret = SecretString::from(secret.to_owned());
        let found = signature(&header).and_then(|given| verify(&given, BODY, &secret));
        assert_eq!(found, expected, "{name}: {value}");
    }

    #[test]
    fn only_a_signature_of_the_raw_body_is_believed() {
        let (github, forgejo) = ("x-hub-signature-256", "x-forgejo-signature");
        check(github, &format!("sha256={SIGNATURE}"), SECRET, Ok(()));
        check(forgejo, SIGNATURE, SECRET, Ok(()));
        check("x-gitea-signature", SIGNATURE, SECRET, Ok(()));
        check(github, &format!("sha256={}", SIGNATURE.to_uppercase()), SECRET, Ok(()));
        let wrong = Err(HookRefusal::WrongSignature);
        check(github, &format!("sha256={SIGNATURE}"), "another", wrong);
        check(github, &format!("sha256={}", &SIGNATURE[2..]), SECRET, wrong);
        check(github, &format!("sha1={}", &SIGNATURE[..40]), SECRET, wrong);
        check(github, &format!("sha256={}é", &SIGNATURE[1..]), SECRET, wrong);
        check(forgejo, "", SECRET, Err(HookRefusal::Unsigned));
        check("x-other", SIGNATURE, SECRET, Err(HookRefusal::Unsigned));
        check(github, &format!("sha256={SIGNATURE}"), "", Err(HookRefusal::Unsigned));
    }

    #[test]
    fn only_the_repos_name_is_taken() {
        let told = |body: &str| place(body.as_bytes());
        let repo = |name: &str| Ok(Some(name.parse().unwrap()));
        assert_eq!(told(r#"{"repository":{"full_name":"o/r"},"action":7}"#), repo("o/r"));
        assert_eq!(told(r#"{"zen":"Keep it logically awesome."}"#), Ok(None));
        assert_eq!(told(r#"{"repository":null}"#), Ok(None));
        assert_eq!(told(r#"{"repository":{"full_name":"../../etc"}}"#), Ok(None));
        assert_eq!(told("payload=%7B%7D"), Err(HookRefusal::NotJson));
    }

    #[test]
    fn a_repetition_is_known_as_long_as_it_is_remembered() {
        let mut known = Deliveries::default();
        assert!(known.is_new("a".into()));
        assert!(!known.is_new("a".into()));
        for n in 0..REMEMBERED {
            assert!(known.is_new(n.to_string()));
        }
        assert!(known.is_new("a".into()), "forgotten by now");
        assert_eq!(known.known.len(), REMEMBERED);
    }
}
