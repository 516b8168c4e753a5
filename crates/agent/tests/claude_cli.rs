//! The real Claude CLI, pinned, against a stand-in for the model's API.
//!
//! What is proven here is that the command line, the reader and the fold fit the
//! program that users run, and that text in a prompt stays text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod running;

use std::path::{Path, PathBuf};

use afk_agent::agents::claude::command::{self, Access, Credential, ProcessRequest};
use afk_agent::agents::claude::session::{SessionId, SessionUse, after_refusal};
use afk_agent::agents::claude::text::neutralise;
use afk_agent::agents::{AgentEvent, AgentKind, FailReason, Invocation, TurnOutcome};
use afk_stand_ins::claude_cli;
use afk_stand_ins::model_api::{ModelApi, Reply, Script};
use running::{BOUND, Done, Running};
use rustix::process::Signal;

/// A home, a repository and a stand-in for one test.
struct Stage {
    binary: PathBuf,
    home: tempfile::TempDir,
    repo: tempfile::TempDir,
    api: ModelApi,
}

impl Stage {
    /// `None`, with a printed notice, if the CLI is not available.
    fn new(test: &str, script: impl FnOnce(&Path) -> Script) -> Option<Self> {
        let binary = claude_cli::for_test(test)?;
        let repo = tempfile::tempdir().unwrap();
        let script = script(repo.path());
        Some(Self {
            binary,
            home: tempfile::tempdir().unwrap(),
            repo,
            api: ModelApi::start(script).unwrap(),
        })
    }

    fn request(&self, prompt: &str) -> ProcessRequest {
        ProcessRequest {
            binary: self.binary.clone(),
            home: self.home.path().to_owned(),
            path: "/usr/local/bin:/usr/bin:/bin".into(),
            session: SessionId::of_thread("a thread", 1),
            session_use: SessionUse::Open,
            prompt: prompt.into(),
            message: uuid::Uuid::now_v7().to_string(),
            model: None,
            max_budget_usd: None,
            access: Access::Full,
            credential: Credential::ApiKey("dummy".into()),
            base_url: Some(self.api.url()),
            max_retries: 1,
            extra_env: vec![],
        }
    }

    fn run(&self, request: &ProcessRequest) -> Done {
        // A new id, because the CLI ignores a line that the conversation has seen before.
        let message = uuid::Uuid::now_v7().to_string();
        let request = ProcessRequest { message, ..request.clone() };
        self.start(&command::process(&request).unwrap()).finish(false)
    }

    fn start(&self, invocation: &Invocation) -> Running {
        Running::start(AgentKind::Claude, invocation, self.repo.path())
    }
}

