//! From a request to its answer: the steps that all operations have in common.
//!
//! In the server's order: the credential, the repo, what was given, then the operation itself and
//! its pages. A fault takes the place of one of these steps.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use afk_core::ids::{At, RepoName};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Extracted;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::answers::{CheckedRequest, Content, Forge, Paging, Refusal, window};
use super::route::{self, Operation, ROOT};
use super::state::Exchange;
use super::{Fault, Recorded, Route, Shared};
use crate::frame::{Reply, Running, json_of, query};
use crate::git_http::{Door, GitRequest};
use afk_sim::world::World;

fn json(status: u16, body: &Value) -> Reply {
    Reply::of(status, "application/json;charset=utf-8", body.to_string().into_bytes())
}

/// Serves both listeners until the result is dropped.
pub(super) fn spawn(
    api: TcpListener,
    other: TcpListener,
    shared: &Arc<Shared>,
) -> io::Result<Running> {
    let app = Router::new().fallback(answer).with_state(shared.clone());
    let elsewhere = Router::new().fallback(stray).with_state(shared.clone());
    Running::start("forgejo", vec![(api, app), (other, elsewhere)])
}

/// The other host, to which redirects lead: it notes whether a credential comes along.
async fn stray(
    Extracted(shared): Extracted<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
) -> &'static str {
    let credential = headers.contains_key(header::AUTHORIZATION);
    shared.state().strayed.push((uri.path().to_owned(), credential));
    "what another host has to say"
}

async fn answer(
    Extracted(shared): Extracted<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(git) = GitRequest::of(&uri, &headers) {
        return git_answer(&shared, &git, (&method, &uri, &headers, &body)).await.sent();
    }
    let reply = shared.sim.with(|world| {
        if shared.state().live {
            world.now = At::now();
        }
        let request = Incoming::new(&shared, &method, &uri, &headers, &body);
        request.answer(world)
    });
    reply.sent()
}

