//! The gateway in `serve`: opens it from the configuration and the environment, and serves its
//! routes.
//!
//! `serve --only gateway` runs it alone ([`serve`]), without store and loop; otherwise `serve` opens
//! it beside the loop ([`open`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use afk_api::MetricsAccess;
use afk_app::config::{Config, load};
use afk_app::{Error, ErrorKind, claude_access, data_dir};
use afk_gateway::{Gateway, GatewayError, GatewayStart, Scope, TOKEN_VARIABLE, TokenCheck};
use afk_http::{Bound, Limits};
use axum::Router;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::cli::exit::{Answer, Exit};
use crate::cli::signals::Signals;
use crate::cli::sources::{self, sources};
use crate::descriptors;
use crate::memory::return_idle_memory;
use crate::privacy::hide_from_agents;

/// The gateway's streams last long, and many are silent: so many connections, each without a limit
/// to its length. [`descriptors::within`] allows fewer where few files may be open.
pub(super) const LIMITS: Limits = Limits {
    connections: 4096,
    headers: Duration::from_secs(10),
    connection: None,
    drain: Duration::from_secs(3),
};

/// Variables from which the Claude CLI takes the model's credential.
const CREDENTIALS: [&str; 3] =
    ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"];
/// Maximum number of bytes read of a mounted file.
const MOUNTED_BYTES: u64 = 64 * 1024;
/// Variables that git needs to reach a remote.
const GIT: [&str; 4] = ["HOME", "USER", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND"];

/// Serves the gateway alone.
pub(super) async fn serve(context: &Context<'_>) -> Answer {
    hide_from_agents();
    let mut signals = Signals::new()?;
    return_idle_memory();
    let limits = descriptors::within(LIMITS, descriptors::raise());
    let config = load::<Config>(&sources(context.config()))?.config;
    let address = config.gateway.listen.or(config.own.http.listen).ok_or_else(|| {
        Error::invalid("the gateway listens nowhere: set gateway.listen, such as 127.0.0.1:8791")
    })?;
    let server = Bound::bind(address).await.map_err(|error| Error::failed(error.to_string()))?;
    let gateway = open(&config).await?;
    let (routes, stop) = (gateway.router(), CancellationToken::new());
    say(&server);
    let work = async {
        server.serve(&routes, limits, &stop).await;
        gateway.close().await;
    };
    tokio::pin!(work);
    let mut told = None;
    loop {
        let exit = tokio::select! {
            () = &mut work => break,
            exit = signals.ending() => exit,
        };
        if told.is_some() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        told = Some(exit);
        tracing::info!("stopping");
        gateway.stop();
        stop.cancel();
    }
    tracing::info!("stopped");
    Ok(told.unwrap_or(Exit::Done))
}

/// Opens the gateway of this configuration and environment.
pub(super) async fn open(config: &Config) -> Answer<Gateway> {
    let mounted = mounted()?;
    let variable = |name: &str| given(name, mounted.as_deref());
    let claude = claude_access(config).await?;
    let mut settings = (*config.gateway).clone();
    settings.apply_variables(variable).map_err(|error| Error::invalid(error.to_string()))?;
    settings.program = settings.program.or(claude.program);
    settings.base_url = settings.base_url.or(claude.base_url);
    let state = state(config)?;
    let supervisor = std::env::current_exe()
        .map_err(|error| Error::failed(format!("this program is not found: {error}")))?;
    let all = |names: &[&str]| -> Vec<(String, String)> {
        names.iter().filter_map(|name| Some(((*name).to_owned(), variable(name)?))).collect()
    };
    let secret = |(name, value): (String, String)| (name, SecretString::from(value));
    let credentials = match claude.api_key {
        Some(key) => vec![(CREDENTIALS[0].to_owned(), key)],
        None => all(&CREDENTIALS).into_iter().map(secret).collect(),
    };
    let start = GatewayStart {
        settings,
        state,
        supervisor,
        token: variable(TOKEN_VARIABLE).map(Into::into),
        credentials,
        path: variable("PATH").unwrap_or_default(),
        sign_in: claude.home.or_else(|| variable("HOME").map(Into::into)),
        git: all(&GIT),
    };
    Gateway::open(start).await.map_err(|error| {
        let kind = match error {
            GatewayError::Setting(..) => ErrorKind::Invalid,
            GatewayError::NoCli(_) | GatewayError::NoBase(_) => ErrorKind::Missing,
            GatewayError::InUse(_) => ErrorKind::Taken,
            GatewayError::State { .. } => ErrorKind::Failed,
        };
        Error::new(kind, error.to_string())
    })
}

/// The folder of the gateway's state. Its tokens are those of everything that `serve` serves, with
/// the gateway or without.
fn state(config: &Config) -> Answer<PathBuf> {
    Ok(data_dir(config)?.join("gateway"))
}

/// Returns what checks tokens: those in the gateway's state, and the one in the environment.
pub(super) fn token_check(config: &Config) -> Answer<Arc<TokenCheck>> {
    let environment = given(TOKEN_VARIABLE, mounted()?.as_deref()).map(SecretString::from);
    Ok(Arc::new(TokenCheck::new(&state(config)?, environment.as_ref())))
}

/// Returns who may read `/metrics`, and the metrics that a gateway at the same address adds.
pub(super) fn metrics_access(check: Arc<TokenCheck>, joins: Option<&Gateway>) -> MetricsAccess {
    let allows = move |token: &str| check.allows(token, Scope::Metrics);
    let beside = joins.cloned().map(|gateway| {
        let beside: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(move || gateway.metrics());
        beside
    });
    MetricsAccess { allows: Arc::new(allows), beside }
}

/// The directory of files named like variables, such as a mounted `ConfigMap`, if one is
/// configured.
fn mounted() -> Answer<Option<PathBuf>> {
    let Some(directory) = sources::mounted() else { return Ok(None) };
    match std::fs::metadata(&directory) {
        Ok(found) if found.is_dir() => Ok(Some(directory)),
        Ok(_) => Err(Error::invalid(format!("{} is not a folder", directory.display()))),
        Err(error) => {
            Err(Error::invalid(format!("{} cannot be read: {error}", directory.display())))
        }
    }
}

/// Reads a variable from the environment or, if it is absent or empty there, from the mounted file
/// of its name.
fn given(name: &str, mounted: Option<&Path>) -> Option<String> {
    let from_file = || {
        use std::io::Read as _;
        let mut text = String::new();
        let file = std::fs::File::open(mounted?.join(name)).ok()?;
        file.take(MOUNTED_BYTES).read_to_string(&mut text).ok()?;
        Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    };
    let is_given = |value: &String| !value.is_empty();
    std::env::var(name).ok().filter(is_given).or_else(|| from_file().filter(is_given))
}

/// Adds the gateway's routes to those of the control plane.
pub(super) fn with_gateway_routes(routes: Router, gateway: Option<&Gateway>) -> Router {
    match gateway {
        Some(gateway) => routes.merge(gateway.routes()),
        None => routes,
    }
}

pub(super) fn say(server: &Bound) {
    let url = format!("http://{}", server.address());
    tracing::info!(url, "serving the gateway");
}
