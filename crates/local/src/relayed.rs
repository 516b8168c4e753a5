//! The box and the request of one turn of an agent that the relay speaks to: Codex, agents that
//! speak ACP, and other programs.
//!
//! The executor uses this. The agent gets its model's credential, unless the proxy of its box holds
//! it, and the secrets that its own table names; the relay passes its environment on to the agent.

use std::path::{Path, PathBuf};

use afk_agent::agents::ask::Access as AgentAccess;
use afk_agent::agents::claude::command::DEFAULT_RETRIES;
use afk_agent::agents::codex::command::{self as codex, CodexCommand};
use afk_agent::agents::relay;
use afk_agent::agents::relay::wire::{ConversationState, Protocol, RelayRequest};
use afk_agent::sandbox::{Access, BoxSpec};
use afk_core::ask::Permissions;
use afk_engine::ports::{PortError, PortResult, TurnRequest};
use secrecy::SecretString;

use super::ask::{ask, on_path};
use super::boxes::home_of_program;
use super::invocations::{Invoked, agent_box, invoked, sign_in_error};
use super::missing::MissingProgram;
use super::network::Reach;
use super::settings::{Acp, Codex, Command, ModelApi, Process};
use super::sign_in;
use super::world::Local;

/// How long an agent may take before it works on a prompt, in milliseconds.
const START: u64 = 60_000;
/// How long an agent may take to end a cancelled turn, in milliseconds: less than the executor
/// gives the relay.
const GRACE: u64 = 2_000;

/// Returns the box and the request of one turn of Codex, which continues the conversation
/// `earlier`.
pub(super) async fn of_codex(
    local: &Local,
    config: &Codex,
    turn: &TurnRequest,
    earlier: Option<ConversationState>,
) -> PortResult<Invoked> {
    let binary = find_codex(config)?;
    let key = match &config.api_key {
        Some(source) => Some(local.secrets.read(source).await.map_err(sign_in_error)?),
        None => None,
    };
    let (allowed, url) = (turn.network.narrowed(&config.network), config.base_url.as_deref());
    let reach = match key {
        Some(key) => Reach::with_key(&allowed, ModelApi::Openai, url, key),
        None => Reach::of_codex_sign_in(&allowed, url),
    };
    let (spec, home) = agent_box(local, turn, &reach)?;
    let folder = home.join(codex::HOME);
    let from = config.api_key.is_none().then(|| sign_in::codex_home(config.home.as_deref()));
    let prepared =
        tokio::task::spawn_blocking(move || sign_in::prepare_codex(from.as_deref(), &folder));
    for token in prepared.await.map_err(PortError::transient)?.map_err(PortError::transient)? {
        local.known.learn(&token);
    }
    let protocol = protocol_of(&binary).await?;
    let access = access(config.permissions);
    let argv = codex::argv(&CodexCommand {
        binary: binary.clone(),
        protocol,
        model: config.model.clone(),
        base_url: reach.base_url.clone(),
        access,
        thread: earlier.as_ref().map(|earlier| earlier.id.clone()),
        cwd: spec.cwd.clone(),
    });
    let request = RelayRequest {
        access,
        model: config.model.clone(),
        ..request(protocol, argv.map_err(PortError::permanent)?, &spec, turn, earlier)
    };
    let mut env = codex::env(&home, reach.key.as_ref());
    env.extend(env_of(&spec));
    Ok(relayed(local, spec.bind(folder_of(&binary), Access::ReadOnly), &request, env, reach))
}

/// Returns the box and the request of one turn of an agent that speaks ACP, which continues the
/// conversation `earlier`.
pub(super) async fn of_acp(
    local: &Local,
    config: &Acp,
    turn: &TurnRequest,
    earlier: Option<ConversationState>,
) -> PortResult<Invoked> {
    let reach = reach_of(local, &config.process, turn).await?;
    let (spec, home) = agent_box(local, turn, &reach)?;
    let access = access(config.permissions);
    let request = RelayRequest {
        access,
        model: config.model.clone(),
        mode: config.mode.clone(),
        auth_method: config.auth_method.clone(),
        ..request(Protocol::Acp, config.process.command.clone(), &spec, turn, earlier)
    };
    process(local, &config.process, (spec, &home, reach), request).await
}

/// Returns the box and the request of one turn of another program.
pub(super) async fn of_command(
    local: &Local,
    config: &Command,
    turn: &TurnRequest,
) -> PortResult<Invoked> {
    let reach = reach_of(local, &config.process, turn).await?;
    let (spec, home) = agent_box(local, turn, &reach)?;
    let request = RelayRequest {
        model: config.model.clone(),
        ..request(Protocol::Command, config.process.command.clone(), &spec, turn, None)
    };
    process(local, &config.process, (spec, &home, reach), request).await
}

