//! The relay's process, which runs one turn of an agent.
//!
//! The binary's hidden subcommand calls [`main`]. It starts the agent in a process group of its
//! own, passes lines on, carries out what the [`Dialogue`] says, and logs every entry on standard
//! output before it acts on it. Everything that it waits for has a limit, but for the turn itself,
//! which the host limits. SIGTERM cancels the turn in the way of the agent's protocol; after the
//! grace, and always at the end, the agent's group is killed. Standard error is the agent's.

use std::io::{BufRead as _, Read as _, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::codec::Step;
use super::dialogue::Dialogue;
use super::wire::{InputLine, MAX_MESSAGE, PROMPT_FILE, RelayEntry, RelayRequest};
use crate::agents::claude::control::MAX_PROMPT;
use crate::agents::lines::{LinePosition, LineReader};

/// Maximum length of a line of input, in bytes: two prompts, escaped.
const MAX_INPUT: u64 = 4 * MAX_PROMPT as u64;
/// How many writes to the agent may wait for it to read.
const WAITING: usize = 256;
/// How long to wait, once the agent's process is gone, for the end of its output and then for the
/// rest of its group: processes that it left behind may hold the pipe.
const REST: Duration = Duration::from_millis(500);
/// How often to check whether the group still lives.
const LOOK: Duration = Duration::from_millis(10);

/// Exit code if the relay cannot begin: above all, if it gets no request.
const NO_REQUEST: i32 = 2;
/// Exit code if the turn failed, or the agent did not start, or exited without ending its turn.
const NO_END: i32 = 1;
/// Exit code of a cancelled turn: 128 plus SIGTERM.
const CANCELLED: i32 = 143;

/// Runs one turn: reads the request from standard input, and writes the log to standard output.
/// Returns the exit code.
pub fn main() -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return complain("cannot start its runtime") };
    let code = runtime.block_on(turn());
    // Without waiting for the thread that still reads standard input.
    runtime.shutdown_background();
    code
}

async fn turn() -> i32 {
    // Before anything else: from here on SIGTERM asks to cancel, and does not kill.
    let Ok(mut term) = tokio::signal::unix::signal(SignalKind::terminate()) else {
        return complain("cannot listen for signals");
    };
    let mut input = input();
    let first = tokio::select! {
        first = input.recv() => first,
        _ = term.recv() => return CANCELLED,
    };
    let request = first.and_then(|line| serde_json::from_slice::<RelayRequest>(&line).ok());
    let Some(request) = request else { return complain("standard input has no request") };
    let mut relay = match Relay::start(request) {
        Ok(relay) => relay,
        Err(code) => return code,
    };
    relay.run(&mut input, &mut term).await
}

fn complain(what: &str) -> i32 {
    let _ = writeln!(std::io::stderr(), "agent relay: {what}");
    NO_REQUEST
}

/// The lines of standard input, read on a thread of its own.
fn input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = (&mut stdin).take(MAX_INPUT).read_until(b'\n', &mut line);
            if !matches!(read, Ok(1..)) || sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

struct Relay {
    dialogue: Dialogue,
    child: Child,
    group: Option<Pid>,
    stdin: Option<mpsc::Sender<Vec<u8>>>,
    stdout: Option<ChildStdout>,
    exited: Option<ExitStatus>,
    /// Whether we have killed the agent's group.
    ended: bool,
    cancelled: bool,
    deadline: Option<Instant>,
}

