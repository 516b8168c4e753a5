//! Both adapters of the Agent Client Protocol, pinned, around the real CLIs, against stand-ins for
//! their models, through the relay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod running;

use std::time::{Duration, Instant};

use afk_agent::agents::ask::{Access, Reply as Answer};
use afk_agent::agents::relay;
use afk_agent::agents::relay::wire::{ConversationState, InputLine, Protocol, RelayRequest};
use afk_agent::agents::{AgentEvent, AgentKind, FailReason, TurnOutcome};
use afk_stand_ins::acp_adapters::{self, Adapter};
use afk_stand_ins::model_api::{ModelApi, Reply, Script};
use afk_stand_ins::responses_api::ResponsesApi;
use afk_stand_ins::wire_schema;
use running::{Done, Running};
use rustix::process::Signal;

/// A stand-in for either model.
enum Model {
    Claude(ModelApi),
    Codex(ResponsesApi),
}

struct Stage {
    adapter: Adapter,
    model: Model,
    home: tempfile::TempDir,
    repo: tempfile::TempDir,
}

impl Stage {
    fn claude(test: &str, script: Script) -> Option<Self> {
        let adapter = acp_adapters::claude(test)?;
        Some(Self::new(adapter, Model::Claude(ModelApi::start(script).unwrap())))
    }

    fn codex(test: &str, script: Script) -> Option<Self> {
        let adapter = acp_adapters::codex(test)?;
        Some(Self::new(adapter, Model::Codex(ResponsesApi::start(script).unwrap())))
    }

    /// Both adapters, or those that are available.
    fn both(test: &str, script: &Script) -> Vec<Self> {
        [Self::claude(test, script.clone()), Self::codex(test, script.clone())]
            .into_iter()
            .flatten()
            .collect()
    }

    fn new(adapter: Adapter, model: Model) -> Self {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { adapter, model, home, repo: tempfile::tempdir().unwrap() }
    }

    fn name(&self) -> &'static str {
        match self.model {
            Model::Claude(_) => "claude",
            Model::Codex(_) => "codex",
        }
    }

    fn request(&self, prompt: &str, earlier: Option<ConversationState>) -> RelayRequest {
        RelayRequest {
            protocol: Protocol::Acp,
            argv: self.adapter.command(),
            cwd: self.repo.path().to_str().unwrap().to_owned(),
            earlier,
            prompt: prompt.into(),
            opening_prompt: format!("anew: {prompt}"),
            access: Access::Full,
            model: None,
            mode: None,
            auth_method: None,
            start_ms: 60_000,
            grace_ms: 2_000,
        }
    }

    fn start(&self, request: &RelayRequest) -> Running {
        let home = self.home.path().to_str().unwrap();
        let mut env: Vec<(String, String)> = [
            ("HOME", home),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("IS_SANDBOX", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.to_owned()));
        match &self.model {
            Model::Claude(api) => {
                set("ANTHROPIC_BASE_URL", &api.url());
                set("ANTHROPIC_API_KEY", "sk-ant-canary");
                set("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
                set("CLAUDE_CODE_MAX_RETRIES", "1");
            }
            Model::Codex(api) => {
                set("CODEX_HOME", home);
                set("CODEX_API_KEY", "sk-canary");
                set("MODEL_PROVIDER", "standin");
                set("CODEX_CONFIG", &codex_config(&api.url()));
            }
        }
        let env = env.into_iter().map(|(name, value)| (name, value.into())).collect();
        let invocation =
            relay::command::turn(env!("CARGO_BIN_EXE_agent-relay").into(), request, env);
        Running::start_talking(AgentKind::Acp, &invocation, self.repo.path())
    }

    fn run(&self, request: &RelayRequest) -> Done {
        self.start(request).finish(false)
    }

    fn sent(&self) -> String {
        match &self.model {
            Model::Claude(api) => api.everything_sent(),
            Model::Codex(api) => api.everything_sent(),
        }
    }
}

/// Asserts that all sent messages, at least `at_least` of them, conform to the protocol's schema.
fn agrees(stage: &Stage, done: &Done, at_least: usize) {
    if let Some(judged) = wire_schema::of_acp(&stage.adapter, &done.output) {
        assert!(judged >= at_least, "{judged} messages");
    }
}

