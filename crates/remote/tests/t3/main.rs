//! T3 Code: the adapter with fake servers of each version, and the fakes compared with recordings.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod contract;
mod lies;
mod live;
mod recorded;
mod seeds;
mod support;
mod whole;
