//! What is wrong with a configuration, and where.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The error of an invalid configuration: everything that is wrong, at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Sorted: those in files by position, then those of variables.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the key was given, or where it belongs.
    pub origin: Origin,
    /// The dotted key; empty if the file as a whole is meant.
    pub key: String,
    /// What is wrong, and how to fix it. Contains no value that was given, because that may be a
    /// secret.
    pub what: String,
}

/// Logs each as a warning, once per process however often a configuration is read: a variable with
/// a mistyped name, or a file that is passed over, changes nothing, and people must not believe
/// that it did.
pub fn warn_once<'a>(ignored: impl IntoIterator<Item = &'a Problem>) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    for problem in ignored {
        let problem = problem.to_string();
        if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(problem.clone()) {
            tracing::warn!("{problem}");
        }
    }
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the file; line and column count from 1.
    File {
        /// Which file.
        path: PathBuf,
        /// The line and column, if known.
        place: Option<(usize, usize)>,
    },
    /// In an environment variable.
    Variable {
        /// The variable's name.
        name: String,
    },
    /// In a file of a mounted directory, named like a variable.
    Mounted {
        /// Which file.
        path: PathBuf,
    },
    /// Nowhere: it is a default, or missing.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, place: Some((line, column)) } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::File { path, place: None } | Self::Mounted { path } => {
                write!(f, "{}", path.display())
            }
            Self::Variable { name } => write!(f, "environment variable {name}"),
            Self::Default => f.write_str("configuration"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.origin, self.what)
        } else {
            write!(f, "{}: {}: {}", self.origin, self.key, self.what)
        }
    }
}
