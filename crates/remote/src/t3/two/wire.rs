//! Payloads of protocol 2, with the fields that are used. Read leniently, as those of protocol 1.

use afk_core::ids::At;
use serde::Deserialize;
use serde_json::Value;

/// The answer to a read of one thread.
#[derive(Debug, Deserialize)]
pub(super) struct ThreadAnswer {
    #[serde(rename = "snapshotSequence")]
    pub(super) sequence: u64,
    pub(super) projection: Thread,
}

/// The answer to a read of the shell, of which only the sequence is used.
#[derive(Debug, Deserialize)]
pub(super) struct Shell {
    #[serde(rename = "snapshotSequence")]
    pub(super) sequence: u64,
}

/// The answer to a read of every project.
#[derive(Debug, Deserialize)]
pub(super) struct Projects {
    pub(super) projects: Vec<Project>,
}

#[derive(Debug, Deserialize)]
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
    #[serde(rename = "thread")]
    pub(super) head: Head,
    #[serde(default)]
    pub(super) runs: Vec<Run>,
    #[serde(default)]
    pub(super) messages: Vec<Message>,
    #[serde(default)]
    pub(super) turn_items: Vec<Item>,
    #[serde(default)]
    pub(super) runtime_requests: Vec<Request>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the server's names")]
pub(super) struct Head {
    pub(super) updated_at: At,
    #[serde(default)]
    pub(super) archived_at: Option<At>,
    #[serde(default)]
    pub(super) deleted_at: Option<At>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    pub(super) id: String,
    #[serde(default)]
    pub(super) user_message_id: Option<String>,
    pub(super) status: RunStatus,
    pub(super) requested_at: At,
    #[serde(default)]
    pub(super) completed_at: Option<At>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunStatus {
    Preparing,
    Queued,
    Starting,
    Running,
    Waiting,
    Completed,
    Interrupted,
    Failed,
    Cancelled,
    RolledBack,
    #[serde(other)]
    Unrecognised,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) role: String,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) run_id: Option<String>,
    /// Whether it is still being written.
    #[serde(default)]
    pub(super) streaming: bool,
    pub(super) created_at: At,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    #[serde(default)]
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) run_id: Option<String>,
    #[serde(default)]
    pub(super) native_item_ref: Option<NativeRef>,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) input: Value,
    #[serde(default)]
    pub(super) failure: Option<Failure>,
    #[serde(default)]
    pub(super) completed_at: Option<At>,
    pub(super) updated_at: At,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NativeRef {
    pub(super) native_id: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Failure {
    #[serde(default)]
    pub(super) message: String,
    /// A code such as `api_error_429`. The field `retryable` is not read: it differs between
    /// failures of one kind.
    #[serde(default)]
    pub(super) code: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) id: String,
    #[serde(default)]
    pub(super) native_request_ref: Option<NativeRef>,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) status: String,
    pub(super) created_at: At,
}
