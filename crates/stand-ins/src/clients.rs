//! Clients of others for the gateway, pinned, for tests: a Python with OpenAI's SDK, `LiteLLM` and
//! schemathesis, and OpenAI's SDK for Node.
//!
//! Uses the interpreter named by `AFK_TEST_CLIENTS`, which must have them, or installs them once from
//! the Python package index, into an environment of their own in the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::tools::{Skip, found_or_skipped, from_npm, run, skip, under_lock};

/// The libraries.
const PACKAGES: [(&str, &str); 3] =
    [("openai", "3.57.0"), ("litellm", "1.110.2"), ("schemathesis", "4.32.5")];
/// The SDK for Node.
const NODE: &str = "openai@7.59.0";
const INSTALL_BOUND: Duration = Duration::from_mins(10);

/// The Python interpreter for a test; none, with a visible line, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set, or although `AFK_TEST_CLIENTS` names one.
pub fn python(test: &str) -> Option<PathBuf> {
    found_or_skipped(test, "clients in Python", "AFK_TEST_CLIENTS", ensure())
}

/// The main file of the SDK for Node; none, with a visible line, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set.
pub fn node(test: &str) -> Option<PathBuf> {
    from_npm(test, NODE, "index.mjs")
}

fn ensure() -> Result<PathBuf, Skip> {
    if let Some(given) = std::env::var_os("AFK_TEST_CLIENTS") {
        let path = PathBuf::from(given);
        return checked(&path).map(|()| path);
    }
    let versions = PACKAGES.map(|(_, version)| version).join("-");
    under_lock(&format!("clients-{versions}"), |folder| {
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
