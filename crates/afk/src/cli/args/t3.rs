//! Options of `t3`.

use clap::Subcommand;

use super::examples;

/// Commands on T3 Code servers.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum T3Command {
    /// Try everything that the loop does with the server of a repository
    ///
    /// Starts two short turns on new threads, interrupts the second turn, and deletes the threads.
    /// Calls a model, for a few words. Prints a line for each step, and exits with 1 if one fails.
    #[command(after_help = examples::T3_CHECK)]
    Check {
        /// The repository, as OWNER/NAME
        #[arg(value_name = "REPO")]
        repo: String,
    },
    /// Exchange a one-time pairing credential for a token
    ///
    /// Reads the credential from standard input, and writes the token to the file that `token` in
    /// the server's table of `agents` names; only you can read that file. The token is valid for
    /// about a month.
    #[command(after_help = examples::T3_PAIR)]
    Pair {
        /// The name of the server's table in `agents`
        #[arg(value_name = "NAME")]
        name: String,
    },
}
