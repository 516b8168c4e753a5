//! The engine's executor for agents that run on this machine, in a box, under a host.
//!
//! Output is read through [`super::output`], which masks the secrets in it. The Claude CLI runs as
//! a living thread ([`thread`]): one process serves turn after turn. Every other agent is a new
//! process for each turn ([`fresh`]). A turn's folder shows which of the two it is. The agent keeps
//! its own conversations, in a home that lasts as long as the run.

mod fresh;
mod keep;
mod refused;
mod report;
mod stuck;
mod talk;
mod thread;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use afk_agent::host::Job as Hosted;
use afk_core::ask::Answer;
use afk_core::checkout::Checkout;
use afk_core::ids::{JobKey, RepoName, RunId};
use afk_core::spend::PriceTable;
use afk_engine::ports::{Executor, PortResult, Transcript, TurnReport, TurnRequest};
use async_trait::async_trait;
use tokio::sync::Mutex;

use super::settings::{Agent, Claude};
use super::world::Local;
use super::{invocations, relayed};
pub(super) use keep::keep_transcripts;
use report::Reading;
pub(super) use thread::{idle_too_long, is_thread};

/// How much output is read at once, in bytes.
const CHUNK: usize = 1 << 20;
/// How much of the end of standard error is kept to explain a failed turn, in bytes.
const STDERR: usize = 64 << 10;
/// How long an interrupted turn may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// How long a reading of a turn is kept unused. That of a turn in progress is used all the time, by
/// the pass that works its run.
const FORGOTTEN: Duration = Duration::from_mins(5);
/// Maximum number of readings of ended turns that are kept.
const OVER: usize = 64;

/// Readings by the turn's key and the process's number.
type Readers = HashMap<(JobKey, u32), CachedReading>;

/// A turn's reading, and when it was last used.
struct CachedReading {
    reading: Arc<Mutex<Reading>>,
    asked: Instant,
}

/// The executor of agents that run on this machine.
pub struct LocalExecutor {
    local: Local,
    prices: PriceTable,
    /// The readings of turns, which remember how far each output was read.
    readers: Mutex<Readers>,
}

impl LocalExecutor {
    /// Returns the executor whose agents work in the folders of `local`.
    pub fn new(local: Local) -> Self {
        Self { local, prices: PriceTable::default(), readers: Mutex::default() }
    }

    /// Returns the settings of the Claude CLI for `repo`. If a thread is still in use although the
    /// repo names another agent by now, they are those of the table `claude`.
    fn claude(&self, repo: &RepoName) -> PortResult<Claude> {
        Ok(match self.local.agent(repo)? {
            Agent::Claude(claude) => claude,
            Agent::Codex(_) | Agent::Acp(_) | Agent::Command(_) | Agent::Scripted(_) => {
                self.local.own().shipped_claude()
            }
        })
    }

