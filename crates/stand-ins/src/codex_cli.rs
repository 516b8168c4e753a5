//! The real Codex, pinned, for tests.
//!
//! For the tests of `agent` and `afk` that drive it against the [stand-in of its
//! model](crate::responses_api). Uses the binary named by `AFK_TEST_CODEX`, or installs the pinned
//! version from npm once into the target folder. Nothing is installed for the user.

use std::path::PathBuf;

use crate::tools::from_npm;

/// The version that the tests use.
pub const VERSION: &str = "0.171.0";

/// Codex's native binary for a test; `None`, with a printed notice, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set.
pub fn for_test(test: &str) -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("AFK_TEST_CODEX") {
        return Some(PathBuf::from(given));
    }
    let (platform, target) = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("macos", "aarch64") => ("darwin-arm64", "aarch64-apple-darwin"),
        ("macos", _) => ("darwin-x64", "x86_64-apple-darwin"),
        (_, "aarch64") => ("linux-arm64", "aarch64-unknown-linux-musl"),
        (_, _) => ("linux-x64", "x86_64-unknown-linux-musl"),
    };
    // The binary is in the platform's package, which npm installs beside the main one.
    let file = format!("../codex-{platform}/vendor/{target}/bin/codex");
    from_npm(test, &format!("@openai/codex@{VERSION}"), &file)
}
