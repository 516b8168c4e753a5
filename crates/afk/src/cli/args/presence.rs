//! Options of `presence`.

use clap::Subcommand;
use jiff::SignedDuration;

use super::examples;

/// Commands on presence.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PresenceCommand {
    /// List everybody who is present; the same as no command
    List,
    /// Say that you work on something, until a time; said again, it is renewed
    #[command(after_help = examples::PRESENCE_CLAIM)]
    Claim {
        /// On what: `repo:owner/name`, or any name that people agree on
        resource: String,
        /// What for, in one line
        #[arg(long, value_name = "TEXT")]
        purpose: String,
        /// For how long
        #[arg(long, value_name = "TIME", default_value = "30m")]
        ttl: SignedDuration,
    },
    /// Say that you do so no more
    Release {
        /// On what
        resource: String,
    },
}
