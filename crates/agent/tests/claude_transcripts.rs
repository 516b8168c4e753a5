//! Every transcript of the real CLI, read and judged through one table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use afk_agent::agents::{
    AgentEvent, AgentKind, Exit, FailReason, TokenUsage, TurnOutcome, TurnReader,
};
use proptest::prelude::*;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/claude")
}

struct Transcript {
    output: Vec<u8>,
    exit: Exit,
    stderr: String,
}

fn load(name: &str) -> Transcript {
    let output = std::fs::read(folder().join(format!("{name}.jsonl"))).unwrap();
    let meta = std::fs::read(folder().join(format!("{name}.meta.json"))).unwrap();
    let meta: Value = serde_json::from_slice(&meta).unwrap();
    let lines = meta["stderr"].as_array().unwrap();
    let lines: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
    Transcript {
        output,
        exit: Exit::Exited { code: i32::try_from(meta["rc"].as_i64().unwrap()).unwrap() },
        stderr: lines.join("\n"),
    }
}

fn read(output: &[u8], chunk: usize) -> (TurnReader, Vec<AgentEvent>) {
    let mut reader = TurnReader::new(AgentKind::Claude);
    let mut events = Vec::new();
    for part in output.chunks(chunk) {
        events.extend(reader.feed(part));
    }
    events.extend(reader.finish());
    (reader, events)
}

enum Expected {
    Finished(&'static str),
    Failed(FailReason),
}
use Expected::{Failed, Finished};

fn table() -> Vec<(&'static str, Expected)> {
    let denied = |tool: &str| FailReason::PermissionDenied { tools: vec![tool.to_owned()] };
    let api = |status| FailReason::ApiError { status: Some(status) };
    vec![
        ("new-SIGINT-tool", Failed(FailReason::Aborted)),
        ("new-SIGTERM-text", Failed(FailReason::Killed { signal: 15 })),
        ("new-agent", Finished("from agent")),
        ("new-agent-missing", Failed(FailReason::UnknownAgent)),
        ("new-budget-exceeded", Failed(FailReason::BudgetExceeded)),
        ("new-budget-ok", Finished("x")),
        ("new-control-protocol", Finished("alive after interrupt")),
        ("new-dsp-nonroot", Finished("tool said: nobody\n/home/agent/repo2")),
        ("new-dsp-root", Failed(FailReason::StartFailed)),
        ("new-exclude-dynamic", Finished("x")),
        ("new-http400", Failed(api(400))),
        ("new-http429-retries2", Failed(api(429))),
        ("new-json", Finished("pong")),
        ("new-no-key", Failed(FailReason::NotSignedIn)),
        ("new-perm-none", Failed(denied("Bash"))),
        ("new-resume", Finished("second turn")),
        ("new-resume-unknown", Failed(FailReason::UnknownSession)),
        ("new-session-id", Finished("first turn")),
        ("new-session-id-reuse", Failed(FailReason::SessionInUse)),
        ("new-setting-sources-user", Finished("x")),
        ("new-stream", Finished("one two three")),
        // We never ask for plain text output, so it is garbage, whatever the exit code.
        ("new-text", Failed(FailReason::Garbage { lines: 1 })),
        ("new-thinking", Finished("answer")),
        ("new-tool-bash-fail", Finished("tool said (error): Exit code 3\nout\nerr")),
        (
            "new-tool-write",
            Finished(
                "tool said: File created successfully at: /home/agent/repo/out.txt (file state is current in your context — no need to Read it back)",
            ),
        ),
        ("new-warm-stream-json-two-turns", Finished("warm two")),
        ("old-json", Finished("pong")),
        ("old-stream", Finished("one two three")),
    ]
}

#[test]
fn every_transcript_is_judged() {
    fn check(name: &str, expected: &Expected) {
        let Transcript { output, exit, stderr } = load(name);
        let (reader, events) = read(&output, usize::MAX);
        let outcome = reader.outcome(&exit, &stderr, false);
        match (expected, &outcome) {
            (Finished(text), TurnOutcome::Finished { text: got }) => {
                assert_eq!(got, text, "{name}");
            }
            (Failed(reason), TurnOutcome::Failed { reason: got, message }) => {
                assert_eq!(got, reason, "{name}");
                assert!(!message.is_empty(), "{name}: a failure without a word");
            }
            _ => panic!("{name}: {outcome:?}"),
        }
        // The same bytes give the same events in chunks of any size.
        for chunk in [1, 7, 4096] {
            let (_, again) = read(&output, chunk);
            assert_eq!(again, events, "{name} in chunks of {chunk}");
        }
        // Our interrupt changes only turns that had not finished.
        let by_us = reader.outcome(&exit, &stderr, true);
        match expected {
            Finished(_) => assert_eq!(by_us, outcome, "{name}"),
            Failed(_) => assert_eq!(by_us, TurnOutcome::Interrupted, "{name}"),
        }
        // If the host is gone, a result that was read still counts; without one the turn is lost.
        let lost = reader.outcome(&Exit::Lost, &stderr, false);
        if reader.end().is_some() {
            assert_eq!(lost, outcome, "{name}");
        } else {
            assert_eq!(lost, TurnOutcome::Lost, "{name}");
        }
    }
    let table = table();
    for (name, expected) in &table {
        check(name, expected);
    }
    let listed: BTreeSet<String> = table.iter().map(|(name, _)| (*name).to_owned()).collect();
    let present: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            Some(name.strip_suffix(".jsonl")?.to_owned())
        })
        .collect();
    assert_eq!(listed, present, "every transcript is in the table");
    println!("{} transcripts judged", table.len());
}

