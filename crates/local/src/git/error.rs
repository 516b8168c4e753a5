//! What can go wrong with git, by what fixes it.
//!
//! Made by `command` from an exit code and the end of standard error (git runs under `LC_ALL=C`, so
//! its messages are stable). Texts contain no credentials when they arrive here.

use std::path::PathBuf;
use std::time::Duration;

use afk_engine::ports::PortError;

/// Why a git operation failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The `git` program cannot be started.
    #[error("git was not found at {binary}: install git {need} or newer, or set its path", need = super::command::OLDEST)]
    NotFound {
        /// The program that was tried.
        binary: PathBuf,
    },
    /// The `git` program is older than what is relied on.
    #[error("git at {binary} is {found}, but {need} or newer is needed: update it", need = super::command::OLDEST)]
    TooOld {
        /// The program that was run.
        binary: PathBuf,
        /// Its answer.
        found: String,
    },
    /// The remote has no repository there, or this credential may not see it.
    #[error(
        "no git repository at {url} (or the credential may not see it): check the url and the credential's access"
    )]
    NotARepository {
        /// The remote.
        url: String,
    },
    /// The remote's repository has no commit yet.
    #[error(
        "the repository at {url} has no default branch with a commit: push a first commit to it, or let its HEAD name a branch that is there (git symbolic-ref HEAD refs/heads/main)"
    )]
    Empty {
        /// The remote.
        url: String,
    },
    /// The remote refused the credential, or requires one.
    #[error("{url} refused the credential: check that it is valid and may do this ({detail})")]
    AuthFailed {
        /// The remote.
        url: String,
        /// What the remote said, trimmed.
        detail: String,
    },
    /// The remote's ssh host key is not the one that is known.
    #[error(
        "the ssh host key of {url} is unknown, or is not the one that was known: ask whoever runs that host whether it changed; if so, remove the old one (ssh-keygen -R HOST) and connect once with ssh, as the user that afk runs as ({detail})"
    )]
    HostKey {
        /// The remote.
        url: String,
        /// What ssh said, trimmed.
        detail: String,
    },
    /// The credential of the remote cannot be had.
    #[error("the remote's credential cannot be had")]
    NoCredential(#[source] PortError),
    /// The command did not end in time; its whole process group was killed.
    #[error("git {command} did not end within {after:?} and was killed")]
    Timeout {
        /// The git command.
        command: &'static str,
        /// How long it was given.
        after: Duration,
    },
    /// The caller cancelled; the whole process group was killed.
    #[error("git {command} was cancelled")]
    Cancelled {
        /// The git command.
        command: &'static str,
    },
    /// No space or quota left where git writes.
    #[error(
        "the disk is full: git {command} could not write; free space under the workspace root ({detail})"
    )]
    DiskFull {
        /// The git command.
        command: &'static str,
        /// Git's own words.
        detail: String,
    },
    /// Objects or refs in our own mirror are damaged.
    #[error(
        "the mirror is damaged: git {command} said {detail:?}; remove the mirror's folder once no run is live on it, it is fetched again"
    )]
    Corrupt {
        /// The git command.
        command: &'static str,
        /// Git's own words.
        detail: String,
    },
    /// Fetched objects are malformed or malicious, and were refused.
    #[error("the fetched objects did not pass git's checks and were refused: {detail}")]
    Unsound {
        /// Which check, for which object.
        detail: String,
    },
    /// More was sent or printed than is accepted.
    #[error("git {command} produced more than the {limit} bytes that are accepted")]
    TooLarge {
        /// The git command.
        command: &'static str,
        /// The bound.
        limit: u64,
    },
    /// More objects than one call may read.
    #[error("more than {limit} {what} in one call")]
    TooMany {
        /// Which kind.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Another process has held the mirror for too long.
    #[error("another process has held {path} for {waited:?}: wait for it, or end it")]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// A branch, url or path that git or we refuse.
    #[error("{what} {text:?} is invalid: {why}")]
    BadName {
        /// What kind of name.
        what: &'static str,
        /// The name, trimmed.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Git's output could not be parsed.
    #[error("git {command} gave unexpected output: {detail}")]
    Unexpected {
        /// The git command.
        command: &'static str,
        /// What could not be parsed.
        detail: String,
    },
    /// Git failed for another reason.
    #[error("git {command} failed with exit code {code}: {detail}")]
    Failed {
        /// The git command.
        command: &'static str,
        /// The exit code; 128 + n for signal n.
        code: i32,
        /// The end of standard error.
        detail: String,
    },
    /// The file system refused something around git.
    #[error("could not {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Why a remote refused a push.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The branch has commits that the pushed one does not contain.
    #[error("the branch moved meanwhile (not a fast-forward)")]
    NotFastForward,
    /// A hook of the remote declined.
    #[error("a hook of the remote declined: {message}")]
    Hook {
        /// What the hook said.
        message: String,
    },
    /// The branch is protected against this account.
    #[error(
        "the branch is protected; allow this account to push to it, or land by pull request: {message}"
    )]
    Protected {
        /// What the remote said.
        message: String,
    },
    /// The account may push, but not what this push changes: workflows, at GitHub.
    #[error(
        "the account's credential lacks a permission; give it that, or keep such changes for people: {message}"
    )]
    Permission {
        /// What the remote said.
        message: String,
    },
    /// Some other refusal.
    #[error("{message}")]
    Other {
        /// What the remote said.
        message: String,
    },
}

