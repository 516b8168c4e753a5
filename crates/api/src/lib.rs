//! HTTP in front of the control plane: what comes in by itself.
//!
//! So far that is forges' webhooks, which wake and carry no facts. `afk serve` runs it where
//! `http.listen` says so. Everything that a client can make large or slow is bounded: bodies,
//! headers, connections and time.

mod hooks;
mod server;

pub use server::{Bound, Doors, ServerError};
