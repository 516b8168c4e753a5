//! The result of a proof, for the evidence, the comment and the corrective prompt.
//!
//! The outputs of runs are outside text: whoever shows a report to people or agents must neutralise
//! them. Rendering is pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::lost_tests::losing_tests;
use super::permits::Permitted;
use super::refusal::ProofRefusal;
use super::result::{RunKind, RunResult, TreeRole};
use super::test_changes::{TestChange, TestFate};
use super::trees::Written;
use super::{PathClass, ProofInputs};
use crate::change::{Blobs, Entry, Tally, TreePath, removed_lines, tally};
use crate::ids::Oid;

/// How many removed lines of a file a report shows, and how many characters of each.
const SHOWN_LINES: usize = 5;
const SHOWN_CHARS: usize = 160;
/// How many paths a report lists.
const LISTED_PATHS: usize = 1_000;

/// The result of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofReport {
    /// The decision.
    pub outcome: ProofOutcome,
    /// How the tests fail without the change, if there is a build command.
    pub red_kind: Option<RedKind>,
    /// The tests that fail without the change and pass with it, if there are test reports.
    pub red_tests: Vec<String>,
    /// What makes the proof weaker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<Reservation>,
    /// If the change is refused: the label with which a trusted person can let it land as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<String>,
    /// Why that label has no effect although it is on the issue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unheeded: Option<String>,
    /// Why the change was not asked to fail without its code, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_red: Option<NoRed>,
    /// Every known run, by tree and number.
    pub runs: Vec<RunReport>,
    /// Every path that the whole change touches, removed tests first; at most a thousand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathReport>,
    /// Lines that the change removes from test files.
    pub removed_test_lines: Vec<RemovedLines>,
}

/// The decision of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofOutcome {
    /// The change may land, as far as the proof goes.
    Accepted(Strength),
    /// The change may not land.
    Refused(ProofRefusal),
}

/// How strong an accepted proof is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// The base passes, the change's tests fail each time without its code, the candidate passes.
    Proven,
    /// The base fails already; by the reports, the change fixes a test and breaks none.
    ProvenByReport,
    /// Proven, or proven by report, but with reservations.
    #[serde(alias = "weaker_split_by_agent")]
    Weaker,
    /// The candidate passes, or breaks no test that passes on the base; whether the tests fail
    /// without the change was not asked.
    #[serde(alias = "red_verdict", alias = "exempt", alias = "not_required")]
    NoRed,
    /// Nothing was run: the repo has no verify command.
    NoVerify,
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proven => {
                "proven: the base passes, its tests fail without the change and pass with it"
            }
            Self::ProvenByReport => {
                "proven by test reports: the base fails already, the change fixes a test and breaks none"
            }
            Self::Weaker => "weaker: the tests fail without the change and pass with it",
            Self::NoRed => "no failing test required: the candidate breaks nothing",
            Self::NoVerify => "nothing was run: this repository has no verify command",
        })
    }
}

/// A reason why a proof is weaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Reservation {
    /// The agent decided what is test and what is code, by its first commit.
    SplitByAgent,
    /// The base fails already, and reports tell the failures apart.
    BaseFails,
    /// Existing tests fail with their old content; the change edits them.
    ChangesTests {
        /// The tests.
        paths: Vec<TreePath>,
    },
    /// Tests were removed or skipped. Those that could be put back pass with their old content.
    RemovesTests {
        /// The tests.
        paths: Vec<TreePath>,
    },
    /// The change does more to what runs the tests than to add to it: existing tests pass as they
    /// were run before, but without test reports, nothing shows that all of them are still run.
    ChangesRunner {
        /// The judge files that it changes.
        paths: Vec<TreePath>,
    },
    /// The change's tests are run, or existing ones pass, only with the change's own version of
    /// what runs them.
    OwnRunner {
        /// The judge files that it changes.
        paths: Vec<TreePath>,
    },
    /// The change's tests belong to packages that it adds: without the new manifests, they pass
    /// because nothing runs them.
    OwnManifest {
        /// The new manifests.
        paths: Vec<TreePath>,
    },
    /// Existing tests fail with their old content; removing them, or changing what runs them, was
    /// allowed.
    HidingAllowed {
        /// The tests that the change removes or skips, and the judge files that it changes.
        paths: Vec<TreePath>,
        /// Who allowed it; `None` if the configuration does.
        by: Option<Permitted>,
    },
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SplitByAgent => {
                f.write_str("split by the agent: its first commit alone is the test")
            }
            Self::BaseFails => f.write_str("the base fails already"),
            Self::ChangesTests { paths } => {
                write!(f, "changes what existing tests demand ({})", list(paths))
            }
            Self::RemovesTests { paths } => {
                write!(f, "removes or skips tests ({})", list(paths))
            }
            Self::ChangesRunner { paths } => {
                write!(f, "changes what runs the tests, which may run fewer ({})", list(paths))
            }
            Self::OwnRunner { paths } => {
                write!(f, "tests are heard only as it changed what runs them ({})", list(paths))
            }
            Self::OwnManifest { paths } => {
                write!(
                    f,
                    "its tests are run only with the manifests that it adds ({})",
                    list(paths)
                )
            }
            Self::HidingAllowed { paths, by } => {
                write!(f, "existing tests fail as they were ({}), which ", list(paths))?;
                match by {
                    Some(by) => write!(f, "{by} allowed"),
                    None => f.write_str("the configuration allows"),
                }
            }
        }
    }
}

