//! Converts git's commits and errors to those of the engine's port.

use afk_core::text::Mask;
use afk_engine::ports::{CommitText, PortError, PortErrorKind, PortResult};

use super::git::{self, GitError};

/// Converts a commit, with known secrets masked. What only looks like a secret is left for the
/// guardrails to find.
pub(super) fn text_of(commit: git::Commit, mask: &Mask) -> CommitText {
    let known = |text: &str| mask.known(text).into_owned();
    let message = String::from_utf8_lossy(&commit.message);
    let header = String::from_utf8_lossy(&commit.header);
    CommitText {
        masked: known(&message) != message || known(&header) != header,
        is_text: str::from_utf8(&commit.message).is_ok(),
        header: str::from_utf8(&commit.header).ok().map(known),
        id: commit.id,
        parents: commit.parents,
        author: (known(&commit.author.name), known(&commit.author.email)),
        message: known(&message),
    }
}

/// Converts a git error, by what the engine can do about it.
pub(super) fn fault(error: GitError) -> PortError {
    let kind = match &error {
        GitError::NoCredential(error) => error.kind,
        GitError::Cancelled { .. } => PortErrorKind::Cancelled,
        GitError::AuthFailed { .. } | GitError::HostKey { .. } => PortErrorKind::Auth,
        GitError::NotARepository { .. } => PortErrorKind::NotFound,
        GitError::NotFound { .. }
        | GitError::TooOld { .. }
        | GitError::Empty { .. }
        | GitError::Corrupt { .. }
        | GitError::Unsound { .. }
        | GitError::TooLarge { .. }
        | GitError::TooMany { .. }
        | GitError::BadName { .. } => PortErrorKind::Permanent,
        GitError::Timeout { .. }
        | GitError::DiskFull { .. }
        | GitError::Locked { .. }
        | GitError::Unexpected { .. }
        | GitError::Failed { .. }
        | GitError::Io { .. } => PortErrorKind::Transient,
    };
    PortError::new(kind, error)
}

/// Converts a failure to read a run's clone. The agent broke its own clone, on this machine: trying
/// again does not help, not even after a timeout, which may come from a named pipe among its files.
pub(super) fn of_clone(error: GitError) -> PortError {
    match error {
        GitError::Failed { .. }
        | GitError::Unexpected { .. }
        | GitError::Timeout { .. }
        | GitError::NotARepository { .. } => PortError::permanent(BrokenClone(error)),
        GitError::TooLarge { command: "ls-remote", .. } => PortError::permanent(TooManyBranches),
        other => fault(other),
    }
}

/// The agent made more branches than can be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "the agent's clone has more branches than afk reads, so nothing was fetched from it: delete those that the work does not need (git branch -D in the workspace, which `afk show` names), then ask for a retry"
)]
struct TooManyBranches;

/// The agent broke the git repository of its clone.
#[derive(Debug, thiserror::Error)]
#[error("the agent left an unreadable git repository, so nothing was fetched from it")]
struct BrokenClone(#[source] GitError);

/// Runs blocking git work on another thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> PortResult<T> {
    tokio::task::spawn_blocking(work).await.map_err(PortError::transient)?.map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_clone_has_too_many_of_is_told_with_its_cure() {
        let flood = of_clone(GitError::TooLarge { command: "ls-remote", limit: 1 << 20 });
        assert_eq!(flood.kind, PortErrorKind::Permanent);
        assert!(flood.chain().contains("git branch -D"), "{}", flood.chain());
        let pack = of_clone(GitError::TooLarge { command: "fetch", limit: 1 << 30 });
        assert!(pack.chain().contains("git fetch produced more"), "{}", pack.chain());
    }

    #[test]
    fn another_host_key_waits_for_a_person() {
        let error = GitError::from_stderr(
            "ls-remote",
            Some("git@forge:o/r.git"),
            128,
            "Host key verification failed.\n",
        );
        let error = fault(error);
        assert!(error.needs_a_person());
        assert!(error.chain().contains("ssh-keygen -R"), "{}", error.chain());
    }
}
