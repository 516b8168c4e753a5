//! Options of `serve`.

use clap::{Args, ValueEnum};

/// How the daemon logs.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::cli) struct ServeArgs {
    /// How log lines look: `json` unless standard output is a terminal
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(in crate::cli) log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogFormat {
    /// One JSON object a line, for collectors
    Json,
    /// Words, for people
    Text,
}
