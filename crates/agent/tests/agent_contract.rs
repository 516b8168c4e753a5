//! What every agent must keep to, whatever it is: one suite over all of them.
//!
//! Each does the same three tasks as a real process: one that goes well, one that fails, and one
//! that never ends by itself. The real CLIs are pinned and driven against stand-ins for their
//! models; those that are not available are skipped with a line on standard error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod running;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use afk_agent::agents::ask::Access;
use afk_agent::agents::claude::command::{self as claude, Credential, ProcessRequest};
use afk_agent::agents::claude::session::{SessionId, SessionUse};
use afk_agent::agents::codex::command::{self as codex, CodexCommand};
use afk_agent::agents::relay::wire::{PROMPT_FILE, Protocol, RelayRequest};
use afk_agent::agents::scripted::command as scripted;
use afk_agent::agents::turn::Checkpoint;
use afk_agent::agents::{
    AgentEvent, AgentKind, Exit, FailReason, Invocation, TurnOutcome, TurnReader, relay,
};
use afk_stand_ins::model_api::{ModelApi, Reply, Script};
use afk_stand_ins::responses_api::ResponsesApi;
use afk_stand_ins::{acp_adapters, claude_cli, codex_cli};
use running::{Done, Running};
use rustix::process::Signal;
use secrecy::SecretString;
use serde_json::json;

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How long an agent may take to end once it is told to. In operation its host kills it after three
/// seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an agent has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Make the file `made` and say so.
    Well,
    /// Fail.
    Fail,
    /// Make the file `made`, then work without an end.
    Hang,
}

/// The agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agent {
    Claude,
    Codex,
    CodexExec,
    AcpOfClaude,
    AcpOfCodex,
    AcpScripted,
    Command,
    Scripted,
}

const ALL: [Agent; 8] = [
    Agent::Claude,
    Agent::Codex,
    Agent::CodexExec,
    Agent::AcpOfClaude,
    Agent::AcpOfCodex,
    Agent::AcpScripted,
    Agent::Command,
    Agent::Scripted,
];

/// An agent with a task, ready to be started.
struct Stage {
    agent: Agent,
    invocation: Invocation,
    repo: tempfile::TempDir,
    _home: tempfile::TempDir,
    _models: (Option<ModelApi>, Option<ResponsesApi>),
}

impl Agent {
    fn kind(self) -> AgentKind {
        match self {
            Self::Claude => AgentKind::Claude,
            Self::Codex | Self::CodexExec => AgentKind::Codex,
            Self::AcpOfClaude | Self::AcpOfCodex | Self::AcpScripted => AgentKind::Acp,
            Self::Command => AgentKind::Command,
            Self::Scripted => AgentKind::Scripted,
        }
    }
}

fn script(task: Task) -> Script {
    let mut script = match task {
        Task::Well => {
            let replies = vec![Reply::bash("echo x > made"), Reply::text("made it")];
            Script::default().when("the task", replies)
        }
        Task::Fail => Script::default().when("the task", vec![Reply::Status(401); 30]),
        Task::Hang => {
            Script::default().when("the task", vec![Reply::bash("echo x > made; sleep 1000")])
        }
    };
    if task == Task::Fail {
        // An agent's other requests to its model fail, too.
        script.turns.push(afk_stand_ins::model_api::Turn {
            when: None,
            replies: vec![Reply::Status(401); 30],
        });
    }
    script
}