impl Relay {
    /// Starts the agent. If that fails, logs why and returns an exit code.
    fn start(request: RelayRequest) -> Result<Self, i32> {
        let argv = match with_prompt_file(&request) {
            Ok(argv) => argv,
            Err(error) => {
                return not_started(&request, &format!("cannot write the prompt's file: {error}"));
            }
        };
        let Some((program, rest)) = argv.split_first() else {
            return not_started(&request, "the agent has no command");
        };
        let spawned = Command::new(program)
            .args(rest)
            .current_dir(&request.cwd)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => return not_started(&request, &format!("{program}: {error}")),
        };
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let (input, output) = (child.stdin.take().map(writer), child.stdout.take());
        let deadline = Instant::now() + Duration::from_millis(request.start_ms);
        log(&RelayEntry::Begun(Box::new(request.without_prompts())).line());
        let (dialogue, step) = Dialogue::begin(request);
        let mut relay = Self {
            dialogue,
            child,
            group,
            stdin: input,
            stdout: output,
            exited: None,
            ended: false,
            cancelled: false,
            deadline: Some(deadline),
        };
        relay.carry_out(step);
        Ok(relay)
    }

    async fn run(
        &mut self,
        input: &mut mpsc::Receiver<Vec<u8>>,
        term: &mut tokio::signal::unix::Signal,
    ) -> i32 {
        let mut lines = LineReader::with_limit(LinePosition::default(), MAX_MESSAGE);
        let mut chunk = vec![0; 64 << 10];
        let mut more_input = true;
        loop {
            if self.exited.is_some() && self.stdout.is_none() {
                break;
            }
            tokio::select! {
                read = read(self.stdout.as_mut(), &mut chunk) => match read {
                    0 => {
                        self.stdout = None;
                        let mut last = None;
                        lines.finish(|line| last = Some(line.to_owned()));
                        self.hear(last.into_iter().collect());
                        // An agent that closed its output has exited, or has to.
                        self.closing();
                    }
                    count => {
                        let cut = lines.position().skipped;
                        let mut heard = Vec::new();
                        lines.feed(&chunk[..count], |line| heard.push(line.to_owned()));
                        self.hear(heard);
                        for _ in cut..lines.position().skipped {
                            self.enter(&RelayEntry::Cut {});
                        }
                    }
                },
                status = self.child.wait(), if self.exited.is_none() => {
                    self.exited = Some(status.unwrap_or_else(|_| ExitStatus::from_raw(-1)));
                    self.deadline = Some(Instant::now() + REST);
                }
                line = input.recv(), if more_input => match line {
                    Some(line) => self.told(&line),
                    None => more_input = false,
                },
                _ = term.recv() => self.cancel(),
                () = until(self.deadline) => if self.late() { break },
            }
        }
        self.finish().await
    }

    /// Logs and processes lines of the agent.
    fn hear(&mut self, lines: Vec<String>) {
        let protocol = self.dialogue.request().protocol;
        for line in lines {
            let (entry, bytes) = RelayEntry::of_agent(&line, protocol);
            log(&bytes);
            let step = self.dialogue.take(&entry);
            self.carry_out(step);
        }
    }

    /// Processes a line of the control plane; any other line is ignored.
    fn told(&mut self, line: &[u8]) {
        if let Ok(InputLine::Answer { id, reply }) = serde_json::from_slice(line) {
            self.enter(&RelayEntry::Answer { id, reply });
        }
    }

    fn cancel(&mut self) {
        if !self.cancelled {
            self.cancelled = true;
            self.deadline = Some(Instant::now() + self.grace());
            self.enter(&RelayEntry::Cancel {});
        }
    }

    fn enter(&mut self, entry: &RelayEntry) {
        log(&entry.line());
        let step = self.dialogue.take(entry);
        self.carry_out(step);
    }

    fn carry_out(&mut self, step: Step) {
        for message in step.send {
            let mut line = message.to_string().into_bytes();
            line.push(b'\n');
            log(&RelayEntry::Client(message).line());
            self.write(line);
        }
        if let Some(text) = step.feed {
            log(&RelayEntry::Fed { bytes: text.len() }.line());
            self.write(text.into_bytes());
        }
        if step.terminate {
            self.signal(Signal::TERM);
        }
        if step.close {
            self.stdin = None;
        }
        // The host limits a turn in progress. Once the agent has exited, the deadline for its rest
        // stays.
        let under_way = self.dialogue.progress().started() && self.stdin.is_some();
        if (under_way || step.close) && self.exited.is_none() && !self.cancelled {
            self.deadline = None;
        }
        if self.dialogue.progress().over() {
            self.closing();
        }
    }

    /// Passes a line to the agent. An agent that has stopped reading is killed.
    fn write(&mut self, bytes: Vec<u8>) {
        let full = self.stdin.as_ref().is_some_and(|stdin| {
            matches!(stdin.try_send(bytes), Err(mpsc::error::TrySendError::Full(_)))
        });
        if full {
            self.end();
        }
    }

    /// Ends the agent's input, and gives the agent the grace to exit.
    fn closing(&mut self) {
        let open = self.stdin.take().is_some();
        if (open || self.deadline.is_none()) && self.exited.is_none() {
            self.deadline = Some(Instant::now() + self.grace());
        }
    }

    /// Acts on a deadline that has passed. Returns whether there is nothing more to wait for.
    fn late(&mut self) -> bool {
        let progress = self.dialogue.progress();
        if self.exited.is_some() {
            return true;
        }
        if !self.cancelled && !progress.started() && !progress.over() && self.stdin.is_some() {
            let after_ms = self.dialogue.request().start_ms;
            self.enter(&RelayEntry::Late { after_ms });
        }
        self.end();
        // Next its exit is awaited, and then its rest.
        self.deadline = Some(Instant::now() + self.grace());
        false
    }

    /// Kills the agent's group.
    fn end(&mut self) {
        self.ended = true;
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may be gone already, which is no error.
            let _ = kill_process_group(group, signal);
        }
    }

    fn group_lives(&self) -> bool {
        self.group.is_some_and(|group| test_kill_process_group(group).is_ok())
    }

    fn grace(&self) -> Duration {
        Duration::from_millis(self.dialogue.request().grace_ms)
    }

    /// Kills what is left of the group, logs how the agent ended, and returns the exit code.
    async fn finish(&mut self) -> i32 {
        // Processes that the agent started may still be saving their state.
        let bound = Instant::now() + REST;
        while !self.ended && self.group_lives() && Instant::now() < bound {
            tokio::time::sleep(LOOK).await;
        }
        self.signal(Signal::KILL);
        let status = match self.exited {
            Some(status) => Some(status),
            None => self.child.wait().await.ok(),
        };
        let exited = RelayEntry::Exited {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            ours: self.ended,
        };
        self.enter(&exited);
        match self.dialogue.progress().end() {
            Some(end) if !end.is_error => 0,
            _ if self.cancelled => CANCELLED,
            Some(_) | None => NO_END,
        }
    }
}

