//! What one turn of the CLI said: deltas as they come, and at the end its text, its cost and whether
//! it succeeded.
//!
//! Pure: bytes in, calls out. Deltas are most of a stream, so their lines are read here with
//! borrowed text and no intermediate tree; every other line goes to the reader that the whole
//! workspace uses ([`ClaudeState`]). Where the CLI was asked for a single JSON document, or prints
//! plain text, that is read, too.
//!
//! Invariant: a turn only counts as finished if a result of the CLI says so. The one exception is
//! an answer in one piece by a program that prints none of the CLI's lines and exits with code 0
//! ([`Accepts::Plain`]).
//!
//! If the model's API fails in the middle of an answer, the CLI asks for it again by itself. It
//! then prints all of the second answer as deltas, or has it only in its result. Neither continues
//! the deltas of the first, so after those no more are passed on ([`Transcript::is_broken`]).

use std::borrow::Cow;

use afk_agent::agents::claude::outcome::{Evidence, fold};
use afk_agent::agents::claude::stream::ClaudeState;
use afk_agent::agents::lines::{LinePosition, LineReader};
use afk_agent::agents::{AgentEvent, Exit, FailReason, TokenUsage, TurnOutcome};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::chat::chunks::Finish;
use crate::usage::Cost;

/// How much output that is not the CLI's stream is kept, in bytes.
const PLAIN_BYTES: usize = 4 * 1024 * 1024;
/// A token of an answer is seldom shorter than this, in bytes, so that estimates are not too low.
const TOKEN_BYTES: u64 = 2;

/// What output counts as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// Only a result of the CLI.
    Result,
    /// Also plain text, or a JSON document with the text, of a program that stands in for it.
    Plain,
}

/// Reads one turn.
#[derive(Debug)]
pub(crate) struct Transcript {
    lines: LineReader,
    read: Read,
}

#[derive(Debug, Default)]
struct Read {
    state: ClaudeState,
    /// Output that is none of the CLI's lines, up to [`PLAIN_BYTES`].
    plain: String,
    finish: Option<Finish>,
    /// The answer to a schema, as JSON.
    structured: Option<String>,
    replaced: u64,
    deltas: u64,
    /// How many of them came before the main agent's last message began.
    deltas_before: u64,
    /// How long the deltas were together, in bytes.
    said: u64,
    message: Message,
    ready: bool,
    /// Whether any line was one of the CLI's.
    speaks: bool,
    /// Scratch space: the events of [`ClaudeState::line`] are not used.
    events: Vec<AgentEvent>,
}

/// How far the main agent's last message was streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Message {
    /// None has begun, or the last one is complete.
    #[default]
    Complete,
    /// One has begun, and the model has not told why it stopped.
    Open,
    /// One broke off after deltas came. What comes after that does not change it.
    Broken,
}

/// A turn that is over.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// Whether the turn succeeded, and then the whole answer.
    pub(crate) outcome: TurnOutcome,
    /// Why the model stopped.
    pub(crate) finish: Finish,
    /// The turn's tokens.
    pub(crate) tokens: TokenUsage,
    /// What the turn cost in US dollars by the CLI's own result; 0 without a result.
    pub(crate) cost_usd: f64,
    /// What the turn's token is charged: more than `cost_usd` if the turn was cut off.
    pub(crate) cost: Cost,
    /// What a caller is told if the turn failed: the last line of standard error, else what the CLI
    /// said, else how the process ended.
    pub(crate) detail: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    event: Option<Event<'a>>,
    parent_tool_use_id: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    stop_reason: Option<Cow<'a, str>>,
}

impl Transcript {
    pub(crate) fn new() -> Self {
        Self { lines: LineReader::new(LinePosition::default()), read: Read::default() }
    }

