//! The dialogue with `codex app-server` over one turn.
//!
//! `initialize`, then a thread is resumed by its id or started, then one turn. Codex waits for an
//! answer to each of its own requests: approvals are answered by policy or by a person, and what
//! this side cannot do is refused at once. Messages are read leniently: unknown items and
//! notifications are ignored. Codex leaves out the member `jsonrpc`, and so do we.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::errors;
use crate::agents::ask::{Access, AgentQuestion, QUESTION, Reply};
use crate::agents::event::{AgentEvent, TokenUsage, TurnEnd, TurnUsage, summarise};
use crate::agents::outcome::FailReason;
use crate::agents::relay::codec::{Codec, NO_ANSWER, Progress, Step};
use crate::agents::relay::wire::{ConversationState, RelayRequest};

/// The ids of our requests.
const INITIALIZE: u64 = 1;
const RESUME: u64 = 2;
const START: u64 = 3;
const TURN: u64 = 4;
const INTERRUPT: u64 = 5;

/// The codec's state over one turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CodexServer {
    thread: String,
    /// The turn's id, once Codex has told it.
    turn: Option<String>,
    /// Whether `turn/start` was sent.
    #[serde(default)]
    begun: bool,
    model: String,
    version: String,
    /// What the thread had used when the turn began, once that is known.
    before: Option<TokenUsage>,
    /// Whether the agent has said anything in this turn.
    answered: bool,
    retries: u32,
    /// When the last of the account's exhausted usage windows resets.
    resets_at: Option<Timestamp>,
    pending: Vec<Pending>,
    /// Tools that an answer refused.
    denied: Vec<String>,
}

/// A request of Codex that waits for an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pending {
    /// The id of the [`AgentQuestion`] that was made of it.
    ask: String,
    /// The id of Codex's request, which the answer repeats.
    id: Value,
    kind: Kind,
    /// The permissions that are asked for ([`Kind::Permissions`]).
    permissions: Value,
}

/// What a request of Codex is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Whether to run a command or change files.
    Approval,
    /// The same, in the protocol of older versions.
    OldApproval,
    /// More permissions than the session has.
    Permissions,
    /// Questions to a person.
    Question,
    /// A form of an MCP server.
    Elicitation,
}

impl Codec for CodexServer {
    fn begin(&mut self, _: &RelayRequest, _: &mut Progress, step: &mut Step) {
        let info = json!({"name": "afk", "title": "afk", "version": env!("CARGO_PKG_VERSION")});
        step.send.push(request(INITIALIZE, "initialize", &json!({"clientInfo": info})));
    }

    fn message(
        &mut self,
        asked: &RelayRequest,
        message: &Value,
        progress: &mut Progress,
        step: &mut Step,
    ) {
        let method = message.get("method").and_then(Value::as_str);
        let params = message.get("params").unwrap_or(&Value::Null);
        match (method, message.get("id")) {
            (Some(method), Some(id)) => {
                self.requested(asked.access, method, id, params, progress, step);
            }
            (Some(method), None) => self.notified(method, params, progress, step),
            (None, Some(id)) => self.responded(asked, id.as_u64(), message, progress, step),
            (None, None) => {}
        }
    }

    fn answer(&mut self, ask: &AgentQuestion, reply: &Reply, step: &mut Step) {
        let Some(at) = self.pending.iter().position(|pending| pending.ask == ask.id) else {
            return;
        };
        let pending = self.pending.remove(at);
        if pending.kind != Kind::Question && *reply != Reply::Allow {
            self.denied.push(ask.tool.clone());
        }
        step.send.push(pending.reply(&ask.input, reply));
        // A refusal has no room for words in this protocol, so they are added to the turn's input.
        let words = match reply {
            Reply::Deny(words) | Reply::Say(words) if pending.kind != Kind::Question => words,
            Reply::Allow | Reply::Deny(_) | Reply::Say(_) => return,
        };
        if let Some(turn) = &self.turn {
            let params = json!({
                "threadId": self.thread,
                "expectedTurnId": turn,
                "input": [{"type": "text", "text": words}],
            });
            // Nothing reads the response, so all of these requests may share one id.
            step.send.push(request(INTERRUPT + 1, "turn/steer", &params));
        }
    }

