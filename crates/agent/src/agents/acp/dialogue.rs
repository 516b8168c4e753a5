//! The client's side of one turn of the Agent Client Protocol.
//!
//! `initialize`; then the session is resumed or loaded if the agent can do that, otherwise a new
//! one is made; then mode and model are set, and the prompt is sent. No client capabilities are
//! declared: the agent works with its own tools, in our sandbox. Requests for permission are
//! answered by the kind of the options that they offer. What is sent follows the protocol strictly;
//! what comes is read leniently, since agents add kinds of updates of their own.
//!
//! `end_turn` is no success by itself: a turn that says nothing, or names a failure, has failed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::failure::{self, AUTH_REQUIRED};
use crate::agents::ask::{Access, AgentQuestion, Reply};
use crate::agents::claude::text::guard_start;
use crate::agents::event::{
    AgentEvent, ModelUsage, TokenUsage, TurnEnd, TurnUsage, bounded_line, summarise,
};
use crate::agents::outcome::FailReason;
use crate::agents::relay::codec::{Codec, NO_ANSWER, Progress, Step};
use crate::agents::relay::wire::{ConversationState, RelayRequest};

/// The version of the protocol that is spoken.
const VERSION: u64 = 1;
/// The ids of our requests.
const INITIALIZE: u64 = 1;
const AUTHENTICATE: u64 = 2;
const RESUME: u64 = 3;
const NEW: u64 = 4;
const SET_UP: u64 = 5;
const PROMPT: u64 = 6;
/// Modes in which an agent asks for nothing, in the words of different agents.
const FULL_ACCESS: [&str; 4] = ["bypassPermissions", "agent-full-access", "full-access", "yolo"];
/// Modes in which an agent asks for everything.
const ASKING: [&str; 2] = ["default", "read-only"];
/// How much of an incomplete message is kept, in bytes; a longer one is passed on in parts.
const MESSAGE: usize = 1 << 20;

/// The codec's state over one turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Acp {
    resumes: bool,
    /// Whether the agent can load a session, which replays its history.
    loads: bool,
    version: String,
    /// The id of the request that was sent to open the session: [`RESUME`] or [`NEW`].
    opening: Option<u64>,
    /// Whether a sign-in was tried.
    authenticated: bool,
    /// What is still to be set before the prompt, in order.
    set_up: Vec<Setting>,
    prompted: bool,
    resumed: bool,
    model: String,
    message: Message,
    /// Whether the agent has said anything in this turn.
    answered: bool,
    /// A call that began and has not told yet what it does.
    held: Option<AnnouncedCall>,
    /// Cost of the session before this turn, in US dollars.
    cost_before: f64,
    /// Cost of the session including this turn, in US dollars, once the agent has reported it.
    cost: Option<f64>,
    resets_at: Option<Timestamp>,
    pending: Vec<Pending>,
    /// Tools that an answer refused.
    denied: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Setting {
    method: String,
    params: Value,
    /// Whether the turn fails if the agent refuses it, as for all that the configuration names.
    required: bool,
}

/// A message that comes in chunks, as far as it has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Message {
    id: String,
    text: String,
}

/// A call whose details come in a later update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct AnnouncedCall {
    id: String,
    name: String,
    title: String,
}

/// A request for a permission that waits for an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pending {
    ask: String,
    id: Value,
    /// The id of the option that allows once, or else for good.
    allow: Option<String>,
    /// The id of the option that refuses once, or else for good.
    reject: Option<String>,
}

