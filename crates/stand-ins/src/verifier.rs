//! Programs of others that verify evidence, pinned, for tests: a Python with the libraries of
//! in-toto and of DSSE.
//!
//! Uses the interpreter named by `AFK_TEST_PYTHON`, which must have them, or installs them once from
//! the Python package index, into an environment of their own in the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::tools::{Skip, found_or_skipped, run, skip, under_lock};

/// The libraries, and what they need to check an Ed25519 signature.
const PACKAGES: [(&str, &str); 4] = [
    ("securesystemslib", "1.6.0"),
    ("in-toto-attestation", "0.9.3"),
    ("cryptography", "50.0.2"),
    ("protobuf", "7.36.2"),
];
const INSTALL_BOUND: Duration = Duration::from_mins(10);

/// The interpreter for a test; none, with a visible line, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set, or although `AFK_TEST_PYTHON` names one.
pub fn for_test(test: &str) -> Option<PathBuf> {
    found_or_skipped(test, "verifier of others", "AFK_TEST_PYTHON", ensure())
}

fn ensure() -> Result<PathBuf, Skip> {
    if let Some(given) = std::env::var_os("AFK_TEST_PYTHON") {
        let path = PathBuf::from(given);
        return checked(&path).map(|()| path);
    }
    let versions = PACKAGES.map(|(_, version)| version).join("-");
    under_lock(&format!("verifier-{versions}"), |folder| {
        let python = folder.join("bin/python");
        if python.is_file() && checked(&python).is_ok() {
            return Ok(python);
        }
        install(folder, &python)?;
        checked(&python).map(|()| python)
    })
}

fn install(folder: &Path, python: &Path) -> Result<(), Skip> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(folder);
    run(venv, INSTALL_BOUND)?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    pip.args(PACKAGES.map(|(name, version)| format!("{name}=={version}")));
    run(pip, INSTALL_BOUND).map(|_| ())
}

/// Whether an interpreter has the wanted versions.
fn checked(python: &Path) -> Result<(), Skip> {
    let mut command = Command::new(python);
    let versions = "import sys, importlib.metadata as installed\n\
                    for name in sys.argv[1:]: print(installed.version(name))";
    command.args(["-c", versions]);
    command.args(PACKAGES.map(|(name, _)| name));
    let output = run(command, Duration::from_mins(1))?;
    let wanted = PACKAGES.map(|(_, version)| version);
    if output.lines().eq(wanted) {
        return Ok(());
    }
    Err(skip(format!("{} has {output:?}, wanted {wanted:?}", python.display())))
}
