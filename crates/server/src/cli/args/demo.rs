//! Options of `demo`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What the demo shows.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct DemoArgs {
    /// What happens to the issue
    #[arg(long, value_enum, default_value = "success")]
    pub(in crate::cli) scenario: Scenario,
    /// Who writes the code
    #[arg(long, value_enum, default_value = "scripted")]
    pub(in crate::cli) agent: DemoAgent,
    /// Work in this folder, which must not exist yet, in place of a temporary one
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) keep: Option<PathBuf>,
}

/// What happens to the demo's issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Scenario {
    /// It lands, goes green and is closed with evidence
    Success,
    /// CI is asked before landing: it fails once, and only what passed lands
    Tested,
    /// CI fails on what the tests do not see, and the agent mends it forward
    CiRed,
    /// No fix makes CI green: the repository is frozen, and the next issue waits
    Frozen,
    /// The control plane is killed in the middle of a turn, and another goes on
    Restart,
    /// The agent cannot prove its change, and a person gets it
    NeedsHuman,
    /// The change breaches a guardrail, and nothing lands
    Guardrail,
    /// Another issue blocks it, and nothing starts
    Blocked,
    /// Nobody trusted released it, and nothing starts
    Untrusted,
}

/// Who writes the demo's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum DemoAgent {
    /// A script that follows fixed steps and thinks nothing
    Scripted,
    /// The Claude CLI of this machine, signed in
    Claude,
}
