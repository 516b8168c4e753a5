//! Options of `token` and `agents`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{examples, number};

/// Commands on the gateway's tokens.
#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum TokenCommand {
    /// Make a token and print it, once
    ///
    /// Only a hash of the token is kept. A gateway that is running accepts the token at once.
    #[command(after_help = examples::TOKEN_NEW)]
    New(NewTokenArgs),
    /// List the tokens, without the tokens themselves
    List,
    /// Revoke a token; a gateway that is running refuses the token from the next request on
    Revoke {
        /// The token's name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// A token to be made.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct NewTokenArgs {
    /// The token's name in lists and logs
    #[arg(value_name = "NAME")]
    pub(in crate::cli) name: String,
    /// A part of the gateway that the token may use; may be repeated
    #[arg(long = "scope", value_enum, value_name = "SCOPE", required = true)]
    pub(in crate::cli) scopes: Vec<ScopeArg>,
    /// Maximum number of requests a minute [default: no limit]
    #[arg(long, value_name = "N", value_parser = number::count)]
    pub(in crate::cli) requests_per_minute: Option<u32>,
    /// Maximum number of requests at once [default: no limit]
    #[arg(long, value_name = "N", value_parser = number::count)]
    pub(in crate::cli) concurrency: Option<u32>,
    /// Maximum cost a day (UTC), in US dollars, as the Claude CLI reports it [default: no limit]
    #[arg(long, value_name = "USD", value_parser = number::dollars)]
    pub(in crate::cli) usd_per_day: Option<f64>,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ScopeArg {
    /// Jobs: /execute and /jobs
    Jobs,
    /// Chat completions and models
    Chat,
    /// Conversations: /v1/conversational
    Conversations,
    /// /metrics
    Metrics,
}

/// Commands on the agent definitions that are shipped.
#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum AgentsCommand {
    /// Install the shipped agent definitions where the Claude CLI looks
    ///
    /// Writes them to `.claude/agents` in your home, replacing older ones of the same names. The
    /// gateway has its own home and installs them there by itself.
    Install {
        /// The home folder to install them in [default: your own]
        #[arg(long, value_name = "FOLDER")]
        home: Option<PathBuf>,
    },
}