impl GitError {
    /// An I/O error with its path; a full disk becomes [`GitError::DiskFull`].
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let path = path.into();
        if matches!(source.kind(), StorageFull | QuotaExceeded) {
            let detail = format!("could not {what} {}: {source}", path.display());
            return Self::DiskFull { command: "set-up", detail };
        }
        Self::Io { what, path, source }
    }

    /// Whether it may be because objects of the repository are damaged.
    pub(crate) const fn may_be_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Failed { .. } | Self::Unexpected { .. })
    }

    /// Why a name is refused; without the name, which may contain a secret.
    pub fn reason(&self) -> String {
        match self {
            Self::BadName { why, .. } => (*why).to_owned(),
            other => other.to_string(),
        }
    }

    /// A refused name, kept short.
    pub(crate) fn bad_name(what: &'static str, text: &str, why: &'static str) -> Self {
        Self::BadName { what, text: text.chars().take(120).collect(), why }
    }

    /// The error for the end of standard error of a failed command.
    pub(crate) fn from_stderr(
        command: &'static str,
        url: Option<&str>,
        code: i32,
        tail: &str,
    ) -> Self {
        let detail = last_words(tail);
        let says = |needles: &[&str]| needles.iter().any(|n| tail.contains(n));
        let url = url.unwrap_or("the remote").to_owned();
        if says(&["No space left on device", "Disk quota exceeded", "isk full"]) {
            return Self::DiskFull { command, detail };
        }
        if says(&[
            "fsck error",
            "error in object",
            "fsck_",
            "Error in object",
            "inconsistent object",
        ]) {
            return Self::Unsound { detail };
        }
        if says(&["Host key verification failed", "HOST IDENTIFICATION HAS CHANGED"]) {
            return Self::HostKey { url, detail };
        }
        if says(&[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "Permission denied (",
            "returned error: 401",
            "returned error: 403",
            "Invalid username or",
        ]) {
            return Self::AuthFailed { url, detail };
        }
        if says(&[
            "does not appear to be a git repository",
            "epository not found",
            "not found\n",
            "returned error: 404",
        ]) && command_is_remote(command)
        {
            return Self::NotARepository { url };
        }
        if says(&[
            "is corrupt",
            "data stream error",
            "is empty\n",
            "bad object",
            "unable to read tree",
            "invalid sha1 pointer",
            "packfile",
        ]) {
            return Self::Corrupt { command, detail };
        }
        Self::Failed { command, code, detail }
    }
}

fn command_is_remote(command: &str) -> bool {
    matches!(command, "fetch" | "ls-remote" | "push")
}

/// The last lines of standard error on one line, for a sentence.
fn last_words(tail: &str) -> String {
    let lines: Vec<&str> = tail.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let from = lines.len().saturating_sub(6);
    let text = lines.get(from..).unwrap_or_default().join("; ");
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if text.is_empty() { "no message".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tail: &str, expected: fn(&GitError) -> bool) {
        let error = GitError::from_stderr("fetch", Some("https://h/o/r"), 128, tail);
        assert!(expected(&error), "{tail:?} became {error:?}");
    }

    #[test]
    fn what_git_says_becomes_the_kind_that_mends_it() {
        check("fatal: Authentication failed for 'https://h/'", |e| {
            matches!(e, GitError::AuthFailed { .. })
        });
        check(
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n\
             fatal: Could not read from remote repository.\n",
            |e| matches!(e, GitError::HostKey { url, .. } if url == "https://h/o/r"),
        );
        check("remote: Repository not found.\nfatal: repository 'x' not found\n", |e| {
            matches!(e, GitError::NotARepository { .. })
        });
        check("error: file write error: No space left on device\n", |e| {
            matches!(e, GitError::DiskFull { .. })
        });
        check(
            "error: object 1234: hasDotgit: contains '.git'\nfatal: fsck error in packed object",
            |e| matches!(e, GitError::Unsound { .. }),
        );
        check("error: object file objects/aa/bb is empty\nfatal: loose object is corrupt", |e| {
            matches!(e, GitError::Corrupt { .. })
        });
        check("fatal: something new", |e| matches!(e, GitError::Failed { code: 128, .. }));
    }
}
