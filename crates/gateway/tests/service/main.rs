//! The gateway over real sockets and real processes, with a scripted CLI.
//!
//! What these tests prove is in `rows.md`, row by row. Their prefixes tell the part: `gateway_…`
//! the routes' own contract (G rows), `facts_…` how clients behave (F rows), `faults_…` faults of
//! others that must not become ours (O rows). The real CLI and SDKs have tests of their own.
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
