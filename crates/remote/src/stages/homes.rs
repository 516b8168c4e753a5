//! The HTTP accounts of stages: one for each credential at each address, so that all stages
//! together keep to its rate limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use afk_core::secret::SecretSource;
use afk_engine::ports::{Clock, PortResult, Secrets};
use jiff::SignedDuration;
use reqwest::Url;

use crate::http::{self, Account, Scheme, Sign, Spec, Token};

/// How many accounts are remembered. Bounded because a changed configuration leaves old ones
/// behind.
const MOST: usize = 1024;

/// Accounts at the addresses that stages' tables name.
pub(super) struct Homes {
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    accounts: Mutex<HashMap<Key, Arc<Account>>>,
}

/// The address, the credential, and the authorities (PEM) that may have signed the certificate.
type Key = (Url, Option<SecretSource>, Option<Vec<u8>>);

impl Homes {
    /// Starts without accounts; `secrets` reads their credentials.
    pub(super) fn new(secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Self {
        Self { secrets, clock, accounts: Mutex::default() }
    }

    /// Returns the account at `base` with that credential.
    pub(super) fn account(
        &self,
        base: &Url,
        token: Option<(&SecretSource, Scheme)>,
    ) -> PortResult<Arc<Account>> {
        self.account_trusting(base, token, None)
    }

    /// The same, but only certificates that `authorities` (PEM) signed are trusted; without them,
    /// those that the system's authorities signed.
    pub(super) fn account_trusting(
        &self,
        base: &Url,
        token: Option<(&SecretSource, Scheme)>,
        authorities: Option<Vec<u8>>,
    ) -> PortResult<Arc<Account>> {
        let key = (base.clone(), token.map(|(source, _)| source.clone()), authorities);
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = accounts.get(&key) {
            return Ok(known.clone());
        }
        let client = match &key.2 {
            Some(authorities) => http::client_trusting(authorities)?,
            None => http::client(),
        };
        let sign = token.map(|(source, scheme)| {
            Box::new(Token::new(self.secrets.clone(), source.clone(), scheme)) as Box<dyn Sign>
        });
        let spec = Spec {
            home: base.host_str().unwrap_or("the server").to_owned(),
            base: base.clone(),
            sign,
            headers: &[],
            between_writes: SignedDuration::ZERO,
        };
        if accounts.len() >= MOST {
            accounts.clear();
        }
        let account = Arc::new(Account::new(client, self.clock.clone(), spec));
        accounts.insert(key, account.clone());
        Ok(account)
    }
}
