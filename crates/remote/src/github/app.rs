//! A GitHub App's tokens: the app signs a JWT with its key, and gets for it a token of its
//! installation, which lasts an hour and is replaced before it ends. Each token opens one repo,
//! with no more permissions than the loop needs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use afk_core::ids::At;
use afk_engine::ports::{Clock, PortError, PortErrorKind, PortResult, Secrets};
use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::api::App;
use crate::forges::AppLogin;
use crate::http::{Account, Method, Request, RequestFailure, Scheme, Sign, Signature};

/// How long the app's own JWT is valid; GitHub allows ten minutes.
const OWN: SignedDuration = SignedDuration::from_mins(8);
/// How far GitHub's clock may be behind ours.
const SKEW: SignedDuration = SignedDuration::from_secs(60);
/// How long before its end a token is replaced.
const EARLY: SignedDuration = SignedDuration::from_mins(5);
/// How long it is believed that the app is not installed in a repo.
const FOREIGN: SignedDuration = SignedDuration::from_mins(5);
/// How many repos' tokens are remembered: more than any installation has repos at work. Bounded
/// because issues may name any repo as a blocker's.
const MOST: usize = 16_384;
/// How long after it was made a token may still be unknown to some of GitHub's servers.
const LAG: SignedDuration = SignedDuration::from_secs(30);

/// The permissions that the loop needs on a repo. No others are asked for, whatever the app has.
const PERMISSIONS: [(&str, &str); 7] = [
    ("actions", "read"),
    ("checks", "read"),
    ("contents", "write"),
    ("issues", "write"),
    ("metadata", "read"),
    ("pull_requests", "write"),
    ("statuses", "read"),
];

/// The tokens of one app.
pub(super) struct AppTokens {
    /// The configured installation; none to use the only one.
    installation: Option<u64>,
    /// The account that signs with the app's own key.
    account: Account,
    /// The segments that the paths of REST begin with.
    rest: Vec<String>,
    clock: Arc<dyn Clock>,
    /// The newest token for each repo, by its name without the owner; under none the token for
    /// requests about no repo.
    tokens: std::sync::Mutex<Slots>,
    /// The newest token for the git of each repo, by its name without the owner.
    git: Mutex<BTreeMap<String, Minted>>,
}

/// A place for a token, locked while one is made, so that concurrent requests share it.
type Slot = Arc<Mutex<Option<Minted>>>;

/// The places of tokens, [`MOST`] at most.
#[derive(Default)]
struct Slots {
    /// Each with the number of its last use.
    all: BTreeMap<Option<String>, (u64, Slot)>,
    uses: u64,
}

impl Slots {
    /// The place of the token for a repo.
    fn of(&mut self, repo: Option<&str>, now: At) -> Slot {
        let repo = repo.map(str::to_owned);
        if self.all.len() >= MOST && !self.all.contains_key(&repo) {
            self.make_room(now);
        }
        self.uses += 1;
        let (used, slot) = self.all.entry(repo).or_default();
        *used = self.uses;
        slot.clone()
    }

    /// Drops the tokens that have ended, or else the one that was not used for longest.
    fn make_room(&mut self, now: At) {
        self.all.retain(|_, (_, slot)| {
            // One that is locked is being made.
            let kept = slot.try_lock().ok();
            kept.is_none_or(|kept| kept.as_ref().is_some_and(|minted| minted.holds(now)))
        });
        if self.all.len() < MOST {
            return;
        }
        let oldest = self.all.iter().min_by_key(|(_, (used, _))| *used);
        if let Some(oldest) = oldest.map(|(repo, _)| repo.clone()) {
            self.all.remove(&oldest);
        }
    }
}

/// A token, and when it was made and ends.
#[derive(Clone)]
struct Minted {
    token: SecretString,
    made: At,
    ends: At,
}

impl Minted {
    /// Whether it will be accepted for a while yet. After the clock was set back that is unknown,
    /// and false.
    fn holds(&self, now: At) -> bool {
        now >= self.made && self.ends.duration_since(now) > EARLY
    }
}

#[derive(Deserialize)]
struct Answered {
    token: String,
    expires_at: At,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
    account: Option<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    login: String,
}

