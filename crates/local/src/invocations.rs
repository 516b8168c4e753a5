//! The box and the command of an agent's process: one turn of the scripted agent, or a thread of
//! the Claude CLI. Agents that the relay speaks to are in [`super::relayed`].
//!
//! The agent sees its clone and its home, both writable, the mirror's objects, its repo's cache,
//! and its own program. It gets the model's credential and no other secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use afk_agent::agents::claude::command::{self as claude, Access as ClaudeAccess, Credential};
use afk_agent::agents::claude::session::{SessionId, SessionUse};
use afk_agent::agents::{Invocation, scripted};
use afk_agent::sandbox::{Access, BoxSpec};
use afk_core::ask::Permissions;
use afk_core::digest::Digest;
use afk_engine::ports::{PortError, PortErrorKind, PortResult, TurnRequest};
use secrecy::SecretString;

use super::boxes::{Cache, boxed, home_of_program, network};
use super::settings::{Claude, Scripted};
use super::sign_in;
use super::world::Local;

/// What a host needs to start a turn.
pub(super) struct Invoked {
    /// The box, with the command in it.
    pub(super) boxed: BoxSpec,
    /// Its environment, kept out of every file.
    pub(super) secrets: BTreeMap<String, SecretString>,
    /// The prompt, in the agent's own form.
    pub(super) stdin: Vec<u8>,
}

/// How a process of the Claude CLI enters its thread.
pub(super) struct Enter {
    /// The conversation.
    pub(super) session: SessionId,
    /// Opens or resumes the conversation.
    pub(super) session_use: SessionUse,
    /// The id of its first turn's line.
    pub(super) message: String,
}

/// The box and the command of one turn of the scripted agent.
pub(super) fn scripted(local: &Local, agent: &Scripted, turn: &TurnRequest) -> PortResult<Invoked> {
    let (spec, _) = agent_box(local, turn)?;
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
    Ok(invoked(spec, made))
}

/// The box and the command of a process of the Claude CLI that begins with `turn`.
pub(super) async fn claude(
    local: &Local,
    config: &Claude,
    turn: &TurnRequest,
    enter: Enter,
) -> PortResult<Invoked> {
    let (spec, home) = agent_box(local, turn)?;
    let binary = find_claude(config)?;
    let credential = if let Some(source) = &config.api_key {
        Credential::ApiKey(local.secrets.read(source).await.map_err(not_let_in)?)
    } else {
        let (from, to) = (sign_in::home(config), home.clone());
        let copied = tokio::task::spawn_blocking(move || {
            sign_in::copy(&from, &to).map(|()| sign_in::values(&from))
        });
        let tokens = copied.await.map_err(PortError::transient)?.map_err(PortError::transient)?;
        for token in tokens {
            local.known.learn(&token);
        }
        Credential::Home
    };
    let request = claude::ProcessRequest {
        binary,
        home,
        path: spec.env.get("PATH").cloned().unwrap_or_default(),
        session: enter.session,
        session_use: enter.session_use,
        prompt: match enter.session_use {
            SessionUse::Open => turn.anew.clone(),
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
        base_url: config.base_url.clone(),
        max_retries: claude::DEFAULT_RETRIES,
        extra_env: spec.env.clone().into_iter().collect(),
    };
    let made = claude::process(&request).map_err(PortError::permanent)?;
    let spec = match home_of_program(&made.program) {
        Some(program) => spec.bind(program, Access::ReadOnly),
        None => spec,
    };
    Ok(invoked(spec, made))
}

/// Whether a process of the Claude CLI could be started: it exists, and is signed in.
pub(super) async fn claude_ready(local: &Local, config: &Claude) -> PortResult<()> {
    find_claude(config)?;
    if let Some(source) = &config.api_key {
        return local.secrets.read(source).await.map(drop).map_err(not_let_in);
    }
    let home = sign_in::home(config);
    if sign_in::is_there(&home) {
        return Ok(());
    }
    Err(not_let_in(format!(
        "the Claude CLI is not signed in: {} contains no sign-in; run `claude` once and type /login, \
         or set agents.claude.api_key",
        home.display()
    )))
}

/// Whether the scripted agent, which is this program, has a script.
pub(super) fn scripted_ready(config: &Scripted) -> PortResult<()> {
    let script = config.script.as_deref();
    if script.is_some_and(Path::is_file) {
        return Ok(());
    }
    let why = match script {
        Some(script) => format!(
            "there is no script for the scripted agent at {}: write it, or correct `script`",
            script.display()
        ),
        None => {
            "the scripted agent has no script: set `script` in the repository's table".to_owned()
        }
    };
    Err(PortError::new(PortErrorKind::NotFound, why))
}

pub(super) fn not_let_in(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PortError {
    PortError::new(PortErrorKind::Auth, source)
}

/// The configuration that a living process was started with: a change means a new process.
pub(super) fn shape(config: &Claude, network: bool) -> String {
    // Not `Debug`, which omits arguments of the command that prints the key.
    let config = serde_json::to_string(config).unwrap_or_default();
    Digest::of_list(&[config.as_str(), if network { "network" } else { "" }]).to_string()
}

/// The box of an agent, and its home.
pub(super) fn agent_box(local: &Local, turn: &TurnRequest) -> PortResult<(BoxSpec, PathBuf)> {
    let repo = local.repo(&turn.repo)?;
    let folders = local.workspaces.prepare(turn.run).map_err(PortError::transient)?;
    let mirror = local.mirror(&turn.repo)?;
    let mut spec = boxed(local, &turn.repo, &repo, Vec::new(), &folders.clone, Cache::Agent)
        .map_err(PortError::transient)?
        .bind(&folders.clone, Access::ReadWrite)
        .bind(&folders.home, Access::ReadWrite)
        .bind(mirror.objects(), Access::ReadOnly);
    spec.home = Some(folders.home.clone());
    spec.network = network(turn.network);
    Ok((spec, folders.home))
}

pub(super) fn invoked(mut spec: BoxSpec, made: Invocation) -> Invoked {
    spec.argv = std::iter::once(made.program.into_os_string())
        .chain(made.args)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    Invoked { boxed: spec, secrets: made.env.into_iter().collect(), stdin: made.stdin }
}

/// The configured CLI, or the first `claude` on the path.
pub fn find_claude(config: &Claude) -> PortResult<PathBuf> {
    let found = match &config.program {
        Some(program) => Some(program.clone()).filter(|program| program.is_file()),
        None => std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path).map(|dir| dir.join("claude")).find(|file| file.is_file())
        }),
    };
    let found = found.and_then(|file| file.canonicalize().ok());
    found.ok_or_else(|| {
        let why = match &config.program {
            Some(program) => format!(
                "the Claude CLI is not at {}: correct agents.claude.program",
                program.display()
            ),
            None => "the Claude CLI was not found on PATH: install it (npm install -g \
                     @anthropic-ai/claude-code) or set agents.claude.program"
                .to_owned(),
        };
        PortError::new(PortErrorKind::NotFound, why)
    })
}
