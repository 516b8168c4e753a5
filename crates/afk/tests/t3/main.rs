//! The whole loop on a T3 Code server: the real binary, real git, and a fake server, once for each
//! behaviour that it knows. From a released issue to its end, every scenario of the demo is told in
//! both ways of working: the agent pushes by itself, and the control plane lands.
//!
//! One server and one daemon have all of them at the same time, each in a repository of its own, so
//! that waiting for one does not delay the others. `cockpit` sets everything up, `scenarios` says
//! what must come of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod cockpit;
mod machine;
mod scenarios;