#[test]
fn tokens_and_costs_are_counted() {
    fn check(name: &str, input: u64, output: u64, turn_cost: Option<f64>, cumulative: f64) {
        let (reader, _) = read(&load(name).output, 100);
        let tokens = reader.tokens();
        assert_eq!((tokens.input, tokens.output), (input, output), "{name}");
        let usage = reader.end().map(|end| end.usage.clone()).unwrap_or_default();
        assert_eq!(usage.turn_cost_usd(), turn_cost, "{name}");
        assert!((usage.cost_usd_cumulative - cumulative).abs() < 1e-9, "{name}");
    }
    check("new-stream", 1000, 50, Some(0.005), 0.005);
    // The cost is cumulative across a resume; the delta is this turn's.
    check("new-resume", 1000, 50, Some(0.005), 0.01);
    check("new-warm-stream-json-two-turns", 1000, 50, Some(0.005), 0.01);
    check("new-tool-write", 2000, 100, Some(0.01), 0.01);
    // The tokens are reported as zero; the delta by model has them.
    check("new-budget-exceeded", 100_000, 5000, Some(0.5), 0.5);
    // Killed: there is no result, only what was streamed is known.
    check("new-SIGTERM-text", 1000, 1, None, 0.0);
    check("old-stream", 1000, 50, None, 0.00625);
    check("new-json", 1000, 50, None, 0.005);
    check("new-http400", 0, 0, None, 0.0);
}

