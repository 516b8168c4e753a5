//! The real Claude CLI, pinned, for tests.
//!
//! For the tests of `agent` and `afk` that drive it against the [stand-in of its
//! model](crate::model_api). Uses the binary named by `AFK_TEST_CLAUDE`, or installs the pinned
//! version from npm once, under a lock file, into the target folder. Nothing is installed for the
//! user.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::tools::{Skip, found_or_skipped, run, skip, under_lock};

/// The version that most tests use.
pub const VERSION: &str = "2.1.329";
/// An older version, which counts costs differently.
pub const OLD_VERSION: &str = "2.1.197";
const PACKAGE: &str = "@anthropic-ai/claude-code";
const INSTALL_BOUND: Duration = Duration::from_mins(10);

/// The CLI for a test; `None`, with a printed notice, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set, or although `AFK_TEST_CLAUDE` names one: a check
/// that never runs proves nothing.
pub fn for_test(test: &str) -> Option<PathBuf> {
    of_version(test, VERSION)
}

/// [`for_test`] for one of the two versions.
///
/// # Panics
///
/// As [`for_test`] does.
pub fn of_version(test: &str, version: &str) -> Option<PathBuf> {
    found_or_skipped(test, "Claude CLI", "AFK_TEST_CLAUDE", ensure(version))
}

/// The CLI's native binary of this version, which is installed if necessary.
pub fn ensure(version: &str) -> Result<PathBuf, Skip> {
    if let Some(given) = std::env::var_os("AFK_TEST_CLAUDE").filter(|_| version == VERSION) {
        let path = PathBuf::from(given);
        return checked(&path, version).map(|()| path);
    }
    under_lock(&format!("claude-{version}"), |folder| match find(folder, version) {
        Some(path) => Ok(path),
        None => install(folder, version),
    })
}

fn install(folder: &Path, version: &str) -> Result<PathBuf, Skip> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--prefix"])
        .arg(folder)
        .arg(format!("{PACKAGE}@{version}"));
    run(npm, INSTALL_BOUND)?;
    find(folder, version).ok_or_else(|| {
        skip(format!(
            "npm installed {PACKAGE}@{version} into {}, but no binary in it says that version",
            folder.display()
        ))
    })
}

/// Finds the binary in an installation. It is in the platform's package; the main package has a
/// copy only if npm ran its install script.
fn find(folder: &Path, version: &str) -> Option<PathBuf> {
    let scope = folder.join("node_modules/@anthropic-ai");
    let mut candidates: Vec<PathBuf> = std::fs::read_dir(&scope)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("claude")))
        .collect();
    candidates.sort();
    candidates.push(scope.join("claude-code/bin/claude.exe"));
    candidates.into_iter().find(|path| path.is_file() && checked(path, version).is_ok())
}

/// Checks that a binary has the wanted version.
fn checked(path: &Path, version: &str) -> Result<(), Skip> {
    let home = std::env::temp_dir();
    let mut command = Command::new(path);
    command.arg("--version").env("HOME", home).env("DISABLE_AUTOUPDATER", "1");
    let output = run(command, Duration::from_mins(1))?;
    if output.starts_with(version) {
        Ok(())
    } else {
        Err(skip(format!("{} is version {:?}, wanted {version}", path.display(), output.trim())))
    }
}
