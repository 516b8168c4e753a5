//! The engine's executor for agents that run on this machine: one fresh process a
//! turn, in a box, under a host.
//!
//! A turn is found again by its job's folder; its events are read from the output
//! that the host keeps, from where this process stood, or from the start after a
//! restart. Conversations are the agent's own, in a home that the run keeps.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use afk_agent::agents::{AgentEvent, AgentKind, Exit, Recovery, TurnOutcome, TurnReader};
use afk_agent::host::{self, EndHow, Job as Hosted, JobSpec, KilledBy, Stdin, StopSignal};
use afk_agent::sandbox::Strength;
use afk_core::config::AgentName;
use afk_core::evidence::SandboxStrength;
use afk_core::ids::{At, JobKey, RepoName, RunId};
use afk_core::run::{TurnCost, TurnEnd, TurnFacts, TurnSeen};
use afk_core::spend::{Cost, Entry, PriceTable, TurnKey, Usage};
use afk_core::text::{Keep, bounded};
use afk_core::usd::Usd;
use afk_engine::ports::{Executor, PortError, PortResult, TurnReport, TurnRequest};
use async_trait::async_trait;
use sha2::Digest as _;
use tokio::sync::Mutex;

use super::invocations::{Invoked, invocation};
use super::world::Local;

/// How much is read at once.
const CHUNK: usize = 1 << 20;
/// How much of standard error tells why a turn failed.
const STDERR: usize = 64 << 10;
/// How much of the last words is kept.
const WORDS: usize = 8 << 10;
/// How long an interrupted turn has before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// Agents on this machine.
pub struct LocalExecutor {
    local: Local,
    prices: PriceTable,
    /// The turns that this process has looked at: how far their output is read.
    readers: Mutex<HashMap<JobKey, Arc<Mutex<Reading>>>>,
}

/// How far a turn's output is read, and what it said so far.
struct Reading {
    kind: AgentKind,
    reader: TurnReader,
    offset: u64,
    digest: sha2::Sha256,
    version: String,
    model: String,
    last: Option<String>,
    finished: bool,
}

impl LocalExecutor {
    /// Agents in the folders of `local`.
    pub fn new(local: Local) -> Self {
        Self { local, prices: PriceTable::default(), readers: Mutex::default() }
    }

    fn kind(&self, repo: &RepoName) -> PortResult<AgentKind> {
        Ok(match self.local.repo(repo)?.agent {
            AgentName::Claude => AgentKind::Claude,
            AgentName::Scripted => AgentKind::Scripted,
        })
    }

    /// The turn's output as far as it is written, read once however often it is asked.
    async fn read(
        &self,
        kind: AgentKind,
        key: &JobKey,
        job: &Hosted,
    ) -> PortResult<Arc<Mutex<Reading>>> {
        let reading = {
            let mut readers = self.readers.lock().await;
            let new = || Arc::new(Mutex::new(Reading::new(kind)));
            readers.entry(key.clone()).or_insert_with(new).clone()
        };
        let mut now = reading.lock().await;
        loop {
            let bytes = job.read_stdout(now.offset, CHUNK).await.map_err(PortError::transient)?;
            if bytes.is_empty() {
                break;
            }
            now.take(&bytes);
        }
        drop(now);
        Ok(reading)
    }

    /// Everything about a turn that is over.
    async fn over(
        &self,
        repo: &RepoName,
        key: &JobKey,
        job: &Hosted,
        end: Option<&host::End>,
        reading: &mut Reading,
    ) -> PortResult<TurnReport> {
        reading.finish();
        let stderr = job.read_stderr(0, STDERR).await.map_err(PortError::transient)?;
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let exit = end.map_or(Exit::Lost, |end| exit(&end.how));
        let ours = end.is_some_and(|end| {
            matches!(end.how, EndHow::Killed(KilledBy::Halt | KilledBy::Interrupt))
        });
        let outcome = reading.reader.outcome(&exit, &stderr, ours);
        let cost = self.cost(repo, key, end, reading);
        let transcript = hex_digest(&reading.digest);
        let tokens = reading.reader.tokens();
        let facts = TurnFacts {
            cost,
            usage: Usage {
                input: tokens.input,
                output: tokens.output,
                cache_read: tokens.cache_read,
                cache_write: tokens.cache_write,
            },
            transcript: transcript.parse().ok(),
            sandbox: end.and_then(|end| end.sandbox).map(strength),
        };
        let how = turn_end(outcome);
        Ok(TurnReport {
            seen: TurnSeen::Ended { how, facts: Box::new(facts) },
            ..reading.report(Some(transcript))
        })
    }

