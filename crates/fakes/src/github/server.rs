//! From a request to its answer: what every operation has in common.
//!
//! In GitHub's order: the credential, the address, what was given, the limits, then the operation
//! itself, its pages and its tag. A fault takes the place of one of these steps.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use afk_core::digest::Digest;
use afk_core::ids::{At, RepoName};
use axum::body::{Body, Bytes};
use axum::extract::State as Extracted;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::answers::{Asked, Content, Forge, Refused};
use super::faults::Fault;
use super::route::{self, Operation};
use super::state::{Exchange, Login};
use super::{Recorded, Route, Shared};
use afk_sim::world::World;

/// The version whose fields the fake has.
const VERSION: &str = "2022-11-28";
/// How long what an app signs for itself may hold.
const OWN_LASTS: i64 = 600;

/// An answer before it is sent.
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Whether the connection breaks after the body.
    breaks: bool,
}

impl Reply {
    fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
        Self { status, headers, body: body.to_string().into_bytes(), breaks: false }
    }

    fn error(status: u16, message: &str) -> Self {
        let docs = "https://docs.github.com/rest";
        let status_ = status.to_string();
        Self::json(
            status,
            &json!({ "message": message, "documentation_url": docs, "status": status_ }),
        )
    }

    fn refused(refused: &Refused) -> Self {
        let mut reply = Self::error(refused.status, &refused.message);
        reply.headers.extend(refused.location.clone().map(|to| ("location", to)));
        reply
    }
}

/// Serves until it is stopped.
pub(super) fn spawn(
    api: TcpListener,
    other: TcpListener,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("github".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let (Ok(api), Ok(other)) =
                (tokio::net::TcpListener::from_std(api), tokio::net::TcpListener::from_std(other))
            else {
                return;
            };
            let app = axum::Router::new().fallback(answer).with_state(shared.clone());
            let elsewhere = axum::Router::new().fallback(stray).with_state(shared);
            tokio::select! {
                _ = stopped => {}
                _ = axum::serve(api, app) => {}
                _ = axum::serve(other, elsewhere) => {}
            }
        });
    })
}

