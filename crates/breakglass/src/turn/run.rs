//! Runs one turn: starts the process, writes its output to the log, and reports how it ended.
//!
//! Called by [`crate::conversation`] once the turn has a place. A conversation that the CLI refuses
//! to open is resumed, or the other way round, once. The turn never waits for a client: it writes
//! to the log, which clients read. Afterwards nothing of the agent is left, if a kill can end it.

use std::io;
use std::path::Path;
use std::time::Duration;

use afk_agent::agents::claude::session::after_refusal;
use afk_agent::agents::lines::{LinePosition, LineReader};
use afk_agent::agents::{AgentKind, Exit, TurnOutcome, TurnReader};
use afk_agent::sessions::{EventLog, LogError};
use afk_agent::tether::Tethered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::ChildStderr;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::command::{AgentProgram, TurnRequest, command};
use super::stream::translate;
use crate::supervisor::Supervisor;
use crate::wire::UiEvent;

/// How long it may take to read the rest of the agent's standard error once the agent is dead.
const LAST_WORDS_BOUND: Duration = Duration::from_secs(2);
/// How long a killed agent may take to be gone. After that only its supervisor goes on waiting.
const DEATH: Duration = Duration::from_secs(30);
/// How much of the agent's output is read at once, in bytes.
const CHUNK: usize = 64 * 1024;
/// How much of the end of the agent's standard error is kept, in bytes.
const LAST_WORDS: usize = 8 * 1024;

/// What turns need, the same for all of them.
#[derive(Clone, Debug)]
pub struct TurnRunner {
    /// Starts the agent so that it does not outlive the server.
    pub supervisor: Supervisor,
    /// The agent's program, with its model and environment.
    pub program: AgentProgram,
    /// How long a turn may take, with both attempts to enter the conversation.
    pub bound: Duration,
}

/// What ends a turn from outside.
#[derive(Clone, Debug)]
pub struct TurnStop {
    /// Cancelled when a person stops this turn.
    pub cancel: CancellationToken,
    /// Cancelled when the server is stopped.
    pub shutdown: CancellationToken,
}

/// Why the server ended a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A person stopped it.
    Cancelled,
    /// The turn took longer than this, the longest that one may take.
    TimedOut(Duration),
    /// The server is being stopped.
    Shutdown,
    /// The conversation's log is full.
    LogFull,
    /// The conversation's log cannot be written.
    LogFailed,
}

/// How a turn went.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnReport {
    /// Why the server ended the turn, if it did.
    pub stopped: Option<StopReason>,
    /// How the agent's turn ended, by its output and its exit.
    pub outcome: TurnOutcome,
    /// The agent's own result ([`UiEvent::Result`]), if it came to one.
    pub result: Option<UiEvent>,
}

impl TurnRunner {
    /// Runs a turn in `folder`, and appends its events to `log`, all but the last ones.
    pub async fn run(
        &self,
        log: &EventLog,
        folder: &Path,
        mut request: TurnRequest,
        stop: &TurnStop,
    ) -> TurnReport {
        let deadline = Instant::now() + self.bound;
        let first = self.attempt(log, folder, &request, stop, deadline).await;
        let other = after_refusal(&first.outcome).filter(|_| first.stopped.is_none());
        let Some(other) = other.filter(|other| *other != request.session_use) else {
            return first;
        };
        tracing::info!(session = request.session, enter = ?other, "conversation entered the other way");
        request.session_use = other;
        self.attempt(log, folder, &request, stop, deadline).await
    }

    async fn attempt(
        &self,
        log: &EventLog,
        folder: &Path,
        request: &TurnRequest,
        stop: &TurnStop,
        deadline: Instant,
    ) -> TurnReport {
        let invocation = command(&self.program, request);
        let child = match self.supervisor.spawn(&invocation, folder) {
            Ok(child) => child,
            Err(error) => return not_started(&error),
        };
        let mut watched = Watched { child, stopped: None };
        if let Some(mut stdin) = watched.child.stdin.take() {
            // On a task of its own: an agent that does not read is no reason to wait.
            tokio::spawn(async move { stdin.write_all(&invocation.stdin).await });
        }
        let last_words = tokio::spawn(tail(watched.child.stderr.take()));
        let mut output = Output::new(log);
        let exit = watched.carry(&mut output, stop, self.bound, deadline).await;
        output.finish().await;
        // Whatever held standard error open is dead by now, so this ends soon.
        let stderr = timeout(LAST_WORDS_BOUND, last_words).await;
        let stderr = stderr.ok().and_then(Result::ok).unwrap_or_default();
        let outcome = output.reader.outcome(&exit, &stderr, watched.stopped.is_some());
        TurnReport { stopped: watched.stopped, outcome, result: output.result }
    }
}