    fn cost(
        &self,
        repo: &RepoName,
        key: &JobKey,
        end: Option<&host::End>,
        reading: &Reading,
    ) -> Option<TurnCost> {
        let (run, n) = run_and_turn(key)?;
        let told = reading.reader.end().map(|end| &end.usage);
        let tokens = reading.reader.tokens();
        // The scripted agent costs what its script says, which may be nothing.
        let free = reading.kind == AgentKind::Scripted || tokens.is_zero();
        let cost = match told {
            Some(usage) if usage.cost_usd_cumulative > 0.0 || free => Cost::Reported {
                total: Usd::from_f64(usage.cost_usd_cumulative)?,
                delta: usage.turn_cost_usd().and_then(Usd::from_f64),
            },
            Some(_) | None => Cost::Estimated {
                amount: self.prices.estimate(
                    &reading.model,
                    &Usage {
                        input: tokens.input,
                        output: tokens.output,
                        cache_read: tokens.cache_read,
                        cache_write: tokens.cache_write,
                    },
                ),
            },
        };
        let at = end.map_or(At::UNIX_EPOCH, |end| end.started_at.unwrap_or(end.ended_at));
        Some(TurnCost {
            key: TurnKey { session: run.thread().to_string(), process: n, turn: 1 },
            entry: Entry {
                run,
                repo: repo.clone(),
                at,
                cli_version: reading.version.clone(),
                cost,
            },
        })
    }

    fn hosted(&self, key: &JobKey) -> Option<Hosted> {
        let (run, _) = run_and_turn(key)?;
        Hosted::open(self.local.job(run, key))
    }

    /// How the turn before came out, which says how to enter the conversation.
    async fn before(&self, request: &TurnRequest) -> PortResult<Option<TurnOutcome>> {
        let Some(n) = request.n.checked_sub(1).filter(|n| *n > 0) else { return Ok(None) };
        let key = JobKey::new(request.run, "turn", &n.to_string());
        let Some(job) = self.hosted(&key) else { return Ok(None) };
        let host::JobState::Ended(end) = job.status().await.map_err(PortError::transient)? else {
            return Ok(Some(TurnOutcome::Lost));
        };
        let kind = self.kind(&request.repo)?;
        let reading = self.read(kind, &key, &job).await?;
        let stderr = job.read_stderr(0, STDERR).await.map_err(PortError::transient)?;
        let reading = reading.lock().await;
        let text = String::from_utf8_lossy(&stderr);
        Ok(Some(reading.reader.outcome(&exit(&end.how), &text, false)))
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    async fn start(&self, turn: &TurnRequest) -> PortResult<()> {
        let before = self.before(turn).await?;
        let Invoked { boxed, secrets, stdin } =
            invocation(&self.local, turn, before.as_ref()).await?;
        self.local.make_jobs(turn.run)?;
        let folders = self.local.workspaces.run(turn.run);
        let key = host::JobKey::new(turn.key.as_str());
        let mut spec = JobSpec::new(key, self.local.job(turn.run, &turn.key), boxed);
        spec.secrets = secrets;
        spec.stdin = Stdin::Bytes(stdin);
        spec.timeout = turn.deadline.max(Duration::from_secs(1));
        spec.lock = Some(folders.dir.join("workspace.lock"));
        self.local.hosts.ensure(&spec).await.map_err(PortError::transient)?;
        Ok(())
    }

    async fn observe(&self, repo: &RepoName, key: &JobKey) -> PortResult<TurnReport> {
        let kind = self.kind(repo)?;
        let Some(job) = self.hosted(key) else { return Ok(absent()) };
        let state = job.status().await.map_err(PortError::transient)?;
        if let host::JobState::Ended(end) = &state
            && end.how == EndHow::WorkspaceBusy
        {
            job.remove().await.map_err(PortError::transient)?;
            return Ok(absent());
        }
        let reading = self.read(kind, key, &job).await?;
        let mut reading = reading.lock().await;
        match &state {
            host::JobState::Starting => {
                Ok(TurnReport { seen: running(SystemTime::now(), false), ..reading.report(None) })
            }
            host::JobState::Running { .. } => {
                let last = written(&job.dir()).unwrap_or_else(SystemTime::now);
                let open = reading.reader.tool_open();
                Ok(TurnReport { seen: running(last, open), ..reading.report(None) })
            }
            host::JobState::Ended(end) => self.over(repo, key, &job, Some(end), &mut reading).await,
            host::JobState::Lost => self.over(repo, key, &job, None, &mut reading).await,
        }
    }

    async fn interrupt(&self, _repo: &RepoName, key: &JobKey) -> PortResult<()> {
        match self.hosted(key) {
            Some(job) => job
                .interrupt(StopSignal::Terminate, GRACE, KilledBy::Interrupt)
                .await
                .map_err(PortError::transient),
            None => Ok(()),
        }
    }

    async fn changed(&self, _repo: &RepoName, key: &JobKey, at_most: Duration) {
        let Some(job) = self.hosted(key) else { return };
        // Its end or its loss; an error is looked into by the next pass.
        let _ = job.wait(at_most).await;
    }
}

impl Reading {
    fn new(kind: AgentKind) -> Self {
        Self {
            kind,
            reader: TurnReader::new(kind),
            offset: 0,
            digest: sha2::Sha256::new(),
            version: String::new(),
            model: String::new(),
            last: None,
            finished: false,
        }
    }

