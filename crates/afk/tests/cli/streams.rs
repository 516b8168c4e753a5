//! Output to full disks, closed pipes and terminals; and what is said if the machine lacks
//! something.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::{Machine, REPO, Said, said_by};

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let machine = Machine::new();
    let config = machine.scripted(REPO);
    machine.config(&config);
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["config", "schema"],
        &["completions", "bash"],
        &["--help"],
        &["help", "run"],
        &["--version"],
        &["issue", "list", "--json"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let said = said_by(&machine.command(args).stdout(full).output().unwrap());
        assert_eq!(said.code, 1, "{args:?}: {}", said.err);
        assert!(said.err.contains("cannot write to standard output"), "{args:?}: {}", said.err);
    }
    // The command's work is done all the same, and another failure keeps its exit code.
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let args = ["issue", "new", "o/web", "Add a door"];
    let said = said_by(&machine.command(&args).stdout(full()).output().unwrap());
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(machine.good(&["issue", "list"]).contains("Add a door"));
    machine.good(&["issue", "label", "o/web#1"]);
    let said = said_by(&machine.command(&["explain", "o/web#1"]).stdout(full()).output().unwrap());
    assert_eq!(said.code, 3, "{}", said.err);
}

#[test]
fn a_closed_pipe_is_quiet() {
    let machine = Machine::new();
    let config = machine.scripted(REPO);
    machine.config(&config);
    for (args, code) in [(&["status"][..], 0), (&["--help"], 0), (&["explain", "o/nowhere#1"], 2)] {
        let mut child =
            machine.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{args:?}: {err}");
        assert!(code != 0 || err.is_empty(), "{args:?}: {err}");
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "it says that it is skipped")]
fn the_status_is_watched_on_a_terminal_alone() {
    let machine = Machine::new();
    let config = machine.scripted(REPO);
    machine.config(&config);
    machine.refused(&["status", "--watch"], 2, &["--watch needs a terminal", "afk status --json"]);
    let Some(script) = on_path("script") else {
        assert!(std::env::var_os("CI").is_none(), "the program `script` is missing: util-linux");
        println!("SKIP the_status_is_watched_on_a_terminal_alone: the program `script` is missing");
        return;
    };
    let afk = env!("CARGO_BIN_EXE_afk");
    let watching = machine.command(&[]);
    let mut terminal = std::process::Command::new(script);
    terminal
        .args(["-q", "-f", "-e", "-c", &format!("exec {afk} status --watch"), "/dev/null"])
        .current_dir(watching.get_current_dir().unwrap())
        .env_clear()
        .envs(watching.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("TERM", "xterm");
    let mut child =
        terminal.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut shown = child.stdout.take().unwrap();
    let (mut seen, mut part) = (Vec::new(), [0; 4096]);
    // The status is drawn again from the top; reading ends with the program.
    let again = |seen: &[u8]| seen.windows(7).filter(|part| part == b"\x1b[H\x1b[2J").count() >= 2;
    while !again(&seen) {
        let n = shown.read(&mut part).unwrap();
        assert!(n > 0, "it ended: {}", String::from_utf8_lossy(&seen));
        seen.extend(&part[..n]);
    }
    let text = String::from_utf8_lossy(&seen).into_owned();
    assert!(text.contains("kill switch"), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_copy_may_have_a_name_that_is_no_text() {
    let machine = Machine::new();
    let config = machine.scripted(REPO);
    machine.config(&config);
    machine.good(&["issue", "new", "o/web", "Add a door"]);
    let name = std::ffi::OsStr::from_bytes(b"copy\xff.db");
    for (args, shown) in [(&["backup"][..], "copied "), (&["backup", "--force", "--json"], "{")] {
        let said = said_by(&machine.command(args).arg(name).output().unwrap());
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        assert!(
            said.out.starts_with(shown) && said.out.contains("copy\u{fffd}.db"),
            "{}",
            said.out
        );
        assert!(machine.path("here").join(name).is_file());
    }
}

/// A folder of programs to use as the whole search path.
fn only(machine: &Machine, programs: &[&str]) -> PathBuf {
    let folder = machine.path("bin");
    std::fs::create_dir_all(&folder).unwrap();
    for program in programs {
        let there = on_path(program).unwrap_or_else(|| panic!("{program} is not installed"));
        symlink(there, folder.join(program)).unwrap();
    }
    folder
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn with_path(machine: &Machine, path: &Path, args: &[&str]) -> Said {
    said_by(&machine.command(args).env("PATH", path).output().unwrap())
}

#[test]
fn a_demo_without_what_it_needs_says_so_with_a_code_of_its_own() {
    let machine = Machine::new();
    let nothing = only(&machine, &[]);
    let said = with_path(&machine, &nothing, &["demo"]);
    assert_eq!(said.code, 6, "{}", said.err);
    assert!(said.err.contains("git"), "{}", said.err);
    let path = only(&machine, &["git", "sh", "cat", "env"]);
    for (agent, word) in [("claude", "claude"), ("codex", "codex"), ("acp", "PATH")] {
        let said = with_path(&machine, &path, &["demo", "--agent", agent]);
        assert_eq!(said.code, 6, "{agent}: {}", said.err);
        assert!(said.err.to_lowercase().contains(&word.to_lowercase()), "{agent}: {}", said.err);
    }
}

#[test]
fn a_demo_says_what_the_sandbox_lacks_if_status_says_that_it_lacks_anything() {
    let machine = Machine::new();
    // Bubblewrap is not on this PATH, but it is also found in the usual folders.
    let path = only(&machine, &["git", "sh", "cat", "env"]);
    let status = with_path(&machine, &path, &["status", "--json"]);
    let status: Value = serde_json::from_str(&status.out).unwrap();
    let sandbox = status["sandbox"].as_str().unwrap();
    // Nothing starts in this scenario.
    let said = with_path(&machine, &path, &["demo", "--scenario", "blocked"]);
    let begun = said.err.find("a sample repository").unwrap();
    match said.err.find(&format!("the sandbox here is {sandbox}")) {
        Some(told) => assert!(told < begun && !sandbox.starts_with("full"), "{}", said.err),
        None => assert!(sandbox.starts_with("full"), "{sandbox}: {}", said.err),
    }
    assert!(
        !said.err.contains("not installed") || sandbox.contains("not installed"),
        "{}",
        said.err
    );
}
