//! Runs `afk` and plain git within time limits, for every test of this suite.
//!
//! Used by `world`, and alone where a test needs no repository. Invariants: a
//! cleared environment with a home of the test's own; a program that does not end
//! is killed by its id and fails the test.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Time limit of every wait: long enough for the slowest machine, reached only by a failing test.
const BOUND: Duration = Duration::from_mins(2);

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Fails the test unless it ended with `code`.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// Fails the test unless every word is on standard error.
    #[track_caller]
    pub(crate) fn complains(&self, words: &[&str]) {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in: {}", self.err);
        }
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("{e}\nout: {}\nerr: {}", self.out, self.err))
    }
}

/// A command whose environment is empty but for the search path, a home and a user.
pub(crate) fn clean(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home)
        .env("USER", "ann")
        .current_dir(home);
    command
}

/// `afk` with `home` as home and working folder.
pub(crate) fn afk(home: &Path, args: &[&str]) -> Command {
    let mut command = clean(env!("CARGO_BIN_EXE_afk"), home);
    command.args(args);
    command
}

/// Runs a command to its end, or kills it at the bound and fails the test.
#[track_caller]
pub(crate) fn finish(mut command: Command) -> Said {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let out = collect(child.stdout.take().unwrap());
    let err = collect(child.stderr.take().unwrap());
    let status = attend(&mut child);
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    let status = status.unwrap_or_else(|| panic!("{command:?} did not end\n{out}\n{err}"));
    Said { code: status.code(), out, err }
}

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn attend(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + BOUND;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs plain git, which must succeed; returns its standard output without the last line's end.
#[track_caller]
pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let said = finish(plain_git(dir, args)).ended(0);
    said.out.trim_end().to_owned()
}

/// A git command without anybody's configuration.
pub(crate) fn plain_git(dir: &Path, args: &[&str]) -> Command {
    let mut command = clean("git", dir);
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["-c", "user.name=dev", "-c", "user.email=dev@example.org"])
        .args(args);
    command
}

/// Writes a file with the folders above it.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Writes a shell script that can be run.
pub(crate) fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    write(path, &format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Processes whose arguments or working folder name `folder`.
pub(crate) fn processes_in(folder: &Path) -> Vec<(i32, String)> {
    let name = folder.to_str().unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if pid != own && (line.contains(name) || cwd.starts_with(folder)) {
            found.push((pid, line));
        }
    }
    found
}

/// Polls until `look` finds something, or fails the test at the bound.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + BOUND;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_process_that_is_left_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(processes_in(dir.path()), []);
    let mut left = Command::new("sleep").arg("60").current_dir(dir.path()).spawn().unwrap();
    let seen = processes_in(dir.path());
    left.kill().unwrap();
    left.wait().unwrap();
    let pids: Vec<i32> = seen.iter().map(|(pid, _)| *pid).collect();
    assert_eq!(pids, [i32::try_from(left.id()).unwrap()]);
}
