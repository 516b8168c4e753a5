//! Codex's command line and environment for one turn.
//!
//! The executor calls it. Pure: the caller gives the program, the home and the credential.
//!
//! Choices and their reasons:
//!
//! - *The native binary*, not npm's script around it, which would hold no signal back and is one
//!   process more.
//! - *Our sandbox is the sandbox.* Codex's own sandbox cannot be built inside ours, so it is off;
//!   approvals are asked for only where a person is to allow each command.
//! - *A home of the run's own* (`CODEX_HOME`), which holds the threads. Not below `/tmp`, where
//!   Codex refuses to put its helpers.
//! - *The key is for Codex alone*: commands that it runs do not get it.
//! - *Quiet*: no analytics, feedback, update checks, plugins or apps.
//! - *Retries are limited* where `base_url` makes us define the provider: by default Codex makes
//!   thirty requests to a broken API.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use crate::agents::ask::Access;
use crate::agents::invocation::checked_model;
use crate::agents::relay::wire::Protocol;

/// The environment variable with the API key.
pub const KEY: &str = "CODEX_API_KEY";

/// The version of Codex that all of this is tested with, and that people are told to install.
pub const TESTED: &str = "0.171.0";
/// The name of the folder in the run's home that is `CODEX_HOME`.
pub const HOME: &str = ".codex";
/// Maximum number of times a request, or a broken stream, is tried again.
const RETRIES: u32 = 4;
/// The name of the model provider that is defined for another address of the API.
const PROVIDER: &str = "afk";

/// How Codex is run for one turn.
#[derive(Debug, Clone)]
pub struct CodexCommand {
    /// The absolute path of the native binary.
    pub binary: PathBuf,
    /// [`Protocol::CodexExec`] runs `codex exec`; any other protocol runs `codex app-server`.
    pub protocol: Protocol,
    /// The model; `None` for Codex's own default.
    pub model: Option<String>,
    /// Another address of the Responses API, up to and including its `/v1`.
    pub base_url: Option<String>,
    /// What the agent may do without asking.
    pub access: Access,
    /// The id of the thread to resume; used by `codex exec` only, whose command line names it.
    pub thread: Option<String>,
    /// The working directory; used by `codex exec` only.
    pub cwd: PathBuf,
}

/// Why no command can be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The model's name is not valid.
    #[error("model name {0:?} is not valid: use letters, digits and -._:/[]@, at most 128")]
    Model(String),
    /// The address is not valid.
    #[error("base_url {0:?} is not valid: use an http or https address without quotes")]
    Address(String),
    /// `codex exec` cannot ask a person for permission.
    #[error("codex exec cannot ask a person: use a Codex with app-server, or full-access")]
    CannotAsk,
}

/// The program and its arguments.
pub fn argv(codex: &CodexCommand) -> Result<Vec<String>, CommandError> {
    let mut argv = vec![codex.binary.to_string_lossy().into_owned()];
    let exec = codex.protocol == Protocol::CodexExec;
    argv.push(if exec { "exec" } else { "app-server" }.to_owned());
    if exec {
        if codex.access == Access::Ask {
            return Err(CommandError::CannotAsk);
        }
        argv.extend(["--json", "--skip-git-repo-check"].map(str::to_owned));
        argv.push("--dangerously-bypass-approvals-and-sandbox".to_owned());
        argv.push(format!("--cd={}", codex.cwd.display()));
    }
    for feature in ["plugins", "apps"] {
        argv.extend(["--disable".to_owned(), feature.to_owned()]);
    }
    for setting in settings(codex)? {
        argv.extend(["-c".to_owned(), setting]);
    }
    if exec {
        if let Some(thread) = &codex.thread {
            argv.extend(["resume".to_owned(), thread.clone()]);
        }
        // The prompt is on standard input.
        argv.push("-".to_owned());
    }
    Ok(argv)
}

/// The environment variables that Codex needs beside the box's own.
pub fn env(home: &Path, key: Option<&SecretString>) -> Vec<(String, SecretString)> {
    let mut env: Vec<(String, SecretString)> = vec![
        ("HOME".to_owned(), home.to_string_lossy().into_owned().into()),
        ("CODEX_HOME".to_owned(), home.join(HOME).to_string_lossy().into_owned().into()),
        ("LANG".to_owned(), "C.UTF-8".to_owned().into()),
    ];
    if let Some(key) = key {
        env.push((KEY.to_owned(), key.expose_secret().into()));
    }
    env
}

