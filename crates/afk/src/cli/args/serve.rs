//! Options of `serve`.

use clap::{Args, ValueEnum};

/// How the daemon logs.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::cli) struct ServeArgs {
    /// Serve only this part; `gateway` needs no repositories and no store
    #[arg(long, value_enum, value_name = "PART")]
    pub(in crate::cli) only: Option<Part>,
    /// Format of log lines [default: `text` if standard output is a terminal, otherwise `json`]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(in crate::cli) log_format: Option<LogFormat>,
}

/// A part that can be served alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Part {
    /// The gateway: jobs, chat completions and conversations for other programs
    Gateway,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogFormat {
    /// One JSON object a line, for log collectors
    Json,
    /// Text, for people
    Text,
}
