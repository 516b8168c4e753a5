//! The engine's ports that are reached over HTTP.
//!
//! Each adapter knows only its port and its own system.

mod settings;
mod webhook;

pub use settings::{DoorbellTable, RemoteSettings};
pub use webhook::{WEBHOOK, Webhooks};