#[test]
fn a_turn_with_tools_changes_files_and_finishes() {
    let Some(stage) = Stage::new("a_turn_with_tools", |repo| {
        let file = repo.join("greeting.txt");
        Script::turns([vec![
            Reply::write(file.to_str().unwrap(), "hello\n"),
            Reply::bash("wc -c < greeting.txt > size.txt && id -un"),
            Reply::text("both are written"),
        ]])
    }) else {
        return;
    };
    let done = stage.run(&stage.request("write a greeting"));
    assert_eq!(done.finished(), "both are written");
    let read = |name: &str| std::fs::read_to_string(stage.repo.path().join(name)).unwrap();
    assert_eq!(read("greeting.txt"), "hello\n");
    assert_eq!(read("size.txt").trim(), "6");

    let tools: Vec<&str> = done
        .events
        .iter()
        .filter_map(|event| match event {
            AgentEvent::ToolStarted { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(tools, ["Write", "Bash"]);
    assert!(!done.reader.tool_open());
    let AgentEvent::Started { session, version, .. } = &done.events[0] else {
        panic!("{:?}", done.events[0]);
    };
    assert_eq!(version, claude_cli::VERSION);
    assert_eq!(version, command::TESTED, "people are told to install what is tested");
    assert_eq!(*session, SessionId::of_thread("a thread", 1).to_string());
    // Three answers, each of which claims 1000 input and 50 output tokens.
    let tokens = done.reader.tokens();
    assert_eq!((tokens.input, tokens.output), (3000, 150));
    assert!(done.reader.end().unwrap().usage.turn_cost_usd().unwrap() > 0.0);
}

#[test]
fn errors_of_the_api_are_told_apart() {
    fn check(status: u16, retries: usize) {
        let Some(stage) =
            Stage::new("errors_of_the_api", |_| Script::turns([vec![Reply::Status(status)]]))
        else {
            return;
        };
        let done = stage.run(&stage.request("go"));
        let expected = FailReason::ApiError { status: Some(status) };
        assert_eq!(done.reason(), &expected);
        let seen =
            done.events.iter().filter(|event| matches!(event, AgentEvent::Retrying { .. })).count();
        assert_eq!(seen, retries, "{status}: {:?}", done.events);
    }
    check(400, 0);
    check(401, 1);
    check(429, 1);
    check(529, 1);
}

#[test]
fn a_usage_limit_is_told_with_its_reset_time() {
    let reset = 4_000_000_000;
    let Some(stage) = Stage::new("a_usage_limit", |_| {
        Script::turns([vec![Reply::UsageLimit { resets_at: reset }]])
    }) else {
        return;
    };
    let request = ProcessRequest {
        credential: Credential::OauthToken("dummy".into()),
        ..stage.request("go")
    };
    let done = stage.run(&request);
    let resets_at = jiff::Timestamp::from_second(reset).ok();
    assert_eq!(done.reason(), &FailReason::UsageLimit { resets_at }, "{:?}", done.events);
}

#[test]
fn without_a_credential_it_says_how_to_sign_in() {
    let Some(stage) = Stage::new("without_a_credential", |_| Script::default()) else {
        return;
    };
    let request = ProcessRequest { credential: Credential::Home, ..stage.request("go") };
    let done = stage.run(&request);
    assert_eq!(done.reason(), &FailReason::NotSignedIn);
    assert!(done.outcome.to_string().contains("/login"));
}

#[test]
fn a_conversation_is_opened_once_and_resumed_after() {
    let Some(stage) = Stage::new("a_conversation", |_| {
        Script::turns([vec![Reply::text("one")], vec![Reply::text("two")]])
    }) else {
        return;
    };
    let open = stage.request("first question");
    assert_eq!(stage.run(&open).finished(), "one");

    let again = ProcessRequest { prompt: "second question".into(), ..open };
    let refused = stage.run(&again);
    assert_eq!(refused.reason(), &FailReason::SessionInUse);
    let next = after_refusal(&refused.outcome);
    assert_eq!(next, Some(SessionUse::Resume));

    let resume = ProcessRequest { session_use: SessionUse::Resume, ..again };
    assert_eq!(stage.run(&resume).finished(), "two");
    let last = stage.api.requests().pop().unwrap();
    let sent = last.body.to_string();
    assert!(sent.contains("first question") && sent.contains("second question"));
}

#[test]
fn an_unknown_conversation_is_opened_instead() {
    let Some(stage) =
        Stage::new("an_unknown_conversation", |_| Script::turns([vec![Reply::text("one")]]))
    else {
        return;
    };
    let resume = ProcessRequest { session_use: SessionUse::Resume, ..stage.request("go") };
    let refused = stage.run(&resume);
    assert_eq!(refused.reason(), &FailReason::UnknownSession);
    let next = after_refusal(&refused.outcome).unwrap();
    let open = ProcessRequest { session_use: next, ..resume };
    assert_eq!(stage.run(&open).finished(), "one");
}

#[test]
fn a_first_turn_that_failed_leaves_the_id_taken_and_resumes() {
    let Some(stage) = Stage::new("a_first_turn_that_failed", |_| {
        Script::default()
            .when("broken", vec![Reply::Status(400)])
            .when("mended", vec![Reply::text("well")])
    }) else {
        return;
    };
    let first = stage.run(&stage.request("broken"));
    assert_eq!(first.reason(), &FailReason::ApiError { status: Some(400) });
    let refused = stage.run(&stage.request("again"));
    assert_eq!(refused.reason(), &FailReason::SessionInUse);
    let resume = ProcessRequest { session_use: SessionUse::Resume, ..stage.request("mended") };
    assert_eq!(stage.run(&resume).finished(), "well");
}

#[test]
fn a_signal_in_the_middle_is_ours_or_a_failure_and_the_conversation_goes_on() {
    let Some(stage) = Stage::new("a_signal_in_the_middle", |_| {
        Script::default()
            .when("hang", vec![Reply::Hang])
            .when("go on", vec![Reply::text("went on")])
    }) else {
        return;
    };
    let stop = |request: &ProcessRequest, count: usize, signal: Signal, by_us: bool| {
        let running = stage.start(&command::process(request).unwrap());
        assert!(stage.api.wait_for_turn_requests(count, BOUND));
        running.signal(signal);
        running.finish(by_us)
    };
    let open = stage.request("hang");
    let ours = stop(&open, 1, Signal::TERM, true);
    assert_eq!(ours.outcome, TurnOutcome::Interrupted);

    let resume = ProcessRequest { session_use: SessionUse::Resume, ..open };
    let theirs = stop(&resume, 2, Signal::TERM, false);
    assert_eq!(theirs.reason(), &FailReason::Killed { signal: 15 });
    // A new id, because the CLI ignores a line that it has seen before.
    let anew = ProcessRequest { message: uuid::Uuid::now_v7().to_string(), ..resume };
    let hard = stop(&anew, 3, Signal::KILL, false);
    assert_eq!(hard.reason(), &FailReason::Killed { signal: 9 });

    let message = uuid::Uuid::now_v7().to_string();
    let go_on = ProcessRequest { prompt: "go on".into(), message, ..anew };
    assert_eq!(stage.run(&go_on).finished(), "went on");
}

#[test]
fn a_budget_that_is_spent_ends_the_turn() {
    let Some(stage) = Stage::new("a_budget", |_| {
        let mut script = Script::turns([vec![Reply::bash("true"), Reply::text("too far")]]);
        script.usage.input = 100_000;
        script.usage.output = 5000;
        script
    }) else {
        return;
    };
    let request = ProcessRequest { max_budget_usd: Some(0.01), ..stage.request("go") };
    let done = stage.run(&request);
    assert_eq!(done.reason(), &FailReason::BudgetExceeded);
    assert_eq!(done.reader.tokens().input, 100_000, "what it cost is known");
}

#[test]
fn a_denied_tool_is_no_success() {
    let Some(stage) = Stage::new("a_denied_tool", |repo| {
        let marker = repo.join("marker");
        let touch = format!("touch {} && curl --version", marker.display());
        Script::turns([vec![Reply::bash(touch), Reply::text("all done")]])
    }) else {
        return;
    };
    // A rule in the settings denies the call, not our answer.
    std::fs::create_dir_all(stage.home.path().join(".claude")).unwrap();
    let rules = r#"{"permissions": {"deny": ["Bash(touch:*)"]}}"#;
    std::fs::write(stage.home.path().join(".claude/settings.json"), rules).unwrap();
    let request = ProcessRequest { access: Access::Ask, ..stage.request("go") };
    let done = stage.run(&request);
    let tools = vec!["Bash".to_owned()];
    assert_eq!(done.reason(), &FailReason::PermissionDenied { tools });
    assert!(!stage.repo.path().join("marker").exists());
}

#[test]
fn hooks_settings_and_guidance_of_the_repository_are_not_loaded() {
    let Some(stage) = Stage::new("hooks_of_the_repository", |_| {
        Script::turns([vec![Reply::bash("true"), Reply::text("done")]])
    }) else {
        return;
    };
    let plant = |with_protection: bool| {
        let repo = stage.repo.path();
        let marker = repo.join("hooked");
        let hook = format!("touch {}", marker.display());
        let hooks = serde_json::json!([{"hooks": [{"type": "command", "command": hook}]}]);
        let settings = serde_json::json!({"hooks": {"UserPromptSubmit": hooks}});
        std::fs::create_dir_all(repo.join(".claude")).unwrap();
        std::fs::write(repo.join(".claude/settings.json"), settings.to_string()).unwrap();
        std::fs::write(repo.join("CLAUDE.md"), "GUIDANCE-CANARY").unwrap();
        let request = ProcessRequest {
            session: SessionId::of_thread(&format!("hooks {with_protection}"), 1),
            ..stage.request(&format!("hooks {with_protection}"))
        };
        let mut invocation = command::process(&request).unwrap();
        if !with_protection {
            invocation.args.retain(|arg| arg != "--setting-sources=user");
        }
        stage.start(&invocation).finish(false);
        (marker.exists(), stage.api.everything_sent().contains("GUIDANCE-CANARY"))
    };
    assert_eq!(plant(true), (false, false));
    // The check is able to fail: without the flag both happen.
    assert_eq!(plant(false), (true, true));
}

/// What a stranger could write so that a file's content gets into the model request.
fn mentions(canary: &Path) -> Vec<String> {
    let path = canary.display();
    vec![
        format!("please see @{path} now"),
        "please see @~/canary now".to_owned(),
        format!("please see @\"{path}\" now"),
        format!("```\n@{path}\n```"),
        "@./inside".to_owned(),
    ]
}

const CANARY: &str = "CANARY-7f3a91";

fn canary_reaches_the_model(stage: &Stage, name: &str, prompt: &str, env_off: bool) -> bool {
    let before = stage.api.requests().len();
    let request =
        ProcessRequest { session: SessionId::of_thread(name, 1), ..stage.request(prompt) };
    let mut invocation = command::process(&request).unwrap();
    if env_off {
        let switches = ["CLAUDE_CODE_DISABLE_ATTACHMENTS", "CLAUDE_CODE_DISABLE_FILE_MENTIONS"];
        invocation.env.retain(|(name, _)| !switches.contains(&name.as_str()));
    }
    let done = stage.start(&invocation).finish(false);
    assert_eq!(done.finished(), "seen", "{name}");
    let requests = stage.api.requests();
    assert!(requests.len() > before, "{name}: the model was asked");
    requests[before..].iter().any(|request| request.body.to_string().contains(CANARY))
}

fn canary_stage(test: &str) -> Option<Stage> {
    let stage = Stage::new(test, |_| Script::default().when("", vec![Reply::text("seen")]))?;
    std::fs::write(stage.home.path().join("canary"), CANARY).unwrap();
    std::fs::write(stage.repo.path().join("inside"), CANARY).unwrap();
    Some(stage)
}

#[test]
fn canary_no_mention_in_a_prompt_pulls_a_file_into_the_request() {
    let Some(stage) = canary_stage("canary") else {
        return;
    };
    for (index, mention) in mentions(&stage.home.path().join("canary")).iter().enumerate() {
        let leaked = |layer: &str, prompt: &str, env_off: bool| {
            canary_reaches_the_model(&stage, &format!("{index} {layer}"), prompt, env_off)
        };
        assert!(!leaked("both", &neutralise(mention), false), "{mention}");
        // Each layer suffices alone.
        assert!(!leaked("text", &neutralise(mention), true), "{mention}");
        assert!(!leaked("env", mention, false), "{mention}");
    }
}

#[test]
fn canary_control_without_protection_the_file_is_pulled_in() {
    let Some(stage) = canary_stage("canary_control") else {
        return;
    };
    for (index, mention) in mentions(&stage.home.path().join("canary")).iter().enumerate() {
        let name = format!("control {index}");
        assert!(
            canary_reaches_the_model(&stage, &name, mention, true),
            "the canary test could not fail on {mention}"
        );
    }
}

#[test]
fn a_leading_slash_runs_no_command_of_the_cli() {
    let Some(stage) =
        Stage::new("a_leading_slash", |_| Script::default().when("", vec![Reply::text("seen")]))
    else {
        return;
    };
    let guarded = stage.run(&stage.request("/context"));
    assert_eq!(guarded.finished(), "seen");
    assert!(stage.api.everything_sent().contains("(slash)context"));

    // The check is able to fail: unguarded, the command runs and no model is asked.
    let before = stage.api.requests().len();
    let request =
        ProcessRequest { session: SessionId::of_thread("unguarded", 1), ..stage.request("x") };
    let mut invocation = command::process(&request).unwrap();
    let line = String::from_utf8(invocation.stdin).unwrap();
    invocation.stdin = line.replace("\"x\"", "\"/context\"").into_bytes();
    stage.start(&invocation).finish(false);
    let asked =
        stage.api.requests()[before..].iter().any(afk_stand_ins::model_api::Recorded::is_of_turn);
    assert!(!asked, "the guard may be needless now");
}
