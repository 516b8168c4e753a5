//! The engine's executor for agents that run on this machine, in a box, under a host.
//!
//! The Claude CLI is a living thread ([`thread`]): one process serves turn after turn.
//! The scripted agent is a fresh process a turn ([`fresh`]). Which of them a turn is
//! can be told from its folder alone. Conversations are the agent's own, in a home
//! that the run keeps.

mod fresh;
mod keep;
mod report;
mod talk;
mod thread;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use afk_agent::host::Job as Hosted;
use afk_core::ask::Answer;
use afk_core::config::AgentName;
use afk_core::ids::{JobKey, JobOf, RepoName, RunId};
use afk_core::spend::PriceTable;
use afk_engine::ports::{
    Executor, PortError, PortErrorKind, PortResult, Transcript, TurnReport, TurnRequest,
};
use async_trait::async_trait;
use tokio::sync::Mutex;

use super::world::Local;
pub(super) use keep::keep_transcripts;
use report::Reading;
pub(super) use thread::{idle_too_long, is_thread};

/// How much is read at once.
const CHUNK: usize = 1 << 20;
/// How much of standard error tells why a turn failed.
const STDERR: usize = 64 << 10;
/// How long an interrupted turn has before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// How many turns' readings are kept before those that nobody needs go.
const READERS: usize = 64;

/// Readings by turn and process.
type Readers = HashMap<(JobKey, u32), Arc<Mutex<Reading>>>;

/// Agents on this machine.
pub struct LocalExecutor {
    local: Local,
    prices: PriceTable,
    /// The turns that this process has looked at, by key and process: how far their
    /// output is read.
    readers: Mutex<Readers>,
}

impl LocalExecutor {
    /// Agents in the folders of `local`.
    pub fn new(local: Local) -> Self {
        Self { local, prices: PriceTable::default(), readers: Mutex::default() }
    }

    /// A turn's output as far as it is written, read once however often it is asked.
    async fn read(
        &self,
        key: (JobKey, u32),
        new: impl FnOnce() -> Reading,
        job: &Hosted,
    ) -> PortResult<Arc<Mutex<Reading>>> {
        let reading = {
            let mut readers = self.readers.lock().await;
            make_room(&mut readers, &key.0);
            readers.entry(key).or_insert_with(|| Arc::new(Mutex::new(new()))).clone()
        };
        let mut now = reading.lock().await;
        while !now.over {
            let bytes = job.read_stdout(now.offset, CHUNK).await.map_err(PortError::transient)?;
            if bytes.is_empty() {
                break;
            }
            now.take(&bytes);
        }
        drop(now);
        Ok(reading)
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    async fn start(&self, turn: &TurnRequest) -> PortResult<()> {
        let begun = self.begun(&turn.key)?.is_some();
        match self.local.repo(&turn.repo)?.agent {
            AgentName::Claude => self.start_thread(turn).await,
            AgentName::Scripted if begun => self.start_thread(turn).await,
            AgentName::Scripted => self.start_fresh(turn).await,
        }
    }

    async fn observe(&self, repo: &RepoName, key: &JobKey) -> PortResult<TurnReport> {
        match self.begun(key)? {
            Some(begun) => self.observe_thread(repo, key, &begun).await,
            None => self.observe_fresh(repo, key).await,
        }
    }

    async fn answer(
        &self,
        _repo: &RepoName,
        key: &JobKey,
        request: &str,
        answer: &Answer,
    ) -> PortResult<()> {
        match self.begun(key)? {
            Some(begun) => self.answer_thread(key, &begun, request, answer).await,
            None => Err(PortError::new(PortErrorKind::NotFound, format!("{key} asks nothing"))),
        }
    }

    async fn interrupt(&self, _repo: &RepoName, key: &JobKey) -> PortResult<()> {
        match self.begun(key)? {
            Some(begun) => self.interrupt_thread(key, &begun).await,
            None => self.interrupt_fresh(key).await,
        }
    }

    async fn transcript(
        &self,
        _repo: &RepoName,
        key: &JobKey,
        offset: u64,
    ) -> PortResult<Option<Transcript>> {
        match self.lying_here(key, offset).await? {
            Some(part) => Ok(Some(part)),
            None => self.kept_transcript(key, offset).await,
        }
    }

    async fn changed(&self, _repo: &RepoName, key: &JobKey, at_most: Duration) {
        match self.begun(key) {
            Ok(Some(begun)) => self.thread_changed(key, &begun, at_most).await,
            Ok(None) => self.fresh_changed(key, at_most).await,
            // Looked into by the next pass.
            Err(_) => {}
        }
    }
}

/// Drops the readings of other runs than that of `key` that nobody holds, where there are
/// many: whoever asks for one again reads its output again.
fn make_room(readers: &mut Readers, key: &JobKey) {
    if readers.len() < READERS {
        return;
    }
    let run = |key: &JobKey| key.parts().map(|(run, ..)| run);
    let own = run(key);
    readers.retain(|(key, _), reading| run(key) == own || Arc::strong_count(reading) > 1);
}

/// The run and the turn's number of a turn's key.
fn run_and_turn(key: &JobKey) -> PortResult<(RunId, u32)> {
    let turn = key.parts().filter(|(_, of, _)| *of == JobOf::Turn);
    let parts = turn.and_then(|(run, _, n)| Some((run, n.parse().ok()?)));
    parts.ok_or_else(|| PortError::permanent(format!("{key} is no turn's key")))
}

#[cfg(test)]
mod tests {
    use afk_agent::agents::AgentKind;

    use super::*;

    #[test]
    fn readings_of_runs_that_are_over_go() {
        let key = |run: u128, turn: u32| {
            let run = RunId::new(uuid::Uuid::from_u128(run));
            (JobKey::new(run, JobOf::Turn, &turn.to_string()), 1)
        };
        let reading = || Arc::new(Mutex::new(Reading::new(AgentKind::Scripted)));
        let mut readers: Readers =
            (0..READERS as u128 - 2).map(|n| (key(n, 1), reading())).collect();
        readers.insert(key(1_000, 1), reading());
        make_room(&mut readers, &key(1_000, 2).0);
        assert_eq!(readers.len(), READERS - 1, "few stay");
        let held = reading();
        readers.insert(key(2_000, 1), held.clone());
        make_room(&mut readers, &key(1_000, 2).0);
        let mut left: Vec<_> = readers.into_keys().collect();
        left.sort();
        assert_eq!(left, [key(1_000, 1), key(2_000, 1)], "its own, and what is held");
        drop(held);
    }
}
