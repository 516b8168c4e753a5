//! The GitHub adapter over real HTTP, through its public door, against a strict fake.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod answers;
mod app;
mod contract;
mod known_faults;
mod scale;
mod support;
mod trust;
