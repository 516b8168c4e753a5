//! Asks another program of this machine one question, within bounds.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer may be.
const ANSWER: u64 = 64 << 10;

/// What `program` prints when asked in `dir`; none where it is not there, fails, or
/// takes too long.
pub async fn ask<S: AsRef<OsStr>>(program: S, args: &[&str], dir: &Path) -> Option<String> {
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .current_dir(dir)
        // A question must not make rustup install what it asks about.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let mut stdout = child.stdout.take()?.take(ANSWER);
    let answered = async {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).await.ok()?;
        let status = child.wait().await.ok()?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        status.success().then_some(text)
    };
    tokio::time::timeout(PATIENCE, answered).await.ok()?.filter(|text| !text.is_empty())
}

/// Where a program is on the search path.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
