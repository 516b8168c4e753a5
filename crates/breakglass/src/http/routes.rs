//! The routes and what each of them does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use afk_http::{bearer, last_event_id, sender};
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{
    ConnectInfo, DefaultBodyLimit, Extension, FromRequest as _, Path, Request, State,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use super::answers::ApiError;
use super::auth::{self, Access, AccessRefusal, Credentials};
use super::pace::Pace;
use super::pages;
use super::stream::Streams;
use crate::audit::{Act, Actor, AuditLog};
use crate::conversation::Conversations;
use crate::power::client::{PowerClient, VerbOutcome};
use crate::power::verb::Verb;
use crate::turn::command::{MAX_PROMPT, is_name};

/// The largest body, in bytes. It is twice the largest prompt, because JSON may escape characters.
const MAX_BODY: usize = 2 * MAX_PROMPT + 4096;
/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// What the routes use; the state of the router.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The conversations, for sessions and prompts.
    pub conversations: Conversations,
    /// The streams of all attached clients.
    pub streams: Streams,
    /// Sends power verbs.
    pub power: PowerClient,
    /// Records power verbs; prompts are recorded by [`AppState::conversations`].
    pub audit: AuditLog,
    /// Who may use the console.
    pub access: Arc<Access>,
    /// How often each person may change something.
    pub pace: Arc<Mutex<Pace>>,
}

/// Builds the router with all routes.
pub fn routes(reached: AppState) -> Router {
    let api = Router::new()
        .route("/session", post(create))
        .route("/session/{id}/stream", get(attach))
        .route("/session/{id}/prompt", post(prompt))
        .route("/session/{id}/cancel", post(cancel))
        .route("/pve/verbs", get(verbs))
        .route("/pve/{verb}", post(verb))
        .fallback(pages::unknown)
        // Set on the inner router, too, so that this answer is behind the sign-in like the others.
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(reached.clone(), signed_in));
    Router::new()
        .route("/health", get(health))
        .route("/", get(pages::index))
        .route("/{name}", get(pages::at_root))
        .route("/assets/{*name}", get(pages::asset))
        .nest("/api", api)
        .fallback(pages::unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(pages::with_headers))
        .with_state(reached)
}

