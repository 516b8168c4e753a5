//! The command line of one process of the Claude CLI, which serves a thread's turns.
//!
//! The executor calls [`process`], and the host runs the [`Invocation`]. Pure: the caller gives
//! the binary, the home, the credential and every limit.
//!
//! Choices and their reasons:
//!
//! - *Prompts go to standard input*, a line each ([`control`](super::control)): an
//!   argument would show in the process list, be limited in length, and be swallowed
//!   by a variadic flag. Standard input stays open, so that a later turn needs no new
//!   process; `--replay-user-messages` makes the CLI echo each prompt, which shows where its turn
//!   begins.
//! - *`--permission-prompt-tool=stdio`* makes the CLI print what it would ask a person. Without it
//!   the model has no question tool at all.
//! - *`--include-partial-messages`*: without them the tokens of a killed turn are unknown, and a
//!   long answer looks like silence.
//! - *Nothing starts a turn by itself*: no background commands, timers or schedules, which would
//!   keep working while the turn's result is judged; no other worktree either.
//! - *`--setting-sources=user`, `--strict-mcp-config`.* A repository's content is an adversary: its
//!   settings may name hooks and servers, which are commands that the CLI would run by itself. The
//!   flag also drops the repository's CLAUDE.md. Its guidance is useful, but as the CLI's own
//!   instructions it would carry more weight than the task; the prompt can tell the agent to read
//!   the file, and then its text is a tool's result like any other.
//! - *Full access means `--dangerously-skip-permissions`.* The sandbox confines the agent, not a
//!   prompt that nobody answers. As root the CLI refuses that flag unless `IS_SANDBOX=1`. With the
//!   flag only questions to a person are asked (in both tested versions); without it every tool
//!   call is.
//! - *Retries are limited*: by default a refused key is tried again for over 90 s.
//! - Options are written `--name=value`, so that no value is read as an option.

use std::ffi::OsString;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::control::{self, PromptError};
use super::session::{SessionId, SessionUse};
pub use crate::agents::ask::Access;
use crate::agents::invocation::{Invocation, checked_model};

/// Maximum number of times the CLI retries a request to the model's API.
pub const DEFAULT_RETRIES: u32 = 5;

/// The version of the CLI that all of this is tested with, and that people are told to install.
pub const TESTED: &str = "2.1.329";

/// The credential for the model's API.
#[derive(Debug, Clone)]
pub enum Credential {
    /// The sign-in that is stored in the home.
    Home,
    /// An API key (`ANTHROPIC_API_KEY`).
    ApiKey(SecretString),
    /// A bearer token for a proxy (`ANTHROPIC_AUTH_TOKEN`).
    AuthToken(SecretString),
    /// A long-lived token of a subscription (`CLAUDE_CODE_OAUTH_TOKEN`).
    OauthToken(SecretString),
}

/// A process to be started, with its first turn.
#[derive(Debug, Clone)]
pub struct ProcessRequest {
    /// The absolute path of the CLI.
    pub binary: PathBuf,
    /// The CLI's home, which holds conversations: it is the run's own and lives as long as the run.
    pub home: PathBuf,
    /// `PATH` of the agent and its tools.
    pub path: String,
    /// The conversation that the process serves.
    pub session: SessionId,
    /// Whether to open or to resume the conversation.
    pub session_use: SessionUse,
    /// The prompt of the first turn. Outside text in it has gone through
    /// [`neutralise`](super::text::neutralise).
    pub prompt: String,
    /// The id with which the CLI echoes the first turn's line.
    pub message: String,
    /// The model; `None` for the CLI's default.
    pub model: Option<String>,
    /// What this process may still spend, in US dollars. The CLI checks it after each answer, so
    /// one answer may exceed it.
    pub max_budget_usd: Option<f64>,
    /// What the agent may do without asking.
    pub access: Access,
    /// The credential for the model's API.
    pub credential: Credential,
    /// Another address of the model's API (a proxy, a stand-in).
    pub base_url: Option<String>,
    /// Maximum number of the CLI's own retries, at most 20; usually [`DEFAULT_RETRIES`].
    pub max_retries: u32,
    /// More environment variables (caches, proxies). They replace none that is set here.
    pub extra_env: Vec<(String, String)>,
}

