//! The engine's ports that are reached over HTTP.
//!
//! Each adapter knows only its port and its own system.

mod webhook;

pub use webhook::Webhook;
