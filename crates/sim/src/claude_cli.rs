//! The real Claude CLI, pinned, for tests.
//!
//! For the tests of `agent` and `afk` that drive it against the [model's
//! stand-in](crate::model_api). Uses the binary named by `AFK_TEST_CLAUDE`, or installs the pinned
//! version from npm once, under a lock file, into the target folder. Nothing is installed for the
//! user.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The version that the tests are about.
pub const VERSION: &str = "2.1.329";
/// An older one, which counts costs differently.
pub const OLD_VERSION: &str = "2.1.197";
const PACKAGE: &str = "@anthropic-ai/claude-code";
const INSTALL_BOUND: Duration = Duration::from_mins(10);

/// Why there is no CLI to test with.
#[derive(Debug)]
pub struct Skip {
    /// What was tried, and the result.
    pub reason: String,
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The CLI for a test; none, with a visible line, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set, or although `AFK_TEST_CLAUDE` names one: a check
/// that never runs is none.
pub fn for_test(test: &str) -> Option<PathBuf> {
    of_version(test, VERSION)
}

/// The same for one of the two versions.
///
/// # Panics
///
/// As [`for_test`] does.
pub fn of_version(test: &str, version: &str) -> Option<PathBuf> {
    match ensure(version) {
        Ok(path) => Some(path),
        Err(skip) => {
            let wanted =
                ["CI", "AFK_TEST_CLAUDE"].iter().any(|name| std::env::var_os(name).is_some());
            assert!(!wanted, "{test}: no Claude CLI: {skip}");
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no Claude CLI: {skip}");
            None
        }
    }
}

/// The CLI's native binary, installed if necessary.
pub fn ensure(version: &str) -> Result<PathBuf, Skip> {
    if let Some(given) = std::env::var_os("AFK_TEST_CLAUDE").filter(|_| version == VERSION) {
        let path = PathBuf::from(given);
        return checked(&path, version).map(|()| path);
    }
    let folder = target_folder().join(format!("test-tools/claude-{version}"));
    std::fs::create_dir_all(&folder)
        .map_err(|error| skip(format!("cannot make {}: {error}", folder.display())))?;
    let lock = folder.join("install.lock");
    let lock = File::create(&lock)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| skip(format!("cannot lock {}: {error}", lock.display())))?;
    let found = match find(&folder, version) {
        Some(path) => Ok(path),
        None => install(&folder, version),
    };
    drop(lock);
    found
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from)
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

/// The binary in an installation. It is in the platform's package; the main package has a copy only
/// if npm ran its install script.
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

/// Whether a binary has the wanted version.
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

/// Runs a command to its end within a time limit and returns its standard output.
fn run(mut command: Command, bound: Duration) -> Result<String, Skip> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed =
        |what: &str, error: &dyn std::fmt::Display| skip(format!("{name} {what}: {error}"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed("cannot be started", &error))?;
    let deadline = Instant::now() + bound;
    // Their output fits into a pipe.
    while child.try_wait().map_err(|error| failed("cannot be waited for", &error))?.is_none() {
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed("is not done within", &format!("{bound:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().map_err(|error| failed("cannot be read", &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let tail: String = stderr.chars().rev().take(500).collect();
    let tail: String = tail.chars().rev().collect();
    Err(failed("failed", &format!("{}: {tail}", output.status)))
}

/// One line, whatever a program printed.
fn skip(reason: impl AsRef<str>) -> Skip {
    let words: Vec<&str> = reason.as_ref().split_whitespace().collect();
    Skip { reason: words.join(" ") }
}
