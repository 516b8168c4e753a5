//! How the Claude CLI is started and signed in outside of runs: as `[agents.claude]` says, so that
//! what else uses it needs no settings of its own.

use std::path::PathBuf;

use secrecy::SecretString;

use crate::config::Config;
use crate::secrets::read_secret;
use crate::{Error, ErrorKind};

/// The Claude CLI of a configuration.
#[derive(Debug, Clone)]
pub struct ClaudeAccess {
    /// The program; none looks for `claude` on the path.
    pub program: Option<PathBuf>,
    /// Another URL for the model's API.
    pub base_url: Option<String>,
    /// The key for it.
    pub api_key: Option<SecretString>,
    /// The home with the sign-in; none is that of whoever runs afk.
    pub home: Option<PathBuf>,
}

/// What `config` says of the Claude CLI. Reads its key from wherever that is kept.
pub async fn claude_access(config: &Config) -> Result<ClaudeAccess, Error> {
    let claude = config.local.shipped_claude();
    let api_key = match &claude.api_key {
        None => None,
        Some(source) => Some(read_secret(config, source).await.map_err(|error| {
            Error::new(ErrorKind::Missing, format!("agents.claude.api_key: {error}"))
        })?),
    };
    let (program, base_url, home) = (claude.program, claude.base_url, claude.home);
    Ok(ClaudeAccess { program, base_url, api_key, home })
}
