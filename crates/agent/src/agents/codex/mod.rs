//! Codex: how it is started, and the two protocols that it speaks.
//!
//! Nothing here does I/O. See [`command`] for the invocation, [`server`] for the dialogue with
//! `codex app-server`, [`exec`] for the events of `codex exec --json`, which serves where there is
//! no app server. `app-server` is preferred: its errors are typed, and it reports usage after each
//! call of the model.

pub mod command;
pub mod exec;
pub mod server;

pub(crate) mod errors;