/// Signs requests as the app itself, with a JWT of its key.
pub(super) struct OwnKey {
    pub(super) login: AppLogin,
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Sign for OwnKey {
    async fn sign(&self, _request: &Request) -> PortResult<Signature> {
        let pem = self.secrets.read(&self.login.key).await?;
        let key = rsa_key(pem.expose_secret().as_bytes()).ok_or_else(|| {
            let why = "the app's key is not an RSA key in PEM; download one on the app's page";
            PortError::new(PortErrorKind::Auth, why)
        })?;
        let now = self.clock.now().as_second();
        let claims = json!({
            "iss": self.login.id.to_string(),
            "iat": now - SKEW.as_secs(),
            "exp": now + OWN.as_secs(),
        });
        let token = jwt(&key, &claims).map_err(|why| PortError::new(PortErrorKind::Auth, why))?;
        Signature::new(Scheme::Bearer, &SecretString::from(token))
    }
}

/// Reads the key from PEM: PKCS#1, as GitHub gives it, or PKCS#8.
fn rsa_key(pem: &[u8]) -> Option<RsaKeyPair> {
    match PrivateKeyDer::from_pem_slice(pem).ok()? {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok(),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        _ => None,
    }
}

/// Makes a JWT of the claims, signed with RS256 (RFC 7515 and 7518).
fn jwt(key: &RsaKeyPair, claims: &Value) -> Result<String, &'static str> {
    let header = json!({ "alg": "RS256", "typ": "JWT" });
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| "the app's key does not sign")?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

impl AppTokens {
    /// The tokens of the app that `account` signs for.
    pub(super) fn new(
        installation: Option<u64>,
        account: Account,
        rest: Vec<String>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (tokens, git) = (std::sync::Mutex::default(), Mutex::default());
        Self { installation, account, rest, clock, tokens, git }
    }

    /// Returns a token for the git of one repo, by its name without the owner, and for nothing
    /// else.
    pub(super) async fn for_git(&self, name: &str) -> PortResult<SecretString> {
        let mut kept = self.git.lock().await;
        let now = self.clock.now();
        kept.retain(|_, minted| minted.holds(now));
        if let Some(minted) = kept.get(name) {
            return Ok(minted.token.clone());
        }
        // A push that changes workflows needs that permission, which not every app has.
        let minted = match self.mint_wide(name).await {
            Err(error) if error.kind == PortErrorKind::Permanent => {
                self.mint(&narrowed(name, &[("contents", "write")])).await?
            }
            minted => minted?,
        };
        let token = minted.token.clone();
        kept.insert(name.to_owned(), minted);
        Ok(token)
    }

    /// Whether pushes to the repo may change workflows, a permission that [`Self::for_git`] does
    /// without if the app does not have it.
    pub(super) async fn may_change_workflows(&self, name: &str) -> PortResult<bool> {
        match self.mint_wide(name).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == PortErrorKind::Permanent => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn mint_wide(&self, name: &str) -> PortResult<Minted> {
        self.mint(&narrowed(name, &[("contents", "write"), ("workflows", "write")])).await
    }

    /// Returns a token for a request about the repo of this name without its owner, or about none.
    async fn token(&self, repo: Option<&str>) -> PortResult<SecretString> {
        let slot = self.slot(repo);
        let mut kept = slot.lock().await;
        let now = self.clock.now();
        if let Some(minted) = kept.as_ref().filter(|minted| minted.holds(now)) {
            return Ok(minted.token.clone());
        }
        let minted = match repo {
            Some(repo) => self.mint_for(repo).await?,
            None => self.mint(&nothing_but_reading()).await?,
        };
        let token = minted.token.clone();
        *kept = Some(minted);
        Ok(token)
    }

    async fn mint_for(&self, repo: &str) -> PortResult<Minted> {
        match self.try_mint(&narrowed(repo, &PERMISSIONS)).await {
            // The app is not installed there, or there is no such repo: what is public can still be
            // read.
            Err(RequestFailure { status: Some(422), text, .. }) if text.contains("repository") => {
                let minted = self.mint(&nothing_but_reading()).await?;
                let soon = minted.made.checked_add(EARLY + FOREIGN).unwrap_or(minted.ends);
                Ok(Minted { ends: minted.ends.min(soon), ..minted })
            }
            minted => minted.map_err(|failure| failure.error),
        }
    }

    /// The place of the token for a repo.
    fn slot(&self, repo: Option<&str>) -> Slot {
        let now = self.clock.now();
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).of(repo, now)
    }

    async fn mint(&self, body: &Value) -> PortResult<Minted> {
        self.try_mint(body).await.map_err(|failure| failure.error)
    }

