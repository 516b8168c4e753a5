//! Options of `t3`.

use clap::Subcommand;

use super::examples;

/// Commands on T3 Code servers.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum T3Command {
    /// Try everything that the loop does with the server of a repository
    ///
    /// Starts two short turns on a thread of its own, interrupts the second, and deletes the thread.
    /// Calls a model, for a few words. Prints a line for each step, and exits with 1 if one fails.
    #[command(after_help = examples::T3_CHECK)]
    Check {
        /// The repository, as OWNER/NAME
        #[arg(value_name = "REPO")]
        repo: String,
    },
    /// Exchange a one-time pairing credential for a token
    ///
    /// Reads the credential from standard input, and writes the token to the file that the server's
    /// table names as its token, readable by you alone. The token holds for about a month.
    #[command(after_help = examples::T3_PAIR)]
    Pair {
        /// The server's name in `agents`
        #[arg(value_name = "NAME")]
        name: String,
    },
}
