//! A living thread: one process of the Claude CLI that serves turn after turn.
//!
//! A thread's processes are host jobs `thread.1`, `thread.2` and so on. Before anything of a turn
//! is sent, [`Begun`] is written into the turn's folder: which process, where in its input the
//! turn's line goes, where in its output the turn begins. So after a crash the same line is sent to
//! the same place, which the host accepts only once.
//!
//! A conversation that cannot go on (no process can enter it, or the model's API refuses its
//! history) is followed by another one, which has an id of its own and gets the whole prompt.
//!
//! A process is reused if it is idle, was started with the current configuration, its last turn did
//! not fail for something that people may have replaced since, such as the credential, and its own
//! spending cap matches the remaining budget. Otherwise it is ended and a new process resumes the
//! conversation, once the old one's whole process group is gone. `thread.lock` keeps two processes
//! from running at once; the workspace's own lock stays free for jobs that inspect the clone
//! between turns.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use afk_agent::agents::claude::control;
use afk_agent::agents::claude::session::{SessionId, SessionUse, after_refusal};
use afk_agent::agents::{AgentKind, Exit, Recovery, TurnOutcome, TurnReader};
use afk_agent::host::{self, EndHow, HostError, Job as Hosted, JobSpec, JobState, KilledBy, Stdin};
use afk_core::ids::{At, JobKey, JobOf, RunId};
use afk_core::usd::Usd;
use afk_engine::ports::{PortError, PortResult, Transcript, TurnRequest, run_and_turn};
use serde::{Deserialize, Serialize};

use super::super::invocations::{self, Enter};
use super::super::world;
use super::report::Reading;
use super::{CHUNK, LocalExecutor, STDERR};

/// How long a thread may be idle before its process is ended; the next turn resumes the
/// conversation.
const IDLE: Duration = Duration::from_mins(10);
/// How long a process may take to end once its input is closed.
const CLOSING: Duration = Duration::from_secs(2);
/// Maximum output of a process in all its turns, in bytes.
const OUTPUT: u64 = 1 << 30;
/// How much of the end of its output is read to see whether a process is idle, in bytes.
const TAIL: u64 = 1 << 20;
/// How far a process's cap may differ from the remaining budget. The two differ by rounding, a
/// micro-dollar for each turn.
const CAP_SLACK: Usd = Usd::micros(10);

/// The place of a turn in a process, written before anything of the turn is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Begun {
    /// The number of the thread's process, from 1.
    pub(super) process: u32,
    /// The turn's number among that process's turns, from 1.
    pub(super) of_process: u32,
    /// When the turn was begun.
    pub(super) at: At,
    /// Where the turn's line begins in the process's input, and the line. Unused for a process's
    /// first turn, whose line is part of the initial input.
    stdin: u64,
    line: String,
    /// Where the turn's output begins in the process's output.
    pub(super) stdout: u64,
    /// The id of the turn's line.
    pub(super) message: String,
    /// What the process may still spend when this turn begins, by its own count.
    cap: Usd,
    /// The CLI's counter of its cost before this turn; `None` for the first turn of a process.
    counter: Option<Usd>,
    /// The digest of the configuration that the process was started with.
    shape: String,
    /// How the process entered the conversation.
    session_use: SessionUse,
    /// Whether it entered this way because the conversation refused the other way.
    switched: bool,
    /// Which of the thread's conversations the turn is in, from 1.
    #[serde(default = "first")]
    pub(super) conversation: u32,
    /// Whether this turn begins the conversation because no process could enter the one before.
    #[serde(default)]
    anew: bool,
}

const fn first() -> u32 {
    1
}

/// How the next process of a turn enters the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThreadEntry {
    /// Into the present conversation, in this way.
    Use(SessionUse),
    /// With a new conversation: the present one can neither be opened nor resumed, for instance
    /// because its file was cut off.
    New,
}

/// Whether a begun turn was sent to its process.
pub(super) enum TurnDelivery {
    /// The turn was sent to this process, which is in this state.
    Sent(Hosted, JobState),
    /// The turn was not sent yet.
    Unsent,
    /// The turn cannot be sent any more, or its process did not get into the conversation. Nothing
    /// of it was done: another process must take it, and enter the thread this way, if that is
    /// known.
    Void(Option<ThreadEntry>),
}

