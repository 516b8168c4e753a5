//! Options that name and describe a repository.

use clap::Args;

/// A repository's name.
#[derive(Debug, Clone, Args)]
pub(crate) struct RepoArgs {
    /// The repository
    #[arg(value_name = "OWNER/NAME")]
    pub(crate) repo: String,
}

/// A repository, and the contents of its table if it has none yet.
#[derive(Debug, Clone, Args)]
pub(crate) struct EnrollArgs {
    /// The repository
    #[arg(value_name = "OWNER/NAME")]
    pub(crate) repo: String,
    /// Its git remote: a URL or a path
    #[arg(long, value_name = "URL|PATH", requires = "verify")]
    pub(crate) remote: Option<String>,
    /// The command that judges a change: words, or a TOML list of them
    #[arg(long, value_name = "COMMAND", requires = "remote")]
    pub(crate) verify: Option<String>,
    /// The command that a landed commit must pass [default: the `--verify` command]
    #[arg(long, value_name = "COMMAND", requires = "verify")]
    pub(crate) ci: Option<String>,
}
