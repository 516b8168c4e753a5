//! A Python with pinned packages, for tests: an environment of its own in the target folder, which
//! is created once, with packages from the Python package index.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::tools::{Skip, run, skip, under_lock};

const INSTALL_BOUND: Duration = Duration::from_mins(10);

/// An interpreter with these packages (name and version): the one that the environment variable
/// `named_by` names, which must have them, or that of an environment called `name`.
pub(crate) fn with(name: &str, named_by: &str, packages: &[(&str, &str)]) -> Result<PathBuf, Skip> {
    if let Some(given) = std::env::var_os(named_by) {
        let path = PathBuf::from(given);
        return checked(&path, packages).map(|()| path);
    }
    under_lock(&folder_name(name, packages), |folder| {
        let python = folder.join("bin/python");
        if python.is_file() && checked(&python, packages).is_ok() {
            return Ok(python);
        }
        install(folder, packages)?;
        checked(&python, packages).map(|()| python)
    })
}

/// Creates an environment with these packages in `folder`.
pub(crate) fn install(folder: &Path, packages: &[(&str, &str)]) -> Result<(), Skip> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(folder);
    run(venv, INSTALL_BOUND)?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    pip.args(packages.iter().map(|(name, version)| format!("{name}=={version}")));
    run(pip, INSTALL_BOUND).map(drop)
}

/// Contains the versions, so that other versions get another environment.
fn folder_name(name: &str, packages: &[(&str, &str)]) -> String {
    let versions: Vec<&str> = packages.iter().map(|(_, version)| *version).collect();
    format!("{name}-{}", versions.join("-"))
}

/// Checks that an interpreter has the wanted versions.
fn checked(python: &Path, packages: &[(&str, &str)]) -> Result<(), Skip> {
    let mut command = Command::new(python);
    let versions = "import sys, importlib.metadata as installed\n\
                    for name in sys.argv[1:]: print(installed.version(name))";
    command.args(["-c", versions]);
    command.args(packages.iter().map(|(name, _)| name));
    let output = run(command, Duration::from_mins(1))?;
    if output.lines().eq(packages.iter().map(|(_, version)| *version)) {
        return Ok(());
    }
    Err(skip(format!("{} has {output:?}, wanted {packages:?}", python.display())))
}
