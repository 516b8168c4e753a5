//! The routes: who may call them, what they read, and which part answers.
//!
//! Every request gets an id, is counted and logged without its body, and is authenticated before
//! its body is read; only the three probes (`/health`, `/healthz`, `/readyz`) are open to
//! everybody. The document `/openapi.json` describes the routes, and a test holds it to this file.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::{Duration, Instant};

use afk_http::last_event_id;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, MatchedPath, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::attach::{Fingerprint, RunKey, linger};
use crate::chat::request::Fields;
use crate::chat::whole::Completion;
use crate::chat::{prompt, request, stream};
use crate::conversations::{self, Turn};
use crate::error::ApiError;
use crate::jobs::record::{ListedJob, Order, Verbatim};
use crate::jobs::{Jobs, follow};
use crate::run::{self, Requester};
use crate::service::{Gateway, Service};
use crate::tokens::{Caller, Scope};
use crate::turn::command::is_agent_name;

/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// From this size on, in bytes, a body is parsed on a blocking thread.
const LARGE_BODY: usize = 64 * 1024;
/// How many jobs a page lists unless the caller says otherwise, up to [`LARGEST_PAGE`].
const PAGE_JOBS: usize = 50;
const LARGEST_PAGE: usize = 200;
/// The `created` time of every served model, in seconds since 1970: clients want one.
const MODELS_CREATED: i64 = 1_760_000_000;
/// The longest idempotency key, in bytes.
const KEY_BYTES: usize = 1024;
/// The longest session id, in characters.
const SESSION_CHARS: usize = 256;

/// The `OpenAPI` description of all routes.
const OPENAPI: &str = include_str!("../openapi.json");

type Shared = Arc<Service>;
type Answer = Result<Response, ApiError>;

impl Gateway {
    /// Returns all routes, for a server of the gateway's own.
    pub fn router(&self) -> Router {
        let service = Arc::clone(&self.0);
        let lives = get(|| async { "ok\n" }).fallback(|| only("GET, HEAD"));
        let lives = Router::new().route("/healthz", lives);
        let metrics = Router::new()
            .route("/metrics", get(metrics).fallback(|| only("GET, HEAD")))
            .layer(middleware::from_fn_with_state(Scope::Metrics, scoped))
            .layer(middleware::from_fn_with_state(Arc::clone(&service), authenticated))
            .with_state(Arc::clone(&service));
        let own = lives.merge(metrics);
        self.routes().merge(own.layer(middleware::from_fn_with_state(service, observed)))
    }

    /// Returns the metrics as `OpenMetrics` text.
    pub fn metrics(&self) -> String {
        self.0.metrics.text(self.0.admission.load(), self.0.pool.waiting())
    }

    /// Returns the routes without `/healthz` and `/metrics`, for a server that has its own.
    pub fn routes(&self) -> Router {
        let service = Arc::clone(&self.0);
        let jobs = Router::new()
            .route("/execute", post(execute).fallback(|| only("POST")))
            .route("/jobs", get(list_jobs).fallback(|| only("GET, HEAD")))
            .route(
                "/jobs/{id}",
                get(get_job).delete(cancel_job).fallback(|| only("GET, HEAD, DELETE")),
            )
            .route("/jobs/{id}/stream", get(stream_job).fallback(|| only("GET, HEAD")))
            .layer(middleware::from_fn_with_state(Scope::Jobs, scoped));
        let chat = Router::new()
            .route("/v1/chat/completions", post(chat).fallback(|| only("POST")))
            .route("/v1/models", get(list_models).fallback(|| only("GET, HEAD")))
            .route("/v1/models/{id}", get(get_model).fallback(|| only("GET, HEAD")))
            .route("/v1/responses", any(|| async { ApiError::NoResponsesApi }))
            .layer(middleware::from_fn_with_state(Scope::Chat, scoped));
        let conversations = Router::new()
            .route("/v1/conversational", post(conversational).fallback(|| only("POST")))
            .layer(middleware::from_fn_with_state(Scope::Conversations, scoped));
        let closed = Router::new()
            .merge(jobs)
            .merge(chat)
            .merge(conversations)
            .route("/openapi.json", get(openapi).fallback(|| only("GET, HEAD")))
            .fallback(|| async { ApiError::NoRoute })
            .layer(middleware::from_fn_with_state(Arc::clone(&service), authenticated));
        Router::new()
            .route("/health", get(health).fallback(|| only("GET, HEAD")))
            .route("/readyz", get(is_ready).fallback(|| only("GET, HEAD")))
            .merge(closed)
            .layer(middleware::from_fn_with_state(Arc::clone(&service), observed))
            .with_state(service)
    }
}

