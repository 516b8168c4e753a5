//! The error of views and operations. Its kind becomes an exit code or an HTTP status.

use std::fmt;

use afk_engine::ports::{PortError, PortErrorKind};
use afk_local::git::GitError;
use afk_local::owner;
use afk_store::local_tracker::TrackerError;
use afk_store::{StoreError, StoreErrorKind};

use crate::AppError;
use crate::config::ConfigErrors;
use crate::config::edit::EditError;
use crate::presence::PresenceError;
use crate::serve::ServeError;

/// Why a request failed.
#[derive(Debug)]
pub struct Error {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// What happened, to what, and how to fix it; may have several lines.
    pub message: String,
}

/// The kinds of errors that callers distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request or the configuration is invalid.
    Invalid,
    /// The request cannot be carried out now: a gate refuses, or something else has to happen
    /// first.
    Waiting,
    /// Something is missing on this machine.
    Missing,
    /// Another process already serves this store or this gateway, or an older afk works this store.
    Taken,
    /// The request was interrupted.
    Interrupted,
    /// Anything else, such as I/O, the network or the store.
    Failed,
}

impl Error {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The request is invalid.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The request cannot be carried out now.
    pub fn waiting(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Waiting, message)
    }

    /// The request failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Self {
        Self::invalid(errors.to_string())
    }
}

impl From<AppError> for Error {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Config(errors) => errors.into(),
            AppError::Store(error) => error.into(),
            AppError::Git(error @ (GitError::NotFound { .. } | GitError::TooOld { .. })) => {
                Self::new(ErrorKind::Missing, error.to_string())
            }
            AppError::Git(error) => Self::failed(error.to_string()),
            error @ AppError::NoDataDir => Self::invalid(error.to_string()),
            error @ (AppError::Folder { .. } | AppError::NoProgram(_) | AppError::Adapter(_)) => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl From<EditError> for Error {
    fn from(error: EditError) -> Self {
        let kind = match &error {
            EditError::Io { .. } | EditError::Owner { .. } | EditError::Busy { .. } => {
                ErrorKind::Failed
            }
            EditError::Link { .. } | EditError::Malformed { .. } | EditError::Invalid { .. } => {
                ErrorKind::Invalid
            }
        };
        Self::new(kind, error.to_string())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            // The path of the store does not help somebody who named an issue.
            StoreErrorKind::NotFound(what) => Self::invalid(format!(
                "there is no {what}; `afk issue list --all` shows every issue"
            )),
            // The store knows processes by the names in their leases, which no person can read.
            StoreErrorKind::InUse(owner) => {
                let told = error.to_string().replace(owner, &owner::in_words(owner));
                Self::new(ErrorKind::Taken, told)
            }
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<TrackerError> for Error {
    fn from(error: TrackerError) -> Self {
        match error {
            TrackerError::Store(error) => error.into(),
            error @ (TrackerError::Invalid { .. } | TrackerError::NotTheirs { .. }) => {
                Self::invalid(error.to_string())
            }
        }
    }
}

impl From<PresenceError> for Error {
    fn from(error: PresenceError) -> Self {
        match error {
            PresenceError::Claim(error) => Self::invalid(error.to_string()),
            PresenceError::Store(error) => error.into(),
            PresenceError::Runs(error) => error.into(),
        }
    }
}

impl From<ServeError> for Error {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Store(error) => error.into(),
            ServeError::Loop(error) => error.into(),
            error @ (ServeError::Taken(_) | ServeError::Lost(_)) => {
                Self::new(ErrorKind::Taken, error.to_string())
            }
        }
    }
}

impl From<PortError> for Error {
    fn from(error: PortError) -> Self {
        let kind = match error.kind {
            PortErrorKind::NotFound => ErrorKind::Invalid,
            PortErrorKind::Cancelled => ErrorKind::Interrupted,
            PortErrorKind::RateLimited { .. } => ErrorKind::Waiting,
            PortErrorKind::Transient | PortErrorKind::Auth | PortErrorKind::Permanent => {
                ErrorKind::Failed
            }
        };
        Self::new(kind, error.chain())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::failed(format!("cannot write JSON: {error}"))
    }
}