#[test]
fn events_tell_what_happened() {
    fn check(name: &str, expected: &[&str]) {
        let (_, events) = read(&load(name).output, 4096);
        let words: Vec<String> = events
            .iter()
            .map(|event| match event {
                AgentEvent::Started { version, .. } => format!("started {version}"),
                AgentEvent::Text { text } => {
                    format!("text {}", text.chars().take(12).collect::<String>())
                }
                AgentEvent::ToolStarted { name, summary, .. } => format!("+{name} {summary}"),
                AgentEvent::ToolEnded { is_error, .. } => format!("-tool {is_error}"),
                AgentEvent::Retrying { attempt, max, delay_ms, status } => {
                    format!("retry {attempt}/{max} {delay_ms} {status:?}")
                }
                AgentEvent::PermissionDenied { tool } => format!("denied {tool}"),
                AgentEvent::UsageLimit { .. } => "limit".to_owned(),
                AgentEvent::Usage(TokenUsage { input, output, .. }) => {
                    format!("usage {input}/{output}")
                }
                AgentEvent::Ended(end) => format!("ended {}", end.kind),
            })
            .collect();
        assert_eq!(words, expected, "{name}");
    }
    check(
        "new-tool-write",
        &[
            "started 2.1.329",
            "text I will call ",
            "usage 1000/1",
            "+Write /home/agent/repo/out.txt",
            "-tool false",
            "text tool said: F",
            "usage 2000/2",
            "ended success",
        ],
    );
    check(
        "new-http429-retries2",
        &[
            "started 2.1.329",
            "retry 1/2 1077 Some(429)",
            "retry 2/2 1114 Some(429)",
            "text API Error: R",
            "ended success",
        ],
    );
    check(
        "old-stream",
        &["started 2.1.197", "usage 1000/1", "text one two thre", "usage 1000/50", "ended success"],
    );
    check(
        "new-perm-none",
        &[
            "started 2.1.329",
            "text I will call ",
            "usage 1000/1",
            "+Bash touch /home/agent/repo/pm_marker_z",
            "denied Bash",
            "-tool true",
            "text tool said (e",
            "usage 2000/2",
            "ended success",
        ],
    );
    check("new-agent-missing", &[]);
}