/// Why a change was not asked to fail without its code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum NoRed {
    /// A trusted person allowed it.
    Permitted(Permitted),
    /// `require_red_proof = "never"`.
    Policy,
    /// `exempt_closes = true`, and only exempt files changed.
    ExemptCloses,
    /// Only tests changed: there is no code to fail without.
    OnlyTests,
}

impl fmt::Display for NoRed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permitted(by) => write!(f, "{by} allowed it"),
            Self::Policy => f.write_str("this repository requires none"),
            Self::ExemptCloses => f.write_str("only exempt files changed"),
            Self::OnlyTests => f.write_str("only tests changed"),
        }
    }
}

/// One path that a change touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReport {
    /// The path.
    pub path: TreePath,
    /// The class of the path.
    pub class: PathClass,
    /// How many lines are added, see [`tally`].
    pub added: u64,
    /// How many lines are removed, see [`tally`].
    pub removed: u64,
    /// What the change does to the file, if it is a test, or else to tests in it, if the change
    /// deletes them or marks them to be skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fate: Option<TestFate>,
}

/// How the tests fail without the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedKind {
    /// The tests did not build.
    DoesNotBuild,
    /// They built, and failed.
    Assertion,
}

impl fmt::Display for RedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DoesNotBuild => "does not build",
            Self::Assertion => "assertion",
        })
    }
}

/// One run of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// The tree that was run on.
    pub role: TreeRole,
    /// Which of the tree's runs it was.
    pub kind: RunKind,
    /// The tree's id.
    pub tree: Oid,
    /// The command that was run.
    pub argv: Vec<String>,
    /// How the run ended.
    pub result: RunResult,
    /// The end of the run's output, masked and shortened, but not neutralised.
    pub tail: String,
    /// How long the run took, in milliseconds; 0 in reports of versions that did not record it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub millis: u64,
}

/// Leaves out a zero, so that a record without the number is written again as it was read.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(millis: &u64) -> bool {
    *millis == 0
}

/// Lines that a change removes from a test file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedLines {
    /// The test file.
    pub path: TreePath,
    /// How many lines are removed.
    pub count: u64,
    /// The first five of them, each cut to 160 characters.
    pub first: Vec<String>,
}

impl ProofReport {
    /// Whether the change may land, as far as the proof goes.
    pub fn accepted(&self) -> bool {
        match self.outcome {
            ProofOutcome::Accepted(_) => true,
            ProofOutcome::Refused(_) => false,
        }
    }

    /// Returns the decision in one line, with its reservations.
    pub fn headline(&self) -> String {
        let mut line = match (&self.outcome, self.red_kind) {
            (ProofOutcome::Accepted(strength), Some(kind)) => format!("{strength} (red: {kind})"),
            (ProofOutcome::Accepted(strength), None) => strength.to_string(),
            (ProofOutcome::Refused(refusal), _) => return refusal.to_string(),
        };
        if let Some(no_red) = &self.no_red {
            line = format!("{line}; {no_red}");
        }
        for reservation in &self.reservations {
            line = format!("{line}; {reservation}");
        }
        line
    }

    /// Returns the trees on which `verify` both failed and passed.
    pub fn flaky(&self) -> Vec<TreeRole> {
        let of = |role: &TreeRole, passed: bool| {
            self.runs.iter().any(|run| {
                let verify = matches!(run.kind, RunKind::Verify(_));
                run.role == *role && verify && (run.result == RunResult::Passed) == passed
            })
        };
        let roles: BTreeSet<TreeRole> = self.runs.iter().map(|run| run.role).collect();
        roles.into_iter().filter(|role| of(role, true) && of(role, false)).collect()
    }

