//! The real binary through the whole loop: real git, store, boxes, hosts, and the
//! scripted agent.
//!
//! Everything is in a temporary folder of the test; every wait is bounded. Results are read
//! with plain git and the command line, not with our library.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod agent_trouble;
mod attested;
mod bad_input;
mod bundle;
mod demo;
mod dispatch;
mod fetch;
mod inline_tests;
mod machine_trouble;
mod proof;
mod rails;
mod red;
mod replay;
mod secrets;
mod setup;
mod support;
mod workflow;
mod world;
