//! What a process that serves for long does about the memory it no longer needs.

/// Lets the allocator give memory back that threads freed which have nothing to do any more. It
/// starts a thread for that: not for the hidden subcommands, which go on to fork or to be confined.
pub(crate) fn give_back_when_idle() {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        tracing::warn!(%error, "the allocator keeps memory of idle threads");
    }
}
