//! How the Claude CLI is started and signed in outside of runs, such as by the gateway: as
//! `[agents.claude]` says, so that its other users need no settings of their own.

use std::path::PathBuf;

use secrecy::SecretString;

use crate::config::Config;
use crate::secrets::read_secret;
use crate::{Error, ErrorKind};

/// The program, the API and the sign-in of the Claude CLI.
#[derive(Debug, Clone)]
pub struct ClaudeAccess {
    /// The program; none looks for `claude` on the path.
    pub program: Option<PathBuf>,
    /// The URL of the model's API; none is the CLI's own.
    pub base_url: Option<String>,
    /// The key for the model's API; none uses the sign-in of `home`.
    pub api_key: Option<SecretString>,
    /// The home with the sign-in; none is that of whoever runs afk.
    pub home: Option<PathBuf>,
}

/// Returns what `config` says of the Claude CLI, and reads its key from the configured source. An
/// [`ErrorKind::Missing`] says why the key cannot be read.
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
