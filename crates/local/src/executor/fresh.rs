//! One process for each turn: the scripted agent. The turn's folder is its job's.

use std::time::{Duration, SystemTime};

use afk_agent::agents::{AgentKind, Exit};
use afk_agent::host::{self, EndHow, Job as Hosted, JobSpec, KilledBy, Stdin, StopSignal};
use afk_core::ids::{At, JobKey, RepoName};
use afk_core::spend::TurnKey;
use afk_engine::ports::{PortError, PortResult, Transcript, TurnReport, TurnRequest};

use super::super::invocations::{Invoked, scripted};
use super::super::settings::Scripted;
use super::report::{Over, Reading, absent, at_work, exit, written};
use super::{CHUNK, GRACE, LocalExecutor, STDERR, run_and_turn};

impl LocalExecutor {
    pub(super) async fn start_fresh(&self, agent: &Scripted, turn: &TurnRequest) -> PortResult<()> {
        let Invoked { boxed, secrets, stdin } = scripted(&self.local, agent, turn)?;
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
        let new = || Reading::new(AgentKind::Scripted);
        let ended = matches!(state, host::JobState::Ended(_) | host::JobState::Lost);
        let reading = self.read((key.clone(), n), new, &job, ended).await?;
        let mut reading = reading.lock().await;
        let end = match &state {
            host::JobState::Starting => {
                return Ok(reading.running(at_work(SystemTime::now(), false, Vec::new())));
            }
            host::JobState::Running { .. } => {
                let last = written(&job.dir()).unwrap_or_else(SystemTime::now);
                let seen = at_work(last, reading.reader.tool_open(), Vec::new());
                return Ok(reading.running(seen));
            }
            host::JobState::Ended(end) => Some(end),
            host::JobState::Lost => None,
        };
        let output = self.local.output(&job).await;
        let stderr = output.stderr_tail(STDERR).await?;
        reading.seal(&output).await?;
        let ours = end.is_some_and(|end| {
            matches!(end.how, EndHow::Killed(KilledBy::Halt | KilledBy::Interrupt))
        });
        Ok(reading.over(
            &self.prices,
            Over {
                run,
                repo,
                key: TurnKey { session: run.thread().to_string(), process: n, turn: 1 },
                at: end.map_or(At::UNIX_EPOCH, |end| end.started_at.unwrap_or(end.ended_at)),
                sandbox: end.and_then(|end| end.sandbox),
                exit: end.map_or(Exit::Lost, |end| exit(&end.how)),
                stderr: &String::from_utf8_lossy(&stderr),
                ours,
            },
        ))
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

    pub(super) async fn fresh_changed(&self, key: &JobKey, at_most: Duration) {
        let Ok(Some(job)) = self.fresh(key) else { return };
        // Its end or its loss; the next pass looks into errors.
        let _ = job.wait(at_most).await;
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
        Ok(Some(Transcript { agent: AgentKind::Scripted.name().to_owned(), bytes, cut: 0 }))
    }

    fn fresh(&self, key: &JobKey) -> PortResult<Option<Hosted>> {
        let (run, _) = run_and_turn(key)?;
        Ok(Hosted::open(self.local.job(run, key)))
    }
}
