//! The rules of the proof, in order: which runs are needed next, or the decision.
//!
//! First the checks that need no run (protected paths, deleted tests, exempt changes), then the
//! candidate, then the base, then the base with only the tests, twice.

use std::collections::BTreeSet;

use super::junit::{JunitReport, TestOutcome};
use super::policy::{RedMeans, RequireRedProof, Verify};
use super::recipe::{Side, StartTree};
use super::refusal::ProofRefusal;
use super::report::{self, ProofOutcome, ProofReport, RedKind, RunReport, Strength};
use super::result::{RunKind, RunRecord, RunResult};
use super::{PathClass, ProofInputs, ProofResults, ProofStep, TreeRecipe, TreeRole, Wanted, split};
use crate::change::TreePath;

/// The next runs, or the decision, from what is known so far.
pub fn next(inputs: &ProofInputs<'_>, results: &ProofResults) -> ProofStep {
    let verify = match inputs.policy.verify() {
        Verify::None => None,
        Verify::Command(argv) => Some(argv.as_slice()),
    };
    let proof = Proof { inputs, results, verify: verify.unwrap_or_default() };
    let answer = match question(inputs, verify.is_some()) {
        Question::Answered(outcome) => Step::Decided(Decision::plain(outcome)),
        Question::Green { strength } => proof.green(strength),
        Question::RedGreen { red } => proof.red_green(red),
    };
    match answer {
        Step::Run(runs) => {
            ProofStep::Run(runs.into_iter().map(|(role, kind)| proof.wanted(role, kind)).collect())
        }
        Step::Decided(decision) => ProofStep::Decided(Box::new(proof.report(decision))),
    }
}

/// What has to be found out by running.
enum Question {
    /// Nothing.
    Answered(ProofOutcome),
    /// Only whether the candidate passes.
    Green { strength: Strength },
    /// Whether `red` fails and the candidate passes.
    RedGreen { red: TreeRole },
}

/// A step without the details of its report.
enum Step {
    Run(Vec<(TreeRole, RunKind)>),
    Decided(Decision),
}

struct Decision {
    outcome: ProofOutcome,
    red_kind: Option<RedKind>,
    red_tests: Vec<String>,
}

impl Decision {
    fn plain(outcome: ProofOutcome) -> Self {
        Self { outcome, red_kind: None, red_tests: Vec::new() }
    }
}

impl From<ProofRefusal> for Step {
    fn from(refusal: ProofRefusal) -> Self {
        Self::Decided(Decision::plain(ProofOutcome::Refused(refusal)))
    }
}

fn question(inputs: &ProofInputs<'_>, can_verify: bool) -> Question {
    let (policy, config) = (inputs.policy, inputs.policy.config());
    let refused = |refusal| Question::Answered(ProofOutcome::Refused(refusal));
    let accepted = |strength| Question::Answered(ProofOutcome::Accepted(strength));
    let paths = |class| -> Vec<TreePath> {
        policy.of_class(inputs.diff, class).map(|c| c.path.clone()).collect()
    };
    let protected = paths(PathClass::Protected);
    if !protected.is_empty() && !config.allow_protected {
        return refused(ProofRefusal::Protected { paths: protected });
    }
    let deleted = report::deleted_tests(inputs);
    if !deleted.is_empty() && !config.allow_deleted_tests {
        return refused(ProofRefusal::DeletedTests { paths: deleted });
    }
    if !can_verify {
        return accepted(Strength::NoVerify);
    }
    if inputs.corrective {
        return Question::Green { strength: Strength::RedVerdict };
    }
    let has = |class| policy.of_class(inputs.diff, class).next().is_some();
    let tests = has(PathClass::Test);
    let asked = match config.require_red_proof {
        RequireRedProof::Never => return Question::Green { strength: Strength::NotRequired },
        RequireRedProof::Always => true,
        RequireRedProof::WhenCodeChanges => has(PathClass::Code),
    };
    match (asked, tests) {
        (false, false) => accepted(Strength::Exempt),
        // Only tests changed: there is no code to remove, but they must pass.
        (false, true) => Question::Green { strength: Strength::Exempt },
        (true, true) => Question::RedGreen { red: TreeRole::Red },
        (true, false) => match inputs.first {
            None => refused(ProofRefusal::NoTest),
            Some(first) => match split::check(policy, first, inputs.diff, inputs.blobs) {
                Ok(()) => Question::RedGreen { red: TreeRole::Split },
                Err(fault) => refused(ProofRefusal::NotSplit { fault }),
            },
        },
    }
}

