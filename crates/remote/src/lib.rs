//! Everything that the engine's ports reach over HTTP.
//!
//! Each adapter knows its port and its own system, and nothing else.

mod settings;
mod webhook;

pub use settings::{DoorbellTable, RemoteSettings};
pub use webhook::{WEBHOOK, Webhooks};
