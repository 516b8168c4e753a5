//! A server of protocol 2: threads are read over HTTP below a gate, and commands come over a
//! socket.
//!
//! Of a thread it shows what the recordings have and clients read: runs, messages, items and
//! requests. Other parts are missing.

use std::sync::Arc;
use std::time::Duration;

use afk_core::ids::At;
use axum::extract::State as Extracted;
use axum::extract::ws::{Message as Frame, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::Shared;
use super::play::Run;
use super::show::time;
use super::state::{Fault, Message, Project, Remembered, State, Thread};
use afk_engine::ports::Clock as _;

/// How often it is checked whether a subscribed thread has changed.
const TICK: Duration = Duration::from_millis(20);

/// A run as the server keeps it.
pub(super) struct RunRecord {
    pub(super) id: String,
    pub(super) message: String,
    pub(super) status: &'static str,
    pub(super) requested: At,
    pub(super) completed: Option<At>,
    /// Why it failed, and the code of that error.
    pub(super) failure: Option<(String, Option<&'static str>)>,
    /// What its agent asked for, and what became of that.
    pub(super) request: Option<RequestRecord>,
}

/// A request of an agent.
pub(super) struct RequestRecord {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) input: String,
    pub(super) status: &'static str,
    pub(super) created: At,
}

/// Opens the socket for a client that names the protocol and has a bearer.
pub(super) async fn socket(
    Extracted(shared): Extracted<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let away = {
        let mut state = shared.state();
        state.requests.push("GET /ws".to_owned());
        state.away || !state.flavour.is_two()
    };
    if away {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let named =
        uri.query().unwrap_or_default().split('&').any(|one| one == "orchestrationProtocol=2");
    if !named {
        let body = json!({
            "code": "orchestration_protocol_incompatible",
            "message": "Update this client to one that supports orchestration protocol 2.",
            "orchestrationProtocolVersion": 2,
        });
        return (StatusCode::UPGRADE_REQUIRED, axum::Json(body)).into_response();
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
    if !shared.state().tokens.contains_key(&token) {
        let mut state = shared.state();
        let reason = if given.is_some() { "invalid_credential" } else { "missing_credential" };
        let body = state.error("EnvironmentAuthInvalidError", "auth_invalid", reason);
        return (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
    }
    upgrade.on_upgrade(move |socket| serve(shared, socket, token))
}

/// The thread that a socket is subscribed to.
struct Subscription {
    request: Value,
    thread: String,
    /// The thread as the client was last told of it.
    shown: Option<Value>,
    /// Whether the client has acknowledged the last frame, so that another may be sent.
    acknowledged: bool,
}

/// Answers the frames of a socket until it is closed.
async fn serve(shared: Arc<Shared>, mut socket: WebSocket, token: String) {
    let mut subscription: Option<Subscription> = None;
    loop {
        let frame = tokio::select! {
            frame = socket.recv() => frame,
            () = tokio::time::sleep(TICK), if subscription.is_some() => {
                let told = subscription.as_mut().and_then(|one| shared.tell(one));
                match told {
                    Some(told) if socket.send(Frame::text(told.to_string())).await.is_err() => return,
                    Some(_) | None => continue,
                }
            }
        };
        let Some(Ok(frame)) = frame else { return };
        let Frame::Text(text) = frame else { continue };
        let subscribed = shared.state().subscribes(&text, &mut subscription);
        if let Some(told) = subscribed {
            for frame in told {
                if socket.send(Frame::text(frame.to_string())).await.is_err() {
                    return;
                }
            }
            continue;
        }
        let now = shared.sim.now();
        let fault = {
            let mut state = shared.state();
            let at = state.faults.iter().position(|(part, _)| "dispatch".contains(part.as_str()));
            at.map(|at| state.faults.remove(at).1)
        };
        match fault {
            Some(Fault::BreaksBefore | Fault::Answers(_)) => return,
            Some(Fault::Silent) => {
                shared.silence.notified().await;
                return;
            }
            Some(Fault::Forgets) => shared.state().forget_next = true,
            Some(Fault::Refuses) => shared.state().refuse_next = true,
            Some(Fault::BreaksAfter) | None => {}
        }
        let held = shared.state().holds();
        if held == Some(false) {
            shared.held.notify_one();
            shared.silence.notified().await;
            return;
        }
        shared.play_world();
        let answer = {
            let mut state = shared.state();
            state.go_on(now);
            state.frame(&text, &token, now)
        };
        if held == Some(true) {
            shared.held.notify_one();
            shared.silence.notified().await;
            return;
        }
        if fault == Some(Fault::BreaksAfter) {
            return;
        }
        let Some(answer) = answer else { return };
        if socket.send(Frame::text(answer.to_string())).await.is_err() {
            return;
        }
    }
}

impl Shared {
    /// The frame about a change of the subscribed thread, if there is one to send.
    fn tell(&self, subscription: &mut Subscription) -> Option<Value> {
        if !subscription.acknowledged {
            return None;
        }
        self.play_world();
        let mut state = self.state();
        state.go_on(self.sim.now());
        if state.away {
            return None;
        }
        let thread = state.projection(&subscription.thread);
        if thread == subscription.shown {
            return None;
        }
        state.sequence += 1;
        subscription.shown = thread;
        subscription.acknowledged = false;
        Some(json!({
            "_tag": "Chunk", "requestId": subscription.request,
            "values": [{
                "kind": "event", "sequence": state.sequence,
                "event": { "threadId": subscription.thread, "type": "turn-item.updated" },
            }],
        }))
    }
}

impl State {
    /// Takes a frame that subscribes the socket, or that acknowledges, and returns the frames to
    /// send at once; none if the frame is another one.
    fn subscribes(
        &self,
        text: &str,
        subscription: &mut Option<Subscription>,
    ) -> Option<Vec<Value>> {
        let frame: Value = serde_json::from_str(text).ok()?;
        if frame["_tag"] == "Ack" {
            let known = subscription.as_mut().filter(|one| one.request == frame["requestId"]);
            if let Some(known) = known {
                known.acknowledged = true;
            }
            return Some(Vec::new());
        }
        let asks =
            frame["tag"] == "orchestration.subscribeThread" && frame.get("headers").is_some();
        if frame["_tag"] != "Request" || !asks {
            return None;
        }
        let exit = |cause: &Value| json!({ "_tag": "Exit", "requestId": frame["id"], "exit": failed(cause) });
        let Some(thread) = frame["payload"]["threadId"].as_str() else {
            let defect = "Missing key\n  at [\"threadId\"]";
            return Some(vec![exit(&json!({ "_tag": "Die", "defect": defect }))]);
        };
        let Some(shown) = self.projection(thread) else {
            let error = json!({
                "_tag": "OrchestrationV2GetThreadProjectionError",
                "message": format!("Failed to load orchestration projection for thread {thread}."),
            });
            return Some(vec![exit(&json!({ "_tag": "Fail", "error": error }))]);
        };
        // A sequence that is still to come counts as none, so that everything is shown.
        let after = frame["payload"]["afterSequence"].as_u64().filter(|one| *one <= self.sequence);
        *subscription = Some(Subscription {
            request: frame["id"].clone(),
            thread: thread.to_owned(),
            shown: Some(shown),
            acknowledged: after.is_some(),
        });
        if after.is_some() {
            return Some(Vec::new());
        }
        let mut value = self.bounded(thread).unwrap_or_default();
        value["kind"] = "snapshot".into();
        Some(vec![json!({ "_tag": "Chunk", "requestId": frame["id"], "values": [value] })])
    }

    /// What clients are shown of a thread.
    fn projection(&self, id: &str) -> Option<Value> {
        self.bounded(id).map(|mut shown| shown["projection"].take())
    }

    /// The answer to a frame; without one the socket is closed.
    fn frame(&mut self, text: &str, token: &str, now: At) -> Option<Value> {
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            let defect = json!({ "name": "SyntaxError", "message": "not JSON" });
            return Some(json!({ "_tag": "Defect", "defect": defect }));
        };
        if frame["_tag"] == "Ping" {
            return Some(json!({ "_tag": "Pong" }));
        }
        let tag = frame["tag"].as_str().unwrap_or("undefined");
        if frame["_tag"] != "Request" {
            let defect = format!("Unknown request tag: {tag}");
            return Some(json!({ "_tag": "Defect", "defect": defect }));
        }
        // A request without headers closes the socket.
        frame.get("headers")?;
        let exit = if tag == "orchestration.dispatchCommand" {
            let may = self
                .tokens
                .get(token)
                .is_some_and(|scopes| scopes.iter().any(|scope| scope == "orchestration:operate"));
            if may {
                self.dispatch_two(&frame["payload"], now)
            } else {
                failed(&json!({
                    "_tag": "Fail",
                    "error": {
                        "_tag": "EnvironmentAuthorizationError",
                        "message": "The authenticated token is missing required scope: \
                                    orchestration:operate.",
                        "requiredScope": "orchestration:operate",
                    },
                }))
            }
        } else {
            failed(&json!({ "_tag": "Die", "defect": format!("Unknown request tag: {tag}") }))
        };
        Some(json!({ "_tag": "Exit", "requestId": frame["id"], "exit": exit }))
    }

    fn dispatch_two(&mut self, command: &Value, now: At) -> Value {
        let mut command = command.clone();
        if let Some(bad) = self.bad {
            bad.sends(&mut command, &mut self.sent);
        }
        let command = &command;
        if let Some(missing) = missing(command) {
            let defect = format!("Missing key\n  at [\"{missing}\"]");
            return failed(&json!({ "_tag": "Die", "defect": defect }));
        }
        let kind = text(command, "type");
        self.requests.push(kind.clone());
        let id = text(command, "commandId");
        match self.commands.get(&id).cloned() {
            Some(Remembered::Taken(sequence)) => return taken(sequence),
            Some(Remembered::Refused(..)) => {
                return refused(command, &format!("Command {id} was previously rejected."));
            }
            None => {}
        }
        self.sequence += 1;
        if std::mem::take(&mut self.forget_next) {
            return taken(self.sequence);
        }
        let taken_or_not = if std::mem::take(&mut self.refuse_next) {
            Err("It failed this time.".to_owned())
        } else {
            self.take_two(&kind, command, now)
        };
        match taken_or_not {
            Ok(()) => {
                self.commands.insert(id, Remembered::Taken(self.sequence));
                taken(self.sequence)
            }
            Err(why) => {
                self.commands.insert(id, Remembered::Refused(500, Value::Null));
                refused(command, &why)
            }
        }
    }

    fn take_two(&mut self, kind: &str, command: &Value, now: At) -> Result<(), String> {
        let id = text(command, "threadId");
        if kind == "thread.create" {
            // A used thread id, and a project that does not exist, are accepted all the same.
            let known = self.threads.iter_mut().find(|one| one.id == id);
            match known {
                Some(known) => known.title = text(command, "title"),
                None => self.threads.push(Thread::of(command, now)),
            }
            return Ok(());
        }
        let at = self.threads.iter().position(|one| one.id == id);
        let at = at.ok_or(format!("Failed to load orchestration projection for thread {id}."))?;
        let mut thread = self.threads.remove(at);
        let taken = self.take_thread_two(kind, command, &mut thread, now);
        self.threads.insert(at, thread);
        taken
    }

    fn take_thread_two(
        &mut self,
        kind: &str,
        command: &Value,
        thread: &mut Thread,
        now: At,
    ) -> Result<(), String> {
        match kind {
            "message.dispatch" => self.message(command, thread, now),
            "run.interrupt" => {
                let id = text(command, "runId");
                let active = thread.run.as_mut().filter(|run| run.turn == id);
                let run = active.ok_or(format!("Run {id} is not interruptible."))?;
                run.interrupted.get_or_insert(now);
            }
            "runtime-request.respond" => {
                let id = text(command, "requestId");
                let not_found = || format!("Runtime request {id} was not found.");
                let run = thread.run.as_mut().filter(|run| run.request.as_ref() == Some(&id));
                let run = run.filter(|run| run.told.is_none()).ok_or_else(not_found)?;
                run.told = Some(now);
                let record = thread.runs.iter_mut().find(|one| one.id == run.turn);
                if let Some(request) = record.and_then(|one| one.request.as_mut()) {
                    request.status = "resolved";
                }
            }
            "thread.archive" => thread.archived = Some(now),
            "thread.unarchive" => thread.archived = None,
            _ => thread.deleted = Some(now),
        }
        thread.updated = now;
        Ok(())
    }

    fn message(&mut self, command: &Value, thread: &mut Thread, now: At) {
        self.turns += 1;
        let (message, text) = (text(command, "messageId"), text(command, "text"));
        let n = thread.runs.len() + 1;
        let id = format!("run:thread:{}:ordinal:{n}", thread.id);
        let asked = message.clone();
        match thread.messages.iter_mut().find(|one| one.id == message) {
            Some(known) => known.text.clone_from(&text),
            None => thread.messages.push(Message {
                id: message.clone(),
                user: true,
                text: text.clone(),
                turn: Some(id.clone()),
                created: now,
                updated: now,
            }),
        }
        thread.runs.push(RunRecord {
            id: id.clone(),
            message,
            status: "starting",
            requested: now,
            completed: None,
            failure: None,
            request: None,
        });
        self.work_accepted(&id, &asked, now);
        thread.run = Some(Run::new(id, now, now, self.script(&text)));
    }

    /// Makes a project, over HTTP, and returns status and body of the answer.
    pub(super) fn mutate(&mut self, body: &[u8], now: At) -> (u16, Option<Value>) {
        let Ok(command) = serde_json::from_slice::<Value>(body) else { return (400, None) };
        let keys = ["commandId", "projectId", "title", "workspaceRoot"];
        if command["type"] != "project.create" || keys.iter().any(|key| !command[*key].is_string())
        {
            return (400, None);
        }
        let (id, project) = (text(&command, "commandId"), text(&command, "projectId"));
        let root = text(&command, "workspaceRoot");
        let known = self.commands.contains_key(&id);
        let shown = self.projects.iter().find(|one| one.id == project).map(shown);
        if known && shown.is_some() {
            return (200, shown);
        }
        if known || self.projects.iter().any(|one| one.root == root && one.id != project) {
            let tag = "EnvironmentRequestInvalidError";
            return (400, Some(self.error(tag, "invalid_request", "invalid_command")));
        }
        let makes = command["createWorkspaceRootIfMissing"] == true;
        if shown.is_some() || makes || self.folder(&root).is_none() {
            let tag = "EnvironmentInternalError";
            return (500, Some(self.error(tag, "internal_error", "project_mutation_failed")));
        }
        self.commands.insert(id, Remembered::Taken(0));
        let title = text(&command, "title");
        self.projects.push(Project { id: project, title, root, created: now });
        (200, self.projects.last().map(self::shown))
    }

    /// The answer that lists every project.
    pub(super) fn all_projects(&self) -> Value {
        let all: Vec<Value> = self.projects.iter().map(shown).collect();
        json!({ "projects": all, "updatedAt": time(At::UNIX_EPOCH) })
    }

    /// The light list of everything: every project, and here no thread.
    pub(super) fn shell_two(&self) -> Value {
        json!({
            "schemaVersion": 2, "snapshotSequence": self.sequence, "threads": [],
            "archivedThreads": [], "projects": self.projects.iter().map(shown).collect::<Vec<_>>(),
        })
    }

    /// The answer about one thread.
    pub(super) fn bounded(&self, id: &str) -> Option<Value> {
        let thread = self.threads.iter().find(|one| one.id == id)?;
        let runs: Vec<Value> = thread.runs.iter().map(|run| run_of(thread, run)).collect();
        let messages = thread.messages.iter().map(|one| {
            json!({
                "id": one.id, "threadId": thread.id, "runId": one.turn,
                "role": if one.user { "user" } else { "assistant" }, "text": one.text,
                "attachments": [], "streaming": false, "createdAt": time(one.created),
                "updatedAt": time(one.updated),
            })
        });
        let asked = thread.runs.iter().filter_map(|run| Some((run, run.request.as_ref()?)));
        let requests = asked.clone().map(|(_, one)| {
            json!({
                "id": one.id, "kind": one.kind, "status": one.status,
                "nativeRequestRef": { "driver": "claudeAgent", "nativeId": one.id },
                "responseCapability": { "type": "live" }, "createdAt": time(one.created),
            })
        });
        let tools = asked.map(|(run, one)| {
            json!({
                "id": format!("item:{}", one.id), "type": "command_execution", "runId": run.id, "status": "running",
                "nativeItemRef": { "driver": "claudeAgent", "nativeId": one.id },
                "title": null, "input": one.input, "completedAt": run.completed.map(time),
                "updatedAt": time(one.created),
            })
        });
        let failures = thread.runs.iter().filter_map(|run| {
            let (message, code) = run.failure.as_ref()?;
            Some(json!({
                "id": format!("failure:{}", run.id), "type": "error", "runId": run.id, "status": "failed", "title": "Provider error",
                "failure": {
                    "class": "provider_error", "message": message, "code": code,
                    "retryable": null,
                },
                "completedAt": run.completed.map(time), "updatedAt": run.completed.map(time),
            }))
        });
        Some(json!({
            "snapshotSequence": self.sequence,
            "projection": {
                "thread": {
                    "id": thread.id, "projectId": thread.project, "title": thread.title,
                    "modelSelection": thread.model, "runtimeMode": thread.mode,
                    "worktreePath": thread.worktree, "createdAt": time(thread.created),
                    "updatedAt": time(thread.updated), "archivedAt": thread.archived.map(time),
                    "deletedAt": thread.deleted.map(time),
                },
                "runs": runs, "messages": messages.collect::<Vec<_>>(),
                "runtimeRequests": requests.collect::<Vec<_>>(),
                "turnItems": tools.chain(failures).collect::<Vec<_>>(),
            },
        }))
    }
}

fn run_of(thread: &Thread, run: &RunRecord) -> Value {
    json!({
        "id": run.id, "threadId": thread.id, "userMessageId": run.message, "status": run.status,
        "requestedAt": time(run.requested), "completedAt": run.completed.map(time),
    })
}

fn shown(project: &Project) -> Value {
    let created = time(project.created);
    json!({
        "id": project.id, "title": project.title, "workspaceRoot": project.root,
        "repositoryIdentity": null, "faviconPath": null, "defaultModelSelection": null,
        "scripts": [], "createdAt": created, "updatedAt": created, "deletedAt": null,
    })
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn taken(sequence: u64) -> Value {
    json!({ "_tag": "Success", "value": { "sequence": sequence } })
}

fn failed(cause: &Value) -> Value {
    json!({ "_tag": "Failure", "cause": [cause] })
}

fn refused(command: &Value, why: &str) -> Value {
    failed(&json!({
        "_tag": "Fail",
        "error": {
            "_tag": "OrchestrationV2DispatchCommandError", "commandId": command["commandId"],
            "commandType": command["type"], "message": why, "detail": why,
        },
    }))
}

/// The first key that a command lacks.
fn missing(command: &Value) -> Option<&'static str> {
    let kind = command["type"].as_str().unwrap_or_default();
    let keys: &[&'static str] = match kind {
        "thread.create" => &[
            "createdBy",
            "creationSource",
            "commandId",
            "threadId",
            "projectId",
            "title",
            "modelSelection",
            "runtimeMode",
            "interactionMode",
            "branch",
            "worktreePath",
        ],
        "message.dispatch" => &[
            "createdBy",
            "creationSource",
            "commandId",
            "threadId",
            "messageId",
            "text",
            "attachments",
            "dispatchMode",
        ],
        "run.interrupt" => &["commandId", "threadId", "runId"],
        "runtime-request.respond" => &["commandId", "threadId", "requestId"],
        "thread.archive" | "thread.unarchive" | "thread.delete" => &["commandId", "threadId"],
        _ => &["type"],
    };
    let known = !keys.contains(&"type");
    let lacks = keys.iter().find(|key| command.get(**key).is_none()).copied();
    if known { lacks } else { Some("type") }
}