impl Codec for Acp {
    fn begin(&mut self, _: &RelayRequest, _: &mut Progress, step: &mut Step) {
        let air = json!({"version": 1, "capabilities": ["sessionFailure"]});
        let params = json!({
            "protocolVersion": VERSION,
            "clientCapabilities": {
                "fs": {"readTextFile": false, "writeTextFile": false},
                "terminal": false,
                // Without this extension some agents report failures as text of the model.
                "_meta": {"jetbrains": {"air": air}},
            },
            "clientInfo": {"name": "afk", "title": "afk", "version": env!("CARGO_PKG_VERSION")},
        });
        step.send.push(request(INITIALIZE, "initialize", &params));
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
            (Some("session/request_permission"), Some(id)) => {
                self.permission(asked.access, id, params, progress, step);
            }
            (Some(method), Some(id)) => {
                let error =
                    json!({"code": -32601, "message": format!("{method} is not supported")});
                step.send.push(json!({"jsonrpc": "2.0", "id": id, "error": error}));
            }
            (Some("session/update"), None) => self.update(params, progress, step),
            (Some(_) | None, None) => {}
            (None, Some(id)) => self.responded(asked, id.as_u64(), message, progress, step),
        }
    }

    fn answer(&mut self, ask: &AgentQuestion, reply: &Reply, step: &mut Step) {
        let Some(at) = self.pending.iter().position(|pending| pending.ask == ask.id) else {
            return;
        };
        let pending = self.pending.remove(at);
        if *reply != Reply::Allow {
            self.denied.push(ask.tool.clone());
            step.events.push(AgentEvent::PermissionDenied { tool: ask.tool.clone() });
        }
        step.send.push(pending.reply(*reply == Reply::Allow));
    }

    fn cancel(&mut self, progress: &mut Progress, step: &mut Step) {
        let session = progress.conversation.as_ref().map(|known| known.id.clone());
        for pending in std::mem::take(&mut self.pending) {
            step.send.push(pending.cancelled());
        }
        match session {
            Some(session) if self.prompted => step.send.push(json!({
                "jsonrpc": "2.0",
                "method": "session/cancel",
                "params": {"sessionId": session},
            })),
            // No prompt was sent that could be cancelled.
            Some(_) | None => progress.over = true,
        }
    }
}

impl Acp {
    fn responded(
        &mut self,
        asked: &RelayRequest,
        id: Option<u64>,
        message: &Value,
        progress: &mut Progress,
        step: &mut Step,
    ) {
        let error = message.get("error").filter(|error| !error.is_null());
        let result = message.get("result").unwrap_or(&Value::Null);
        if progress.over || (progress.cancelled && id != Some(PROMPT)) {
            return;
        }
        match (id, error) {
            (Some(INITIALIZE), None) => self.initialized(asked, result, progress, step),
            (Some(AUTHENTICATE), None) => self.open(asked, self.opening == Some(RESUME), step),
            (Some(RESUME | NEW), Some(error)) if self.may_sign_in(asked, error) => {
                self.authenticated = true;
                let params = json!({"methodId": asked.auth_method});
                step.send.push(request(AUTHENTICATE, "authenticate", &params));
            }
            // Whatever keeps the session from being resumed would do so next time, too: a new one.
            (Some(RESUME), Some(error)) if code(error) != AUTH_REQUIRED => {
                progress.unknown = true;
                self.open(asked, false, step);
            }
            (Some(RESUME | NEW), None) => {
                self.opened(asked, id == Some(RESUME), result, progress, step);
            }
            (Some(SET_UP), Some(error)) if self.set_up.first().is_some_and(|one| one.required) => {
                let (_, said) = failure::of_error(error);
                let what = format!("{} was refused: {said}", self.set_up[0].method);
                progress.fail(FailReason::AgentError, &what, step);
            }
            (Some(SET_UP), _) => {
                if !self.set_up.is_empty() {
                    self.set_up.remove(0);
                }
                self.go_on(asked, progress, step);
            }
            (Some(PROMPT), None) => self.completed(result, progress, step),
            (Some(PROMPT), Some(error)) => {
                self.end_message(progress, step);
                let (reason, said) = failure::of_error(error);
                let typed = failure::typed(error.pointer("/data/_meta"), self.resets_at);
                let (reason, said) = typed.unwrap_or((reason, said));
                progress.fail(reason, &said, step);
            }
            (Some(INITIALIZE | AUTHENTICATE | RESUME | NEW), Some(error)) => {
                let (reason, said) = failure::of_error(error);
                let reason = match reason {
                    FailReason::AgentError => FailReason::StartFailed,
                    other => other,
                };
                progress.fail(reason, &said, step);
            }
            (Some(_) | None, _) => {}
        }
    }

