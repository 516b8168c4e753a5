//! Commands of `config`.

use clap::Subcommand;

use super::examples;

/// Commands on the configuration.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Report everything that is wrong with the configuration, and where
    ///
    /// Reads the file and the variables as every command does. Whether the keys fit each other is
    /// only checked once every value can be read, so correct what is named and check again. Exits
    /// with 2 if something is wrong.
    #[command(after_help = examples::CONFIG_CHECK)]
    Check,
    /// Print the JSON Schema of the configuration file
    #[command(after_help = examples::CONFIG_SCHEMA)]
    Schema,
    /// Print the path of the configuration file, or where it would be created
    Path,
}
