//! Options of `backup`.

use std::path::PathBuf;

use clap::Args;

/// The file to write, and whether it may replace an existing one.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct BackupArgs {
    /// The file to write
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(in crate::cli) force: bool,
}