    fn cancel(&mut self, progress: &mut Progress, step: &mut Step) {
        for pending in std::mem::take(&mut self.pending) {
            step.send.push(pending.cancelled());
        }
        match &self.turn {
            Some(turn) => {
                let params = json!({"threadId": self.thread, "turnId": turn});
                step.send.push(request(INTERRUPT, "turn/interrupt", &params));
            }
            // The turn's id is not known yet; `notified` interrupts it as soon as it is.
            None if self.begun => {}
            // No turn was started that could be interrupted.
            None => progress.over = true,
        }
    }
}

impl CodexServer {
    fn responded(
        &mut self,
        asked: &RelayRequest,
        id: Option<u64>,
        message: &Value,
        progress: &mut Progress,
        step: &mut Step,
    ) {
        if progress.over || progress.cancelled {
            return;
        }
        let error = message.get("error");
        match (id, error) {
            (Some(INITIALIZE), None) => {
                step.send.push(json!({"method": "initialized"}));
                match &asked.earlier {
                    Some(earlier) => {
                        self.before = Some(earlier.tokens);
                        let mut params = thread_params(asked);
                        params["threadId"] = json!(earlier.id);
                        // Leaves out the thread's history, which can be very long.
                        params["excludeTurns"] = json!(true);
                        step.send.push(request(RESUME, "thread/resume", &params));
                    }
                    None => step.send.push(request(START, "thread/start", &thread_params(asked))),
                }
            }
            // Whatever keeps the thread from being resumed would do so next time, too: a new one.
            (Some(RESUME), Some(_)) => {
                progress.unknown = true;
                self.before = None;
                step.send.push(request(START, "thread/start", &thread_params(asked)));
            }
            (Some(RESUME | START), None) => {
                self.opened(asked, id == Some(RESUME), message, progress, step);
            }
            (Some(TURN), None) => {
                let turn = message.pointer("/result/turn/id").and_then(Value::as_str);
                self.turn = turn.map(str::to_owned);
                progress.started = true;
            }
            (Some(INITIALIZE | START), Some(error)) => {
                progress.fail(FailReason::StartFailed, &error_text(error), step);
            }
            (Some(TURN), Some(error)) => {
                let text = error_text(error);
                progress.fail(errors::of_text(&text), &text, step);
            }
            (Some(_) | None, _) => {}
        }
    }

