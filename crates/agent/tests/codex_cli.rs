//! The real Codex, pinned, against a stand-in for its model, through the relay.
//!
//! What is proven here is that the command lines, the dialogue, the readers and the fold fit the
//! program that users run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod running;

use std::path::PathBuf;
use std::time::Duration;

use afk_agent::agents::ask::{Access, Reply as Answer};
use afk_agent::agents::codex::command::{self, CodexCommand};
use afk_agent::agents::relay;
use afk_agent::agents::relay::wire::{ConversationState, InputLine, Protocol, RelayRequest};
use afk_agent::agents::{AgentEvent, AgentKind, FailReason, Invocation, TurnOutcome};
use afk_stand_ins::codex_cli;
use afk_stand_ins::responses_api::{Reply, ResponsesApi, Script};
use afk_stand_ins::wire_schema;
use running::{Done, Running};
use rustix::process::Signal;

const KEY: &str = "sk-canary-7f1c0d3b";

/// A home, a repository and a stand-in for one test.
struct Stage {
    binary: PathBuf,
    protocol: Protocol,
    /// Not below `/tmp`, where Codex refuses to put its helpers.
    home: tempfile::TempDir,
    repo: tempfile::TempDir,
    api: ResponsesApi,
}

impl Stage {
    /// `None`, with a printed notice, if Codex is not available.
    fn new(test: &str, protocol: Protocol, script: Script) -> Option<Self> {
        let binary = codex_cli::for_test(test)?;
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::create_dir(home.path().join(command::HOME)).unwrap();
        Some(Self {
            binary,
            protocol,
            home,
            repo: tempfile::tempdir().unwrap(),
            api: ResponsesApi::start(script).unwrap(),
        })
    }

    fn request(&self, prompt: &str, earlier: Option<ConversationState>) -> RelayRequest {
        self.with(prompt, earlier, Access::Full)
    }

    fn with(
        &self,
        prompt: &str,
        earlier: Option<ConversationState>,
        access: Access,
    ) -> RelayRequest {
        let argv = command::argv(&CodexCommand {
            binary: self.binary.clone(),
            protocol: self.protocol,
            model: Some("standin".into()),
            base_url: Some(self.api.url()),
            access,
            thread: earlier.as_ref().map(|earlier| earlier.id.clone()),
            cwd: self.repo.path().to_owned(),
        });
        RelayRequest {
            protocol: self.protocol,
            argv: argv.unwrap(),
            cwd: self.repo.path().to_str().unwrap().to_owned(),
            earlier,
            prompt: prompt.into(),
            opening_prompt: format!("anew: {prompt}"),
            access,
            model: None,
            mode: None,
            auth_method: None,
            start_ms: 60_000,
            grace_ms: 2_000,
        }
    }

