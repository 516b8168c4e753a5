//! What a person does with a T3 Code server: try it, and get a token for it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use afk_core::ids::{AdapterName, RepoName};
use afk_core::secret::SecretSource;
use afk_local::SystemClock;
use afk_remote::pair_t3;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use crate::config::Config;
use crate::{App, Error};

/// The result of trying a server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct T3Checked {
    /// The server's name in the configuration.
    pub name: AdapterName,
    /// What was tried, in order.
    pub steps: Vec<T3Step>,
}

/// One step of trying a server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct T3Step {
    /// What was tried.
    pub step: &'static str,
    /// What was seen, or why it failed.
    pub says: String,
    /// Whether it failed.
    pub failed: bool,
}

/// The result of pairing: a token that was obtained and kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct T3Paired {
    /// The server's name in the configuration.
    pub name: AdapterName,
    /// The file that holds the token.
    pub file: PathBuf,
    /// The scope that the server granted, as it writes it.
    pub scope: String,
    /// For how many whole days the token is valid.
    pub days: i64,
}

/// Tries the server that works on `repo` with two short turns on threads of their own, and deletes
/// these threads. Calls a model. An error means that the repo's agent is not on a T3 Code server; a
/// step that failed is part of the result.
pub async fn check_t3(app: &App, repo: &RepoName) -> Result<T3Checked, Error> {
    let name = app.config.policy.executor_of(repo);
    let run = app.engine.ports().ids.run();
    let checked = app.t3.check(&name, repo, run).await.ok_or_else(|| {
        Error::invalid(format!(
            "{repo} is worked on by {name}, which is not a T3 Code server: name a repository \
             whose agent is of kind \"t3\""
        ))
    })?;
    let steps = checked.into_iter().map(|one| {
        let failed = one.says.is_err();
        T3Step { step: one.step, says: one.says.unwrap_or_else(|why| why), failed }
    });
    Ok(T3Checked { name, steps: steps.collect() })
}

/// Exchanges a one-time pairing credential for a token, and writes the token to the file that the
/// server's table names for it.
pub async fn pair(
    config: &Config,
    name: &AdapterName,
    credential: &str,
) -> Result<T3Paired, Error> {
    let table = config.remote.agents.get(name).filter(|table| table.is_t3(name));
    let table = table.ok_or_else(|| {
        Error::invalid(format!("no agent {name} of kind \"t3\" is configured: add [agents.{name}]"))
    })?;
    let Some(SecretSource::File(file)) = &table.token else {
        let what = format!(
            "the token of {name} does not come from a file: write token = {{ file = \"/…\" }}, so \
             that it can be kept there"
        );
        return Err(Error::invalid(what));
    };
    // Opened before the exchange: a credential works once, and would be spent for nothing if the
    // token could not be kept.
    let mut kept = private(file).map_err(|error| unwritable(file, &error))?;
    let credential = SecretString::from(credential.trim());
    let paired = pair_t3(table, &credential, Arc::new(SystemClock)).await;
    let paired = paired.map_err(|error| Error::failed(error.chain()))?;
    let written = kept.write_all(paired.token.expose_secret().as_bytes());
    written.and_then(|()| kept.sync_all()).map_err(|error| unwritable(file, &error))?;
    let partial = partial(file);
    std::fs::rename(&partial, file).map_err(|error| unwritable(file, &error))?;
    let (scope, days) = (paired.scope, paired.lasts.as_hours() / 24);
    Ok(T3Paired { name: name.clone(), file: file.clone(), scope, days })
}

/// Opens a temporary file beside `file`, which only its owner can read.
fn private(file: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(partial(file))
}

fn partial(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn unwritable(file: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("cannot write {}: {error}", file.display()))
}
