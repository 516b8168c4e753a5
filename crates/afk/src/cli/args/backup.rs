//! Where a backup goes.

use std::path::PathBuf;

use clap::Args;

/// The file, and whether one that is there may go.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct BackupArgs {
    /// The file to write
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub(in crate::cli) force: bool,
}