    fn start(&self, request: &RelayRequest) -> Running {
        let mut env = command::env(self.home.path(), Some(&KEY.into()));
        env.push(("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()));
        let binary = env!("CARGO_BIN_EXE_agent-relay").into();
        let invocation: Invocation = relay::command::turn(binary, request, env);
        Running::start_talking(AgentKind::Codex, &invocation, self.repo.path())
    }

    fn run(&self, request: &RelayRequest) -> Done {
        self.start(request).finish(false)
    }
}

/// Asserts that all sent messages, at least `at_least` of them, conform to the schema of this very
/// Codex.
fn agrees(stage: &Stage, done: &Done, at_least: usize) {
    if let Some(judged) = wire_schema::of_codex(&stage.binary, &done.output) {
        assert!(judged >= at_least, "{judged} messages");
    }
}

#[test]
#[should_panic(expected = "thread/start")]
fn a_message_that_disagrees_with_the_schema_is_noticed() {
    let test = "a_message_that_disagrees";
    let Some(stage) = Stage::new(test, Protocol::CodexServer, Script::default()) else {
        panic!("thread/start cannot be judged without Codex");
    };
    let params = r#"{"sandbox": "no-such-mode"}"#;
    let log = format!(r#"{{"client":{{"id":1,"method":"thread/start","params":{params}}}}}"#);
    assert_eq!(wire_schema::of_codex(&stage.binary, log.as_bytes()), None, "thread/start");
}

const BOTH: [Protocol; 2] = [Protocol::CodexServer, Protocol::CodexExec];

#[test]
fn a_turn_with_commands_changes_files_and_finishes() {
    for protocol in BOTH {
        let script = Script::turns([vec![
            Reply::command("printf 'hello\\n' > greeting.txt; env > env.txt; false"),
            Reply::command("test -f greeting.txt && sleep 0.2"),
            Reply::text("it is written"),
        ]]);
        let Some(stage) = Stage::new("a_turn_with_commands", protocol, script) else { return };
        let done = stage.run(&stage.request("write a greeting", None));
        assert_eq!(done.finished(), "it is written", "{protocol:?}");
        let read = |name: &str| std::fs::read_to_string(stage.repo.path().join(name)).unwrap();
        assert_eq!(read("greeting.txt"), "hello\n");
        let AgentEvent::Started { session, version, .. } = &done.events[0] else {
            panic!("{:?}", done.events[0]);
        };
        assert_eq!(Some(session), done.reader.conversation().map(|known| &known.id));
        if protocol == Protocol::CodexServer {
            assert_eq!(version, codex_cli::VERSION);
            assert_eq!(version, command::TESTED, "people are told to install what is tested");
        }
        assert!(!done.reader.tool_open());
        // Three answers, each of which claims 60 uncached and 40 cached input tokens, and 20
        // output.
        let tokens = done.reader.tokens();
        assert_eq!((tokens.input, tokens.cache_read, tokens.output), (180, 120, 60));
        // Only the model's API gets the key, and no command does.
        assert!(!read("env.txt").contains(KEY), "{}", read("env.txt"));
        let sent = stage.api.requests();
        assert_eq!(sent[0].authorization, format!("Bearer {KEY}"));
        assert!(stage.api.everything_sent().contains("anew: write a greeting"));
    }
}

/// A fault of other products, with the real CLI: they add up what Codex reports, although that is
/// the thread's total.
#[test]
fn a_thread_goes_on_and_is_counted_once() {
    for protocol in BOTH {
        let script = Script::turns([
            vec![Reply::command("echo one"), Reply::text("first")],
            vec![Reply::text("second")],
        ]);
        let Some(stage) = Stage::new("a_thread_goes_on", protocol, script) else { return };
        let first = stage.run(&stage.request("one", None));
        assert_eq!(first.finished(), "first");
        let earlier = first.reader.conversation().unwrap().clone();
        assert_eq!(earlier.tokens.output, 40);
        let second = stage.run(&stage.request("two", Some(earlier.clone())));
        assert_eq!(second.finished(), "second", "{protocol:?}");
        assert_eq!(second.reader.tokens().output, 20, "{protocol:?}");
        let now = second.reader.conversation().unwrap();
        assert_eq!((&now.id, now.tokens.output), (&earlier.id, 60));
        if protocol == Protocol::CodexServer {
            agrees(&stage, &first, 4);
            agrees(&stage, &second, 4);
        }
        let last = stage.api.requests().pop().unwrap().body.to_string();
        assert!(last.contains("anew: one") && last.contains("\"two\""), "{last}");
    }
}

#[test]
fn an_unknown_thread_is_opened_anew_and_not_tried_again() {
    let unknown = || ConversationState {
        id: "01a2263c-1e81-7c82-a5d4-49efea70923e".into(),
        ..Default::default()
    };
    for protocol in BOTH {
        let Some(stage) = Stage::new("an_unknown_thread", protocol, Script::default()) else {
            return;
        };
        let done = stage.run(&stage.request("go", Some(unknown())));
        if protocol == Protocol::CodexServer {
            // The same process opens a new thread, with the prompt that tells the whole task.
            assert_eq!(done.finished(), "done");
            assert_ne!(done.reader.conversation().unwrap().id, unknown().id);
            assert!(stage.api.everything_sent().contains("anew: go"));
        } else {
            assert_eq!(done.reason(), &FailReason::UnknownSession);
            assert!(done.reader.conversation_unknown());
            assert_eq!(done.reader.conversation(), None);
        }
    }
}

#[test]
fn ends_are_told_apart() {
    fn check(reply: &Reply, server: &FailReason, exec: &FailReason) {
        for (protocol, expected) in BOTH.into_iter().zip([server, exec]) {
            let script = Script::turns([vec![reply.clone(); 8]]);
            let Some(stage) = Stage::new("ends_are_told_apart", protocol, script) else { return };
            let done = stage.run(&stage.request("go", None));
            assert_eq!(done.reason(), expected, "{protocol:?} {reply:?}");
        }
    }
    let api = |status| FailReason::ApiError { status };
    let at = |seconds| jiff::Timestamp::from_second(seconds).unwrap();
    let limit = |resets_at| FailReason::UsageLimit { resets_at };
    check(&Reply::Status(401), &api(Some(401)), &api(Some(401)));
    check(&Reply::Status(400), &FailReason::AgentError, &FailReason::AgentError);
    check(&Reply::Empty, &FailReason::NoResult, &FailReason::NoResult);
    check(&Reply::Refusal("no".into()), &FailReason::NoResult, &FailReason::NoResult);
    // When the limit resets, only the app server says.
    let resets = Reply::UsageLimit { resets_at: Some(4_000_000_000) };
    check(&resets, &limit(Some(at(4_000_000_000))), &limit(None));
    check(&Reply::UsageLimit { resets_at: None }, &limit(None), &limit(None));
    let code = "context_length_exceeded";
    let stuck = FailReason::StuckConversation;
    check(&Reply::failed(code), &stuck, &stuck);
}

#[test]
fn an_interrupt_ends_the_turn_within_the_grace() {
    for protocol in BOTH {
        let script = Script::turns([vec![Reply::command("sleep 100")]]);
        let Some(stage) = Stage::new("an_interrupt", protocol, script) else { return };
        let running = stage.start(&stage.request("go", None));
        running.wait_for("sleep 100");
        let told = std::time::Instant::now();
        running.signal(Signal::TERM);
        let done = running.finish(true);
        // The check of the messages below may install what it needs, so it is not timed.
        let took = told.elapsed();
        assert_eq!(done.outcome, TurnOutcome::Interrupted, "{protocol:?}");
        if protocol == Protocol::CodexServer {
            agrees(&stage, &done, 5);
        }
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert!(done.reader.conversation().is_some());
    }
}

#[test]
fn a_person_allows_and_refuses_commands() {
    // The text of a refusal reaches the model as input of the same turn.
    let script =
        Script::turns([vec![Reply::command("touch allowed"), Reply::command("touch refused")]])
            .when("use another name", vec![Reply::text("tried both")]);
    let Some(stage) = Stage::new("a_person_allows", Protocol::CodexServer, script) else { return };
    let mut running = stage.start(&stage.with("go", None, Access::Ask));
    let first = running.wait_for_ask();
    assert!(first.input.to_string().contains("touch allowed"), "{first:?}");
    running.say(&InputLine::Answer { id: first.id.clone(), reply: Answer::Allow }.line());
    let second = running.wait_for_ask_after(&first.id);
    assert!(second.input.to_string().contains("touch refused"), "{second:?}");
    let reply = Answer::Deny("use another name".into());
    running.say(&InputLine::Answer { id: second.id, reply }.line());
    let done = running.finish(false);
    assert_eq!(done.finished(), "tried both");
    assert!(stage.repo.path().join("allowed").exists());
    assert!(!stage.repo.path().join("refused").exists());
    // Among them two answers, and the text beside the second one.
    agrees(&stage, &done, 7);
}
