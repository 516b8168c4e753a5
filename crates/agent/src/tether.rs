//! A process that cannot outlive whoever started it, nor leave anything behind.
//!
//! A service that answers a caller with an agent's output reads that output itself, and needs none
//! of what a [host](crate::host) is for: a folder, a log, and another process that takes over. It
//! needs one promise: when the caller or the service is gone, so is the agent, with everything that
//! it started. So [`start`] puts a supervisor between the two, which is this same program with
//! [`SUBCOMMAND`] in front ([`main`]).
//!
//! - The agent inherits the supervisor's pipes, so no byte is copied on the way.
//! - The tether is the pipe of standard output. Only the starter has its reading end; when that is
//!   closed, on purpose or because the starter was killed, the supervisor kills everything below
//!   itself.
//! - The supervisor adopts orphans (it is a subreaper) and holds the writing end until nothing of
//!   the agent is left: the end of the output means that every process of the agent is dead.
//!
//! A supervisor that is killed itself cannot keep that promise; [`Tethered::wait`] then finds the
//! agent's processes by their environment, and kills them.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use secrecy::ExposeSecret as _;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::agents::{Exit, Invocation};
use crate::sandbox::processes;

/// The hidden subcommand of the supervisor: `afk tether PROGRAM ARGUMENT…`.
pub const SUBCOMMAND: &str = "tether";

/// The environment variable that marks the processes of a service, so that they can be found after
/// the service and its supervisors were killed. The service chooses the value.
pub const MARK: &str = "AFK_TETHERED_TO";

/// The environment variable that marks the processes of one [`start`].
const OWN_MARK: &str = "AFK_TETHER";

/// The exit code of a supervisor that could not start the program; standard error says why.
pub const NOT_STARTED: u8 = 126;

/// How often orphans that ended are reaped while nothing else happens.
const COLLECT: Duration = Duration::from_secs(10);
/// How often ended children are looked for if the kernel gives no descriptor that reports an end.
const COLLECT_BLIND: Duration = Duration::from_millis(20);
/// How long to wait for the death of the killed program before others are looked for.
const DYING: Duration = Duration::from_millis(200);
/// Time limit of one round of killing.
const KILL_ROUND: Duration = Duration::from_millis(500);

/// A running process with its pipes. Dropping [`Tethered::stdout`] kills it.
#[derive(Debug)]
pub struct Tethered {
    /// The standard input of the process.
    pub stdin: Option<ChildStdin>,
    /// The standard output of the process, which is the tether. Ends when nothing of the process is
    /// left.
    pub stdout: Option<ChildStdout>,
    /// The standard error of the process.
    pub stderr: Option<ChildStderr>,
    supervisor: Child,
    own: String,
}

/// Starts `invocation` in `folder` under a supervisor, which is `program` (this very binary). The
/// caller writes the standard input. `mark` is the value of [`MARK`]; it must be unique to the
/// service on this machine.
pub fn start(
    program: &Path,
    invocation: &Invocation,
    folder: &Path,
    mark: &str,
) -> io::Result<Tethered> {
    let mut command = Command::new(program);
    command.arg(SUBCOMMAND).arg(&invocation.program).args(&invocation.args);
    command.env_clear();
    for (name, value) in &invocation.env {
        command.env(name, value.expose_secret());
    }
    let own = uuid::Uuid::now_v7().to_string();
    command.env(MARK, mark).env(OWN_MARK, &own).current_dir(folder).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut supervisor = command.spawn()?;
    Ok(Tethered {
        stdin: supervisor.stdin.take(),
        stdout: supervisor.stdout.take(),
        stderr: supervisor.stderr.take(),
        supervisor,
        own,
    })
}

impl Tethered {
    /// The supervisor's process id, until [`Tethered::wait`] has returned.
    pub fn id(&self) -> Option<u32> {
        self.supervisor.id()
    }

