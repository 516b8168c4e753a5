//! Tethered processes: none of them outlives the tether, and nothing else ends them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant};

use afk_agent::agents::{Exit, Invocation};
use afk_agent::sandbox::processes::{self, ProcessId};
use afk_agent::tether::{self, Tethered};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const BOUND: Duration = Duration::from_mins(1);

/// Starts a shell script. Each test has its own `mark`, because tests run at the same time.
fn start(mark: &str, script: &str) -> Tethered {
    started(mark, "/bin/sh", &["-c", script])
}

fn started(mark: &str, program: &str, args: &[&str]) -> Tethered {
    let invocation = Invocation {
        program: program.into(),
        args: args.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        stdin: Vec::new(),
    };
    let host = Path::new(env!("CARGO_BIN_EXE_afk-host"));
    tether::start(host, &invocation, Path::new("/"), mark).expect("started")
}

fn alive(mark: &str) -> usize {
    processes::marked(&format!("{}={mark}", tether::MARK)).len()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn end(process: &mut Tethered) -> Exit {
    tokio::time::timeout(BOUND, process.wait()).await.expect("ended in time")
}

async fn output(process: &mut Tethered) -> String {
    let mut text = String::new();
    let stdout = process.stdout.as_mut().expect("a pipe");
    tokio::time::timeout(BOUND, stdout.read_to_string(&mut text)).await.expect("closed").unwrap();
    text
}

#[tokio::test]
async fn data_and_exit_codes_go_through() {
    let mut process = start("data", "read line; echo \"got $line\"; exit 7");
    process.stdin.take().expect("a pipe").write_all(b"this\n").await.expect("written");
    assert_eq!(output(&mut process).await, "got this\n");
    assert_eq!(end(&mut process).await, Exit::Exited { code: 7 });
    let mut process = start("data", "kill -9 $$");
    assert_eq!(output(&mut process).await, "");
    assert_eq!(end(&mut process).await.signal(), Some(9));
}

#[tokio::test]
async fn closing_the_input_is_seen() {
    let mut process = start("input", "cat; echo done");
    drop(process.stdin.take());
    assert_eq!(output(&mut process).await, "done\n");
}

#[tokio::test]
async fn what_cannot_be_started_says_so() {
    let mut process = started("absent", "/no/such/program", &[]);
    let mut text = String::new();
    process.stderr.take().expect("a pipe").read_to_string(&mut text).await.expect("read");
    assert!(text.starts_with("cannot start /no/such/program: "), "{text}");
    assert_eq!(end(&mut process).await, Exit::Exited { code: tether::NOT_STARTED.into() });
}

/// A script whose processes are in the background, in sessions of their own, and ignore every
/// signal that can be ignored.
const DEAF: &str =
    "trap '' TERM INT HUP; setsid sh -c 'trap \"\" TERM HUP; sleep 1000 & sleep 1000' &
    (setsid sleep 1000 &) ; sleep 1000 & wait";

#[tokio::test]
async fn a_cut_tether_kills_processes_of_every_kind() {
    let mut process = start("cut", DEAF);
    until("all of them are there", || alive("cut") >= 7).await;
    drop(process.stdout.take());
    assert_eq!(end(&mut process).await.signal(), Some(9));
    assert_eq!(alive("cut"), 0);

    let process = start("dropped", DEAF);
    until("all of them are there", || alive("dropped") >= 7).await;
    drop(process);
    until("nothing is left", || alive("dropped") == 0).await;
}

#[tokio::test]
async fn a_killed_supervisor_leaves_what_is_found_by_its_mark() {
    let mut process = start("orphans", DEAF);
    until("all of them are there", || alive("orphans") >= 7).await;
    let supervisor = process.id().and_then(|pid| ProcessId::of(i32::try_from(pid).ok()?));
    supervisor.expect("it lives").signal(Signal::KILL);
    assert_eq!(end(&mut process).await, Exit::Signalled { signal: 9 });
    assert_eq!(alive("orphans"), 0);
}

#[tokio::test]
async fn a_family_that_forks_does_not_escape() {
    let script = "f() { while :; do (sleep 0.05 & exec sleep 0.05) & sleep 0.01; done; }; f & f";
    let mut process = start("forks", script);
    until("it forks", || alive("forks") > 5).await;
    drop(process.stdout.take());
    end(&mut process).await;
    assert_eq!(alive("forks"), 0);
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipe_ends_with_the_child() {
    let mut process = start("pipe", "setsid sleep 1000 & echo done");
    assert_eq!(output(&mut process).await, "done\n", "the pipe was closed in the end");
    assert_eq!(end(&mut process).await, Exit::Exited { code: 0 });
    assert_eq!(alive("pipe"), 0);
}

#[tokio::test]
async fn one_tether_does_not_hold_another() {
    let mut first = start("first", "exec sleep 1000");
    let second = start("second", "exec sleep 1000");
    until("both are there", || alive("first") >= 2 && alive("second") >= 2).await;
    drop(first.stdout.take());
    end(&mut first).await;
    assert_eq!((alive("first"), alive("second")), (0, 2));
    drop(second);
    until("nothing is left", || alive("second") == 0).await;
}