/// Returns the network of an agent that is configured as a [`Process`].
async fn reach_of(local: &Local, process: &Process, turn: &TurnRequest) -> PortResult<Reach> {
    let allowed = turn.network.narrowed(&process.network);
    let Some(api) = &process.api else { return Ok(Reach::without_model(&allowed)) };
    let key = local.secrets.read(&api.key).await.map_err(sign_in_error)?;
    Ok(Reach::with_key(&allowed, api.kind, api.base_url.as_deref(), key))
}

/// Checks that Codex could be started: it exists, and is signed in.
pub(super) async fn codex_ready(local: &Local, config: &Codex) -> PortResult<()> {
    find_codex(config)?;
    if let Some(source) = &config.api_key {
        return local.secrets.read(source).await.map(drop).map_err(sign_in_error);
    }
    let home = sign_in::codex_home(config.home.as_deref());
    if sign_in::has_codex(&home) {
        return Ok(());
    }
    Err(sign_in_error(format!(
        "Codex is not signed in: {} contains no sign-in; run `codex login`, or set \
         agents.codex.api_key",
        home.display()
    )))
}

/// Checks that an agent that is configured as a [`Process`] could be started: its program exists,
/// and its secrets can be read.
pub(super) async fn process_ready(local: &Local, process: &Process) -> PortResult<()> {
    find_process(process)?;
    let key = process.api.as_ref().map(|api| &api.key);
    for source in process.secret_env.values().chain(key) {
        local.secrets.read(source).await.map_err(sign_in_error)?;
    }
    Ok(())
}

/// Finds the program of an agent that is configured as a [`Process`].
pub fn find_process(process: &Process) -> Result<PathBuf, MissingProgram> {
    let program = process.command.first().map(PathBuf::from).unwrap_or_default();
    if program.is_file() {
        return Ok(program);
    }
    Err(MissingProgram::new(
        format!("the agent's program is not at {}", program.display()),
        "correct command in its table in [agents]",
    ))
}

/// Finds Codex's native binary: the configured program, or the first `codex` on the search path. If
/// that is npm's script, the binary that the script would start is returned.
pub fn find_codex(config: &Codex) -> Result<PathBuf, MissingProgram> {
    let found = match &config.program {
        Some(program) => Some(program.clone()).filter(|program| program.is_file()),
        None => on_path("codex"),
    };
    let Some(found) = found.and_then(|file| file.canonicalize().ok()) else {
        return Err(match &config.program {
            Some(program) => MissingProgram::new(
                format!("Codex is not at {}", program.display()),
                "correct agents.codex.program",
            ),
            None => MissingProgram::new(
                "Codex was not found on PATH",
                format!(
                    "install it (npm install -g @openai/codex@{}) or set agents.codex.program",
                    codex::TESTED
                ),
            ),
        });
    };
    if found.extension().is_none_or(|extension| extension != "js") {
        return Ok(found);
    }
    native(&found).ok_or_else(|| {
        MissingProgram::new(
            format!(
                "{} is npm's script, and the binary for this machine is not beside it",
                found.display()
            ),
            "install @openai/codex again with its optional dependencies, or set \
             agents.codex.program",
        )
    })
}

/// Returns the binary that npm's script starts. It is in the package for the platform, which is
/// beside the script's own package or inside it.
fn native(script: &Path) -> Option<PathBuf> {
    let package = script.parent()?.parent()?;
    let scopes = [package.parent()?.to_owned(), package.join("node_modules/@openai")];
    let entries = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let packages = scopes
        .into_iter()
        .flat_map(entries)
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("codex-")));
    let mut found: Vec<PathBuf> = packages
        .flat_map(|package| entries(package.path().join("vendor")))
        .map(|target| target.path().join("bin/codex"))
        .filter(|file| file.is_file())
        .collect();
    found.sort();
    found.into_iter().next()?.canonicalize().ok()
}

/// Returns the part of Codex's installation that its binary needs: the whole folder if it has
/// helpers beside the binary, otherwise the binary.
fn folder_of(binary: &Path) -> PathBuf {
    let installed = binary.parent().and_then(Path::parent);
    let whole = installed.filter(|folder| folder.join("codex-package.json").is_file());
    whole.unwrap_or(binary).to_owned()
}

/// Finds out which protocol this Codex speaks: versions without an app server only have `exec`. If
/// the program does not answer at all, for instance because the machine is too busy, the error is
/// transient, and a later pass asks again.
async fn protocol_of(binary: &Path) -> PortResult<Protocol> {
    let at = Path::new("/");
    match ask(binary, &["app-server", "--help"], at).await {
        Some(help) if help.contains("app-server") => Ok(Protocol::CodexServer),
        Some(_) => Ok(Protocol::CodexExec),
        None if ask(binary, &["--version"], at).await.is_some() => Ok(Protocol::CodexExec),
        None => {
            let why = format!("{} does not say its version", binary.display());
            Err(PortError::transient(why))
        }
    }
}

fn access(permissions: Permissions) -> AgentAccess {
    match permissions {
        Permissions::FullAccess => AgentAccess::Full,
        Permissions::Ask => AgentAccess::Ask,
    }
}

