//! The events of one `codex exec --json`, which takes the prompt on its standard input.
//!
//! Only `turn.completed` and `turn.failed` end a turn; `error` can be a mere retry. A refusal and
//! an empty answer end in `turn.completed` without a message, and are no success. Usage is the
//! thread's total, across resumes too, so what earlier turns used is subtracted. Item ids start
//! again in each process.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::errors;
use super::server::paths;
use crate::agents::event::{AgentEvent, TokenUsage, TurnEnd, TurnUsage, summarise};
use crate::agents::outcome::FailReason;
use crate::agents::relay::codec::{Codec, NO_ANSWER, Progress, Step};
use crate::agents::relay::wire::{ConversationState, RelayRequest};

/// The codec's state over one turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CodexExec {
    answered: bool,
    /// What the thread had used before this turn.
    before: TokenUsage,
    resumes: bool,
}

impl Codec for CodexExec {
    fn begin(&mut self, request: &RelayRequest, _: &mut Progress, step: &mut Step) {
        self.resumes = request.earlier.is_some();
        step.feed = Some(request.prompt_for(self.resumes).to_owned());
        // Codex reads its input to the end before it begins.
        step.close = true;
    }

    fn message(
        &mut self,
        request: &RelayRequest,
        message: &Value,
        progress: &mut Progress,
        step: &mut Step,
    ) {
        let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "thread.started" => {
                let id = text("thread_id").to_owned();
                // A thread other than the one to be resumed has no earlier usage.
                let earlier = request.earlier.clone().filter(|earlier| earlier.id == id);
                self.before = earlier.as_ref().map(|earlier| earlier.tokens).unwrap_or_default();
                progress.conversation =
                    Some(ConversationState { id: id.clone(), ..earlier.unwrap_or_default() });
                step.events.push(AgentEvent::Started {
                    session: id,
                    model: request.model.clone().unwrap_or_default(),
                    version: String::new(),
                });
            }
            "turn.started" => progress.started = true,
            "item.started" => self.item(message, false, progress, step),
            "item.completed" => self.item(message, true, progress, step),
            "error" => {
                if let Some((attempt, max)) = retry(text("message")) {
                    let retrying = AgentEvent::Retrying { attempt, max, delay_ms: 0, status: None };
                    step.events.push(retrying);
                }
            }
            "turn.completed" => {
                let total = tokens(message.get("usage"));
                if let Some(conversation) = &mut progress.conversation {
                    // A turn that reports no usage must not reset what earlier turns used.
                    conversation.tokens = conversation.tokens.max(total);
                }
                progress.count(total.minus(self.before), step);
                if !self.answered {
                    progress.fail(FailReason::NoResult, NO_ANSWER, step);
                    return;
                }
                let end = TurnEnd {
                    kind: "completed".to_owned(),
                    text: Some(progress.text.clone()),
                    usage: TurnUsage {
                        tokens: progress.tokens,
                        num_turns: 1,
                        ..TurnUsage::default()
                    },
                    ..TurnEnd::default()
                };
                progress.finish(end, None, step);
            }
            "turn.failed" => {
                let error = message.pointer("/error/message").and_then(Value::as_str);
                let error = error.unwrap_or("the turn failed");
                progress.fail(errors::of_text(error), error, step);
            }
            _ => {}
        }
    }

    fn cancel(&mut self, _: &mut Progress, step: &mut Step) {
        step.terminate = true;
    }

    fn exited(&mut self, code: Option<i32>, progress: &mut Progress, step: &mut Step) -> bool {
        // That the thread is unknown is said on standard error only, so it is inferred.
        let refused = code == Some(1) && self.resumes && progress.conversation.is_none();
        if refused {
            progress.unknown = true;
            progress.fail(FailReason::UnknownSession, "Codex did not resume its thread", step);
        }
        refused
    }
}

impl CodexExec {
    fn item(&mut self, message: &Value, complete: bool, progress: &mut Progress, step: &mut Step) {
        let Some(item) = message.get("item") else { return };
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        let (id, kind) = (text("id"), text("type"));
        match kind {
            "agent_message" if complete && !text("text").trim().is_empty() => {
                self.answered = true;
                progress.say(text("text"), step);
            }
            "agent_message" | "reasoning" | "todo_list" | "error" | "" => {}
            _ => {
                let (name, about) = match kind {
                    "command_execution" => ("command", text("command").to_owned()),
                    "file_change" => ("edit", paths(item)),
                    "mcp_tool_call" => (text("tool"), String::new()),
                    "web_search" => ("search", text("query").to_owned()),
                    other => (other, String::new()),
                };
                progress.tool_started(id, name, summarise(&about), step);
                if complete {
                    let status = text("status");
                    let code = item.get("exit_code").and_then(Value::as_i64).unwrap_or(0);
                    if status == "declined" {
                        step.events.push(AgentEvent::PermissionDenied { tool: name.to_owned() });
                    }
                    let failed = matches!(status, "failed" | "declined") || code != 0;
                    progress.tool_ended(id, failed, step);
                }
            }
        }
    }
}

/// Reads the number of the retry and the maximum from `Reconnecting... 2/5 (…)`.
fn retry(message: &str) -> Option<(u32, u32)> {
    let rest = message.strip_prefix("Reconnecting... ")?;
    let (attempt, max) = rest.split_whitespace().next()?.split_once('/')?;
    Some((attempt.parse().ok()?, max.parse().ok()?))
}

fn tokens(usage: Option<&Value>) -> TokenUsage {
    let number =
        |name: &str| usage.and_then(|usage| usage.get(name)).and_then(Value::as_u64).unwrap_or(0);
    let (read, write) = (number("cached_input_tokens"), number("cache_write_input_tokens"));
    TokenUsage {
        input: number("input_tokens").saturating_sub(read).saturating_sub(write),
        output: number("output_tokens"),
        cache_read: read,
        cache_write: write,
    }
}