/// Why no command can be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// The model's name is not valid.
    #[error("model name {0:?} is not valid: use letters, digits and -._:/[]@, at most 128")]
    Model(String),
    /// Nothing is left to spend.
    #[error("the remaining budget is {0} US dollars: raise the run's budget before its next turn")]
    BudgetSpent(f64),
    /// The prompt cannot be sent.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The requested number of retries is over 20.
    #[error("{0} retries are more than the allowed 20: a turn would hang on a broken credential")]
    Retries(u32),
}

/// Tools that start turns by themselves, wait for a person, or leave the clone.
const WITHOUT: &str =
    "--disallowedTools=CronCreate,ScheduleWakeup,Monitor,EnterPlanMode,EnterWorktree";

/// Builds the invocation of one process. Its standard input begins the first turn; lines for later
/// turns may follow.
pub fn process(request: &ProcessRequest) -> Result<Invocation, CommandError> {
    let mut stdin = control::initialize();
    stdin.extend(control::user(&request.prompt, &request.message)?);
    Ok(Invocation {
        program: request.binary.clone(),
        args: args(request)?,
        env: env(request)?,
        stdin,
    })
}

fn args(request: &ProcessRequest) -> Result<Vec<OsString>, CommandError> {
    let mut args: Vec<String> = [
        "-p",
        "--output-format=stream-json",
        "--input-format=stream-json",
        "--verbose",
        "--setting-sources=user",
        "--strict-mcp-config",
        "--include-partial-messages",
        "--replay-user-messages",
        "--permission-prompt-tool=stdio",
        WITHOUT,
    ]
    .map(str::to_owned)
    .to_vec();
    args.push(match request.session_use {
        SessionUse::Open => format!("--session-id={}", request.session),
        SessionUse::Resume => format!("--resume={}", request.session),
    });
    if request.access == Access::Full {
        args.push("--dangerously-skip-permissions".to_owned());
    }
    if let Some(model) = &request.model {
        args.push(format!("--model={}", checked_model(model).map_err(CommandError::Model)?));
    }
    if let Some(budget) = request.max_budget_usd {
        if !(budget.is_finite() && budget > 0.0) {
            return Err(CommandError::BudgetSpent(budget));
        }
        // Six decimals: rounding up a tiny rest to more would allow several small calls.
        let budget = budget.max(0.000_001);
        args.push(format!("--max-budget-usd={budget:.6}"));
    }
    Ok(args.into_iter().map(OsString::from).collect())
}

