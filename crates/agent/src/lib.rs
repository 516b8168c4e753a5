//! Driving local processes: the host that owns them, the sandbox around them, and the coding agents
//! that run in it.
//!
//! Knows nothing of issues, runs or forges, so that a program other than the control plane can use
//! it too.

pub mod agents;
pub mod egress;
pub mod host;
pub mod sandbox;
