//! A session with one Vault: a token that is kept alive, and reads with it.
//!
//! Only the module above calls it: to read a secret, to check that Vault lets us in, and to renew the
//! token while nothing is read. It makes a new session when the settings change.
//!
//! - The token is replaced only under the lock of `lease`, so that of many readers at most one logs
//!   in. When to renew and when to log in is decided by [`Lease::step`].
//! - Vault refuses a revoked token in the same way as a place that the policy denies. After a
//!   refusal there is therefore one login, but not if the token is fresh, and not again soon for a
//!   place that was denied to a new token: each login costs Vault a lease.
//! - Secrets are returned and never kept, and no error quotes an answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use afk_core::ids::At;
use afk_core::secret::{SecretSource, VaultPlace};
use afk_engine::ports::{Clock, PortError, PortErrorKind, PortResult, Secrets};
use async_trait::async_trait;
use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::lease::{Lease, Step};
use super::settings::{KubernetesLogin, VaultSettings};
use super::told;
use crate::http::{Account, Client, Method, Request, Scheme, Sign, Signature, Spec};

/// The header of a token.
const HEADER: &str = "x-vault-token";
/// A header of every request: Vault's own proxy can be set to refuse requests without it.
const HEADERS: &[(&str, &str)] = &[("x-vault-request", "true")];
/// The age from which on a refusal may mean that the token was revoked.
const FRESH: SignedDuration = SignedDuration::from_secs(10);
/// How long no login follows a refusal of a place that a new token was refused, too: a login costs
/// Vault a lease, and the policy denies the place to every token.
const DENIED: SignedDuration = SignedDuration::from_mins(5);
/// The longest lease that is believed, in seconds: a hundred years.
const LONGEST: i64 = 100 * 366 * 86_400;

/// A session with Vault.
pub(super) struct Session {
    settings: VaultSettings,
    clock: Arc<dyn Clock>,
    near: Arc<dyn Secrets>,
    /// Sends without a token: logins.
    door: Account,
    /// Sends with the token in use.
    inside: Account,
    token: Arc<HeldToken>,
    /// What is known of the token in use. The token is only changed under this lock.
    lease: tokio::sync::Mutex<Option<Lease>>,
    /// The places that were denied to a new token, and when.
    denied: Mutex<HashMap<VaultPlace, At>>,
}

/// The token in use.
#[derive(Default)]
struct HeldToken(Mutex<Option<SecretString>>);

impl HeldToken {
    fn set(&self, token: SecretString) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }

    fn get(&self) -> Option<SecretString> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is(&self, token: &SecretString) -> bool {
        self.get().is_some_and(|held| held.expose_secret() == token.expose_secret())
    }
}

#[async_trait]
impl Sign for Arc<HeldToken> {
    async fn sign(&self, _request: &Request) -> PortResult<Signature> {
        let token = self.get();
        let token =
            token.ok_or_else(|| PortError::new(PortErrorKind::Auth, "not logged in to Vault"))?;
        Signature::new(Scheme::Header(HEADER), &token)
    }
}

impl Session {
    /// A session that is not logged in yet; none if the address is not valid.
    pub(super) fn new(
        client: &Client,
        clock: Arc<dyn Clock>,
        near: Arc<dyn Secrets>,
        settings: &VaultSettings,
    ) -> Option<Self> {
        let base = settings.address()?;
        let token = Arc::<HeldToken>::default();
        let account = |sign| {
            let spec = Spec {
                home: format!("Vault at {}", base.host_str().unwrap_or_default()),
                base: base.clone(),
                sign,
                headers: HEADERS,
                between_writes: SignedDuration::ZERO,
            };
            Account::new(client.clone(), clock.clone(), spec)
        };
        let (door, inside) = (account(None), account(Some(Box::new(token.clone()) as Box<_>)));
        let settings = settings.clone();
        let (lease, denied) = (tokio::sync::Mutex::default(), Mutex::default());
        Some(Self { settings, clock, near, door, inside, token, lease, denied })
    }

    /// The settings that it was made from.
    pub(super) const fn settings(&self) -> &VaultSettings {
        &self.settings
    }

