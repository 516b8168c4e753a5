//! Options of `logs`.

use clap::Args;

/// Which transcript, and how much of it.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct LogsArgs {
    /// The run or its issue
    #[arg(value_name = "RUN|OWNER/REPO#N")]
    pub(in crate::cli) run: String,
    /// Follow the run over later turns until it is settled
    #[arg(short, long)]
    pub(in crate::cli) follow: bool,
    /// Only this turn
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) turn: Option<u32>,
}
