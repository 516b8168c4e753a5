//! Why an operation on a job failed, from the control plane's side.

use std::io;
use std::path::PathBuf;

/// Why an operation on a job failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// An I/O error of the folder or a file in it.
    #[error("job in {dir}: cannot {what}: {source}")]
    Io {
        /// The job's folder.
        dir: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The folder belongs to another key.
    #[error("job in {dir}: it belongs to the key `{found}`; give each key a folder of its own")]
    OtherKey {
        /// The job's folder.
        dir: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// The host was started but did not begin.
    #[error("job in {dir}: its host did not begin{said}")]
    NotBegun {
        /// The job's folder.
        dir: PathBuf,
        /// Its message, if any.
        said: String,
    },
    /// The host does not answer. Only [`Job::kill`] helps.
    #[error("job in {dir}: its host does not answer ({source}); kill the job")]
    Silent {
        /// The job's folder.
        dir: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The host refused.
    #[error("job in {dir}: {reason}")]
    Refused {
        /// The job's folder.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
    /// The job is over.
    #[error("job in {dir}: it is over")]
    Over {
        /// The job's folder.
        dir: PathBuf,
    },
    /// The job is still running, so it cannot be removed.
    #[error("job in {dir}: it is still running; end it first")]
    StillRunning {
        /// The job's folder.
        dir: PathBuf,
    },
    /// Processes could not be killed.
    #[error("job in {dir}: {reason}")]
    Undead {
        /// The job's folder.
        dir: PathBuf,
        /// Which.
        reason: String,
    },
}
