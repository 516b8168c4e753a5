//! Exit codes: one number for each meaning, never changed.

use std::process::ExitCode;

use afk_app::{Error, ErrorKind};
use afk_core::plan::End;

/// The result of a command: its exit code, or an error, whose kind becomes one.
pub(super) type Answer<T = Exit> = Result<T, Error>;

/// The exit codes of `afk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, or as requested.
    Done,
    /// Something failed.
    Failure,
    /// Wrong usage, or an invalid configuration.
    Usage,
    /// Nothing was done: a gate refuses or waits, or somebody withdrew the issue.
    Waiting,
    /// A run was handed to a person.
    NeedsHuman,
    /// A run was handed to a person, with its repo frozen.
    Frozen,
    /// Something is missing on this machine.
    Missing,
    /// Another process already serves this store or this gateway.
    Taken,
    /// Interrupted from the keyboard, or by a signal.
    Interrupted,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Failure,
        Self::Usage,
        Self::Waiting,
        Self::NeedsHuman,
        Self::Frozen,
        Self::Missing,
        Self::Taken,
        Self::Interrupted,
    ];

    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Waiting => 3,
            Self::NeedsHuman => 4,
            Self::Frozen => 5,
            Self::Missing => 6,
            Self::Taken => 7,
            Self::Interrupted => 130,
        }
    }

    /// Its meaning, in a line.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or as requested",
            Self::Failure => "something failed; the message says what",
            Self::Usage => "wrong usage, or an invalid configuration",
            Self::Waiting => "a gate refuses or waits, or somebody withdrew the issue",
            Self::NeedsHuman => "the run was handed to a person",
            Self::Frozen => "the run was handed to a person, and its repository is frozen",
            Self::Missing => {
                "something is missing on this machine: git, bubblewrap, the agent's CLI"
            }
            Self::Taken => "another `afk serve` works this store",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<End> for Exit {
    fn from(end: End) -> Self {
        match end {
            End::Done => Self::Done,
            End::NeedsHuman => Self::NeedsHuman,
            End::Frozen => Self::Frozen,
            End::Withdrawn => Self::Waiting,
        }
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Self::Usage,
            ErrorKind::Waiting => Self::Waiting,
            ErrorKind::Missing => Self::Missing,
            ErrorKind::Taken => Self::Taken,
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::Failed => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table of codes, as help and the man page show it.
pub(super) fn table() -> String {
    let rows = Exit::ALL.map(|exit| format!("  {:>3}  {}", exit.code(), exit.meaning()));
    rows.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_own_and_stays_what_it_is() {
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 130]);
    }

    #[test]
    fn an_outcome_has_a_code_of_its_own() {
        let ends = [End::Done, End::NeedsHuman, End::Frozen, End::Withdrawn];
        assert_eq!(ends.map(|end| Exit::from(end).code()), [0, 4, 5, 3]);
    }
}
