//! Commands of the local tracker.

use clap::{Args, Subcommand};

use super::examples;

/// Commands of the local tracker.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum IssueCommand {
    /// Make an issue, and print its name
    #[command(after_help = examples::ISSUE_NEW)]
    New {
        /// The repository
        #[arg(value_name = "OWNER/NAME")]
        repo: String,
        /// What is wanted, in one line
        title: String,
        #[command(flatten)]
        text: IssueText,
        /// Put this label on; may be given again
        #[arg(long, value_name = "LABEL")]
        label: Vec<String>,
        /// Put the ready label on: the loop may take it
        #[arg(long)]
        ready: bool,
        #[command(flatten)]
        who: Who,
    },
    /// List issues
    List {
        /// Only those of this repository
        #[arg(value_name = "OWNER/NAME")]
        repo: Option<String>,
        /// Only those with this label
        #[arg(long, value_name = "LABEL")]
        label: Option<String>,
        /// Closed ones too
        #[arg(long)]
        all: bool,
    },
    /// Show one issue with its events and comments
    Show(Which),
    /// Put a label on
    #[command(after_help = examples::ISSUE_LABEL)]
    Label {
        #[command(flatten)]
        which: Which,
        /// The label; the ready label where none is named
        label: Option<String>,
        #[command(flatten)]
        who: Who,
    },
    /// Take a label off
    Unlabel {
        #[command(flatten)]
        which: Which,
        /// The label; the ready label where none is named
        label: Option<String>,
        #[command(flatten)]
        who: Who,
    },
    /// Change title or body
    ///
    /// An edit after the release makes the release count no more, unless the editor is
    /// trusted too.
    Edit {
        #[command(flatten)]
        which: Which,
        /// The new title
        #[arg(long)]
        title: Option<String>,
        #[command(flatten)]
        text: IssueText,
        #[command(flatten)]
        who: Who,
    },
    /// Write a comment
    Comment {
        #[command(flatten)]
        which: Which,
        /// What it says; `-` reads standard input
        text: String,
        #[command(flatten)]
        who: Who,
    },
    /// Close an issue; a run on it is cancelled
    Close {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        who: Who,
    },
    /// Open an issue again
    Reopen {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        who: Who,
    },
}

/// Which issue.
#[derive(Debug, Clone, Args)]
pub(crate) struct Which {
    /// The issue
    #[arg(value_name = "OWNER/REPO#N")]
    pub(crate) issue: String,
}

/// Who does it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Who {
    /// Do it as another account of this tracker, to see what the gates make of it
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// An issue's body.
#[derive(Debug, Clone, Args)]
pub(crate) struct IssueText {
    /// The body; `-` reads standard input
    #[arg(long, value_name = "TEXT")]
    pub(crate) body: Option<String>,
    /// The file that holds the body
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    pub(crate) body_file: Option<std::path::PathBuf>,
}