fn only(allow: &'static str) -> Ready<ApiError> {
    ready(ApiError::Method { allow })
}

/// Gives a request its id, counts it, and logs it without anything that its caller wrote.
async fn observed(State(service): State<Shared>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = format!("req_{}", uuid::Uuid::new_v4().simple());
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = path.as_deref().map_or("other", known_route);
    let method = request.method().clone();
    let mut response = if service.is_stopping() && !route.starts_with("/health") {
        ApiError::Stopping { begun: false }.into_response()
    } else {
        next.run(request).await
    };
    let status = response.status().as_u16();
    service.metrics.answered(route, status);
    let token = response.extensions().get::<Token>().map(|token| Arc::clone(&token.0));
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    let duration_ms = begun.elapsed().as_millis() as u64;
    if route.starts_with("/health") || route == "/readyz" {
        tracing::debug!(request.id = %id, %method, route, status, duration_ms, "request");
    } else {
        let token = token.as_deref().unwrap_or("none");
        tracing::info!(request.id = %id, %method, route, status, token, duration_ms, "request");
    }
    response
}

/// The id in a path. One that is not UTF-8 becomes an id that nothing has, so the answer is 404.
struct Id(String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(path.map_or_else(|_| char::REPLACEMENT_CHARACTER.into(), |Path(id)| id)))
    }
}

/// The name of the token that a request came with, left on its response for the log.
#[derive(Debug, Clone)]
struct Token(Arc<str>);

fn known_route(path: &str) -> &'static str {
    const ROUTES: [&str; 15] = [
        "/health",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/execute",
        "/jobs",
        "/jobs/{id}",
        "/jobs/{id}/stream",
        "/v1/models",
        "/v1/models/{id}",
        "/v1/chat/completions",
        "/v1/conversational",
        "/v1/responses",
        "other",
    ];
    ROUTES.into_iter().find(|route| *route == path).unwrap_or("other")
}

/// Refuses a request without a valid token, before anything of its body is read.
async fn authenticated(
    State(service): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(caller) =
        afk_http::bearer(request.headers()).and_then(|token| service.tokens.caller(token))
    else {
        return ApiError::Unauthorized.into_response();
    };
    let name = Arc::clone(&caller.name);
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(Token(name));
    response
}

/// Refuses a request whose token lacks the scope.
async fn scoped(State(scope): State<Scope>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>();
    if caller.is_some_and(|caller| caller.scopes.contains(&scope)) {
        return next.run(request).await;
    }
    ApiError::Forbidden { scope: scope.name() }.into_response()
}

async fn health(State(service): State<Shared>) -> Json<Value> {
    let load = service.admission.load();
    Json(json!({
        "status": "ok",
        "busy": load.active >= load.capacity,
        "active": load.active,
        "queued": load.queued,
        "capacity": load.capacity,
    }))
}

/// Ready as long as the CLI is there. [`observed`] answers while the service stops.
async fn is_ready(State(service): State<Shared>) -> Result<&'static str, ApiError> {
    let has_cli = service.cli.around.program.is_file();
    if has_cli { Ok("ready\n") } else { Err(ApiError::NotReady) }
}

