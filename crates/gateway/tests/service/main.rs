//! The gateway over real sockets and real processes, with a scripted CLI.
//!
//! Tests carry the row that they prove in their names: `gateway_…` those of the routes' own
//! contract, `facts_…` how their clients behave, `faults_…` the faults of others that must not be
//! ours. The real CLI and the real SDKs are in tests of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chat;
mod faults;
mod jobs;
mod retries;
mod routes;
mod stand;
mod talks;
