//! What can go wrong with git, one kind of error for each way to fix it.
//!
//! `command` makes an error from an exit code and the end of standard error; git runs under
//! `LC_ALL=C`, so its messages are not translated. Credentials were removed from all texts before
//! they arrive here.

use std::path::PathBuf;
use std::time::Duration;

use afk_engine::ports::PortError;

/// Why a git operation failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The `git` program cannot be started.
    #[error("git was not found: install git {need} or newer", need = super::command::OLDEST)]
    NotFound {
        /// The program that was tried.
        binary: PathBuf,
    },
    /// The `git` program is older than the oldest supported version.
    #[error("git at {binary} is {found}, but {need} or newer is needed: update it", need = super::command::OLDEST)]
    TooOld {
        /// The program that was run.
        binary: PathBuf,
        /// What `git version` printed.
        found: String,
    },
    /// The remote has no repository at this URL, or this credential may not see it.
    #[error(
        "no git repository at {url} (or the credential may not see it): check the url and the credential's access"
    )]
    NotARepository {
        /// The remote's URL.
        url: String,
    },
    /// The remote's repository has no default branch with a commit.
    #[error(
        "the repository at {url} has no default branch with a commit: push a first commit to it, or let its HEAD name a branch that is there (git symbolic-ref HEAD refs/heads/main)"
    )]
    Empty {
        /// The remote's URL.
        url: String,
    },
    /// The remote refused the credential, or requires one.
    #[error("{url} refused the credential: check that it is valid and may do this ({detail})")]
    AuthFailed {
        /// The remote's URL.
        url: String,
        /// The end of what git and the remote said.
        detail: String,
    },
    /// The remote's ssh host key is not the one that is known.
    #[error(
        "the ssh host key of {url} is unknown, or is not the one that was known: ask whoever runs that host whether it changed; if so, remove the old one (ssh-keygen -R HOST) and connect once with ssh, as the user that afk runs as ({detail})"
    )]
    HostKey {
        /// The remote's URL.
        url: String,
        /// The end of what ssh said.
        detail: String,
    },
    /// The credential of the remote could not be obtained.
    #[error("the credential for the remote could not be obtained")]
    NoCredential(#[source] PortError),
    /// The command did not end in time; its whole process group was killed.
    #[error("git {command} did not end within {after:?} and was killed")]
    Timeout {
        /// The git command.
        command: &'static str,
        /// The time that it was given.
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
        /// The end of what git said.
        detail: String,
    },
    /// Objects or refs in our own mirror are damaged.
    #[error(
        "the mirror is damaged: git {command} said {detail:?}; remove the mirror's folder once no run is live on it, it is fetched again"
    )]
    Corrupt {
        /// The git command.
        command: &'static str,
        /// The end of what git said.
        detail: String,
    },
    /// Fetched objects are malformed or malicious, and were refused.
    #[error("the fetched objects did not pass git's checks and were refused: {detail}")]
    Unsound {
        /// The end of what git said: the check and the object.
        detail: String,
    },
    /// The command printed or fetched more than is accepted.
    #[error("git {command} produced more than the {limit} bytes that are accepted")]
    TooLarge {
        /// The git command.
        command: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// There are more objects than one call may read.
    #[error("more than {limit} {what} in one call")]
    TooMany {
        /// The kind of objects, in the plural.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Another process has held the mirror's lock for too long.
    #[error("another process has held {path} for {waited:?}: wait for it, or end it")]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// How long this process waited.
        waited: Duration,
    },
    /// A branch, URL or path that git refuses, or that is refused here.
    #[error("{what} {text:?} is invalid: {why}")]
    BadName {
        /// What the name is for.
        what: &'static str,
        /// The name, cut to 120 characters.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The output of git could not be parsed.
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
    /// A file system operation around git failed.
    #[error("could not {what} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// The path that it was tried on.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Why a remote refused a push.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The branch has commits that the pushed commit does not contain.
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
    /// The account may push, but may not change what this push changes, such as workflow files at
    /// GitHub.
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
    /// Returns the error for an I/O error at a path; a full disk becomes [`GitError::DiskFull`].
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let path = path.into();
        if matches!(source.kind(), StorageFull | QuotaExceeded) {
            let detail = format!("could not {what} {}: {source}", path.display());
            return Self::DiskFull { command: "set-up", detail };
        }
        Self::Io { what, path, source }
    }

    /// Whether damaged objects of the repository may be the cause.
    pub(crate) const fn may_be_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Failed { .. } | Self::Unexpected { .. })
    }

    /// Returns why a name is refused, without the name, which may contain a secret; for other
    /// errors the whole text.
    pub fn reason(&self) -> String {
        match self {
            Self::BadName { why, .. } => (*why).to_owned(),
            other => other.to_string(),
        }
    }

    /// Returns the error for a refused name, which is cut to 120 characters.
    pub(crate) fn bad_name(what: &'static str, text: &str, why: &'static str) -> Self {
        Self::BadName { what, text: text.chars().take(120).collect(), why }
    }

    /// Returns the error for a failed command, by the end of its standard error.
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

/// Joins the last six lines of standard error, for use in a sentence.
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
    fn what_git_says_becomes_the_kind_that_decides_what_is_done() {
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