    fn initialized(
        &mut self,
        asked: &RelayRequest,
        result: &Value,
        progress: &mut Progress,
        step: &mut Step,
    ) {
        let version = result.get("protocolVersion").and_then(Value::as_u64);
        if version != Some(VERSION) {
            let said = match version {
                Some(version) => {
                    format!("the agent speaks version {version} of the protocol, not 1")
                }
                None => "the agent does not say which version of the protocol it speaks".to_owned(),
            };
            progress.fail(FailReason::StartFailed, &said, step);
            return;
        }
        let resume = result.pointer("/agentCapabilities/sessionCapabilities/resume");
        self.resumes = resume.is_some_and(|can| !can.is_null());
        self.loads = result.pointer("/agentCapabilities/loadSession") == Some(&Value::Bool(true));
        let named = result.pointer("/agentInfo/version").and_then(Value::as_str);
        self.version = bounded_line(named.unwrap_or_default(), 100);
        let goes_on = asked.earlier.is_some() && (self.resumes || self.loads);
        self.open(asked, goes_on, step);
    }

    fn may_sign_in(&self, asked: &RelayRequest, error: &Value) -> bool {
        code(error) == AUTH_REQUIRED && asked.auth_method.is_some() && !self.authenticated
    }

    /// Asks the agent to resume the earlier session if `goes_on`, otherwise to make a new one.
    fn open(&mut self, asked: &RelayRequest, goes_on: bool, step: &mut Step) {
        let mut params = json!({"cwd": asked.cwd, "mcpServers": []});
        let earlier = asked.earlier.as_ref().filter(|_| goes_on);
        let (id, method) = match earlier {
            Some(earlier) => {
                params["sessionId"] = json!(earlier.id);
                (RESUME, if self.resumes { "session/resume" } else { "session/load" })
            }
            None => (NEW, "session/new"),
        };
        self.opening = Some(id);
        step.send.push(request(id, method, &params));
    }

