//! Commands of `config`.

use clap::Subcommand;

use super::examples;

/// Commands on the configuration.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Say everything that is wrong with the configuration, and where
    ///
    /// Reads the file and the variables as every command does. Ends with 2 when
    /// something is wrong.
    #[command(after_help = examples::CONFIG_CHECK)]
    Check,
    /// Print the JSON Schema of the configuration file
    #[command(after_help = examples::CONFIG_SCHEMA)]
    Schema,
    /// Print which file is read, or would be made
    Path,
}
