//! Options of `evidence`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::examples;

/// The run, or a command on a kept bundle.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::cli) struct EvidenceArgs {
    /// The run or its issue
    #[arg(value_name = "RUN|OWNER/REPO#N", required = true)]
    pub(in crate::cli) run: Option<String>,
    /// Print what other programs verify, instead of Markdown
    #[arg(long, value_name = "FORMAT")]
    pub(in crate::cli) format: Option<EvidenceFormat>,
    #[command(subcommand)]
    pub(in crate::cli) command: Option<EvidenceCommand>,
}

/// What other programs verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum EvidenceFormat {
    /// The in-toto statement about the landed commit, unsigned
    Intoto,
    /// The DSSE envelope that contains the statement, signed with `evidence_key`
    Dsse,
}

/// Commands on kept bundles.
#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum EvidenceCommand {
    /// Check that a kept bundle is complete and unedited
    ///
    /// A bundle is written when a run settles, as `evidence/RUN.json` in the data folder, together
    /// with its journal. An argument that exists as a path is read as a file; otherwise it is a run
    /// or an issue, whose bundle is looked up in the data folder. Checks that the bundle is of the
    /// run that was asked for, or that its file is named after; that the journal's rows are linked
    /// by their hashes, that each statement follows from the rows, and that the text matches; then
    /// what lies beside it: the Markdown, the in-toto statement, the envelope with its signature,
    /// and the digests of the kept transcripts. Of a run or an issue the rows are compared with the
    /// store's journal, too. Names each row and field that differs. Exits with 0 if it is sound, 1
    /// if not, 2 if it cannot be read.
    ///
    /// A bundle that somebody rewrote as a whole, rows and hashes included, can only be detected by
    /// what they do not have: a key, or the last hash. With `evidence_key` configured, the signed
    /// envelope fixes the statements and the last hash; give its public key as `--key` where the
    /// configuration is not at hand. Or note the last hash that this command prints, and give it
    /// as `--head`. The check does not show that what was recorded is true, or that this binary
    /// would decide the same; for the latter use `afk replay`.
    #[command(after_help = examples::EVIDENCE_VERIFY)]
    Verify(VerifyArgs),
}

/// The bundle, the hash that it must end with, and the key that must have signed it.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// The bundle's JSON file, or the run or its issue
    #[arg(value_name = "FILE|RUN|OWNER/REPO#N")]
    pub(in crate::cli) bundle: PathBuf,
    /// The hash that its journal must end with, if known from elsewhere
    #[arg(long, value_name = "HASH")]
    pub(in crate::cli) head: Option<String>,
    /// The public key (PEM) that must have signed it; of a run or an issue the configured key's
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) key: Option<PathBuf>,
}
