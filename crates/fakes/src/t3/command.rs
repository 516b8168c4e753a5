//! Takes commands as strictly as the servers do. An unknown type, a missing field or one of another
//! shape is answered with 400 and an empty body; unknown fields are ignored; and the first answer
//! to a command id is the answer to that id for good.

use afk_core::ids::At;
use serde_json::{Value, json};

use super::bad::BadExecutor;
use super::play::Run;
use super::state::{Flavour, Message, Project, Remembered, Session, State, Thread};
use super::truth::AgentWorkEnd;

/// The status of an answer, and its body if there is one.
pub(super) type Answer = (u16, Option<Value>);

/// The answer to a command that is not well-formed, given before its id is looked at.
const SHAPE: Answer = (400, None);

impl State {
    /// Takes a command at `now`.
    pub(super) fn dispatch(&mut self, body: &[u8], now: At) -> Answer {
        let Ok(mut command) = serde_json::from_slice::<Value>(body) else {
            return match self.flavour {
                Flavour::V27 => (500, None),
                Flavour::V33 | Flavour::August | Flavour::Two => (400, None),
            };
        };
        if let Some(bad) = self.bad {
            bad.sends(&mut command, &mut self.sent);
        }
        if !is_shaped(&command) {
            return SHAPE;
        }
        let id = text(&command, "commandId");
        let kind = text(&command, "type");
        let subject = match kind.as_str() {
            "project.create" => text(&command, "projectId"),
            _ => text(&command, "threadId"),
        };
        let first = self.subjects.entry(id.clone()).or_insert_with(|| subject.clone());
        if self.flavour == Flavour::August && *first != subject {
            // Later builds notice that an id was used for something else before.
            return (500, Some(self.failed()));
        }
        if let Some(known) = self.commands.get(&id) {
            return match known.clone() {
                Remembered::Taken(sequence) => (200, Some(json!({ "sequence": sequence }))),
                Remembered::Refused(status, body) => (status, Some(body)),
            };
        }
        // An unusable folder is noticed before the command is remembered.
        if kind == "project.create" && !self.may_make(&command) {
            return (
                400,
                Some(self.error(
                    "EnvironmentRequestInvalidError",
                    "invalid_request",
                    "invalid_command",
                )),
            );
        }
        let refuses = std::mem::take(&mut self.refuse_next);
        if !refuses && self.take_command(&kind, &command, now) {
            self.commands.insert(id, Remembered::Taken(self.sequence));
            return (200, Some(json!({ "sequence": self.sequence })));
        }
        let body = self.failed();
        self.commands.insert(id, Remembered::Refused(500, body.clone()));
        (500, Some(body))
    }

    /// The body of a refusal, whose reason is only in the server's own log.
    fn failed(&mut self) -> Value {
        let reason = "orchestration_dispatch_failed";
        self.error("EnvironmentInternalError", "internal_error", reason)
    }

    /// The body of an error.
    pub(super) fn error(&mut self, tag: &str, code: &str, reason: &str) -> Value {
        let trace = self.fresh().replace('-', "");
        json!({ "_tag": tag, "code": code, "reason": reason, "traceId": trace })
    }

    fn may_make(&self, command: &Value) -> bool {
        let make = command["createWorkspaceRootIfMissing"].as_bool().unwrap_or(false);
        make || self.folder(&text(command, "workspaceRoot")).is_some()
    }

    /// Does what a command says; false if it is refused.
    fn take_command(&mut self, kind: &str, command: &Value, now: At) -> bool {
        // The oldest version believes the date that a command gives.
        let dated = command["createdAt"].as_str().and_then(|text| text.parse().ok());
        let at = match self.flavour {
            Flavour::V27 => dated.unwrap_or(now),
            Flavour::V33 | Flavour::August | Flavour::Two => now,
        };
        if kind == "project.create" {
            return self.create_project(command, at);
        }
        let id = text(command, "threadId");
        let place = self.threads.iter().position(|one| one.id == id);
        if kind == "thread.create" {
            return place.is_none() && self.create_thread(command, at);
        }
        let Some(place) = place else { return false };
        let mut thread = self.threads.remove(place);
        let taken = self.take_thread_command(kind, command, &mut thread, (at, now));
        self.threads.insert(place, thread);
        taken
    }

