//! What can be asked of a run's transcript.

use clap::Args;

/// Which transcript, and how much of it.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct LogsArgs {
    /// The run or its issue
    #[arg(value_name = "RUN|OWNER/REPO#N")]
    pub(in crate::cli) run: String,
    /// Go on until the run is settled, over later turns
    #[arg(short, long)]
    pub(in crate::cli) follow: bool,
    /// This turn alone
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) turn: Option<u32>,
}