/// A running agent, and why the server ended it, if it did.
struct Watched {
    child: Tethered,
    stopped: Option<StopReason>,
}

impl Watched {
    /// Carries output until nothing of the agent is left. An agent that is to stop is killed; its
    /// conversation can be resumed all the same.
    async fn carry(
        &mut self,
        output: &mut Output<'_>,
        stop: &TurnStop,
        bound: Duration,
        deadline: Instant,
    ) -> Exit {
        let mut stdout = self.child.stdout.take();
        let mut chunk = vec![0; CHUNK];
        let asked = async {
            tokio::select! {
                () = stop.cancel.cancelled() => StopReason::Cancelled,
                () = stop.shutdown.cancelled() => StopReason::Shutdown,
                () = sleep_until(deadline) => StopReason::TimedOut(bound),
            }
        };
        tokio::pin!(asked);
        while let Some(open) = stdout.as_mut() {
            tokio::select! {
                read = open.read(&mut chunk) => match read {
                    Ok(0) | Err(_) => stdout = None,
                    Ok(read) => output.take(&chunk[..read]).await,
                },
                why = asked.as_mut() => self.stopped = Some(why),
            }
            self.stopped = self.stopped.or(output.failed);
            if self.stopped.is_some() {
                // The tether: whatever holds the pipe's other end is killed when this one closes.
                stdout = None;
            }
        }
        // Nothing may keep the place of a turn for ever, not even what the kernel cannot kill.
        timeout(DEATH, self.child.wait()).await.unwrap_or(Exit::Lost)
    }
}

/// The agent's output on its way into the log.
struct Output<'a> {
    log: &'a EventLog,
    reader: TurnReader,
    lines: LineReader,
    result: Option<UiEvent>,
    /// Why nothing more is written to the log, if so.
    failed: Option<StopReason>,
}

impl<'a> Output<'a> {
    fn new(log: &'a EventLog) -> Self {
        Self {
            log,
            reader: TurnReader::new(AgentKind::Claude),
            lines: LineReader::new(LinePosition::default()),
            result: None,
            failed: None,
        }
    }

    async fn take(&mut self, bytes: &[u8]) {
        // The reader's events are of no interest here, only its state, which decides the outcome.
        let _ = self.reader.feed(bytes);
        let (mut events, mut result) = (Vec::new(), None);
        self.lines.feed(bytes, |line| result = translate(line, &mut events).or(result.take()));
        self.write(events, result).await;
    }

    async fn finish(&mut self) {
        let _ = self.reader.finish();
        let (mut events, mut result) = (Vec::new(), None);
        self.lines.finish(|line| result = translate(line, &mut events));
        self.write(events, result).await;
    }

    async fn write(&mut self, events: Vec<UiEvent>, result: Option<UiEvent>) {
        self.result = result.or(self.result.take());
        if events.is_empty() || self.failed.is_some() {
            return;
        }
        let lines = events.iter().map(UiEvent::to_line).collect();
        if let Err(error) = self.log.append(lines).await {
            self.failed = Some(match error {
                LogError::Full { .. } => StopReason::LogFull,
                error => {
                    tracing::error!(%error, "event of a turn not written");
                    StopReason::LogFailed
                }
            });
        }
    }
}

/// Returns the report on a turn whose agent could not be started.
pub fn not_started(error: &io::Error) -> TurnReport {
    let exit = Exit::NotStarted { message: error.to_string() };
    let outcome = TurnReader::new(AgentKind::Claude).outcome(&exit, "", false);
    TurnReport { stopped: None, outcome, result: None }
}

/// Reads all of standard error and returns the end of it.
async fn tail(stderr: Option<ChildStderr>) -> String {
    let Some(mut stderr) = stderr else { return String::new() };
    let (mut kept, mut chunk) = (Vec::new(), vec![0; LAST_WORDS]);
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        kept.drain(..kept.len().saturating_sub(LAST_WORDS));
    }
    String::from_utf8_lossy(&kept).into_owned()
}
