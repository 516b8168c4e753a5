//! An agent's program that this machine does not have. `doctor` shows separately what is missing
//! and how to fix it; as a port's error, both are one sentence.

use afk_engine::ports::{PortError, PortErrorKind};

/// A program that was not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {remedy}")]
pub struct MissingProgram {
    /// What is missing, and where it was looked for.
    pub what: String,
    /// How to fix it.
    pub remedy: String,
}

impl MissingProgram {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl From<MissingProgram> for PortError {
    fn from(missing: MissingProgram) -> Self {
        Self::new(PortErrorKind::NotFound, missing.to_string())
    }
}