impl LocalExecutor {
    pub(super) async fn start_thread(&self, turn: &TurnRequest) -> PortResult<()> {
        let begun = match self.begun(&turn.key).await? {
            None => self.bind(turn, None, None).await?,
            Some(begun) => match self.delivery(&turn.key, &begun).await? {
                TurnDelivery::Sent(..) => return Ok(()),
                TurnDelivery::Unsent => begun,
                TurnDelivery::Void(enter) => self.bind(turn, Some(&begun), enter).await?,
            },
        };
        if begun.of_process == 1 {
            return self.launch(turn, &begun).await;
        }
        let Some(job) = self.process(turn.run, begun.process) else { return Ok(()) };
        match job.write(begun.stdin, begun.line.as_bytes()).await {
            // If the process ended meanwhile, the next pass finds that out.
            Ok(_) | Err(HostError::Over { .. }) => Ok(()),
            Err(error) => Err(PortError::transient(error)),
        }
    }

    pub(super) async fn delivery(&self, key: &JobKey, begun: &Begun) -> PortResult<TurnDelivery> {
        let (run, _) = run_and_turn(key)?;
        let Some(job) = self.process(run, begun.process) else { return Ok(TurnDelivery::Unsent) };
        let state = job.status().await.map_err(PortError::transient)?;
        if begun.of_process > 1 {
            let log = job
                .read_stdin(begun.stdin, begun.line.len() + 1)
                .await
                .map_err(PortError::transient)?;
            return Ok(match &state {
                _ if log.starts_with(begun.line.as_bytes()) => TurnDelivery::Sent(job, state),
                JobState::Running { .. } if log.is_empty() => TurnDelivery::Unsent,
                JobState::Starting
                | JobState::Running { .. }
                | JobState::Ended(_)
                | JobState::Lost => TurnDelivery::Void(None),
            });
        }
        match &state {
            // The control plane may have died after writing the spec and before there was a host.
            JobState::Starting if !job.dir().join("host.json").exists() => Ok(TurnDelivery::Unsent),
            JobState::Ended(end) if end.how == EndHow::WorkspaceBusy => {
                job.remove().await.map_err(PortError::transient)?;
                Ok(TurnDelivery::Unsent)
            }
            JobState::Ended(end) if !begun.anew => {
                let refused = self.refused(&job, &super::report::exit(&end.how)).await?;
                Ok(match refused {
                    Some(_) if begun.switched => TurnDelivery::Void(Some(ThreadEntry::New)),
                    Some(enter) => TurnDelivery::Void(Some(ThreadEntry::Use(enter))),
                    None => TurnDelivery::Sent(job, state),
                })
            }
            JobState::Starting | JobState::Running { .. } | JobState::Ended(_) | JobState::Lost => {
                Ok(TurnDelivery::Sent(job, state))
            }
        }
    }