    /// Takes the next bytes, cut anywhere, and passes each piece of the answer to `each`.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        let read = &mut self.read;
        self.lines.feed(bytes, |line| read.line(line, &mut each));
    }

    /// Takes a last line without a newline, at the end of the output.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&str)) {
        let read = &mut self.read;
        self.lines.finish(|line| read.line(line, &mut each));
    }

    /// Whether the CLI printed a result, so that the turn is over.
    pub(crate) fn has_result(&self) -> bool {
        self.read.state.end().is_some()
    }

    /// Whether the process answered that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.read.ready
    }

    /// Returns how many pieces of the answer came so far.
    pub(crate) fn deltas(&self) -> u64 {
        self.read.deltas
    }

    /// Whether the answer broke off after deltas came. No later delta is then passed on, and what
    /// was passed on must not be continued: only the result has the answer.
    pub(crate) fn is_broken(&self) -> bool {
        self.read.message == Message::Broken
    }

    /// Returns how many replacement characters (U+FFFD) came: bytes lost before they reached us.
    pub(crate) fn replaced(&self) -> u64 {
        self.read.replaced
    }

    /// Judges the turn, once it is over. `stopped` is whether the gateway ended it.
    pub(crate) fn judge(
        &self,
        exit: &Exit,
        stderr_tail: &str,
        stopped: bool,
        accepts: Accepts,
    ) -> Verdict {
        let read = &self.read;
        let outcome = fold(&Evidence {
            exit,
            started: read.state.started(),
            end: read.state.end(),
            unread_lines: read.state.garbage() + self.lines.position().skipped,
            stderr_tail,
            interrupted_by_us: stopped,
        });
        let outcome = match (outcome, &read.structured) {
            (TurnOutcome::Finished { .. }, Some(structured)) => {
                TurnOutcome::Finished { text: structured.clone() }
            }
            (outcome @ TurnOutcome::Failed { .. }, _)
                if accepts == Accepts::Plain && read.is_plain() && !stopped =>
            {
                plain(&read.plain, exit).unwrap_or(outcome)
            }
            (outcome, _) => outcome,
        };
        let (tokens, cost_usd) = match read.state.end() {
            Some(end) => (
                end.usage.best_tokens(read.state.streamed()),
                end.usage.turn_cost_usd().unwrap_or(end.usage.cost_usd_cumulative),
            ),
            None => (read.state.streamed(), 0.0),
        };
        let finish = read.finish.unwrap_or(Finish::Stop);
        let detail = self.detail(exit, stderr_tail);
        let cost = read.cost(cost_usd, exit, stopped);
        Verdict { outcome, finish, tokens, cost_usd, cost, detail }
    }

    fn detail(&self, exit: &Exit, stderr_tail: &str) -> String {
        if let Some(line) = stderr_tail.lines().map(str::trim).rfind(|line| !line.is_empty()) {
            return line.to_owned();
        }
        let end = self.read.state.end();
        let said = end.and_then(|end| end.text.as_ref().or(end.errors.first()));
        match (said.filter(|said| !said.trim().is_empty()), exit) {
            (Some(said), _) => said.clone(),
            (None, Exit::Exited { code }) => format!("exit {code}"),
            (None, Exit::Signalled { signal }) => format!("exit {}", 128 + signal),
            (None, Exit::NotStarted { .. } | Exit::Lost) => exit.to_string(),
        }
    }
}

impl Read {
    /// Returns what a turn is charged. `told` is the cost by the CLI's result, to which streamed
    /// tokens that no result counts are added. Without a result and such tokens the cost is
    /// unknown, unless the process exited by itself: it has then asked the model for nothing.
    fn cost(&self, told: f64, exit: &Exit, stopped: bool) -> Cost {
        let has_result = self.state.end().is_some();
        let cut = if has_result { self.state.cut_off() } else { self.state.streamed() };
        if !cut.is_zero() {
            // The CLI only tells at its end how many tokens an answer has, so they are estimated.
            let output = cut.output.max(self.said.div_ceil(TOKEN_BYTES));
            return Cost::Usd(told + list_price(TokenUsage { output, ..cut }));
        }
        let by_itself =
            !stopped && matches!(exit, Exit::Exited { code: ..128 } | Exit::NotStarted { .. });
        if has_result || by_itself { Cost::Usd(told) } else { Cost::Unknown }
    }