    /// Begins the turn, once the thread is open.
    fn opened(
        &mut self,
        asked: &RelayRequest,
        resumed: bool,
        message: &Value,
        progress: &mut Progress,
        step: &mut Step,
    ) {
        let text = |path: &str| {
            message.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        self.thread = text("/result/thread/id");
        if self.thread.is_empty() {
            progress.fail(FailReason::StartFailed, "Codex opened a thread without an id", step);
            return;
        }
        self.model = text("/result/model");
        self.version = text("/result/thread/cliVersion");
        let earlier = asked.earlier.clone().filter(|_| resumed);
        progress.conversation =
            Some(ConversationState { id: self.thread.clone(), ..earlier.unwrap_or_default() });
        step.events.push(AgentEvent::Started {
            session: self.thread.clone(),
            model: self.model.clone(),
            version: self.version.clone(),
        });
        let input = json!([{"type": "text", "text": asked.prompt_for(resumed)}]);
        let params = json!({"threadId": self.thread, "input": input});
        step.send.push(request(TURN, "turn/start", &params));
        self.begun = true;
    }

    fn notified(&mut self, method: &str, params: &Value, progress: &mut Progress, step: &mut Step) {
        let turn = params.get("turnId").or_else(|| params.pointer("/turn/id"));
        let turn = turn.and_then(Value::as_str);
        if method == "turn/started" && self.turn.is_none() && progress.conversation.is_some() {
            self.turn = turn.map(str::to_owned);
            progress.started = true;
            if progress.cancelled {
                self.cancel(progress, step);
            }
            return;
        }
        if method == "account/rateLimits/updated" {
            self.resets_at = exhausted_until(params).or(self.resets_at);
            return;
        }
        // Not of this turn: a resumed thread reports its earlier usage under an earlier turn's id,
        // and subagents have threads of their own.
        if turn.is_none() || turn != self.turn.as_deref() {
            return;
        }
        match method {
            "item/started" => item(params, false, self, progress, step),
            "item/completed" => item(params, true, self, progress, step),
            "thread/tokenUsage/updated" => self.used(params, progress, step),
            "error" if params.get("willRetry") == Some(&Value::Bool(true)) => {
                self.retries += 1;
                step.events.push(AgentEvent::Retrying {
                    attempt: self.retries,
                    max: self.retries,
                    delay_ms: 0,
                    status: None,
                });
            }
            "turn/completed" => self.completed(params, progress, step),
            _ => {}
        }
    }

    fn used(&mut self, params: &Value, progress: &mut Progress, step: &mut Step) {
        let Some(usage) = params.get("tokenUsage") else { return };
        let (total, last) = (tokens(usage.get("total")), tokens(usage.get("last")));
        let before = *self.before.get_or_insert_with(|| total.minus(last));
        if let Some(conversation) = &mut progress.conversation {
            conversation.tokens = total;
        }
        progress.count(total.minus(before), step);
    }

    fn completed(&mut self, params: &Value, progress: &mut Progress, step: &mut Step) {
        let Some(turn) = params.get("turn") else { return };
        let status = turn.get("status").and_then(Value::as_str).unwrap_or_default();
        let error = turn.get("error").filter(|error| !error.is_null());
        if let Some(error) = error {
            let text = error_text(error);
            let info = error.get("codexErrorInfo").unwrap_or(&Value::Null);
            let reason = errors::of_info(info, self.resets_at);
            progress.fail(reason.unwrap_or_else(|| errors::of_text(&text)), &text, step);
            return;
        }
        match status {
            "completed" if self.answered => {
                let usage = TurnUsage {
                    tokens: progress.tokens,
                    num_turns: 1,
                    duration_ms: turn.get("durationMs").and_then(Value::as_u64).unwrap_or(0),
                    ..TurnUsage::default()
                };
                let end = TurnEnd {
                    kind: "completed".to_owned(),
                    text: Some(progress.text.clone()),
                    denied_tools: self.denied.clone(),
                    usage,
                    ..TurnEnd::default()
                };
                progress.finish(end, None, step);
            }
            "completed" => progress.fail(FailReason::NoResult, NO_ANSWER, step),
            "interrupted" => progress.fail(FailReason::Aborted, "the turn was interrupted", step),
            _ => progress.fail(FailReason::AgentError, "the turn failed", step),
        }
    }

    /// Handles a request of Codex, which waits for the answer.
    fn requested(
        &mut self,
        access: Access,
        method: &str,
        id: &Value,
        params: &Value,
        progress: &mut Progress,
        step: &mut Step,
    ) {
        let kind = match method {
            "item/commandExecution/requestApproval" | "item/fileChange/requestApproval" => {
                Kind::Approval
            }
            "execCommandApproval" | "applyPatchApproval" => Kind::OldApproval,
            "item/permissions/requestApproval" => Kind::Permissions,
            "item/tool/requestUserInput" => Kind::Question,
            "mcpServer/elicitation/request" => Kind::Elicitation,
            // Such as to refresh a sign-in, or to call a tool of the client: we do neither.
            _ => {
                let error =
                    json!({"code": -32601, "message": format!("{method} is not supported")});
                step.send.push(json!({"id": id, "error": error}));
                return;
            }
        };
        let pending = Pending {
            ask: format!("codex-{id}"),
            id: id.clone(),
            kind,
            permissions: params.get("permissions").cloned().unwrap_or_else(|| json!({})),
        };
        let ask = AgentQuestion {
            id: pending.ask.clone(),
            tool: if kind == Kind::Question { QUESTION } else { tool_of(method) }.to_owned(),
            call: params.get("itemId").and_then(Value::as_str).unwrap_or_default().to_owned(),
            input: input_of(kind, params),
        };
        let by_policy = match (kind, access) {
            (Kind::Elicitation, _) => Some(Reply::Deny(String::new())),
            (Kind::Question, _) => None,
            (Kind::Approval | Kind::OldApproval | Kind::Permissions, Access::Full) => {
                Some(Reply::Allow)
            }
            (Kind::Approval | Kind::OldApproval | Kind::Permissions, Access::Ask) => None,
        };
        let reply = match by_policy {
            Some(reply) => reply,
            None if progress.cancelled || progress.over => {
                step.send.push(pending.cancelled());
                return;
            }
            None if progress.ask(ask.clone()) => {
                self.pending.push(pending);
                return;
            }
            None => Reply::Deny("too many questions are open".to_owned()),
        };
        step.send.push(pending.reply(&ask.input, &reply));
    }
}

impl Pending {
    /// The response that passes on an answer.
    fn reply(&self, input: &Value, reply: &Reply) -> Value {
        let allowed = *reply == Reply::Allow;
        let result = match self.kind {
            Kind::Approval => json!({"decision": if allowed { "accept" } else { "decline" }}),
            Kind::OldApproval => json!({"decision": if allowed { "approved" } else { "denied" }}),
            Kind::Permissions if allowed => json!({"permissions": self.permissions}),
            Kind::Permissions => json!({"permissions": {}}),
            Kind::Elicitation => json!({"action": "decline"}),
            Kind::Question => {
                let words = match reply {
                    Reply::Allow => "Decide it yourself.",
                    Reply::Deny(words) | Reply::Say(words) => words,
                };
                let asked = input.get("questions").and_then(Value::as_array).into_iter().flatten();
                let answers = asked.filter_map(|question| {
                    let id = question.get("id")?.as_str()?.to_owned();
                    Some((id, json!({"answers": [words]})))
                });
                json!({"answers": answers.collect::<serde_json::Map<_, _>>()})
            }
        };
        json!({"id": self.id, "result": result})
    }