fn not_started<T>(request: &RelayRequest, message: &str) -> Result<T, i32> {
    log(&RelayEntry::Begun(Box::new(request.without_prompts())).line());
    log(&RelayEntry::NotStarted { message: message.to_owned() }.line());
    Err(NO_END)
}

/// The agent's command. If it names a prompt file, writes the prompt to one in the agent's home.
fn with_prompt_file(request: &RelayRequest) -> std::io::Result<Vec<String>> {
    if !request.argv.iter().any(|word| word.contains(PROMPT_FILE)) {
        return Ok(request.argv.clone());
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let file = home.join("prompt.txt");
    // An earlier turn may have left a link there, which must not be followed.
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut made = std::fs::File::create_new(&file)?;
    made.write_all(request.prompt_for(false).as_bytes())?;
    let file = file.to_string_lossy();
    Ok(request.argv.iter().map(|word| word.replace(PROMPT_FILE, &file)).collect())
}

/// Writes to the agent's input on a task of its own, so that an agent that writes before it reads
/// cannot block the relay.
fn writer(mut stdin: ChildStdin) -> mpsc::Sender<Vec<u8>> {
    let (sender, mut lines) = mpsc::channel::<Vec<u8>>(WAITING);
    tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            // No error: an agent that closed its input will soon close its output, too.
            if stdin.write_all(&line).await.is_err() || stdin.flush().await.is_err() {
                return;
            }
        }
    });
    sender
}

/// Reads the agent's next bytes, and returns how many; 0 at the end. Without an output it never
/// returns.
async fn read(stdout: Option<&mut ChildStdout>, chunk: &mut [u8]) -> usize {
    match stdout {
        Some(stdout) => stdout.read(chunk).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Appends to the log. An error is ignored: the host always reads the log, and if the host is gone,
/// the job is killed.
fn log(line: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(line).and_then(|()| stdout.flush());
}
