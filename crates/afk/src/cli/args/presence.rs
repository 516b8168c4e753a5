//! Options of `presence`.

use clap::Subcommand;
use jiff::SignedDuration;

use super::examples;

/// Commands on presence.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PresenceCommand {
    /// List everybody who is present (the default)
    List,
    /// Announce that you work on something, until a time; repeat to renew
    #[command(after_help = examples::PRESENCE_CLAIM)]
    Claim {
        /// `repo:owner/name`, or any name that people agree on
        resource: String,
        /// The purpose, in one line
        #[arg(long, value_name = "TEXT")]
        purpose: String,
        /// For how long
        #[arg(long, value_name = "TIME", default_value = "30m")]
        ttl: SignedDuration,
    },
    /// Withdraw a claim
    Release {
        /// What was claimed
        resource: String,
    },
}
