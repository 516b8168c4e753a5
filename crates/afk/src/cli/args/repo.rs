//! Options that name and describe a repository.

use std::path::PathBuf;

use clap::Args;
use clap_complete::ArgValueCompleter;

use crate::cli::complete;

/// A repository's name.
#[derive(Debug, Clone, Args)]
pub(crate) struct RepoArgs {
    /// The repository [default: the one whose clone this folder is in]
    #[arg(value_name = "OWNER/NAME", add = ArgValueCompleter::new(complete::repos))]
    pub(crate) repo: Option<String>,
}

/// A repository to enroll.
#[derive(Debug, Clone, Args)]
pub(crate) struct EnrollArgs {
    /// The repository [default: the one whose clone this folder is in]
    #[arg(value_name = "OWNER/NAME", add = ArgValueCompleter::new(complete::repos))]
    pub(crate) repo: Option<String>,
    #[command(flatten)]
    pub(crate) table: TableArgs,
}

/// What is written into a new repository's table in place of what is found in the clone.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "In place of what is found in the clone")]
pub(crate) struct TableArgs {
    /// The repository's git remote: a URL or a path
    #[arg(long, value_name = "PATH-OR-URL")]
    pub(crate) remote: Option<String>,
    /// The command that judges a change: words, or a TOML list of them
    #[arg(long, value_name = "COMMAND")]
    pub(crate) verify: Option<String>,
    /// The command that a landed commit must pass [default: what `verify` runs]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) ci: Option<String>,
    /// The agent that works on the repository [default: claude]
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// The script that the scripted agent follows; sets the agent to `scripted`
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
    /// A folder that the sandbox must show, such as a toolchain; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) read: Vec<PathBuf>,
}

impl TableArgs {
    /// Whether none of them is given.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { remote, verify, ci, agent, script, read } = self;
        remote.is_none()
            && verify.is_none()
            && ci.is_none()
            && agent.is_none()
            && script.is_none()
            && read.is_empty()
    }
}