    /// Reads a turn's output as far as it is written, each byte once over all calls, and returns
    /// its reading. If the process has `ended`, an unfinished last line is read, too.
    async fn read(
        &self,
        key: (JobKey, u32),
        new: impl FnOnce() -> Reading,
        job: &Hosted,
        ended: bool,
    ) -> PortResult<Arc<Mutex<Reading>>> {
        let reading = {
            let now = Instant::now();
            let mut readers = self.readers.lock().await;
            if !readers.contains_key(&key) {
                make_room(&mut readers, now);
            }
            let new = || CachedReading { reading: Arc::new(Mutex::new(new())), asked: now };
            let kept = readers.entry(key).or_insert_with(new);
            kept.asked = now;
            kept.reading.clone()
        };
        let mut now = reading.lock().await;
        let output = self.local.output(job).await;
        while !now.over {
            let bytes = output.stdout(now.offset, CHUNK, ended).await?;
            if bytes.is_empty() {
                break;
            }
            now.take(&bytes);
        }
        now.ended |= ended;
        drop(now);
        Ok(reading)
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    fn checkout(&self, _repo: &RepoName) -> PortResult<Checkout> {
        Ok(Checkout::Ours)
    }

    async fn ready(&self, repo: &RepoName) -> PortResult<()> {
        match self.local.agent(repo)? {
            Agent::Claude(claude) => invocations::claude_ready(&self.local, &claude).await,
            Agent::Codex(codex) => relayed::codex_ready(&self.local, &codex).await,
            Agent::Acp(acp) => relayed::process_ready(&self.local, &acp.process).await,
            Agent::Command(command) => relayed::process_ready(&self.local, &command.process).await,
            Agent::Scripted(scripted) => invocations::scripted_ready(&scripted),
        }
    }

    async fn start(&self, turn: &TurnRequest) -> PortResult<()> {
        // A turn stays with the kind of agent that it was begun with, whatever the repo names by
        // now.
        let begun = self.begun(&turn.key).await?.is_some();
        match self.local.agent(&turn.repo)? {
            Agent::Claude(_) if self.is_fresh(&turn.key)? => Ok(()),
            Agent::Claude(_) => self.start_thread(turn).await,
            _ if begun => self.start_thread(turn).await,
            agent => self.start_fresh(&agent, turn).await,
        }
    }

    async fn observe(&self, repo: &RepoName, key: &JobKey) -> PortResult<TurnReport> {
        match self.begun(key).await? {
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
        match self.begun(key).await? {
            Some(begun) => self.answer_thread(key, &begun, request, answer).await,
            None => self.answer_fresh(key, request, answer).await,
        }
    }

    async fn interrupt(&self, _repo: &RepoName, key: &JobKey) -> PortResult<()> {
        match self.begun(key).await? {
            Some(begun) => self.interrupt_thread(key, &begun).await,
            None => self.interrupt_fresh(key).await,
        }
    }

    /// Returns nothing: each turn is a job of this machine or a part of one, and jobs report those.
    async fn alive(&self, _repo: &RepoName, _run: RunId) -> PortResult<Vec<JobKey>> {
        Ok(Vec::new())
    }

    async fn stop(&self, _repo: &RepoName, _run: RunId) -> PortResult<()> {
        Ok(())
    }

    async fn transcript(
        &self,
        _repo: &RepoName,
        key: &JobKey,
        offset: u64,
    ) -> PortResult<Option<Transcript>> {
        match self.transcript_in_workspace(key, offset).await? {
            Some(part) => Ok(Some(part)),
            None => self.kept_transcript(key, offset).await,
        }
    }

    async fn changed(&self, _repo: &RepoName, key: &JobKey, at_most: Duration) {
        match self.begun(key).await {
            Ok(Some(begun)) => self.thread_changed(key, &begun, at_most).await,
            Ok(None) => self.fresh_changed(key, at_most).await,
            // The next pass handles the error.
            Err(_) => {}
        }
    }
}

/// Drops readings that were not used lately, and of ended turns the least recently used. Those of
/// turns in progress all stay: without its reading, a turn's whole output would be read every time.
fn make_room(readers: &mut Readers, now: Instant) {
    readers.retain(|_, kept| now.saturating_duration_since(kept.asked) < FORGOTTEN);
    let is_over = |kept: &CachedReading| {
        // A reading that is locked is in use.
        kept.reading.try_lock().is_ok_and(|reading| reading.over || reading.ended)
    };
    let over = readers.iter().filter(|(_, kept)| is_over(kept));
    let mut over: Vec<_> = over.map(|(key, kept)| (kept.asked, key.clone())).collect();
    over.sort_unstable();
    for (_, key) in over.iter().rev().skip(OVER) {
        readers.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use afk_agent::agents::AgentKind;
    use afk_core::ids::JobOf;

    use super::*;

    fn key(run: u32, turn: u32) -> (JobKey, u32) {
        let run = RunId::new(uuid::Uuid::from_u128(run.into()));
        (JobKey::new(run, JobOf::Turn, &turn.to_string()), 1)
    }

    #[test]
    fn readings_of_turns_under_way_stay_however_many_and_others_go() {
        let began = Instant::now();
        let seconds = |n: u32| began + Duration::from_secs(n.into());
        let kept = |over: bool, asked: Instant| {
            let mut reading = Reading::new(AgentKind::Scripted);
            reading.over = over;
            CachedReading { reading: Arc::new(Mutex::new(reading)), asked }
        };
        let many = OVER as u32 * 3;
        let mut readers: Readers =
            (0..many).map(|run| (key(run, 1), kept(false, seconds(200)))).collect();
        readers.extend((0..many).map(|run| (key(run, 2), kept(true, seconds(200 + run)))));
        readers.insert(key(0, 3), kept(false, seconds(0)));
        readers.insert(key(0, 4), kept(true, seconds(0)));
        make_room(&mut readers, seconds(FORGOTTEN.as_secs() as u32));
        let mut left: Vec<_> = readers.into_keys().collect();
        left.sort();
        let newest = (many - OVER as u32..many).map(|run| key(run, 2));
        let mut expected: Vec<_> = (0..many).map(|run| key(run, 1)).chain(newest).collect();
        expected.sort();
        assert_eq!(left, expected);
    }
}
