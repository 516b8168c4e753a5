//! Secrets read from a real `OpenBao` server, which answers as Vault does.
//!
//! The adapter's clock is a fake one, so that a lease of an hour does not take an hour; and the
//! cluster that reviews a service account's token is a stand-in.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use afk_core::ids::At;
use afk_core::secret::SecretSource;
use afk_engine::ports::{Clock, PortError, PortErrorKind, PortResult, Secrets};
use afk_remote::{RemoteSettings, VaultSecrets};
use afk_stand_ins::openbao::{self, ROOT, Server};
use async_trait::async_trait;
use axum::Json;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

/// A certificate that the server wants, though it is not used: the stand-in has no TLS.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBPDCB76ADAgECAhRKMs5IRdUI6hkSeAz/0YHk4MxgdjAFBgMrZXAwEzERMA8G
A1UEAwwIc3RhbmQtaW4wIBcNMjYxMTI5MDA1MDUwWhgPMjEyNjExMDUwMDUwNTBa
MBMxETAPBgNVBAMMCHN0YW5kLWluMCowBQYDK2VwAyEAq8VdQSVWTFQ0kZvTBGzz
Wrv6XWAqUhHZZLAREvwx2l2jUzBRMB0GA1UdDgQWBBQWsFecg6Ac8q7mGiw2/ftc
iYyeODAfBgNVHSMEGDAWgBQWsFecg6Ac8q7mGiw2/ftciYyeODAPBgNVHRMBAf8E
BTADAQH/MAUGAytlcANBAJ3S8VTHRu7FbWKZNMZoGwEZA0YgHNi5ybXV7B9l83JA
8RsR4IgFGFXmfcsxMRwlKEsTkS3kaLvVR8cC0DHofQ4=
-----END CERTIFICATE-----
";

/// A clock that moves only when somebody sleeps or a test sets it.
struct StillClock(Mutex<At>);

impl StillClock {
    fn pass(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }
}

#[async_trait]
impl Clock for StillClock {
    fn now(&self) -> At {
        *self.0.lock().unwrap()
    }

    async fn sleep_until(&self, at: At) {
        let mut now = self.0.lock().unwrap();
        *now = (*now).max(at);
    }
}

/// The secrets of this machine: one value for any environment variable, and real files.
struct Near(Mutex<String>);

#[async_trait]
impl Secrets for Near {
    async fn read(&self, source: &SecretSource) -> PortResult<SecretString> {
        match source {
            SecretSource::Env(_) => Ok(self.0.lock().unwrap().clone().into()),
            SecretSource::File(file) => Ok(std::fs::read_to_string(file).unwrap().into()),
            SecretSource::Command(_) | SecretSource::Vault(_) => Err(PortError::permanent("none")),
        }
    }
}

struct Stage {
    server: Server,
    admin: reqwest::Client,
    clock: Arc<StillClock>,
    near: Arc<Near>,
    vault: VaultSecrets,
}

impl Stage {
    /// Starts a server; none where there is no program of it, which is said in the test's output.
    fn new(test: &str) -> Option<Self> {
        let server = Server::start(&openbao::for_test(test)?);
        let clock = Arc::new(StillClock(Mutex::new(At::now())));
        let near = Arc::new(Near(Mutex::default()));
        let vault = VaultSecrets::new(near.clone(), clock.clone());
        Some(Self { server, admin: reqwest::Client::new(), clock, near, vault })
    }

    fn configure(&self, mut settings: Value) {
        settings["url"] = self.server.url().into();
        let settings = json!({ "vault": settings });
        let settings: RemoteSettings = serde_json::from_value(settings).unwrap();
        assert_eq!(settings.mistakes(), []);
        self.vault.configure(&settings);
    }

    /// Sends a request of an operator to the server, which must succeed.
    async fn admin(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}/v1/{path}", self.server.url());
        let asked = self.admin.post(url).header("x-vault-token", ROOT).body(body.to_string());
        let answer = asked.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Writes a secret.
    async fn write(&self, path: &str, fields: Value) {
        self.admin(&format!("secret/data/{path}"), &json!({ "data": fields })).await;
    }

    /// Lets the policy "reader" read what is below `afk/`.
    async fn policy(&self) {
        let policy = r#"path "secret/data/afk/*" { capabilities = ["read"] }"#;
        self.admin("sys/policies/acl/reader", &json!({ "policy": policy })).await;
    }

