//! Lets a process that serves for a long time return the memory that it no longer needs.

/// Starts the allocator's background thread, which returns memory that now idle threads freed. Must
/// not be called by the hidden subcommands, which later fork or confine themselves.
pub(crate) fn return_idle_memory() {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        tracing::warn!(%error, "the allocator keeps memory of idle threads");
    }
}