    /// Renews or replaces the token, if there is one and it is time.
    pub(super) async fn renew_if_due(&self) -> PortResult<()> {
        let lease = *self.lease.lock().await;
        match lease.map(|lease| self.step(&lease)) {
            None | Some(Step::Use) => Ok(()),
            Some(Step::Renew | Step::Obtain) => self.enter().await,
        }
    }

    /// Reads `place`, and returns Vault's answer.
    pub(super) async fn secret(&self, place: &VaultPlace) -> PortResult<Value> {
        self.enter().await?;
        let data = [place.mount(), "data"].into_iter().chain(place.path());
        let request = self.request(Method::Get, data);
        let mut answer = self.inside.json(&request).await;
        // Vault answers the same to a revoked token and to one that lacks the permission.
        if is_denied(&answer) && !self.lacks_permission(place) {
            if self.enter_again().await? {
                answer = self.inside.json(&request).await;
            }
            // The token is new by now, or no other can be had.
            if is_denied(&answer) {
                self.denied().insert(place.clone(), self.clock.now());
            }
        }
        if answer.is_ok() {
            self.denied().remove(place);
        }
        answer.map_err(|error| self.unread(place, &error))
    }

    /// Whether a new token was refused `place` a short time ago.
    fn lacks_permission(&self, place: &VaultPlace) -> bool {
        let now = self.clock.now();
        let denied = self.denied().get(place).copied();
        denied.is_some_and(|at| now.duration_since(at).abs() < DENIED)
    }

