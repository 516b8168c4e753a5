//! `schema`: what programs can rely on.

use clap::Subcommand;

use super::examples;

/// What is described.
#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum SchemaCommand {
    /// Print the JSON Schema of what a command prints with `--json`
    ///
    /// Without a command, prints one object with the schema of every command under the command's
    /// name. Its key `stderr` has the schema of a line on standard error: an error, a warning or a
    /// doorbell.
    #[command(after_help = examples::SCHEMA_OUTPUT)]
    Output {
        /// The command, such as `status` or `issue list`
        #[arg(value_name = "COMMAND")]
        command: Vec<String>,
    },
}