    async fn try_mint(&self, body: &Value) -> Result<Minted, RequestFailure> {
        let id = self.installation().await?.to_string();
        let path = ["app", "installations", &id, "access_tokens"].map(str::to_owned);
        let path = self.rest.iter().cloned().chain(path);
        let request = Request::new(Method::Post, path).json(body.clone());
        let made = self.clock.now();
        let Answered { token, expires_at } = self.account.try_send(&request).await?.json()?;
        Ok(Minted { token: SecretString::from(token), made, ends: expires_at })
    }

    /// Reads the app's slug; the login of its account is the slug followed by `[bot]`.
    pub(super) async fn slug(&self) -> PortResult<String> {
        let path = self.rest.iter().cloned().chain(["app".to_owned()]);
        let App { slug, .. } = self.account.json(&Request::get(path)).await?;
        slug.ok_or_else(|| PortError::transient("GitHub does not say what the app is called"))
    }

    async fn installation(&self) -> PortResult<u64> {
        if let Some(id) = self.installation {
            return Ok(id);
        }
        let path = self.rest.iter().cloned().chain(["app", "installations"].map(str::to_owned));
        let all: Vec<Installation> =
            self.account.pages(&Request::get(path).with("per_page", 100)).await?;
        match all.as_slice() {
            [one] => Ok(one.id),
            [] => Err(PortError::new(
                PortErrorKind::Auth,
                "the app is installed nowhere; install it for the repos' owner",
            )),
            many => {
                let name = |one: &Installation| {
                    let owner = one.account.as_ref().map_or("?", |owner| owner.login.as_str());
                    format!("{} ({owner})", one.id)
                };
                let names: Vec<String> = many.iter().take(20).map(name).collect();
                let names = names.join(", ");
                let why = format!("the app has several installations, {names}; set installation");
                Err(PortError::new(PortErrorKind::Auth, why))
            }
        }
    }
}

/// The body of a request for a token with `permissions` on one repo.
fn narrowed(repo: &str, permissions: &[(&str, &str)]) -> Value {
    let permissions: Value = permissions.iter().copied().collect();
    json!({ "repositories": [repo], "permissions": permissions })
}

/// The body of a request for a token that may read what is public.
fn nothing_but_reading() -> Value {
    json!({ "permissions": { "metadata": "read" } })
}

#[async_trait]
impl Sign for Arc<AppTokens> {
    async fn sign(&self, request: &Request) -> PortResult<Signature> {
        Signature::new(Scheme::Bearer, &self.token(request.repo()).await?)
    }

    async fn refused(&self, request: &Request, refused: &Signature) -> bool {
        let slot = self.slot(request.repo());
        let mut kept = slot.lock().await;
        let Some(minted) = &*kept else { return true };
        let is_this = Signature::new(Scheme::Bearer, &minted.token)
            .is_ok_and(|signature| signature.is_same_as(refused));
        if !is_this {
            // Another request has replaced it meanwhile.
            return true;
        }
        if self.clock.now().duration_since(minted.made).abs() < LAG {
            // It is new, and may not be known to all of GitHub's servers yet.
            return true;
        }
        *kept = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_are_too_many_tokens_one_makes_room_and_not_all() {
        let now = At::from_second(1_800_000_000).unwrap();
        let mut slots = Slots::default();
        let put = |slots: &mut Slots, repo: &str, minutes: i64| {
            let ends = now + SignedDuration::from_mins(minutes);
            let minted = Minted { token: "a token".into(), made: now, ends };
            *slots.of(Some(repo), now).try_lock().unwrap() = Some(minted);
        };
        let has = |slots: &Slots, repo: &str| slots.all.contains_key(&Some(repo.to_owned()));
        for n in 0..MOST {
            put(&mut slots, &n.to_string(), if n == 7 { 1 } else { 60 });
        }
        assert!(slots.of(Some("0"), now).try_lock().unwrap().is_some());
        put(&mut slots, "first", 60);
        assert_eq!(slots.all.len(), MOST);
        assert!(!has(&slots, "7"), "its token has ended");
        put(&mut slots, "second", 60);
        assert_eq!(slots.all.len(), MOST);
        assert!(has(&slots, "0") && !has(&slots, "1"), "the least recently used one");
        // What is being made is kept.
        let making = slots.of(Some("third"), now);
        let making = making.try_lock().unwrap();
        put(&mut slots, "fourth", 60);
        assert!(making.is_none() && has(&slots, "third") && !has(&slots, "3"));
    }
}
