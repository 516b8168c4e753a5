//! The box and the command of an agent's process: one turn of the scripted agent, or a thread of
//! the Claude CLI. Agents that the relay speaks to are in [`super::relayed`].
//!
//! The agent sees its clone and its home, both writable, the mirror's objects, its repo's cache,
//! and its own program. It gets the model's credential and no other secret, and not even that if
//! the proxy of its box holds it ([`super::network`]).

use std::collections::BTreeMap;
use std::path::PathBuf;

use afk_agent::agents::claude::command::{self as claude, Access as ClaudeAccess, Credential};
use afk_agent::agents::claude::session::{SessionId, SessionUse};
use afk_agent::agents::scripted::script::Script;
use afk_agent::agents::{Invocation, scripted};
use afk_agent::sandbox::{Access, BoxSpec};
use afk_core::ask::Permissions;
use afk_core::digest::Digest;
use afk_core::network::AgentNetwork;
use afk_engine::ports::{PortError, PortErrorKind, PortResult, TurnRequest};
use jiff::Timestamp;
use secrecy::SecretString;

use super::boxes::{Cache, boxed, home_of_program};
use super::missing::MissingProgram;
use super::network::{ClaudeEntry, Reach};
use super::settings::{Claude, Scripted};
use super::sign_in;
use super::world::Local;

/// What a host needs to start a turn.
pub(super) struct Invoked {
    /// The box, with the command in it.
    pub(super) boxed: BoxSpec,
    /// The command's environment, which is kept out of every file.
    pub(super) secrets: BTreeMap<String, SecretString>,
    /// The key of the agent's model, if that stays outside the box.
    pub(super) model_key: Option<SecretString>,
    /// What the command reads on standard input: the prompt, in the agent's own form.
    pub(super) stdin: Vec<u8>,
}

/// How a process of the Claude CLI enters its thread.
pub(super) struct Enter {
    /// The conversation.
    pub(super) session: SessionId,
    /// Whether the process opens or resumes the conversation.
    pub(super) session_use: SessionUse,
    /// The id of the line of the process's first turn.
    pub(super) message: String,
}

/// Returns the box and the command of one turn of the scripted agent.
pub(super) fn scripted(local: &Local, agent: &Scripted, turn: &TurnRequest) -> PortResult<Invoked> {
    let reach = Reach::without_model(&turn.network.narrowed(&agent.network));
    let (spec, _) = agent_box(local, turn, &reach)?;
    let script = agent.script.clone().ok_or_else(|| {
        PortError::permanent("the scripted agent has no script: set agents.scripted.script")
    })?;
    let made = scripted::command::turn(&scripted::command::TurnRequest {
        binary: local.program.clone(),
        script: script.clone(),
        turn: turn.n,
        session: turn.thread.to_string(),
        prompt: turn.prompt.clone(),
        env: spec.env.clone().into_iter().collect(),
    });
    let spec = spec.bind(script, Access::ReadOnly).bind(&local.program, Access::ReadOnly);
    Ok(invoked(spec, made, reach))
}

/// Returns the box and the command of a process of the Claude CLI whose first turn is `turn`.
pub(super) async fn claude(
    local: &Local,
    config: &Claude,
    turn: &TurnRequest,
    enter: Enter,
) -> PortResult<Invoked> {
    let binary = find_claude(config)?;
    let allowed = turn.network.narrowed(&config.network);
    let home = agent_home(local, turn)?;
    let (reach, entry) = Reach::of_claude(local, config, &allowed, home).await?;
    let (spec, home) = agent_box(local, turn, &reach)?;
    let credential = match entry {
        ClaudeEntry::ApiKey(key) => Credential::ApiKey(key),
        ClaudeEntry::Token(token) => Credential::OauthToken(token),
        ClaudeEntry::Home => Credential::Home,
    };
    let request = claude::ProcessRequest {
        binary,
        home,
        path: spec.env.get("PATH").cloned().unwrap_or_default(),
        session: enter.session,
        session_use: enter.session_use,
        prompt: match enter.session_use {
            SessionUse::Open => turn.opening_prompt.clone(),
            SessionUse::Resume => turn.prompt.clone(),
        },
        message: enter.message,
        model: config.model.clone(),
        max_budget_usd: turn.budget.to_decimal().parse().ok(),
        access: match config.permissions {
            Permissions::FullAccess => ClaudeAccess::Full,
            Permissions::Ask => ClaudeAccess::Ask,
        },
        credential,
        base_url: reach.base_url.clone(),
        max_retries: claude::DEFAULT_RETRIES,
        extra_env: spec.env.clone().into_iter().collect(),
    };
    let made = claude::process(&request).map_err(PortError::permanent)?;
    let spec = match home_of_program(&made.program) {
        Some(program) => spec.bind(program, Access::ReadOnly),
        None => spec,
    };
    Ok(invoked(spec, made, reach))
}