async fn metrics(State(service): State<Shared>) -> Response {
    let text = Gateway(service).metrics();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Answers the `OpenAPI` document, with the models that are served here filled in.
async fn openapi(State(service): State<Shared>) -> Answer {
    let mut document: Value = serde_json::from_str(OPENAPI).map_err(|error| {
        tracing::error!(%error, "the description of the routes is broken");
        ApiError::failed("the document cannot be read")
    })?;
    let models = service.models().into_iter().map(Value::from).chain([Value::Null]);
    document["components"]["schemas"]["ModelName"]["enum"] = models.collect();
    Ok(Json(document).into_response())
}

async fn execute(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let key = idempotency(request.headers())?;
    let body = body(&service, request).await?;
    let serves = Arc::clone(&service);
    let order = read(body, move |body| {
        Ok((order(&serves, body)?, Verbatim(Fields::verbatim(body, "metadata"))))
    });
    let order = order.await?;
    // On a task of its own: a recorded job must be started, even if its caller goes.
    let submitted = tokio::spawn(Jobs::submit(service, order, caller, key));
    let id = submitted.await.map_err(|_| ApiError::failed("the job was not kept"))??;
    let told = json!({"job_id": id, "status": "queued"});
    Ok((StatusCode::ACCEPTED, Json(told)).into_response())
}

fn order(service: &Service, body: &[u8]) -> Result<Order, ApiError> {
    let fields = Fields::read(body)?;
    let prompt = fields.needed("prompt")?;
    if prompt.trim().is_empty() {
        return Err(ApiError::invalid("prompt", "must not be empty"));
    }
    let agent = fields.needed("agent")?;
    agent_name(&agent)?;
    let model = fields.text("model")?;
    if let Some(model) = &model {
        service.model(Some(model))?;
    }
    Ok(Order {
        prompt,
        agent,
        max_budget_usd: fields.amount("max_budget_usd", 5.0)?,
        timeout_seconds: fields.amount("timeout_seconds", 2700.0)?,
        model,
    })
}

fn agent_name(name: &str) -> Result<(), ApiError> {
    if is_agent_name(name) {
        return Ok(());
    }
    let what = "must be the name of an agent: up to 100 letters, digits and . _ - :";
    Err(ApiError::invalid("agent", what))
}

async fn list_jobs(State(service): State<Shared>, uri: Uri) -> Answer {
    let query = uri.query().unwrap_or_default().as_bytes();
    let asked = |name: &str| {
        let mut given = form_urlencoded::parse(query);
        given.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    };
    let limit = match asked("limit").map(|limit| limit.parse::<usize>()) {
        None => PAGE_JOBS,
        Some(Ok(limit @ 1..=LARGEST_PAGE)) => limit,
        Some(_) => {
            return Err(ApiError::invalid("limit", &format!("must be 1 to {LARGEST_PAGE}")));
        }
    };
    let page = service.jobs.list(asked("after").as_deref(), limit);
    let (mut ids, more) = page.ok_or(ApiError::JobNotFound)?;
    let mut jobs = Vec::with_capacity(ids.len());
    for id in &ids {
        if let Some(job) = service.jobs.find(id).await.map_err(unreadable)? {
            jobs.push(job.into());
        }
    }
    let next = ids.pop().filter(|_| more);
    Ok(Json(Page { jobs, next }).into_response())
}

/// One page of the jobs.
#[derive(Serialize)]
struct Page {
    jobs: Vec<ListedJob>,
    /// The `after` of the next page, if there is one: the id of this page's last job.
    next: Option<String>,
}

async fn get_job(State(service): State<Shared>, Id(id): Id) -> Answer {
    let job = service.jobs.shown(&id).await.map_err(unreadable)?;
    Ok(Json(job.ok_or(ApiError::JobNotFound)?).into_response())
}

async fn cancel_job(State(service): State<Shared>, Id(id): Id) -> Answer {
    let cancelled = service.jobs.cancel(&id).await.map_err(unreadable)?;
    Ok(Json(cancelled.ok_or(ApiError::JobNotFound)?).into_response())
}

fn unreadable(error: impl std::error::Error) -> ApiError {
    tracing::error!(%error, "a job cannot be read");
    ApiError::failed("the job cannot be read")
}

async fn stream_job(
    State(service): State<Shared>,
    Id(id): Id,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let last = last_event_id(&headers, uri.query().unwrap_or_default());
    let body = follow::follow(&service, &id, last).await.map_err(unreadable)?;
    Ok(event_stream(body.ok_or(ApiError::JobNotFound)?))
}

async fn list_models(State(service): State<Shared>) -> Json<Value> {
    let models: Vec<Value> = service.models().iter().map(|id| model(id)).collect();
    Json(json!({"object": "list", "data": models}))
}

async fn get_model(State(service): State<Shared>, Id(id): Id) -> Answer {
    if service.models().contains(&id) {
        return Ok(Json(model(&id)).into_response());
    }
    let mut answer = ApiError::UnsupportedModel { supported: service.models() }.into_response();
    *answer.status_mut() = StatusCode::NOT_FOUND;
    Ok(answer)
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": MODELS_CREATED, "owned_by": "anthropic"})
}

async fn chat(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let key = RetryKey::of(request.headers())?;
    let body = body(&service, request).await?;
    let same = key.same("chat", &caller);
    let read = read(body, move |body| {
        let request = request::parse(body)?;
        let flatten = if request.stream { prompt::dialogue } else { prompt::request };
        let prompt = flatten(&request.messages, &request.format);
        Ok((request, prompt, same(body)))
    });
    let (request, prompt, same) = read.await?;
    if let Some(agent) = &request.agent {
        agent_name(agent)?;
    }
    let model = service.model(request.model.as_deref())?;
    let run = asked_for(caller, &key, same);
    if request.stream {
        let wanted = stream::StreamSpec { request, prompt, model, run };
        return Ok(event_stream(Body::new(stream::open(&service, wanted).await?)));
    }
    let work = Completion { request, prompt, model };
    Ok(json_text(&run::answer(&service, run, None, work).await?))
}

async fn conversational(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let key = RetryKey::of(request.headers())?;
    let body = body(&service, request).await?;
    let same = key.same("conversational", &caller);
    let (spoken, same) =
        read(body, move |body| Ok((ConversationRequest::read(body)?, same(body)))).await?;
    let ConversationRequest { session, prompt, model } = spoken;
    let model = service.model(model.as_deref())?;
    let turn = Turn { session, prompt, model };
    let run = asked_for(caller, &key, same);
    let session = conversations::conversation(&turn.session).to_string();
    Ok(json_text(&run::answer(&service, run, Some(session), turn).await?))
}

/// The checked body of `/v1/conversational`.
struct ConversationRequest {
    session: String,
    prompt: String,
    model: Option<String>,
}

impl ConversationRequest {
    fn read(body: &[u8]) -> Result<Self, ApiError> {
        let fields = Fields::read(body)?;
        let session = fields.needed("session_id")?;
        if !(1..=SESSION_CHARS).contains(&session.chars().count()) {
            let what = format!("must be 1 to {SESSION_CHARS} characters");
            return Err(ApiError::invalid("session_id", &what));
        }
        let message = fields.needed("message")?;
        if message.trim().is_empty() {
            return Err(ApiError::invalid("message", "must not be empty"));
        }
        Ok(Self { session, prompt: prompt::turn(&message), model: fields.text("model")? })
    }
}

/// What the headers say about whether a request is an earlier one again.
struct RetryKey {
    idempotency: Option<String>,
    /// How often the client says that it has retried (`x-stainless-retry-count` of OpenAI's SDKs).
    retries: u32,
}

impl RetryKey {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let retries = headers.get("x-stainless-retry-count");
        let retries = retries.and_then(|count| count.to_str().ok()?.parse().ok()).unwrap_or(0);
        Ok(Self { idempotency: idempotency(headers)?, retries })
    }

    /// Returns what identifies a request of this caller by its key or else its body.
    fn same(
        &self,
        route: &'static str,
        caller: &Caller,
    ) -> impl FnOnce(&[u8]) -> Fingerprint + Send + 'static + use<> {
        let (token, idempotency) = (Arc::clone(&caller.name), self.idempotency.clone());
        move |body| Fingerprint::new(&token, route, idempotency.as_deref(), body)
    }
}

