//! Stand-ins and fakes for the tests of afk.

// Support for tests, in which a panic is a verdict.
#![allow(clippy::missing_panics_doc, clippy::return_self_not_must_use)]

pub mod acp_adapters;
pub mod claude_cli;
pub mod codex_cli;
pub mod explore;
pub mod fakes;
pub mod forgejo;
pub mod github;
pub mod model_api;
pub mod openbao;
pub mod responses_api;
pub mod sites;
pub mod story;
pub mod test_tools;
pub mod verifier;
pub mod wire_schema;
pub mod world;
