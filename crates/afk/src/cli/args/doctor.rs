//! Options of the doctor.

use clap::Args;

/// What is checked, and shown.
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// Create labels that a tracker lacks
    #[arg(long)]
    pub(crate) fix: bool,
    /// Show what is in order, too
    #[arg(long)]
    pub(crate) all: bool,
    /// Run no tests: seconds instead of minutes
    #[arg(long, conflicts_with = "verify")]
    pub(crate) quick: bool,
    /// Run the tests of these repositories alone
    #[arg(long, value_name = "REPO", num_args = 0..)]
    pub(crate) verify: Option<Vec<String>>,
}