    fn line(&mut self, line: &str, each: &mut impl FnMut(&str)) {
        match serde_json::from_str::<Line<'_>>(line) {
            Ok(Line { kind, event: Some(event), parent_tool_use_id }) if kind == "stream_event" => {
                // What a subagent says is no part of the answer: those lines have a parent.
                self.speaks = true;
                let counts = matches!(event.kind.as_ref(), "message_start" | "message_delta");
                if parent_tool_use_id.is_none() {
                    self.event(event, each);
                }
                if counts {
                    // Only these lines tell the tokens of a turn that is cut off.
                    self.state.line(line, &mut self.events);
                    self.events.clear();
                }
            }
            Ok(Line { kind, .. }) => {
                self.speaks = true;
                match kind.as_ref() {
                    "control_response" => self.ready = true,
                    "result" => self.structure(line),
                    _ => {}
                }
                self.state.line(line, &mut self.events);
                self.events.clear();
            }
            Err(_) => {
                // Not one of the CLI's lines. The reader counts those that are not JSON at all.
                self.state.line(line, &mut self.events);
                self.events.clear();
                self.plain(line);
            }
        }
    }

    fn event(&mut self, event: Event<'_>, each: &mut impl FnMut(&str)) {
        let begins = event.kind == "message_start";
        if (begins || event.kind == "message_stop") && self.message != Message::Broken {
            // The model tells why it stopped before its message ends. Without that it broke off.
            self.message = if self.message == Message::Open && self.deltas > self.deltas_before {
                Message::Broken
            } else if begins {
                self.deltas_before = self.deltas;
                Message::Open
            } else {
                Message::Complete
            };
        }
        let Some(delta) = event.delta else { return };
        if let Some(reason) = delta.stop_reason {
            self.finish = Some(Finish::of(&reason));
            if self.message == Message::Open {
                self.message = Message::Complete;
            }
        }
        if event.kind == "content_block_delta"
            && delta.kind.as_deref() == Some("text_delta")
            && let Some(text) = delta.text
            && !text.is_empty()
        {
            self.deltas += 1;
            self.said += text.len() as u64;
            self.replaced += text.matches('\u{fffd}').count() as u64;
            if self.message != Message::Broken {
                each(&text);
            }
        }
    }

    /// Reads what only the result's line tells: the answer to a schema, and why the model stopped.
    fn structure(&mut self, line: &str) {
        let Ok(result) = serde_json::from_str::<Value>(line) else { return };
        if let Some(structured) = result.get("structured_output").filter(|value| !value.is_null()) {
            self.structured = Some(structured.to_string());
        }
        if let (None, Some(reason)) = (self.finish, result["stop_reason"].as_str()) {
            self.finish = Some(Finish::of(reason));
        }
    }

    fn plain(&mut self, line: &str) {
        if self.plain.len() + line.len() < PLAIN_BYTES {
            if !self.plain.is_empty() {
                self.plain.push('\n');
            }
            self.plain.push_str(line);
        }
    }

    fn is_plain(&self) -> bool {
        !self.speaks && !self.plain.is_empty()
    }
}

/// Returns what tokens cost at most, in US dollars: at the list prices of the dearest model.
fn list_price(tokens: TokenUsage) -> f64 {
    let TokenUsage { input, output, cache_read, cache_write } = tokens;
    let of_a_million = [(input, 15.0), (output, 75.0), (cache_read, 1.5), (cache_write, 30.0)];
    of_a_million.iter().map(|(count, usd)| *count as f64 * usd / 1e6).sum()
}

