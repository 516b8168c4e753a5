//! Keeps transcripts longer than the run's workspace: every turn's transcript is stored before the
//! workspace is removed, and read from the store afterwards.

use afk_agent::agents::AgentKind;
use afk_core::ids::{JobKey, JobOf, RunId};
use afk_engine::ports::{PortError, PortResult, Transcript, run_and_turn};

use super::super::transcripts::{TURN, Written};
use super::super::world::{self, Local};
use super::LocalExecutor;

/// Keeps the transcripts of `run`, whose workspace is about to be removed. Does nothing if they are
/// kept already.
pub(crate) async fn keep_transcripts(local: &Local, run: RunId) -> PortResult<()> {
    let kept = local.transcripts.clone();
    let turns = turns(local, run).await?;
    if turns.is_empty() || kept.has(run) {
        return Ok(());
    }
    let executor = LocalExecutor::new(local.clone());
    let mut draft = blocking(move || kept.draft(run)).await?;
    for n in turns {
        let key = JobKey::new(run, JobOf::Turn, &n.to_string());
        let (mut written, mut agent) = (Written::within(TURN), None);
        let mut offset = 0;
        while let Some(part) = executor.transcript_in_workspace(&key, offset).await? {
            agent = AgentKind::named(&part.agent);
            if part.bytes.is_empty() {
                break;
            }
            offset += part.bytes.len() as u64;
            written.take(&part.bytes);
        }
        // A turn that never had a process has no transcript.
        let Some(agent) = agent else { continue };
        draft = blocking(move || draft.add(n, agent, written).map(|()| draft)).await?;
    }
    blocking(move || draft.keep()).await
}

impl LocalExecutor {
    /// Returns a part of a turn's transcript from the run's workspace, while that exists.
    pub(super) async fn transcript_in_workspace(
        &self,
        key: &JobKey,
        offset: u64,
    ) -> PortResult<Option<Transcript>> {
        match self.begun(key).await? {
            Some(begun) => self.thread_transcript(key, &begun, offset).await,
            None => self.fresh_transcript(key, offset).await,
        }
    }

    /// Returns the rest of a turn's kept transcript from `offset` on.
    pub(super) async fn kept_transcript(
        &self,
        key: &JobKey,
        offset: u64,
    ) -> PortResult<Option<Transcript>> {
        let (run, n) = run_and_turn(key)?;
        let kept = self.local.transcripts.clone();
        let Some((turn, mut bytes)) = blocking(move || kept.read(run, n)).await? else {
            return Ok(None);
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        bytes.drain(..from);
        Ok(Some(Transcript { agent: turn.agent.name().to_owned(), bytes, cut: turn.cut }))
    }
}

/// Returns the numbers of the turns of `run` that have a folder, in order.
pub(super) async fn turns(local: &Local, run: RunId) -> PortResult<Vec<u32>> {
    let folder = local.jobs(run);
    let turns = move || {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let keys = entries.filter_map(|entry| Local::key_of(run, &entry.path()));
        let mut turns: Vec<u32> =
            keys.filter_map(|key| run_and_turn(&key).ok().map(|(_, n)| n)).collect();
        turns.sort_unstable();
        turns
    };
    world::blocking(turns).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> PortResult<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(PortError::transient)?;
    done.map_err(|error| PortError::transient(format!("kept transcripts: {error}")))
}