/// Refuses whoever may not, or not so often, and tells the handler who it is ([`Actor`]).
async fn signed_in(
    State(reached): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let access = &reached.access;
    let mut users = headers.get_all(access.user_header.as_str()).iter();
    let (first, more) = (users.next(), users.next().is_some());
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let decided = auth::decide(
        access,
        &Credentials {
            query: request.uri().query().unwrap_or_default(),
            has_authorization: headers.contains_key(header::AUTHORIZATION),
            bearer: bearer(headers),
            user: first.filter(|_| !more).and_then(readable),
            has_user: first.is_some(),
            peer,
            sender: sender(headers),
            changes,
        },
    );
    let who = match decided {
        Ok(who) => who,
        Err(refusal) => {
            if refusal == AccessRefusal::UserFromStranger {
                let header = &access.user_header;
                tracing::error!(
                    %peer, header,
                    "a user header came from an address that is not a configured proxy: this is an \
                     attack, or BREAKGLASS_PROXIES lacks that address"
                );
            } else {
                tracing::warn!(%peer, ?refusal, "request refused");
            }
            return ApiError::from(refusal).into_response();
        }
    };
    if changes {
        let mut pace = reached.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(seconds) = pace.take(&who, Instant::now()) {
            let detail = format!("too many requests at once: wait {seconds} s");
            return ApiError::new(StatusCode::TOO_MANY_REQUESTS, detail)
                .retry_after(seconds)
                .into_response();
        }
    }
    request.extensions_mut().insert(Actor { who, peer: peer.ip().to_canonical().to_string() });
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // No cache may keep what somebody sees who is signed in.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Returns the text of a header. Edge proxies send names of users as UTF-8, of which
/// [`HeaderValue::to_str`] knows only ASCII.
fn readable(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

async fn health() -> Json<serde_json::Value> {
    Json(json!({"status": "ok", "service": "claude-breakglass"}))
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
}

async fn create(State(reached): State<AppState>) -> Result<Response, ApiError> {
    let session_id = reached.conversations.create().await?;
    Ok(Json(json!({"session_id": session_id})).into_response())
}

async fn attach(
    State(reached): State<AppState>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = session_id(id)?;
    let conversation = reached.conversations.open(&id).await?.ok_or_else(ApiError::no_session)?;
    let last = last_event_id(&headers, uri.query().unwrap_or_default());
    reached.streams.attach(conversation, last)
}

/// The body of a prompt.
#[derive(Debug, Deserialize)]
struct PromptBody {
    prompt: String,
    #[serde(default)]
    model: Option<String>,
}

async fn prompt(
    State(reached): State<AppState>,
    Extension(actor): Extension<Actor>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = session_id(id)?;
    let PromptBody { prompt, model } = parsed(&whole(request).await?)?;
    if prompt.trim().is_empty() {
        return Err(unprocessable("the prompt is empty"));
    }
    if prompt.len() > MAX_PROMPT {
        let detail = format!(
            "the prompt has {} bytes, over the limit of {MAX_PROMPT}: shorten it, or let the agent \
             read the rest from a file",
            prompt.len()
        );
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let model = model.filter(|model| !model.is_empty());
    if model.as_deref().is_some_and(|model| !is_name(model)) {
        return Err(unprocessable("the model's name is not valid"));
    }
    reached.conversations.prompt(actor, &id, prompt, model).await?;
    Ok(Json(json!({"status": "started"})).into_response())
}

async fn cancel(
    State(reached): State<AppState>,
    Extension(actor): Extension<Actor>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let id = session_id(id)?;
    let cancelled = reached.conversations.cancel(&actor, &id).await?;
    let cancelled = cancelled.ok_or_else(ApiError::no_session)?;
    Ok(Json(json!({"cancelled": cancelled})).into_response())
}

async fn verbs() -> Json<serde_json::Value> {
    let mutating: Vec<&str> =
        Verb::ALL.iter().filter(|verb| verb.is_mutating()).map(|verb| verb.name()).collect();
    Json(json!({"verbs": Verb::ALL.map(Verb::name), "mutating": mutating}))
}

/// The body of a power verb; it may be absent.
#[derive(Debug, Default, Deserialize)]
struct VerbBody {
    /// Whether a person has confirmed that the VM's lock is to be passed over.
    #[serde(default)]
    skiplock: bool,
}

async fn verb(
    State(reached): State<AppState>,
    Extension(actor): Extension<Actor>,
    name: Result<Path<String>, PathRejection>,
    uri: Uri,
    request: Request,
) -> Result<Response, ApiError> {
    // A name that is not UTF-8 is no verb either; the refusal shows it as it was sent.
    let as_sent = || uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let name = name.map_or_else(|_| as_sent(), |Path(name)| name);
    let verb: Verb = name.parse().map_err(|unknown: crate::power::verb::UnknownVerb| {
        ApiError::new(StatusCode::BAD_REQUEST, unknown.to_string())
    })?;
    let body = whole(request).await?;
    let VerbBody { skiplock } = if body.is_empty() { VerbBody::default() } else { parsed(&body)? };
    let act = Act::Verb { verb: verb.to_wire(skiplock) };
    let permit = match reached.power.permit(verb, skiplock, Instant::now()) {
        Ok(permit) => permit,
        Err(refusal) => {
            let recorded = reached.audit.begin(&actor, act).await;
            reached.audit.end(recorded, format!("refused: {refusal}")).await;
            return Err(refusal.into());
        }
    };
    // A client that hangs up stops nothing: the verb is carried to its end and recorded.
    let power = reached.power.clone();
    let sent = power.carry_out(async move {
        let recorded = reached.audit.begin(&actor, act).await;
        let outcome = permit.send().await;
        reached.audit.end(recorded, in_words(&outcome)).await;
        outcome
    });
    let outcome = sent.await.map_err(|_| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the verb was not carried out")
    })?;
    let status = match outcome.exit_code {
        Some(0) => StatusCode::OK,
        Some(_) | None => StatusCode::BAD_GATEWAY,
    };
    Ok((status, Json(outcome)).into_response())
}

fn in_words(outcome: &VerbOutcome) -> String {
    match (outcome.exit_code, outcome.cut_short) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(why)) => format!("unknown: {why}"),
        (None, None) => "no exit code".to_owned(),
    }
}

/// Returns the session id in a path. An id that is not UTF-8 does not exist.
fn session_id(id: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    id.map(|Path(id)| id).map_err(|_| ApiError::no_session())
}

/// Reads the whole body, within [`MAX_BODY`] and [`BODY_TIME`].
async fn whole(request: Request) -> Result<Bytes, ApiError> {
    let received = timeout(BODY_TIME, Bytes::from_request(request, &())).await.map_err(|_| {
        let detail = format!("the body did not come within {} s", BODY_TIME.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, detail)
    })?;
    received.map_err(|rejection| {
        let detail = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                format!("the body has more than {MAX_BODY} bytes, the most that is read")
            }
            _ => format!("the body was not received whole: {}", rejection.body_text()),
        };
        ApiError::new(rejection.status(), detail)
    })
}

fn parsed<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| unprocessable(&format!("the body is not what is expected: {error}")))
}

fn unprocessable(detail: &str) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let told = whole(Request::new(Body::from_stream(never))).await.unwrap_err();
        assert_eq!(told.into_response().status(), StatusCode::REQUEST_TIMEOUT);
        let body = whole(Request::new(Body::from("here"))).await.unwrap();
        assert_eq!(body, "here");
    }
}
