//! Options of the doctor.

use clap::Args;
use clap_complete::ArgValueCompleter;

use crate::cli::complete;

/// What is checked, and shown.
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// Create labels that a tracker lacks, and webhooks that a forge lacks
    #[arg(long)]
    pub(crate) fix: bool,
    /// Also show the checks that found nothing wrong
    #[arg(long)]
    pub(crate) all: bool,
    /// Run no tests, so that it takes seconds instead of minutes
    #[arg(long, conflicts_with = "verify")]
    pub(crate) quick: bool,
    /// Run only the tests of these repositories [default: the enrolled ones, or all if none is]
    #[arg(
        long,
        value_name = "REPO",
        num_args = 0..,
        add = ArgValueCompleter::new(complete::repos)
    )]
    pub(crate) verify: Option<Vec<String>>,
}