    /// Notes the session that is open now, and goes on.
    fn opened(
        &mut self,
        asked: &RelayRequest,
        resumed: bool,
        result: &Value,
        progress: &mut Progress,
        step: &mut Step,
    ) {
        let earlier = asked.earlier.clone().filter(|_| resumed);
        let id = match &earlier {
            Some(earlier) => Some(earlier.id.clone()),
            None => result.get("sessionId").and_then(Value::as_str).map(str::to_owned),
        };
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            progress.fail(FailReason::StartFailed, "the agent made a session without an id", step);
            return;
        };
        self.resumed = resumed;
        self.cost_before = earlier.as_ref().map_or(0.0, |earlier| earlier.cost_usd);
        progress.conversation =
            Some(ConversationState { id: id.clone(), ..earlier.unwrap_or_default() });
        let current = option(result, "model").and_then(|model| model.get("currentValue"));
        let current = current.or_else(|| result.pointer("/models/currentModelId"));
        let model = asked.model.as_deref().or(current.and_then(Value::as_str));
        self.model = bounded_line(model.unwrap_or_default(), 200);
        step.events.push(AgentEvent::Started {
            session: id.clone(),
            model: self.model.clone(),
            version: self.version.clone(),
        });
        self.set_up = set_up(asked, &id, result);
        self.go_on(asked, progress, step);
    }

    /// Sends the next setting, or the prompt after the last one.
    fn go_on(&mut self, asked: &RelayRequest, progress: &mut Progress, step: &mut Step) {
        if let Some(next) = self.set_up.first() {
            step.send.push(request(SET_UP, &next.method, &next.params));
            return;
        }
        let Some(session) = progress.conversation.as_ref().filter(|_| !self.prompted) else {
            return;
        };
        self.prompted = true;
        progress.started = true;
        // No prompt of ours may be read as one of the agent's own commands.
        let text = guard_start(asked.prompt_for(self.resumed));
        let params = json!({
            "sessionId": session.id,
            "prompt": [{"type": "text", "text": text}],
        });
        step.send.push(request(PROMPT, "session/prompt", &params));
    }

    /// Handles a notification. Those before the prompt replay an old session, and those after the
    /// end are no part of the turn: both are ignored.
    fn update(&mut self, params: &Value, progress: &mut Progress, step: &mut Step) {
        let ours = progress.conversation.as_ref().map(|known| known.id.as_str());
        let Some(update) = params.get("update") else { return };
        if !self.prompted
            || progress.over
            || params.get("sessionId").and_then(Value::as_str) != ours
        {
            return;
        }
        let kind = update.get("sessionUpdate").and_then(Value::as_str).unwrap_or_default();
        if kind != "agent_message_chunk" && kind != "usage_update" {
            self.end_message(progress, step);
        }
        if !matches!(kind, "tool_call_update" | "usage_update") {
            self.release(step);
        }
        match kind {
            "agent_message_chunk" => self.chunk(update, progress, step),
            "tool_call" | "tool_call_update" => self.call(kind, update, progress, step),
            "usage_update" => self.used(update, progress),
            "session_info_update" => {
                if let Some((attempt, max)) = failure::retry(update.get("_meta")) {
                    let (delay_ms, status) = (0, None);
                    step.events.push(AgentEvent::Retrying { attempt, max, delay_ms, status });
                }
            }
            _ => {}
        }
    }

    fn chunk(&mut self, update: &Value, progress: &mut Progress, step: &mut Step) {
        let Some(text) = update.pointer("/content/text").and_then(Value::as_str) else { return };
        // A chunk of this kind is a notice of the adapter, not the model's answer.
        if update.pointer("/_meta/claudeCode/kind").is_some() {
            return;
        }
        let id = update.get("messageId").and_then(Value::as_str).unwrap_or_default();
        if id != self.message.id {
            self.end_message(progress, step);
            id.clone_into(&mut self.message.id);
        }
        if self.message.text.len() + text.len() > MESSAGE {
            let text = std::mem::take(&mut self.message.text);
            self.say(&text, progress, step);
        }
        self.message.text.push_str(text);
    }

    /// Passes on the message that was being said: it is complete.
    fn end_message(&mut self, progress: &mut Progress, step: &mut Step) {
        let message = std::mem::take(&mut self.message);
        self.say(&message.text, progress, step);
    }

    fn say(&mut self, text: &str, progress: &mut Progress, step: &mut Step) {
        self.answered |= !text.trim().is_empty();
        progress.say(text, step);
    }

    fn call(&mut self, kind: &str, update: &Value, progress: &mut Progress, step: &mut Step) {
        let text = |path: &str| update.pointer(path).and_then(Value::as_str);
        let Some(id) = text("/toolCallId") else { return };
        if self.held.as_ref().is_some_and(|held| held.id != id) {
            self.release(step);
        }
        let name = text("/_meta/claudeCode/toolName").or_else(|| text("/kind")).unwrap_or("tool");
        let title = about(update).or_else(|| text("/title").map(str::to_owned));
        if progress.open_tool(id) {
            self.held = Some(AnnouncedCall {
                id: id.to_owned(),
                name: bounded_line(name, 200),
                title: summarise(title.as_deref().unwrap_or_default()),
            });
        } else if let (Some(held), Some(title)) = (&mut self.held, title) {
            held.title = summarise(&title);
        }
        let status = text("/status").unwrap_or_default();
        let over = matches!(status, "completed" | "failed");
        if about(update).is_some() || over || (kind == "tool_call" && status == "in_progress") {
            self.release(step);
        }
        if over {
            progress.tool_ended(id, status == "failed", step);
        }
    }

    /// Reports the call that was held back, if there is one.
    fn release(&mut self, step: &mut Step) {
        if let Some(AnnouncedCall { id, name, title }) = self.held.take() {
            step.events.push(AgentEvent::ToolStarted { id, name, summary: title });
        }
    }

    fn used(&mut self, update: &Value, progress: &mut Progress) {
        if let Some(limits) = update.pointer("/_meta/_claude~1rateLimit") {
            let at = limits.get("resetsAt").and_then(Value::as_i64);
            self.resets_at = at.and_then(|at| Timestamp::from_second(at).ok()).or(self.resets_at);
        }
        if let Some(model) = update.pointer("/_meta/_claude~1model").and_then(Value::as_str) {
            self.model = bounded_line(model, 200);
        }
        let cost = update.get("cost").filter(|cost| {
            cost.get("currency").and_then(Value::as_str).is_none_or(|currency| currency == "USD")
        });
        let amount = cost.and_then(|cost| cost.get("amount")).and_then(Value::as_f64);
        if let Some(amount) = amount.filter(|amount| amount.is_finite() && *amount >= 0.0) {
            self.cost = Some(amount);
            progress.spent = Some(self.usage(progress.tokens));
            if let Some(conversation) = &mut progress.conversation {
                conversation.cost_usd = amount;
            }
        }
    }

    /// Ends the turn: the agent has answered the prompt's request.
    fn completed(&mut self, result: &Value, progress: &mut Progress, step: &mut Step) {
        self.end_message(progress, step);
        self.release(step);
        progress.count(tokens(result.get("usage")), step);
        let reason = result.get("stopReason").and_then(Value::as_str).unwrap_or_default();
        let failed = failure::typed(result.get("_meta"), self.resets_at).or_else(|| match reason {
            "end_turn" if self.answered => None,
            "end_turn" => Some((FailReason::NoResult, NO_ANSWER.to_owned())),
            "cancelled" => Some((FailReason::Aborted, "the turn was cancelled".to_owned())),
            "refusal" => Some((FailReason::AgentError, "the model refused".to_owned())),
            other => Some((FailReason::AgentError, format!("the agent stopped with {other:?}"))),
        });
        let end = TurnEnd {
            is_error: failed.is_some(),
            kind: bounded_line(reason, 100),
            text: failed.is_none().then(|| progress.text.clone()),
            errors: failed.iter().map(|(_, said)| bounded_line(said, 2000)).collect(),
            denied_tools: self.denied.clone(),
            limit: failed.as_ref().and_then(|(reason, _)| limit(reason)),
            usage: self.usage(progress.tokens),
            ..TurnEnd::default()
        };
        progress.finish(end, failed.map(|(reason, _)| reason), step);
    }

    /// What the turn used. The agent's cost counts all turns of the session, so earlier turns are
    /// subtracted.
    fn usage(&self, tokens: TokenUsage) -> TurnUsage {
        let own = self.cost.map(|cost| {
            // A counter that is lower than before has started over.
            let before = if cost < self.cost_before { 0.0 } else { self.cost_before };
            let cost_usd = cost - before;
            BTreeMap::from([(self.model.clone(), ModelUsage { tokens, cost_usd })])
        });
        TurnUsage {
            tokens,
            cost_usd_cumulative: self.cost.unwrap_or(0.0),
            since_last_result: own,
            num_turns: 1,
            duration_ms: 0,
        }
    }

    /// Handles a request for a permission, which can come at any time.
    fn permission(
        &mut self,
        access: Access,
        id: &Value,
        params: &Value,
        progress: &mut Progress,
        step: &mut Step,
    ) {
        self.end_message(progress, step);
        self.release(step);
        let options = params.get("options").and_then(Value::as_array);
        let of = |kinds: [&str; 2]| {
            kinds.iter().find_map(|kind| {
                let mut options = options.into_iter().flatten();
                let found =
                    options.find(|one| one.get("kind").and_then(Value::as_str) == Some(kind));
                Some(found?.get("optionId")?.as_str()?.to_owned())
            })
        };
        let pending = Pending {
            ask: format!("acp-{id}"),
            id: id.clone(),
            allow: of(["allow_once", "allow_always"]),
            reject: of(["reject_once", "reject_always"]),
        };
        if progress.cancelled || progress.over {
            step.send.push(pending.cancelled());
            return;
        }
        if access == Access::Full {
            step.send.push(pending.reply(true));
            return;
        }
        let call = params.get("toolCall").unwrap_or(&Value::Null);
        let text = |path: &str| call.pointer(path).and_then(Value::as_str);
        let tool = text("/title").or_else(|| text("/kind")).unwrap_or("tool");
        let ask = AgentQuestion {
            id: pending.ask.clone(),
            tool: bounded_line(tool, 200),
            call: text("/toolCallId").unwrap_or_default().to_owned(),
            // Without an input, all that the call tells: people must see what they allow, and a
            // title is cut.
            input: call.get("rawInput").filter(|input| !input.is_null()).unwrap_or(call).clone(),
        };
        if progress.ask(ask) {
            self.pending.push(pending);
        } else {
            step.send.push(pending.reply(false));
        }
    }
}

