//! One process for each turn: the scripted agent, and every agent that the relay speaks to. The
//! turn's folder is that of its job; `agent.json` in it says whose turn it is.
//!
//! A relayed agent keeps its own conversations. A conversation's id is in the output of the turn
//! that opened it, from which a later turn takes it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use afk_agent::agents::relay::wire::{ConversationState, InputLine, answered};
use afk_agent::agents::{AgentKind, Exit};
use afk_agent::host::{self, EndHow, Job as Hosted, JobSpec, KilledBy, Stdin, StopSignal};
use afk_core::ask::{Answer, PendingQuestion};
use afk_core::ids::{AdapterName, At, JobKey, JobOf, RepoName};
use afk_core::spend::TurnKey;
use afk_engine::ports::{
    PortError, PortErrorKind, PortResult, Transcript, TurnReport, TurnRequest, run_and_turn,
};
use serde::{Deserialize, Serialize};

use super::super::invocations::scripted;
use super::super::relayed;
use super::super::settings::Agent;
use super::report::{
    Account, Assumed, Reading, TurnEnding, absent, at_work, cause, exit, is_ours, written,
};
use super::talk::{LOOK, STATUS, asked, input, reply_of, say};
use super::thread::put;
use super::{CHUNK, GRACE, LocalExecutor, STDERR};

/// Whose turn it is; written before the turn's process is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Whose {
    /// The kind of agent, by which its output is read.
    kind: AgentKind,
    /// The agent's name: an agent of another name does not know its conversations.
    agent: AdapterName,
    /// What the turn is charged if the agent does not report what it used.
    #[serde(default)]
    assumed: Option<Assumed>,
}

impl Whose {
    /// Whether the agent of this turn knows the conversations of that of `other`.
    fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.agent == other.agent
    }
}

impl LocalExecutor {
    pub(super) async fn start_fresh(&self, agent: &Agent, turn: &TurnRequest) -> PortResult<()> {
        let (config, _) = self.local.settings.current();
        let kind = match agent {
            Agent::Claude(_) => AgentKind::Claude,
            Agent::Codex(_) => AgentKind::Codex,
            Agent::Acp(_) => AgentKind::Acp,
            Agent::Command(_) => AgentKind::Command,
            Agent::Scripted(_) => AgentKind::Scripted,
        };
        let assumed = Some(Assumed { turn_usd: agent.turn_usd(), reserved: turn.budget });
        let whose = Whose { kind, agent: config.executor_of(&turn.repo).clone(), assumed };
        let invoked = match agent {
            Agent::Codex(codex) => {
                let earlier = self.conversation(turn, &whose).await?;
                relayed::of_codex(&self.local, codex, turn, earlier).await?
            }
            Agent::Acp(acp) => {
                let earlier = self.conversation(turn, &whose).await?;
                relayed::of_acp(&self.local, acp, turn, earlier).await?
            }
            Agent::Command(command) => relayed::of_command(&self.local, command, turn).await?,
            Agent::Scripted(agent) => scripted(&self.local, agent, turn)?,
            Agent::Claude(_) => return self.start_thread(turn).await,
        };
        self.local.make_jobs(turn.run)?;
        let folders = self.local.workspaces.run(turn.run);
        let key = host::JobKey::new(turn.key.as_str());
        let mut spec = JobSpec::new(key, self.local.job(turn.run, &turn.key), invoked.boxed);
        spec.secrets = invoked.secrets;
        spec.model_key = invoked.model_key;
        spec.timeout = turn.deadline.max(Duration::from_secs(1));
        spec.stdin = match kind {
            AgentKind::Scripted => Stdin::Bytes(invoked.stdin),
            AgentKind::Claude
            | AgentKind::Codex
            | AgentKind::Acp
            | AgentKind::Command
            | AgentKind::T3 => {
                // The run's deadline does not count the time in which people decide; this limit
                // does.
                spec.timeout *= 2;
                Stdin::Pipe(invoked.stdin)
            }
        };
        spec.lock = Some(folders.dir.join("workspace.lock"));
        if self.whose(&turn.key)?.is_none() {
            let body = serde_json::to_vec(&whose).map_err(PortError::permanent)?;
            put(&self.whose_path(&turn.key)?, body).await?;
        }
        self.local.hosts.ensure(&spec).await.map_err(PortError::transient)?;
        Ok(())
    }

    /// Whether the turn `key` was begun with a process of its own.
    pub(super) fn is_fresh(&self, key: &JobKey) -> PortResult<bool> {
        Ok(self.fresh(key)?.is_some())
    }

