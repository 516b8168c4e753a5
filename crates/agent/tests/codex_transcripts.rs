//! Recorded outputs of `codex exec --json` 0.171, read back through the relay's log.
//!
//! `tests/fixtures/codex/README.md` says what each recording is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use afk_agent::agents::ask::Access;
use afk_agent::agents::relay::wire::{ConversationState, Protocol, RelayEntry, RelayRequest};
use afk_agent::agents::{
    AgentEvent, AgentKind, Exit, FailReason, TokenUsage, TurnOutcome, TurnReader,
};
use proptest::prelude::*;

fn request(earlier: Option<ConversationState>) -> RelayRequest {
    RelayRequest {
        protocol: Protocol::CodexExec,
        argv: vec!["codex".into(), "exec".into()],
        cwd: "/clone".into(),
        earlier,
        prompt: String::new(),
        opening_prompt: String::new(),
        access: Access::Full,
        model: None,
        mode: None,
        auth_method: None,
        start_ms: 1,
        grace_ms: 1,
    }
}

fn fixture(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/codex");
    std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap()
}

/// The log that a relay would have written of a recorded output.
fn log(name: &str, code: Option<i32>, earlier: Option<ConversationState>) -> Vec<u8> {
    let mut log = RelayEntry::Begun(Box::new(request(earlier))).line();
    for line in fixture(name).lines() {
        log.extend(RelayEntry::of_agent(line, Protocol::CodexExec).1);
    }
    let signal = code.is_none().then_some(9);
    log.extend(RelayEntry::Exited { code, signal, ours: false }.line());
    log
}

fn read(log: &[u8], chunk: usize) -> (TurnReader, Vec<AgentEvent>) {
    let mut reader = TurnReader::new(AgentKind::Codex);
    let mut events = Vec::new();
    for part in log.chunks(chunk) {
        events.extend(reader.feed(part));
    }
    events.extend(reader.finish());
    (reader, events)
}

#[test]
fn every_recorded_end_is_told_apart() {
    fn check(name: &str, code: Option<i32>, expected: Option<&FailReason>) {
        let (reader, events) = read(&log(name, code, None), usize::MAX);
        assert_eq!(reader.unread_lines(), 0, "{name}");
        let exit = match code {
            Some(code) => Exit::Exited { code },
            None => Exit::Signalled { signal: 9 },
        };
        match (reader.outcome(&exit, "", false), expected) {
            (TurnOutcome::Finished { text }, None) => assert_eq!(text, "done", "{name}"),
            (TurnOutcome::Failed { reason, message }, Some(expected)) => {
                assert_eq!(&reason, expected, "{name}");
                assert!(!message.is_empty(), "{name}");
            }
            (other, _) => panic!("{name}: {other:?}"),
        }
        assert!(matches!(events[0], AgentEvent::Started { .. }), "{name}: {events:?}");
        assert!(!reader.tool_open(), "{name}");
        assert_eq!(reader.outcome(&exit, "", true) == TurnOutcome::Interrupted, expected.is_some());
    }
    let api = |status| FailReason::ApiError { status };
    let agent = FailReason::AgentError;
    check("ok", Some(0), None);
    check("ng", Some(0), None);
    check("nousage", Some(0), None);
    check("sb1", Some(0), None);
    for name in ["empty", "refusal"] {
        check(name, Some(0), Some(&FailReason::NoResult));
    }
    check("cut", Some(1), Some(&api(None)));
    for name in ["failed", "f_content_filter"] {
        check(name, Some(1), Some(&FailReason::BrokenOff));
    }
    check("h401", Some(1), Some(&api(Some(401))));
    check("h403b", Some(1), Some(&api(Some(403))));
    for name in ["h429", "rl429", "f_rate_limit_exceeded"] {
        check(name, Some(1), Some(&api(Some(429))));
    }
    for name in ["h500", "h500b"] {
        check(name, Some(1), Some(&api(Some(500))));
    }
    check("f_server_is_overloaded", Some(1), Some(&api(Some(503))));
    check("ulr", Some(1), Some(&FailReason::UsageLimit { resets_at: None }));
    check("f_insufficient_quota", Some(1), Some(&FailReason::UsageLimit { resets_at: None }));
    check("f_context_length_exceeded", Some(1), Some(&FailReason::StuckConversation));
    for name in ["h400", "f_cyber_policy", "f_invalid_prompt", "uni"] {
        check(name, Some(1), Some(&agent));
    }
    // After a signal there is no event that ends the turn.
    check("sigint_cmd", Some(1), Some(&FailReason::NoResult));
    check("sigkill_cmd", None, Some(&FailReason::Killed { signal: 9 }));
    check("sigterm_model", None, Some(&FailReason::Killed { signal: 9 }));
}

