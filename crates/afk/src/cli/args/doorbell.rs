//! Options of `doorbell`.

use clap::Subcommand;

use super::examples;

/// Commands on doorbells.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DoorbellCommand {
    /// Ring each doorbell once, with a message that says that it is a test
    ///
    /// Rings at once, whatever the doorbell usually rings for and whether the loop is armed or not.
    /// Prints a line for each: how long it took, or what is wrong and how to fix it. Exits with 1
    /// if one of them fails.
    #[command(after_help = examples::DOORBELL_TEST)]
    Test {
        /// The names of the doorbells [default: all that are configured]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}