    /// Returns the end of the output that shows why the change is refused, if an output shows it.
    pub fn decisive_tail(&self) -> Option<&str> {
        self.decisive_run().map(|run| run.tail.as_str())
    }

    /// Returns the run that shows why the change is refused, if one shows it.
    pub fn decisive_run(&self) -> Option<&RunReport> {
        let (role, kind) = match &self.outcome {
            ProofOutcome::Accepted(_) => return None,
            ProofOutcome::Refused(refusal) => refusal.shown_by()?,
        };
        if role == TreeRole::Kept
            && let Some(run) = self.run_of_tests_as_they_were()
        {
            return Some(run);
        }
        self.runs.iter().find(|run| (run.role, run.kind) == (role, kind))
    }

    /// Returns the run that shows that existing tests fail: with the change's own scripts, as they
    /// were, or as they were before the run that a fix belongs to.
    fn run_of_tests_as_they_were(&self) -> Option<&RunReport> {
        let runs = |role| {
            let verify = |run: &&RunReport| matches!(run.kind, RunKind::Verify(_));
            self.runs.iter().filter(move |run| run.role == role).filter(verify)
        };
        let passed = |role| runs(role).filter(|run| run.result == RunResult::Passed).count();
        let failed = |role| runs(role).find(|run| run.result != RunResult::Passed);
        // A failure that happened only once was chance.
        let fails = |role| {
            failed(role).is_some() && runs(role).count() - passed(role) > passed(role).min(1)
        };
        let holds = |role| passed(role) > 0 && !fails(role);
        let is_overruled = holds(TreeRole::KeptBlank) || holds(TreeRole::KeptGrown);
        [TreeRole::KeptScripts, TreeRole::Kept, TreeRole::KeptWhole]
            .into_iter()
            .filter(|role| *role != TreeRole::Kept || !is_overruled)
            .find(|role| fails(*role))
            .and_then(failed)
    }
}

impl fmt::Display for ProofReport {
    /// Writes the headline, every run, and how the tests changed; without outputs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        for run in &self.runs {
            let what = match run.kind {
                RunKind::Verify(1) => String::new(),
                RunKind::Verify(2) => " (again)".to_owned(),
                RunKind::Verify(nth) => format!(" (time {nth})"),
                RunKind::Build => " (build)".to_owned(),
            };
            writeln!(f, "- {}{what}, tree {}: {}", run.role, run.tree.short(), run.result)?;
        }
        if !self.red_tests.is_empty() {
            writeln!(f, "- fixed: {}", list(&self.red_tests))?;
        }
        for role in self.flaky() {
            writeln!(f, "- flaky: {role} failed and passed")?;
        }
        for path in self.paths.iter().filter(|path| path.fate.is_some_and(TestFate::removes)) {
            let fate = path.fate.map_or("", TestFate::word);
            writeln!(f, "- {fate} test: {}", path.path)?;
        }
        for removed in &self.removed_test_lines {
            let s = if removed.count == 1 { "" } else { "s" };
            writeln!(f, "- {} line{s} removed from {}", removed.count, removed.path)?;
        }
        Ok(())
    }
}