    /// The accessors of all tokens; a login makes a token.
    async fn tokens(&self) -> BTreeSet<String> {
        let url = format!("{}/v1/auth/token/accessors?list=true", self.server.url());
        let asked = self.admin.get(url).header("x-vault-token", ROOT);
        let answer = asked.send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let keys = answer["data"]["keys"].as_array().unwrap().iter();
        keys.map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    async fn read(&self, place: &str) -> PortResult<String> {
        let read = self.vault.read(&place.parse().unwrap()).await;
        read.map(|secret| secret.expose_secret().to_owned())
    }

    #[track_caller]
    fn check(&self, read: PortResult<String>, kind: PortErrorKind, says: &str) {
        let error = read.unwrap_err();
        let told = error.chain();
        assert_eq!(error.kind, kind, "{told}");
        assert!(told.contains(says), "{told}");
        let token = self.near.0.lock().unwrap().clone();
        assert!(token.is_empty() || !told.contains(&token), "{told}");
    }
}

#[tokio::test]
async fn a_token_reads_what_it_may_and_is_renewed() {
    let Some(stage) = Stage::new("a_token_reads_what_it_may_and_is_renewed") else { return };
    stage.policy().await;
    let wanted = json!({ "policies": ["reader"], "ttl": "1h" });
    let token = stage.admin("auth/token/create", &wanted).await["auth"]["client_token"].clone();
    token.as_str().unwrap().clone_into(&mut stage.near.0.lock().unwrap());
    stage.configure(json!({ "token": { "env": "TOKEN" } }));

    stage.write("afk/slack", json!({ "token": "xoxb-first\n", "port": 8200 })).await;
    stage.write("others", json!({ "token": "hunter2" })).await;
    assert_eq!(stage.read("secret/afk/slack#token").await.unwrap(), "xoxb-first");
    stage.write("afk/slack", json!({ "token": "xoxb-second", "port": 8200 })).await;
    assert_eq!(stage.read("secret/afk/slack#token").await.unwrap(), "xoxb-second", "at once");

    let (auth, none) = (PortErrorKind::Auth, PortErrorKind::NotFound);
    stage.check(stage.read("secret/others#token").await, auth, "denied on secret/data/others");
    stage.check(stage.read("secret/afk/none#token").await, none, "nothing was written");
    stage.check(stage.read("secret/data/afk/slack#token").await, auth, "permission denied");
    stage.check(stage.read("secret/afk/slack#user").await, none, "has other fields");
    let port = stage.read("secret/afk/slack#port").await;
    stage.check(port, PortErrorKind::Permanent, "is not text");

    let look = json!({ "token": token });
    let renewed =
        async || stage.admin("auth/token/lookup", &look).await["data"]["last_renewal"].is_string();
    stage.vault.renew_if_due().await;
    assert!(!renewed().await);
    stage.clock.pass(2_400);
    stage.vault.renew_if_due().await;
    assert!(renewed().await);

    stage.admin("auth/token/revoke", &look).await;
    let revoked = stage.read("secret/afk/slack#token").await;
    stage.check(revoked, auth, "the token has expired, or its policy needs read");
}

/// Starts the part of a cluster that reviews tokens, and returns its address. A token is good if
/// its signature is `good`.
async fn cluster() -> String {
    let review = async |Json(asked): Json<Value>| {
        let token = asked["spec"]["token"].as_str().unwrap();
        let user = json!({
            "username": "system:serviceaccount:afk:afk", "uid": "u-1",
            "groups": ["system:serviceaccounts", "system:authenticated"],
        });
        // As of an older pod, any other token is not valid any more.
        let good = token.ends_with(&BASE64_URL_SAFE_NO_PAD.encode("good"));
        Json(json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "status": { "authenticated": good, "audiences": ["x"], "user": user },
        }))
    };
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let app = axum::Router::new().route(path, axum::routing::post(review));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

/// The token of a service account, as a pod finds it, with a signature for the stand-in.
fn account(signature: &str) -> String {
    let now = At::now().as_second();
    let claims = json!({
        "iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:afk:afk",
        "aud": ["x"], "iat": now - 5, "nbf": now - 5, "exp": now + 3600,
        "kubernetes.io": { "namespace": "afk", "serviceaccount": { "name": "afk", "uid": "u-1" } },
    });
    let head = json!({ "alg": "RS256", "kid": "k" });
    let parts = [head.to_string(), claims.to_string(), signature.to_owned()];
    parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".")
}

#[tokio::test]
async fn a_pod_logs_in_with_its_service_account_and_again_when_its_token_is_gone() {
    let Some(stage) = Stage::new("a_pod_logs_in_with_its_service_account") else { return };
    let host = cluster().await;
    stage.policy().await;
    stage.write("afk/slack", json!({ "token": "xoxb" })).await;
    stage.admin("sys/auth/kubernetes", &json!({ "type": "kubernetes" })).await;
    let config = json!({
        "kubernetes_host": host, "disable_local_ca_jwt": true, "kubernetes_ca_cert": CERTIFICATE,
    });
    stage.admin("auth/kubernetes/config", &config).await;
    let role = json!({
        "bound_service_account_names": "afk", "bound_service_account_namespaces": "afk",
        "token_policies": "reader", "token_ttl": "1h",
    });
    stage.admin("auth/kubernetes/role/afk", &role).await;
    let file: PathBuf = stage.server.folder().join("account");
    std::fs::write(&file, account("good")).unwrap();
    let login = |role: &str| json!({ "kubernetes": { "role": role, "token_file": file } });
    let place = "secret/afk/slack#token";

    stage.configure(login("afk"));
    assert_eq!(stage.read(place).await.unwrap(), "xoxb");
    let first = stage.tokens().await;
    stage.clock.pass(2_400);
    assert_eq!(stage.read(place).await.unwrap(), "xoxb");
    assert_eq!(stage.tokens().await, first, "it was renewed");
    stage.clock.pass(4_000);
    assert_eq!(stage.read(place).await.unwrap(), "xoxb");
    let second = stage.tokens().await;
    assert_eq!((first.is_subset(&second), second.len() - first.len()), (true, 1), "it was over");
    stage.admin("sys/leases/revoke-prefix/auth/kubernetes/login", &json!({})).await;
    stage.clock.pass(60);
    assert_eq!(stage.read(place).await.unwrap(), "xoxb");
    assert!(!stage.tokens().await.is_subset(&second), "it was revoked");

    let denied = stage.read("secret/others#token").await;
    let says = "denied on secret/data/others: the policy of the role afk needs read";
    stage.check(denied, PortErrorKind::Auth, says);
    std::fs::write(&file, account("old")).unwrap();
    stage.clock.pass(4_000);
    stage.check(stage.read(place).await, PortErrorKind::Auth, "bound to the service account");
    std::fs::write(&file, account("good")).unwrap();
    assert_eq!(stage.read(place).await.unwrap(), "xoxb", "its file is read again");
    stage.configure(login("nobody"));
    stage.check(stage.read(place).await, PortErrorKind::Auth, "has the role nobody");
}
