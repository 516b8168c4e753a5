//! The box that every local job runs in.
//!
//! A [`BoxSpec`] says what a process may see and use; [`Capabilities`] says what this machine can
//! enforce; the host ([`crate::host`]) combines the two and starts the process. Two layers:
//! bubblewrap gives namespaces and a separate view of the file system, landlock narrows that from
//! inside ([`init_main`]).
//!
//! Beside the system, only what a spec binds is visible: other runs' folders and the store are
//! absent, not forbidden. Nothing here knows what a job is for.

mod bubblewrap;
mod confine;
mod detect;
mod group;
mod init;
mod launch;
pub mod processes;
mod spec;

pub(crate) use confine::Plan;
pub use detect::{Bubblewrap, Capabilities, Refusal, Strength};
pub(crate) use group::{Group, Outside};
pub(crate) use init::{READY, signal_of, write_plan};
pub use init::{SUBCOMMAND as INIT_SUBCOMMAND, init_main};
pub(crate) use launch::{Launch, Scratch, Setting};
pub use spec::{Access, Bind, BoxSpec, Limits, Network, Requirement};
