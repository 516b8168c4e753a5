//! Why a demo cannot be shown, and which kind of error each reason is on the command line.

use std::path::PathBuf;

use afk_app::adapters::{TrackerError, on_path};
use afk_app::{AppError, Error, ErrorKind};
use afk_engine::ports::PortError;

use super::agents::NoAgent;

/// Why a demo cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The folder exists already.
    #[error("{} exists already: name a folder that does not exist yet", .0.display())]
    Exists(PathBuf),
    /// The folder's path cannot be that of a remote.
    #[error(
        "the demo's repository cannot be at {}: {why}; name another folder with --keep or in TMPDIR",
        path.display()
    )]
    Unusable {
        /// The repository's path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Something in the folder could not be created.
    #[error("could not make {}: {source}", path.display())]
    Make {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Git could not make the sample.
    #[error("git {what} failed while the sample was made: {detail}")]
    Git {
        /// The command of git, such as `commit`.
        what: String,
        /// What git wrote to standard error.
        detail: String,
    },
    /// The control plane cannot start.
    #[error(transparent)]
    App(#[from] AppError),
    /// The issue cannot be made.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// The fake forge cannot be started.
    #[error("the demo's forge cannot be started on loopback: {what}; omit --forge")]
    Forge {
        /// What went wrong.
        what: String,
    },
    /// No agent of the Agent Client Protocol was found on this machine.
    #[error(transparent)]
    NoAgent(#[from] NoAgent),
    /// The loop failed.
    #[error("{}", .0.chain())]
    Loop(#[from] PortError),
    /// The control plane of the demo cannot be started, watched or killed.
    #[error("the demo's control plane: {what}")]
    ControlPlane {
        /// What went wrong.
        what: String,
    },
}

impl From<DemoError> for Error {
    fn from(error: DemoError) -> Self {
        match error {
            DemoError::App(error) => error.into(),
            DemoError::Tracker(error) => error.into(),
            DemoError::Loop(error) => error.into(),
            DemoError::NoAgent(error) => Self::new(ErrorKind::Missing, error.to_string()),
            error @ (DemoError::Exists(_) | DemoError::Unusable { .. }) => {
                Self::invalid(error.to_string())
            }
            error @ DemoError::Git { .. } if on_path("git").is_none() => {
                Self::new(ErrorKind::Missing, error.to_string())
            }
            error @ (DemoError::Git { .. }
            | DemoError::Make { .. }
            | DemoError::Forge { .. }
            | DemoError::ControlPlane { .. }) => Self::failed(error.to_string()),
        }
    }
}