fn env(request: &ProcessRequest) -> Result<Vec<(String, SecretString)>, CommandError> {
    if request.max_retries > 20 {
        return Err(CommandError::Retries(request.max_retries));
    }
    let mut env: Vec<(String, SecretString)> = Vec::new();
    let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.into()));
    set("HOME", &request.home.to_string_lossy());
    set("PATH", &request.path);
    set("LANG", "C.UTF-8");
    // Prompt text must not pull files into the request. Both tested versions obey the first
    // variable; the second is the name that the newer version documents.
    set("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1");
    set("CLAUDE_CODE_DISABLE_FILE_MENTIONS", "1");
    set("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    set("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1");
    set("DISABLE_AUTOUPDATER", "1");
    set("CLAUDE_CODE_MAX_RETRIES", &request.max_retries.to_string());
    if request.access == Access::Full {
        set("IS_SANDBOX", "1");
    }
    if let Some(url) = &request.base_url {
        set("ANTHROPIC_BASE_URL", url);
    }
    match &request.credential {
        Credential::Home => {}
        Credential::ApiKey(key) => set("ANTHROPIC_API_KEY", key.expose_secret()),
        Credential::AuthToken(token) => set("ANTHROPIC_AUTH_TOKEN", token.expose_secret()),
        Credential::OauthToken(token) => set("CLAUDE_CODE_OAUTH_TOKEN", token.expose_secret()),
    }
    for (name, value) in &request.extra_env {
        if !env.iter().any(|(known, _)| known == name) {
            env.push((name.clone(), value.as_str().into()));
        }
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ProcessRequest {
        ProcessRequest {
            binary: "/opt/claude".into(),
            home: "/run/home".into(),
            path: "/usr/bin:/bin".into(),
            session: SessionId::of_thread("run-1", 1),
            session_use: SessionUse::Open,
            prompt: "do it\nnow".into(),
            message: "m".into(),
            model: Some("claude-sonnet-4-6".into()),
            max_budget_usd: Some(1.5),
            access: Access::Full,
            credential: Credential::ApiKey("sk-canary".into()),
            base_url: None,
            max_retries: DEFAULT_RETRIES,
            extra_env: vec![
                ("CARGO_HOME".into(), "/cache".into()),
                ("CLAUDE_CODE_DISABLE_ATTACHMENTS".into(), "0".into()),
            ],
        }
    }

    fn args_of(request: &ProcessRequest) -> String {
        process(request)
            .unwrap()
            .args
            .iter()
            .map(|arg| arg.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_command_line_of_a_process() {
        assert_eq!(
            args_of(&request()),
            "-p --output-format=stream-json --input-format=stream-json --verbose \
             --setting-sources=user --strict-mcp-config --include-partial-messages \
             --replay-user-messages --permission-prompt-tool=stdio \
             --disallowedTools=CronCreate,ScheduleWakeup,Monitor,EnterPlanMode,EnterWorktree \
             --session-id=7e674577-4fbf-50f9-937c-3e61c906d863 --dangerously-skip-permissions \
             --model=claude-sonnet-4-6 --max-budget-usd=1.500000"
        );
        let plain = ProcessRequest {
            session_use: SessionUse::Resume,
            model: None,
            max_budget_usd: None,
            access: Access::Ask,
            ..request()
        };
        assert_eq!(
            args_of(&plain),
            "-p --output-format=stream-json --input-format=stream-json --verbose \
             --setting-sources=user --strict-mcp-config --include-partial-messages \
             --replay-user-messages --permission-prompt-tool=stdio \
             --disallowedTools=CronCreate,ScheduleWakeup,Monitor,EnterPlanMode,EnterWorktree \
             --resume=7e674577-4fbf-50f9-937c-3e61c906d863"
        );
    }

    #[test]
    fn the_environment_is_complete_and_nothing_overrides_a_protection() {
        let made = process(&request()).unwrap();
        let value = |name: &str| {
            let found: Vec<_> = made.env.iter().filter(|(known, _)| known == name).collect();
            assert!(found.len() <= 1, "{name} twice");
            found.first().map(|(_, value)| value.expose_secret())
        };
        for (name, expected) in [
            ("HOME", Some("/run/home")),
            ("PATH", Some("/usr/bin:/bin")),
            ("CLAUDE_CODE_DISABLE_ATTACHMENTS", Some("1")),
            ("CLAUDE_CODE_DISABLE_FILE_MENTIONS", Some("1")),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", Some("1")),
            ("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", Some("1")),
            ("DISABLE_AUTOUPDATER", Some("1")),
            ("CLAUDE_CODE_MAX_RETRIES", Some("5")),
            ("IS_SANDBOX", Some("1")),
            ("ANTHROPIC_API_KEY", Some("sk-canary")),
            ("ANTHROPIC_BASE_URL", None),
            ("CARGO_HOME", Some("/cache")),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
    }

    #[test]
    fn secrets_and_prompts_are_in_no_argument_and_no_debug_text() {
        let made = process(&request()).unwrap();
        let shown = format!("{made:?} {:?}", made.args);
        assert!(!shown.contains("sk-canary") && !shown.contains("do it"), "{shown}");
        assert!(!format!("{:?}", request()).contains("sk-canary"));
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        fn check(request: &ProcessRequest, expected: &CommandError) {
            assert_eq!(&process(request).unwrap_err(), expected);
        }
        let base = request();
        for model in ["", "--help me", "a b", "x\n"] {
            let request = ProcessRequest { model: Some(model.into()), ..base.clone() };
            check(&request, &CommandError::Model(model.into()));
        }
        for budget in [0.0, -1.0] {
            let request = ProcessRequest { max_budget_usd: Some(budget), ..base.clone() };
            check(&request, &CommandError::BudgetSpent(budget));
        }
        let request = ProcessRequest { prompt: " \n".into(), ..base.clone() };
        check(&request, &PromptError::Empty.into());
        let request = ProcessRequest { max_retries: 21, ..base };
        check(&request, &CommandError::Retries(21));
    }
}