    fn create_project(&mut self, command: &Value, at: At) -> bool {
        let (id, root) = (text(command, "projectId"), text(command, "workspaceRoot"));
        let known = self.projects.iter().any(|one| one.id == id);
        let second =
            self.flavour != Flavour::V27 && self.projects.iter().any(|one| one.root == root);
        if known || second {
            return false;
        }
        self.folders.entry(root.clone()).or_insert(false);
        self.projects.push(Project { id, title: text(command, "title"), root, created: at });
        self.sequence += 1;
        true
    }

    fn create_thread(&mut self, command: &Value, at: At) -> bool {
        let project = text(command, "projectId");
        if !self.projects.iter().any(|one| one.id == project) {
            return false;
        }
        self.threads.push(Thread::of(command, at));
        self.sequence += 1;
        true
    }

    fn take_thread_command(
        &mut self,
        kind: &str,
        command: &Value,
        thread: &mut Thread,
        (at, now): (At, At),
    ) -> bool {
        // What is in the archive cannot be put there, nor taken out what is not.
        if matches!(
            (kind, thread.archived),
            ("thread.archive", Some(_)) | ("thread.unarchive", None)
        ) {
            return false;
        }
        self.sequence += 1;
        match kind {
            "thread.turn.start" => self.start_turn(command, thread, (at, now)),
            "thread.turn.interrupt" => {
                // Some versions ignore an interrupt that names no turn.
                let passes = self.bad == Some(BadExecutor::InterruptsUnnamed)
                    && command.get("turnId").is_none();
                if let Some(run) = thread.run.as_mut().filter(|_| !passes) {
                    run.interrupted.get_or_insert(now);
                }
                // The state of the turn that it names is rewritten, even if that has ended.
                let named = command["turnId"].as_str();
                if let Some(latest) = &mut thread.latest
                    && named == Some(latest.turn.as_str())
                {
                    latest.state = "interrupted";
                    latest.completed.get_or_insert(at);
                }
            }
            "thread.session.stop" => {
                if let Some(run) = thread.run.take() {
                    self.work_over(&run.turn, now, AgentWorkEnd::Stopped);
                }
                let error = thread.session.take().and_then(|session| session.error);
                let session = Session { status: "stopped", active: None, error, updated: now };
                thread.session = Some(session);
                if self.flavour == Flavour::V27 {
                    thread.latest = None;
                }
                thread.updated = now;
            }
            "thread.approval.respond" | "thread.user-input.respond" => {
                self.respond(command, thread, now);
            }
            "thread.archive" => {
                thread.archived = Some(now);
                thread.updated = now;
            }
            "thread.unarchive" => {
                thread.archived = None;
                thread.updated = now;
            }
            _ => {
                thread.deleted = Some(now);
                thread.updated = now;
            }
        }
        true
    }

    fn start_turn(&mut self, command: &Value, thread: &mut Thread, (at, now): (At, At)) {
        self.sequence += 1;
        self.turns += 1;
        let (id, text) =
            (text(&command["message"], "messageId"), text(&command["message"], "text"));
        let message = id.clone();
        match thread.messages.iter_mut().find(|one| one.id == id) {
            // A used id overwrites the text of its message, and starts a turn all the same.
            Some(known) => {
                known.text.clone_from(&text);
                known.updated = at;
            }
            None => thread.messages.push(Message {
                id,
                user: true,
                text: text.clone(),
                turn: None,
                created: at,
                updated: at,
            }),
        }
        thread.updated = at;
        let turn = self.fresh();
        self.work_accepted(&turn, &message, now);
        thread.run = Some(Run::new(turn, at, now, self.script(&text)));
    }