    /// The response when the turn is being cancelled.
    fn cancelled(&self) -> Value {
        let result = match self.kind {
            Kind::Approval => json!({"decision": "cancel"}),
            Kind::OldApproval => json!({"decision": "abort"}),
            Kind::Permissions => json!({"permissions": {}}),
            Kind::Elicitation => json!({"action": "cancel"}),
            Kind::Question => json!({"answers": {}}),
        };
        json!({"id": self.id, "result": result})
    }
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({"id": id, "method": method, "params": params})
}

/// The parameters to start or resume a thread. Codex's own sandbox is off, because it cannot start
/// inside ours.
fn thread_params(asked: &RelayRequest) -> Value {
    let policy = match asked.access {
        Access::Full => "never",
        Access::Ask => "untrusted",
    };
    let mut params = json!({
        "cwd": asked.cwd,
        "approvalPolicy": policy,
        "sandbox": "danger-full-access",
    });
    if let Some(model) = &asked.model {
        params["model"] = json!(model);
    }
    params
}

fn error_text(error: &Value) -> String {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    match (text("message"), text("additionalDetails")) {
        (message, "") => message.to_owned(),
        (message, details) => format!("{message}: {details}"),
    }
}

fn tool_of(method: &str) -> &'static str {
    match method {
        "item/commandExecution/requestApproval" | "execCommandApproval" => "command",
        "item/fileChange/requestApproval" | "applyPatchApproval" => "edit",
        _ => "permissions",
    }
}

