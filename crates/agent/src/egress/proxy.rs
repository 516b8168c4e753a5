//! The proxy that a box's programs talk to: each request is let out, or refused and recorded.
//!
//! Names are resolved here, outside of the box, and the connection goes to the very address that
//! the rules allowed, so that a name cannot lead elsewhere a moment later.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use reqwest::Body;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::log::Log;
use super::rules::{Egress, Host, RefusalReason, Target};
use super::upstream::{Model, NoAnswer, passed_on};

/// Maximum number of connections of a box at once; more wait.
const CONNECTIONS: usize = 256;
/// Maximum size of a request's head, in bytes.
const HEAD: usize = 64 << 10;
/// How long a head may take to arrive.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// How long resolving a name may take, and making each connection.
const REACH: Duration = Duration::from_secs(15);
/// How many of a name's addresses are tried.
const ADDRESSES: usize = 4;
/// How long one connection lives at most.
const LIFE: Duration = Duration::from_hours(2);

pub(super) struct Proxy {
    rules: Egress,
    model: Option<Model>,
    log: Arc<Log>,
}

impl Proxy {
    pub(super) fn new(rules: Egress, model: Option<Model>, log: Arc<Log>) -> Self {
        Self { rules, model, log }
    }

    /// Serves connections until the future is dropped.
    pub(super) async fn serve(self: Arc<Self>, listener: tokio::net::TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Too many open files, or the client is gone already: go on with the next one.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            tokio::spawn(Arc::clone(&self).talk(stream, Arc::new(permit)));
        }
    }

    async fn talk(self: Arc<Self>, stream: TcpStream, permit: Arc<OwnedSemaphorePermit>) {
        let service = service_fn(move |request| {
            let (proxy, permit) = (Arc::clone(&self), Arc::clone(&permit));
            async move { Ok::<_, Infallible>(proxy.answer(request, permit).await) }
        });
        let talked = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // An error concerns only this client, who sees it, too.
        let _ = timeout(LIFE, talked).await;
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        let wanted = wanted(&request);
        let answered = match kind(request.method(), request.uri()) {
            Ok(Kind::Tunnel(target)) => self.tunnel(&target, request, permit).await,
            Ok(Kind::Plain(target)) => self.plain(&target, request).await,
            Ok(Kind::Model) => match &self.model {
                Some(model) => model.ask(request).await,
                None => Err(NoAnswer::Refused(RefusalReason::NoModel)),
            },
            Err(refused) => Err(NoAnswer::Refused(refused)),
        };
        match answered {
            Ok(answer) => answer,
            Err(NoAnswer::Refused(refused)) => {
                let why = refused.to_string();
                self.log.add(&wanted, &why, 1);
                said(StatusCode::FORBIDDEN, &format!("the network policy refuses {wanted}: {why}"))
            }
            Err(NoAnswer::Failed(status, why)) => {
                if status == StatusCode::UNAUTHORIZED {
                    self.log.add(&wanted, &why, 1);
                }
                said(status, &why)
            }
        }
    }

    async fn tunnel(
        &self,
        target: &Target,
        request: Request<Incoming>,
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Result<Response<Body>, NoAnswer> {
        let mut far = self.connect(target).await?;
        tokio::spawn(async move {
            let _held = permit;
            let Ok(near) = hyper::upgrade::on(request).await else { return };
            let mut near = TokioIo::new(near);
            let _ = timeout(LIFE, tokio::io::copy_bidirectional(&mut near, &mut far)).await;
        });
        Ok(Response::new(Body::from("")))
    }

    async fn plain(
        &self,
        target: &Target,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, NoAnswer> {
        let far = self.connect(target).await?;
        let (mut head, body) = request.into_parts();
        let bad = || NoAnswer::Refused(RefusalReason::NoAddress);
        let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
        head.headers = passed_on(&head.headers);
        head.headers.insert(HOST, HeaderValue::try_from(authority).map_err(|_| bad())?);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = path.parse().map_err(|_: hyper::http::uri::InvalidUri| bad())?;
        let unreachable = |error: hyper::Error| {
            NoAnswer::Failed(StatusCode::BAD_GATEWAY, format!("{target} does not answer: {error}"))
        };
        let made = hyper::client::conn::http1::handshake(TokioIo::new(far)).await;
        let (mut sender, connection) = made.map_err(unreachable)?;
        tokio::spawn(async move { timeout(LIFE, connection).await });
        let answer = sender.send_request(Request::from_parts(head, body)).await;
        let (mut head, body) = answer.map_err(unreachable)?.into_parts();
        head.headers = passed_on(&head.headers);
        Ok(Response::from_parts(head, Body::wrap(body)))
    }

    /// Connects to a target, if it may be reached.
    async fn connect(&self, target: &Target) -> Result<TcpStream, NoAnswer> {
        self.rules.may_reach(target).map_err(NoAnswer::Refused)?;
        let failed = |why: String| NoAnswer::Failed(StatusCode::BAD_GATEWAY, why);
        let found: Vec<IpAddr> = match target.host() {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let looked =
                    timeout(REACH, tokio::net::lookup_host((name.as_str(), target.port())));
                match looked.await {
                    Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
                    Ok(Err(error)) => {
                        return Err(failed(format!("{name} cannot be resolved: {error}")));
                    }
                    Err(_) => return Err(failed(format!("{name} was not resolved in time"))),
                }
            }
        };
        let fine = self.rules.addresses(target, found).map_err(NoAnswer::Refused)?;
        let mut last = format!("{target} has no address");
        for address in fine.into_iter().take(ADDRESSES) {
            let at = SocketAddr::new(address, target.port());
            match timeout(REACH, TcpStream::connect(at)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    last = format!("{target} at {address} cannot be reached: {error}");
                }
                Err(_) => last = format!("{target} at {address} does not answer in time"),
            }
        }
        Err(failed(last))
    }
}