/// Returns the paths of the whole change, removed tests first, at most [`LISTED_PATHS`].
pub(super) fn paths(
    inputs: &ProofInputs<'_>,
    tests: &[TestChange<'_>],
    unmarked: &[Written],
) -> Vec<PathReport> {
    let losing = losing_tests(inputs.policy, inputs.newest(), inputs.blobs);
    let one = |change: &crate::change::Change| {
        let Tally { added, removed, .. } = tally(change, inputs.blobs);
        let test = tests.iter().find(|test| test.change.path == change.path);
        let marked = || unmarked.iter().any(|(path, _, _)| *path == change.path);
        let among_code = || {
            let lost = losing.contains(&&change.path).then_some(TestFate::Deleted);
            lost.or_else(|| marked().then_some(TestFate::SkipMarked))
        };
        let fate = test.map(|test| test.fate).or_else(among_code);
        PathReport {
            path: change.path.clone(),
            class: inputs.policy.class(&change.path),
            added,
            removed,
            fate,
        }
    };
    let mut all: Vec<PathReport> = inputs.diff.changes.iter().map(one).collect();
    all.sort_by(|a, b| {
        let order = |path: &PathReport| (path.fate.is_none(), path.fate, path.class);
        (order(a), &a.path).cmp(&(order(b), &b.path))
    });
    all.truncate(LISTED_PATHS);
    all
}

pub(super) fn removed_test_lines(tests: &[TestChange<'_>], blobs: &Blobs) -> Vec<RemovedLines> {
    let mut all = Vec::new();
    for change in tests.iter().map(|test| test.change) {
        let content = |entry: &Option<Entry>| entry.as_ref().and_then(|e| blobs.content(e));
        let (Some(old), new) = (content(&change.old), content(&change.new)) else { continue };
        let gone = removed_lines(old, new.unwrap_or_default());
        if !gone.is_empty() {
            let shown = |line: &&[u8]| -> String {
                String::from_utf8_lossy(line).chars().take(SHOWN_CHARS).collect()
            };
            all.push(RemovedLines {
                path: change.path.clone(),
                count: gone.len() as u64,
                first: gone.iter().take(SHOWN_LINES).map(shown).collect(),
            });
        }
    }
    all
}

/// Lists names in a sentence: the first ten, and how many more there are.
pub(super) fn list<T: fmt::Display>(items: &[T]) -> String {
    let shown: Vec<String> = items.iter().take(10).map(ToString::to_string).collect();
    let more = items.len().saturating_sub(shown.len());
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Actor, At};
    use crate::proof::result::CouldNotRun;

    fn check(said: &dyn fmt::Display, expected: &str) {
        assert_eq!(said.to_string(), expected);
    }

    #[test]
    fn strengths_and_reservations_say_what_was_seen() {
        let paths = || vec![TreePath::new(b"a").unwrap(), TreePath::new(b"b").unwrap()];
        let by = || Permitted {
            label: "LABEL".to_owned(),
            by: Actor { id: "1".to_owned(), login: "ann".to_owned(), bot: false },
            at: At::UNIX_EPOCH,
        };
        check(
            &Strength::ProvenByReport,
            "proven by test reports: the base fails already, the change fixes a test and breaks none",
        );
        check(&Strength::Weaker, "weaker: the tests fail without the change and pass with it");
        check(&Strength::NoRed, "no failing test required: the candidate breaks nothing");
        check(&Strength::NoVerify, "nothing was run: this repository has no verify command");
        check(&Reservation::SplitByAgent, "split by the agent: its first commit alone is the test");
        check(&Reservation::BaseFails, "the base fails already");
        check(
            &Reservation::ChangesTests { paths: paths() },
            "changes what existing tests demand (a, b)",
        );
        check(&Reservation::RemovesTests { paths: paths() }, "removes or skips tests (a, b)");
        check(
            &Reservation::OwnRunner { paths: paths() },
            "tests are heard only as it changed what runs them (a, b)",
        );
        check(
            &Reservation::ChangesRunner { paths: paths() },
            "changes what runs the tests, which may run fewer (a, b)",
        );
        check(
            &Reservation::OwnManifest { paths: paths() },
            "its tests are run only with the manifests that it adds (a, b)",
        );
        check(
            &Reservation::HidingAllowed { paths: paths(), by: None },
            "existing tests fail as they were (a, b), which the configuration allows",
        );
        check(
            &Reservation::HidingAllowed { paths: paths(), by: Some(by()) },
            "existing tests fail as they were (a, b), which ann (label LABEL) allowed",
        );
        check(&NoRed::Permitted(by()), "ann (label LABEL) allowed it");
        check(&NoRed::Policy, "this repository requires none");
        check(&NoRed::ExemptCloses, "only exempt files changed");
        check(&NoRed::OnlyTests, "only tests changed");
        check(&RedKind::DoesNotBuild, "does not build");
    }

    #[test]
    fn a_run_without_a_result_says_why() {
        let detail = || "the disk is full".to_owned();
        for (why, begun, expected) in [
            (CouldNotRun::Timeout, true, "it ran out of time"),
            (CouldNotRun::Signal { number: 9 }, true, "signal 9 ended it"),
            (CouldNotRun::OutOfMemory, true, "it used more memory than it may"),
            (CouldNotRun::TooManyProcesses, true, "it ran more processes than it may"),
            (CouldNotRun::TooMuchOutput, true, "it wrote more output than it may"),
            (CouldNotRun::NotExecutable, true, "the command is not executable (exit code 126)"),
            (CouldNotRun::NotFound, true, "the command was not found (exit code 127)"),
            (CouldNotRun::Sandbox { detail: detail() }, false, "the disk is full"),
            (
                CouldNotRun::NotFetched { detail: detail() },
                false,
                "what it needs could not be fetched: the disk is full",
            ),
        ] {
            check(&why, expected);
            assert_eq!(!why.was_not_begun(), begun, "{why}");
        }
    }
}