/// Checks that a process of the Claude CLI could be started: the CLI exists, and is signed in.
pub(super) async fn claude_ready(local: &Local, config: &Claude) -> PortResult<()> {
    find_claude(config)?;
    if let Some(source) = &config.api_key {
        return local.secrets.read(source).await.map(drop).map_err(sign_in_error);
    }
    let home = sign_in::home(config);
    if let Some(why) = sign_in::run_out(&home, Timestamp::now()) {
        return Err(sign_in_error(why));
    }
    if sign_in::is_there(&home) {
        return Ok(());
    }
    Err(sign_in_error(format!(
        "the Claude CLI is not signed in: {} contains no sign-in; run `claude` once and type /login, \
         or set agents.claude.api_key",
        home.display()
    )))
}

/// Checks that the scripted agent, which is this program, has a script that it can follow: a turn
/// that cannot begin is tried again for hours.
pub(super) fn scripted_ready(config: &Scripted) -> PortResult<()> {
    let missing = |why: String| PortError::new(PortErrorKind::NotFound, why);
    let script = config.script.as_deref().ok_or_else(|| {
        let why = "the scripted agent has no script: set `script` in the repository's table";
        missing(why.to_owned())
    })?;
    if !script.is_file() {
        return Err(missing(format!(
            "there is no script for the scripted agent at {}: write it, or correct `script`",
            script.display()
        )));
    }
    Script::read(script).map(drop).map_err(|error| PortError::permanent(error.to_string()))
}

pub(super) fn sign_in_error(
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PortError {
    PortError::new(PortErrorKind::Auth, source)
}

/// Returns a digest of the configuration that a living process is started with: if it changes, a
/// new process is needed.
pub(super) fn shape(config: &Claude, network: &AgentNetwork) -> String {
    // Not by `Debug`, which omits the arguments of a command that prints the key.
    let config = serde_json::to_string(config).unwrap_or_default();
    Digest::of_list(&[config.as_str(), &network.to_string()]).to_string()
}

/// Returns the home of an agent, which lasts as long as its run.
fn agent_home(local: &Local, turn: &TurnRequest) -> PortResult<PathBuf> {
    Ok(local.workspaces.prepare(turn.run).map_err(PortError::transient)?.home)
}

/// Returns the box of an agent, and its home.
pub(super) fn agent_box(
    local: &Local,
    turn: &TurnRequest,
    reach: &Reach,
) -> PortResult<(BoxSpec, PathBuf)> {
    let repo = local.repo(&turn.repo)?;
    let folders = local.workspaces.prepare(turn.run).map_err(PortError::transient)?;
    let mirror = local.mirror(&turn.repo)?;
    let mut spec = boxed(local, &turn.repo, &repo, Vec::new(), &folders.clone, Cache::Agent)
        .map_err(PortError::transient)?
        .bind(&folders.clone, Access::ReadWrite)
        .bind(&folders.home, Access::ReadWrite)
        .bind(mirror.objects(), Access::ReadOnly);
    spec.home = Some(folders.home.clone());
    reach.apply(&mut spec);
    Ok((spec, folders.home))
}

pub(super) fn invoked(mut spec: BoxSpec, made: Invocation, reach: Reach) -> Invoked {
    spec.argv = std::iter::once(made.program.into_os_string())
        .chain(made.args)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    Invoked {
        boxed: spec,
        secrets: made.env.into_iter().collect(),
        model_key: reach.model_key,
        stdin: made.stdin,
    }
}

/// Finds the Claude CLI: the configured program, or the first `claude` on the search path.
pub fn find_claude(config: &Claude) -> Result<PathBuf, MissingProgram> {
    let found = match &config.program {
        Some(program) => Some(program.clone()).filter(|program| program.is_file()),
        None => std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path).map(|dir| dir.join("claude")).find(|file| file.is_file())
        }),
    };
    let found = found.and_then(|file| file.canonicalize().ok());
    found.ok_or_else(|| match &config.program {
        Some(program) => MissingProgram::new(
            format!("the Claude CLI is not at {}", program.display()),
            "correct agents.claude.program",
        ),
        None => MissingProgram::new(
            "the Claude CLI was not found on PATH",
            format!(
                "install it (npm install -g @anthropic-ai/claude-code@{}) or set \
                 agents.claude.program",
                claude::TESTED
            ),
        ),
    })
}