fn settings(codex: &CodexCommand) -> Result<Vec<String>, CommandError> {
    let mut all: Vec<String> = [
        "analytics.enabled=false",
        "feedback.enabled=false",
        "check_for_update_on_startup=false",
        "otel.exporter=\"none\"",
        "cli_auth_credentials_store=\"file\"",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push(format!("shell_environment_policy.exclude=[\"{KEY}\", \"OPENAI_API_KEY\"]"));
    if let Some(model) = &codex.model {
        all.push(format!("model=\"{}\"", checked_model(model).map_err(CommandError::Model)?));
    }
    if let Some(url) = &codex.base_url {
        let plain = url.starts_with("http://") || url.starts_with("https://");
        if !plain || url.contains(['"', '\\']) || url.chars().any(char::is_control) {
            return Err(CommandError::Address(url.clone()));
        }
        all.push(format!("model_provider=\"{PROVIDER}\""));
        all.push(format!(
            "model_providers.{PROVIDER}={{name=\"{PROVIDER}\", base_url=\"{url}\", \
             env_key=\"{KEY}\", wire_api=\"responses\", request_max_retries={RETRIES}, \
             stream_max_retries={RETRIES}}}"
        ));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codex() -> CodexCommand {
        CodexCommand {
            binary: "/opt/codex".into(),
            protocol: Protocol::CodexServer,
            model: Some("gpt-5".into()),
            base_url: None,
            access: Access::Full,
            thread: None,
            cwd: "/clone".into(),
        }
    }

    #[test]
    fn the_command_lines() {
        const QUIET: &str = "--disable plugins --disable apps -c analytics.enabled=false \
             -c feedback.enabled=false -c check_for_update_on_startup=false -c otel.exporter=\"none\" \
             -c cli_auth_credentials_store=\"file\" \
             -c shell_environment_policy.exclude=[\"CODEX_API_KEY\", \"OPENAI_API_KEY\"]";
        fn check(codex: &CodexCommand, expected: &str) {
            assert_eq!(argv(codex).unwrap().join(" "), expected);
        }
        check(&codex(), &format!("/opt/codex app-server {QUIET} -c model=\"gpt-5\""));
        let exec = CodexCommand {
            protocol: Protocol::CodexExec,
            model: None,
            thread: Some("t-1".into()),
            ..codex()
        };
        check(
            &exec,
            &format!(
                "/opt/codex exec --json --skip-git-repo-check \
                 --dangerously-bypass-approvals-and-sandbox --cd=/clone {QUIET} resume t-1 -"
            ),
        );
    }

    #[test]
    fn what_would_be_read_as_something_else_is_refused() {
        let bad = |change: &dyn Fn(&mut CodexCommand)| {
            let mut codex = codex();
            change(&mut codex);
            argv(&codex).unwrap_err()
        };
        let model = "a\"b".to_owned();
        let refused = bad(&|codex| codex.model = Some(model.clone()));
        assert_eq!(refused, CommandError::Model(model.clone()));
        for url in ["http://x/\"", "file:///x", "http://x\n"] {
            let refused = bad(&|codex| codex.base_url = Some(url.into()));
            assert_eq!(refused, CommandError::Address(url.into()));
        }
        let refused = bad(&|codex| {
            codex.protocol = Protocol::CodexExec;
            codex.access = Access::Ask;
        });
        assert_eq!(refused, CommandError::CannotAsk);
    }

    #[test]
    fn the_key_is_in_the_environment_alone() {
        let env = env(Path::new("/run/home"), Some(&"sk-canary".into()));
        let home = env.iter().find(|(name, _)| name == "CODEX_HOME").unwrap();
        assert_eq!(home.1.expose_secret(), "/run/home/.codex");
        assert!(!format!("{env:?}").contains("sk-canary"));
        assert!(env.iter().any(|(name, _)| name == KEY));
    }
}
