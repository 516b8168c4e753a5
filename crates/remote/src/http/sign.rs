//! Credentials of requests.

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
    /// The secret alone, in the header of this lower-case name.
    Header(&'static str),
}

/// A request's credential.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(super) name: HeaderName,
    /// Marked as sensitive, so that no client prints it.
    pub(super) value: HeaderValue,
    /// The digest of the secret: validators of an answer hold only for the credential that asked.
    pub(super) digest: Digest,
}

impl Signature {
    /// Writes `secret` into a header by `scheme`.
    pub(crate) fn new(scheme: Scheme, secret: &SecretString) -> PortResult<Self> {
        let secret = secret.expose_secret();
        let (name, text) = match scheme {
            Scheme::Bearer => (AUTHORIZATION, format!("Bearer {secret}")),
            Scheme::Token => (AUTHORIZATION, format!("token {secret}")),
            Scheme::Header(name) => (HeaderName::from_static(name), secret.to_owned()),
        };
        // The original error does not quote the value, but says nothing else either.
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
    /// Returns the credential for this request, as it is now.
    async fn sign(&self, request: &Request) -> PortResult<Signature>;

    /// Notes that the home refused this credential for this request. Returns whether the request is
    /// worth sending again: the credential may be accepted in a moment, or there is a new one.
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

    /// Reads the secret from its source.
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
