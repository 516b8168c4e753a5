//! Exchanges a one-time pairing credential for a bearer: what `afk t3 pair` does.

use std::sync::Arc;
use std::time::Duration;

use afk_engine::ports::{Clock, PortResult};
use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::server::SCOPES;
use super::settings::T3Table;
use crate::http::{self, Account, Method, Request, Spec};

/// How long the exchange may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A bearer that a credential was exchanged for.
#[derive(Debug)]
pub struct Paired {
    /// The bearer itself.
    pub token: SecretString,
    /// How long it is valid, from the exchange on.
    pub lasts: SignedDuration,
    /// Its scopes, separated by blanks; empty if the server does not say.
    pub scope: String,
}

#[derive(Deserialize)]
struct Exchanged {
    access_token: String,
    expires_in: i64,
    #[serde(default)]
    scope: String,
}

/// Exchanges `credential` at the server of `table` for a bearer with the scopes that the loop
/// needs. The exchange uses the credential up, so it is not repeated.
pub async fn pair(
    table: &T3Table,
    credential: &SecretString,
    clock: Arc<dyn Clock>,
) -> PortResult<Paired> {
    let base = table.server().map_err(afk_engine::ports::PortError::permanent)?;
    let home = base.host_str().unwrap_or("the T3 server").to_owned();
    let spec = Spec { home, base, sign: None, headers: &[], between_writes: SignedDuration::ZERO };
    let account = Account::new(http::client_within(PATIENCE), clock, spec);
    let scope = SCOPES.join(" ");
    let request = Request::new(Method::Post, ["oauth", "token"]).form(&[
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", credential.expose_secret()),
        ("subject_token_type", "urn:t3:params:oauth:token-type:environment-bootstrap"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("scope", &scope),
    ]);
    let Exchanged { access_token, expires_in, scope } = account.json(&request).await?;
    Ok(Paired { token: access_token.into(), lasts: SignedDuration::from_secs(expires_in), scope })
}
