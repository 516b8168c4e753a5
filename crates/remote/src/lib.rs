//! Everything that the engine's ports reach over HTTP.
//!
//! Each adapter knows its port and its own system, and nothing else.

mod webhook;

pub use webhook::Webhook;