/// The kinds of request that the proxy serves.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// `CONNECT host:port`.
    Tunnel(Target),
    /// An absolute URL with `http`.
    Plain(Target),
    /// A path alone: it is for the model's API.
    Model,
}

fn kind(method: &Method, uri: &Uri) -> Result<Kind, RefusalReason> {
    match (uri.scheme_str(), uri.authority()) {
        (None, Some(authority)) if *method == Method::CONNECT => {
            Ok(Kind::Tunnel(Target::of_authority(authority.as_str(), None)?))
        }
        _ if *method == Method::CONNECT => Err(RefusalReason::NoAddress),
        (Some("http"), Some(authority)) => {
            Ok(Kind::Plain(Target::of_authority(authority.as_str(), Some(80))?))
        }
        (None, None) if uri.path().starts_with('/') => Ok(Kind::Model),
        (Some(_) | None, _) => Err(RefusalReason::Method),
    }
}

/// What a request wants to reach, as text for people.
fn wanted(request: &Request<Incoming>) -> String {
    let uri = request.uri();
    let kind = kind(request.method(), uri);
    match (kind, uri.authority()) {
        (Ok(Kind::Tunnel(target) | Kind::Plain(target)), _) => target.to_string(),
        (Ok(Kind::Model), _) => format!("the model's API, {} {}", request.method(), uri.path()),
        // Host and port only, without a user's name and password.
        (Err(_), Some(authority)) => match authority.port() {
            Some(port) => format!("{}:{port}", authority.host()),
            None => authority.host().to_owned(),
        },
        (Err(_), None) => format!("{} {}", request.method(), uri.path()),
    }
}

/// An error answer of our own, in a form whose message the clients of both APIs (Anthropic's and
/// OpenAI's) show.
fn said(status: StatusCode, message: &str) -> Response<Body> {
    let kind = match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        _ => "api_error",
    };
    let error = serde_json::json!({ "type": kind, "message": message });
    let body = serde_json::json!({ "type": "error", "error": error });
    let mut answer = Response::new(Body::from(format!("{body}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_their_first_line() {
        let check = |method: &Method, uri: &str, expected: Result<Option<&str>, RefusalReason>| {
            let found = kind(method, &uri.parse().unwrap()).map(|kind| match kind {
                Kind::Tunnel(target) => Some(format!("tunnel {target}")),
                Kind::Plain(target) => Some(format!("plain {target}")),
                Kind::Model => None,
            });
            assert_eq!(found, expected.map(|text| text.map(str::to_owned)), "{method} {uri}");
        };
        let (connect, get) = (Method::CONNECT, Method::GET);
        check(&connect, "A.example:443", Ok(Some("tunnel a.example:443")));
        check(&connect, "[::1]:443", Ok(Some("tunnel [::1]:443")));
        check(&connect, "a.example", Err(RefusalReason::NoAddress));
        check(&connect, "/v1/messages", Err(RefusalReason::NoAddress));
        check(&connect, "user:secret@a.example:443", Err(RefusalReason::NoAddress));
        check(&get, "http://a.example/x?y", Ok(Some("plain a.example:80")));
        check(&get, "http://a.example:8080/", Ok(Some("plain a.example:8080")));
        check(&get, "http://user:secret@a.example/", Err(RefusalReason::NoAddress));
        check(&get, "https://a.example/", Err(RefusalReason::Method));
        check(&get, "ftp://a.example/", Err(RefusalReason::Method));
        check(&get, "*", Err(RefusalReason::Method));
        check(&Method::POST, "/v1/messages?beta=true", Ok(None));
    }
}
