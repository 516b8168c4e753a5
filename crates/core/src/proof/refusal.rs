//! Why a change is not proved, and how to fix that.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::permits::Permit;
use super::report::list;
use super::result::{CouldNotRun, RunKind, TreeRole};
use super::split::SplitFault;
use crate::change::TreePath;

/// Why a change is not proved; `Display` also says how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum ProofRefusal {
    /// The change touches protected files, the operator's own rules.
    Protected {
        /// The protected files.
        paths: Vec<TreePath>,
    },
    /// The change's tests pass only because it changes what runs them.
    NeedsItsRunner {
        /// The judge files that it changes.
        paths: Vec<TreePath>,
        /// The label with which a trusted person allows it.
        label: String,
    },
    /// The change removes tests or lines of them, and nothing else in it shows that they are not
    /// needed.
    DeletedTests {
        /// The tests.
        paths: Vec<TreePath>,
    },
    /// The change comes without a test.
    NoTest,
    /// Nothing in the change can be tested: it has only exempt files, or what runs the tests.
    NothingToTest {
        /// What kind of files it changes.
        what: Untestable,
        /// The label with which a trusted person allows it.
        label: String,
    },
    /// The tests stand among the code, and the first commit cannot be used in their place.
    NotSplit {
        /// Why the first commit cannot be used.
        #[serde(flatten)]
        fault: SplitFault,
    },
    /// A corrective change takes back the code that the run had landed: nothing is left to be
    /// proved.
    TakenBack,
    /// The candidate fails, and the base does not.
    CandidateFails,
    /// The base fails already, and without test reports its failures cannot be told from the
    /// change's.
    BaseFails,
    /// The tests pass without the change.
    Vacuous {
        /// The tree on which they pass.
        role: TreeRole,
    },
    /// The tests both failed and passed without the change.
    Flaky {
        /// The tree on which they did.
        role: TreeRole,
    },
    /// The tests fail to build without the change, and the policy wants an assertion.
    DoesNotBuild {
        /// The tree that does not build.
        role: TreeRole,
    },
    /// Without the change's code, but with its judge files, the tests pass.
    JudgeTurnsGreen {
        /// The judge files.
        paths: Vec<TreePath>,
    },
    /// `verify` passes although the change's tests are made unreadable, so it does not run them.
    #[serde(rename = "not_heard")]
    TestsNotRun {
        /// The tests.
        paths: Vec<TreePath>,
    },
    /// The tests as they were before, run as before, fail with the change, which removes or skips
    /// tests or changes what runs them.
    HidesFailures {
        /// The tests that it removes or skips, and the judge files that it changes.
        paths: Vec<TreePath>,
        /// The label with which a trusted person allows it.
        label: String,
    },
    /// The tests as they were before fail with the change, and the policy wants them to hold.
    ChangesTests {
        /// The tests whose lines it changes.
        paths: Vec<TreePath>,
    },
    /// The proof is weaker than the policy wants.
    TooWeak {
        /// The reservations, each as a phrase.
        why: Vec<String>,
    },
    /// A run gave no result. This is not the change's fault: drop the result and try again, or
    /// escalate.
    CouldNotRun {
        /// The tree of the run.
        role: TreeRole,
        /// Why the run gave no result.
        #[serde(rename = "could_not_run")]
        why: CouldNotRun,
    },
    /// A run left no test report, which is needed to tell failures apart.
    NoReport {
        /// The tree of the run.
        role: TreeRole,
    },
    /// By the reports, no test fails without the change and passes with it.
    NoRedTest,
    /// Tests that pass on the base do not pass with the change, or tests that did not run there
    /// fail.
    Breaks {
        /// The tests' names in the reports.
        tests: Vec<String>,
    },
}

/// What kind of files a change consists of that no test can fail for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Untestable {
    /// Documents and other exempt files.
    Exempt,
    /// Judge files: make files, runners' settings, manifests.
    Judge,
}