/// Returns the outcome of a program that does not print the CLI's lines but a JSON document with
/// the answer, or just the answer. `None` if it failed, or if the document is cut off.
fn plain(text: &str, exit: &Exit) -> Option<TurnOutcome> {
    if *exit != (Exit::Exited { code: 0 }) {
        return None;
    }
    let document = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(document)) => document,
        Err(_) if text.trim_start().starts_with('{') => return None,
        Ok(_) | Err(_) => return Some(TurnOutcome::Finished { text: text.to_owned() }),
    };
    let said = ["result", "content", "text"].iter().find_map(|name| document.get(*name)?.as_str());
    if document.get("is_error") == Some(&Value::Bool(true)) {
        let message = said.unwrap_or_default().to_owned();
        return Some(TurnOutcome::Failed { reason: FailReason::AgentError, message });
    }
    Some(TurnOutcome::Finished { text: said.unwrap_or(text).to_owned() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const CODE: fn(i32) -> Exit = |code| Exit::Exited { code };

    fn recorded(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/tests/fixtures/claude");
        std::fs::read(folder.join(format!("{name}.jsonl"))).unwrap()
    }

    fn read(bytes: &[u8], exit: &Exit) -> (String, Verdict) {
        read_as(bytes, exit, Accepts::Plain)
    }

    fn read_as(bytes: &[u8], exit: &Exit, accepts: Accepts) -> (String, Verdict) {
        let (mut transcript, mut text) = (Transcript::new(), String::new());
        transcript.feed(bytes, |piece| text.push_str(piece));
        transcript.finish(|piece| text.push_str(piece));
        let verdict = transcript.judge(exit, "", false, accepts);
        (text, verdict)
    }

    #[track_caller]
    fn finished(bytes: &[u8], exit: &Exit, deltas: &str, whole: &str) -> Verdict {
        let (text, verdict) = read(bytes, exit);
        assert_eq!(text, deltas);
        assert_eq!(verdict.outcome, TurnOutcome::Finished { text: whole.to_owned() });
        verdict
    }

    #[test]
    fn recorded_streams_give_their_deltas_and_their_end() {
        let verdict = finished(&recorded("new-stream"), &CODE(0), "one two three", "one two three");
        assert_eq!((verdict.tokens.input, verdict.tokens.output), (1000, 50));
        assert!((verdict.cost_usd - 0.005).abs() < 1e-9);
        assert_eq!(verdict.finish, Finish::Stop);
        finished(&recorded("old-stream"), &CODE(0), "one two three", "one two three");
        finished(&recorded("new-thinking"), &CODE(0), "answer", "answer");
        finished(&recorded("new-json"), &CODE(0), "", "pong");
    }

    #[test]
    fn turns_without_a_good_result_are_failures() {
        for (name, code) in [
            ("new-http400", 1),
            ("new-no-key", 1),
            ("new-resume-unknown", 1),
            ("new-session-id-reuse", 1),
            ("new-budget-exceeded", 1),
            ("new-SIGTERM-text", 143),
        ] {
            let (_, verdict) = read(&recorded(name), &CODE(code));
            assert!(matches!(verdict.outcome, TurnOutcome::Failed { .. }), "{name}: {verdict:?}");
        }
    }

    #[test]
    fn documents_and_plain_text_are_answers_only_with_exit_0() {
        finished(b"{\"result\":\"a\"}", &CODE(0), "", "a");
        finished(b"{\"content\":\"b\"}\n", &CODE(0), "", "b");
        finished(b"{\"text\":\"c\"}", &CODE(0), "", "c");
        finished(b"just\nwords\n", &CODE(0), "", "just\nwords");
        for (bytes, code) in [(&b"just words"[..], 1), (b"", 0), (b"{\"is_error\":true}", 0)] {
            let (_, verdict) = read(bytes, &CODE(code));
            assert!(matches!(verdict.outcome, TurnOutcome::Failed { .. }), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_not_a_result_is_an_answer_only_where_plain_text_is() {
        for bytes in [&b"just words"[..], b"{\"result\":\"a\"}"] {
            let (_, verdict) = read_as(bytes, &CODE(0), Accepts::Result);
            assert!(matches!(verdict.outcome, TurnOutcome::Failed { .. }), "{verdict:?}");
        }
        // Nor is plain text an answer if any of the CLI's own lines came, too.
        let mixed = b"{\"type\":\"assistant\"}\nwords of a library\n";
        let (_, verdict) = read_as(mixed, &CODE(0), Accepts::Plain);
        assert!(matches!(verdict.outcome, TurnOutcome::Failed { .. }), "{verdict:?}");
    }

    #[test]
    fn a_document_that_was_cut_off_is_no_answer() {
        let documents = [&recorded("new-json")[..], b"{\n  \"result\": \"a\"\n}"];
        for document in documents {
            let document = document.trim_ascii_end();
            for cut in 1..document.len() {
                let (_, verdict) = read(&document[..cut], &CODE(0));
                let failed = matches!(verdict.outcome, TurnOutcome::Failed { .. });
                assert!(failed, "{cut}: {verdict:?}");
            }
        }
    }

    #[test]
    fn a_reason_to_stop_and_an_answer_to_a_schema_come_with_the_result() {
        let result = br#"{"type":"result","subtype":"success","is_error":false,"result":"x","stop_reason":"max_tokens","structured_output":{"a":1}}"#;
        let verdict = finished(result, &CODE(0), "", "{\"a\":1}");
        assert_eq!(verdict.finish, Finish::Length);
        let refused = br#"{"type":"stream_event","event":{"type":"message_delta","delta":{"stop_reason":"refusal"}},"parent_tool_use_id":null}
{"type":"result","is_error":false,"result":"","stop_reason":"end_turn"}"#;
        assert_eq!(finished(refused, &CODE(0), "", "").finish, Finish::ContentFilter);
    }

    #[test]
    fn another_agents_words_and_thoughts_are_no_deltas() {
        let line = |parent: &str| {
            format!(
                "{{\"type\":\"stream_event\",\"event\":{{\"type\":\"content_block_delta\",\
                 \"delta\":{{\"type\":\"text_delta\",\"text\":\"x\"}}}},\
                 \"parent_tool_use_id\":{parent}}}\n"
            )
        };
        assert_eq!(read(line("null").as_bytes(), &CODE(0)).0, "x");
        assert_eq!(read(line("\"toolu_1\"").as_bytes(), &CODE(0)).0, "");
    }

    /// Returns lines as the CLI prints them when the model's API fails after "one two ", and then
    /// `rest`, which the second request brings.
    fn broken_off(rest: &[Value]) -> Vec<u8> {
        let mut lines = vec![
            json!({"type": "system", "subtype": "init", "session_id": "s", "model": "m",
                "claude_code_version": "2.1.329"}),
            streamed(&started("m1")),
            streamed(&delta("one ")),
            streamed(&delta("two ")),
            streamed(&json!({"type": "content_block_stop", "index": 0})),
            streamed(&json!({"type": "message_stop"})),
        ];
        for line in rest {
            let is_line =
                ["system", "assistant", "result"].iter().any(|kind| line["type"] == *kind);
            lines.push(if is_line { line.clone() } else { streamed(line) });
        }
        lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
    }

    fn streamed(event: &Value) -> Value {
        json!({"type": "stream_event", "event": event, "parent_tool_use_id": null})
    }

    fn started(id: &str) -> Value {
        json!({"type": "message_start", "message": {"id": id, "usage":
            {"input_tokens": 1000, "output_tokens": 1}}})
    }

    fn delta(text: &str) -> Value {
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": text}})
    }

    fn spoken(id: &str, output: u64) -> Value {
        json!({"type": "assistant", "parent_tool_use_id": null, "message": {"id": id,
            "content": [{"type": "text", "text": "one two three"}],
            "usage": {"input_tokens": 1000, "output_tokens": output}}})
    }

    fn result_of(usd: f64) -> Value {
        json!({"type": "result", "subtype": "success", "is_error": false,
            "result": "one two three", "stop_reason": "end_turn", "total_cost_usd": usd,
            "usage": {"input_tokens": 2000, "output_tokens": 51},
            "model_usage_since_last_result": {"m": {"costUSD": usd}}})
    }

    #[test]
    fn after_an_answer_that_broke_off_only_the_result_is_one() {
        // An overloaded API is asked again for the answer in one piece.
        let overloaded = broken_off(&[spoken("m2", 50), result_of(0.0025)]);
        // A lost connection is made again, and the whole answer is streamed.
        let ended = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 50}});
        let lost = broken_off(&[
            json!({"type": "system", "subtype": "api_retry", "attempt": 1, "max_retries": 2,
                "retry_delay_ms": 508, "error_status": null}),
            started("m2"),
            delta("one "),
            delta("two "),
            delta("three"),
            spoken("m2", 1),
            ended.clone(),
            json!({"type": "message_stop"}),
            result_of(0.00453),
        ]);
        for (bytes, usd) in [(&overloaded, 0.0025), (&lost, 0.00453)] {
            let verdict = finished(bytes, &CODE(0), "one two ", "one two three");
            assert_eq!((verdict.finish, verdict.cost), (Finish::Stop, Cost::Usd(usd)));
            let (mut transcript, mut pieces) = (Transcript::new(), Vec::new());
            transcript.feed(bytes, |piece| pieces.push(piece.to_owned()));
            assert!(transcript.is_broken());
            assert_eq!(pieces, ["one ", "two "]);
        }
        // What breaks off before its first words, or has a reason to stop, is not broken.
        let stopped = json!({"type": "message_stop"});
        let mut transcript = Transcript::new();
        for event in [
            started("m1"),
            stopped.clone(),
            started("m2"),
            delta("one"),
            ended,
            stopped,
            started("m3"),
            started("m4"),
        ] {
            transcript.feed(format!("{}\n", streamed(&event)).as_bytes(), |_| {});
        }
        assert!(!transcript.is_broken());
    }

    #[test]
    fn replacement_characters_of_the_cli_s_own_are_counted() {
        let line = |text: &str, parent: &str| {
            format!(
                "{{\"type\":\"stream_event\",\"event\":{{\"type\":\"content_block_delta\",\
                 \"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}},\
                 \"parent_tool_use_id\":{parent}}}\n"
            )
        };
        let (mut transcript, mut text) = (Transcript::new(), String::new());
        // Two plain ones, an escaped one, and one of a subagent, which is not passed on.
        for (said, parent) in
            [("a\u{fffd}\u{fffd}", "null"), ("\\ufffdb", "null"), ("\u{fffd}", "\"t\"")]
        {
            transcript.feed(line(said, parent).as_bytes(), |piece| text.push_str(piece));
        }
        assert_eq!(text, "a\u{fffd}\u{fffd}\u{fffd}b", "they are passed on");
        assert_eq!((transcript.replaced(), transcript.deltas()), (3, 2));
    }

    proptest! {
        #[test]
        fn wherever_bytes_are_cut_the_answer_is_the_same(cut in 0usize..3000) {
            let line = "{\"type\":\"stream_event\",\"event\":{\"type\":\"content_block_delta\",\
                        \"delta\":{\"type\":\"text_delta\",\"text\":\"Здравейте, как сте? \\u2028\\\"\"}}}\n";
            let bytes = line.repeat(3).into_bytes();
            let cut = cut % bytes.len();
            let (mut transcript, mut text) = (Transcript::new(), String::new());
            transcript.feed(&bytes[..cut], |piece| text.push_str(piece));
            transcript.feed(&bytes[cut..], |piece| text.push_str(piece));
            prop_assert_eq!(text, "Здравейте, как сте? \u{2028}\"".repeat(3));
            prop_assert_eq!(transcript.replaced(), 0);
        }

        /// The recorded transcripts, cut and mangled: never a panic, and never a success without a
        /// result that says so.
        #[test]
        fn a_mangled_stream_is_never_a_success(
            which in 0usize..5,
            cut in 0usize..20_000,
            edits in proptest::collection::vec((0usize..20_000, any::<u8>()), 0..6),
            code in 0..2,
        ) {
            let name = ["new-stream", "new-thinking", "old-stream", "new-SIGTERM-text", "new-tool-write"][which];
            let mut bytes = recorded(name);
            bytes.truncate(cut.min(bytes.len()));
            for (at, byte) in edits {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            let (_, verdict) = read_as(&bytes, &CODE(code), Accepts::Result);
            let good = bytes.split(|byte| *byte == b'\n').any(|line| {
                serde_json::from_slice::<Value>(line).is_ok_and(|line| {
                    line["type"] == "result" && line["is_error"] == Value::Bool(false)
                })
            });
            let lossy_good = String::from_utf8_lossy(&bytes).lines().any(|line| {
                serde_json::from_str::<Value>(line.trim()).is_ok_and(|line| {
                    line["type"] == "result" && line["is_error"] == Value::Bool(false)
                })
            });
            if !good && !lossy_good {
                let finished = matches!(verdict.outcome, TurnOutcome::Finished { .. });
                prop_assert!(!finished, "{:?}", verdict);
            }
        }
    }
}
