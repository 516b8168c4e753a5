//! What authenticates a request.

use std::sync::Arc;

use afk_core::digest::Digest;
use afk_core::secret::SecretSource;
use afk_engine::ports::{PortError, PortErrorKind, PortResult, Secrets};
use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::Request;

/// How a secret is written into a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `Authorization: Bearer …`.
    Bearer,
    /// `Authorization: token …`, as Forgejo and Gitea have it.
    Token,
    /// A header of its own.
    Header(&'static str),
}

/// A request's credential.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(super) name: HeaderName,
    /// Marked as sensitive, so that no client prints it.
    pub(super) value: HeaderValue,
    /// Tells one credential from another: validators of an answer hold for the credential that
    /// asked.
    pub(super) digest: Digest,
}

impl Signature {
    /// The signature that `secret` makes.
    pub(crate) fn new(scheme: Scheme, secret: &SecretString) -> PortResult<Self> {
        let secret = secret.expose_secret();
        let (name, text) = match scheme {
            Scheme::Bearer => (AUTHORIZATION, format!("Bearer {secret}")),
            Scheme::Token => (AUTHORIZATION, format!("token {secret}")),
            Scheme::Header(name) => (HeaderName::from_static(name), secret.to_owned()),
        };
        // The error would not quote the value, but it says nothing else either.
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            let why = "the credential contains what no header can: a line break, for example";
            PortError::new(PortErrorKind::Auth, why)
        })?;
        value.set_sensitive(true);
        Ok(Self { name, value, digest: Digest::of(secret) })
    }

    /// Whether both are made of the same secret.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// Something that authenticates requests.
#[async_trait]
pub(crate) trait Sign: Send + Sync {
    /// The credential for this request, as it is now.
    async fn sign(&self, request: &Request) -> PortResult<Signature>;

    /// The home refused this credential for this request. Returns whether it may be accepted in a moment, or a new
    /// one is there: the request is worth sending again.
    async fn refused(&self, _request: &Request, _refused: &Signature) -> bool {
        false
    }
}

/// A secret that is read at each use, so that a rotated one takes effect at once.
#[derive(Clone)]
pub(crate) struct Token {
    secrets: Arc<dyn Secrets>,
    source: SecretSource,
    scheme: Scheme,
}

impl Token {
    pub(crate) fn new(secrets: Arc<dyn Secrets>, source: SecretSource, scheme: Scheme) -> Self {
        Self { secrets, source, scheme }
    }

    /// The secret, as it is now.
    pub(crate) async fn secret(&self) -> PortResult<SecretString> {
        self.secrets.read(&self.source).await
    }
}

#[async_trait]
impl Sign for Token {
    async fn sign(&self, _request: &Request) -> PortResult<Signature> {
        Signature::new(self.scheme, &self.secret().await?)
    }
}