impl ProofRefusal {
    /// Whether the base is at fault, which a corrective turn on this change cannot fix.
    pub fn is_of_the_base(&self) -> bool {
        match self {
            Self::BaseFails => true,
            Self::CouldNotRun { role, .. } | Self::NoReport { role } => *role == TreeRole::Base,
            Self::Protected { .. }
            | Self::DeletedTests { .. }
            | Self::NoTest
            | Self::NothingToTest { .. }
            | Self::NotSplit { .. }
            | Self::TakenBack
            | Self::CandidateFails
            | Self::Vacuous { .. }
            | Self::Flaky { .. }
            | Self::DoesNotBuild { .. }
            | Self::JudgeTurnsGreen { .. }
            | Self::TestsNotRun { .. }
            | Self::HidesFailures { .. }
            | Self::NeedsItsRunner { .. }
            | Self::ChangesTests { .. }
            | Self::TooWeak { .. }
            | Self::NoRedTest
            | Self::Breaks { .. } => false,
        }
    }

    /// Returns the permit with which a trusted person can let the change land as it is, if there is
    /// one.
    pub fn permit(&self) -> Option<Permit> {
        match self {
            Self::NoTest | Self::NothingToTest { .. } | Self::NotSplit { .. } => {
                Some(Permit::NoTestNeeded)
            }
            // A refactoring whose tests pass before and after it.
            Self::Vacuous { .. } => Some(Permit::NoTestNeeded),
            Self::DeletedTests { .. }
            | Self::HidesFailures { .. }
            | Self::NeedsItsRunner { .. }
            | Self::Breaks { .. } => Some(Permit::TestsMayChange),
            Self::Protected { .. }
            | Self::TakenBack
            | Self::CandidateFails
            | Self::BaseFails
            | Self::Flaky { .. }
            | Self::DoesNotBuild { .. }
            | Self::JudgeTurnsGreen { .. }
            | Self::TestsNotRun { .. }
            | Self::ChangesTests { .. }
            | Self::TooWeak { .. }
            | Self::CouldNotRun { .. }
            | Self::NoReport { .. }
            | Self::NoRedTest => None,
        }
    }

    /// Whether only a person can help, and further work of the agent cannot.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::NothingToTest { .. } => true,
            Self::Protected { .. }
            | Self::DeletedTests { .. }
            | Self::NoTest
            | Self::NotSplit { .. }
            | Self::TakenBack
            | Self::CandidateFails
            | Self::BaseFails
            | Self::Vacuous { .. }
            | Self::Flaky { .. }
            | Self::DoesNotBuild { .. }
            | Self::JudgeTurnsGreen { .. }
            | Self::TestsNotRun { .. }
            | Self::HidesFailures { .. }
            | Self::NeedsItsRunner { .. }
            | Self::ChangesTests { .. }
            | Self::TooWeak { .. }
            | Self::CouldNotRun { .. }
            | Self::NoReport { .. }
            | Self::NoRedTest
            | Self::Breaks { .. } => false,
        }
    }

    /// Returns the run whose output shows the reason, if it is one of the runs.
    pub(super) fn shown_by(&self) -> Option<(TreeRole, RunKind)> {
        let first = |role| Some((role, RunKind::FIRST));
        match self {
            Self::Protected { .. }
            | Self::DeletedTests { .. }
            | Self::NoTest
            | Self::NothingToTest { .. }
            | Self::NotSplit { .. }
            | Self::TakenBack
            | Self::TooWeak { .. } => None,
            Self::CandidateFails | Self::NoRedTest | Self::Breaks { .. } => {
                first(TreeRole::Candidate)
            }
            Self::BaseFails => first(TreeRole::Base),
            Self::Vacuous { role } | Self::CouldNotRun { role, .. } | Self::NoReport { role } => {
                first(*role)
            }
            Self::Flaky { role } => Some((*role, RunKind::Verify(2))),
            Self::DoesNotBuild { role } => Some((*role, RunKind::Build)),
            Self::JudgeTurnsGreen { .. } => first(TreeRole::RedJudge),
            Self::NeedsItsRunner { .. } => first(TreeRole::OldRunner),
            Self::TestsNotRun { .. } => first(TreeRole::Silenced),
            Self::HidesFailures { .. } | Self::ChangesTests { .. } => first(TreeRole::Kept),
        }
    }
}