/// The part of a request that a person sees.
fn input_of(kind: Kind, params: &Value) -> Value {
    let of = |name: &str| params.get(name).filter(|value| !value.is_null());
    match kind {
        Kind::Question => json!({"questions": of("questions")}),
        Kind::Approval | Kind::OldApproval | Kind::Permissions | Kind::Elicitation => {
            let names = ["command", "cwd", "reason", "grantRoot", "fileChanges", "permissions"];
            let shown =
                names.iter().filter_map(|name| Some(((*name).to_owned(), of(name)?.clone())));
            Value::Object(shown.collect())
        }
    }
}

/// Handles an item of the turn that began, or is `complete`.
fn item(
    params: &Value,
    complete: bool,
    codec: &mut CodexServer,
    progress: &mut Progress,
    step: &mut Step,
) {
    let Some(item) = params.get("item") else { return };
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    let (id, kind) = (text("id"), text("type"));
    match kind {
        "agentMessage" if complete && !text("text").trim().is_empty() => {
            codec.answered = true;
            progress.say(text("text"), step);
        }
        "agentMessage" | "userMessage" | "hookPrompt" | "plan" | "reasoning" | "" => {}
        _ => {
            let (name, about) = match kind {
                "commandExecution" => ("command", text("command").to_owned()),
                "fileChange" => ("edit", paths(item)),
                "mcpToolCall" | "dynamicToolCall" => (text("tool"), String::new()),
                "webSearch" => ("search", text("query").to_owned()),
                other => (other, String::new()),
            };
            progress.tool_started(id, name, summarise(&about), step);
            if complete {
                let status = text("status");
                let code = item.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
                if status == "declined" {
                    step.events.push(AgentEvent::PermissionDenied { tool: name.to_owned() });
                }
                let failed = matches!(status, "failed" | "declined") || code != 0;
                progress.tool_ended(id, failed, step);
            }
        }
    }
}

/// The paths that a file change touches, separated by blanks.
pub(super) fn paths(item: &Value) -> String {
    let changes = item.get("changes").and_then(Value::as_array).into_iter().flatten();
    let paths: Vec<&str> = changes.filter_map(|change| change.get("path")?.as_str()).collect();
    paths.join(" ")
}

/// Converts to our kinds of tokens, where cached input does not count as input, too.
fn tokens(usage: Option<&Value>) -> TokenUsage {
    let number =
        |name: &str| usage.and_then(|usage| usage.get(name)).and_then(Value::as_u64).unwrap_or(0);
    let (read, write) = (number("cachedInputTokens"), number("cacheWriteInputTokens"));
    TokenUsage {
        input: number("inputTokens").saturating_sub(read).saturating_sub(write),
        output: number("outputTokens"),
        cache_read: read,
        cache_write: write,
    }
}