    fn denied(&self) -> MutexGuard<'_, HashMap<VaultPlace, At>> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request below `v1` and the namespace.
    fn request<'a>(&'a self, method: Method, path: impl IntoIterator<Item = &'a str>) -> Request {
        let namespace = self.settings.namespace.as_deref().unwrap_or_default();
        Request::new(method, ["v1"].into_iter().chain(parts(namespace)).chain(path))
    }

    /// Ensures that there is a token that lasts.
    pub(super) async fn enter(&self) -> PortResult<()> {
        let mut lease = self.lease.lock().await;
        if let Some(source) = &self.settings.token
            && self.take(source).await?
        {
            *lease = None;
        }
        let known = *lease;
        let step = known.map_or(Step::Obtain, |known| self.step(&known));
        *lease = Some(match (step, known) {
            (Step::Use, Some(known)) => known,
            (Step::Renew, Some(known)) => self.renewed(known).await?,
            (Step::Use | Step::Renew | Step::Obtain, _) => self.obtained().await?,
        });
        Ok(())
    }

    /// What to do about the token now.
    fn step(&self, lease: &Lease) -> Step {
        lease.step(self.settings.kubernetes.is_some(), self.clock.now())
    }

    /// Logs in again, unless the token is fresh or no login is configured. Returns whether there is
    /// a new token.
    async fn enter_again(&self) -> PortResult<bool> {
        let mut lease = self.lease.lock().await;
        let now = self.clock.now();
        let is_fresh = lease.is_some_and(|lease| {
            let age = lease.age(now);
            !age.is_negative() && age < FRESH
        });
        if is_fresh || self.settings.kubernetes.is_none() {
            return Ok(false);
        }
        *lease = Some(self.obtained().await?);
        Ok(true)
    }

    /// Reads the configured token, and takes it into use. Returns whether it is another one than
    /// before.
    async fn take(&self, source: &SecretSource) -> PortResult<bool> {
        let token = self.near.read(source).await?;
        let rotated = !self.token.is(&token);
        if rotated {
            self.token.set(token);
        }
        Ok(rotated)
    }

    /// Takes a new token into use, by a login or from the configuration, and returns its lease.
    async fn obtained(&self) -> PortResult<Lease> {
        match &self.settings.kubernetes {
            Some(login) => self.logged_in(login).await,
            None => self.looked_up().await,
        }
    }

    /// Logs in with the service account's token as it is in its file now.
    async fn logged_in(&self, login: &KubernetesLogin) -> PortResult<Lease> {
        let failed = |error: &PortError| unentered(login, error);
        let account = SecretSource::File(login.token_file.clone());
        let account = self.near.read(&account).await.map_err(|error| failed(&error))?;
        let path = ["auth"].into_iter().chain(parts(&login.mount)).chain(["login"]);
        let body = json!({ "role": login.role, "jwt": account.expose_secret() });
        let request = self.request(Method::Post, path).json(body);
        let answer: Value = self.door.json(&request).await.map_err(|error| failed(&error))?;
        let auth = &answer["auth"];
        let token = auth["client_token"].as_str().filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| {
            failed(&PortError::permanent(format!("{request}: the answer has no token")))
        })?;
        self.token.set(SecretString::from(token));
        let (lasts, renewable) = granted(auth, "lease_duration");
        Ok(Lease::new(lasts, renewable, self.clock.now()))
    }

    /// Asks Vault for the lease of the configured token. One that may not ask is used as long as it
    /// works.
    async fn looked_up(&self) -> PortResult<Lease> {
        let request = self.request(Method::Get, ["auth", "token", "lookup-self"]);
        let (lasts, renewable) = match self.inside.json::<Value>(&request).await {
            Ok(answer) => granted(&answer["data"], "ttl"),
            Err(error) if error.kind == PortErrorKind::Auth => (SignedDuration::ZERO, false),
            Err(error) => return Err(error),
        };
        Ok(Lease::new(lasts, renewable, self.clock.now()))
    }

    /// Renews the token, or logs in again if that is refused, and returns the lease. After a
    /// failure that may pass, the old lease stands.
    async fn renewed(&self, lease: Lease) -> PortResult<Lease> {
        let request = self.request(Method::Post, ["auth", "token", "renew-self"]).json(json!({}));
        match self.inside.json::<Value>(&request).await {
            Ok(answer) => {
                let (lasts, renewable) = granted(&answer["auth"], "lease_duration");
                Ok(lease.renewed(lasts, renewable, self.clock.now()))
            }
            Err(error) => match error.kind {
                PortErrorKind::Transient
                | PortErrorKind::RateLimited { .. }
                | PortErrorKind::Cancelled => {
                    tracing::debug!(error = error.chain(), "token of Vault not renewed");
                    Ok(lease)
                }
                PortErrorKind::NotFound | PortErrorKind::Auth | PortErrorKind::Permanent => {
                    match &self.settings.kubernetes {
                        Some(login) => self.logged_in(login).await,
                        None => Ok(lease.unrenewable()),
                    }
                }
            },
        }
    }

    /// The error of a failed read of `place`.
    fn unread(&self, place: &VaultPlace, error: &PortError) -> PortError {
        let path: Vec<_> = place.path().collect();
        let api = format!("{}/data/{}", place.mount(), path.join("/"));
        let why = match error.kind {
            PortErrorKind::Auth => {
                let whose = match &self.settings.kubernetes {
                    Some(login) => format!("the policy of the role {}", login.role),
                    None => "the token has expired, or its policy".to_owned(),
                };
                format!("cannot be read: permission denied on {api}: {whose} needs read")
            }
            PortErrorKind::NotFound => {
                let data = path.first() == Some(&"data") && path.len() > 1;
                let remedy = if data { "; leave \"data/\" out of the path" } else { "" };
                format!("is not there: nothing was written to {api}, or it was deleted{remedy}")
            }
            PortErrorKind::Transient
            | PortErrorKind::RateLimited { .. }
            | PortErrorKind::Permanent
            | PortErrorKind::Cancelled => format!("cannot be read: {}", error.chain()),
        };
        PortError::new(error.kind, told(place, &why))
    }
}

/// Whether Vault denied a read.
fn is_denied(answer: &PortResult<Value>) -> bool {
    matches!(answer, Err(error) if error.kind == PortErrorKind::Auth)
}

/// The error of a failed login.
fn unentered(login: &KubernetesLogin, error: &PortError) -> PortError {
    let (role, mount) = (&login.role, login.mount.trim_matches('/'));
    let (kind, remedy) = match error.kind {
        PortErrorKind::Auth | PortErrorKind::NotFound | PortErrorKind::Permanent => {
            let remedy = format!(
                "; see that auth/{mount} has the role {role}, and that the role is bound to the \
                 service account and namespace of this pod"
            );
            (PortErrorKind::Auth, remedy)
        }
        kind @ (PortErrorKind::Transient
        | PortErrorKind::RateLimited { .. }
        | PortErrorKind::Cancelled) => (kind, String::new()),
    };
    PortError::new(kind, format!("cannot log in to Vault: {}{remedy}", error.chain()))
}