fn request(
    protocol: Protocol,
    argv: Vec<String>,
    spec: &BoxSpec,
    turn: &TurnRequest,
    earlier: Option<ConversationState>,
) -> RelayRequest {
    RelayRequest {
        protocol,
        argv,
        cwd: spec.cwd.to_string_lossy().into_owned(),
        earlier,
        prompt: turn.prompt.clone(),
        opening_prompt: turn.opening_prompt.clone(),
        access: AgentAccess::Full,
        model: None,
        mode: None,
        auth_method: None,
        start_ms: START,
        grace_ms: GRACE,
    }
}

fn env_of(spec: &BoxSpec) -> Vec<(String, SecretString)> {
    spec.env.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

/// Returns the box of an agent that is configured as a [`Process`], with its relay.
async fn process(
    local: &Local,
    process: &Process,
    (mut spec, home, reach): (BoxSpec, &Path, Reach),
    mut request: RelayRequest,
) -> PortResult<Invoked> {
    let program = find_process(process)?;
    if let (Some(real), Some(first)) = (home_of_program(&program), request.argv.first_mut()) {
        // The box has the program at its real path, but no link to it.
        *first = real.to_string_lossy().into_owned();
        spec = spec.bind(real, Access::ReadOnly);
    }
    for path in &process.read {
        spec = spec.bind(path, Access::ReadOnly);
    }
    let mut env: Vec<(String, SecretString)> = Vec::new();
    for (name, source) in &process.secret_env {
        env.push((name.clone(), local.secrets.read(source).await.map_err(sign_in_error)?));
    }
    let plain = |name: &str, value: &str| (name.to_owned(), SecretString::from(value));
    if let Some(api) = &process.api {
        let (key, address) = api.kind.variables();
        env.extend(reach.key.clone().map(|value| (key.to_owned(), value)));
        env.extend(reach.base_url.as_deref().map(|url| plain(address, url)));
    }
    env.push(plain("HOME", &home.to_string_lossy()));
    env.extend(process.env.iter().map(|(name, value)| plain(name, value)));
    env.push(plain("LANG", "C.UTF-8"));
    // If the agent is an adapter for Claude: text of the prompt must not pull files into its
    // request.
    env.push(plain("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1"));
    env.push(plain("CLAUDE_CODE_DISABLE_FILE_MENTIONS", "1"));
    env.push(plain("DISABLE_AUTOUPDATER", "1"));
    // By default, a refused key is tried again for minutes.
    env.push(plain("CLAUDE_CODE_MAX_RETRIES", &DEFAULT_RETRIES.to_string()));
    if request.access == AgentAccess::Full {
        env.push(plain("IS_SANDBOX", "1"));
    }
    env.extend(env_of(&spec));
    Ok(relayed(local, spec, &request, env, reach))
}

/// Returns the box with the relay as its command. If two variables have the same name, the first
/// counts.
fn relayed(
    local: &Local,
    spec: BoxSpec,
    request: &RelayRequest,
    env: Vec<(String, SecretString)>,
    reach: Reach,
) -> Invoked {
    let mut all: Vec<(String, SecretString)> = Vec::new();
    for (name, value) in env {
        if !all.iter().any(|(known, _)| *known == name) {
            all.push((name, value));
        }
    }
    let made = relay::command::turn(local.program.clone(), request, all);
    invoked(spec.bind(&local.program, Access::ReadOnly), made, reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npm_s_script_stands_for_the_binary_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("node_modules/@openai");
        let script = root.join("codex/bin/codex.js");
        std::fs::create_dir_all(script.parent().unwrap()).unwrap();
        std::fs::write(&script, "").unwrap();
        let config = Codex { program: Some(script.clone()), ..Codex::default() };
        let error = find_codex(&config).unwrap_err().to_string();
        assert!(error.contains("optional dependencies"), "{error}");
        for folder in ["codex-linux-x64", "codex/node_modules/@openai/codex-linux-x64"] {
            let binary = root.join(folder).join("vendor/some-target/bin/codex");
            std::fs::create_dir_all(binary.parent().unwrap()).unwrap();
            std::fs::write(&binary, "").unwrap();
            assert_eq!(find_codex(&config).unwrap(), binary);
            assert_eq!(folder_of(&binary), binary);
            let whole = root.join(folder).join("vendor/some-target");
            std::fs::write(whole.join("codex-package.json"), "{}").unwrap();
            assert_eq!(folder_of(&binary), whole);
            std::fs::remove_dir_all(root.join(folder)).unwrap();
        }
    }

    #[test]
    fn what_is_missing_is_said_with_what_remedies_it() {
        let nowhere = Some(PathBuf::from("/nowhere/codex"));
        let error = find_codex(&Codex { program: nowhere, ..Codex::default() }).unwrap_err();
        assert!(error.to_string().contains("agents.codex.program"), "{error}");
        let process = Process { command: vec!["/nowhere/agent".into()], ..Process::default() };
        let error = find_process(&process).unwrap_err().to_string();
        assert!(error.contains("/nowhere/agent") && error.contains("[agents]"), "{error}");
    }
}
