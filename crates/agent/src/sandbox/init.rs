//! `afk sandbox-init`: our code that runs first inside a box. Never called by people.
//!
//! - `exec <ready> [<door>]` reads a [`Plan`] from standard input, hands the box's way to the network
//!   out through `door` if there is one, confines itself, and becomes the job; the rest of standard
//!   input is the job's.
//! - `supervise <host pid> <ready>` takes the place of bubblewrap's first process where there is no
//!   bubblewrap: the job runs below it, orphans are reparented to it, and nothing below it outlives
//!   the job or the host.
//! - `read <plan> <command>…` confines itself and becomes the command: for supervised commands without
//!   a host, which only read.
//! - `probe` confines itself and exits, to show that this machine can.
//!
//! `ready` is a descriptor on which the host gets [`READY`] just before the job begins, or the
//! reason if it does not. The job itself does not get it. Exit codes: the job's own; 128 + signal;
//! [`CANNOT_START`] if the job never ran.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, WaitOptions};

use super::confine::{self, Plan, Rules};
use super::processes;
use crate::egress::handover;

/// The hidden subcommand under which the binary reaches [`init_main`].
pub const SUBCOMMAND: &str = "sandbox-init";

/// The exit code if the job never ran.
pub(crate) const CANNOT_START: u8 = 125;

/// The report to the host just before the job begins.
pub(crate) const READY: &str = "ready\n";

/// The largest plan that is accepted, in bytes.
const PLAN_LIMIT: u64 = 16 << 20;

/// How long the supervisor tries to kill what is left of the job.
const KILL_BOUND: Duration = Duration::from_secs(10);

/// Runs the subcommand; `args` are the arguments after its name.
pub fn init_main(args: &[OsString]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let done = match words.as_slice() {
        ["exec", ready] => return become_job(ready, None),
        ["exec", ready, door] => return become_job(ready, Some(door)),
        ["read", plan, ..] => become_reader(plan, args.get(2..).unwrap_or_default()),
        ["supervise", host, ready] => supervise(host, ready),
        ["probe"] => {
            confine::restrict(&Rules::default()).map(|()| 0).map_err(|error| error.to_string())
        }
        _ => Err("this subcommand is for the host only".to_owned()),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(reason) => {
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::from(CANNOT_START)
        }
    }
}

/// Writes a plan as `exec` reads it: eight bytes of length, then JSON.
pub(crate) fn write_plan(mut to: impl io::Write, plan: &Plan) -> io::Result<()> {
    let body = serde_json::to_vec(plan)?;
    to.write_all(&(body.len() as u64).to_be_bytes())?;
    to.write_all(&body)
}

/// Confines itself and becomes the job; returns only if it could not, after reporting why.
fn become_job(ready: &str, door: Option<&str>) -> ExitCode {
    // Without this descriptor no reason can be reported.
    let Ok(mut host) = take_descriptor(ready) else { return ExitCode::from(CANNOT_START) };
    let Err(reason) = prepare(door).and_then(|plan| {
        host.write_all(READY.as_bytes())
            .map_err(|error| format!("cannot tell the host: {error}"))?;
        let (program, args) = plan.argv.split_first().ok_or("no program to run")?;
        // The program is looked up on the plan's `PATH`, not on ours.
        let error = Command::new(program).args(args).env_clear().envs(&plan.env).exec();
        Err::<Infallible, _>(confine::exec_failure(program, &error))
    });
    let _ = host.write_all(reason.as_bytes());
    ExitCode::from(CANNOT_START)
}

/// Confines itself and becomes the command; returns only why it could not.
fn become_reader(plan: &str, command: &[OsString]) -> Result<u8, String> {
    let plan: Plan =
        serde_json::from_str(plan).map_err(|error| format!("cannot read the plan: {error}"))?;
    confine::confine(&plan).map_err(|error| error.to_string())?;
    let (program, args) = command.split_first().ok_or("no program to run")?;
    let error = Command::new(program).args(args).env_clear().envs(&plan.env).exec();
    Err(confine::exec_failure(&program.to_string_lossy(), &error))
}

/// Does everything before the job's own program can start, and returns the plan.
fn prepare(door: Option<&str>) -> Result<Plan, String> {
    let plan = read_plan().map_err(|error| format!("cannot read what to run: {error}"))?;
    if let Some(door) = door {
        let door = take_socket(door)
            .map_err(|error| format!("cannot take over the box's way to the network: {error}"))?;
        handover::open(door)?;
    }
    std::env::set_current_dir(&plan.cwd).map_err(|error| {
        format!(
            "cannot enter the working folder {}: {error}; is it bound into the box?",
            plan.cwd.display()
        )
    })?;
    confine::confine(&plan).map_err(|error| error.to_string())?;
    Ok(plan)
}