impl Pending {
    /// The response that allows or refuses. Without such an option it cancels the request.
    fn reply(&self, allowed: bool) -> Value {
        let option = if allowed { &self.allow } else { &self.reject };
        match option {
            Some(option) => {
                let outcome = json!({"outcome": "selected", "optionId": option});
                json!({"jsonrpc": "2.0", "id": self.id, "result": {"outcome": outcome}})
            }
            None => self.cancelled(),
        }
    }

    fn cancelled(&self) -> Value {
        let outcome = json!({"outcome": "cancelled"});
        json!({"jsonrpc": "2.0", "id": self.id, "result": {"outcome": outcome}})
    }
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn code(error: &Value) -> i64 {
    error.get("code").and_then(Value::as_i64).unwrap_or(0)
}

fn limit(reason: &FailReason) -> Option<crate::agents::event::LimitHit> {
    match reason {
        FailReason::UsageLimit { resets_at } => {
            Some(crate::agents::event::LimitHit { resets_at: *resets_at })
        }
        _ => None,
    }
}

/// The option of a session's configuration with this category.
fn option<'a>(result: &'a Value, category: &str) -> Option<&'a Value> {
    let options = result.get("configOptions").and_then(Value::as_array)?;
    options.iter().find(|one| one.get("category").and_then(Value::as_str) == Some(category))
}

