//! Codex: how it is started, and the two protocols that it speaks.
//!
//! Pure: see [`command`] for the invocation, [`server`] for the dialogue with `codex app-server`,
//! [`exec`] for the events of `codex exec --json`, which serves where there is no app server.
//! `app-server` is preferred: its errors are typed, and its usage is counted a call.

pub mod command;
pub mod exec;
pub mod server;

pub(crate) mod errors;