    /// Waits for the end of the process, which comes soon once [`Tethered::stdout`] has ended or
    /// was dropped. [`Exit::Signalled`] means that the supervisor was killed.
    pub async fn wait(&mut self) -> Exit {
        use std::os::unix::process::ExitStatusExt as _;
        let Ok(status) = self.supervisor.wait().await else { return Exit::Lost };
        match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Exited { code },
            (None, Some(signal)) => {
                // Somebody killed the supervisor, so the agent's processes have to be killed here.
                let entry = format!("{OWN_MARK}={}", self.own);
                let _ = tokio::task::spawn_blocking(move || end_marked(&entry)).await;
                Exit::Signalled { signal }
            }
            (None, None) => Exit::Lost,
        }
    }
}

/// Kills every process that carries `mark`, for a service that starts again after it was killed
/// together with its supervisors. Returns how many processes there were.
pub fn sweep(mark: &str) -> usize {
    end_marked(&format!("{MARK}={mark}"))
}

fn end_marked(entry: &str) -> usize {
    let found = processes::marked(entry).len();
    processes::end_all(KILL_ROUND, || processes::marked(entry));
    found
}

/// The supervisor: starts the program in `args`, kills it with everything below when its output has
/// no reader left, and passes on its exit code (128 plus the signal's number for a signal).
pub fn main(args: &[OsString]) -> ExitCode {
    match supervise(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(NOT_STARTED)
        }
    }
}

fn supervise(args: &[OsString]) -> io::Result<u8> {
    let told = |what: String| move |error: io::Error| io::Error::other(format!("{what}: {error}"));
    let Some((program, args)) = args.split_first() else {
        return Err(io::Error::other(format!("usage: {SUBCOMMAND} PROGRAM ARGUMENT…")));
    };
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| told("cannot adopt orphans".to_owned())(error.into()))?;
    let child = std::process::Command::new(program)
        .args(args)
        .process_group(0)
        .spawn()
        .map_err(told(format!("cannot start {}", Path::new(program).display())))?;
    let child = Pid::from_child(&child);
    // We share the program's standard input, and would hide from the starter that it was closed.
    let _ = nix::unistd::close(0);
    let ended = rustix::process::pidfd_open(child, PidfdFlags::empty()).ok();
    let output = io::stdout();
    let mut code = None;
    while code.is_none() {
        let mut watched = vec![PollFd::new(&output, PollFlags::empty())];
        watched.extend(ended.as_ref().map(|ended| PollFd::new(ended, PollFlags::IN)));
        let pause = if ended.is_some() { COLLECT } else { COLLECT_BLIND };
        // If waiting fails, nothing is known: look at everything and go on.
        let _ = poll(&mut watched, Some(&pause.try_into().unwrap_or_default()));
        let broken = watched.first().is_some_and(|output| {
            output.revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
        });
        collect(child, &mut code);
        if broken {
            code.get_or_insert(128 + 9);
        }
    }
    end_everything(child, ended.as_ref(), &mut code);
    Ok(code.unwrap_or(1))
}

/// Reaps every child that has ended, and sets `code` when `main` is one of them. Returns false once
/// there is no child left.
fn collect(main: Pid, code: &mut Option<u8>) -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == main => {
                let by_signal = status.terminating_signal().map(|signal| 128 + signal);
                let ended = status.exit_status().or(by_signal).unwrap_or(1);
                code.get_or_insert(u8::try_from(ended).unwrap_or(1));
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn end_everything(main: Pid, ended: Option<&OwnedFd>, code: &mut Option<u8>) {
    // The program's group first, in one step. Usually that is all there is, and dead in a moment;
    // to look for more, we have to read about every process of the machine.
    let _ = rustix::process::kill_process_group(main, Signal::KILL);
    if let Some(ended) = ended {
        let pause = DYING.try_into().unwrap_or_default();
        let _ = poll(&mut [PollFd::new(ended, PollFlags::IN)], Some(&pause));
    }
    let mut looks = 0;
    while collect(main, code) {
        if looks > 0 {
            processes::kill_below_self(KILL_ROUND);
        }
        looks += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
}
