//! One HTTP client for every system that is reached over HTTP.
//!
//! A home is the system at one base address, such as a forge. An [`Account`] is one credential at
//! one home. It sends [`Request`]s with that credential to its own home and nowhere else, follows
//! no redirect but that of a log ([`Account::tail`]), limits time and size of every answer, keeps
//! to the rate limits that the home names ([`limits`]), and turns whatever goes wrong into the
//! kinds of [`PortError`] that the loop acts on. Errors name the request and the home, and never a
//! credential.
//!
//! Only reads are repeated here, and only where no answer came; everything else is left to the
//! loop, which asks again.

mod account;
mod answer;
mod json;
mod limits;
mod link;
mod request;
mod sign;
mod tail;

pub use account::AnswerCounts;
pub(crate) use account::{
    Account, Changed, LimitObserver, Limits, RequestFailure, Spec, Validator,
};
pub(crate) use answer::Answer;
pub(crate) use json::read_json;
pub(crate) use limits::retry_at;
pub(crate) use request::{Method, Request};
pub(crate) use sign::{Scheme, Sign, Signature, Token};

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use afk_engine::ports::{PortError, PortResult};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a whole exchange may take, the body included.
const EXCHANGE: Duration = Duration::from_secs(25);

/// An HTTP client that is made when it is first used: making it reads every certificate authority
/// that this machine trusts, which is more work than most commands do, and most commands send
/// nothing.
#[derive(Clone)]
pub(crate) struct Client {
    exchange: Duration,
    made: Arc<OnceLock<reqwest::Client>>,
}

impl Client {
    /// Returns the client, and makes it at the first call.
    pub(crate) fn get(&self) -> PortResult<&reqwest::Client> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let made = builder().timeout(self.exchange).build().map_err(PortError::permanent)?;
        Ok(self.made.get_or_init(|| made))
    }
}

/// A client that follows no redirect: credentials and bodies are for the configured home alone.
pub(crate) fn client() -> Client {
    client_within(EXCHANGE)
}

/// The same with a time limit of `exchange` for a whole exchange.
pub(crate) fn client_within(exchange: Duration) -> Client {
    Client { exchange, made: Arc::default() }
}

/// The same as [`client`], but it trusts only certificates that one of `authorities` (PEM) signed.
pub(crate) fn client_trusting(authorities: &[u8]) -> PortResult<Client> {
    let authorities = reqwest::Certificate::from_pem_bundle(authorities);
    let authorities = authorities.map_err(PortError::permanent)?;
    if authorities.is_empty() {
        return Err(PortError::permanent("the file of authorities contains no certificate"));
    }
    let made = builder().tls_certs_only(authorities).build().map_err(PortError::permanent)?;
    Ok(Client { exchange: EXCHANGE, made: Arc::new(made.into()) })
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .timeout(EXCHANGE)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("afk/", env!("CARGO_PKG_VERSION")))
}
