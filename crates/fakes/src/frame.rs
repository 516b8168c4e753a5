//! What the fake forges have in common: their listeners and thread, how operations are found,
//! faults, how an answer is sent, and the record of what was asked.
//!
//! Each forge has its own operations, payloads, pages and order of checks, in its own folder.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use afk_core::digest::Digest;
use afk_sim::fakes::Sim;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::sync::oneshot;

/// The largest request: a push of a test's repository.
const LARGEST: usize = 64 << 20;

/// How an answer goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and the answer has this status.
    Status(u16),
    /// It is done, and the answer has this status.
    Lost(u16),
    /// An HTML page for people, with status 200.
    Html,
    /// The same page, with the content type of JSON.
    Mislabelled,
    /// The first half of the answer, sent as if it were the whole.
    Truncated,
    /// The first half of the answer, and then the connection breaks.
    Broken,
    /// A redirect of this status to another host.
    Elsewhere(u16),
    /// As if the credential were not known, or not yet: 401.
    Unauthorized,
    /// A secondary limit without a time: 403, while the quota is not spent. Only GitHub has it.
    SecondaryLimit,
    /// A limit for so many seconds: 429. In front of Forgejo, a proxy sets it.
    RetryAfter(u32),
    /// A limit of GraphQL: an error with status 200. Only GitHub has it.
    GraphLimit,
    /// The answer that the same address had the last time.
    Stale,
    /// A list without its entry of this number.
    Omits(u64),
}

/// Faults of requests that are still to come, in their order for each route.
#[derive(Debug)]
pub(crate) struct Faults<R>(VecDeque<(R, Option<Fault>)>);

impl<R> Default for Faults<R> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<R: Copy + PartialEq> Faults<R> {
    /// Queues a fault for the next request of this route that nothing is queued for.
    pub(crate) fn push(&mut self, route: R, fault: Fault) {
        self.0.push_back((route, Some(fault)));
    }

    /// Lets the next such request pass without a fault.
    pub(crate) fn spare(&mut self, route: R) {
        self.0.push_back((route, None));
    }

    /// Takes the fault of the request of this route that has come.
    pub(crate) fn take(&mut self, route: R) -> Option<Fault> {
        let at = self.0.iter().position(|(of, _)| *of == route)?;
        self.0.remove(at).and_then(|(_, fault)| fault)
    }

    /// How many entries no request has met yet.
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }
}

/// A request as it came, and the status of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded<R> {
    /// Its operation; none if there is no such operation.
    pub route: Option<R>,
    /// Its method.
    pub method: String,
    /// Its path with the query.
    pub target: String,
    /// The status of its answer.
    pub status: u16,
}

/// A request and its answer, to be checked against the official description.
pub(crate) struct Exchange<R> {
    pub(crate) route: R,
    pub(crate) query: Vec<String>,
    pub(crate) request: Value,
    pub(crate) status: u16,
    pub(crate) response: Value,
}

/// The exchanges that are still to be checked against the description, each kept once.
pub(crate) struct Exchanges<R> {
    waiting: Vec<Exchange<R>>,
    known: BTreeSet<Digest>,
}

impl<R> Default for Exchanges<R> {
    fn default() -> Self {
        Self { waiting: Vec::new(), known: BTreeSet::new() }
    }
}

impl<R: Debug> Exchanges<R> {
    /// Keeps an exchange, unless the same one was kept before.
    pub(crate) fn keep(&mut self, exchange: Exchange<R>) {
        let Exchange { route, query, request, status, response } = &exchange;
        let digest = Digest::of(format!("{route:?} {query:?} {status} {request} {response}"));
        if self.known.insert(digest) {
            self.waiting.push(exchange);
        }
    }

    /// Takes the exchanges that were kept since the last call.
    pub(crate) fn take(&mut self) -> Vec<Exchange<R>> {
        std::mem::take(&mut self.waiting)
    }
}

/// An operation of a forge's API.
pub(crate) struct Operation<R> {
    pub(crate) route: R,
    pub(crate) method: &'static str,
    /// Its path, with `{…}` for the parts that vary.
    pub(crate) template: &'static str,
    /// The parameters that its query may have.
    pub(crate) query: &'static [&'static str],
    /// The fields that its body may have.
    pub(crate) body: &'static [&'static str],
}

impl<R> Operation<R> {
    /// The operation among `all` for a request to `path`, with the parts of the path that vary.
    pub(crate) fn find<'a>(
        all: &'a [Self],
        method: &str,
        path: &str,
    ) -> Option<(&'a Self, Vec<String>)> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut of_method = all.iter().filter(|operation| operation.method == method);
        of_method.find_map(|operation| Some((operation, operation.matches(&parts)?)))
    }

    /// The parts of `path` that vary, if the path fits the template.
    fn matches(&self, path: &[&str]) -> Option<Vec<String>> {
        let template: Vec<&str> = self.template.trim_start_matches('/').split('/').collect();
        if template.len() != path.len() {
            return None;
        }
        let mut open = Vec::new();
        for (part, given) in template.into_iter().zip(path) {
            if part.starts_with('{') {
                open.push(percent_decode_str(given).decode_utf8_lossy().into_owned());
            } else if part != *given {
                return None;
            }
        }
        Some(open)
    }

    /// The parameters of a query that the operation does not take.
    pub(crate) fn unknown<'a>(&self, query: &'a BTreeMap<String, String>) -> Vec<&'a str> {
        query.keys().map(String::as_str).filter(|name| !self.query.contains(name)).collect()
    }

    /// What is wrong with the body of a request.
    pub(crate) fn wrong_body(&self, body: &Value) -> Vec<String> {
        match body {
            Value::Null if self.body.is_empty() => Vec::new(),
            Value::Object(fields) => {
                let unknown = fields.keys().filter(|name| !self.body.contains(&name.as_str()));
                unknown.map(|name| format!("knows no field {name}")).collect()
            }
            _ => vec!["takes an object as its body, or none".to_owned()],
        }
    }
}

