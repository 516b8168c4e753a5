//! Payloads of protocol 1, with the fields that are used.
//!
//! Read leniently: fields come and go between versions, and an unknown state must not make a thread
//! unreadable.

use afk_core::ids::At;
use serde::Deserialize;
use serde_json::Value;

/// The answer to a read of one thread (from 0.0.29).
#[derive(Debug, Deserialize)]
pub(super) struct ThreadAnswer {
    #[serde(rename = "snapshotSequence")]
    pub(super) sequence: u64,
    pub(super) thread: Thread,
}

/// The answer to a read of everything, or of the shell (from 0.0.29), which leaves out the contents
/// of threads.
#[derive(Debug, Deserialize)]
pub(super) struct Snapshot {
    #[serde(rename = "snapshotSequence")]
    pub(super) sequence: u64,
    #[serde(default)]
    pub(super) projects: Vec<Project>,
    #[serde(default)]
    pub(super) threads: Vec<Thread>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) workspace_root: String,
    #[serde(default)]
    pub(super) deleted_at: Option<At>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Thread {
    pub(super) id: String,
    #[serde(default)]
    pub(super) latest_turn: Option<LatestTurn>,
    #[serde(default)]
    pub(super) session: Option<Session>,
    pub(super) updated_at: At,
    #[serde(default)]
    pub(super) archived_at: Option<At>,
    #[serde(default)]
    pub(super) deleted_at: Option<At>,
    #[serde(default)]
    pub(super) messages: Vec<Message>,
    #[serde(default)]
    pub(super) activities: Vec<Activity>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LatestTurn {
    #[serde(rename = "turnId")]
    pub(super) id: String,
    pub(super) state: TurnState,
    pub(super) requested_at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum TurnState {
    Running,
    Completed,
    Interrupted,
    Error,
    #[serde(other)]
    Unrecognised,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session {
    pub(super) status: SessionStatus,
    #[serde(default)]
    pub(super) active_turn_id: Option<String>,
    #[serde(default)]
    pub(super) last_error: Option<String>,
    pub(super) updated_at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum SessionStatus {
    Idle,
    Starting,
    Running,
    Ready,
    Interrupted,
    Stopped,
    Error,
    #[serde(other)]
    Unrecognised,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) role: Role,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) turn_id: Option<String>,
    #[serde(default)]
    pub(super) streaming: bool,
    pub(super) created_at: At,
    pub(super) updated_at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Role {
    User,
    Assistant,
    #[serde(other)]
    Unrecognised,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Activity {
    #[serde(default)]
    pub(super) id: String,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) summary: String,
    #[serde(default)]
    pub(super) payload: Value,
    #[serde(default)]
    pub(super) turn_id: Option<String>,
    pub(super) created_at: At,
}
