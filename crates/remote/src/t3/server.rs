//! The connection to a server: what the server says of itself, and which protocol it speaks.
//!
//! The protocol is read from the descriptor's `orchestrationProtocolVersion`, never from the
//! server's version: builds of one version speak different protocols.

use std::sync::Arc;
use std::time::Duration;

use afk_core::ids::At;
use afk_engine::ports::{Clock, PortError, PortErrorKind, PortResult, Secrets};
use jiff::SignedDuration;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::one::One;
use super::protocol::Protocol;
use super::settings::T3Table;
use super::two::{self, Two};
use crate::http::{self, Account, Request, Scheme, Sign, Spec, Token};

/// How long a server's descriptor is believed.
const BELIEVED: SignedDuration = SignedDuration::from_mins(1);
/// The versions of protocol 1 that the adapter was tried with.
const TESTED: [&str; 2] = ["0.0.27", "0.0.33"];
/// The text of a server's answer (503) where it has no page to serve.
const NO_PAGE: &str = "No static directory configured and no dev URL set.";
/// The scopes that a bearer needs.
pub(super) const SCOPES: [&str; 2] = ["orchestration:read", "orchestration:operate"];

/// The server of one table.
pub(super) struct Server {
    account: Arc<Account>,
    clock: Arc<dyn Clock>,
    patience: Duration,
    /// The configured pause between two reads while somebody waits.
    poll: Option<SignedDuration>,
    /// The newest connection, and when its descriptor was read.
    known: Mutex<Option<(At, Connection)>>,
}

/// A server that answered.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) about: Descriptor,
    pub(super) protocol: Arc<dyn Protocol>,
    /// The number of the protocol: 1 or 2.
    pub(super) number: u32,
}

/// What a server says of itself, also without a credential.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    /// The server's identity, the same over restarts.
    pub(super) environment_id: String,
    /// Its version, as it calls itself.
    pub(super) server_version: String,
    /// The protocol, if the server names it.
    #[serde(default)]
    pub(super) orchestration_protocol_version: Option<u32>,
}

/// What a bearer is allowed on the server.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SessionRead {
    authenticated: bool,
    #[serde(default)]
    scopes: Vec<String>,
}

impl Server {
    /// The server of `table`.
    pub(super) fn new(
        table: &T3Table,
        clock: Arc<dyn Clock>,
        secrets: Arc<dyn Secrets>,
        patience: Duration,
    ) -> PortResult<Self> {
        let base = table.server().map_err(PortError::permanent)?;
        let token = table.token.clone().map(|source| Token::new(secrets, source, Scheme::Bearer));
        let home = base.host_str().unwrap_or("the T3 server").to_owned();
        let home = base.port().map_or_else(|| home.clone(), |port| format!("{home}:{port}"));
        let spec = Spec {
            home,
            base,
            sign: token.map(|token| Box::new(token) as Box<dyn Sign>),
            // Servers of protocol 1 ignore them.
            headers: two::HEADERS,
            between_writes: SignedDuration::ZERO,
        };
        let account = Account::new(http::client_within(patience), clock.clone(), spec);
        Ok(Self {
            account: Arc::new(account),
            clock,
            patience,
            poll: table.poll(),
            known: Mutex::default(),
        })
    }

    /// Reads the server's descriptor, and returns the connection by its protocol.
    pub(super) async fn connect(&self) -> PortResult<Connection> {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        if let Some((at, connection)) = known.as_ref()
            && now.duration_since(*at) < BELIEVED
        {
            return Ok(connection.clone());
        }
        let about: Descriptor =
            self.account.json(&Request::get([".well-known", "t3", "environment"])).await?;
        let number = match about.orchestration_protocol_version {
            Some(number) => number,
            None => self.unnamed_protocol().await?,
        };
        // The protocol's cache is kept as long as the server stays the same.
        let same = known
            .take()
            .filter(|(_, connection)| connection.about == about && connection.number == number);
        let protocol = match (same, number) {
            (Some((_, connection)), _) => connection.protocol,
            (None, 1) => {
                let light = self.has(&["api", "orchestration", "shell"]).await?;
                Arc::new(One::new(self.account.clone(), self.clock.clone(), light, self.poll)) as _
            }
            (None, 2) => {
                let clock = self.clock.clone();
                Arc::new(Two::new(self.account.clone(), clock, self.patience, self.poll)) as _
            }
            (None, _) => {
                let (home, version) = (self.account.home(), &about.server_version);
                return Err(PortError::permanent(format!(
                    "{home} (T3 Code {version}) speaks protocol {number}, which this version of \
                     afk does not know"
                )));
            }
        };
        let connection = Connection { about, protocol, number };
        *known = Some((now, connection.clone()));
        Ok(connection)
    }

    /// Finds out the protocol of a server that names none: early builds of 2 have other addresses.
    async fn unnamed_protocol(&self) -> PortResult<u32> {
        Ok(if self.has(&["api", "projects"]).await? { 2 } else { 1 })
    }