impl fmt::Display for ProofRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected { paths } => {
                write!(f, "the change touches {}, which judges it; restore it", list(paths))
            }
            Self::DeletedTests { paths } => {
                write!(f, "the change cuts, skips or removes tests ({}); restore them", list(paths))
            }
            Self::NoTest => f.write_str(
                "the change comes without a test; add one that fails without it, \
                 in a commit of its own, first",
            ),
            Self::NothingToTest { what, label } => write!(
                f,
                "the change touches only {what}, so no test can show what it does; \
                 if it does what the issue asks for, put the label {label} on the issue",
            ),
            Self::NotSplit { fault } => write!(
                f,
                "the tests are among the code, and {fault}; commit the test alone and first, \
                 let that commit only add lines, and keep them",
            ),
            Self::TakenBack => f.write_str(
                "the fix takes back the code that this run had landed, so that nothing is left \
                 that does what the issue asks for; fix it instead",
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
            Self::JudgeTurnsGreen { paths } => write!(
                f,
                "with {} as the change has it, its tests pass without its code; \
                 restore what runs the tests",
                list(paths)
            ),
            Self::TestsNotRun { paths } => write!(
                f,
                "the tests have no effect: the candidate passes even with {} made unreadable; \
                 make the verify command run them",
                list(paths)
            ),
            Self::HidesFailures { paths, label } => write!(
                f,
                "with the tests as they were, the candidate fails, and the change removes, skips \
                 or reconfigures them ({}); fix the code instead, or, if the tests are wrong, a \
                 trusted person puts the label {label} on the issue",
                list(paths)
            ),
            Self::NeedsItsRunner { paths, label } => write!(
                f,
                "the tests pass only because the change touches what runs them ({}); make them \
                 pass without that, or, if it is right, a trusted person puts the label {label} on \
                 the issue",
                list(paths)
            ),
            Self::ChangesTests { paths } => write!(
                f,
                "with the tests as they were, the candidate fails, and this repository wants \
                 existing tests to hold; restore {}",
                list(paths)
            ),
            Self::TooWeak { why } => {
                write!(f, "the proof is weaker than this repository wants: {}", why.join("; "))
            }
            Self::CouldNotRun { role, why } => {
                write!(f, "not proved: {role} could not be judged, {why}")
            }
            Self::NoReport { role } => {
                write!(f, "{role} left no readable test report, which proof.junit asks for")
            }
            Self::NoRedTest => f.write_str(
                "by the test reports, no test fails without the change and passes with it",
            ),
            Self::Breaks { tests } => write!(
                f,
                "tests that pass on the base, or that are new, do not pass with the change: {}",
                list(tests)
            ),
        }
    }
}