    pub(super) async fn observe_fresh(
        &self,
        repo: &RepoName,
        key: &JobKey,
    ) -> PortResult<TurnReport> {
        let (run, n) = run_and_turn(key)?;
        let Some(job) = self.fresh(key)? else { return Ok(absent()) };
        let state = job.status().await.map_err(PortError::transient)?;
        if let host::JobState::Ended(end) = &state
            && end.how == EndHow::WorkspaceBusy
        {
            job.remove().await.map_err(PortError::transient)?;
            return Ok(absent());
        }
        let whose = self.whose(key)?;
        let kind = whose.as_ref().map_or(AgentKind::Scripted, |whose| whose.kind);
        let assumed = whose.and_then(|whose| whose.assumed);
        let ended = matches!(state, host::JobState::Ended(_) | host::JobState::Lost);
        let reading = self.read((key.clone(), n), || Reading::new(kind), &job, ended).await?;
        let mut reading = reading.lock().await;
        let account = |at| {
            let key = TurnKey { session: run.thread().to_string(), process: n, turn: 1 };
            Account { run, repo, key, at, assumed }
        };
        let end = match &state {
            // The control plane died before there was a host: nothing was begun, and the job is
            // started again.
            host::JobState::Starting if !job.dir().join("host.json").exists() => {
                return Ok(absent());
            }
            host::JobState::Starting => {
                let seen = at_work(SystemTime::now(), false, Vec::new());
                return Ok(reading.running(&self.prices, account(At::now()), seen));
            }
            host::JobState::Running { started_at, .. } => {
                let last = written(&job.dir()).unwrap_or_else(SystemTime::now);
                let asks = open_asks(&reading, &job, last).await?;
                let seen = at_work(last, reading.reader.tool_open(), asks);
                return Ok(reading.running(&self.prices, account(*started_at), seen));
            }
            host::JobState::Ended(end) => Some(end),
            host::JobState::Lost => None,
        };
        let output = self.local.output(&job).await;
        let stderr = output.stderr_tail(STDERR).await?;
        reading.seal(&output).await?;
        let ours = end.is_some_and(|end| is_ours(&end.how));
        let cause = end.and_then(|end| cause(&end.how));
        let exit = end.map_or(Exit::Lost, |end| exit(&end.how));
        let stderr = String::from_utf8_lossy(&stderr);
        self.note_stuck(key, &reading.outcome(&exit, &stderr, ours)).await?;
        Ok(reading.over(
            &self.prices,
            TurnEnding {
                account: account(
                    end.map_or(At::UNIX_EPOCH, |end| end.started_at.unwrap_or(end.ended_at)),
                ),
                sandbox: end.and_then(|end| end.sandbox),
                refused: self.refusals_of(&job, None).await?,
                exit,
                cause,
                stderr: &stderr,
                ours,
            },
        ))
    }

    /// Passes an answer on to the agent, once however often this is called. An error of the kind
    /// `NotFound` means that the turn is not at work.
    pub(super) async fn answer_fresh(
        &self,
        key: &JobKey,
        request: &str,
        answer: &Answer,
    ) -> PortResult<()> {
        let over = || PortError::new(PortErrorKind::NotFound, format!("{key} is not at work"));
        let Some(job) = self.fresh(key)? else { return Err(over()) };
        let state = job.status().await.map_err(PortError::transient)?;
        if !matches!(state, host::JobState::Running { .. }) {
            return Err(over());
        }
        let (_, n) = run_and_turn(key)?;
        let kind = self.kind_of(key)?;
        let reading = self.read((key.clone(), n), || Reading::new(kind), &job, false).await?;
        let reading = reading.lock().await;
        let open = open_asks(&reading, &job, SystemTime::now()).await?;
        if open.iter().all(|ask| ask.id != request) {
            return Ok(());
        }
        let line = InputLine::Answer { id: request.to_owned(), reply: reply_of(answer) };
        say(&job, &line.line()).await
    }

    pub(super) async fn interrupt_fresh(&self, key: &JobKey) -> PortResult<()> {
        match self.fresh(key)? {
            Some(job) => job
                .interrupt(StopSignal::Terminate, GRACE, KilledBy::Interrupt)
                .await
                .map_err(PortError::transient),
            None => Ok(()),
        }
    }