/// Answers git, which asks at the same address as everybody else. The token is the password.
async fn git_answer(
    shared: &Shared,
    git: &GitRequest,
    raw: (&Method, &Uri, &HeaderMap, &Bytes),
) -> Reply {
    let (door, folder) = {
        let state = shared.state();
        let folder = state.pulls.git(&git.repo).map(|bare| bare.path().to_owned());
        let known =
            git.credential.as_ref().is_some_and(|(_, given)| *given == state.settings.token);
        let archived = git.pushes && state.archived.contains(&git.repo);
        let door = match (known, archived) {
            (false, _) => Door::Unknown,
            (true, true) => Door::Closed("the repository is archived"),
            (true, false) => Door::Open,
        };
        (door, folder)
    };
    let reply = git.answer(door, folder.as_deref(), raw).await;
    shared.state().git_requests.push(git.recorded(reply.status));
    reply
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
        let query = query(uri.query().unwrap_or_default());
        let body = json_of(body);
        Self { shared, method, target, path: uri.path().to_owned(), query, headers, body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn answer(&self, world: &mut World) -> Reply {
        let found = route::find(self.method.as_str(), &self.path);
        let route = found.as_ref().map(|(operation, _)| operation.route);
        let mut reply = match self.in_order(world, found.as_ref()) {
            Ok((operation, open)) => self.exchange(world, operation, open),
            Err(reply) => reply,
        };
        let private = "max-age=0, private, must-revalidate, no-transform";
        reply.headers.push(("cache-control", private.to_owned()));
        self.shared.state().requests.push(Recorded {
            route,
            method: self.method.to_string(),
            target: self.target.clone(),
            status: reply.status,
        });
        reply
    }

    /// An error as the server would send it.
    fn error(&self, status: u16, message: &str) -> Reply {
        self.refused(&Refusal::new(status, message)).1
    }

    /// A refusal, as the body and as the whole answer.
    fn refused(&self, refused: &Refusal) -> (Value, Reply) {
        let Some(message) = &refused.message else {
            return (Value::Null, Reply::empty(refused.status));
        };
        let docs = format!("{}/api/swagger", self.shared.state().base);
        let mut body = json!({ "message": message, "url": docs });
        if let Some(errors) = &refused.errors {
            body["errors"] = errors.clone().into();
        }
        let reply = json(refused.status, &body);
        (body, reply)
    }

    /// The operation and the varying parts of its address, if the request is in order.
    fn in_order(
        &self,
        world: &mut World,
        found: Option<&(&'static Operation, Vec<String>)>,
    ) -> Result<(&'static Operation, Vec<String>), Reply> {
        let asked = format!("{} {}", self.method, self.target);
        let mut wrong = |what: &str| {
            world.wrong.push(format!("{asked}: {what}"));
            Err(self.error(400, what))
        };
        let Some((operation, open)) = found else { return wrong("no such operation") };
        // With this media type Forgejo would answer some requests in another way
        // (`AcceptsGithubResponse`).
        if self.header("accept").is_some_and(|accept| accept.contains("github")) {
            return wrong("asks for the media type of another forge");
        }
        let kind = self.header("content-type").unwrap_or_default();
        if !self.body.is_null() && !kind.starts_with("application/json") {
            return wrong("the body's content type is not application/json");
        }
        let server = self.shared.state().settings.kind;
        let mistakes = operation.mistakes(server, &self.query, &self.body);
        if !mistakes.is_empty() {
            return wrong(&mistakes.join("; "));
        }
        Ok((operation, open.clone()))
    }

    /// The refusal of the request, if its credential does not count.
    fn unauthorized(&self, world: &mut World) -> Option<Reply> {
        let given = self.header("authorization").and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            let known = ["token", "bearer"].iter().any(|one| scheme.eq_ignore_ascii_case(one));
            known.then_some(token)
        });
        let Some(given) = given else {
            world.wrong.push(format!("{} {}: no token", self.method, self.target));
            return Some(self.error(401, "token is required"));
        };
        let known = self.shared.state().settings.token == given;
        (!known).then(|| self.error(401, "invalid username, password or token"))
    }

    /// The answer of an operation, or of the fault that takes its place.
    fn exchange(
        &self,
        world: &mut World,
        operation: &'static Operation,
        open: Vec<String>,
    ) -> Reply {
        let route = operation.route;
        let fault = self.shared.state().faults.take(route);
        if let Some(reply) = fault.and_then(|fault| self.before(fault)) {
            return reply;
        }
        if let Some(reply) = self.unauthorized(world) {
            return reply;
        }
        if route.is_for_issues() && self.shared.state().lacks_issues {
            return self.error(
                403,
                "token does not have at least one of required scope(s), required=[read:issue], \
                 token scope=write:repository,read:user",
            );
        }
        if let Some(reply) = self.moved(operation, &open) {
            return reply;
        }
        let (query, body) = (self.query.clone(), self.body.clone());
        let asked = CheckedRequest { route, open, query, body };
        let answered = {
            let mut state = self.shared.state();
            Forge { state: &mut state, world }.answer(&asked)
        };
        let reply = match answered {
            Ok(content) => self.shaped(&asked, content, fault),
            Err(refused) => {
                let (response, reply) = self.refused(&refused);
                self.keep(&asked, refused.status, response);
                reply
            }
        };
        reply.suffering(fault, |status| self.error(status, "Internal Server Error"))
    }

    /// The answer of a fault that comes before anything is done.
    fn before(&self, fault: Fault) -> Option<Reply> {
        let reply = match fault {
            Fault::Status(status) => self.error(status, "Internal Server Error"),
            Fault::Html => Reply::html(200, "Forgejo: Beyond coding. We forge."),
            Fault::Mislabelled => Reply::mislabelled("Forgejo: Beyond coding. We forge."),
            Fault::Elsewhere(status) => {
                let elsewhere = self.shared.state().elsewhere.clone();
                Reply::empty(status).with("location", format!("{elsewhere}{}", self.path))
            }
            Fault::Unauthorized => self.error(401, "invalid username, password or token"),
            // The limit is a proxy's, so the answer is not in the server's form.
            Fault::RetryAfter(seconds) => {
                let reply = Reply::html(429, "429 Too Many Requests");
                reply.with("retry-after", seconds.to_string())
            }
            Fault::SecondaryLimit | Fault::GraphLimit => {
                self.error(500, "this server has no such limit")
            }
            Fault::Lost(_) | Fault::Truncated | Fault::Broken | Fault::Stale | Fault::Omits(_) => {
                return None;
            }
        };
        Some(reply)
    }

    /// The redirect, if the repo has another name now: with 307 for every method, and to an address
    /// without a host (`RedirectToRepo` in `services/context/repo.go`).
    fn moved(&self, operation: &Operation, open: &[String]) -> Option<Reply> {
        if !operation.route.is_a_repos() {
            return None;
        }
        let [owner, name, ..] = open else { return None };
        let repo: RepoName = format!("{owner}/{name}").parse().ok()?;
        let now = self.shared.state().renamed.get(&repo).cloned()?;
        let (before, after) = (format!("{ROOT}/repos/{repo}"), format!("{ROOT}/repos/{now}"));
        Some(Reply::empty(307).with("location", self.target.replacen(&before, &after, 1)))
    }

    fn keep(&self, asked: &CheckedRequest, status: u16, response: Value) {
        let query = self.query.keys().cloned().collect();
        let (route, request) = (asked.route, self.body.clone());
        self.shared.state().exchanges.keep(Exchange { route, query, request, status, response });
    }

    /// The answer as it is sent: a list as one of its pages, with its length where a header has it.
    fn shaped(&self, asked: &CheckedRequest, content: Content, fault: Option<Fault>) -> Reply {
        let mut headers = Vec::new();
        let (status, body) = match content {
            Content::One(status, body) => (status, body),
            Content::Empty(status) => (status, Value::Null),
            Content::Text(text) => (200, text.into()),
            Content::Counted(body, count) => {
                headers.push(("x-total-count", count.to_string()));
                (200, body)
            }
            Content::List(mut all, paging) => {
                if let Some(Fault::Omits(number)) = fault {
                    all.retain(|entry| entry["number"] != number);
                }
                (200, self.page(asked, all, paging, &mut headers))
            }
        };
        let mut reply = match (asked.route, &body) {
            (_, Value::Null) if status != 200 => Reply::empty(status),
            (Route::JobLog, Value::String(log)) => {
                Reply::of(status, "text/plain; charset=utf-8", log.clone().into_bytes())
            }
            _ => json(status, &body),
        };
        reply.headers.extend(headers);
        if self.method == Method::GET {
            let mut state = self.shared.state();
            match state.last.get(&self.target) {
                Some(before) if fault == Some(Fault::Stale) => return before.clone(),
                _ => drop(state.last.insert(self.target.clone(), reply.clone())),
            }
        }
        if !matches!(fault, Some(Fault::Stale | Fault::Omits(_))) {
            self.keep(asked, status, body);
        }
        reply
    }

    /// One page of a list; its length and the links to other pages are added to `headers`.
    fn page(
        &self,
        asked: &CheckedRequest,
        all: Vec<Value>,
        paging: Paging,
        headers: &mut Vec<(&'static str, String)>,
    ) -> Value {
        if paging.counted {
            headers.push(("x-total-count", all.len().to_string()));
        }
        if paging.linked {
            headers.extend(self.links(asked, all.len()).map(|links| ("link", links)));
        }
        let window = window(asked, paging.always);
        all.into_iter().skip(window.skip).take(window.take).collect()
    }

    /// The links to the other pages, in the server's order.
    fn links(&self, asked: &CheckedRequest, total: usize) -> Option<String> {
        let (page, size) = asked.page();
        let last = total.div_ceil(size).max(1);
        let page = page.unwrap_or(1).min(last);
        let base = self.shared.state().base.clone();
        let link = |page: usize, rel: &str| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            let others = asked.query.iter().filter(|(name, _)| *name != "page");
            query.extend_pairs(others).append_pair("page", &page.to_string());
            format!("<{base}{}?{}>; rel=\"{rel}\"", self.path, query.finish())
        };
        let mut links = Vec::new();
        if page < last {
            links.extend([link(page + 1, "next"), link(last, "last")]);
        }
        if page > 1 {
            links.extend([link(1, "first"), link(page - 1, "prev")]);
        }
        (!links.is_empty()).then(|| links.join(","))
    }
}
