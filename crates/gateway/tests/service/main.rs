//! The gateway over real sockets and real processes, with a scripted CLI.
//!
//! What they prove is in `rows.md`, row by row; their names say which part of it: `gateway_…` the
//! routes' own contract (G rows), `facts_…` how their clients behave (F rows), `faults_…` the faults of
//! others that must not be ours (O rows). The real CLI and the real SDKs are in tests of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chat;
mod checkouts;
mod faults;
mod jobs;
mod limits;
mod retries;
mod routes;
mod rows;
mod stand;
mod talks;
