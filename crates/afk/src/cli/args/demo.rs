//! Options of `demo`.

use std::path::PathBuf;

use clap::Args;

use crate::demo::{DemoAgent, ForgeKind, Scenario};

/// What the demo shows.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct DemoArgs {
    /// What happens to the issue
    #[arg(long, value_enum, default_value = "success")]
    pub(in crate::cli) scenario: Scenario,
    /// Who writes the code
    #[arg(long, value_enum, default_value = "scripted")]
    pub(in crate::cli) agent: DemoAgent,
    /// The kind of fake forge that has the issue [default: none, the issue is in the local tracker]
    #[arg(long, value_enum)]
    pub(in crate::cli) forge: Option<ForgeKind>,
    /// Work in this folder, which must not exist yet, instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) keep: Option<PathBuf>,
}
