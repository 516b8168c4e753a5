//! From a request to its answer.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use afk_core::ids::At;
use afk_engine::ports::Clock as _;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State as Extracted};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use futures_util::stream;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::state::{Fault, Flavour, State};
use super::{Shared, two};

/// What a server answers to an unknown address.
const NO_PAGE: &str = "No static directory configured and no dev URL set.";

/// The largest body that is accepted.
const LARGEST: usize = 16 << 20;

/// An answer before it is sent.
enum Reply {
    Json(u16, Value),
    Empty(u16),
    Text(u16, &'static str),
}

/// Serves until it is told to stop.
pub(super) fn spawn(
    listener: TcpListener,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("t3".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            let app = axum::Router::new()
                .route("/ws", axum::routing::get(two::socket))
                .fallback(answer)
                .layer(DefaultBodyLimit::max(LARGEST))
                .with_state(shared);
            tokio::select! {
                _ = stopped => {}
                _ = axum::serve(listener, app) => {}
            }
        });
    })
}

async fn answer(
    Extracted(shared): Extracted<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let now = shared.sim.now();
    let (fault, away) = {
        let mut state = shared.state();
        let path = uri.path();
        state.requests.push(told(&method, path, &body));
        let at = state.faults.iter().position(|(part, _)| path.contains(part.as_str()));
        if state.away {
            state.orphans_are_known();
        }
        (at.map(|at| state.faults.remove(at).1), state.away)
    };
    match fault {
        _ if away => return broken(),
        Some(Fault::BreaksBefore) => return broken(),
        Some(Fault::Silent) => {
            shared.silence.notified().await;
            return broken();
        }
        Some(Fault::Answers(status)) => return sent(Reply::Empty(status), now),
        Some(Fault::Forgets) => {
            let mut state = shared.state();
            state.sequence += 1;
            let sequence = state.sequence;
            drop(state);
            return sent(Reply::Json(200, json!({ "sequence": sequence })), now);
        }
        Some(Fault::Refuses) => shared.state().refuse_next = true,
        Some(Fault::BreaksAfter) | None => {}
    }
    let command = method == Method::POST && uri.path().starts_with("/api/");
    let held = command.then(|| shared.state().holds()).flatten();
    if held == Some(false) {
        return never(&shared).await;
    }
    shared.play_world();
    let reply = {
        let mut state = shared.state();
        state.go_on(now);
        let mut reply = state.reply(&method, &uri, &headers, &body, now);
        if let (Some(bad), Reply::Json(_, answer)) = (state.bad, &mut reply) {
            bad.reads(answer, &state.orphaned, now);
        }
        reply
    };
    if held == Some(true) {
        return never(&shared).await;
    }
    if fault == Some(Fault::BreaksAfter) {
        return broken();
    }
    sent(reply, now)
}

/// Leaves a command that is held without an answer, as long as the server lives.
async fn never(shared: &Shared) -> Response {
    shared.held.notify_one();
    shared.silence.notified().await;
    broken()
}

/// A request as tests read it: the type of a command, else method and path.
fn told(method: &Method, path: &str, body: &[u8]) -> String {
    let command = serde_json::from_slice::<Value>(body).ok();
    let kind = command.as_ref().and_then(|command| command["type"].as_str());
    kind.map_or_else(|| format!("{method} {path}"), str::to_owned)
}

/// An answer in which the connection breaks.
fn broken() -> Response {
    let parts = [Ok(Bytes::from("{")), Err(io::Error::other("the connection breaks"))];
    Response::new(Body::from_stream(stream::iter(parts)))
}

