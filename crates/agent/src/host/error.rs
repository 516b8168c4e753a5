//! Why an operation on a job failed, from the control plane's side.

use std::io;
use std::path::PathBuf;

/// Why an operation on a job failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// An I/O error on the folder, a file in it, or the start of its host.
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
    #[error("job in {dir}: the folder belongs to the key `{found}`; give each key its own folder")]
    OtherKey {
        /// The job's folder.
        dir: PathBuf,
        /// The key that the folder belongs to.
        found: String,
    },
    /// The host was started, but did not record in time that it owns the job.
    #[error("job in {dir}: its host did not start in time{said}")]
    NotBegun {
        /// The job's folder.
        dir: PathBuf,
        /// `: ` and the last line of the host's log, or empty.
        said: String,
    },
    /// The host does not answer. Only [`Job::kill`](super::Job::kill) helps.
    #[error("job in {dir}: its host does not answer ({source}); kill the job")]
    Silent {
        /// The job's folder.
        dir: PathBuf,
        /// The error of the exchange over the control socket.
        source: io::Error,
    },
    /// The host answered that it does not carry out the request.
    #[error("job in {dir}: {reason}")]
    Refused {
        /// The job's folder.
        dir: PathBuf,
        /// The host's reason.
        reason: String,
    },
    /// The job is over, so it takes no requests.
    #[error("job in {dir}: the job has ended")]
    Over {
        /// The job's folder.
        dir: PathBuf,
    },
    /// The job is still running, so it cannot be removed.
    #[error("job in {dir}: the job is still running; end it first")]
    StillRunning {
        /// The job's folder.
        dir: PathBuf,
    },
    /// Processes of the job could not be killed.
    #[error("job in {dir}: {reason}")]
    Unkillable {
        /// The job's folder.
        dir: PathBuf,
        /// The ids of these processes, in a sentence.
        reason: String,
    },
}
