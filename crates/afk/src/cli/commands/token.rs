//! `token` and `agents`: manages the gateway's tokens, and installs the agent definitions that this
//! program brings along.

use afk_app::Error;
use afk_app::config::{Config, load};
use afk_app::data_dir;
use afk_gateway::{KeptToken, Scope, TokenFile, TokenLimits, install_agents};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::Context;
use crate::cli::args::{AgentsCommand, NewTokenArgs, ScopeArg, TokenCommand};
use crate::cli::exit::{Answer, Exit};
use crate::cli::sources::sources;

pub(super) fn token(context: &Context<'_>, command: TokenCommand) -> Answer {
    let config = load::<Config>(&sources(context.config()))?.config;
    let file = TokenFile::new(&data_dir(&config)?.join("gateway"));
    match command {
        TokenCommand::New(args) => create(context, &file, args),
        TokenCommand::List => list(context, &file),
        TokenCommand::Revoke { name } => {
            file.revoke(&name).map_err(|error| Error::invalid(error.to_string()))?;
            context.out.result(&json!({"revoked": name}), |_| format!("{name} is revoked"))?;
            Ok(Exit::Done)
        }
    }
}

fn create(context: &Context<'_>, file: &TokenFile, args: NewTokenArgs) -> Answer {
    let NewTokenArgs { name, scopes, requests_per_minute, concurrency, usd_per_day } = args;
    let mut scopes: Vec<Scope> = scopes.into_iter().map(scope).collect();
    scopes.sort();
    scopes.dedup();
    let limits = TokenLimits { requests_per_minute, concurrency, usd_per_day };
    let token = file
        .create(&name, scopes, limits, Timestamp::now())
        .map_err(|error| Error::invalid(error.to_string()))?;
    let token = token.expose_secret();
    // Alone on standard output, so that a script can keep it.
    context.out.result(&json!({"name": name, "token": token}), |_| token.to_owned())?;
    context.out.note("keep it now: it cannot be shown again");
    Ok(Exit::Done)
}

fn list(context: &Context<'_>, file: &TokenFile) -> Answer {
    let tokens = file.list().map_err(|error| Error::failed(error.to_string()))?;
    let rows: Vec<_> = tokens
        .iter()
        .map(|token| {
            json!({"name": token.name, "scopes": token.scopes, "limits": token.limits,
                "created_at": token.created_at})
        })
        .collect();
    context.out.result(&json!({"tokens": rows}), |_| {
        if tokens.is_empty() {
            return "no tokens: `afk token new` makes one".to_owned();
        }
        tokens.iter().map(described).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

/// Describes a token in a line.
fn described(token: &KeptToken) -> String {
    let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.name()).collect();
    let TokenLimits { requests_per_minute, concurrency, usd_per_day } = token.limits;
    let limits = [
        requests_per_minute.map(|n| format!("{n} requests a minute")),
        concurrency.map(|n| format!("{n} at once")),
        usd_per_day.map(|usd| format!("{usd} USD a day")),
    ];
    let words: Vec<String> = limits.into_iter().flatten().collect();
    let limits = if words.is_empty() { "no limits".to_owned() } else { words.join(", ") };
    let since = token.created_at.strftime("%Y-%m-%d");
    format!("{}  {}  {limits}  since {since}", token.name, scopes.join(","))
}

fn scope(arg: ScopeArg) -> Scope {
    match arg {
        ScopeArg::Jobs => Scope::Jobs,
        ScopeArg::Chat => Scope::Chat,
        ScopeArg::Conversations => Scope::Conversations,
        ScopeArg::Metrics => Scope::Metrics,
    }
}

pub(super) fn agents(context: &Context<'_>, command: AgentsCommand) -> Answer {
    let AgentsCommand::Install { home } = command;
    let home = home.or_else(|| std::env::var_os("HOME").map(Into::into));
    let home = home.ok_or_else(|| Error::invalid("there is no home: give one with --home"))?;
    let installed = install_agents(&home)
        .map_err(|error| Error::failed(format!("cannot write to {}: {error}", home.display())))?;
    context.out.result(&json!({"installed": installed}), |_| {
        let paths = installed.iter().map(|path| path.display().to_string());
        paths.collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}