impl fmt::Display for Untestable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exempt => "documents and the like",
            Self::Judge => "what runs the tests",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Vec<TreePath> {
        ["a", "b"].map(|path| TreePath::new(path.as_bytes()).unwrap()).to_vec()
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "most of it is the table")]
    fn each_refusal_says_how_to_fix_it() {
        use Permit::{NoTestNeeded, TestsMayChange};
        use ProofRefusal as Why;
        let label = || "LABEL".to_owned();
        let nothing = |what| Why::NothingToTest { what, label: label() };
        for (refusal, permit, expected) in [
            (
                Why::Protected { paths: paths() },
                None,
                "the change touches a, b, which judges it; restore it",
            ),
            (
                Why::NeedsItsRunner { paths: paths(), label: label() },
                Some(TestsMayChange),
                "the tests pass only because the change touches what runs them (a, b); make them \
                 pass without that, or, if it is right, a trusted person puts the label LABEL on \
                 the issue",
            ),
            (
                Why::DeletedTests { paths: paths() },
                Some(TestsMayChange),
                "the change cuts, skips or removes tests (a, b); restore them",
            ),
            (
                Why::NoTest,
                Some(NoTestNeeded),
                "the change comes without a test; add one that fails without it, in a commit of \
                 its own, first",
            ),
            (
                nothing(Untestable::Exempt),
                Some(NoTestNeeded),
                "the change touches only documents and the like, so no test can show what it does; \
                 if it does what the issue asks for, put the label LABEL on the issue",
            ),
            (
                nothing(Untestable::Judge),
                Some(NoTestNeeded),
                "the change touches only what runs the tests, so no test can show what it does; if \
                 it does what the issue asks for, put the label LABEL on the issue",
            ),
            (
                Why::NotSplit { fault: SplitFault::DeletesLine { path: paths().remove(0) } },
                Some(NoTestNeeded),
                "the tests are among the code, and the first commit deletes or changes a line of \
                 a; commit the test alone and first, let that commit only add lines, and keep them",
            ),
            (
                Why::TakenBack,
                None,
                "the fix takes back the code that this run had landed, so that nothing is left \
                 that does what the issue asks for; fix it instead",
            ),
            (
                Why::CandidateFails,
                None,
                "the candidate fails while the base passes; fix what it broke",
            ),
            (
                Why::BaseFails,
                None,
                "the base fails already, without this change; fix the default branch, or name a \
                 test report (proof.junit) so that the two can be told apart",
            ),
            (
                Why::Vacuous { role: TreeRole::Red },
                Some(NoTestNeeded),
                "the tests pass without the change (the base with only the change's tests passes); \
                 write one that fails for the lack of it",
            ),
            (
                Why::Flaky { role: TreeRole::Split },
                None,
                "the tests are flaky: the base with only the first commit failed once and passed \
                 once; make the new test fail every time without the change",
            ),
            (
                Why::DoesNotBuild { role: TreeRole::Red },
                None,
                "the base with only the change's tests does not build, and this repository wants a \
                 test that builds and fails; add what it calls in the test's commit",
            ),
            (
                Why::JudgeTurnsGreen { paths: paths() },
                None,
                "with a, b as the change has it, its tests pass without its code; restore what \
                 runs the tests",
            ),
            (
                Why::TestsNotRun { paths: paths() },
                None,
                "the tests have no effect: the candidate passes even with a, b made unreadable; \
                 make the verify command run them",
            ),
            (
                Why::HidesFailures { paths: paths(), label: label() },
                Some(TestsMayChange),
                "with the tests as they were, the candidate fails, and the change removes, skips \
                 or reconfigures them (a, b); fix the code instead, or, if the tests are wrong, a \
                 trusted person puts the label LABEL on the issue",
            ),
            (
                Why::ChangesTests { paths: paths() },
                None,
                "with the tests as they were, the candidate fails, and this repository wants \
                 existing tests to hold; restore a, b",
            ),
            (
                Why::TooWeak { why: vec!["one".to_owned(), "two".to_owned()] },
                None,
                "the proof is weaker than this repository wants: one; two",
            ),
            (
                Why::CouldNotRun { role: TreeRole::Candidate, why: CouldNotRun::Timeout },
                None,
                "not proved: the candidate could not be judged, it ran out of time",
            ),
            (
                Why::NoReport { role: TreeRole::Base },
                None,
                "the base left no readable test report, which proof.junit asks for",
            ),
            (
                Why::NoRedTest,
                None,
                "by the test reports, no test fails without the change and passes with it",
            ),
            (
                Why::Breaks { tests: vec!["t".to_owned()] },
                Some(TestsMayChange),
                "tests that pass on the base, or that are new, do not pass with the change: t",
            ),
        ] {
            assert_eq!(refusal.to_string(), expected);
            assert_eq!(refusal.permit(), permit, "{refusal}");
            let hopeless = matches!(refusal, Why::NothingToTest { .. });
            assert_eq!(refusal.needs_a_person(), hopeless, "{refusal}");
        }
    }

    #[test]
    fn the_output_that_shows_a_refusal_is_that_of_its_run() {
        use TreeRole::{Base, Candidate, Kept, OldRunner, Red, RedJudge, Silenced};
        let label = || "LABEL".to_owned();
        let first = |role| Some((role, RunKind::FIRST));
        for (refusal, run) in [
            (ProofRefusal::NoTest, None),
            (ProofRefusal::TakenBack, None),
            (ProofRefusal::CandidateFails, first(Candidate)),
            (ProofRefusal::NoRedTest, first(Candidate)),
            (ProofRefusal::Breaks { tests: Vec::new() }, first(Candidate)),
            (ProofRefusal::BaseFails, first(Base)),
            (ProofRefusal::Vacuous { role: Red }, first(Red)),
            (ProofRefusal::NoReport { role: Base }, first(Base)),
            (ProofRefusal::Flaky { role: Red }, Some((Red, RunKind::Verify(2)))),
            (ProofRefusal::DoesNotBuild { role: Red }, Some((Red, RunKind::Build))),
            (ProofRefusal::JudgeTurnsGreen { paths: paths() }, first(RedJudge)),
            (ProofRefusal::NeedsItsRunner { paths: paths(), label: label() }, first(OldRunner)),
            (ProofRefusal::TestsNotRun { paths: paths() }, first(Silenced)),
            (ProofRefusal::HidesFailures { paths: paths(), label: label() }, first(Kept)),
            (ProofRefusal::ChangesTests { paths: paths() }, first(Kept)),
        ] {
            assert_eq!(refusal.shown_by(), run, "{refusal}");
        }
    }
}