impl Stage {
    /// `None`, with a printed notice, if the agent is not available.
    fn new(agent: Agent, task: Task) -> Option<Self> {
        let test = format!("{agent:?} in agent_contract");
        let repo = tempfile::tempdir().unwrap();
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut models = (None, None);
        let invocation = match agent {
            Agent::Claude => {
                let binary = claude_cli::for_test(&test)?;
                let api = ModelApi::start(script(task)).unwrap();
                let made = claude::process(&claude_request(binary, home.path(), api.url()));
                models.0 = Some(api);
                made.unwrap()
            }
            Agent::Codex | Agent::CodexExec => {
                let binary = codex_cli::for_test(&test)?;
                let api = ResponsesApi::start(script(task)).unwrap();
                std::fs::create_dir(home.path().join(codex::HOME)).unwrap();
                let protocol = match agent {
                    Agent::Codex => Protocol::CodexServer,
                    _ => Protocol::CodexExec,
                };
                let argv = codex::argv(&CodexCommand {
                    binary,
                    protocol,
                    model: Some("standin".into()),
                    base_url: Some(api.url()),
                    access: Access::Full,
                    thread: None,
                    cwd: repo.path().to_owned(),
                });
                models.1 = Some(api);
                let env = codex::env(home.path(), Some(&"sk-x".into()));
                relayed(protocol, argv.unwrap(), repo.path(), env)
            }
            Agent::AcpOfClaude => {
                let adapter = acp_adapters::claude(&test)?;
                let api = ModelApi::start(script(task)).unwrap();
                let env = vec![
                    ("HOME".into(), text(home.path())),
                    ("ANTHROPIC_API_KEY".into(), "sk-ant-x".into()),
                    ("ANTHROPIC_BASE_URL".into(), api.url().into()),
                    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC".into(), "1".into()),
                    ("CLAUDE_CODE_MAX_RETRIES".into(), "1".into()),
                    ("IS_SANDBOX".into(), "1".into()),
                ];
                models.0 = Some(api);
                relayed(Protocol::Acp, adapter.command(), repo.path(), env)
            }
            Agent::AcpOfCodex => {
                let adapter = acp_adapters::codex(&test)?;
                let api = ResponsesApi::start(script(task)).unwrap();
                let provider = json!({"name": "x", "base_url": api.url(), "wire_api": "responses",
                    "env_key": "CODEX_API_KEY", "request_max_retries": 0, "stream_max_retries": 0});
                let config = json!({"model": "standin", "model_provider": "x",
                    "model_providers": {"x": provider}});
                let env = vec![
                    ("HOME".into(), text(home.path())),
                    ("CODEX_HOME".into(), text(home.path())),
                    ("CODEX_API_KEY".into(), "sk-x".into()),
                    ("MODEL_PROVIDER".into(), "x".into()),
                    ("CODEX_CONFIG".into(), config.to_string().into()),
                ];
                models.1 = Some(api);
                relayed(Protocol::Acp, adapter.command(), repo.path(), env)
            }
            Agent::AcpScripted | Agent::Command | Agent::Scripted => {
                without_model(agent, task, home.path(), repo.path())
            }
        };
        Some(Self { agent, invocation, repo, _home: home, _models: models })
    }

    fn start(&self) -> Running {
        let kind = self.agent.kind();
        match self.agent {
            // The Claude CLI ends when its input does.
            Agent::Claude | Agent::Scripted => {
                Running::start(kind, &self.invocation, self.repo.path())
            }
            _ => Running::start_talking(kind, &self.invocation, self.repo.path()),
        }
    }

    fn made(&self) -> bool {
        self.repo.path().join("made").is_file()
    }
}

/// An agent that calls no model.
fn without_model(agent: Agent, task: Task, home: &Path, repo: &Path) -> Invocation {
    match agent {
        Agent::AcpScripted => {
            let behaviour = match task {
                Task::Well => "works",
                Task::Fail => "fails",
                Task::Hang => "hangs-after",
            };
            let work = home.join("work.sh");
            std::fs::write(&work, "echo x > made").unwrap();
            let argv = vec![env!("CARGO_BIN_EXE_scripted-acp").into(), behaviour.into()];
            let env = vec![("HOME".into(), text(home)), ("SCRIPT".into(), text(&work))];
            relayed(Protocol::Acp, argv, repo, env)
        }
        Agent::Command => {
            let work = match task {
                Task::Well => "grep -q 'the task' \"$0\" && echo x > made && echo made it",
                Task::Fail => "echo it did not work; exit 3",
                Task::Hang => "echo x > made; sleep 1000",
            };
            let argv = ["/bin/sh", "-c", work, PROMPT_FILE].map(str::to_owned).to_vec();
            let env = vec![("HOME".into(), text(home))];
            relayed(Protocol::Command, argv, repo, env)
        }
        _ => {
            let steps = match task {
                Task::Well => json!([{"write": {"path": "made", "content": "x\n"}}]),
                Task::Fail => json!([{"fail": {"message": "it did not work"}}]),
                Task::Hang => {
                    json!([{"write": {"path": "made", "content": "x\n"}}, {"silence": {}}])
                }
            };
            let script = home.join("script.json");
            std::fs::write(&script, json!({"turns": [{"steps": steps}]}).to_string()).unwrap();
            scripted::turn(&scripted::TurnRequest {
                binary: env!("CARGO_BIN_EXE_scripted-agent").into(),
                script,
                turn: 1,
                session: "a session".into(),
                prompt: "the task".into(),
                env: vec![("PATH".into(), PATH.into())],
            })
        }
    }
}

