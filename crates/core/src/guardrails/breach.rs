//! The breaches of the guardrails, for reports and for people.
//!
//! A breach names its kind, and the path and line where there is one, never the secret itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SecretKind;
use crate::change::TreePath;
use crate::ids::Oid;

/// The commit that a message belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageOf {
    /// The commit that would land.
    Candidate,
    /// One of the agent's own commits.
    Commit(Oid),
}

impl fmt::Display for MessageOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Candidate => f.write_str("the message of the commit that would land"),
            Self::Commit(oid) => write!(f, "the message of commit {}", oid.short()),
        }
    }
}

/// A part of a commit's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderField {
    /// The author line.
    Author,
    /// The committer line.
    Committer,
    /// Any other line.
    Other,
}

impl fmt::Display for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Author => "the author's name or address",
            Self::Committer => "the committer's name or address",
            Self::Other => "the header",
        })
    }
}

/// Something that a change may not contain. What looks like a secret in a path is masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "breach", rename_all = "snake_case")]
pub enum Breach {
    /// A message that makes CI skip the commit.
    SkipsCi {
        /// The commit of the message.
        of: MessageOf,
        /// The text that makes CI skip the commit.
        token: String,
    },
    /// A message that would close an issue before any verdict.
    ClosesIssue {
        /// The commit of the message.
        of: MessageOf,
        /// The closing words, with the issue that they name.
        words: String,
    },
    /// A message that holds what looks like a secret.
    SecretInMessage {
        /// The commit of the message.
        of: MessageOf,
        /// What the secret looks like.
        kind: SecretKind,
        /// The line of the secret, from 1.
        line: u64,
    },
    /// A message with a trailer that speaks for other people or for another run.
    SpeaksFor {
        /// The commit of the message.
        of: MessageOf,
        /// The trailer's key, in lower case.
        key: String,
    },
    /// A message that is not UTF-8.
    MessageNotText {
        /// The commit of the message.
        of: MessageOf,
    },
    /// A message or header that holds one of the secrets that the control plane knows.
    KnownSecret,
    /// A commit's header that is not UTF-8.
    HeaderNotText,
    /// A commit's header that declares another encoding.
    HeaderEncoding,
    /// A part of a commit's header with invisible or control characters.
    HeaderControl {
        /// The part of the header.
        field: HeaderField,
    },
    /// A part of a commit's header that holds what looks like a secret.
    SecretInHeader {
        /// The part of the header.
        field: HeaderField,
        /// What the secret looks like.
        kind: SecretKind,
    },
    /// A commit without a parent, which begins another history.
    OtherHistory,
    /// A breach in a commit below the one that would land, which is published with it.
    InCommit {
        /// The commit.
        commit: Oid,
        /// The breach.
        what: Box<Breach>,
    },
    /// More commits than can be judged.
    TooManyCommits {
        /// How many commits there are.
        commits: u64,
        /// The limit.
        limit: u64,
    },
    /// A manifest of a persistent volume or a claim.
    PersistentVolume {
        /// The path.
        path: TreePath,
    },
    /// A file that holds credentials, by its name or its content.
    CredentialFile {
        /// The path.
        path: TreePath,
    },
    /// A protected file, which judges changes.
    Protected {
        /// The path.
        path: TreePath,
    },
    /// A path on the operator's deny list.
    Denied {
        /// The path.
        path: TreePath,
    },
    /// A new path that the base's `.gitignore` files ignore, so that it was added by force.
    Ignored {
        /// The path.
        path: TreePath,
    },
    /// Content that looks like a secret and is new.
    Secret {
        /// The path.
        path: TreePath,
        /// What the secret looks like.
        kind: SecretKind,
        /// The line of the secret, from 1.
        line: u64,
    },
    /// A path that itself holds what looks like a secret.
    SecretInPath {
        /// The path, masked.
        path: TreePath,
        /// What the secret looks like.
        kind: SecretKind,
    },
    /// A new submodule.
    Submodule {
        /// The path.
        path: TreePath,
    },
    /// A submodule that was moved to another commit.
    SubmoduleMoved {
        /// The path.
        path: TreePath,
    },
    /// A symbolic link to an absolute path.
    AbsoluteLink {
        /// The path.
        path: TreePath,
    },
    /// A symbolic link that leaves the tree, or may leave it through another link.
    EscapingLink {
        /// The path.
        path: TreePath,
    },
    /// A symbolic link into `.git`.
    LinkIntoGit {
        /// The path.
        path: TreePath,
    },
    /// A path with a component that is empty, `.`, `..` or `.git`.
    UnsafePath {
        /// The path.
        path: TreePath,
    },
    /// A file that is too large.
    FileTooLarge {
        /// The path.
        path: TreePath,
        /// The size of the file.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A change with too many lines.
    DiffTooLarge {
        /// Lines added and removed.
        lines: u64,
        /// The limit.
        limit: u64,
    },
    /// A change that adds too many bytes.
    DiffTooManyBytes {
        /// Bytes added.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A change that touches too many files.
    TooManyFiles {
        /// Files touched.
        files: u64,
        /// The limit.
        limit: u64,
    },
    /// Commits that together add too many bytes, whatever the last of them keeps.
    HistoryTooLarge {
        /// Bytes added by all commits.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Content that could not be read, and so could not be judged.
    Unreadable {
        /// The path.
        path: TreePath,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SkipsCi { of, token } => write!(f, "{of} makes CI skip it: {token:?}"),
            Self::ClosesIssue { of, words } => {
                write!(f, "{of} would close an issue before any verdict: {words:?}")
            }
            Self::SecretInMessage { of, kind, line } => {
                write!(f, "{of} holds what looks like {kind}, line {line}")
            }
            Self::SpeaksFor { of, key } => {
                write!(f, "{of} speaks for others or for another run: {key:?}")
            }
            Self::MessageNotText { of } => write!(f, "{of} is not UTF-8"),
            Self::KnownSecret => f.write_str("it holds a secret of the control plane"),
            Self::HeaderNotText => f.write_str("the header is not UTF-8"),
            Self::HeaderEncoding => f.write_str("the header says that the message is not UTF-8"),
            Self::HeaderControl { field } => {
                write!(f, "{field} holds characters that nobody sees")
            }
            Self::SecretInHeader { field, kind } => {
                write!(f, "{field} holds what looks like {kind}")
            }
            Self::OtherHistory => f.write_str("it has no parent, and begins another history"),
            Self::InCommit { commit, what } => write!(f, "in commit {}: {what}", commit.short()),
            Self::TooManyCommits { commits, limit } => {
                write!(f, "the change has {commits} commits, more than {limit}")
            }
            Self::PersistentVolume { path } => {
                write!(f, "{path} is a manifest of a persistent volume or a claim")
            }
            Self::CredentialFile { path } => write!(f, "{path} is a file for credentials"),
            Self::Protected { path } => write!(f, "{path} is protected: it judges changes"),
            Self::Denied { path } => write!(f, "{path} is on the deny list"),
            Self::Ignored { path } => {
                write!(f, "{path} is new, and .gitignore says that it is not to be committed")
            }
            Self::Secret { path, kind, line } => {
                write!(f, "{path} holds what looks like {kind}, line {line}")
            }
            Self::SecretInPath { path, kind } => {
                write!(f, "the name of {path} holds what looks like {kind}")
            }
            Self::Submodule { path } => write!(f, "{path} is a new submodule link"),
            Self::SubmoduleMoved { path } => {
                write!(f, "{path} is a submodule link to another commit than before")
            }
            Self::AbsoluteLink { path } => write!(f, "{path} is a link to an absolute path"),
            Self::EscapingLink { path } => write!(f, "{path} is a link that can leave the tree"),
            Self::LinkIntoGit { path } => write!(f, "{path} is a link into .git"),
            Self::UnsafePath { path } => write!(f, "{path} is not a safe path"),
            Self::FileTooLarge { path, bytes, limit } => {
                write!(f, "{path} has {bytes} bytes, more than {limit}")
            }
            Self::DiffTooLarge { lines, limit } => {
                write!(f, "the change adds and removes {lines} lines, more than {limit}")
            }
            Self::DiffTooManyBytes { bytes, limit } => {
                write!(f, "the change adds {bytes} bytes, more than {limit}")
            }
            Self::TooManyFiles { files, limit } => {
                write!(f, "the change touches {files} files, more than {limit}")
            }
            Self::HistoryTooLarge { bytes, limit } => {
                write!(f, "the commits add {bytes} bytes together, more than {limit}")
            }
            Self::Unreadable { path } => write!(f, "the content of {path} could not be read"),
        }
    }
}

impl Breach {
    /// Whether the agent can repair the breach by rewriting the message of one of its own commits.
    /// Never true of a secret or of anything that was smuggled in.
    pub fn is_of_words(&self) -> bool {
        match self {
            Self::SkipsCi { of, .. }
            | Self::ClosesIssue { of, .. }
            | Self::SpeaksFor { of, .. } => match of {
                MessageOf::Commit(_) => true,
                MessageOf::Candidate => false,
            },
            Self::SecretInMessage { .. }
            | Self::MessageNotText { .. }
            | Self::KnownSecret
            | Self::HeaderNotText
            | Self::HeaderEncoding
            | Self::HeaderControl { .. }
            | Self::SecretInHeader { .. }
            | Self::OtherHistory
            | Self::InCommit { .. }
            | Self::TooManyCommits { .. }
            | Self::PersistentVolume { .. }
            | Self::CredentialFile { .. }
            | Self::Protected { .. }
            | Self::Denied { .. }
            | Self::Ignored { .. }
            | Self::Secret { .. }
            | Self::SecretInPath { .. }
            | Self::Submodule { .. }
            | Self::SubmoduleMoved { .. }
            | Self::AbsoluteLink { .. }
            | Self::EscapingLink { .. }
            | Self::LinkIntoGit { .. }
            | Self::UnsafePath { .. }
            | Self::FileTooLarge { .. }
            | Self::DiffTooLarge { .. }
            | Self::DiffTooManyBytes { .. }
            | Self::TooManyFiles { .. }
            | Self::HistoryTooLarge { .. }
            | Self::Unreadable { .. } => false,
        }
    }
}
