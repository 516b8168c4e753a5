//! The command that lists what is not committed in a work tree.
//!
//! The caller runs it in the box; the engine reads the paths in its output.

/// Returns the command to run in the box, in the clone's folder.
pub fn status_argv() -> Vec<&'static str> {
    let neutral = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"];
    let status = ["status", "--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames"];
    neutral.into_iter().chain(status).chain(["--ignore-submodules=none"]).collect()
}
