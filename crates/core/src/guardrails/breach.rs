//! The breaches of the guardrails, for reports and for people.
//!
//! A breach names kind, path and line, never the secret itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SecretKind;
use crate::change::TreePath;
use crate::ids::Oid;

/// Whose message it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageOf {
    /// The commit that would land.
    Candidate,
    /// A commit of the agent's.
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

/// Something that a change may not contain. Paths that look like secrets are masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "breach", rename_all = "snake_case")]
pub enum Breach {
    /// A message that makes CI skip the commit.
    SkipsCi {
        /// Whose message.
        of: MessageOf,
        /// The token.
        token: String,
    },
    /// A message that would close an issue before any verdict.
    ClosesIssue {
        /// Whose message.
        of: MessageOf,
        /// The words.
        words: String,
    },
    /// A message with something that looks like a secret.
    SecretInMessage {
        /// Whose message.
        of: MessageOf,
        /// What it looks like.
        kind: SecretKind,
        /// Its line, from 1.
        line: u64,
    },
    /// A manifest of a persistent volume or a claim.
    PersistentVolume {
        /// Where.
        path: TreePath,
    },
    /// A file that holds credentials.
    CredentialFile {
        /// Where.
        path: TreePath,
    },
    /// A file that judges changes.
    Protected {
        /// Where.
        path: TreePath,
    },
    /// A path on the operator's deny list.
    Denied {
        /// Where.
        path: TreePath,
    },
    /// Content that looks like a secret and is new.
    Secret {
        /// Where.
        path: TreePath,
        /// What it looks like.
        kind: SecretKind,
        /// Its line, from 1.
        line: u64,
    },
    /// A path that itself looks like a secret.
    SecretInPath {
        /// The path, masked.
        path: TreePath,
        /// What it looks like.
        kind: SecretKind,
    },
    /// A new link to another repository.
    Submodule {
        /// Where.
        path: TreePath,
    },
    /// A symbolic link to an absolute path.
    AbsoluteLink {
        /// Where.
        path: TreePath,
    },
    /// A symbolic link that leaves the tree, or may.
    EscapingLink {
        /// Where.
        path: TreePath,
    },
    /// A symbolic link into git's own folder.
    LinkIntoGit {
        /// Where.
        path: TreePath,
    },
    /// A path with a component that is empty, `.` or `..`, or git's own.
    UnsafePath {
        /// The path.
        path: TreePath,
    },
    /// A file that is too large.
    FileTooLarge {
        /// Where.
        path: TreePath,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A change that is too large.
    DiffTooLarge {
        /// Lines added and removed.
        lines: u64,
        /// The limit.
        limit: u64,
    },
    /// Content that could not be read, and so not judged.
    Unreadable {
        /// Where.
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
            Self::PersistentVolume { path } => {
                write!(f, "{path} is a manifest of a persistent volume or a claim")
            }
            Self::CredentialFile { path } => write!(f, "{path} is a file for credentials"),
            Self::Protected { path } => write!(f, "{path} is protected: it judges changes"),
            Self::Denied { path } => write!(f, "{path} is on the deny list"),
            Self::Secret { path, kind, line } => {
                write!(f, "{path} holds what looks like {kind}, line {line}")
            }
            Self::SecretInPath { path, kind } => {
                write!(f, "the name of {path} holds what looks like {kind}")
            }
            Self::Submodule { path } => write!(f, "{path} is a new submodule link"),
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
            Self::Unreadable { path } => write!(f, "the content of {path} could not be read"),
        }
    }
}
