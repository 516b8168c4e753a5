//! The control plane's own HTTP routes: forges' webhooks, which only wake the loop and carry no
//! facts, metrics, and a health check.
//!
//! `afk serve` serves them at `http.listen`. Everything that a client can make large or slow is
//! bounded: bodies here; headers, connections and time by `afk-http`.

mod hooks;
mod metrics;
mod routes;

pub use metrics::MetricsAccess;
pub use routes::{ApiState, LIMITS, routes};