    /// Returns the place of the turn `key`, if it was begun on a thread.
    pub(super) async fn begun(&self, key: &JobKey) -> PortResult<Option<Begun>> {
        let path = self.begun_path(key)?;
        let body = match tokio::fs::read(&path).await {
            Ok(body) => body,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&path, error)),
        };
        serde_json::from_slice(&body).map(Some).map_err(|error| unusable(&path, error))
    }

    /// Returns the process `n` of the thread of `run`.
    pub(super) fn process(&self, run: RunId, n: u32) -> Option<Hosted> {
        Hosted::open(self.local.job(run, &process_key(run, n)))
    }

    /// Returns the newest turn of the run, if the thread's process in `dir` has it.
    pub(super) async fn turn_of(
        &self,
        run: RunId,
        dir: &Path,
    ) -> PortResult<Option<(JobKey, Begun)>> {
        let name = dir.file_name().and_then(|name| name.to_str());
        let process = name.and_then(|name| name.strip_prefix("thread.")?.parse::<u32>().ok());
        let newest = super::keep::turns(&self.local, run).await?.pop();
        let Some(newest) = newest else { return Ok(None) };
        let key = JobKey::new(run, JobOf::Turn, &newest.to_string());
        let begun = self.begun(&key).await?.filter(|begun| Some(begun.process) == process);
        Ok(begun.map(|begun| (key, begun)))
    }

    /// Decides which process gets `turn`, and records that. `own` is the turn's place before, which
    /// proved void, and `enter` how to enter the thread instead.
    async fn bind(
        &self,
        turn: &TurnRequest,
        own: Option<&Begun>,
        enter: Option<ThreadEntry>,
    ) -> PortResult<Begun> {
        let (conversation, is_new) = match (own, enter) {
            (Some(own), Some(ThreadEntry::New)) => (own.conversation + 1, true),
            (Some(own), Some(ThreadEntry::Use(_)) | None) => (own.conversation, false),
            (None, _) => self.next_conversation(turn).await?,
        };
        let last = self.last_process(turn.run).await?;
        let session = SessionId::of_thread(&turn.thread.to_string(), conversation);
        let mut refused = None;
        if let Some(job) = self.process(turn.run, last) {
            // The first check after a host has died also kills what is left of its job.
            match job.status().await.map_err(PortError::transient)? {
                JobState::Starting | JobState::Running { .. } => {
                    if !is_new && let Some(begun) = self.usable(turn, last, &job, session).await? {
                        return self.write(&turn.key, begun).await;
                    }
                    retire(&job).await?;
                }
                JobState::Ended(end) if !is_new => {
                    refused = self.refused(&job, &super::report::exit(&end.how)).await?;
                }
                JobState::Ended(_) | JobState::Lost => {}
            }
        }
        let process = last + 1;
        let switched = match enter {
            Some(ThreadEntry::Use(other)) => Some(other),
            Some(ThreadEntry::New) | None => None,
        };
        let usual = if is_new || process == 1 { SessionUse::Open } else { SessionUse::Resume };
        let begun = Begun {
            process,
            of_process: 1,
            at: At::now(),
            stdin: 0,
            line: String::new(),
            stdout: 0,
            message: session.message(turn.n, process),
            cap: turn.budget,
            counter: None,
            shape: self.shape(turn)?,
            session_use: switched.or(refused).unwrap_or(usual),
            switched: switched.or(refused).is_some(),
            conversation,
            anew: enter == Some(ThreadEntry::New),
        };
        self.write(&turn.key, begun).await
    }

    /// Returns which of the thread's conversations a turn belongs to that was not begun yet, and
    /// whether the turn opens it after another one: it is that of the turn before, unless that got
    /// stuck.
    async fn next_conversation(&self, turn: &TurnRequest) -> PortResult<(u32, bool)> {
        for n in (1..turn.n).rev() {
            let key = JobKey::new(turn.run, JobOf::Turn, &n.to_string());
            if let Some(before) = self.begun(&key).await? {
                let stuck = self.is_stuck(&key)?;
                return Ok((before.conversation + u32::from(stuck), stuck));
            }
        }
        Ok((1, false))
    }

    /// Returns the place of `turn` in a living process; `None` if the turn needs a new process.
    async fn usable(
        &self,
        turn: &TurnRequest,
        process: u32,
        job: &Hosted,
        session: SessionId,
    ) -> PortResult<Option<Begun>> {
        let mut before = None;
        for n in (1..turn.n).rev() {
            let key = JobKey::new(turn.run, JobOf::Turn, &n.to_string());
            before = self.begun(&key).await?.filter(|b| b.process == process).map(|b| (key, b));
            if before.is_some() {
                break;
            }
        }
        let Some((key, before)) = before else { return Ok(None) };
        let reading = self.read_turn(&key, &before, job, false).await?;
        let reading = reading.lock().await;
        if has_waited(&reading) {
            return Ok(None);
        }
        let usage = match reading.reader.end() {
            Some(end) if reading.over => end.usage.clone(),
            Some(_) | None => return Ok(None),
        };
        let Some(counter) = Usd::from_f64(usage.cost_usd_cumulative) else { return Ok(None) };
        let own = usage.turn_cost_usd().and_then(Usd::from_f64);
        let spent =
            own.unwrap_or_else(|| counter.saturating_sub(before.counter.unwrap_or(Usd::ZERO)));
        let cap = before.cap.saturating_sub(spent);
        let apart = cap.saturating_sub(turn.budget).max(turn.budget.saturating_sub(cap));
        let dir = job.dir();
        let idle = world::blocking(move || idle(&dir)).await?;
        let (stdout, idle) = idle.map_err(PortError::transient)?;
        if !idle || apart > CAP_SLACK || before.shape != self.shape(turn)? {
            return Ok(None);
        }
        let message = session.message(turn.n, process);
        let line = control::user(&turn.prompt, &message).map_err(PortError::permanent)?;
        // A host that does not answer has its process ended, and the turn gets a new one.
        let Ok(stdin) = job.stdin_len().await else { return Ok(None) };
        Ok(Some(Begun {
            of_process: before.of_process + 1,
            at: At::now(),
            stdin,
            line: String::from_utf8_lossy(&line).into_owned(),
            stdout,
            message,
            cap,
            counter: Some(counter),
            ..before
        }))
    }

    /// Starts the process that `begun` names, or attaches to it.
    async fn launch(&self, turn: &TurnRequest, begun: &Begun) -> PortResult<()> {
        let session = SessionId::of_thread(&turn.thread.to_string(), begun.conversation);
        let (session_use, message) = (begun.session_use, begun.message.clone());
        let enter = Enter { session, session_use, message };
        let claude = self.claude(&turn.repo)?;
        let invoked = invocations::claude(&self.local, &claude, turn, enter).await?;
        let key = process_key(turn.run, begun.process);
        let dir = self.local.job(turn.run, &key);
        let mut spec = JobSpec::new(host::JobKey::new(key.as_str()), dir, invoked.boxed);
        spec.secrets = invoked.secrets;
        spec.model_key = invoked.model_key;
        spec.stdin = Stdin::Pipe(invoked.stdin);
        // The run's deadline does not count the time in which people decide; this limit does.
        spec.timeout = turn.deadline.max(Duration::from_secs(1)) * 2;
        spec.output_limit = OUTPUT;
        spec.lock = Some(self.local.workspaces.run(turn.run).dir.join("thread.lock"));
        self.local.hosts.ensure(&spec).await.map_err(PortError::transient)?;
        Ok(())
    }

    /// Returns how the conversation must be entered, if it refused this process.
    async fn refused(&self, job: &Hosted, exit: &Exit) -> PortResult<Option<SessionUse>> {
        let output = self.local.output(job).await;
        let stdout = output.stdout(0, STDERR, true).await?;
        let stderr = output.stderr_tail(STDERR).await?;
        let mut reader = TurnReader::new(AgentKind::Claude);
        let _ = reader.feed(&stdout);
        Ok(after_refusal(&reader.outcome(exit, &String::from_utf8_lossy(&stderr), false)))
    }

    pub(super) async fn read_turn(
        &self,
        key: &JobKey,
        begun: &Begun,
        job: &Hosted,
        ended: bool,
    ) -> PortResult<std::sync::Arc<tokio::sync::Mutex<Reading>>> {
        let new = || Reading::of_turn(AgentKind::Claude, begun.stdout, begun.message.clone());
        self.read((key.clone(), begun.process), new, job, ended).await
    }

    /// Returns a part of the turn's transcript: its share of the process's output, which ends with
    /// the turn's result.
    pub(super) async fn thread_transcript(
        &self,
        key: &JobKey,
        begun: &Begun,
        offset: u64,
    ) -> PortResult<Option<Transcript>> {
        let (run, _) = run_and_turn(key)?;
        let Some(job) = self.process(run, begun.process) else { return Ok(None) };
        let state = job.status().await.map_err(PortError::transient)?;
        let ended = matches!(state, JobState::Ended(_) | JobState::Lost);
        let end = self.read_turn(key, begun, &job, ended).await?.lock().await.offset;
        let from = begun.stdout.saturating_add(offset);
        let most = usize::try_from(end.saturating_sub(from)).unwrap_or(CHUNK).min(CHUNK);
        let bytes = match most {
            0 => Vec::new(),
            // Everything up to `end` was read before, so no line in it is half written.
            most => self.local.output(&job).await.stdout(from, most, true).await?,
        };
        Ok(Some(Transcript { agent: AgentKind::Claude.name().to_owned(), bytes, cut: 0 }))
    }

    async fn last_process(&self, run: RunId) -> PortResult<u32> {
        let folder = self.local.jobs(run);
        let last = move || {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let number = |name: &str| name.strip_prefix("thread.")?.parse().ok();
            entries.filter_map(|entry| number(entry.file_name().to_str()?)).max().unwrap_or(0)
        };
        world::blocking(last).await
    }

    fn shape(&self, turn: &TurnRequest) -> PortResult<String> {
        Ok(invocations::shape(&self.claude(&turn.repo)?, &turn.network))
    }

    pub(super) fn begun_path(&self, key: &JobKey) -> PortResult<PathBuf> {
        let (run, _) = run_and_turn(key)?;
        Ok(self.local.job(run, key).join("begun.json"))
    }

    async fn write(&self, key: &JobKey, begun: Begun) -> PortResult<Begun> {
        let path = self.begun_path(key)?;
        let body = serde_json::to_vec(&begun).map_err(PortError::permanent)?;
        put(&path, body).await?;
        Ok(begun)
    }
}

