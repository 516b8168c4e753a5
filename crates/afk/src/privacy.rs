//! Hides a process that serves from agents that run as the same user, such as jobs of the gateway,
//! which have no box.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Keeps other processes of this user from reading this one's environment and memory, where tokens
/// and keys are. Programs that are started from here are not affected. Only root can attach a
/// debugger from now on, and a crash leaves no core dump.
pub(crate) fn hide_from_agents() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "agents of the same user can read this process's environment");
    }
}
