//! Options of `demo`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::demo::Scenario;

/// What the demo shows.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct DemoArgs {
    /// What happens to the issue
    #[arg(long, value_enum, default_value = "success")]
    pub(in crate::cli) scenario: Scenario,
    /// Who writes the code
    #[arg(long, value_enum, default_value = "scripted")]
    pub(in crate::cli) agent: DemoAgent,
    /// Work in this folder, which must not exist yet, instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) keep: Option<PathBuf>,
}

/// Who writes the demo's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum DemoAgent {
    /// A script with fixed steps, no model
    Scripted,
    /// The Claude CLI of this machine, signed in
    Claude,
}