/// Joins the caller of a request with what identifies it.
fn asked_for(caller: Caller, key: &RetryKey, same: Fingerprint) -> Requester {
    let (linger, keyed) = (linger(key.retries), key.idempotency.is_some());
    let key = RunKey { same, linger, keyed, is_retry: key.retries > 0 };
    Requester { caller, key }
}

fn idempotency(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let key = headers.get("idempotency-key").map(HeaderValue::as_bytes);
    match key.filter(|key| !key.is_empty()) {
        None => Ok(None),
        Some(key) if key.len() <= KEY_BYTES => Ok(Some(key.escape_ascii().to_string())),
        Some(_) => {
            Err(ApiError::invalid("Idempotency-Key", &format!("must be at most {KEY_BYTES} bytes")))
        }
    }
}

/// Reads the whole body, within `gateway.max_body_bytes` and [`BODY_TIME`].
async fn body(service: &Service, request: Request) -> Result<Bytes, ApiError> {
    let limit = service.settings.max_body_bytes;
    let told = request.headers().get(header::CONTENT_LENGTH);
    let told = told.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|length| length > limit) {
        return Err(ApiError::TooLarge { limit });
    }
    match timeout(BODY_TIME, to_bytes(request.into_body(), limit)).await {
        Err(_) => Err(ApiError::Slow),
        Ok(Ok(body)) => Ok(body),
        // Over the limit, or the connection broke, and then nobody reads this answer.
        Ok(Err(_)) => Err(ApiError::TooLarge { limit }),
    }
}

/// Parses a body, a large one on a thread of its own: it would hold up other requests.
async fn read<T: Send + 'static>(
    body: Bytes,
    reading: impl FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if body.len() < LARGE_BODY {
        return reading(&body);
    }
    let read = tokio::task::spawn_blocking(move || reading(&body)).await;
    read.unwrap_or_else(|_| Err(ApiError::failed("the request could not be read")))
}

fn json_text(text: &Arc<str>) -> Response {
    let body = Bytes::copy_from_slice(text.as_bytes());
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