    fn respond(&mut self, command: &Value, thread: &mut Thread, now: At) {
        let request = text(command, "requestId");
        let open = thread
            .run
            .as_mut()
            .filter(|run| run.told.is_none() && run.request.as_ref() == Some(&request));
        let Some(run) = open else {
            let detail = format!(
                "Stale pending approval request: {request}. Provider callback state does not \
                 survive app restarts or recovered sessions. Restart the turn to continue."
            );
            let payload = json!({ "detail": detail, "requestId": request });
            let (kind, summary) =
                ("provider.approval.respond.failed", "Provider approval response failed");
            self.note(thread, "error", kind, summary, payload, None, now);
            self.wakes(thread, now);
            return;
        };
        run.told = Some(now);
        let turn = Some(run.turn.clone());
        if text(command, "type") == "thread.approval.respond" {
            let payload = json!({
                "requestId": request, "requestKind": "command",
                "requestType": "command_execution_approval", "decision": command["decision"],
            });
            self.note(
                thread,
                "approval",
                "approval.resolved",
                "Approval resolved",
                payload,
                turn,
                now,
            );
        } else {
            let payload = json!({ "requestId": request, "answers": command["answers"] });
            self.note(
                thread,
                "info",
                "user-input.resolved",
                "User input submitted",
                payload,
                turn,
                now,
            );
        }
    }

    /// Shows the session of a thread after an answer to a dead turn has woken it.
    fn wakes(&mut self, thread: &mut Thread, now: At) {
        let woken = Session { status: "ready", active: None, error: None, updated: now };
        let failed = thread.session.as_ref().is_some_and(|session| session.status == "error");
        if self.flavour == Flavour::August && failed {
            (thread.session, thread.updated) = (Some(woken), now);
            return;
        }
        let Some(dead) = thread.orphan.clone() else { return };
        thread.updated = now;
        match self.flavour {
            Flavour::V27 => {
                let active = Some(dead);
                thread.session =
                    Some(Session { status: "ready", active, error: None, updated: now });
            }
            Flavour::V33 | Flavour::August | Flavour::Two => {
                thread.orphan = None;
                if let Some(latest) = &mut thread.latest {
                    latest.state = "completed";
                    latest.completed = Some(now);
                }
                thread.session = Some(woken);
            }
        }
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// Whether a command has the fields that its type needs.
fn is_shaped(command: &Value) -> bool {
    let id = |key: &str| command[key].as_str().is_some_and(|text| !text.trim().is_empty());
    let time = || command["createdAt"].as_str().is_some_and(|text| text.parse::<At>().is_ok());
    let one_of =
        |key: &str, words: &[&str]| command[key].as_str().is_some_and(|w| words.contains(&w));
    // The key must be there, even if its value is null.
    let nullable = |key: &str| command.get(key).is_some_and(|v| v.is_null() || v.is_string());
    let mode = || {
        one_of("runtimeMode", &["full-access", "approval-required", "auto-accept-edits"])
            && one_of("interactionMode", &["default", "plan"])
    };
    let Some(kind) = command["type"].as_str() else { return false };
    id("commandId")
        && match kind {
            "project.create" => id("projectId") && id("title") && id("workspaceRoot") && time(),
            "thread.create" => {
                let model = &command["modelSelection"];
                id("threadId")
                    && id("projectId")
                    && id("title")
                    && model["instanceId"].is_string()
                    && model["model"].is_string()
                    && mode()
                    && nullable("branch")
                    && nullable("worktreePath")
                    && time()
            }
            "thread.turn.start" => {
                let message = &command["message"];
                id("threadId")
                    && message["messageId"].as_str().is_some_and(|id| !id.is_empty())
                    && message["role"] == "user"
                    && message["text"].is_string()
                    && message["attachments"].is_array()
                    && mode()
                    && time()
            }
            "thread.turn.interrupt" => {
                let turn = command.get("turnId");
                id("threadId") && turn.is_none_or(Value::is_string) && time()
            }
            "thread.session.stop" => id("threadId") && time(),
            "thread.archive" | "thread.unarchive" | "thread.delete" => id("threadId"),
            "thread.approval.respond" => {
                id("threadId")
                    && id("requestId")
                    && one_of("decision", &["accept", "acceptForSession", "decline", "cancel"])
                    && time()
            }
            "thread.user-input.respond" => {
                id("threadId") && id("requestId") && command["answers"].is_object() && time()
            }
            _ => false,
        }
}
