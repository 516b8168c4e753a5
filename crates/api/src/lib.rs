//! HTTP in front of the control plane: what comes in by itself.
//!
//! So far that is forges' webhooks, which wake and carry no facts, and whoever reads what is counted.
//! `afk serve` runs it where `http.listen` says so. Everything that a client can make large or slow is
//! bounded: bodies here, headers, connections and time by `afk-http`.

mod doors;
mod hooks;
mod metrics;

pub use doors::{Doors, LIMITS, routes};
pub use metrics::Metering;
