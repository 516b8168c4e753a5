//! Commands as a server of protocol 2 takes them over its socket.

use serde_json::{Value, json};

use crate::t3::protocol::{Command, What};

/// What a command is sent as; none where this protocol has no such command.
pub(super) fn payload(command: &Command<'_>) -> Option<Value> {
    let mut body = match &command.what {
        What::CreateThread { thread, project, title, provider, model, mode, worktree } => json!({
            "type": "thread.create", "threadId": thread, "projectId": project, "title": title,
            "modelSelection": { "instanceId": provider, "model": model }, "runtimeMode": mode,
            "interactionMode": "default", "branch": null, "worktreePath": worktree,
            "createdBy": "user", "creationSource": "server",
        }),
        What::StartTurn { thread, message, text, .. } => json!({
            "type": "message.dispatch", "threadId": thread, "messageId": message, "text": text,
            "attachments": [], "dispatchMode": { "type": "start_immediately" },
            "createdBy": "user", "creationSource": "server",
        }),
        What::Interrupt { thread, active: Some(run) } => {
            json!({ "type": "run.interrupt", "threadId": thread, "runId": run })
        }
        What::Permit { thread, request, allow } => json!({
            "type": "runtime-request.respond", "threadId": thread, "requestId": request,
            "decision": if *allow { "accept" } else { "decline" },
        }),
        What::Reply { thread, request, answers } => json!({
            "type": "runtime-request.respond", "threadId": thread, "requestId": request,
            "answers": answers,
        }),
        What::Archive { thread } => json!({ "type": "thread.archive", "threadId": thread }),
        What::Delete { thread } => json!({ "type": "thread.delete", "threadId": thread }),
        // Projects are made over HTTP; a run that has no id cannot be named.
        What::CreateProject { .. }
        | What::Interrupt { active: None, .. }
        | What::StopSession { .. } => return None,
    };
    body["commandId"] = command.id.as_str().into();
    Some(body)
}
