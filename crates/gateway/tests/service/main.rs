//! The gateway over real sockets and real processes, with a scripted CLI.
//!
//! `rows.md` lists, row by row, what these tests prove. The prefix of a test's name tells the part:
//! `gateway_…` the routes' own contract (G rows), `facts_…` how clients behave (F rows), `faults_…`
//! faults of others that must not become ours (O rows). The real CLI and the real SDKs have test
//! files of their own.
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
