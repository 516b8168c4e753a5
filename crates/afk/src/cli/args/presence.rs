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
        /// What you work on: `repo:owner/name`, or any name that people agree on
        resource: String,
        /// The purpose, in one line
        #[arg(long, value_name = "TEXT")]
        purpose: String,
        /// Time after which the claim expires, such as 30m or 2h
        #[arg(long, value_name = "TIME", default_value = "30m", value_parser = time)]
        ttl: SignedDuration,
    },
    /// Withdraw a claim
    Release {
        /// The name that was claimed
        resource: String,
    },
}

/// A time such as `2h` or `90m`.
fn time(text: &str) -> Result<SignedDuration, String> {
    text.parse().map_err(|_| "give a time such as 30m, 2h or 1h30m".to_owned())
}