#[test]
fn a_warm_process_ends_each_of_its_turns() {
    let (_, events) = read(&load("new-control-protocol").output, 4096);
    let ends: Vec<(bool, usize)> = events
        .iter()
        .filter_map(|event| match event {
            AgentEvent::Ended(end) => Some((end.is_error, end.denied_tools.len())),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [(false, 0), (false, 0), (true, 0), (false, 0)]);
}

#[test]
fn a_reader_goes_on_from_its_checkpoint_at_every_byte() {
    let output = load("new-tool-write").output;
    let (whole, events) = read(&output, usize::MAX);
    let mut open_somewhere = false;
    for cut in (0..=output.len()).step_by(97) {
        let mut first = TurnReader::new(AgentKind::Claude);
        let mut seen = first.feed(&output[..cut]);
        open_somewhere |= first.tool_open();
        let stored = serde_json::to_vec(&first.checkpoint()).unwrap();
        let stored: afk_agent::agents::turn::Checkpoint = serde_json::from_slice(&stored).unwrap();
        let from = usize::try_from(stored.offset()).unwrap();
        let mut second = TurnReader::resume(stored);
        seen.extend(second.feed(&output[from..]));
        seen.extend(second.finish());
        assert_eq!(seen, events, "cut at {cut}");
        assert_eq!(second.tokens(), whole.tokens());
        assert!(!second.tool_open());
    }
    assert!(open_somewhere, "a tool is open between its start and its end");
}

#[test]
fn what_is_unknown_is_passed_over_and_what_is_garbage_is_counted() {
    fn check(line: &str, unread: u64, events: usize) {
        let mut reader = TurnReader::new(AgentKind::Claude);
        let got = reader.feed(format!("{line}\n").as_bytes());
        assert_eq!(reader.unread_lines(), unread, "{line}");
        assert_eq!(got.len(), events, "{line}: {got:?}");
    }
    check("", 0, 0);
    check("not json", 1, 0);
    check("[1]", 1, 0);
    check("{\"type\":", 1, 0);
    check("{}", 0, 0);
    check(r#"{"type":"keep_alive"}"#, 0, 0);
    check(r#"{"type":"system","subtype":"new_thing"}"#, 0, 0);
    check(r#"{"type":"assistant","message":{"content":[{"type":"hologram"}]}}"#, 0, 0);
    check(r#"{"type":"user","message":{"role":"user","content":"plain"}}"#, 0, 0);
    // The value of the key `type` decides, wherever it stands in the line.
    check(r#"{"x":"\"type\":\"result\"","type":"keep_alive"}"#, 0, 0);
    check(r#"{"is_error":false,"type":"result"}"#, 0, 1);
    check(
        r#"{"type":"assistant","message":{"id":"m","content":[{"type":"hologram"},{"type":"text","text":"x"}]}}"#,
        0,
        1,
    );
    let long = format!(r#"{{"type":"keep_alive","x":"{}"}}"#, "x".repeat(9 * 1024 * 1024));
    check(&long, 1, 0);
    let image = format!(
        r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"t","content":"{}"}}]}}}}"#,
        "x".repeat(6 * 1024 * 1024)
    );
    check(&image, 0, 1);
}

/// A line in which a text was cut in the middle of a character ends its tool like any other.
#[test]
fn half_a_character_does_not_make_a_line_unreadable() {
    let mut reader = TurnReader::new(AgentKind::Claude);
    let called = r#"{"type":"assistant","message":{"id":"m","content":[{"type":"tool_use","id":"t","name":"Read","input":{}}]}}"#;
    let _ = reader.feed(format!("{called}\n").as_bytes());
    assert!(reader.tool_open());
    let ended = r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t","content":"cut \ud83c..."}]}}"#;
    assert_eq!(reader.feed(format!("{ended}\n").as_bytes()).len(), 1);
    assert!(!reader.tool_open());
    assert_eq!(reader.unread_lines(), 0);
}

#[test]
fn a_result_that_does_not_say_success_is_a_failure() {
    fn check(line: &str, finished: bool) {
        let mut reader = TurnReader::new(AgentKind::Claude);
        let _ = reader.feed(format!("{line}\n").as_bytes());
        let outcome = reader.outcome(&Exit::Exited { code: 0 }, "", false);
        let got = matches!(outcome, TurnOutcome::Finished { .. });
        assert_eq!(got, finished, "{line}: {outcome:?}");
    }
    check(r#"{"type":"result","subtype":"success","is_error":false,"result":"x"}"#, true);
    check(r#"{"type":"result","subtype":"success","is_error":true,"result":"x"}"#, false);
    check(r#"{"type":"result","subtype":"success","result":"x"}"#, false);
    check(r#"{"type":"result","subtype":"success","is_error":"no"}"#, false);
    let denied = |tool: &str| {
        format!(
            r#"{{"type":"result","is_error":false,"permission_denials":[{{"tool_name":"{tool}"}}]}}"#
        )
    };
    check(&denied("Bash"), false);
    // There is no person to ask; the agent goes on without an answer.
    check(&denied("AskUserQuestion"), true);
}

/// After a budget is reached, calls of subagents go on, and no result counts them.
#[test]
fn what_subagents_are_answered_after_the_end_is_counted() {
    let mut reader = TurnReader::new(AgentKind::Claude);
    let answer = |id: &str, parent: Option<&str>, input: u64, output: u64| {
        serde_json::json!({
            "type": "assistant", "parent_tool_use_id": parent,
            "message": {
                "id": id, "content": [],
                "usage": { "input_tokens": input, "output_tokens": output },
            },
        })
    };
    let mut feed = |line: serde_json::Value| {
        let _ = reader.feed(format!("{line}\n").as_bytes());
        reader.cut_off()
    };
    feed(serde_json::json!({
        "type": "system", "subtype": "init", "session_id": "s", "model": "m",
        "claude_code_version": "2.1.329",
    }));
    feed(answer("one", None, 10, 5));
    let cut = feed(serde_json::json!({
        "type": "result", "subtype": "error_max_budget_usd", "is_error": true,
        "total_cost_usd": 1.0, "usage": {},
    }));
    assert!(cut.is_zero(), "{cut:?}");
    let cut = feed(answer("two", Some("task"), 100, 7));
    assert_eq!((cut.input, cut.output), (100, 7));
    // The same message again, with more tokens.
    let cut = feed(answer("two", Some("task"), 100, 9));
    assert_eq!((cut.input, cut.output), (100, 9));
    let cut = feed(answer("three", Some("task"), 50, 1));
    assert_eq!((cut.input, cut.output), (150, 10));
}

/// If the model's API fails in the middle of an answer, the CLI asks for it again without a stream.
#[test]
fn an_answer_that_came_in_one_piece_after_its_stream_broke_off_is_not_cut_off() {
    let mut reader = TurnReader::new(AgentKind::Claude);
    let usage = |output: u64| serde_json::json!({"input_tokens": 1000, "output_tokens": output});
    let event = |event: Value| {
        let kind = "stream_event";
        serde_json::json!({"type": kind, "event": event, "parent_tool_use_id": null})
    };
    let lines = [
        serde_json::json!({"type": "system", "subtype": "init", "session_id": "s", "model": "m",
            "claude_code_version": "2.1.329"}),
        event(serde_json::json!({"type": "message_start",
            "message": {"id": "m1", "usage": usage(1)}})),
        event(serde_json::json!({"type": "message_stop"})),
    ];
    for line in lines {
        let _ = reader.feed(format!("{line}\n").as_bytes());
    }
    assert_eq!(reader.cut_off().input, 1000, "killed here, it has cost that");
    let lines = [
        serde_json::json!({"type": "assistant", "parent_tool_use_id": null,
            "message": {"id": "m2", "usage": usage(50),
                "content": [{"type": "text", "text": "one two three"}]}}),
        serde_json::json!({"type": "result", "subtype": "success", "is_error": false,
            "result": "one two three", "total_cost_usd": 0.0025,
            "usage": {"input_tokens": 2000, "output_tokens": 51}}),
    ];
    for line in lines {
        let _ = reader.feed(format!("{line}\n").as_bytes());
    }
    assert!(reader.cut_off().is_zero(), "{:?}", reader.cut_off());
}

#[test]
fn a_usage_limit_is_told_with_its_reset_time() {
    fn check(lines: &[&str], expected: &FailReason, limits: usize) {
        let mut reader = TurnReader::new(AgentKind::Claude);
        let events = reader.feed(format!("{}\n", lines.join("\n")).as_bytes());
        let got =
            events.iter().filter(|event| matches!(event, AgentEvent::UsageLimit { .. })).count();
        assert_eq!(got, limits, "{lines:?}");
        match reader.outcome(&Exit::Exited { code: 1 }, "", false) {
            TurnOutcome::Failed { reason, .. } => assert_eq!(&reason, expected, "{lines:?}"),
            other => panic!("{other:?}"),
        }
    }
    let limit = |seconds: Option<i64>| FailReason::UsageLimit {
        resets_at: seconds.map(|at| jiff::Timestamp::from_second(at).unwrap()),
    };
    let failed = r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"x"}"#;
    let event = |status: &str| {
        format!(
            r#"{{"type":"rate_limit_event","rate_limit_info":{{"status":"{status}","resetsAt":1800000000}}}}"#
        )
    };
    check(&[&event("rejected"), failed], &limit(Some(1_800_000_000)), 1);
    let api = FailReason::ApiError { status: Some(429) };
    check(&[&event("allowed_warning"), failed], &api, 0);
    check(&[&event("rejected"), &event("allowed"), failed], &api, 1);
    check(
        &[
            r#"{"type":"result","is_error":true,"result":"Claude AI usage limit reached|1800000000"}"#,
        ],
        &limit(Some(1_800_000_000)),
        1,
    );
    check(
        &[
            r#"{"type":"result","is_error":true,"result":"You've hit your session limit · resets 3pm"}"#,
        ],
        &limit(None),
        1,
    );
}

/// A reader of a turn whose result line has these additional fields.
fn ended_with(fields: &str) -> TurnReader {
    let result = format!(
        r#"{{"type":"result","subtype":"success","is_error":false,"result":"done",{fields}}}"#
    );
    read(result.as_bytes(), usize::MAX).0
}

#[test]
fn an_odd_field_does_not_lose_a_result() {
    for odd in [
        r#""num_turns":2.5"#,
        r#""num_turns":"two""#,
        r#""api_error_status":"none""#,
        r#""duration_ms":null"#,
        r#""usage":{"input_tokens":"many"}"#,
        r#""usage":7"#,
        r#""total_cost_usd":"1.5""#,
        r#""model_usage_since_last_result":{"m":{"costUSD":null,"inputTokens":3}}"#,
        r#""model_usage_since_last_result":[]"#,
        r#""permission_denials":null"#,
        r#""terminal_reason":{}"#,
        r#""errors":"none""#,
    ] {
        let outcome = ended_with(odd).outcome(&Exit::Exited { code: 0 }, "", false);
        assert_eq!(outcome, TurnOutcome::Finished { text: "done".to_owned() }, "{odd}");
    }
    let told =
        ended_with(r#""model_usage_since_last_result":{"m":{"costUSD":null,"inputTokens":3}}"#);
    assert_eq!(told.tokens().input, 3, "what can be read counts");
    // Without a readable `is_error` the turn failed, and an unreadable denial still counts.
    let unclear = r#"{"type":"result","is_error":"no","api_error_status":"401"}"#;
    let (reader, _) = read(unclear.as_bytes(), usize::MAX);
    let end = reader.end().unwrap();
    assert!(end.is_error);
    assert_eq!(end.api_status, Some(401));
    let denied = ended_with(r#""permission_denials":["Bash"]"#);
    let outcome = denied.outcome(&Exit::Exited { code: 0 }, "", false);
    assert!(matches!(outcome, TurnOutcome::Failed { .. }), "{outcome:?}");
}

#[test]
fn what_nobody_can_answer_is_known_until_the_turn_ends() {
    let request = |id: &str, request: &str| {
        format!(r#"{{"type":"control_request","request_id":"{id}","request":{request}}}"#)
    };
    let mut lines = vec![
        request("hook", r#"{"subtype":"hook_callback","callback_id":"x"}"#),
        request("gone", r#"{"subtype":"of a later version"}"#),
        r#"{"type":"control_cancel_request","request_id":"gone"}"#.to_owned(),
    ];
    let ask = r#"{"subtype":"can_use_tool","tool_name":"Bash","input":{},"tool_use_id":"t"}"#;
    lines.extend((0..66).map(|n| request(&format!("ask-{n}"), ask)));
    let (mut reader, _) = read(lines.join("\n").as_bytes(), usize::MAX);
    assert_eq!(reader.asks().len(), 64);
    assert_eq!(reader.unanswerable(), ["hook", "ask-64", "ask-65"]);
    let _ = reader.feed(b"\n{\"type\":\"result\",\"is_error\":false}\n");
    assert!(reader.unanswerable().is_empty());
}

#[test]
fn a_refused_account_or_model_is_no_fault_of_the_turn() {
    let check = |fields: &str, expected: &FailReason| {
        let line = format!(r#"{{"type":"result","is_error":true,{fields}}}"#);
        let (reader, _) = read(line.as_bytes(), usize::MAX);
        match reader.outcome(&Exit::Exited { code: 1 }, "", false) {
            TurnOutcome::Failed { reason, .. } => assert_eq!(&reason, expected, "{fields}"),
            other => panic!("{fields}: {other:?}"),
        }
    };
    let no_model = FailReason::ApiError { status: Some(404) };
    let credit = r#""result":"Credit balance is too low""#;
    check(credit, &FailReason::NoCredit);
    check(&format!(r#"{credit},"api_error_status":400"#), &FailReason::NoCredit);
    check(r#""result":"API Error: 404","api_error_status":404"#, &no_model);
    check(r#""result":"There's an issue with the selected model (x).""#, &no_model);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done to the bytes, reading them ends in some outcome, and a turn
    /// without a result line is never a finished one.
    #[test]
    fn damaged_output_is_never_a_panic_nor_a_made_up_success(
        at in 0usize..8000,
        cut in 0usize..4000,
        noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut output = load("new-tool-write").output;
        let at = at.min(output.len());
        let end = (at + cut).min(output.len());
        output.splice(at..end, noise);
        let (reader, events) = read(&output, 512);
        let outcome = reader.outcome(&Exit::Exited { code: 0 }, "", false);
        let ended = events.iter().any(|event| matches!(event, AgentEvent::Ended(_)));
        let finished = matches!(outcome, TurnOutcome::Finished { .. });
        prop_assert!(ended || !finished);
        for event in events {
            let json = serde_json::to_string(&event).unwrap();
            prop_assert_eq!(serde_json::from_str::<AgentEvent>(&json).unwrap(), event);
        }
    }
}
