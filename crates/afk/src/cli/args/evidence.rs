//! Options of `evidence`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::examples;

/// The run, or what is done with a kept bundle.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::cli) struct EvidenceArgs {
    /// The run or its issue
    #[arg(value_name = "RUN|OWNER/REPO#N", required = true)]
    pub(in crate::cli) run: Option<String>,
    #[command(subcommand)]
    pub(in crate::cli) command: Option<EvidenceCommand>,
}

/// Commands on kept bundles.
#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum EvidenceCommand {
    /// Check that a kept bundle is whole, and was not edited
    ///
    /// Bundles are written when a run settles, as `evidence/RUN.json` in the data folder,
    /// with the journal that they were made of. What exists as a path is taken as a file;
    /// a run or an issue stands for the file that the data folder has. Checks that its rows hang together by their hashes, that each
    /// statement is what this binary makes of the rows, and that the text is as it is
    /// written; then, where they lie where the data folder has them, the Markdown beside it
    /// and the digests of the kept transcripts. Names each row and field that differs. Ends
    /// with 0 when it is sound, with 1 when not, with 2 when it cannot be read, as where it
    /// is torn.
    ///
    /// It cannot tell a bundle that somebody made anew as a whole, rows, hashes and all,
    /// from the one that was kept, unless the last hash is known from elsewhere: note the
    /// one that this prints, and give it as `--head`. Nor does it say that what was
    /// recorded is true, or that this binary would decide the same: that is `afk replay`.
    #[command(after_help = examples::EVIDENCE_VERIFY)]
    Verify(VerifyArgs),
}

/// The bundle, and what is known of it.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// The bundle's JSON file, or the run or its issue
    #[arg(value_name = "FILE|RUN|OWNER/REPO#N")]
    pub(in crate::cli) bundle: PathBuf,
    /// The hash that its journal must end with, where it is known from elsewhere
    #[arg(long, value_name = "HASH")]
    pub(in crate::cli) head: Option<String>,
}
