//! Driving local processes: the host that owns them, the sandbox around them, the coding agents
//! that run in it, and the event logs by which they are watched.
//!
//! This crate knows nothing of issues, runs or forges, so that programs other than the control
//! plane can use it too.

pub mod agents;
pub mod egress;
pub mod host;
pub mod sandbox;
pub mod sessions;
pub mod tether;
