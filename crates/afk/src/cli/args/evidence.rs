//! Options of `evidence`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::examples;

/// The run, or a command on a kept bundle.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::cli) struct EvidenceArgs {
    /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
    #[arg(value_name = "RUN|OWNER/NAME#N", required = true)]
    pub(in crate::cli) run: Option<String>,
    /// Print a document that other programs can verify, instead of Markdown
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
    /// When a run settles, its bundle is written to `evidence/RUN.json` in the data folder,
    /// together with the run's journal. If the argument is the path of a file, that file is
    /// checked. Otherwise it names a run or an issue, whose bundle is looked up in the data folder,
    /// and whose journal in the store is compared with the bundle, too.
    ///
    /// Checks that the bundle is of the run in question; that the journal's rows are linked by
    /// their hashes, that each statement follows from the rows, and that the text matches; then the
    /// files beside the bundle: the Markdown, the in-toto statement, the envelope with its
    /// signature, and the digests of the kept transcripts. Names each row and field that differs.
    /// Exits with 0 if the bundle is sound, 1 if it is not, 2 if it cannot be read.
    ///
    /// If somebody rewrote a whole bundle, rows and hashes included, only a signature or the last
    /// hash can show it. With `evidence_key` configured, the signed envelope fixes the statements
    /// and the last hash; where the configuration is not at hand, give the public key as `--key`.
    /// Or note the last hash that this command prints, and give it as `--head`. The check does not
    /// show that the recorded facts are true, nor that this version of afk would decide the same;
    /// for the latter use `afk replay`.
    #[command(after_help = examples::EVIDENCE_VERIFY)]
    Verify(VerifyArgs),
}

/// The bundle, the hash that it must end with, and the key that must have signed it.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// The bundle's JSON file, or the run or its issue
    #[arg(value_name = "FILE|RUN|OWNER/NAME#N")]
    pub(in crate::cli) bundle: PathBuf,
    /// The hash that the bundle's journal must end with, if you noted it earlier
    #[arg(long, value_name = "HASH")]
    pub(in crate::cli) head: Option<String>,
    /// The file with the public key (PEM) that must have signed the bundle [default: for a run or
    /// an issue, the public key of `evidence_key`]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) key: Option<PathBuf>,
}