/// Another host, which would be glad to get a credential. It keeps the logs of jobs.
async fn stray(Extracted(shared): Extracted<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> String {
    let credential = headers.contains_key(header::AUTHORIZATION);
    let mut state = shared.state();
    state.strayed.push((uri.path().to_owned(), credential));
    let job = uri.path().strip_prefix("/logs/").and_then(|id| id.parse::<u64>().ok());
    let mut jobs = state.ci.runs.iter().flat_map(|run| &run.jobs);
    let log = jobs.find(|one| Some(one.id) == job).map(|job| job.log.clone());
    log.unwrap_or_else(|| "what another host has to say".to_owned())
}

async fn answer(
    Extracted(shared): Extracted<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let reply = shared.sim.with(|world| {
        if shared.state().live {
            world.now = At::now();
        }
        let request = Incoming::new(&shared, &method, &uri, &headers, &body);
        request.answer(world)
    });
    let mut response = Response::builder()
        .status(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    let body = if reply.breaks {
        let parts = [Ok(Bytes::from(reply.body)), Err(io::Error::other("the connection breaks"))];
        Body::from_stream(stream::iter(parts))
    } else {
        Body::from(reply.body)
    };
    response.body(body).unwrap_or_default()
}

/// A request.
struct Incoming<'a> {
    shared: &'a Shared,
    method: &'a Method,
    target: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: &'a HeaderMap,
    body: Value,
}

impl<'a> Incoming<'a> {
    fn new(
        shared: &'a Shared,
        method: &'a Method,
        uri: &Uri,
        headers: &'a HeaderMap,
        body: &Bytes,
    ) -> Self {
        let target = uri.path_and_query().map_or_else(String::new, ToString::to_string);
        let path = uri.path();
        // Enterprise Server has both APIs below one address.
        let path = path.strip_prefix("/api/v3").or_else(|| path.strip_prefix("/api"));
        let mut path = path.unwrap_or(uri.path()).to_owned();
        // Links name a repo by its number.
        if let Some((id, below)) =
            path.strip_prefix("/repositories/").and_then(|rest| rest.split_once('/'))
            && let Some(repo) = id.parse().ok().and_then(|id| shared.state().repo_by_id(id))
        {
            path = format!("/repos/{repo}/{below}");
        }
        let query = route::query(uri.query().unwrap_or_default());
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).unwrap_or_else(|_| "no JSON".into())
        };
        Self { shared, method, target, path, query, headers, body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn answer(&self, world: &mut World) -> Reply {
        let now = world.tracker_now();
        let found = route::find(self.method.as_str(), &self.path);
        let route = found.as_ref().map(|(operation, _)| operation.route);
        let mut reply = match self.in_order(world, found.as_ref()) {
            Ok((operation, open)) => self.exchange(world, operation, open),
            Err(reply) => reply,
        };
        let mut state = self.shared.state();
        let quota = state.quota(route, now);
        if reply.status != 304 && quota.left() > 0 {
            quota.used += 1;
        }
        let resource = if route == Some(Route::GraphQl) { "graphql" } else { "core" };
        let limits = [
            ("x-ratelimit-limit", quota.limit.to_string()),
            ("x-ratelimit-remaining", quota.left().to_string()),
            ("x-ratelimit-used", quota.used.to_string()),
            ("x-ratelimit-reset", quota.reset.as_second().to_string()),
            ("x-ratelimit-resource", resource.to_owned()),
            ("date", date(now)),
            ("x-github-api-version-selected", VERSION.to_owned()),
        ];
        reply.headers.extend(limits);
        state.requests.push(Recorded {
            route,
            method: self.method.to_string(),
            target: self.target.clone(),
            status: reply.status,
        });
        reply
    }

    /// The operation and the open parts of its address, if the request is in order.
    fn in_order(
        &self,
        world: &mut World,
        found: Option<&(&'static Operation, Vec<String>)>,
    ) -> Result<(&'static Operation, Vec<String>), Reply> {
        let asked = format!("{} {}", self.method, self.target);
        let mut wrong = |status: u16, what: &str| {
            world.wrong.push(format!("{asked}: {what}"));
            Err(Reply::error(status, what))
        };
        let Some((operation, open)) = found else { return wrong(400, "no such operation") };
        if self.header("x-github-api-version") != Some(VERSION) {
            return wrong(400, "the version of the API is missing or another");
        }
        if self.header("user-agent").is_none() {
            return wrong(403, "Request forbidden by administrative rules: no user agent");
        }
        if !self.header("accept").is_some_and(|accept| accept.contains("application/vnd.github")) {
            return wrong(400, "the media type is not GitHub's");
        }
        let mistakes = operation.mistakes(&self.query, &self.body);
        if !mistakes.is_empty() {
            return wrong(400, &mistakes.join("; "));
        }
        Ok((operation, open.clone()))
    }

    /// Why the credential does not count.
    fn unauthorized(&self, world: &mut World, operation: &Operation) -> Option<Reply> {
        let given = self.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
        let Some(given) = given else {
            world.wrong.push(format!("{} {}: no credential", self.method, self.target));
            return Some(Reply::error(401, "Requires authentication"));
        };
        let now = world.tracker_now();
        let state = self.shared.state();
        let bad = Some(Reply::error(401, "Bad credentials"));
        match &state.login {
            Login::Token(token) => (token != given).then_some(bad)?,
            Login::App(app) if operation.route.is_the_apps() => {
                let claims = (app.verify)(given);
                let text =
                    |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let holds = claims.is_some_and(|claims| {
                    let (from, to) = (claims["iat"].as_i64(), claims["exp"].as_i64());
                    let (from, to) = (from.unwrap_or(i64::MAX), to.unwrap_or(i64::MIN));
                    let at = now.as_second();
                    text(&claims["iss"]) == app.id.to_string()
                        && (from..to).contains(&at)
                        && to - from <= OWN_LASTS
                });
                (!holds).then_some(bad)?
            }
            Login::App(_) => {
                let minted = state.minted.iter().find(|one| one.token == given && now < one.ends);
                let Some(minted) = minted else { return bad };
                let (needs, level) = needs(operation);
                let has = minted.permissions[needs].as_str();
                let all = minted.permissions.is_null();
                let enough = all || has == Some("write") || has == Some(level);
                let name = self.path.split('/').nth(3).unwrap_or_default();
                let here = minted
                    .repositories
                    .as_ref()
                    .is_none_or(|names| names.iter().any(|one| one == name));
                (!enough || !here).then(|| {
                    world.wrong.push(format!(
                        "{} {}: the token is not for that",
                        self.method, self.target
                    ));
                    Reply::error(403, "Resource not accessible by integration")
                })
            }
        }
    }

    /// The answer of an operation, with whatever goes wrong.
    fn exchange(
        &self,
        world: &mut World,
        operation: &'static Operation,
        open: Vec<String>,
    ) -> Reply {
        let route = operation.route;
        let fault = self.shared.state().faults.take(route);
        if let Some(reply) = fault.and_then(|fault| self.before(world, fault)) {
            return reply;
        }
        if let Some(reply) = self.unauthorized(world, operation) {
            return reply;
        }
        if let Some(reply) = self.spent(route, world.tracker_now()) {
            return reply;
        }
        if let Some(reply) = self.moved(operation, &open) {
            return reply;
        }
        let (query, body) = (self.query.clone(), self.body.clone());
        let asked = Asked { route, open, query, body };
        let answered = {
            let mut state = self.shared.state();
            Forge { state: &mut state, world }.answer(&asked)
        };
        let mut reply = match answered {
            Ok(content) => self.shaped(&asked, content, fault),
            Err(refused) => Reply::refused(&refused),
        };
        match fault {
            Some(Fault::Lost(status)) => Reply::error(status, "Server Error"),
            Some(Fault::Truncated) => {
                reply.body.truncate(reply.body.len() / 2);
                reply
            }
            Some(Fault::Broken) => {
                reply.body.truncate(reply.body.len() / 2);
                Reply { breaks: true, ..reply }
            }
            _ => reply,
        }
    }

    /// The answer of a fault that comes before anything happens.
    fn before(&self, _world: &mut World, fault: Fault) -> Option<Reply> {
        let reply = match fault {
            Fault::Status(status) => Reply::error(status, "Server Error"),
            Fault::Html => Reply {
                status: 200,
                headers: vec![("content-type", "text/html; charset=utf-8".to_owned())],
                body: b"<!DOCTYPE html><title>Unicorn!</title>".to_vec(),
                breaks: false,
            },
            Fault::Elsewhere(status) => {
                let mut reply = Reply::error(status, "Moved");
                let elsewhere = self.shared.state().elsewhere.clone();
                reply.headers.push(("location", format!("{elsewhere}{}", self.path)));
                reply
            }
            Fault::Unauthorized => Reply::error(401, "Bad credentials"),
            Fault::SecondaryLimit => Reply::error(
                403,
                "You have exceeded a secondary rate limit. Please wait a few minutes before you \
                 try again.",
            ),
            Fault::RetryAfter(seconds) => {
                let mut reply = Reply::error(429, "You have exceeded a secondary rate limit.");
                reply.headers.push(("retry-after", seconds.to_string()));
                reply
            }
            Fault::GraphLimit => Reply::json(
                200,
                &json!({ "errors": [{
                    "type": "RATE_LIMITED", "message": "API rate limit exceeded for user ID 7.",
                }] }),
            ),
            Fault::Lost(_) | Fault::Truncated | Fault::Broken | Fault::Stale | Fault::Omits(_) => {
                return None;
            }
        };
        Some(reply)
    }

    /// The answer once the quota is spent.
    fn spent(&self, route: Route, now: At) -> Option<Reply> {
        let mut state = self.shared.state();
        let left = state.quota(Some(route), now).left();
        (left == 0).then(|| Reply::error(403, "API rate limit exceeded for user ID 7."))
    }

    /// The answer of a repo that has another name now.
    fn moved(&self, operation: &Operation, open: &[String]) -> Option<Reply> {
        if !operation.route.is_a_repos() {
            return None;
        }
        let [owner, name, ..] = open else { return None };
        let repo: RepoName = format!("{owner}/{name}").parse().ok()?;
        let mut state = self.shared.state();
        let now = state.renamed.get(&repo).cloned()?;
        let id = state.repo_id(&now);
        let below = self.path.splitn(5, '/').nth(4).unwrap_or_default();
        let location = format!("{}/repositories/{id}/{below}", state.base);
        let status = if operation.method == "GET" { 301 } else { 307 };
        let message = "Moved Permanently".to_owned();
        Some(Reply::refused(&Refused { status, message, location: Some(location) }))
    }

    /// The answer as it is sent: a page of a list, its tag, or that nothing has changed.
    fn shaped(&self, asked: &Asked, content: Content, fault: Option<Fault>) -> Reply {
        let (status, mut body, link) = match content {
            Content::One(status, body) => (status, body, None),
            Content::Page(body) => (200, body, None),
            Content::Elsewhere(to) => {
                let (route, query) = (asked.route, self.query.keys().cloned().collect());
                let (request, response) = (self.body.clone(), Value::Null);
                let exchange = Exchange { route, query, request, status: 302, response };
                self.shared.state().keep(exchange);
                let headers = vec![("location", to)];
                return Reply { status: 302, headers, body: Vec::new(), breaks: false };
            }
            Content::Within(field, all) => {
                let (page, link) = self.page(asked, &all);
                (200, json!({ "total_count": all.len(), field: page }), link)
            }
            Content::Many(mut all) => {
                if let Some(Fault::Omits(number)) = fault {
                    all.retain(|entry| entry["number"] != number);
                }
                let (page, link) = self.page(asked, &all);
                (200, page, link)
            }
        };
        let reads = self.method == Method::GET;
        let credential = Digest::of(self.header("authorization").unwrap_or_default());
        let mut state = self.shared.state();
        if reads {
            let at = (self.target.clone(), credential.clone());
            match state.last.get(&at) {
                Some(before) if fault == Some(Fault::Stale) => body = before.clone(),
                _ => drop(state.last.insert(at, body.clone())),
            }
        }
        let official = !matches!(fault, Some(Fault::Stale | Fault::Omits(_)));
        if official {
            state.keep(Exchange {
                route: asked.route,
                query: self.query.keys().cloned().collect(),
                request: self.body.clone(),
                status,
                response: described(asked.route, &body),
            });
        }
        drop(state);
        let mut reply = Reply::json(status, &body);
        reply.headers.extend(link.map(|link| ("link", link)));
        if reads {
            let accept = self.header("accept").unwrap_or_default();
            let digest = Digest::of(format!("{credential} {accept} {body}"));
            let tag = format!("W/\"{digest}\"");
            if self.header("if-none-match") == Some(tag.as_str()) {
                reply.status = 304;
                reply.body.clear();
            }
            reply.headers.push(("etag", tag));
            reply.headers.push(("cache-control", "private, max-age=60, s-maxage=60".to_owned()));
        }
        reply
    }

    /// One page of a list, and where the others are.
    fn page(&self, asked: &Asked, all: &[Value]) -> (Value, Option<String>) {
        let number = |name: &str, default: usize| {
            asked.query.get(name).and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
        };
        let (size, page) = (number("per_page", 30).min(100), number("page", 1));
        let last = all.len().div_ceil(size).max(1);
        let entries: Vec<Value> = all.iter().skip((page - 1) * size).take(size).cloned().collect();
        if last == 1 {
            return (entries.into(), None);
        }
        let mut state = self.shared.state();
        let repo = match asked.open.as_slice() {
            [owner, name, ..] => format!("{owner}/{name}").parse::<RepoName>().ok(),
            _ => None,
        };
        let below = self.path.splitn(5, '/').nth(4).unwrap_or_default();
        // As Enterprise Server names it, if it was asked so.
        let prefix = if self.target.starts_with("/api/v3/") { "/api/v3" } else { "" };
        let path = match repo {
            Some(repo) => format!("{prefix}/repositories/{}/{below}", state.repo_id(&repo)),
            None => format!("{prefix}{}", self.path),
        };
        let base = state.base.clone();
        drop(state);
        let address = |page: usize| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            let others = asked.query.iter().filter(|(name, _)| *name != "page");
            query.extend_pairs(others).append_pair("page", &page.to_string());
            format!("{base}{path}?{}", query.finish())
        };
        let mut links = Vec::new();
        if page > 1 {
            links.push(format!("<{}>; rel=\"prev\"", address(page - 1)));
        }
        if page < last {
            links.push(format!("<{}>; rel=\"next\"", address(page + 1)));
            links.push(format!("<{}>; rel=\"last\"", address(last)));
        }
        if page > 1 {
            links.push(format!("<{}>; rel=\"first\"", address(1)));
        }
        (entries.into(), Some(links.join(", ")))
    }
}

/// The permission of an app that an operation needs.
fn needs(operation: &Operation) -> (&'static str, &'static str) {
    let level = if operation.method == "GET" { "read" } else { "write" };
    match operation.route {
        Route::Pulls | Route::OpenPull | Route::EditPull => ("pull_requests", level),
        Route::Permission | Route::User | Route::UserByName | Route::Repo | Route::BranchRules => {
            ("metadata", "read")
        }
        Route::Branch => ("contents", "read"),
        Route::CheckRuns => ("checks", level),
        Route::Statuses => ("statuses", level),
        Route::WorkflowRuns | Route::Jobs | Route::JobLog | Route::StartAgain => ("actions", level),
        Route::GraphQl => ("issues", "read"),
        _ => ("issues", level),
    }
}

/// Of an answer what the official description knows: not the entries of unheard-of kinds, nor those
/// of accounts that do not exist any more.
fn described(route: Route, body: &Value) -> Value {
    match body {
        Value::Array(entries) if route == Route::Timeline => {
            let known = entries.iter().filter(|entry| entry["actor"]["id"].is_u64());
            known.cloned().collect()
        }
        _ => body.clone(),
    }
}

fn date(at: At) -> String {
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&at).unwrap_or_default()
}
