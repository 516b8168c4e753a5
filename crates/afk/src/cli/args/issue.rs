//! Commands of the local tracker.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use super::examples;
use crate::cli::complete;

/// Commands of the local tracker.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum IssueCommand {
    /// Create an issue and print its name
    #[command(after_help = examples::ISSUE_NEW)]
    New {
        /// The repository, if it is not the one of this clone, and what is wanted, in one line
        ///
        /// Without a title, the editor in `VISUAL` or `EDITOR` is opened: the first line is the
        /// title, the rest the body.
        #[arg(value_names = ["OWNER/NAME", "TITLE"], num_args = 0..)]
        words: Vec<String>,
        #[command(flatten)]
        text: IssueText,
        /// Add this label; may be repeated
        #[arg(long, value_name = "LABEL")]
        label: Vec<String>,
        /// Add the ready label: the loop may take the issue
        #[arg(long)]
        ready: bool,
        #[command(flatten)]
        who: ActorArg,
    },
    /// List issues
    List {
        /// Only issues of this repository
        #[arg(value_name = "OWNER/NAME", add = ArgValueCompleter::new(complete::repos))]
        repo: Option<String>,
        /// Only issues with this label
        #[arg(long, value_name = "LABEL")]
        label: Option<String>,
        /// Include closed issues
        #[arg(long)]
        all: bool,
    },
    /// Show one issue with its events and comments
    Show(IssueArg),
    /// Add a label
    #[command(after_help = examples::ISSUE_LABEL)]
    Label {
        #[command(flatten)]
        which: IssueArg,
        /// The label [default: the ready label]
        label: Option<String>,
        #[command(flatten)]
        who: ActorArg,
    },
    /// Take a label off
    Unlabel {
        #[command(flatten)]
        which: IssueArg,
        /// The label [default: the ready label]
        label: Option<String>,
        #[command(flatten)]
        who: ActorArg,
    },
    /// Change the title or body
    ///
    /// An edit by somebody untrusted after the release revokes the release.
    Edit {
        #[command(flatten)]
        which: IssueArg,
        /// The new title
        #[arg(long)]
        title: Option<String>,
        #[command(flatten)]
        text: IssueText,
        #[command(flatten)]
        who: ActorArg,
    },
    /// Write a comment
    Comment {
        #[command(flatten)]
        which: IssueArg,
        /// The text of the comment; `-` reads standard input
        text: String,
        #[command(flatten)]
        who: ActorArg,
    },
    /// Close an issue, which cancels its run
    Close {
        #[command(flatten)]
        which: IssueArg,
        #[command(flatten)]
        who: ActorArg,
    },
    /// Reopen an issue
    Reopen {
        #[command(flatten)]
        which: IssueArg,
        #[command(flatten)]
        who: ActorArg,
    },
}

impl IssueCommand {
    /// The issue that the command is about, as typed.
    pub(crate) fn subject(&mut self) -> Option<&mut String> {
        match self {
            Self::New { .. } | Self::List { .. } => None,
            Self::Show(which)
            | Self::Label { which, .. }
            | Self::Unlabel { which, .. }
            | Self::Edit { which, .. }
            | Self::Comment { which, .. }
            | Self::Close { which, .. }
            | Self::Reopen { which, .. } => Some(&mut which.issue),
        }
    }
}

/// An issue's name.
#[derive(Debug, Clone, Args)]
pub(crate) struct IssueArg {
    /// The issue, such as o/web#7; in a clone of its repository the number is enough
    #[arg(value_name = "OWNER/NAME#N", add = ArgValueCompleter::new(complete::issues))]
    pub(crate) issue: String,
}

/// Who acts.
#[derive(Debug, Clone, Args)]
pub(crate) struct ActorArg {
    /// Act as another account of this tracker, to see how the gates respond
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
