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

#[cfg(test)]
mod tests {
    use super::*;

    /// A breach as it is stored, with what people read.
    type Row = (serde_json::Value, &'static str);

    fn rows_of_messages() -> Vec<Row> {
        use serde_json::json;
        let commit = json!({ "commit": "c".repeat(40) });
        let row = |breach: &str, more: serde_json::Value, expected| {
            let mut row = json!({ "breach": breach });
            row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            (row, expected)
        };
        vec![
            row(
                "skips_ci",
                json!({ "of": "candidate", "token": "[skip ci]" }),
                "the message of the commit that would land makes CI skip it: \"[skip ci]\"",
            ),
            row(
                "closes_issue",
                json!({ "of": commit, "words": "fixes #7" }),
                "the message of commit cccccccc would close an issue before any verdict: \
                 \"fixes #7\"",
            ),
            row(
                "secret_in_message",
                json!({ "of": commit, "kind": "npm_token", "line": 3 }),
                "the message of commit cccccccc holds what looks like an npm token, line 3",
            ),
            row(
                "speaks_for",
                json!({ "of": commit, "key": "signed-off-by" }),
                "the message of commit cccccccc speaks for others or for another run: \
                 \"signed-off-by\"",
            ),
            row(
                "message_not_text",
                json!({ "of": commit }),
                "the message of commit cccccccc is not UTF-8",
            ),
            row("known_secret", json!({}), "it holds a secret of the control plane"),
            row("header_not_text", json!({}), "the header is not UTF-8"),
            row("header_encoding", json!({}), "the header says that the message is not UTF-8"),
            row(
                "header_control",
                json!({ "field": "author" }),
                "the author's name or address holds characters that nobody sees",
            ),
            row(
                "header_control",
                json!({ "field": "committer" }),
                "the committer's name or address holds characters that nobody sees",
            ),
            row(
                "secret_in_header",
                json!({ "field": "other", "kind": "private_key" }),
                "the header holds what looks like a private key",
            ),
            row("other_history", json!({}), "it has no parent, and begins another history"),
            row(
                "in_commit",
                json!({ "commit": "d".repeat(40), "what": { "breach": "denied", "path": "a" } }),
                "in commit dddddddd: a is on the deny list",
            ),
        ]
    }

    fn rows_of_files() -> Vec<Row> {
        let at_path = |breach: &str, expected| {
            (serde_json::json!({ "breach": breach, "path": "a/b" }), expected)
        };
        let over = |breach: &str, what: &str, expected| {
            (serde_json::json!({ "breach": breach, what: 9, "limit": 8 }), expected)
        };
        let secret = |breach: &str, expected| {
            let row = serde_json::json!({
                "breach": breach, "path": "a/b", "kind": "aws_key", "line": 3,
            });
            (row, expected)
        };
        let large = serde_json::json!({
            "breach": "file_too_large", "path": "a/b", "bytes": 9, "limit": 8,
        });
        vec![
            at_path("persistent_volume", "a/b is a manifest of a persistent volume or a claim"),
            at_path("credential_file", "a/b is a file for credentials"),
            at_path("protected", "a/b is protected: it judges changes"),
            at_path("denied", "a/b is on the deny list"),
            at_path("ignored", "a/b is new, and .gitignore says that it is not to be committed"),
            at_path("submodule", "a/b is a new submodule link"),
            at_path("submodule_moved", "a/b is a submodule link to another commit than before"),
            at_path("absolute_link", "a/b is a link to an absolute path"),
            at_path("escaping_link", "a/b is a link that can leave the tree"),
            at_path("link_into_git", "a/b is a link into .git"),
            at_path("unsafe_path", "a/b is not a safe path"),
            at_path("unreadable", "the content of a/b could not be read"),
            secret("secret", "a/b holds what looks like an AWS key, line 3"),
            secret("secret_in_path", "the name of a/b holds what looks like an AWS key"),
            (large, "a/b has 9 bytes, more than 8"),
            over("too_many_commits", "commits", "the change has 9 commits, more than 8"),
            over("diff_too_large", "lines", "the change adds and removes 9 lines, more than 8"),
            over("diff_too_many_bytes", "bytes", "the change adds 9 bytes, more than 8"),
            over("too_many_files", "files", "the change touches 9 files, more than 8"),
            over("history_too_large", "bytes", "the commits add 9 bytes together, more than 8"),
        ]
    }

    #[test]
    fn each_breach_is_read_as_it_was_stored_and_says_what_it_is() {
        for (stored, expected) in rows_of_messages().into_iter().chain(rows_of_files()) {
            let breach: Breach = serde_json::from_value(stored.clone()).unwrap();
            assert_eq!(breach.to_string(), expected, "{stored}");
            // Words in a message of the agent's own are all that it can take back.
            let of_words = ["closes_issue", "speaks_for"].map(|kind| stored["breach"] == kind);
            assert_eq!(breach.is_of_words(), of_words.contains(&true), "{stored}");
        }
    }
}
