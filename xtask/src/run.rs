//! Running programs and printing, for all tasks.
//!
//! Programs get an argv, never a shell string, nothing on standard input, and the workspace as
//! their folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, bail};

/// The root folder of the workspace.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_owned).context("xtask is not in a workspace")
}

/// Prints a progress line on standard error.
pub(crate) fn say(line: &str) {
    // If standard error is closed, there is nowhere to report that.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints a line of a task's result on standard output.
pub(crate) fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Runs a program to its end with its output shown; fails unless it succeeds.
pub(crate) fn show(folder: &Path, argv: &[&str], env: &[(&str, &str)]) -> anyhow::Result<()> {
    let status = status(folder, argv, env)?;
    if !status.success() {
        bail!("{} failed: {status}", shown(argv));
    }
    Ok(())
}

/// Runs a program to its end with its output shown, and returns its exit code.
pub(crate) fn code(folder: &Path, argv: &[&str], env: &[(&str, &str)]) -> anyhow::Result<i32> {
    let status = status(folder, argv, env)?;
    status.code().with_context(|| format!("{} was ended: {status}", shown(argv)))
}

fn status(folder: &Path, argv: &[&str], env: &[(&str, &str)]) -> anyhow::Result<ExitStatus> {
    let name = shown(argv);
    say(&format!("$ {name}"));
    let mut command = command(folder, argv)?;
    command.envs(env.iter().copied());
    command.status().with_context(|| format!("cannot run {name}"))
}

/// Runs a program to its end and returns its standard output; its standard error is shown.
pub(crate) fn read(folder: &Path, argv: &[&str]) -> anyhow::Result<String> {
    let name = shown(argv);
    let output = command(folder, argv)?
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed no text"))
}

/// What a program prints on standard output, if it exists and succeeds.
pub(crate) fn probe(argv: &[&str]) -> Option<String> {
    let output = command(Path::new("."), argv).ok()?.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

fn command(folder: &Path, argv: &[&str]) -> anyhow::Result<Command> {
    let (program, rest) = argv.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    command.args(rest).current_dir(folder).stdin(Stdio::null());
    Ok(command)
}

fn shown(argv: &[&str]) -> String {
    let (program, rest) = argv.split_first().unwrap_or((&"", &[]));
    let name = Path::new(program)
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    std::iter::once(name.as_str()).chain(rest.iter().copied()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_an_error_that_names_it() {
        let error = show(Path::new("."), &["/bin/false", "x"], &[]).unwrap_err().to_string();
        assert!(error.starts_with("false x failed"), "{error}");
        assert!(show(Path::new("."), &["/bin/true"], &[]).is_ok());
    }

    #[test]
    fn a_program_that_is_missing_or_fails_probes_as_none() {
        assert_eq!(probe(&["/no/such/program"]), None);
        assert_eq!(probe(&["/bin/false"]), None);
        assert_eq!(probe(&["/bin/echo", "a"]).as_deref(), Some("a\n"));
    }
}