fn claude_request(binary: PathBuf, home: &Path, url: String) -> ProcessRequest {
    ProcessRequest {
        binary,
        home: home.to_owned(),
        path: PATH.into(),
        session: SessionId::of_thread("a thread", 1),
        session_use: SessionUse::Open,
        prompt: "the task".into(),
        message: uuid::Uuid::now_v7().to_string(),
        model: None,
        max_budget_usd: None,
        access: Access::Full,
        credential: Credential::ApiKey("dummy".into()),
        base_url: Some(url),
        max_retries: 1,
        extra_env: vec![],
    }
}

fn relayed(
    protocol: Protocol,
    argv: Vec<String>,
    repo: &Path,
    mut env: Vec<(String, SecretString)>,
) -> Invocation {
    env.push(("PATH".into(), PATH.into()));
    let request = RelayRequest {
        protocol,
        argv,
        cwd: repo.to_str().unwrap().to_owned(),
        earlier: None,
        prompt: "the task goes on".into(),
        opening_prompt: "the task".into(),
        access: Access::Full,
        model: None,
        mode: None,
        auth_method: None,
        start_ms: 60_000,
        grace_ms: 2_000,
    };
    relay::command::turn(env!("CARGO_BIN_EXE_agent-relay").into(), &request, env)
}

fn text(path: &Path) -> SecretString {
    path.to_str().unwrap().into()
}

/// Calls `check` for every agent that is available, with this task.
fn each(task: Task, check: impl Fn(&Stage)) {
    for agent in ALL {
        if let Some(stage) = Stage::new(agent, task) {
            check(&stage);
        }
    }
}

/// What holds of the events of any turn.
fn in_order(agent: Agent, events: &[AgentEvent]) {
    let started = events.iter().filter(|event| matches!(event, AgentEvent::Started { .. })).count();
    assert_eq!(started, 1, "{agent:?}: {events:?}");
    assert!(matches!(events[0], AgentEvent::Started { .. }), "{agent:?}: {events:?}");
    let mut open = BTreeSet::new();
    for event in events {
        match event {
            AgentEvent::ToolStarted { id, .. } => assert!(open.insert(id), "{agent:?}: {id} twice"),
            AgentEvent::ToolEnded { id, .. } => assert!(open.remove(id), "{agent:?}: {id}"),
            AgentEvent::Text { text } => assert!(!text.is_empty(), "{agent:?}"),
            _ => {}
        }
    }
    assert!(open.is_empty(), "{agent:?}: {open:?} never ended");
}

fn ends(events: &[AgentEvent]) -> Vec<bool> {
    let end = |event: &AgentEvent| match event {
        AgentEvent::Ended(end) => Some(end.is_error),
        _ => None,
    };
    events.iter().filter_map(end).collect()
}

#[test]
fn a_turn_that_goes_well_is_finished_once_and_says_something() {
    each(Task::Well, |stage| {
        let done = stage.start().finish(false);
        assert!(!done.finished().is_empty(), "{:?}", stage.agent);
        assert!(stage.made(), "{:?}", stage.agent);
        in_order(stage.agent, &done.events);
        assert_eq!(ends(&done.events), [false], "{:?}", stage.agent);
        assert!(!done.reader.tool_open(), "{:?}", stage.agent);
        assert_eq!(done.reader.unread_lines(), 0, "{:?}", stage.agent);
        assert!(done.reader.asks().is_empty());
        // A turn that had finished before our interrupt stays finished.
        let late = done.reader.outcome(&Exit::Signalled { signal: 15 }, "", true);
        assert!(matches!(late, TurnOutcome::Finished { .. }), "{:?}", stage.agent);
        read_again(stage.agent, &done);
    });
}