#[test]
#[should_panic(expected = "session/new")]
fn a_message_that_disagrees_with_the_schema_is_noticed() {
    let Some(adapter) = acp_adapters::claude("a_message_that_disagrees") else {
        panic!("session/new cannot be judged without the adapter");
    };
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":7}}"#;
    let log = format!(r#"{{"client":{message}}}"#);
    assert_eq!(wire_schema::of_acp(&adapter, log.as_bytes()), None, "session/new");
}

/// The configuration that points the adapter's Codex to a stand-in.
fn codex_config(url: &str) -> String {
    serde_json::json!({
        "model": "standin",
        "model_provider": "standin",
        "model_providers": {"standin": {
            "name": "standin", "base_url": url, "env_key": "CODEX_API_KEY",
            "wire_api": "responses", "request_max_retries": 0, "stream_max_retries": 0,
        }},
    })
    .to_string()
}

#[test]
fn a_turn_with_commands_changes_files_and_its_session_goes_on() {
    // By text and not in order, because the adapters ask their models for titles, too.
    let script = Script::default()
        .when(
            "write a greeting",
            vec![Reply::bash("printf 'hello\\n' > greeting.txt"), Reply::text("it is written")],
        )
        .when("go further", vec![Reply::text("and so on")]);
    for stage in Stage::both("a_turn_with_commands", &script) {
        let name = stage.name();
        let first = stage.run(&stage.request("write a greeting", None));
        assert_eq!(first.finished(), "it is written", "{name}");
        let written = std::fs::read_to_string(stage.repo.path().join("greeting.txt")).unwrap();
        assert_eq!(written, "hello\n");
        assert!(!first.reader.tokens().is_zero(), "{name}");
        assert!(!first.reader.tool_open(), "{name}");
        let version = match name {
            "claude" => acp_adapters::CLAUDE_VERSION,
            _ => acp_adapters::CODEX_VERSION,
        };
        assert!(
            matches!(&first.events[0], AgentEvent::Started { version: told, .. } if told == version)
        );
        assert!(stage.sent().contains("anew: write a greeting"), "{name}");

        let earlier = first.reader.conversation().unwrap().clone();
        let second = stage.run(&stage.request("go further", Some(earlier.clone())));
        assert_eq!(second.finished(), "and so on", "{name}");
        let now = second.reader.conversation().unwrap();
        assert_eq!(now.id, earlier.id, "{name}");
        assert!(!stage.sent().contains("anew: go further"), "{name}");
        agrees(&stage, &first, 4);
        agrees(&stage, &second, 3);
        // Only this turn's one answer is counted, not the session's three.
        let usage = &second.reader.end().unwrap().usage;
        if name == "claude" {
            assert_eq!(second.reader.tokens().output, 50);
            let own = usage.turn_cost_usd().unwrap();
            assert!(usage.cost_usd_cumulative > own && own > 0.0, "{usage:?}");
        } else {
            assert_eq!(second.reader.tokens().output, 20);
        }
    }
}

/// A fault of other products: an adapter answers `end_turn` although the model's API failed.
#[test]
fn failures_of_the_model_fail_the_turn() {
    // Claude's adapter retries, whatever its CLI is told, so each script has one kind of reply
    // only.
    let script = Script::turns([vec![Reply::Status(401); 12]]);
    for stage in Stage::both("failures_of_the_model", &script) {
        let done = stage.run(&stage.request("go", None));
        let reason = done.reason();
        assert!(
            matches!(reason, FailReason::NotSignedIn | FailReason::ApiError { .. }),
            "{}: {reason:?}",
            stage.name()
        );
    }
    let script = Script::turns([vec![Reply::UsageLimit { resets_at: 4_000_000_000 }; 12]]);
    let Some(stage) = Stage::codex("failures_of_the_model", script) else { return };
    let done = stage.run(&stage.request("go", None));
    assert_eq!(done.reason(), &FailReason::UsageLimit { resets_at: None });
    let script = Script::turns([vec![Reply::Status(500); 12]]);
    let Some(stage) = Stage::codex("failures_of_the_model", script) else { return };
    let done = stage.run(&stage.request("go", None));
    assert_eq!(done.reason(), &FailReason::ApiError { status: Some(500) });
}

#[test]
fn an_unknown_session_is_opened_anew() {
    for stage in Stage::both("an_unknown_session", &Script::default()) {
        let id = "01a2263c-1e81-7c82-a5d4-49efea70923e".to_owned();
        let earlier = ConversationState { id: id.clone(), ..ConversationState::default() };
        let done = stage.run(&stage.request("go", Some(earlier)));
        assert_eq!(done.finished(), "done", "{}", stage.name());
        assert_ne!(done.reader.conversation().unwrap().id, id);
        assert!(stage.sent().contains("anew: go"));
    }
}

#[test]
fn a_turn_is_cancelled() {
    let script = Script::turns([vec![Reply::bash("sleep 100")]]);
    for stage in Stage::both("a_turn_is_cancelled", &script) {
        let running = stage.start(&stage.request("go", None));
        running.wait_for("sleep 100");
        let told = Instant::now();
        running.signal(Signal::TERM);
        let done = running.finish(true);
        // The check of the messages below may install what it needs, so it is not timed.
        let took = told.elapsed();
        assert_eq!(done.outcome, TurnOutcome::Interrupted, "{}", stage.name());
        agrees(&stage, &done, 4);
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert!(done.reader.conversation().is_some());
    }
}

#[test]
fn a_person_allows_what_claude_asks() {
    let script =
        Script::turns([vec![Reply::bash("touch allowed"), Reply::text("did what was allowed")]]);
    let Some(stage) = Stage::claude("a_person_allows", script) else { return };
    let request = RelayRequest { access: Access::Ask, ..stage.request("go", None) };
    let mut running = stage.start(&request);
    let ask = running.wait_for_ask();
    assert!(ask.input.to_string().contains("touch allowed"), "{ask:?}");
    running.say(&InputLine::Answer { id: ask.id, reply: Answer::Allow }.line());
    let done = running.finish(false);
    assert_eq!(done.finished(), "did what was allowed");
    agrees(&stage, &done, 4);
    assert!(stage.repo.path().join("allowed").exists());
}