/// Takes over an inherited descriptor by its number: opens it again as close-on-exec, and closes
/// the inherited one.
fn take_descriptor(number: &str) -> io::Result<File> {
    let number: i32 = number.parse().map_err(io::Error::other)?;
    let taken = OpenOptions::new().write(true).open(format!("/proc/self/fd/{number}"))?;
    nix::unistd::close(number)?;
    Ok(taken)
}

/// [`take_descriptor`] for a socket, which cannot be opened again by its path in `/proc`.
fn take_socket(number: &str) -> io::Result<OwnedFd> {
    let number: i32 = number.parse().map_err(io::Error::other)?;
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let taken = rustix::process::pidfd_getfd(&own, number, PidfdGetfdFlags::empty())?;
    nix::unistd::close(number)?;
    Ok(taken)
}

/// Reads the plan and not a byte more, because the rest is the job's input.
fn read_plan() -> io::Result<Plan> {
    // A descriptor of our own, close-on-exec, without the buffer of `Stdin`, which would read
    // ahead.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    if length > PLAN_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    let mut body = Vec::new();
    if input.take(length).read_to_end(&mut body)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&body)?)
}

enum Notice {
    HostGone,
    Reaped(Pid, std::process::ExitStatus),
}

/// Runs the job as its own child until the job or the host is gone; then kills what is left.
fn supervise(host: &str, ready: &str) -> Result<u8, String> {
    let host = host.parse().ok().and_then(Pid::from_raw).ok_or("no host to watch")?;
    let code = watch(host, ready).map_err(|error| format!("cannot watch the job: {error}"));
    let left = processes::kill_below_self(KILL_BOUND);
    if left.is_empty() {
        code
    } else {
        Err(format!("{} processes of the job do not die", left.len()))
    }
}

fn watch(host: Pid, ready: &str) -> io::Result<u8> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // The descriptor reports the host's death at once. If the host is still our parent after it was
    // opened, the process id had not been reused before.
    let watched = rustix::process::pidfd_open(host, PidfdFlags::empty())?;
    if rustix::process::getppid() != Some(host) {
        return Err(io::Error::other("the host is gone"));
    }
    // Spawned from the main thread, because the job dies with the thread that started it.
    let job = Command::new("/proc/self/exe").args([SUBCOMMAND, "exec", ready]).spawn()?;
    let job = Pid::from_child(&job);
    // The host sees the end of the report only if no other process holds this descriptor.
    drop(take_descriptor(ready)?);
    let (notify, notices) = mpsc::channel();
    let reaping = notify.clone();
    std::thread::spawn(move || {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::empty()) {
            let status = std::process::ExitStatus::from_raw(status.as_raw());
            if reaping.send(Notice::Reaped(pid, status)).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        let mut polled = [PollFd::new(&watched, PollFlags::IN)];
        while rustix::event::poll(&mut polled, None) == Err(rustix::io::Errno::INTR) {}
        // Nobody receives after the job's end.
        let _ = notify.send(Notice::HostGone);
    });
    for notice in notices {
        match notice {
            Notice::Reaped(pid, status) if pid == job => return Ok(code(status)),
            // An orphan of the job that was reparented to us.
            Notice::Reaped(_, _) => {}
            Notice::HostGone => break,
        }
    }
    Err(io::Error::other("the host is gone"))
}

/// The exit code that reports the job's end to the host, in bubblewrap's convention: the job's own
/// code, or 128 + signal.
fn code(status: std::process::ExitStatus) -> u8 {
    let signalled = status.signal().map(|signal| 128 + signal);
    // Every status has a code or a signal; 1 is for the impossible rest.
    status.code().or(signalled).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The signal that an exit code stands for, in the convention of shells, bubblewrap and the
/// supervisor.
pub(crate) fn signal_of(code: i32) -> Option<i32> {
    let signal = code - 128;
    (Signal::HUP.as_raw()..=64).contains(&signal).then_some(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_above_128_are_signals() {
        for (code, signal) in [
            (0, None),
            (1, None),
            (128, None),
            (129, Some(1)),
            (137, Some(9)),
            (192, Some(64)),
            (193, None),
            (255, None),
        ] {
            assert_eq!(signal_of(code), signal, "exit code {code}");
        }
    }
}