    /// Takes a last line without a newline, once.
    fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            let events = self.reader.finish();
            self.note(&events);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        self.digest.update(bytes);
        let events = self.reader.feed(bytes);
        self.note(&events);
    }

    /// Keeps what people see live.
    fn note(&mut self, events: &[AgentEvent]) {
        for event in events {
            match event {
                AgentEvent::Started { model, version, .. } => {
                    self.model.clone_from(model);
                    self.version.clone_from(version);
                }
                AgentEvent::Text { text } => self.last = Some(afk_core::text::line(text, 120)),
                AgentEvent::ToolStarted { name, summary, .. } => {
                    self.last = Some(afk_core::text::line(&format!("{name}: {summary}"), 120));
                }
                AgentEvent::Retrying { attempt, max, .. } => {
                    self.last = Some(format!("the model's API is asked again ({attempt}/{max})"));
                }
                AgentEvent::ToolEnded { .. }
                | AgentEvent::PermissionDenied { .. }
                | AgentEvent::UsageLimit { .. }
                | AgentEvent::Usage(_)
                | AgentEvent::Ended(_) => {}
            }
        }
    }

    fn report(&self, transcript: Option<String>) -> TurnReport {
        let tokens = self.reader.tokens();
        let told = self.reader.end().and_then(|end| Usd::from_f64(end.usage.cost_usd_cumulative));
        TurnReport {
            seen: TurnSeen::Unknown,
            tokens: (tokens.input + tokens.cache_read + tokens.cache_write, tokens.output),
            cost: told,
            last: self.last.clone(),
            transcript,
        }
    }
}

fn absent() -> TurnReport {
    TurnReport { seen: TurnSeen::Absent, tokens: (0, 0), cost: None, last: None, transcript: None }
}

fn running(last: SystemTime, tool_open: bool) -> TurnSeen {
    let last_event_at = At::try_from(last).unwrap_or(At::UNIX_EPOCH);
    TurnSeen::Running { last_event_at, tool_open, asking_since: None }
}

/// When the turn last wrote something.
fn written(dir: &Path) -> Option<SystemTime> {
    let path: PathBuf = dir.join("stdout");
    path.metadata().ok()?.modified().ok()
}

fn exit(how: &EndHow) -> Exit {
    match how {
        EndHow::Exited(code) => Exit::Exited { code: *code },
        EndHow::Signalled(signal) => Exit::Signalled { signal: *signal },
        EndHow::Killed(_) => Exit::Signalled { signal: 15 },
        EndHow::TimedOut | EndHow::OutOfMemory | EndHow::TooManyProcesses => {
            Exit::Signalled { signal: 9 }
        }
        EndHow::TooMuchOutput | EndHow::OutputLost(_) => Exit::Signalled { signal: 9 },
        EndHow::Unbegun(_) => Exit::Lost,
        EndHow::WorkspaceBusy | EndHow::CouldNotStart(_) => {
            Exit::NotStarted { message: format!("the agent {how}") }
        }
    }
}

fn turn_end(outcome: TurnOutcome) -> TurnEnd {
    match outcome {
        TurnOutcome::Finished { text } => {
            TurnEnd::Finished { message: bounded(&text, WORDS, Keep::Tail).into_owned() }
        }
        TurnOutcome::Interrupted => TurnEnd::Interrupted,
        TurnOutcome::Lost => TurnEnd::Lost,
        TurnOutcome::Failed { reason, message } => match reason.recovery() {
            Recovery::WaitUntil(resets_at) => TurnEnd::Limited { resets_at },
            Recovery::Person => TurnEnd::Hopeless { message },
            // The next turn enters the conversation the other way.
            Recovery::Retry | Recovery::Resume | Recovery::Open => TurnEnd::Failed { message },
        },
    }
}

fn strength(strength: Strength) -> SandboxStrength {
    match strength {
        Strength::None => SandboxStrength::None,
        Strength::Partial => SandboxStrength::Partial,
        Strength::Full => SandboxStrength::Full,
    }
}

/// The run and the turn's number of a turn's key.
fn run_and_turn(key: &JobKey) -> Option<(RunId, u32)> {
    let (run, rest) = key.as_str().split_once('.')?;
    Some((run.parse().ok()?, rest.strip_prefix("turn.")?.parse().ok()?))
}

fn hex_digest(digest: &sha2::Sha256) -> String {
    use std::fmt::Write as _;
    digest.clone().finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
