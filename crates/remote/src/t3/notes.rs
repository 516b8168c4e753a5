//! Notes on runs and turns: what a server does not say itself, or only to somebody who knows where
//! to look. Any of them may be lost: then the server is searched.

use std::collections::BTreeMap;
use std::sync::Arc;

use afk_core::ids::{At, JobKey, RepoName, RunId};
use afk_core::usd::Usd;
use afk_engine::ports::{Clock, Notes, PortResult};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::still::Quiet;

/// The kinds of our notes.
const TURNS: &str = "t3-turn";
const RUNS: &str = "t3-run";
const REPOS: &str = "t3-repo";

/// The note on a turn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TurnNote {
    /// The generation of its thread.
    pub(super) generation: u32,
    /// How many of its messages the server refused or lost; the number of the try.
    pub(super) tried: u32,
    /// The sequence at which the server took its message.
    pub(super) taken: Option<u64>,
    /// Whether we told it to stop.
    pub(super) interrupted: bool,
    /// When the server last did not answer while the turn was, or may have been, under way.
    pub(super) away: Option<At>,
    /// Whether its workspace was seen to be still after it was interrupted.
    pub(super) still: bool,
    /// Its workspace as it was seen since it was interrupted, until it is still.
    pub(super) quiet: Option<Quiet>,
    /// The budget that was reserved for it.
    pub(super) reserved: Option<Usd>,
    /// How often the server refused the answer to each request of its agent, by the request's id.
    pub(super) answers: BTreeMap<String, u32>,
}

/// The note on a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RunNote {
    /// The generation of the thread that the run goes on in.
    pub(super) generation: u32,
    /// How often the server refused to make that thread.
    pub(super) tried: u32,
    /// Whether the server has made it.
    pub(super) made: bool,
    /// The server that the run was begun on, by the id that it calls itself.
    pub(super) environment: Option<String>,
}

/// The note on a repo.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RepoNote {
    /// The threads that are not archived yet, oldest first.
    pub(super) open: Vec<String>,
    /// How often the server refused to make its project.
    pub(super) tried: u32,
}

/// The notes of one server.
pub(super) struct ServerNotes {
    notes: Arc<dyn Notes>,
    clock: Arc<dyn Clock>,
    /// The name of the server's table.
    server: String,
}

impl ServerNotes {
    pub(super) fn new(notes: Arc<dyn Notes>, clock: Arc<dyn Clock>, server: &str) -> Self {
        Self { notes, clock, server: server.to_owned() }
    }

    pub(super) async fn turn(&self, key: &JobKey) -> PortResult<Option<TurnNote>> {
        self.read(TURNS, key.as_str()).await
    }

    pub(super) async fn keep_turn(&self, key: &JobKey, note: &TurnNote) -> PortResult<()> {
        self.write(TURNS, key.as_str(), note).await
    }

    pub(super) async fn run(&self, run: RunId) -> PortResult<RunNote> {
        Ok(self.read(RUNS, &run.to_string()).await?.unwrap_or_default())
    }

    pub(super) async fn keep_run(&self, run: RunId, note: &RunNote) -> PortResult<()> {
        self.write(RUNS, &run.to_string(), note).await
    }

    pub(super) async fn repo(&self, repo: &RepoName) -> PortResult<RepoNote> {
        Ok(self.read(REPOS, repo.as_str()).await?.unwrap_or_default())
    }

    pub(super) async fn keep_repo(&self, repo: &RepoName, note: &RepoNote) -> PortResult<()> {
        self.write(REPOS, repo.as_str(), note).await
    }

    async fn read<T: DeserializeOwned>(&self, kind: &str, key: &str) -> PortResult<Option<T>> {
        let found = self.notes.read(kind, &self.key(key)).await?;
        // A note that cannot be read counts as lost.
        Ok(found.and_then(|note| serde_json::from_value(note).ok()))
    }

    async fn write(&self, kind: &str, key: &str, note: &impl Serialize) -> PortResult<()> {
        let note = serde_json::to_value(note).map_err(afk_engine::ports::PortError::permanent)?;
        self.notes.write(kind, &self.key(key), &note, self.clock.now()).await
    }

    fn key(&self, key: &str) -> String {
        format!("{} {key}", self.server)
    }
}