/// How long a token lasts, from the answer's field `lasts` in seconds, and whether it is renewable.
fn granted(token: &Value, lasts: &str) -> (SignedDuration, bool) {
    let seconds = token[lasts].as_i64().unwrap_or(0).clamp(0, LONGEST);
    (SignedDuration::from_secs(seconds), token["renewable"].as_bool().unwrap_or(false))
}

/// The segments of a path; leading, trailing and double slashes do not count.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::stand_in::{Reply, SetSecrets, StandIn, StillClock, json as answer};

    struct Stage {
        session: Session,
        server: StandIn,
        clock: Arc<StillClock>,
        secrets: Arc<SetSecrets>,
    }

    const FILE: &str = "/var/run/account";

    fn place() -> VaultPlace {
        "secret/afk/slack#token".parse().unwrap()
    }

    impl Stage {
        async fn new(settings: Value, replies: impl IntoIterator<Item = Reply>) -> Self {
            let (server, clock) = (StandIn::start(replies).await, StillClock::new());
            let secrets = Arc::<SetSecrets>::default();
            secrets.put(SecretSource::File(PathBuf::from(FILE)), "jwt-1");
            secrets.set("TOKEN", "s.1");
            let mut settings = settings;
            settings["url"] = server.url.as_str().into();
            let settings: VaultSettings = serde_json::from_value(settings).unwrap();
            let client = crate::http::client();
            let session = Session::new(&client, clock.clone(), secrets.clone(), &settings).unwrap();
            Self { session, server, clock, secrets }
        }

        async fn pod(replies: impl IntoIterator<Item = Reply>) -> Self {
            let settings = json!({ "kubernetes": { "role": "afk", "token_file": FILE } });
            Self::new(settings, replies).await
        }

        async fn bearer(replies: impl IntoIterator<Item = Reply>) -> Self {
            Self::new(json!({ "token": { "env": "TOKEN" } }), replies).await
        }

        async fn read(&self) -> PortResult<Value> {
            self.session.secret(&place()).await
        }

        /// The requests since the last call: the line and the token of each.
        fn asked(&self) -> Vec<String> {
            let asked = self.server.asked().into_iter();
            asked
                .map(|one| {
                    let line = one.line.replace("/v1/", "").replace("auth/", "");
                    format!("{line} {}", one.header(HEADER)).trim_end().to_owned()
                })
                .collect()
        }
    }

    fn login(token: &str, lasts: i64) -> Reply {
        let auth = json!({ "client_token": token, "lease_duration": lasts, "renewable": true });
        answer(200, json!({ "auth": auth }))
    }

    fn secret() -> Reply {
        answer(200, json!({ "data": { "data": { "token": "xoxb" }, "metadata": {} } }))
    }

    fn denied() -> Reply {
        answer(403, json!({ "errors": ["1 error occurred:\n\t* permission denied\n\n"] }))
    }

    const LOGIN: &str = "POST kubernetes/login";
    const RENEW: &str = "POST token/renew-self";
    const LOOK: &str = "GET token/lookup-self";
    const READ: &str = "GET secret/data/afk/slack";

    #[tokio::test]
    async fn a_login_is_kept_and_renewed_after_two_thirds() {
        let replies = [login("s.a", 3600), secret(), secret(), login("s.a", 3600), secret()];
        let stage = Stage::pod(replies).await;
        stage.read().await.unwrap();
        let first = stage.server.asked();
        assert_eq!(first[0].line, "POST /v1/auth/kubernetes/login");
        assert_eq!(first[0].body, json!({ "role": "afk", "jwt": "jwt-1" }));
        assert_eq!(first[1].header(HEADER), "s.a");
        stage.clock.pass(2_399);
        stage.read().await.unwrap();
        assert_eq!(stage.asked(), [format!("{READ} s.a")]);
        stage.clock.pass(1);
        stage.read().await.unwrap();
        assert_eq!(stage.asked(), [format!("{RENEW} s.a"), format!("{READ} s.a")]);
    }

    #[tokio::test]
    async fn at_the_maximum_a_login_follows_with_the_file_read_again() {
        let replies = [login("s.a", 3600), secret(), login("s.a", 600), secret()];
        let stage = Stage::pod(replies).await;
        stage.read().await.unwrap();
        stage.clock.pass(2_400);
        stage.read().await.unwrap();
        stage.secrets.put(SecretSource::File(PathBuf::from(FILE)), "jwt-2");
        stage.asked();
        stage.clock.pass(400);
        stage.server.answers([login("s.b", 3600), secret()]);
        stage.read().await.unwrap();
        let asked = stage.server.asked();
        assert_eq!(asked[0].body["jwt"], "jwt-2");
        assert_eq!(asked[1].header(HEADER), "s.b");
    }

    #[tokio::test]
    async fn a_refused_renewal_is_a_login_and_a_lost_one_is_not() {
        let stage = Stage::pod([login("s.a", 3600), secret()]).await;
        stage.read().await.unwrap();
        stage.asked();
        stage.clock.pass(2_400);
        stage.server.answers([answer(500, json!({})), secret()]);
        stage.read().await.unwrap();
        assert_eq!(stage.asked(), [format!("{RENEW} s.a"), format!("{READ} s.a")]);
        stage.server.answers([denied(), login("s.b", 3600), secret()]);
        stage.read().await.unwrap();
        assert_eq!(stage.asked(), [format!("{RENEW} s.a"), LOGIN.into(), format!("{READ} s.b")]);
        stage.clock.pass(3_600);
        stage.server.answers([login("s.c", 3600), secret()]);
        stage.read().await.unwrap();
        assert_eq!(stage.asked(), [LOGIN.to_owned(), format!("{READ} s.c")]);
    }

    #[tokio::test]
    async fn a_revoked_token_is_replaced_once() {
        let stage = Stage::pod([login("s.a", 3600), secret()]).await;
        stage.read().await.unwrap();
        stage.asked();
        stage.clock.pass(60);
        stage.server.answers([denied(), login("s.b", 3600), denied()]);
        let error = stage.read().await.unwrap_err();
        let asked = [format!("{READ} s.a"), LOGIN.to_owned(), format!("{READ} s.b")];
        assert_eq!(stage.asked(), asked);
        assert_eq!(error.kind, PortErrorKind::Auth);
        let says = "the secret from Vault secret/afk/slack#token cannot be read: permission denied \
                    on secret/data/afk/slack: the policy of the role afk needs read";
        assert_eq!(error.chain(), says);
        stage.server.answers([denied()]);
        stage.read().await.unwrap_err();
        assert_eq!(stage.asked(), [format!("{READ} s.b")], "it was obtained a moment ago");
    }

    #[tokio::test]
    async fn a_place_that_the_policy_denies_costs_no_login_at_each_read() {
        let stage = Stage::pod([login("s.a", 3600)]).await;
        let logins = |asked: &[String]| asked.iter().filter(|line| *line == LOGIN).count();
        let mut all = Vec::new();
        for _ in 0..10 {
            stage.server.answers([denied()]);
            stage.read().await.unwrap_err();
            all.extend(stage.asked());
            stage.clock.pass(30);
        }
        assert_eq!((logins(&all), all.len()), (1, 11), "{all:?}");
        // Other places are read with the same token, and one that was revoked is replaced for them.
        let other = "secret/afk/claude#token".parse().unwrap();
        stage.server.answers([secret(), denied(), login("s.b", 3600), secret()]);
        stage.session.secret(&other).await.unwrap();
        stage.session.secret(&other).await.unwrap();
        assert_eq!(logins(&stage.asked()), 1);
        // By now the denial is five minutes old: the role may have got another policy.
        stage.server.answers([denied(), login("s.c", 3600), secret()]);
        stage.clock.pass(30);
        stage.read().await.unwrap();
        assert_eq!(logins(&stage.asked()), 1);
        // What was read since then is not held for denied.
        stage.clock.pass(30);
        stage.server.answers([denied(), login("s.d", 3600), secret()]);
        stage.read().await.unwrap();
    }

    #[tokio::test]
    async fn many_who_read_at_once_log_in_once() {
        let replies = [login("s.a", 3600), secret(), secret(), secret()];
        let stage = Stage::pod(replies).await;
        let (a, b, c) = tokio::join!(stage.read(), stage.read(), stage.read());
        assert!(a.and(b).and(c).is_ok());
        assert_eq!(stage.asked().iter().filter(|line| *line == LOGIN).count(), 1);
    }

    #[tokio::test]
    async fn a_configured_token_is_read_each_time_and_renewed_as_long_as_it_can_be() {
        let looked = answer(200, json!({ "data": { "ttl": 3000, "renewable": true } }));
        let stage = Stage::bearer([looked.clone(), secret(), secret()]).await;
        stage.read().await.unwrap();
        stage.read().await.unwrap();
        assert_eq!(stage.asked(), [LOOK, READ, READ].map(|line| format!("{line} s.1")));
        stage.clock.pass(2_000);
        stage.server.answers([denied()]);
        stage.session.renew_if_due().await.unwrap();
        assert_eq!(stage.asked(), [format!("{RENEW} s.1")]);
        stage.server.answers([secret()]);
        stage.read().await.unwrap();
        assert_eq!(stage.asked(), [format!("{READ} s.1")], "refused once, it is not asked again");
        stage.secrets.set("TOKEN", "s.2");
        stage.server.answers([denied(), secret(), denied()]);
        stage.read().await.unwrap();
        assert_eq!(stage.asked(), [LOOK, READ].map(|line| format!("{line} s.2")));
        let error = stage.read().await.unwrap_err();
        assert!(
            error.chain().ends_with("has expired, or its policy needs read"),
            "{}",
            error.chain()
        );
    }

    #[tokio::test]
    async fn nobody_logs_in_before_something_is_read() {
        let stage = Stage::pod([]).await;
        stage.session.renew_if_due().await.unwrap();
        assert_eq!(stage.asked(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_namespace_is_part_of_every_path() {
        let settings = json!({
            "namespace": "/team/one/",
            "kubernetes": { "role": "afk", "mount": "k8s/far", "token_file": FILE },
        });
        let stage = Stage::new(settings, [login("s.a", 3600), secret()]).await;
        stage.read().await.unwrap();
        let asked = stage.server.asked();
        assert_eq!(asked[0].line, "POST /v1/team/one/auth/k8s/far/login");
        assert_eq!(asked[1].line, "GET /v1/team/one/secret/data/afk/slack");
    }

    #[tokio::test]
    async fn each_failure_says_what_to_mend_and_shows_no_secret() {
        let check = async |replies: Vec<Reply>, kind: PortErrorKind, says: &str| {
            let error = Stage::pod(replies).await.read().await.unwrap_err();
            let told = format!("{} {error:?}", error.chain());
            assert_eq!(error.kind, kind, "{told}");
            assert!(told.contains(says), "{told}");
            assert!(!told.contains("jwt-1") && !told.contains("hunter2"), "{told}");
        };
        let entered = || login("hunter2", 60);
        check(vec![denied()], PortErrorKind::Auth, "bound to the service account").await;
        let no_role = answer(400, json!({ "errors": ["invalid role name \"afk\""] }));
        check(vec![no_role], PortErrorKind::Auth, "auth/kubernetes has the role afk").await;
        let odd = answer(200, json!({ "auth": "hunter2" }));
        check(vec![odd], PortErrorKind::Auth, "the answer has no token").await;
        let sealed = answer(503, json!({ "errors": ["Vault is sealed"] }));
        check(
            vec![entered(), sealed.clone(), sealed.clone(), sealed],
            PortErrorKind::Transient,
            "sealed",
        )
        .await;
        let none = answer(404, json!({ "errors": [] }));
        check(
            vec![entered(), none],
            PortErrorKind::NotFound,
            "nothing was written to secret/data/afk/slack",
        )
        .await;
    }
}
