//! Runs another program for its output, within limits of time and length.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

/// How long the program may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum length of the output, in bytes; the rest is not read.
const ANSWER: u64 = 64 << 10;

/// Returns what `program` prints when run in `dir`, trimmed; `None` if it does not exist, fails,
/// prints nothing, or takes too long.
pub async fn ask<S: AsRef<OsStr>>(program: S, args: &[&str], dir: &Path) -> Option<String> {
    ask_with_limit(program, args, dir, ANSWER).await
}

/// As [`ask`], for a program that prints more than a few lines: reads up to `limit` bytes.
pub async fn ask_with_limit<S: AsRef<OsStr>>(
    program: S,
    args: &[&str],
    dir: &Path,
    limit: u64,
) -> Option<String> {
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .current_dir(dir)
        // This must not make rustup install the program.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let mut stdout = child.stdout.take()?.take(limit);
    let answered = async {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).await.ok()?;
        let status = child.wait().await.ok()?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        status.success().then_some(text)
    };
    tokio::time::timeout(PATIENCE, answered).await.ok()?.filter(|text| !text.is_empty())
}

/// Returns what `program` complains of when run in `dir`, on standard error and in English; `None`
/// if it succeeds or takes too long. Fails if it cannot be started.
pub async fn complaint(program: &str, args: &[&str], dir: &Path) -> io::Result<Option<String>> {
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let Some(stderr) = child.stderr.take() else { return Ok(None) };
    let complained = async {
        let mut bytes = Vec::new();
        stderr.take(ANSWER).read_to_end(&mut bytes).await?;
        let status = child.wait().await?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        Ok::<_, io::Error>((!status.success()).then_some(text))
    };
    tokio::time::timeout(PATIENCE, complained).await.unwrap_or(Ok(None))
}

/// Returns the file of a program on the search path, if it is there.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
