//! A server within bounds: the number of connections, the time that a client may take, and how long
//! a stop waits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// How many bytes of an answer are buffered for a client that does not read it, and how long
/// headers may be. By default it would be several times as much for each connection.
const BUFFER: usize = 64 * 1024;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It is not possible to listen at the address.
    #[error("cannot listen at {address}: {source}; choose another address, or stop what uses it")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// The bounds of what clients may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many connections are open at once; others wait to be accepted.
    pub connections: usize,
    /// How long a client may take to send a request's headers, and stay idle before the next.
    pub headers: Duration,
    /// How long a connection may last; none if answers may be endless streams.
    pub connection: Option<Duration>,
    /// How long a stop waits for requests under way. Connections that are left then are cut off.
    pub drain: Duration,
}

/// A server that listens already: clients that connect wait until [`Self::serve`].
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Starts to listen at `address`.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address at which it listens, with the port that the system chose if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `routes` until `stop`, and then requests under way for at most `limits.drain`.
    /// Handlers find the peer's address as [`ConnectInfo`].
    pub async fn serve(&self, routes: &Router, limits: Limits, stop: &CancellationToken) {
        let (places, tasks) = (Arc::new(Semaphore::new(limits.connections)), TaskTracker::new());
        let cut = CancellationToken::new();
        loop {
            let place = tokio::select! {
                place = places.clone().acquire_owned() => place,
                () = stop.cancelled() => break,
            };
            let Ok(place) = place else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, for example, which may be over in a moment.
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let served = connection(stream, peer, routes.clone(), limits, stop.clone());
            let cut = cut.clone();
            tasks.spawn(async move {
                let _place = place;
                tokio::select! {
                    () = served => {}
                    () = cut.cancelled() => {}
                }
            });
        }
        tasks.close();
        let _ = timeout(limits.drain, tasks.wait()).await;
        cut.cancel();
        tasks.wait().await;
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    routes: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    // Small frames of a stream are to be sent at once.
    let _ = stream.set_nodelay(true);
    let routes = routes.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.headers).max_buf_size(BUFFER);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    let served = async {
        tokio::select! {
            done = connection.as_mut() => return done,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    let done = match limits.connection {
        Some(bound) => timeout(bound, served).await.unwrap_or(Ok(())),
        None => served.await,
    };
    if let Err(error) = done {
        tracing::debug!(%error, "connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMITS: Limits = Limits {
        connections: 2,
        headers: Duration::from_secs(10),
        connection: None,
        drain: Duration::from_millis(50),
    };

    /// Reads the whole answer to `GET path`.
    async fn ask(address: SocketAddr, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_handler_knows_its_peer_and_a_stop_cuts_off_what_never_ends() {
        let peer =
            |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() };
        let routes = Router::new().route("/", get(peer)).route("/never", get(pending::<String>));
        let server = Bound::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, stop) = (server.address(), CancellationToken::new());
        let client = async {
            assert!(ask(address, "/").await.unwrap().ends_with("127.0.0.1"));
            let never = tokio::spawn(async move { ask(address, "/never").await });
            assert!(ask(address, "/").await.unwrap().starts_with("HTTP/1.1 200"));
            stop.cancel();
            let cut = never.await.unwrap();
            assert!(cut.is_err() || cut.is_ok_and(|answer| answer.is_empty()));
        };
        let both = async { tokio::join!(server.serve(&routes, LIMITS, &stop), client) };
        timeout(Duration::from_secs(20), both).await.expect("the stop is bounded");
    }

    /// Serves `routes` within `limits` while `client` runs, for at most 20 seconds.
    async fn while_served(routes: Router, limits: Limits, client: impl AsyncFnOnce(SocketAddr)) {
        let server = Bound::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, stop) = (server.address(), CancellationToken::new());
        let client = async {
            client(address).await;
            stop.cancel();
        };
        let both = async { tokio::join!(server.serve(&routes, limits, &stop), client) };
        timeout(Duration::from_secs(20), both).await.expect("everything is bounded");
    }

    #[tokio::test]
    async fn headers_that_do_not_come_in_time_are_cut_off() {
        let routes = Router::new().route("/", get(async || "here"));
        let limits = Limits { headers: Duration::from_millis(200), ..LIMITS };
        while_served(routes, limits, async |address| {
            for begun in ["", "GET / HTTP/1.1\r\nhost: x\r\nx-slow: 1"] {
                let mut slow = TcpStream::connect(address).await.unwrap();
                slow.write_all(begun.as_bytes()).await.unwrap();
                let mut told = Vec::new();
                slow.read_to_end(&mut told).await.unwrap();
                assert!(!String::from_utf8_lossy(&told).contains("200 OK"), "{begun}");
            }
            // A connection that stays idle after its answer is cut off, too.
            let mut idle = TcpStream::connect(address).await.unwrap();
            idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut told = String::new();
            idle.read_to_string(&mut told).await.unwrap();
            assert!(told.ends_with("here"), "{told}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_connection_above_the_limit_waits_for_another_one_to_end() {
        let routes = Router::new().route("/", get(async || "here"));
        while_served(routes, LIMITS, async |address| {
            let first = TcpStream::connect(address).await.unwrap();
            let second = TcpStream::connect(address).await.unwrap();
            let third = ask(address, "/");
            tokio::pin!(third);
            assert!(timeout(Duration::from_millis(300), &mut third).await.is_err());
            drop(first);
            assert!(third.await.unwrap().ends_with("here"));
            drop(second);
        })
        .await;
    }

    #[tokio::test]
    async fn an_address_in_use_is_told_with_what_to_do() {
        let server = Bound::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = Bound::bind(server.address()).await.err().unwrap().to_string();
        assert!(error.contains("choose another address"), "{error}");
    }
}