    /// Whether the server knows the address. If not, it answers 404, or as if it were to serve a
    /// page. Any other 503 is from a proxy in between, and says nothing.
    async fn has(&self, path: &[&str]) -> PortResult<bool> {
        match self.account.try_send(&Request::get(path.iter().copied())).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.status == Some(404) => Ok(false),
            Err(failure) if failure.status == Some(503) && failure.text == NO_PAGE => Ok(false),
            Err(failure) => Err(failure.error),
        }
    }

    /// Checks that the bearer has the scopes that are needed.
    pub(super) async fn authenticated(&self) -> PortResult<()> {
        let session: SessionRead =
            self.account.json(&Request::get(["api", "auth", "session"])).await?;
        let home = self.account.home();
        let denied = |why: String| PortError::new(PortErrorKind::Auth, why);
        if !session.authenticated {
            return Err(denied(format!(
                "{home} does not know the token, or it has expired: get one there with `t3 auth \
                 session issue --token-only`, or with `afk t3 pair`"
            )));
        }
        let missing: Vec<&str> =
            SCOPES.into_iter().filter(|scope| !session.scopes.iter().any(|s| s == scope)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(" and ");
        Err(denied(format!("the token for {home} lacks the scope {missing}: get another one")))
    }

    /// The server's name for errors.
    pub(super) fn home(&self) -> &str {
        self.account.home()
    }

    /// The time by whichever of our clock and the server's is behind, so that no age of a time that
    /// either of them set is overestimated.
    pub(super) fn now(&self) -> At {
        self.clock.now().min(self.account.server_time())
    }

    /// The time by our clock at which the server's clock showed `at`, as far as the difference is
    /// known; never later than now.
    pub(super) fn ours(&self, at: At) -> At {
        let now = self.clock.now();
        let ahead = self.account.server_time().duration_since(now);
        at.checked_sub(ahead).unwrap_or(at).min(now)
    }

    /// The page of a thread for people.
    pub(super) fn link(&self, thread: &str) -> String {
        format!("{}?thread={thread}", self.account.base())
    }
}

impl Connection {
    /// Whether the adapter was tried with a server of this version.
    pub(super) fn is_tested(&self) -> bool {
        self.number == 1 && TESTED.contains(&self.about.server_version.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::stand_in::{Reply, SetSecrets, StandIn, StillClock, json as answer};
    use crate::t3::protocol::Freshness;

    /// A stand-in of a server of protocol 1, and a connection to it.
    async fn server(replies: Vec<Reply>) -> (StandIn, Server, Arc<StillClock>) {
        let (stand_in, clock) = (StandIn::start(replies).await, StillClock::new());
        let secrets = Arc::new(SetSecrets::default());
        secrets.set("T", "t");
        let table = json!({ "kind": "t3", "url": stand_in.url.as_str(), "token": { "env": "T" } });
        let table: T3Table = serde_json::from_value(table).unwrap();
        let patience = Duration::from_secs(10);
        let server = Server::new(&table, clock.clone(), secrets, patience).unwrap();
        (stand_in, server, clock)
    }

    fn descriptor() -> Reply {
        let about = json!({
            "environmentId": "e", "serverVersion": "0.0.33", "orchestrationProtocolVersion": 1,
        });
        answer(200, about)
    }

    #[tokio::test]
    async fn only_the_servers_own_word_says_that_it_has_no_light_read() {
        let busy = || (503, Vec::new(), "no healthy upstream".to_owned());
        let (stand_in, server, _) = server(vec![descriptor(), busy(), busy(), busy()]).await;
        let Err(error) = server.connect().await else { panic!("a proxy's word was believed") };
        assert_eq!(error.kind, PortErrorKind::Transient);
        stand_in.answers([descriptor(), answer(200, json!({}))]);
        let light = server.connect().await.unwrap().protocol.pace();
        let page = || (503, Vec::new(), NO_PAGE.to_owned());
        let none = || answer(404, json!({}));
        for replies in [vec![descriptor(), none()], vec![descriptor(), page(), page(), page()]] {
            let (_stand_in, server, _) = self::server(replies).await;
            let heavy = server.connect().await.unwrap().protocol.pace();
            assert!(heavy > light, "{heavy:?} {light:?}");
        }
    }

    #[tokio::test]
    async fn a_thread_may_be_large_and_too_large_says_what_helps() {
        let thread = |mib: usize| -> Value {
            let at = "2026-11-28T10:00:00Z";
            let message = json!({
                "id": "m", "role": "user", "text": "x".repeat(mib << 20), "createdAt": at,
                "updatedAt": at,
            });
            let thread = json!({ "id": "t", "updatedAt": at, "messages": [message] });
            json!({ "snapshotSequence": 1, "thread": thread })
        };
        let replies = vec![descriptor(), answer(200, json!({})), answer(200, thread(19))];
        let (stand_in, server, _) = server(replies).await;
        let protocol = server.connect().await.unwrap().protocol;
        let read = protocol.look("t", Freshness::Now).await.unwrap();
        assert_eq!(read.thread.unwrap().asked(), ["m"]);
        stand_in.answers([answer(200, thread(65))]);
        let error = protocol.look("t", Freshness::Now).await.unwrap_err().chain();
        assert!(error.contains("larger than 64 MiB: archive or delete threads"), "{error}");
    }

    #[tokio::test]
    async fn a_detail_that_was_cut_in_the_middle_of_a_character_does_not_hide_its_thread() {
        let at = "2026-11-28T10:00:00Z";
        let thread = json!({
            "id": "t", "updatedAt": at,
            "messages": [
                { "id": "m", "role": "user", "text": "x", "createdAt": at, "updatedAt": at },
            ],
            "activities": [
                { "kind": "tool.completed", "createdAt": at, "payload": { "detail": "HALF..." } },
            ],
        });
        let (status, headers, body) =
            answer(200, json!({ "snapshotSequence": 1, "thread": thread }));
        let cut = (status, headers, body.replace("HALF", r"\ud83c"));
        let (_stand_in, server, _) = server(vec![descriptor(), answer(200, json!({})), cut]).await;
        let protocol = server.connect().await.unwrap().protocol;
        let read = protocol.look("t", Freshness::Now).await.unwrap();
        assert_eq!(read.thread.unwrap().asked(), ["m"]);
    }
}
