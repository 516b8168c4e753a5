//! A command that could not do what it was asked: the sentence, and the exit code.

use std::fmt;

use afk_engine::ports::{PortError, PortErrorKind};

use super::exit::Exit;
use crate::demo::DemoError;
use afk_app::AppError;
use afk_app::config::ConfigErrors;
use afk_app::config::edit::EditError;
use afk_local::ask::on_path;
use afk_local::git::GitError;
use afk_store::local_tracker::TrackerError;
use afk_store::{StoreError, StoreErrorKind};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    /// What the shell is told.
    pub(super) exit: Exit,
    /// What happened, to what, and how to mend it; may have several lines.
    pub(super) message: String,
}

/// The answer of a command: its exit code, or why it has none.
pub(super) type Answer<T = Exit> = Result<T, Failure>;

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Wrong use.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// As `--json` shows it on standard error.
    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self.message, "exit": self.exit.code() })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::usage(errors.to_string())
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Config(errors) => errors.into(),
            AppError::Store(error) => error.into(),
            AppError::Git(error @ (GitError::NotFound { .. } | GitError::TooOld { .. })) => {
                Self::new(Exit::Missing, error.to_string())
            }
            AppError::Git(error) => Self::new(Exit::Failure, error.to_string()),
            error @ AppError::NoDataDir => Self::usage(error.to_string()),
            error @ (AppError::Folder { .. } | AppError::NoProgram(_) | AppError::Adapter(_)) => {
                Self::new(Exit::Failure, error.to_string())
            }
        }
    }
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        match error {
            DemoError::App(error) => error.into(),
            DemoError::Tracker(error) => error.into(),
            DemoError::Loop(error) => error.into(),
            error @ DemoError::Exists(_) => Self::usage(error.to_string()),
            error @ DemoError::Git { .. } if on_path("git").is_none() => {
                Self::new(Exit::Missing, error.to_string())
            }
            error @ (DemoError::Git { .. }
            | DemoError::Make { .. }
            | DemoError::ControlPlane { .. }) => Self::new(Exit::Failure, error.to_string()),
        }
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        let exit = match &error {
            EditError::Io { .. } | EditError::Busy { .. } => Exit::Failure,
            EditError::Link { .. } | EditError::Malformed { .. } => Exit::Usage,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            // The path of the store helps nobody who asked for an issue.
            StoreErrorKind::NotFound(what) => {
                Self::usage(format!("there is no {what}; `afk issue list --all` shows every issue"))
            }
            _ => Self::new(Exit::Failure, error.to_string()),
        }
    }
}

impl From<TrackerError> for Failure {
    fn from(error: TrackerError) -> Self {
        match error {
            TrackerError::Store(error) => error.into(),
            error @ (TrackerError::Invalid { .. } | TrackerError::NotTheirs { .. }) => {
                Self::usage(error.to_string())
            }
        }
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        let exit = match error.kind {
            PortErrorKind::NotFound => Exit::Usage,
            PortErrorKind::Cancelled => Exit::Interrupted,
            PortErrorKind::RateLimited { .. } => Exit::Waiting,
            PortErrorKind::Transient | PortErrorKind::Auth | PortErrorKind::Permanent => {
                Exit::Failure
            }
        };
        Self::new(exit, error.chain())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Exit::Failure, format!("cannot write JSON: {error}"))
    }
}
