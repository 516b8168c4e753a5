//! Stand-ins and fakes for the tests of afk.

// Support for tests, in which a panic is a verdict.
#![allow(clippy::missing_panics_doc, clippy::return_self_not_must_use)]

pub mod claude_cli;
pub mod explore;
pub mod fakes;
pub mod forgejo;
pub mod github;
pub mod model_api;
pub mod openbao;
pub mod sites;
pub mod story;
pub mod t3;
pub mod test_tools;
pub mod verifier;
pub mod world;