/// When the last of an account's exhausted usage windows resets; `None` if none is exhausted.
fn exhausted_until(params: &Value) -> Option<Timestamp> {
    let limits = params.get("rateLimits")?;
    let resets = ["primary", "secondary"].iter().filter_map(|name| {
        let window = limits.get(name)?;
        let used = window.get("usedPercent")?.as_i64()?;
        let at = window.get("resetsAt")?.as_i64()?;
        (used >= 100).then(|| Timestamp::from_second(at).ok())?
    });
    resets.max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::relay::wire::{Protocol, RelayEntry};
    use crate::agents::relay::{Dialogue, codec::Step};

    fn asked(access: Access, earlier: Option<ConversationState>) -> RelayRequest {
        RelayRequest {
            protocol: Protocol::CodexServer,
            argv: Vec::new(),
            cwd: "/clone".into(),
            earlier,
            prompt: "go on".into(),
            opening_prompt: "all of it".into(),
            access,
            model: None,
            mode: None,
            auth_method: None,
            start_ms: 1,
            grace_ms: 1,
        }
    }

    fn hear(dialogue: &mut Dialogue, message: Value) -> Step {
        dialogue.take(&RelayEntry::Agent(message))
    }

    /// A dialogue whose turn has begun.
    fn begun(access: Access) -> Dialogue {
        let (mut dialogue, step) = Dialogue::begin(asked(access, None));
        assert_eq!(step.send[0]["method"], "initialize");
        let step = hear(&mut dialogue, json!({"id": INITIALIZE, "result": {}}));
        let methods: Vec<&str> =
            step.send.iter().map(|sent| sent["method"].as_str().unwrap()).collect();
        assert_eq!(methods, ["initialized", "thread/start"]);
        let thread = json!({"thread": {"id": "t-1", "cliVersion": "0.1"}, "model": "m"});
        let step = hear(&mut dialogue, json!({"id": START, "result": thread}));
        assert_eq!(step.send[0]["params"]["input"][0]["text"], "all of it");
        let turn = json!({"turn": {"id": "u-1"}});
        hear(&mut dialogue, json!({"id": TURN, "result": turn}));
        assert!(dialogue.progress().started());
        dialogue
    }

    fn completed(error: &Value, status: &str) -> Value {
        json!({"method": "turn/completed", "params": {"threadId": "t-1",
            "turn": {"id": "u-1", "status": status, "error": error}}})
    }

    fn says(text: &str) -> Value {
        json!({"method": "item/completed", "params": {"turnId": "u-1", "item":
            {"type": "agentMessage", "id": "i-1", "text": text}}})
    }

    /// Among them one that other products get wrong: a usage limit that does not say when it
    /// resets.
    #[test]
    fn ends() {
        fn check(messages: &[Value], expected: Option<&FailReason>) {
            let mut dialogue = begun(Access::Full);
            for message in messages {
                hear(&mut dialogue, message.clone());
            }
            assert!(dialogue.progress().over(), "{messages:?}");
            assert_eq!(dialogue.progress().failure(), expected, "{messages:?}");
            assert_eq!(dialogue.progress().end().unwrap().is_error, expected.is_some());
        }
        let error = |info: &str| json!({"message": "x", "codexErrorInfo": info});
        let limits = |used: u32| {
            json!({"method": "account/rateLimits/updated", "params": {"rateLimits":
                {"primary": {"usedPercent": used, "resetsAt": 4_000_000_000_u64}}}})
        };
        let limited = completed(&error("usageLimitExceeded"), "failed");
        let limit = |resets_at| FailReason::UsageLimit { resets_at };
        check(&[says("done"), completed(&Value::Null, "completed")], None);
        check(&[completed(&Value::Null, "completed")], Some(&FailReason::NoResult));
        check(&[says(" "), completed(&Value::Null, "completed")], Some(&FailReason::NoResult));
        check(&[completed(&Value::Null, "interrupted")], Some(&FailReason::Aborted));
        check(std::slice::from_ref(&limited), Some(&limit(None)));
        let at = Timestamp::from_second(4_000_000_000).ok();
        check(&[limits(100), limited.clone()], Some(&limit(at)));
        // A window that is not used up does not say when the limit resets.
        check(&[limits(60), limited], Some(&limit(None)));
        let status = Some(401);
        let api = FailReason::ApiError { status };
        check(&[says("x"), completed(&error("unauthorized"), "failed")], Some(&api));
        check(&[completed(&error("new"), "failed")], Some(&FailReason::AgentError));
    }

    #[test]
    fn every_request_of_codex_is_answered() {
        fn check(method: &str, params: &Value, access: Access, expected: Option<&Value>) {
            let mut dialogue = begun(access);
            let request = json!({"id": 0, "method": method, "params": params});
            let step = hear(&mut dialogue, request);
            match expected {
                Some(expected) => {
                    assert_eq!(&step.send[0]["result"], expected, "{method}");
                    assert_eq!(step.send[0]["id"], 0);
                }
                None => assert_eq!(dialogue.progress().asks().len(), 1, "{method}"),
            }
        }
        let none = json!({});
        let (command, edit) =
            ("item/commandExecution/requestApproval", "item/fileChange/requestApproval");
        check(command, &none, Access::Full, Some(&json!({"decision": "accept"})));
        check(edit, &none, Access::Full, Some(&json!({"decision": "accept"})));
        check("execCommandApproval", &none, Access::Full, Some(&json!({"decision": "approved"})));
        let wanted = json!({"permissions": {"network": {"enabled": true}}});
        check("item/permissions/requestApproval", &wanted, Access::Full, Some(&wanted));
        check(
            "mcpServer/elicitation/request",
            &none,
            Access::Ask,
            Some(&json!({"action": "decline"})),
        );
        check(command, &none, Access::Ask, None);
        check("item/tool/requestUserInput", &none, Access::Full, None);
        let mut dialogue = begun(Access::Full);
        for method in ["account/chatgptAuthTokens/refresh", "item/tool/call", "of/a/later/version"]
        {
            let step = hear(&mut dialogue, json!({"id": "s", "method": method, "params": {}}));
            assert_eq!(step.send[0]["error"]["code"], -32601, "{method}");
        }
    }

    #[test]
    fn a_question_is_answered_by_its_own_id() {
        let mut dialogue = begun(Access::Full);
        let question = json!({"id": "q", "header": "h", "question": "Which?",
            "options": [{"label": "one", "description": ""}]});
        let params = json!({"questions": [question]});
        let method = "item/tool/requestUserInput";
        hear(&mut dialogue, json!({"id": 3, "method": method, "params": params}));
        let ask = dialogue.progress().asks()[0].clone();
        assert_eq!(ask.question().as_deref(), Some("Which? (one)"));
        let answer = RelayEntry::Answer { id: ask.id, reply: Reply::Say("one".into()) };
        let step = dialogue.take(&answer);
        let expected = json!({"id": 3, "result": {"answers": {"q": {"answers": ["one"]}}}});
        assert_eq!(step.send, [expected]);
        // A second answer to the same question is ignored.
        assert_eq!(dialogue.take(&answer), Step::default());
    }

    #[test]
    fn what_an_earlier_turn_used_is_not_this_turn_s() {
        let earlier = ConversationState {
            id: "t-1".into(),
            tokens: TokenUsage { input: 60, output: 20, cache_read: 40, cache_write: 0 },
            cost_usd: 0.0,
        };
        let (mut dialogue, _) = Dialogue::begin(asked(Access::Full, Some(earlier)));
        let step = hear(&mut dialogue, json!({"id": INITIALIZE, "result": {}}));
        assert_eq!(step.send[1]["method"], "thread/resume");
        let step = hear(&mut dialogue, json!({"id": RESUME, "result": {"thread": {"id": "t-1"}}}));
        assert_eq!(step.send[0]["params"]["input"][0]["text"], "go on");
        hear(&mut dialogue, json!({"id": TURN, "result": {"turn": {"id": "u-2"}}}));
        let usage = |turn: &str, input: u64, output: u64| {
            let total =
                json!({"inputTokens": input, "cachedInputTokens": 0, "outputTokens": output});
            json!({"method": "thread/tokenUsage/updated", "params": {"turnId": turn,
                "tokenUsage": {"total": total, "last": total}}})
        };
        hear(&mut dialogue, usage("u-1", 60, 20));
        assert!(dialogue.progress().tokens().is_zero());
        hear(&mut dialogue, usage("u-2", 90, 25));
        let own = TokenUsage { input: 30, output: 5, ..TokenUsage::default() };
        assert_eq!(dialogue.progress().tokens(), own);
    }

    #[test]
    fn a_cancel_answers_what_is_open_and_interrupts_the_turn() {
        let mut dialogue = begun(Access::Ask);
        let method = "item/commandExecution/requestApproval";
        hear(&mut dialogue, json!({"id": 9, "method": method, "params": {}}));
        let step = dialogue.take(&RelayEntry::Cancel {});
        assert_eq!(step.send[0], json!({"id": 9, "result": {"decision": "cancel"}}));
        assert_eq!(step.send[1]["method"], "turn/interrupt");
        assert!(dialogue.progress().asks().is_empty());
        let (mut early, _) = Dialogue::begin(asked(Access::Full, None));
        assert_eq!(early.take(&RelayEntry::Cancel {}), Step::default());
        assert!(early.progress().over());
    }
}
