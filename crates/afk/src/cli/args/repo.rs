//! Options that name and describe a repository.

use clap::Args;

/// A repository.
#[derive(Debug, Clone, Args)]
pub(crate) struct RepoArgs {
    /// The repository
    #[arg(value_name = "OWNER/NAME")]
    pub(crate) repo: String,
}

/// A repository, and what its table says where there is none yet.
#[derive(Debug, Clone, Args)]
pub(crate) struct EnrollArgs {
    /// The repository
    #[arg(value_name = "OWNER/NAME")]
    pub(crate) repo: String,
    /// Where its git lives: a URL or a path
    #[arg(long, value_name = "URL|PATH", requires = "verify")]
    pub(crate) remote: Option<String>,
    /// The command that judges a change: words, or a TOML list of them
    #[arg(long, value_name = "COMMAND", requires = "remote")]
    pub(crate) verify: Option<String>,
    /// The command that a landed commit must pass; the one of `--verify` where none is given
    #[arg(long, value_name = "COMMAND", requires = "verify")]
    pub(crate) ci: Option<String>,
}
