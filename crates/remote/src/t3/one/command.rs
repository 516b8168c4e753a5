//! Commands as a server of protocol 1 takes them: the body of a request is the command.

use afk_core::ids::At;
use serde_json::{Value, json};

use crate::t3::protocol::{Action, Command};

/// The body of a command.
pub(super) fn body(command: &Command<'_>) -> Value {
    let mut body = match &command.action {
        Action::CreateProject { project, title, root, make } => json!({
            "type": "project.create", "projectId": project, "title": title,
            "workspaceRoot": root, "createWorkspaceRootIfMissing": make,
        }),
        // The fields of a branch and a worktree are required, if only as null.
        Action::CreateThread { thread, project, title, provider, model, mode, worktree } => json!({
            "type": "thread.create", "threadId": thread, "projectId": project, "title": title,
            "modelSelection": { "instanceId": provider, "model": model }, "runtimeMode": mode,
            "interactionMode": "default", "branch": null, "worktreePath": worktree,
        }),
        Action::StartTurn { thread, message, text, mode } => json!({
            "type": "thread.turn.start", "threadId": thread,
            "message": { "messageId": message, "role": "user", "text": text, "attachments": [] },
            "runtimeMode": mode, "interactionMode": "default",
        }),
        Action::Interrupt { thread, active } => {
            let mut body = json!({ "type": "thread.turn.interrupt", "threadId": thread });
            // The field must be left out: null is not accepted for it.
            if let Some(turn) = active {
                body["turnId"] = (*turn).into();
            }
            body
        }
        Action::Permit { thread, request, allow } => json!({
            "type": "thread.approval.respond", "threadId": thread, "requestId": request,
            "decision": if *allow { "accept" } else { "decline" },
        }),
        Action::Reply { thread, request, answers } => json!({
            "type": "thread.user-input.respond", "threadId": thread, "requestId": request,
            "answers": answers,
        }),
        Action::StopSession { thread } => {
            json!({ "type": "thread.session.stop", "threadId": thread })
        }
        Action::Archive { thread } => json!({ "type": "thread.archive", "threadId": thread }),
        Action::Unarchive { thread } => json!({ "type": "thread.unarchive", "threadId": thread }),
        Action::Delete { thread } => json!({ "type": "thread.delete", "threadId": thread }),
    };
    body["commandId"] = command.id.as_str().into();
    if !matches!(
        command.action,
        Action::Archive { .. } | Action::Unarchive { .. } | Action::Delete { .. }
    ) {
        body["createdAt"] = time(command.at).into();
    }
    body
}

/// Formats a time as these servers do: UTC, with milliseconds.
fn time(at: At) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_milliseconds() {
        let at: At = "2026-11-28T10:08:31.6909Z".parse().unwrap();
        assert_eq!(time(at), "2026-11-28T10:08:31.690Z");
        assert_eq!(time(At::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn an_interrupt_names_a_turn_or_nothing() {
        let of = |active| Command {
            id: "c".to_owned(),
            at: At::UNIX_EPOCH,
            action: Action::Interrupt { thread: "t", active },
        };
        assert_eq!(body(&of(Some("T")))["turnId"], "T");
        assert!(body(&of(None)).get("turnId").is_none());
    }
}
