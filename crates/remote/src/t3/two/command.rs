//! Commands as a server of protocol 2 takes them over its socket.

use serde_json::{Value, json};

use crate::t3::protocol::{Action, Command};

/// The payload of a command; none where this protocol has no such command over the socket.
pub(super) fn payload(command: &Command<'_>) -> Option<Value> {
    let mut body = match &command.action {
        Action::CreateThread { thread, project, title, provider, model, mode, worktree } => json!({
            "type": "thread.create", "threadId": thread, "projectId": project, "title": title,
            "modelSelection": { "instanceId": provider, "model": model }, "runtimeMode": mode,
            "interactionMode": "default", "branch": null, "worktreePath": worktree,
            "createdBy": "user", "creationSource": "server",
        }),
        Action::StartTurn { thread, message, text, .. } => json!({
            "type": "message.dispatch", "threadId": thread, "messageId": message, "text": text,
            "attachments": [], "dispatchMode": { "type": "start_immediately" },
            "createdBy": "user", "creationSource": "server",
        }),
        Action::Interrupt { thread, active: Some(run) } => {
            json!({ "type": "run.interrupt", "threadId": thread, "runId": run })
        }
        Action::Permit { thread, request, allow } => json!({
            "type": "runtime-request.respond", "threadId": thread, "requestId": request,
            "decision": if *allow { "accept" } else { "decline" },
        }),
        Action::Reply { thread, request, answers } => json!({
            "type": "runtime-request.respond", "threadId": thread, "requestId": request,
            "answers": answers,
        }),
        Action::Archive { thread } => json!({ "type": "thread.archive", "threadId": thread }),
        Action::Unarchive { thread } => json!({ "type": "thread.unarchive", "threadId": thread }),
        Action::Delete { thread } => json!({ "type": "thread.delete", "threadId": thread }),
        // Projects are made over HTTP; a run can only be interrupted by its id.
        Action::CreateProject { .. }
        | Action::Interrupt { active: None, .. }
        | Action::StopSession { .. } => return None,
    };
    body["commandId"] = command.id.as_str().into();
    Some(body)
}
