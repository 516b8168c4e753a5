//! Tools from package registries for the tests of other crates, installed once into the target
//! folder.
//!
//! Each tool has a folder of its own there, installed under a lock file. Nothing is installed for
//! the user. A test whose tool is not available is skipped with a line on standard error, and with
//! `CI` set it fails.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const INSTALL_BOUND: Duration = Duration::from_mins(10);

/// Why there is no tool to test with.
#[derive(Debug)]
pub struct Skip {
    /// What was tried, and the result, in one line.
    pub reason: String,
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The tool for a test; `None`, with a printed notice, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set, or although the environment variable `named_by` is:
/// a check that never runs proves nothing.
pub fn found_or_skipped(
    test: &str,
    tool: &str,
    named_by: &str,
    found: Result<PathBuf, Skip>,
) -> Option<PathBuf> {
    match found {
        Ok(path) => Some(path),
        Err(skip) => {
            let wanted = ["CI", named_by].iter().any(|name| std::env::var_os(name).is_some());
            assert!(!wanted, "{test}: no {tool}: {skip}");
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no {tool}: {skip}");
            None
        }
    }
}

/// A file of an npm package, such as `left-pad@1.3.0`, which is installed if necessary; `None`,
/// with a printed notice, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set.
pub fn from_npm(test: &str, package: &str, file: &str) -> Option<PathBuf> {
    let name = package.rsplit_once('@').map_or(package, |(name, _)| name);
    let folder = package.replace(['@', '/'], "-");
    let installed = under_lock(folder.trim_matches('-'), |folder| {
        let file = folder.join("node_modules").join(name).join(file);
        if !file.is_file() {
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--prefix"]);
            npm.arg(folder).arg(package);
            run(npm, INSTALL_BOUND)?;
        }
        Ok(file)
    });
    found_or_skipped(test, package, "CI", installed)
}

/// Calls `ensure` with the folder of the tool `name`, under the folder's lock.
pub fn under_lock<T>(name: &str, ensure: impl FnOnce(&Path) -> Result<T, Skip>) -> Result<T, Skip> {
    let folder = target_folder().join("test-tools").join(name);
    std::fs::create_dir_all(&folder)
        .map_err(|error| skip(format!("cannot make {}: {error}", folder.display())))?;
    let lock = folder.join("install.lock");
    let lock = File::create(&lock)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| skip(format!("cannot lock {}: {error}", lock.display())))?;
    let made = ensure(&folder);
    drop(lock);
    made
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from)
}

/// Runs a command to its end within a time limit and returns its standard output.
pub fn run(mut command: Command, bound: Duration) -> Result<String, Skip> {
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
    // Read only after the end: the output of these commands fits into a pipe.
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

/// Makes a [`Skip`] with the reason as one line, whatever a program printed.
pub fn skip(reason: impl AsRef<str>) -> Skip {
    let words: Vec<&str> = reason.as_ref().split_whitespace().collect();
    Skip { reason: words.join(" ") }
}