/// A fault of other products: they add up what Codex reports, although that is the total of a
/// thread across resumes.
#[test]
fn a_thread_s_total_is_counted_once() {
    let (first, events) = read(&log("ok", Some(0), None), usize::MAX);
    let own = TokenUsage { input: 120, output: 40, cache_read: 80, cache_write: 0 };
    assert_eq!(first.tokens(), own);
    let counted = events.iter().filter(|event| matches!(event, AgentEvent::Usage(_))).count();
    assert_eq!(counted, 1);
    // The same thread had used a part of that in an earlier turn.
    let id = first.conversation().unwrap().id.clone();
    let tokens = TokenUsage { input: 60, output: 20, cache_read: 40, cache_write: 0 };
    let earlier = ConversationState { id: id.clone(), tokens, cost_usd: 0.0 };
    let (second, _) = read(&log("ok", Some(0), Some(earlier)), usize::MAX);
    assert_eq!(second.tokens(), tokens);
    assert_eq!(second.conversation().unwrap().tokens, own);
    // A thread other than the one to be resumed has no earlier usage.
    let other = ConversationState { id: "other".into(), tokens, cost_usd: 0.0 };
    let (third, _) = read(&log("ok", Some(0), Some(other)), usize::MAX);
    assert_eq!(third.tokens(), own);
    assert_eq!(third.conversation().unwrap().id, id);
}

#[test]
fn retries_are_told_and_end_nothing() {
    let (_, events) = read(&log("failed", Some(1), None), usize::MAX);
    let retries: Vec<(u32, u32)> = events
        .iter()
        .filter_map(|event| match event {
            AgentEvent::Retrying { attempt, max, .. } => Some((*attempt, *max)),
            _ => None,
        })
        .collect();
    assert_eq!(retries, [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn chunks_and_checkpoints_change_nothing(cut in 0usize..4000, chunk in 1usize..700) {
        for name in ["ok", "failed", "sigint_cmd"] {
            let log = log(name, Some(1), None);
            let (whole, events) = read(&log, usize::MAX);
            let (pieces, same) = read(&log, chunk);
            prop_assert_eq!(&events, &same);
            prop_assert_eq!(whole.tokens(), pieces.tokens());
            let cut = cut.min(log.len());
            let mut first = TurnReader::new(AgentKind::Codex);
            let mut seen = first.feed(&log[..cut]);
            let stored = serde_json::to_vec(&first.checkpoint()).unwrap();
            let stored: afk_agent::agents::turn::Checkpoint =
                serde_json::from_slice(&stored).unwrap();
            let from = usize::try_from(stored.offset()).unwrap();
            let mut second = TurnReader::resume(stored);
            seen.extend(second.feed(&log[from..]));
            seen.extend(second.finish());
            prop_assert_eq!(seen, events);
            let exit = Exit::Exited { code: 1 };
            prop_assert_eq!(second.outcome(&exit, "", false), whole.outcome(&exit, "", false));
        }
    }

    #[test]
    fn damaged_logs_are_never_a_panic_nor_a_made_up_success(
        at in 0usize..4000,
        cut in 1usize..2000,
        noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut log = log("ok", Some(0), None);
        let at = at.min(log.len());
        let end = (at + cut).min(log.len());
        log.splice(at..end, noise);
        let (reader, events) = read(&log, 512);
        let outcome = reader.outcome(&Exit::Exited { code: 0 }, "", false);
        let ended = events.iter().any(|event| matches!(event, AgentEvent::Ended(_)));
        let finished = matches!(outcome, TurnOutcome::Finished { .. });
        prop_assert!(ended || !finished);
    }
}
