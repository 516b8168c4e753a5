//! Driving local processes: the host that owns them, the sandbox around them,
//! and the coding agents that run in it.
//!
//! Knows nothing of issues, runs or forges: the control plane and `breakglass`
//! both stand on it.

pub mod agents;
pub mod host;
pub mod sandbox;
