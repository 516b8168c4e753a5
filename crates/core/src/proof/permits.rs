//! What trusted people allowed for one issue by putting labels on it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Actor, At};

/// What a trusted person can allow with a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permit {
    /// The change may land although no test fails without it.
    NoTestNeeded,
    /// The change may remove and skip tests, and change what runs them.
    TestsMayChange,
}

/// A permit that was given: the label, and who put it on the issue when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permitted {
    /// The label's name.
    pub label: String,
    /// The trusted person who put it on the issue.
    pub by: Actor,
    /// When they put it on.
    pub at: At,
}

impl fmt::Display for Permitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (label {})", self.by.login, self.label)
    }
}

/// The permits of one issue, and the labels that give them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permits {
    /// The label for [`Permit::NoTestNeeded`].
    pub no_test_label: String,
    /// The label for [`Permit::TestsMayChange`].
    pub tests_label: String,
    /// Whether and by whom [`Permit::NoTestNeeded`] was given.
    pub no_test_needed: Option<Permitted>,
    /// Whether and by whom [`Permit::TestsMayChange`] was given.
    pub tests_may_change: Option<Permitted>,
}

impl Permits {
    /// Returns no permits, with the labels that would give them.
    pub fn none(no_test_label: &str, tests_label: &str) -> Self {
        Self {
            no_test_label: no_test_label.to_owned(),
            tests_label: tests_label.to_owned(),
            no_test_needed: None,
            tests_may_change: None,
        }
    }

    /// Returns the label that gives `permit`.
    pub fn label(&self, permit: Permit) -> &str {
        match permit {
            Permit::NoTestNeeded => &self.no_test_label,
            Permit::TestsMayChange => &self.tests_label,
        }
    }
}
