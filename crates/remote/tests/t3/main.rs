//! T3 Code: the adapter at fake servers of each version, and those against recorded exchanges.

#![allow(clippy::unwrap_used)]

mod contract;
mod lies;
mod recorded;
mod support;