fn sent(reply: Reply, now: At) -> Response {
    let (status, kind, body) = match reply {
        Reply::Json(status, body) => (status, Some("application/json"), body.to_string()),
        Reply::Empty(status) => (status, None, String::new()),
        Reply::Text(status, text) => (status, Some("text/plain"), text.to_owned()),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::builder().status(status);
    if let Some(kind) = kind {
        response = response.header(header::CONTENT_TYPE, kind);
    }
    if let Ok(date) = DateTimePrinter::new().timestamp_to_rfc9110_string(&now) {
        response = response.header(header::DATE, date);
    }
    response.body(Body::from(body)).unwrap_or_default()
}

impl State {
    fn reply(
        &mut self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
        now: At,
    ) -> Reply {
        let path = uri.path();
        match (method.as_str(), path) {
            ("GET", "/.well-known/t3/environment") => return Reply::Json(200, self.descriptor()),
            ("GET", "/api/auth/session") => return Reply::Json(200, self.session(headers)),
            ("POST", "/oauth/token") => return self.exchange(body),
            _ if self.flavour.is_two() => return self.reply_two(method, path, headers, body, now),
            _ => {}
        }
        let light = self.flavour != Flavour::V27;
        let thread = path.strip_prefix("/api/orchestration/threads/");
        let thread = thread.filter(|id| !id.contains('/'));
        let (scope, known) = match (method.as_str(), path) {
            ("GET", "/api/orchestration/snapshot") => ("orchestration:read", true),
            ("GET", "/api/orchestration/shell") => ("orchestration:read", light),
            ("GET", _) if thread.is_some() => ("orchestration:read", light),
            ("POST", "/api/orchestration/dispatch") => ("orchestration:operate", true),
            _ => ("", false),
        };
        if !known {
            return match method.as_str() {
                "GET" => Reply::Text(503, NO_PAGE),
                _ => Reply::Empty(404),
            };
        }
        if let Err(refused) = self.may(headers, scope) {
            return refused;
        }
        match (path, thread) {
            ("/api/orchestration/dispatch", _) => match self.dispatch(body, now) {
                (status, Some(body)) => Reply::Json(status, body),
                (status, None) => Reply::Empty(status),
            },
            ("/api/orchestration/snapshot", _) => Reply::Json(200, self.snapshot()),
            ("/api/orchestration/shell", _) => Reply::Json(200, self.shell()),
            (_, Some(id)) => {
                if let Some(thread) = self.one(id) {
                    return Reply::Json(200, thread);
                }
                let tag = "EnvironmentResourceNotFoundError";
                Reply::Json(404, self.error(tag, "not_found", "thread_not_found"))
            }
            (_, None) => Reply::Text(503, NO_PAGE),
        }
    }

    /// The same for protocol 2, which checks the bearer first and then the gate.
    fn reply_two(
        &mut self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: At,
    ) -> Reply {
        let thread = path.strip_prefix("/api/orchestration/threads/");
        let thread = thread.and_then(|rest| rest.strip_suffix("/bounded"));
        let (scope, gated) = match (method.as_str(), path) {
            ("GET", "/api/projects") => ("orchestration:read", false),
            ("POST", "/api/projects/mutate") => ("orchestration:operate", false),
            ("GET", "/api/orchestration/shell") => ("orchestration:read", true),
            ("GET", _) if thread.is_some() => ("orchestration:read", true),
            ("GET", _) => return Reply::Text(503, NO_PAGE),
            _ => return Reply::Empty(404),
        };
        if let Err(refused) = self.may(headers, scope) {
            return refused;
        }
        let named = headers.get("x-t3-orchestration-protocol").is_some_and(|value| value == "2");
        if gated && !named {
            return Reply::Empty(400);
        }
        match (path, thread) {
            ("/api/projects", _) => Reply::Json(200, self.all_projects()),
            ("/api/projects/mutate", _) => match self.mutate(body, now) {
                (status, Some(body)) => Reply::Json(status, body),
                (status, None) => Reply::Empty(status),
            },
            (_, Some(id)) => {
                if let Some(thread) = self.bounded(id) {
                    return Reply::Json(200, thread);
                }
                let tag = "EnvironmentResourceNotFoundError";
                Reply::Json(404, self.error(tag, "not_found", "thread_not_found"))
            }
            (_, None) => Reply::Json(200, self.shell_two()),
        }
    }

    fn descriptor(&self) -> Value {
        let capabilities = match self.flavour {
            Flavour::V27 => json!({ "repositoryIdentity": true }),
            Flavour::V33 | Flavour::August | Flavour::Two => json!({
                "repositoryIdentity": true, "connectionProbe": true, "threadSettlement": true,
                "threadSnooze": true, "threadPinning": true, "threadPinReorder": true,
                "threadTitleRegeneration": true,
            }),
        };
        let mut shown = json!({
            "environmentId": self.environment, "label": "vm",
            "platform": { "os": "linux", "arch": "x64" },
            "serverVersion": self.flavour.version(), "capabilities": capabilities,
        });
        if self.flavour == Flavour::August {
            shown["capabilities"]["agentActivityPublishing"] = false.into();
            shown["capabilities"]["pullRequests"] = true.into();
        }
        if self.flavour.is_two() && !self.unnamed {
            shown["orchestrationProtocolVersion"] = 2.into();
        }
        shown
    }

    /// The scopes of the bearer that is given; none if it is missing or unknown.
    fn scopes(&self, headers: &HeaderMap) -> Option<&Vec<String>> {
        let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        self.tokens.get(given.strip_prefix("Bearer ")?)
    }

    fn session(&self, headers: &HeaderMap) -> Value {
        let auth = json!({
            "policy": "loopback-browser", "bootstrapMethods": ["one-time-token"],
            "sessionMethods":
                ["browser-session-cookie", "bearer-access-token", "dpop-access-token"],
            "sessionCookieName": "t3_session",
        });
        match self.scopes(headers) {
            None => json!({ "authenticated": false, "auth": auth }),
            Some(scopes) => json!({
                "authenticated": true, "auth": auth, "scopes": scopes,
                "sessionMethod": "bearer-access-token", "expiresAt": "2026-11-28T21:59:02.381Z",
            }),
        }
    }

    fn may(&mut self, headers: &HeaderMap, scope: &str) -> Result<(), Reply> {
        let tag = "EnvironmentAuthInvalidError";
        match self.scopes(headers) {
            None => {
                let given = headers.contains_key(header::AUTHORIZATION);
                let reason = if given { "invalid_credential" } else { "missing_credential" };
                Err(Reply::Json(401, self.error(tag, "auth_invalid", reason)))
            }
            Some(scopes) if scopes.iter().any(|one| one == scope) => Ok(()),
            Some(_) => {
                let trace = self.fresh().replace('-', "");
                Err(Reply::Json(
                    403,
                    json!({
                        "_tag": "EnvironmentScopeRequiredError", "code": "insufficient_scope",
                        "requiredScope": scope, "traceId": trace,
                    }),
                ))
            }
        }
    }

    /// Exchanges a one-time credential for a bearer.
    fn exchange(&mut self, body: &[u8]) -> Reply {
        let given: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        let of =
            |name: &str| given.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let token = "urn:ietf:params:oauth:token-type:access_token";
        let fits = of("grant_type") == Some("urn:ietf:params:oauth:grant-type:token-exchange")
            && of("subject_token_type")
                == Some("urn:t3:params:oauth:token-type:environment-bootstrap")
            && of("requested_token_type") == Some(token);
        let scope = of("scope").unwrap_or_default().to_owned();
        let known = of("subject_token").is_some_and(|one| self.pairing.remove(one));
        if !fits || !known {
            let tag = "EnvironmentAuthInvalidError";
            return Reply::Json(401, self.error(tag, "auth_invalid", "invalid_credential"));
        }
        let bearer = format!("bearer-{}", self.fresh());
        let scopes = scope.split(' ').map(str::to_owned).collect();
        self.tokens.insert(bearer.clone(), scopes);
        Reply::Json(
            200,
            json!({
                "access_token": bearer, "issued_token_type": token, "token_type": "Bearer",
                "expires_in": 2_591_999, "scope": scope,
            }),
        )
    }
}
