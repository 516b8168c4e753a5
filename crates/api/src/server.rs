//! The server: connections within bounds, until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use afk_engine::Engine;
use afk_remote::Forges;
use axum::Router;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hooks;

/// How many connections are open at once; others wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long a client may take to send a request's headers.
const HEADERS: Duration = Duration::from_secs(10);
/// How long a connection may last.
const CONNECTION: Duration = Duration::from_mins(5);
/// How long a stop waits for requests under way.
const DRAIN: Duration = Duration::from_secs(2);

/// What requests reach.
#[derive(Clone)]
pub struct Doors {
    /// The loop, which is woken.
    pub engine: Engine,
    /// The forges, which know their webhooks.
    pub forges: Arc<Forges>,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened at.
    #[error(
        "cannot listen at {address}: {source}; choose another http.listen, or stop what uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A server that listens already and serves nothing yet: what comes meanwhile waits.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Listens at `address`.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens: with the port that the system chose, if it was asked to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`.
    pub async fn serve(&self, doors: Doors, stop: &CancellationToken) {
        let routes = routes(doors);
        let (places, tasks) = (Arc::new(Semaphore::new(CONNECTIONS)), TaskTracker::new());
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Too many open files, for example: it may be over in a moment.
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let service = TowerToHyperService::new(routes.clone());
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADERS);
            let stop = stop.clone();
            tasks.spawn(async move {
                let _place = place;
                let connection = http.serve_connection(TokioIo::new(stream), service);
                tokio::pin!(connection);
                let served = async {
                    tokio::select! {
                        done = connection.as_mut() => return done,
                        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
                    }
                    connection.await
                };
                if let Ok(Err(error)) = timeout(CONNECTION, served).await {
                    tracing::debug!(%error, "connection broke off");
                }
            });
        }
        tasks.close();
        let _ = timeout(DRAIN, tasks.wait()).await;
    }
}

fn routes(doors: Doors) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/webhooks/{forge}", post(hooks::hear).layer(hooks::limit()))
        .with_state(doors)
}
