//! The result of a proof, for the evidence, the comment and the corrective prompt.
//!
//! Outputs of runs are outside text: whoever shows a report to people or agents neutralises them.
//! Rendering is pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::refusal::ProofRefusal;
use super::result::{RunKind, RunResult, TreeRole};
use super::{PathClass, ProofInputs};
use crate::change::{TreePath, removed_lines};
use crate::ids::Oid;

/// How many removed lines of a file a report shows, and how many characters of each.
const SHOWN_LINES: usize = 5;
const SHOWN_CHARS: usize = 160;

/// The result of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofReport {
    /// The decision.
    pub outcome: ProofOutcome,
    /// What kind of failure it was without the change, if there is a build command.
    pub red_kind: Option<RedKind>,
    /// If the base fails already: the tests that fail without the change and pass with it.
    pub red_tests: Vec<String>,
    /// Every known run.
    pub runs: Vec<RunReport>,
    /// Test files that the change deletes without moving them unchanged.
    pub deleted_tests: Vec<TreePath>,
    /// Lines that the change removes from test files.
    pub removed_test_lines: Vec<RemovedLines>,
}

/// The decision of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofOutcome {
    /// The change may land, as far as the proof goes.
    Accepted(Strength),
    /// It may not.
    Refused(ProofRefusal),
}

/// How strong an accepted proof is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// The base passes, its tests fail twice without the change, the candidate passes.
    Proven,
    /// The base fails already; by the reports, the change fixes a test and breaks none.
    ProvenByReport,
    /// As proved, but the agent decided what is test and what is code.
    WeakerSplitByAgent,
    /// The candidate passes, and the red verdict that it fixes is its red proof.
    RedVerdict,
    /// The proof does not apply: nothing changed that needs a test.
    Exempt,
    /// The policy requires no red proof; the candidate passes.
    NotRequired,
    /// Nothing was run: the repo has no verify command.
    NoVerify,
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proven => {
                "proven: the base passes, its tests fail without the change (twice) and pass with it"
            }
            Self::ProvenByReport => {
                "proven by test reports: the base fails already, the change fixes a test and breaks none"
            }
            Self::WeakerSplitByAgent => {
                "weaker: split by the agent; its first commit fails alone (twice), and the whole passes"
            }
            Self::RedVerdict => {
                "the red verdict that it fixes is its red proof, and the candidate passes"
            }
            Self::Exempt => "the proof does not apply: nothing changed that needs a test",
            Self::NotRequired => "no red proof is required here, and the candidate passes",
            Self::NoVerify => "nothing was run: this repository has no verify command",
        })
    }
}

/// What kind of failure it was without the change.
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
    /// Of which tree.
    pub role: TreeRole,
    /// Which run.
    pub kind: RunKind,
    /// The tree's id.
    pub tree: Oid,
    /// What was run.
    pub argv: Vec<String>,
    /// How it ended.
    pub result: RunResult,
    /// The end of its output.
    pub tail: String,
}

/// Lines that a change removes from a test file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedLines {
    /// Which file.
    pub path: TreePath,
    /// How many lines.
    pub count: u64,
    /// The first of them, cut short.
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

    /// The decision in one line.
    pub fn headline(&self) -> String {
        match (&self.outcome, self.red_kind) {
            (ProofOutcome::Accepted(strength), Some(kind)) => format!("{strength} (red: {kind})"),
            (ProofOutcome::Accepted(strength), None) => strength.to_string(),
            (ProofOutcome::Refused(refusal), _) => refusal.to_string(),
        }
    }

    /// The end of the output that shows why it was refused.
    pub fn telling_tail(&self) -> Option<&str> {
        let (role, kind) = match &self.outcome {
            ProofOutcome::Accepted(_) => return None,
            ProofOutcome::Refused(refusal) => refusal.shown_by()?,
        };
        self.runs.iter().find(|r| (r.role, r.kind) == (role, kind)).map(|r| r.tail.as_str())
    }
}

impl fmt::Display for ProofReport {
    /// The headline, every run, and how the tests changed; without outputs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        for run in &self.runs {
            let what = match run.kind {
                RunKind::Verify => "",
                RunKind::VerifyAgain => " (again)",
                RunKind::Build => " (build)",
            };
            writeln!(f, "- {}{what}, tree {}: {}", run.role, run.tree.short(), run.result)?;
        }
        if !self.red_tests.is_empty() {
            writeln!(f, "- fixed: {}", list(&self.red_tests))?;
        }
        if !self.deleted_tests.is_empty() {
            writeln!(f, "- deleted tests: {}", list(&self.deleted_tests))?;
        }
        for removed in &self.removed_test_lines {
            let s = if removed.count == 1 { "" } else { "s" };
            writeln!(f, "- {} line{s} removed from {}", removed.count, removed.path)?;
        }
        Ok(())
    }
}

/// The deleted test files; a file whose content is in another test file was moved.
pub(super) fn deleted_tests(inputs: &ProofInputs<'_>) -> Vec<TreePath> {
    let tests = || inputs.policy.of_class(inputs.diff, PathClass::Test);
    let now: BTreeSet<&Oid> = tests().filter_map(|c| c.new.as_ref()).map(|e| &e.oid).collect();
    tests()
        .filter(|c| c.new.is_none() && c.old.as_ref().is_some_and(|e| !now.contains(&e.oid)))
        .map(|c| c.path.clone())
        .collect()
}

pub(super) fn removed_test_lines(inputs: &ProofInputs<'_>) -> Vec<RemovedLines> {
    let mut all = Vec::new();
    for change in inputs.policy.of_class(inputs.diff, PathClass::Test) {
        let content = |entry: &Option<_>| entry.as_ref().and_then(|e| inputs.blobs.content(e));
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

/// Names for a sentence, the first ten and how many more.
pub(super) fn list<T: fmt::Display>(items: &[T]) -> String {
    let shown: Vec<String> = items.iter().take(10).map(ToString::to_string).collect();
    let more = items.len().saturating_sub(shown.len());
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
