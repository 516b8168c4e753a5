//! Why a change is not proved, and how to fix that.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::report::list;
use super::result::{CouldNotRun, RunKind, TreeRole};
use super::split::SplitFault;
use crate::change::TreePath;

/// Why a change is not proved; `Display` says how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum ProofRefusal {
    /// It touches files that judge it.
    Protected {
        /// Where.
        paths: Vec<TreePath>,
    },
    /// It deletes test files.
    DeletedTests {
        /// Which.
        paths: Vec<TreePath>,
    },
    /// It comes without a test.
    NoTest,
    /// Its tests are among its code, and its first commit cannot be used in their place.
    NotSplit {
        /// Why not.
        #[serde(flatten)]
        fault: SplitFault,
    },
    /// The candidate fails, and the base does not.
    CandidateFails,
    /// The base fails already, and nothing distinguishes the two.
    BaseFails,
    /// The tests pass without the change.
    Vacuous {
        /// On which tree.
        role: TreeRole,
    },
    /// The tests failed once without the change and passed once.
    Flaky {
        /// On which tree.
        role: TreeRole,
    },
    /// The tests fail to build without the change, and the policy wants an assertion.
    DoesNotBuild {
        /// On which tree.
        role: TreeRole,
    },
    /// A run gave no result. This is not the change's fault: drop the result and try again, or
    /// escalate.
    CouldNotRun {
        /// Of which tree.
        role: TreeRole,
        /// Why.
        #[serde(rename = "could_not_run")]
        why: CouldNotRun,
    },
    /// The base fails already, and a run left no test report.
    NoReport {
        /// Of which tree.
        role: TreeRole,
    },
    /// The base fails already, and no test fails without the change and passes with it.
    NoRedTest,
    /// Tests that pass on the base do not pass with the change.
    Breaks {
        /// Which.
        tests: Vec<String>,
    },
}

impl ProofRefusal {
    /// Whether a run gave no result, so that trying again may help.
    pub fn could_not_run(&self) -> bool {
        self.fault_of() == Fault::Nobody
    }

    /// Whether it is the base's fault, which a corrective turn on this change cannot fix.
    pub fn is_of_the_base(&self) -> bool {
        self.fault_of() == Fault::Base
    }

    fn fault_of(&self) -> Fault {
        match self {
            Self::CouldNotRun { .. } => Fault::Nobody,
            Self::BaseFails | Self::NoReport { role: TreeRole::Base } => Fault::Base,
            Self::Protected { .. }
            | Self::DeletedTests { .. }
            | Self::NoTest
            | Self::NotSplit { .. }
            | Self::CandidateFails
            | Self::Vacuous { .. }
            | Self::Flaky { .. }
            | Self::DoesNotBuild { .. }
            | Self::NoReport { .. }
            | Self::NoRedTest
            | Self::Breaks { .. } => Fault::Change,
        }
    }

    /// The run whose output shows it.
    pub(super) fn shown_by(&self) -> Option<(TreeRole, RunKind)> {
        match self {
            Self::Protected { .. }
            | Self::DeletedTests { .. }
            | Self::NoTest
            | Self::NotSplit { .. } => None,
            Self::CandidateFails | Self::NoRedTest | Self::Breaks { .. } => {
                Some((TreeRole::Candidate, RunKind::Verify))
            }
            Self::BaseFails => Some((TreeRole::Base, RunKind::Verify)),
            Self::Vacuous { role } | Self::CouldNotRun { role, .. } | Self::NoReport { role } => {
                Some((*role, RunKind::Verify))
            }
            Self::Flaky { role } => Some((*role, RunKind::VerifyAgain)),
            Self::DoesNotBuild { role } => Some((*role, RunKind::Build)),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Fault {
    Change,
    Base,
    Nobody,
}

impl fmt::Display for ProofRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected { paths } => {
                write!(f, "the change touches {}, which judges it; restore it", list(paths))
            }
            Self::DeletedTests { paths } => {
                write!(f, "the change deletes tests ({}); restore them", list(paths))
            }
            Self::NoTest => f.write_str(
                "the change comes without a test; add one that fails without it, \
                 in a commit of its own, first",
            ),
            Self::NotSplit { fault } => write!(
                f,
                "the tests are among the code, and {fault}; commit the test alone and first, \
                 let that commit only add lines, and keep them",
            ),
            Self::CandidateFails => {
                f.write_str("the candidate fails while the base passes; fix what it broke")
            }
            Self::BaseFails => f.write_str(
                "the base fails already, without this change; fix the default branch, \
                 or name a test report (proof.junit) so that the two can be told apart",
            ),
            Self::Vacuous { role } => write!(
                f,
                "the tests pass without the change ({role} passes); \
                 write one that fails for the lack of it",
            ),
            Self::Flaky { role } => write!(
                f,
                "the tests are flaky: {role} failed once and passed once; \
                 make the new test fail every time without the change",
            ),
            Self::DoesNotBuild { role } => write!(
                f,
                "{role} does not build, and this repository wants a test that builds and fails; \
                 add what it calls in the test's commit",
            ),
            Self::CouldNotRun { role, why } => {
                write!(f, "not proved: {role} could not be judged, {why}")
            }
            Self::NoReport { role } => {
                write!(f, "the base fails already, and {role} left no readable test report")
            }
            Self::NoRedTest => f.write_str(
                "the base fails already, and no test fails without the change and passes with it",
            ),
            Self::Breaks { tests } => {
                write!(
                    f,
                    "tests that pass on the base do not pass with the change: {}",
                    list(tests)
                )
            }
        }
    }
}