    /// Waits until the turn is over or asks a new question, or for `at_most`.
    pub(super) async fn fresh_changed(&self, key: &JobKey, at_most: Duration) {
        let (Ok(Some(job)), Ok(kind)) = (self.fresh(key), self.kind_of(key)) else { return };
        if kind == AgentKind::Scripted {
            // It asks nothing, so only its end matters. The next pass handles errors.
            let _ = job.wait(at_most).await;
            return;
        }
        let Ok((_, n)) = run_and_turn(key) else { return };
        let bound = tokio::time::Instant::now() + at_most;
        let path = job.dir().join("stdout");
        let (mut looked, mut len) = (None::<tokio::time::Instant>, 0);
        while tokio::time::Instant::now() < bound {
            let now = path.metadata().map_or(0, |data| data.len());
            if now != len {
                len = now;
                let new = || Reading::new(kind);
                let Ok(reading) = self.read((key.clone(), n), new, &job, false).await else {
                    return;
                };
                let mut reading = reading.lock().await;
                let asks: Vec<String> =
                    reading.reader.asks().iter().map(|ask| ask.id.clone()).collect();
                if asks.into_iter().filter(|id| reading.woken.insert(id.clone())).count() > 0 {
                    return;
                }
            }
            if looked.is_none_or(|looked| looked.elapsed() >= STATUS) {
                looked = Some(tokio::time::Instant::now());
                let at_work = |state: &_| {
                    matches!(state, host::JobState::Starting | host::JobState::Running { .. })
                };
                if !job.status().await.is_ok_and(|state| at_work(&state)) {
                    return;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) async fn fresh_transcript(
        &self,
        key: &JobKey,
        offset: u64,
    ) -> PortResult<Option<Transcript>> {
        let Some(job) = self.fresh(key)? else { return Ok(None) };
        let state = job.status().await.map_err(PortError::transient)?;
        let ended = matches!(state, host::JobState::Ended(_) | host::JobState::Lost);
        let bytes = self.local.output(&job).await.stdout(offset, CHUNK, ended).await?;
        let agent = self.kind_of(key)?.name().to_owned();
        Ok(Some(Transcript { agent, bytes, cut: 0 }))
    }

    fn fresh(&self, key: &JobKey) -> PortResult<Option<Hosted>> {
        let (run, _) = run_and_turn(key)?;
        Ok(Hosted::open(self.local.job(run, key)))
    }

    /// Returns the conversation that `turn` continues: the newest that an earlier turn of the same
    /// agent had. `None` opens a new one, for instance after a turn that got stuck or whose
    /// conversation the agent did not know.
    async fn conversation(
        &self,
        turn: &TurnRequest,
        whose: &Whose,
    ) -> PortResult<Option<ConversationState>> {
        for n in (1..turn.n).rev() {
            let key = JobKey::new(turn.run, JobOf::Turn, &n.to_string());
            if !self.whose(&key)?.is_some_and(|before| before.is_same(whose)) {
                continue;
            }
            if self.is_stuck(&key)? {
                return Ok(None);
            }
            let Some(job) = self.fresh(&key)? else { continue };
            let new = || Reading::new(whose.kind);
            let reading = self.read((key, n), new, &job, true).await?;
            let reader = &reading.lock().await.reader;
            if let Some(known) = reader.conversation() {
                return Ok(Some(known.clone()));
            }
            if reader.conversation_unknown() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Returns whose turn it is; `None` if it was not begun, or by a version that only had one
    /// agent.
    fn whose(&self, key: &JobKey) -> PortResult<Option<Whose>> {
        let path = self.whose_path(key)?;
        let cannot = |error: &dyn std::fmt::Display| {
            PortError::transient(format!("cannot use {}: {error}", path.display()))
        };
        match std::fs::read(&path) {
            Ok(body) => serde_json::from_slice(&body).map(Some).map_err(|error| cannot(&error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot(&error)),
        }
    }

    fn kind_of(&self, key: &JobKey) -> PortResult<AgentKind> {
        Ok(self.whose(key)?.map_or(AgentKind::Scripted, |whose| whose.kind))
    }

    fn whose_path(&self, key: &JobKey) -> PortResult<PathBuf> {
        let (run, _) = run_and_turn(key)?;
        Ok(self.local.job(run, key).join("agent.json"))
    }
}

/// Returns the agent's unanswered questions.
async fn open_asks(
    reading: &Reading,
    job: &Hosted,
    last: SystemTime,
) -> PortResult<Vec<PendingQuestion>> {
    if reading.reader.asks().is_empty() {
        return Ok(Vec::new());
    }
    let answered = answered(&input(job).await?);
    let open = reading.reader.asks().iter().filter(|ask| !answered.contains(&ask.id));
    // While the agent waits for an answer, the question is its last output.
    let since = At::try_from(last).unwrap_or(At::UNIX_EPOCH);
    Ok(open.map(|ask| asked(ask, since)).collect())
}