struct Proof<'a> {
    inputs: &'a ProofInputs<'a>,
    results: &'a ProofResults,
    /// Empty only if nothing is run.
    verify: &'a [String],
}

impl Proof<'_> {
    /// The candidate must pass; if the base fails too, it must break nothing more.
    fn green(&self, strength: Strength) -> Step {
        use TreeRole::{Base, Candidate};
        let accepted = || Step::Decided(Decision::plain(ProofOutcome::Accepted(strength)));
        let Some(candidate) = self.verified(Candidate) else {
            return Self::missing(&[Candidate]);
        };
        match &candidate.result {
            RunResult::Passed => accepted(),
            RunResult::CouldNotRun { why } => self.could_not_run(Candidate, why),
            // The base contains the very commit that is to be fixed: it excuses nothing.
            RunResult::Failed { .. } if self.inputs.corrective => {
                ProofRefusal::CandidateFails.into()
            }
            RunResult::Failed { .. } => {
                let Some(base) = self.verified(Base) else { return Self::missing(&[Base]) };
                match &base.result {
                    RunResult::Passed => ProofRefusal::CandidateFails.into(),
                    RunResult::CouldNotRun { why } => self.could_not_run(Base, why),
                    RunResult::Failed { .. } => match self.reports(base, candidate) {
                        Err(refusal) => refusal.into(),
                        Ok((base, candidate)) => {
                            self.broken(base, candidate).map_or_else(accepted, Into::into)
                        }
                    },
                }
            }
        }
    }

    /// The base passes, `red` fails twice, the candidate passes.
    fn red_green(&self, red: TreeRole) -> Step {
        use TreeRole::{Base, Candidate};
        let Some(candidate) = self.verified(Candidate) else {
            return self.first_missing(&[Candidate, Base, red]);
        };
        if let RunResult::CouldNotRun { why } = &candidate.result {
            return self.could_not_run(Candidate, why);
        }
        let failed = matches!(candidate.result, RunResult::Failed { .. });
        let Some(base) = self.verified(Base) else {
            return if failed { Self::missing(&[Base]) } else { self.first_missing(&[Base, red]) };
        };
        match &base.result {
            RunResult::CouldNotRun { why } => self.could_not_run(Base, why),
            RunResult::Passed if failed => ProofRefusal::CandidateFails.into(),
            RunResult::Passed => self.red(red, None),
            RunResult::Failed { .. } => match self.reports(base, candidate) {
                Err(refusal) => refusal.into(),
                Ok((base, candidate)) => match self.broken(base, candidate) {
                    Some(refusal) => refusal.into(),
                    None => self.red(red, Some(candidate)),
                },
            },
        }
    }

    /// `red` fails twice; if the base fails already, some test in the candidate's report must fail
    /// both times and pass there.
    fn red(&self, role: TreeRole, candidate: Option<&JunitReport>) -> Step {
        let Some(first) = self.verified(role) else { return Self::missing(&[role]) };
        match &first.result {
            RunResult::Passed => return ProofRefusal::Vacuous { role }.into(),
            RunResult::CouldNotRun { why } => return self.could_not_run(role, why),
            RunResult::Failed { .. } => {}
        }
        let again = self.run(role, RunKind::VerifyAgain);
        let builds = self.inputs.policy.config().build.is_some();
        let build = if builds { self.run(role, RunKind::Build) } else { None };
        let mut wanted = Vec::new();
        if again.is_none() {
            wanted.push((role, RunKind::VerifyAgain));
        }
        if builds && build.is_none() {
            wanted.push((role, RunKind::Build));
        }
        let Some(again) = again.filter(|_| wanted.is_empty()) else {
            return Step::Run(wanted);
        };
        match &again.result {
            RunResult::Passed => return ProofRefusal::Flaky { role }.into(),
            RunResult::CouldNotRun { why } => return self.could_not_run(role, why),
            RunResult::Failed { .. } => {}
        }
        let red_tests = match candidate {
            None => Vec::new(),
            Some(candidate) => match red_tests(role, first, again, candidate) {
                Ok(tests) => tests,
                Err(refusal) => return refusal.into(),
            },
        };
        let red_kind = build.and_then(|build| match &build.result {
            RunResult::Passed => Some(RedKind::Assertion),
            RunResult::Failed { .. } => Some(RedKind::DoesNotBuild),
            RunResult::CouldNotRun { .. } => None,
        });
        match (self.inputs.policy.config().red, red_kind) {
            (RedMeans::Any, _) | (RedMeans::Assertion, Some(RedKind::Assertion)) => {}
            (RedMeans::Assertion, Some(RedKind::DoesNotBuild)) => {
                return ProofRefusal::DoesNotBuild { role }.into();
            }
            (RedMeans::Assertion, None) => {
                return match build.map(|build| &build.result) {
                    Some(RunResult::CouldNotRun { why }) => self.could_not_run(role, why),
                    // Unreachable by the policy's check; still never a proof.
                    Some(RunResult::Passed | RunResult::Failed { .. }) | None => {
                        ProofRefusal::DoesNotBuild { role }.into()
                    }
                };
            }
        }
        let strength = match (role, candidate) {
            (TreeRole::Split, _) => Strength::WeakerSplitByAgent,
            (TreeRole::Red | TreeRole::Base | TreeRole::Candidate, None) => Strength::Proven,
            (TreeRole::Red | TreeRole::Base | TreeRole::Candidate, Some(_)) => {
                Strength::ProvenByReport
            }
        };
        let outcome = ProofOutcome::Accepted(strength);
        Step::Decided(Decision { outcome, red_kind, red_tests })
    }

    /// The reports of a base and a candidate, if the base fails.
    fn reports<'r>(
        &self,
        base: &'r RunRecord,
        candidate: &'r RunRecord,
    ) -> Result<(&'r JunitReport, &'r JunitReport), ProofRefusal> {
        if self.inputs.policy.config().junit.is_none() {
            return Err(ProofRefusal::BaseFails);
        }
        let missing = |role| ProofRefusal::NoReport { role };
        let base = base.report.as_ref().ok_or_else(|| missing(TreeRole::Base))?;
        let candidate = candidate.report.as_ref().ok_or_else(|| missing(TreeRole::Candidate))?;
        Ok((base, candidate))
    }

    /// What passes on the base but not with the candidate.
    fn broken(&self, base: &JunitReport, candidate: &JunitReport) -> Option<ProofRefusal> {
        let lost_is_fine = self.inputs.policy.config().allow_deleted_tests;
        let tests: Vec<String> = base
            .with(TestOutcome::Passed)
            .filter(|test| match candidate.outcome(test) {
                Some(TestOutcome::Passed) => false,
                Some(TestOutcome::Failed) => true,
                // A missing test may have been lost in a crash.
                Some(TestOutcome::Skipped) | None => !lost_is_fine,
            })
            .map(ToOwned::to_owned)
            .collect();
        (!tests.is_empty()).then_some(ProofRefusal::Breaks { tests })
    }

    fn could_not_run(&self, role: TreeRole, why: &super::CouldNotRun) -> Step {
        let _ = self;
        ProofRefusal::CouldNotRun { role, why: why.clone() }.into()
    }

    fn missing(roles: &[TreeRole]) -> Step {
        Step::Run(roles.iter().map(|role| (*role, RunKind::Verify)).collect())
    }

    /// The first of `roles` without a result.
    fn first_missing(&self, roles: &[TreeRole]) -> Step {
        let absent: Vec<TreeRole> =
            roles.iter().copied().filter(|role| self.verified(*role).is_none()).collect();
        Self::missing(&absent)
    }

    fn verified(&self, role: TreeRole) -> Option<&RunRecord> {
        self.run(role, RunKind::Verify)
    }

    fn run(&self, role: TreeRole, kind: RunKind) -> Option<&RunRecord> {
        let tree = self.results.trees.get(&role)?;
        self.results.runs.get(&self.wanted(role, kind).key(tree.clone()))
    }

    fn wanted(&self, role: TreeRole, kind: RunKind) -> Wanted {
        let policy = self.inputs.policy;
        let argv = match kind {
            RunKind::Verify | RunKind::VerifyAgain => self.verify.to_vec(),
            RunKind::Build => policy.config().build.clone().unwrap_or_default(),
        };
        let command = policy.digest(&argv, self.inputs.conditions);
        Wanted { role, kind, recipe: self.recipe(role), argv, command }
    }

    fn recipe(&self, role: TreeRole) -> TreeRecipe {
        let class = |path: &TreePath| self.inputs.policy.class(path);
        let diff = self.inputs.diff;
        match role {
            TreeRole::Base => TreeRecipe::plain(StartTree::Base),
            TreeRole::Red => TreeRecipe::taking(StartTree::Base, Side::New, diff, |path| {
                class(path) == PathClass::Test
            }),
            TreeRole::Split => self.inputs.first.map_or_else(
                || TreeRecipe::plain(StartTree::Base),
                |first| {
                    TreeRecipe::taking(StartTree::Base, Side::New, first, |path| {
                        class(path) != PathClass::Protected
                    })
                },
            ),
            TreeRole::Candidate => {
                TreeRecipe::taking(StartTree::Candidate, Side::Old, diff, |path| {
                    class(path) == PathClass::Protected
                })
            }
        }
    }

    fn report(&self, decision: Decision) -> ProofReport {
        let roles = [TreeRole::Base, TreeRole::Red, TreeRole::Split, TreeRole::Candidate];
        let kinds = [RunKind::Verify, RunKind::VerifyAgain, RunKind::Build];
        let mut runs = Vec::new();
        for (role, kind) in roles.into_iter().flat_map(|role| kinds.map(|kind| (role, kind))) {
            if let (Some(tree), Some(record)) =
                (self.results.trees.get(&role), self.run(role, kind))
            {
                runs.push(RunReport {
                    role,
                    kind,
                    tree: tree.clone(),
                    argv: self.wanted(role, kind).argv,
                    result: record.result.clone(),
                    tail: record.tail.clone(),
                });
            }
        }
        ProofReport {
            outcome: decision.outcome,
            red_kind: decision.red_kind,
            red_tests: decision.red_tests,
            runs,
            deleted_tests: report::deleted_tests(self.inputs),
            removed_test_lines: report::removed_test_lines(self.inputs),
        }
    }
}

/// The tests that fail both times without the change and pass with it.
fn red_tests(
    role: TreeRole,
    first: &RunRecord,
    again: &RunRecord,
    candidate: &JunitReport,
) -> Result<Vec<String>, ProofRefusal> {
    let (Some(first), Some(again)) = (&first.report, &again.report) else {
        return Err(ProofRefusal::NoReport { role });
    };
    let again: BTreeSet<&str> = again.with(TestOutcome::Failed).collect();
    let tests: Vec<String> = first
        .with(TestOutcome::Failed)
        .filter(|test| again.contains(test))
        .filter(|test| candidate.outcome(test) == Some(TestOutcome::Passed))
        .map(ToOwned::to_owned)
        .collect();
    if tests.is_empty() { Err(ProofRefusal::NoRedTest) } else { Ok(tests) }
}
