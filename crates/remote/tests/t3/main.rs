//! T3 Code: the adapter at fake servers of each version, and those against recorded exchanges.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod contract;
mod lies;
mod live;
mod recorded;
mod seeds;
mod support;
mod whole;