/// Whether the job is a thread's process that has been idle for [`IDLE`].
pub(crate) async fn idle_too_long(key: &JobKey, job: &Hosted) -> PortResult<bool> {
    if !is_thread(key) {
        return Ok(false);
    }
    let dir = job.dir();
    let too_long = move || {
        let age = |last: SystemTime| SystemTime::now().duration_since(last).ok();
        let silent = super::report::written(&dir).and_then(age).is_some_and(|age| age >= IDLE);
        silent && idle(&dir).is_ok_and(|(_, idle)| idle)
    };
    world::blocking(too_long).await
}

/// Whether the key is that of a thread's process.
pub(crate) fn is_thread(key: &JobKey) -> bool {
    key.of() == Some(JobOf::Thread)
}

fn process_key(run: RunId, n: u32) -> JobKey {
    JobKey::new(run, JobOf::Thread, &n.to_string())
}

/// Returns the length of the output of the process in `dir`, and whether the process is between two
/// turns.
fn idle(dir: &Path) -> std::io::Result<(u64, bool)> {
    let mut file = match std::fs::File::open(dir.join("stdout")) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, false)),
        Err(error) => return Err(error),
    };
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    Ok((len, control::is_idle(&tail)))
}

/// Whether the turn failed for want of something outside, which was waited for: a credential, the
/// model's API, an allowance. What takes its place, such as another key, is given to new processes
/// only.
fn has_waited(reading: &Reading) -> bool {
    // The result was read already, so the exit given here does not matter.
    let outcome = reading.reader.outcome(&Exit::Exited { code: 1 }, "", false);
    let TurnOutcome::Failed { reason, .. } = outcome else { return false };
    match reason.recovery() {
        Recovery::Later(_) | Recovery::WaitUntil(_) => true,
        Recovery::Retry
        | Recovery::Resume
        | Recovery::Open
        | Recovery::NewConversation
        | Recovery::Person => false,
    }
}

/// Ends a process that no turn will use again, and returns when it is gone.
async fn retire(job: &Hosted) -> PortResult<()> {
    // An idle process ends when its input is closed; any other is killed.
    let _ = job.close_stdin().await;
    match job.wait(CLOSING).await.map_err(PortError::transient)? {
        JobState::Ended(_) | JobState::Lost => Ok(()),
        JobState::Starting | JobState::Running { .. } => {
            job.kill(KilledBy::Interrupt).await.map_err(PortError::transient)
        }
    }
}

/// Writes a file completely or not at all, and creates its folder if necessary.
pub(super) async fn put(path: &Path, body: Vec<u8>) -> PortResult<()> {
    use std::io::Write as _;
    let to = path.to_owned();
    let written = world::blocking(move || {
        let folder = to.parent().unwrap_or(&to);
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&body)?;
        file.as_file().sync_all()?;
        file.persist(&to)?;
        std::fs::File::open(folder)?.sync_all()
    });
    written.await?.map_err(|error: std::io::Error| unusable(path, error))
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> PortError {
    PortError::transient(format!("cannot use {}: {error}", path.display()))
}