/// What is to be set in a session before its prompt: the mode and the model.
fn set_up(asked: &RelayRequest, session: &str, result: &Value) -> Vec<Setting> {
    let modes = result.pointer("/modes/availableModes").and_then(Value::as_array);
    let has = |id: &str| {
        let mut modes = modes.into_iter().flatten();
        modes.any(|mode| mode.get("id").and_then(Value::as_str) == Some(id))
    };
    let typed = || {
        let mut modes = modes.into_iter().flatten();
        let full = modes.find(|mode| {
            mode.pointer("/_meta/jetbrains/air/kind").and_then(Value::as_str) == Some("full_access")
        });
        full.and_then(|mode| mode.get("id")?.as_str())
    };
    let mode = asked.mode.as_deref().or_else(|| match asked.access {
        Access::Full => typed().or_else(|| FULL_ACCESS.into_iter().find(|id| has(id))),
        Access::Ask => ASKING.into_iter().find(|id| has(id)),
    });
    let current = result.pointer("/modes/currentModeId").and_then(Value::as_str);
    let mut all = Vec::new();
    if let Some(mode) = mode.filter(|mode| Some(*mode) != current) {
        all.push(Setting {
            method: "session/set_mode".to_owned(),
            params: json!({"sessionId": session, "modeId": mode}),
            required: asked.mode.is_some() || asked.access == Access::Ask,
        });
    }
    if let Some(model) = &asked.model {
        let (method, params) = match option(result, "model").and_then(|one| one.get("id")) {
            Some(id) => (
                "session/set_config_option",
                json!({"sessionId": session, "configId": id, "value": model}),
            ),
            None => ("session/set_model", json!({"sessionId": session, "modelId": model})),
        };
        all.push(Setting { method: method.to_owned(), params, required: true });
    }
    all
}

/// What a call does, if its input says so.
fn about(update: &Value) -> Option<String> {
    let input = update.get("rawInput").filter(|input| !input.is_null())?;
    let names = ["command", "cmd", "file_path", "path", "pattern", "query", "url"];
    let found = names.iter().find_map(|name| input.get(name)).or_else(|| {
        // Otherwise the first field; an empty input says nothing yet.
        input.as_object().and_then(|fields| fields.values().next())
    })?;
    Some(match found {
        Value::String(text) => text.clone(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    })
}

fn tokens(usage: Option<&Value>) -> TokenUsage {
    let number =
        |name: &str| usage.and_then(|usage| usage.get(name)).and_then(Value::as_u64).unwrap_or(0);
    TokenUsage {
        input: number("inputTokens"),
        output: number("outputTokens"),
        cache_read: number("cachedReadTokens"),
        cache_write: number("cachedWriteTokens"),
    }
}
