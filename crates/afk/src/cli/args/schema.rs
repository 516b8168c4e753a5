//! `schema`: what programs can rely on.

use clap::Subcommand;

use super::examples;

/// What is described.
#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum SchemaCommand {
    /// Print the JSON Schema of what a command prints with `--json`
    ///
    /// Without a command, of all of them by their names, and as `stderr` of the lines on standard
    /// error: errors, warnings and doorbells.
    #[command(after_help = examples::SCHEMA_OUTPUT)]
    Output {
        /// The command, such as `status` or `issue list`
        #[arg(value_name = "COMMAND")]
        command: Vec<String>,
    },
}
