//! What tests need of the outside world: stand-ins for the APIs of models, and real tools, pinned
//! and installed once into the target folder.
//!
//! This crate knows nothing of afk, so that the tests of every crate can use it.

// Support for tests, where a panic fails the test as intended.
#![allow(clippy::missing_panics_doc, clippy::return_self_not_must_use)]

pub mod acp_adapters;
pub mod claude_cli;
pub mod clients;
pub mod codex_cli;
pub mod emulate;
pub mod go;
pub mod model_api;
pub mod network_attacks;
pub mod openbao;
mod python;
pub mod responses_api;
pub mod sshd;
pub mod tools;
pub mod verifier;
pub mod wire_schema;
