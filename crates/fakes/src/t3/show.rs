//! How a server shows what it has, field by field as its version does.

use afk_core::ids::At;
use serde_json::{Map, Value, json};

use super::state::{Flavour, State, Thread};

/// How much of a thread is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Everything, with messages and activities.
    Whole,
    /// Everything without messages and activities.
    Bare,
    /// What the list of threads shows.
    Entry,
}

impl State {
    /// Every project and thread.
    pub(super) fn snapshot(&self) -> Value {
        let depth = if self.flavour == Flavour::V27 { Depth::Whole } else { Depth::Bare };
        let threads: Vec<Value> = self.threads.iter().map(|one| self.thread(one, depth)).collect();
        json!({
            "snapshotSequence": self.sequence, "projects": self.projects(false),
            "threads": threads, "updatedAt": self.updated(),
        })
    }

    /// Every project, and the threads that are neither archived nor deleted.
    pub(super) fn shell(&self) -> Value {
        let open =
            self.threads.iter().filter(|one| one.archived.is_none() && one.deleted.is_none());
        let threads: Vec<Value> = open.map(|one| self.thread(one, Depth::Entry)).collect();
        json!({
            "snapshotSequence": self.sequence, "projects": self.projects(true),
            "threads": threads, "updatedAt": self.updated(),
        })
    }

    /// One thread as a whole, unless it is deleted.
    pub(super) fn one(&self, id: &str) -> Option<Value> {
        let thread = self.threads.iter().find(|one| one.id == id && one.deleted.is_none())?;
        let thread = self.thread(thread, Depth::Whole);
        Some(json!({ "snapshotSequence": self.sequence, "thread": thread }))
    }

    fn updated(&self) -> String {
        let newest = self.threads.iter().map(|one| one.updated);
        time(newest.max().unwrap_or(At::UNIX_EPOCH))
    }

    fn projects(&self, shell: bool) -> Vec<Value> {
        let mut all: Vec<_> = self.projects.iter().collect();
        // Later builds have them in the order in which they were made.
        if self.flavour != Flavour::August {
            all.sort_by_key(|one| &one.id);
        }
        let shown = all.into_iter().map(|one| {
            let created = time(one.created);
            let mut shown = json!({
                "id": one.id, "title": one.title, "workspaceRoot": one.root,
                "defaultModelSelection": null, "scripts": [], "createdAt": created,
                "updatedAt": created,
            });
            if shell || self.flavour == Flavour::V27 {
                shown["repositoryIdentity"] = Value::Null;
            }
            if self.flavour != Flavour::V27 {
                shown["defaultThreadEnvMode"] = Value::Null;
                shown["faviconPath"] = Value::Null;
            }
            if !shell {
                shown["deletedAt"] = Value::Null;
            }
            shown
        });
        shown.collect()
    }

    fn thread(&self, thread: &Thread, depth: Depth) -> Value {
        let mut shown = json!({
            "id": thread.id, "projectId": thread.project, "title": thread.title,
            "modelSelection": thread.model, "runtimeMode": thread.mode,
            "interactionMode": thread.interaction, "branch": thread.branch,
            "worktreePath": thread.worktree, "latestTurn": latest(thread),
            "createdAt": time(thread.created), "updatedAt": time(thread.updated),
            "archivedAt": thread.archived.map(time), "session": session(thread),
        });
        let mut more = Map::new();
        if self.flavour != Flavour::V27 {
            let keys = [
                "settledOverride",
                "settledAt",
                "snoozedUntil",
                "snoozedAt",
                "pinnedAt",
                "pinOrderKey",
                "titleRegeneration",
            ];
            more.extend(keys.map(|key| (key.to_owned(), Value::Null)));
        }
        let more_of = |keys: Value, more: &mut Map<String, Value>| {
            if let Value::Object(keys) = keys {
                more.extend(keys);
            }
        };
        match depth {
            Depth::Entry => more_of(entry(thread), &mut more),
            Depth::Whole => more_of(
                json!({
                    "deletedAt": thread.deleted.map(time), "proposedPlans": [],
                    "messages": messages(thread), "activities": activities(thread),
                    "checkpoints": checkpoints(thread),
                }),
                &mut more,
            ),
            Depth::Bare => more_of(
                json!({
                    "deletedAt": thread.deleted.map(time), "proposedPlans": [], "messages": [],
                    "activities": [], "checkpoints": [],
                }),
                &mut more,
            ),
        }
        if let Some(shown) = shown.as_object_mut() {
            shown.extend(more);
        }
        shown
    }
}

/// The fields that only the list of threads shows.
fn entry(thread: &Thread) -> Value {
    let pending = |kind: &str| {
        // What a dead turn asked stays pending.
        let asked = thread.activities.iter().filter(|one| one.kind == format!("{kind}.requested"));
        let resolved =
            thread.activities.iter().filter(|one| one.kind == format!("{kind}.resolved"));
        asked.count() > resolved.count()
    };
    let users = thread.messages.iter().filter(|one| one.user);
    json!({
        "latestUserMessageAt": users.map(|one| one.created).max().map(time),
        "hasPendingApprovals": pending("approval"), "hasPendingUserInput": pending("user-input"),
        "hasActionableProposedPlan": false, "backgroundLiveness": null, "planProgress": null,
    })
}

fn latest(thread: &Thread) -> Value {
    let Some(latest) = &thread.latest else { return Value::Null };
    json!({
        "turnId": latest.turn, "state": latest.state, "requestedAt": time(latest.requested),
        "startedAt": time(latest.requested), "completedAt": latest.completed.map(time),
        "assistantMessageId": latest.answer,
    })
}

fn session(thread: &Thread) -> Value {
    let Some(session) = &thread.session else { return Value::Null };
    // An unknown agent has no name.
    let instance = thread.model["instanceId"].as_str().unwrap_or_default();
    let name = Some("claudeAgent").filter(|name| *name == instance);
    json!({
        "threadId": thread.id, "status": session.status, "providerName": name,
        "providerInstanceId": instance, "runtimeMode": thread.mode,
        "activeTurnId": session.active, "lastError": session.error,
        "updatedAt": time(session.updated),
    })
}

fn messages(thread: &Thread) -> Vec<Value> {
    let shown = thread.messages.iter().map(|one| {
        json!({
            "id": one.id, "role": if one.user { "user" } else { "assistant" }, "text": one.text,
            "attachments": one.user.then(|| json!([])), "turnId": one.turn, "streaming": false,
            "createdAt": time(one.created), "updatedAt": time(one.updated),
        })
    });
    let without = shown.map(|mut one| {
        if let Some(fields) = one.as_object_mut() {
            fields.retain(|key, value| key != "attachments" || !value.is_null());
        }
        one
    });
    without.collect()
}

fn activities(thread: &Thread) -> Vec<Value> {
    let shown = thread.activities.iter().map(|one| {
        json!({
            "id": one.id, "tone": one.tone, "kind": one.kind, "summary": one.summary,
            "payload": one.payload, "turnId": one.turn, "createdAt": time(one.created),
        })
    });
    shown.collect()
}

fn checkpoints(thread: &Thread) -> Vec<Value> {
    let shown = thread.checkpoints.iter().enumerate().map(|(n, one)| {
        json!({
            "turnId": one.turn, "checkpointTurnCount": n + 1,
            "checkpointRef": format!("refs/t3/checkpoints/x/turn/{}", n + 1),
            "status": one.status, "files": [], "assistantMessageId": one.answer,
            "completedAt": time(one.completed),
        })
    });
    shown.collect()
}

/// A time as the servers write it.
pub(super) fn time(at: At) -> String {
    format!("{at:.3}")
}