/// An operation that reads.
pub(crate) const fn read<R: Copy>(
    route: R,
    template: &'static str,
    query: &'static [&'static str],
) -> Operation<R> {
    Operation { route, method: "GET", template, query, body: &[] }
}

/// An operation that writes.
pub(crate) const fn write<R: Copy>(
    route: R,
    method: &'static str,
    template: &'static str,
    body: &'static [&'static str],
) -> Operation<R> {
    Operation { route, method, template, query: &[], body }
}

/// The parameters of a query.
pub(crate) fn query(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes())
        .map(|(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// A body as JSON; null if there is none.
pub(crate) fn json_of(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| "no JSON".into())
}

/// An answer before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the connection breaks after the body.
    breaks: bool,
}

impl Reply {
    /// An answer with a body of this content type.
    pub(crate) fn of(status: u16, kind: &str, body: Vec<u8>) -> Self {
        let headers = vec![("content-type", kind.to_owned())];
        Self { status, headers, body, breaks: false }
    }

    /// An answer without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), breaks: false }
    }

    /// An HTML page for people that is said to be JSON.
    pub(crate) fn mislabelled(title: &str) -> Self {
        let page = format!("<!DOCTYPE html><title>{title}</title>");
        Self::of(200, "application/json", page.into_bytes())
    }

    /// An HTML page for people.
    pub(crate) fn html(status: u16, title: &str) -> Self {
        let page = format!("<!DOCTYPE html><title>{title}</title>");
        Self::of(status, "text/html; charset=utf-8", page.into_bytes())
    }

    /// The same with one more header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// What `fault` leaves of an answer to a request that was carried out; `error` makes the answer
    /// of a status.
    pub(crate) fn suffering(
        mut self,
        fault: Option<Fault>,
        error: impl FnOnce(u16) -> Self,
    ) -> Self {
        match fault {
            Some(Fault::Lost(status)) => return error(status),
            Some(Fault::Truncated) => self.body.truncate(self.body.len() / 2),
            Some(Fault::Broken) => {
                self.body.truncate(self.body.len() / 2);
                self.breaks = true;
            }
            _ => {}
        }
        self
    }

    /// The answer as axum sends it.
    pub(crate) fn sent(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::builder().status(status);
        for (name, value) in &self.headers {
            response = response.header(*name, value);
        }
        let body = if self.breaks {
            let half = stream::iter([Ok(Bytes::from(self.body))]);
            let end = stream::once(async {
                // Lets the first half be sent before.
                tokio::task::yield_now().await;
                Err(io::Error::other("the connection breaks"))
            });
            Body::from_stream(half.chain(end))
        } else {
            Body::from(self.body)
        };
        response.body(body).unwrap_or_default()
    }
}

/// What a server and the test share: the world, and what the forge knows that the world does not.
pub(crate) struct Shared<S> {
    pub(crate) sim: Sim,
    state: Mutex<S>,
}

impl<S> Shared<S> {
    pub(crate) fn new(sim: &Sim, state: S) -> Arc<Self> {
        Arc::new(Self { sim: sim.clone(), state: Mutex::new(state) })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener on a free port of loopback, and its address.
pub(crate) fn listen() -> io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, format!("http://{address}")))
}

/// Servers on a thread of their own, until this is dropped.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Serves each router at its listener.
    pub(crate) fn start(name: &str, servers: Vec<(TcpListener, Router)>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async move {
                for (listener, app) in servers {
                    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                    let app = app.layer(DefaultBodyLimit::max(LARGEST));
                    // Ends with the runtime.
                    tokio::spawn(async move { axum::serve(listener, app).await });
                }
                let _ = stopped.await;
            });
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_has_its_own_queue_of_faults() {
        let mut faults = Faults::default();
        for (route, fault) in [('a', Fault::Html), ('b', Fault::Stale), ('a', Fault::Broken)] {
            faults.push(route, fault);
        }
        let taken = ['a', 'a', 'a', 'b'].map(|route| faults.take(route));
        let expected = [Some(Fault::Html), Some(Fault::Broken), None, Some(Fault::Stale)];
        assert_eq!((taken, faults.left()), (expected, 0));
    }

    #[test]
    fn what_a_fault_leaves_of_an_answer() {
        let check = |fault, status: u16, body: &str, breaks: bool| {
            let whole = Reply::of(200, "text/plain", b"whole!".to_vec());
            let left = whole.suffering(fault, Reply::empty);
            let found = (left.status, String::from_utf8(left.body).unwrap(), left.breaks);
            assert_eq!(found, (status, body.to_owned(), breaks), "{fault:?}");
        };
        check(None, 200, "whole!", false);
        check(Some(Fault::Stale), 200, "whole!", false);
        check(Some(Fault::Lost(502)), 502, "", false);
        check(Some(Fault::Truncated), 200, "who", false);
        check(Some(Fault::Broken), 200, "who", true);
    }
}
