//! Options of `serve`.

use clap::{Args, ValueEnum};

/// How the daemon logs.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::cli) struct ServeArgs {
    /// Format of log lines: `json` unless standard output is a terminal
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(in crate::cli) log_format: Option<LogFormat>,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogFormat {
    /// One JSON object a line, for log collectors
    Json,
    /// Text, for people
    Text,
}
