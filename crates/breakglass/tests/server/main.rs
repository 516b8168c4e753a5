//! The real server, started as a process, over HTTP: its contract, and how it bears what goes
//! wrong. The agent is a script that takes the CLI's command line; one test uses the CLI.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attach;
mod contract;
mod deaths;
mod demo;
mod real_cli;
mod support;
mod turns;
mod verbs;
