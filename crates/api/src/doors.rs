//! The routes of the control plane, and what clients may take of them.

use std::sync::Arc;
use std::time::Duration;

use afk_engine::Engine;
use afk_http::Limits;
use afk_remote::Forges;
use axum::Router;
use axum::routing::{get, post};

use crate::{hooks, metrics};

/// Enough for forges and people; every request is short.
pub const LIMITS: Limits = Limits {
    connections: 256,
    headers: Duration::from_secs(10),
    connection: Some(Duration::from_mins(5)),
    drain: Duration::from_secs(2),
};

/// What requests reach.
#[derive(Clone)]
pub struct Doors {
    /// The loop, which is woken.
    pub engine: Engine,
    /// The forges, which know their webhooks.
    pub forges: Arc<Forges>,
    /// Who may read what is counted.
    pub metering: metrics::Metering,
}

/// The routes of the control plane.
pub fn routes(doors: Doors) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics::show))
        .route("/webhooks/{forge}", post(hooks::hear).layer(hooks::room()))
        .with_state(doors)
}
