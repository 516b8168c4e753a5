//! Known-bad executors: each fault changes what passes between the adapter and the server, to what
//! an executor with that fault would send and read. The explorer must catch every one of them, or
//! what it asserts proves nothing.

use std::collections::BTreeSet;

use afk_core::ids::At;
use serde_json::{Value, json};

use super::show::time;

/// A fault that an executor of such a server may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadExecutor {
    /// Takes the state `completed` for success, whatever the agent said.
    CompletedIsSuccess,
    /// Goes by the state of the latest turn and by nothing else, even if that is not the turn that
    /// it started. Protocol 1 only.
    TrustsLatestTurn,
    /// Retries a command that was not answered under a new id.
    RetriesWithNewId,
    /// Interrupts without naming the turn, which some versions ignore.
    InterruptsUnnamed,
    /// Believes that work which a killed server lost has ended.
    BelievesOrphansDead,
    /// Does not remember that it interrupted a turn.
    ForgetsItsInterrupts,
    /// Waits for ever for a turn that never starts.
    WaitsForEver,
}

/// A time before every story.
const LONG_AGO: &str = "2020-01-01T00:00:00.000Z";

impl BadExecutor {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::CompletedIsSuccess,
        Self::TrustsLatestTurn,
        Self::RetriesWithNewId,
        Self::InterruptsUnnamed,
        Self::BelievesOrphansDead,
        Self::ForgetsItsInterrupts,
        Self::WaitsForEver,
    ];

    /// Makes a command what this executor sends; `sent` are the ids that it has sent before.
    pub(super) fn sends(self, command: &mut Value, sent: &mut BTreeSet<String>) {
        match self {
            Self::RetriesWithNewId => {
                let id = command["commandId"].as_str().unwrap_or_default().to_owned();
                if sent.insert(id.clone()) {
                    return;
                }
                let again = format!("again-{}", sent.len());
                sent.insert(again.clone());
                command["commandId"] = again.as_str().into();
                for place in ["/message/messageId", "/messageId"] {
                    if let Some(message) = command.pointer_mut(place) {
                        *message = again.as_str().into();
                    }
                }
            }
            Self::InterruptsUnnamed => {
                if let Some(fields) = command.as_object_mut() {
                    fields.remove("turnId");
                    fields.remove("runId");
                }
            }
            Self::CompletedIsSuccess
            | Self::TrustsLatestTurn
            | Self::BelievesOrphansDead
            | Self::ForgetsItsInterrupts
            | Self::WaitsForEver => {}
        }
    }

    /// Makes an answer at `now` what this executor reads; `orphaned` are the threads whose agents
    /// were orphaned.
    pub(super) fn reads(self, answer: &mut Value, orphaned: &BTreeSet<String>, now: At) {
        if let Some(thread) = answer.get_mut("thread") {
            self.reads_one(thread, orphaned, now);
        }
        for thread in answer.get_mut("threads").and_then(Value::as_array_mut).into_iter().flatten()
        {
            self.reads_one(thread, orphaned, now);
        }
        if let Some(projection) = answer.get_mut("projection") {
            self.reads_two(projection, now);
        }
    }

    /// A thread of protocol 1.
    fn reads_one(self, thread: &mut Value, orphaned: &BTreeSet<String>, now: At) {
        let asked = newest(thread);
        match self {
            Self::CompletedIsSuccess => {
                words_are_good(thread);
                if thread["session"]["status"] == "error" {
                    thread["session"]["status"] = "ready".into();
                    thread["session"]["lastError"] = Value::Null;
                }
                if thread["latestTurn"]["state"] == "error" {
                    thread["latestTurn"]["state"] = "completed".into();
                }
            }
            Self::TrustsLatestTurn => {
                thread["session"] = Value::Null;
                if let (Some(asked), true) = (asked, thread["latestTurn"].is_object()) {
                    thread["latestTurn"]["requestedAt"] = asked;
                }
            }
            Self::BelievesOrphansDead => {
                let id = thread["id"].as_str().unwrap_or_default();
                if let (Some(asked), true) = (asked, orphaned.contains(id)) {
                    thread["latestTurn"] =
                        json!({ "turnId": "dead", "state": "error", "requestedAt": asked });
                    thread["session"] = json!({
                        "status": "error", "activeTurnId": null, "updatedAt": LONG_AGO,
                        "lastError": "Provider session did not survive a server restart.",
                    });
                }
            }
            Self::WaitsForEver => {
                let messages = thread.get_mut("messages").and_then(Value::as_array_mut);
                for message in messages.into_iter().flatten() {
                    if message["role"] == "user" {
                        message["createdAt"] = time(now).into();
                    }
                }
            }
            Self::RetriesWithNewId | Self::InterruptsUnnamed | Self::ForgetsItsInterrupts => {}
        }
    }

    /// A thread of protocol 2.
    fn reads_two(self, projection: &mut Value, now: At) {
        if self == Self::CompletedIsSuccess {
            words_are_good(projection);
        }
        let runs = projection.get_mut("runs").and_then(Value::as_array_mut);
        for run in runs.into_iter().flatten() {
            match self {
                Self::CompletedIsSuccess if run["status"] == "failed" => {
                    run["status"] = "completed".into();
                }
                Self::BelievesOrphansDead if run["status"] == "cancelled" => {
                    run["completedAt"] = LONG_AGO.into();
                }
                Self::WaitsForEver => run["requestedAt"] = time(now).into(),
                _ => {}
            }
        }
    }
}

/// When the newest message of a user in a thread of protocol 1 was sent.
fn newest(thread: &Value) -> Option<Value> {
    let messages = thread["messages"].as_array()?;
    let asked = messages.iter().rfind(|one| one["role"] == "user")?;
    Some(asked["createdAt"].clone())
}

/// Replaces errors among what the agent said by "Done.".
fn words_are_good(thread: &mut Value) {
    let messages = thread.get_mut("messages").and_then(Value::as_array_mut);
    for message in messages.into_iter().flatten() {
        let text = message["text"].as_str().unwrap_or_default();
        if text.starts_with("API Error") || text.starts_with("Invalid API key") {
            message["text"] = "Done.".into();
        }
    }
}
