//! The power verbs: what a person can do to the machine from its hypervisor, with no agent in the
//! path.
//!
//! [`verb`] lists them, [`client`] sends one. The other end is `host/power-verbs.sh`.

pub mod client;
pub mod verb;
