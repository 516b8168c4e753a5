//! The routes of the control plane, and the bounds of what clients may use.

use std::sync::Arc;
use std::time::Duration;

use afk_engine::Engine;
use afk_http::Limits;
use afk_remote::Forges;
use axum::Router;
use axum::routing::{get, post};

use crate::{hooks, metrics};

/// Bounds that are enough for forges and people, whose requests are all short.
pub const LIMITS: Limits = Limits {
    connections: 256,
    headers: Duration::from_secs(10),
    connection: Some(Duration::from_mins(5)),
    drain: Duration::from_secs(2),
};

/// What the routes use.
#[derive(Clone)]
pub struct ApiState {
    /// The loop, which webhooks wake.
    pub engine: Engine,
    /// The forges, which check the signatures of their webhooks, and whose use is counted.
    pub forges: Arc<Forges>,
    /// Who may read metrics, and the metrics of other servers at this address.
    pub metrics_access: metrics::MetricsAccess,
}

/// The routes of the control plane.
pub fn routes(state: ApiState) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics::show))
        .route("/webhooks/{forge}", post(hooks::receive).layer(hooks::body_budget()))
        .with_state(state)
}
