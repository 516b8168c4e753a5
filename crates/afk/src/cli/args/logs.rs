//! Options of `logs`.

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::number;
use crate::cli::complete;

/// Which transcript, and how much of it.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct LogsArgs {
    /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
    #[arg(value_name = "RUN|OWNER/NAME#N", add = ArgValueCompleter::new(complete::runs))]
    pub(in crate::cli) run: String,
    /// Go on printing, also of later turns, until the run is settled
    #[arg(short, long)]
    pub(in crate::cli) follow: bool,
    /// Show only the turn with this number
    #[arg(long, value_name = "N", value_parser = number::count)]
    pub(in crate::cli) turn: Option<u32>,
}