/// A fault of other products: an agent reads its standard input to the end before it begins, and
/// whoever started it keeps that input open. Our relay's input stays open for answers, and the
/// agent's ends.
#[test]
fn an_agent_that_waits_for_the_end_of_its_input_begins() {
    let (home, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let argv = ["/bin/sh", "-c", "cat > read && echo made it"].map(str::to_owned).to_vec();
    let env = vec![("HOME".into(), text(home.path()))];
    let invocation = relayed(Protocol::Command, argv, repo.path(), env);
    let done = Running::start_talking(AgentKind::Command, &invocation, repo.path()).finish(false);
    assert_eq!(done.finished(), "made it");
    let read = std::fs::read_to_string(repo.path().join("read")).unwrap();
    assert_eq!(read.trim_end(), "the task");
}

/// Asserts that reading gives the same wherever one reader stops and another one resumes.
fn read_again(agent: Agent, done: &Done) {
    let step = (done.output.len() / 40).max(1);
    for cut in (0..done.output.len()).step_by(step) {
        let mut first = TurnReader::new(agent.kind());
        let mut seen = first.feed(&done.output[..cut]);
        let stored = serde_json::to_vec(&first.checkpoint()).unwrap();
        let stored: Checkpoint = serde_json::from_slice(&stored).unwrap();
        let from = usize::try_from(stored.offset()).unwrap();
        // Cut off here, the turn is lost, unless its end was read already.
        let outcome = first.outcome(&Exit::Lost, "", false);
        let ended = !ends(&seen).is_empty();
        assert!(ended || outcome == TurnOutcome::Lost, "{agent:?} at {cut}: {outcome:?}");
        let mut second = TurnReader::resume(stored);
        seen.extend(second.feed(&done.output[from..]));
        seen.extend(second.finish());
        assert_eq!(seen, done.events, "{agent:?} at {cut}");
        assert_eq!(second.tokens(), done.reader.tokens(), "{agent:?}");
    }
}

#[test]
fn a_turn_that_fails_says_why_and_is_never_finished() {
    each(Task::Fail, |stage| {
        let done = stage.start().finish(false);
        let reason = done.reason();
        let expected = match stage.agent {
            Agent::AcpScripted => matches!(reason, FailReason::ApiError { status: Some(500) }),
            Agent::Command | Agent::Scripted => *reason == FailReason::AgentError,
            _ => matches!(
                reason,
                FailReason::NotSignedIn | FailReason::ApiError { status: Some(401) }
            ),
        };
        assert!(expected, "{:?}: {reason:?}", stage.agent);
        in_order(stage.agent, &done.events);
        assert_eq!(ends(&done.events), [true], "{:?}", stage.agent);
        let ours = done.reader.outcome(&Exit::Exited { code: 1 }, "", true);
        assert_eq!(ours, TurnOutcome::Interrupted, "{:?}", stage.agent);
    });
}

#[test]
fn a_turn_that_is_interrupted_ends_in_time_and_by_us() {
    each(Task::Hang, |stage| {
        let running = stage.start();
        running::wait_until(&format!("{:?} has begun", stage.agent), || stage.made());
        let told = Instant::now();
        running.signal(Signal::TERM);
        let done = running.finish(true);
        assert_eq!(done.outcome, TurnOutcome::Interrupted, "{:?}", stage.agent);
        assert!(told.elapsed() < PATIENCE, "{:?}: {:?}", stage.agent, told.elapsed());
        // With a signal that we did not send, the turn failed: it is neither interrupted nor lost.
        let strange = done.reader.outcome(&Exit::Signalled { signal: 9 }, "", false);
        assert!(matches!(strange, TurnOutcome::Failed { .. }), "{:?}: {strange:?}", stage.agent);
    });
}
