//! The rules of the proof, in order: which runs are needed next, or the decision.
//!
//! First come the checks that need no run, which also say what has to be found out (`obligation`).
//! Then the first run of each tree; a change that fails there needs no more runs. Then everything
//! that may still speak against the change: the remaining repeats, its changes to judge files, the
//! tests as they were, the tests made unreadable, the reports.

use std::collections::BTreeSet;

use super::manifest::{is_package_of, is_runner};
use super::obligation::Obligation;
use super::permits::Permitted;
use super::policy::{Least, RedMeans, Verify};
use super::refusal::ProofRefusal;
use super::report::{
    self, NoRed, ProofOutcome, ProofReport, RedKind, Reservation, RunReport, Strength,
};
use super::result::{CouldNotRun, ResultKey, RunKind, RunRecord, RunResult};
use super::scripts::runners;
use super::test_changes::{TestChange, test_changes, unmarked};
use super::trees::{Trees, Written};
use super::{NeededRun, PathClass, ProofInputs, ProofResults, ProofStep, TreeRole};
use crate::change::{Change, TreePath};
use crate::digest::Digest;

/// How often a change must fail without its code and pass with it: usually, and where a run is
/// [quick](QUICK). A test that passes every other time by chance gets through once in 16 tries with
/// the first number, and once in 4096 with the second.
const REPEATS: (u32, u32) = (2, 6);
/// A run of up to this many milliseconds is quick.
const QUICK: u64 = 1_000;

/// Returns the runs that are needed next, or the decision, from what is known so far.
pub fn next(inputs: &ProofInputs<'_>, results: &ProofResults) -> ProofStep {
    let at_once = ProofInputs { since: None, ..*inputs };
    let whole = inputs.since.is_some().then(|| Box::new(Proof::new(&at_once, results, None)));
    let proof = Proof::new(inputs, results, whole);
    match proof.answer() {
        Ok(decision) => ProofStep::Decided(Box::new(proof.report(decision))),
        Err(runs) => {
            let mut asked = BTreeSet::new();
            let once = runs.into_iter().filter(|run| asked.insert(*run));
            ProofStep::Run(once.map(|(role, kind)| proof.wanted(role, kind)).collect())
        }
    }
}

/// Whether the base passes `verify`, asked before there is a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseStep {
    /// This run is needed.
    Run(Box<NeededRun>),
    /// `verify` passes on the base, or the repo has no such command.
    Passes,
    /// `verify` failed twice, or could not be run: the result, and the end of its output.
    Fails(RunResult, String),
}

/// Returns whether `verify` passes on a base, from what is known so far, or the run that is needed
/// next: a failure is tried again.
pub fn base(inputs: &ProofInputs<'_>, results: &ProofResults) -> BaseStep {
    let Verify::Command(verify) = inputs.policy.verify() else { return BaseStep::Passes };
    let (tests, unmarked, runners) = (Vec::new(), Vec::new(), Vec::new());
    let proof = Proof { inputs, results, verify, tests, unmarked, runners, whole: None };
    let failed = |record: &RunRecord| BaseStep::Fails(record.result.clone(), record.tail.clone());
    match proof.outcome_of(TreeRole::Base, 1) {
        Ok(TreeOutcome::Passes(_)) => BaseStep::Passes,
        Ok(TreeOutcome::Fails(record)) => failed(record),
        Ok(TreeOutcome::CouldNotRun(why)) => {
            let first = proof.run(TreeRole::Base, RunKind::FIRST);
            let tail = first.map(|record| record.tail.clone()).unwrap_or_default();
            BaseStep::Fails(RunResult::CouldNotRun { why: why.clone() }, tail)
        }
        Err(runs) => match runs.first() {
            Some((role, kind)) => BaseStep::Run(Box::new(proof.wanted(*role, *kind))),
            None => BaseStep::Passes,
        },
    }
}

/// A decision, or the runs that it still needs, the most informative first.
type Step<T> = Result<T, Vec<(TreeRole, RunKind)>>;

struct Decision {
    outcome: ProofOutcome,
    red_kind: Option<RedKind>,
    red_tests: Vec<String>,
    reservations: Vec<Reservation>,
    no_red: Option<NoRed>,
}

impl Decision {
    fn plain(outcome: ProofOutcome) -> Self {
        Self {
            outcome,
            red_kind: None,
            red_tests: Vec::new(),
            reservations: Vec::new(),
            no_red: None,
        }
    }

    fn accepted(strength: Strength) -> Self {
        Self::plain(ProofOutcome::Accepted(strength))
    }
}

impl From<ProofRefusal> for Decision {
    fn from(refusal: ProofRefusal) -> Self {
        Self::plain(ProofOutcome::Refused(refusal))
    }
}

/// Permission by a person's label, or by the configuration if `by` is `None`.
pub(super) struct Allowance {
    pub(super) by: Option<Permitted>,
}

/// What the runs of one tree amount to.
pub(super) enum TreeOutcome<'r> {
    /// The tree passes; with a run that passed.
    Passes(&'r RunRecord),
    /// The tree fails; with the first run that failed.
    Fails(&'r RunRecord),
    /// The runs that did not pass gave no result; with the reason of the first.
    CouldNotRun(&'r CouldNotRun),
}

pub(super) struct Proof<'a> {
    pub(super) inputs: &'a ProofInputs<'a>,
    results: &'a ProofResults,
    /// The `verify` command; empty if the repo has none.
    pub(super) verify: &'a [String],
    /// The tests that the newest change touches.
    pub(super) tests: Vec<TestChange<'a>>,
    /// The code files in which the newest change marks tests to be skipped, without these marks.
    pub(super) unmarked: Vec<Written>,
    /// The judge files and scripts of the newest change that may steer the tests.
    pub(super) runners: Vec<TreePath>,
    /// For a corrective change: the proof of the whole of the run's work, as if it landed at once.
    pub(super) whole: Option<Box<Self>>,
}

impl<'a> Proof<'a> {
    fn new(
        inputs: &'a ProofInputs<'a>,
        results: &'a ProofResults,
        whole: Option<Box<Self>>,
    ) -> Self {
        let verify = match inputs.policy.verify() {
            Verify::None => &[][..],
            Verify::Command(argv) => argv,
        };
        let (policy, newest, blobs) = (inputs.policy, inputs.newest(), inputs.blobs);
        let tests = test_changes(policy, newest, blobs);
        let unmarked = unmarked(policy, newest, blobs);
        let runners = runners(policy, newest, blobs);
        Self { inputs, results, verify, tests, unmarked, runners, whole }
    }

    fn answer(&self) -> Step<Decision> {
        let decision = match self.obligation() {
            Obligation::Answered(outcome) => Decision::plain(outcome),
            Obligation::Green { no_red } => self.green(no_red)?,
            Obligation::RedGreen { red } => self.red_green(red)?,
            Obligation::FixesRedTest { or } => self.fixes_red_test(or)?,
        };
        Ok(self.strong_enough(decision))
    }

    /// Decides a change that need not be red without its code: base and candidate must pass, and so
    /// must the tests as they were. With test reports, the base may fail, or both, as long as every
    /// test that passes on the base passes on the candidate.
    fn green(&self, no_red: NoRed) -> Step<Decision> {
        use TreeRole::{Base, Candidate};
        let only_tests = no_red == NoRed::OnlyTests;
        let first = self.first_of(&[Candidate, Base]);
        if !first.is_empty() {
            return Err(first);
        }
        let passes = match self.outcome_of(Candidate, 1)? {
            TreeOutcome::Passes(record) => record,
            TreeOutcome::CouldNotRun(why) => return self.candidate_could_not_run(why),
            TreeOutcome::Fails(_) => return self.fails_as_its_base(no_red),
        };
        let reported = self.inputs.policy.config().junit.is_some();
        let base = match self.outcome_of(Base, 1)? {
            TreeOutcome::CouldNotRun(why) => return Ok(could_not_run(Base, why)),
            TreeOutcome::Fails(_) if !reported => return Ok(ProofRefusal::BaseFails.into()),
            TreeOutcome::Passes(record) | TreeOutcome::Fails(record) => record,
        };
        if reported {
            let reports = self.reports(base, passes);
            if let Err(refusal) = reports.and_then(|(b, c)| self.breaks_nothing(b, c)) {
                return Ok(refusal.into());
            }
        }
        let mut missing = Vec::new();
        let repeats = if only_tests { self.repeats() } else { 1 };
        let candidate = self.later(Candidate, repeats, &mut missing);
        let tests_run = only_tests.then(|| self.check_tests_run(TreeRole::Red, &mut missing));
        let kept = self.as_before(TreeRole::Red, Some(&no_red), &mut missing);
        if !missing.is_empty() {
            return Err(missing);
        }
        match candidate {
            Some(TreeOutcome::Passes(_)) | None => {}
            Some(TreeOutcome::CouldNotRun(why)) => return Ok(could_not_run(Candidate, why)),
            Some(TreeOutcome::Fails(_)) => return Ok(ProofRefusal::CandidateFails.into()),
        }
        if let Some(Err(refusal)) = tests_run {
            return Ok(refusal.into());
        }
        let reservations = match kept {
            Ok(reservations) => reservations,
            Err(refusal) => return Ok(refusal.into()),
        };
        let decision = Decision::accepted(Strength::NoRed);
        Ok(Decision { reservations, no_red: Some(no_red), ..decision })
    }

    /// Decides a change whose candidate fails, where no red is asked for: it is accepted if the
    /// base fails, too, and by the reports the candidate breaks no test that passes on the base,
    /// also with the tests as they were.
    fn fails_as_its_base(&self, no_red: NoRed) -> Step<Decision> {
        let candidate = match self.outcome_of(TreeRole::Candidate, 1)? {
            TreeOutcome::Fails(record) => record,
            TreeOutcome::Passes(_) | TreeOutcome::CouldNotRun(_) => {
                return Ok(ProofRefusal::CandidateFails.into());
            }
        };
        let base = match self.outcome_of(TreeRole::Base, 1)? {
            TreeOutcome::Passes(_) => return Ok(ProofRefusal::CandidateFails.into()),
            TreeOutcome::CouldNotRun(why) => return Ok(could_not_run(TreeRole::Base, why)),
            TreeOutcome::Fails(record) => record,
        };
        let reports = self.reports(base, candidate);
        if let Err(refusal) = reports.and_then(|(b, c)| self.breaks_nothing(b, c)) {
            return Ok(refusal.into());
        }
        let mut missing = Vec::new();
        let kept = self.kept_by_report(base, &mut missing);
        if !missing.is_empty() {
            return Err(missing);
        }
        let accepted = |reservations| {
            let decision = Decision::accepted(Strength::NoRed);
            Decision { reservations, no_red: Some(no_red), ..decision }
        };
        Ok(kept.map_or_else(Into::into, accepted))
    }

    /// Decides a change that must be red without its code: the base passes, `red` fails each time,
    /// the candidate passes each time, and neither the change's judge files nor what it does to
    /// existing tests is the reason for that.
    fn red_green(&self, red: TreeRole) -> Step<Decision> {
        use TreeRole::{Base, Candidate};
        let mut first = self.first_of(&[Candidate, Base, red]);
        match self.run(Candidate, RunKind::FIRST) {
            None => return Err(first),
            Some(record) if passed(record) => {}
            // While it is open whether the candidate fails, no other tree is run.
            Some(_) => match self.outcome_of(Candidate, 1)? {
                TreeOutcome::Passes(_) => {}
                TreeOutcome::CouldNotRun(why) => return self.candidate_could_not_run(why),
                TreeOutcome::Fails(_) => return self.red_candidate(),
            },
        }
        if !first.is_empty() {
            // The candidate's repeats are needed next, and a free core may start on them now.
            let _ = self.later(Candidate, self.repeats(), &mut first);
            return Err(first);
        }
        let base = match self.outcome_of(Base, 1)? {
            TreeOutcome::CouldNotRun(why) => return Ok(could_not_run(Base, why)),
            TreeOutcome::Fails(_) if self.inputs.policy.config().junit.is_none() => {
                return Ok(ProofRefusal::BaseFails.into());
            }
            TreeOutcome::Fails(record) => (record, true),
            TreeOutcome::Passes(record) => (record, false),
        };
        let Some(red_first) = self.run(red, RunKind::FIRST) else {
            return Err(vec![(red, RunKind::FIRST)]);
        };
        if passed(red_first) {
            // The test may stand among the code, and the test file be only data that it reads.
            return if red == TreeRole::Red && matches!(self.split(), Some(Ok(()))) {
                self.red_green(TreeRole::Split)
            } else {
                self.red_by_manifest(red, base)
            };
        }
        if let Some(why) = no_result(red_first, base.1) {
            return Ok(could_not_run(red, why));
        }
        self.red_green_rest(red, red_first, base)
    }

    /// Decides a change whose tests pass on `vacuous`, where they may not have been run: if they
    /// belong to a package that the change adds, they must fail with its manifest and without its
    /// code.
    fn red_by_manifest(&self, vacuous: TreeRole, base: (&RunRecord, bool)) -> Step<Decision> {
        if self.own_manifests().is_empty() {
            return Ok(ProofRefusal::Vacuous { role: vacuous }.into());
        }
        let red = TreeRole::RedJudge;
        let Some(first) = self.run(red, RunKind::FIRST) else {
            return Err(vec![(red, RunKind::FIRST)]);
        };
        if passed(first) {
            return Ok(ProofRefusal::Vacuous { role: red }.into());
        }
        if let Some(why) = no_result(first, base.1) {
            return Ok(could_not_run(red, why));
        }
        self.red_green_rest(red, first, base)
    }

    /// Returns the new manifests of the packages that the change's tests belong to; none if a test
    /// belongs to no new package, or if what the change does to judge files may steer tests.
    fn own_manifests(&self) -> Vec<TreePath> {
        let (policy, diff) = (self.inputs.policy, self.inputs.diff);
        let judges: Vec<&Change> = policy.of_class(diff, PathClass::Judge).collect();
        if judges.iter().any(|change| is_runner(change, self.inputs.blobs)) {
            return Vec::new();
        }
        let new = |test: &Change| {
            let is_of = |judge: &&&Change| judge.old.is_none() && is_package_of(judge, test);
            judges.iter().find(is_of).map(|judge| judge.path.clone())
        };
        let all: Option<BTreeSet<TreePath>> =
            policy.of_class(diff, PathClass::Test).map(new).collect();
        all.unwrap_or_default().into_iter().collect()
    }

    /// Decides a change whose candidate fails each time: the base must fail, too, and by the
    /// reports the change must break no test that passes on the base, and a test must pass with it
    /// that fails without it.
    fn red_candidate(&self) -> Step<Decision> {
        let base = match self.outcome_of(TreeRole::Base, 1)? {
            TreeOutcome::Passes(_) => return Ok(ProofRefusal::CandidateFails.into()),
            TreeOutcome::CouldNotRun(why) => return Ok(could_not_run(TreeRole::Base, why)),
            TreeOutcome::Fails(record) => record,
        };
        // No other tree is run for a candidate that is seen to break a test.
        let known = (1..=3).filter_map(|nth| self.run(TreeRole::Candidate, RunKind::Verify(nth)));
        let known: Vec<&RunRecord> =
            known.filter(|record| no_result(record, true).is_none()).collect();
        if let Err(refusal) = self.unbroken(base, &known) {
            return Ok(refusal.into());
        }
        let red = match self.obligation() {
            Obligation::RedGreen { red } => red,
            Obligation::Answered(_)
            | Obligation::Green { .. }
            | Obligation::FixesRedTest { .. } => {
                return Ok(ProofRefusal::CandidateFails.into());
            }
        };
        let Some(first) = self.run(red, RunKind::FIRST) else {
            return Err(vec![(red, RunKind::FIRST)]);
        };
        if passed(first) {
            return Ok(ProofRefusal::Vacuous { role: red }.into());
        }
        if let Some(why) = no_result(first, true) {
            return Ok(could_not_run(red, why));
        }
        self.red_green_rest(red, first, (base, true))
    }

    /// Refuses a candidate that could not be run. If it hangs or crashes, the base is asked first: a
    /// base that does not pass either is the reason, and not the change.
    fn candidate_could_not_run(&self, why: &CouldNotRun) -> Step<Decision> {
        if !why.was_not_begun() {
            match self.outcome_of(TreeRole::Base, 1)? {
                TreeOutcome::CouldNotRun(why) => return Ok(could_not_run(TreeRole::Base, why)),
                TreeOutcome::Fails(_) if self.inputs.policy.config().junit.is_none() => {
                    return Ok(ProofRefusal::BaseFails.into());
                }
                // With reports, a base that fails can be told from a candidate that leaves none.
                TreeOutcome::Passes(_) | TreeOutcome::Fails(_) => {}
            }
        }
        Ok(could_not_run(TreeRole::Candidate, why))
    }

    /// Asks at once for everything that may still speak against the change, and decides.
    fn red_green_rest(
        &self,
        red: TreeRole,
        first: &RunRecord,
        (base, base_fails): (&RunRecord, bool),
    ) -> Step<Decision> {
        use TreeRole::Candidate;
        let mut missing = Vec::new();
        let again: Vec<Option<&RunRecord>> = (2..=self.repeats())
            .map(|nth| self.or_missing(red, RunKind::Verify(nth), &mut missing))
            .collect();
        let builds = self.inputs.policy.config().build.is_some();
        let build = if builds { self.or_missing(red, RunKind::Build, &mut missing) } else { None };
        let candidates = if base_fails {
            // The candidate may fail, too, and its reports say whether the red tests pass each time.
            self.told(Candidate, &mut missing)
        } else {
            match self.later(Candidate, self.repeats(), &mut missing) {
                Some(TreeOutcome::Passes(record)) => Ok(vec![record]),
                Some(TreeOutcome::CouldNotRun(why)) => {
                    Err(ProofRefusal::CouldNotRun { role: Candidate, why: why.clone() })
                }
                Some(TreeOutcome::Fails(_)) | None => Err(ProofRefusal::CandidateFails),
            }
        };
        let judges = self.judges();
        let with_judges = if judges.is_empty() {
            None
        } else {
            self.or_missing(TreeRole::RedJudge, RunKind::FIRST, &mut missing)
        };
        let tests_run = self.check_tests_run(red, &mut missing);
        let kept = if base_fails {
            self.kept_by_report(base, &mut missing)
        } else {
            self.as_before(red, None, &mut missing)
        };
        // A red that came by chance is refused without further runs.
        if again.iter().flatten().any(|record| passed(record)) {
            return Ok(ProofRefusal::Flaky { role: red }.into());
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        let mut reds = vec![first];
        for record in again.into_iter().flatten() {
            if let Some(why) = no_result(record, base_fails) {
                return Ok(could_not_run(red, why));
            }
            reds.push(record);
        }
        let candidates = match candidates {
            Ok(candidates) => candidates,
            Err(refusal) => return Ok(refusal.into()),
        };
        if let Some(record) = with_judges {
            if passed(record) {
                return Ok(ProofRefusal::JudgeTurnsGreen { paths: judges }.into());
            }
            if let Some(why) = no_result(record, base_fails) {
                return Ok(could_not_run(TreeRole::RedJudge, why));
            }
        }
        if let Err(refusal) = tests_run {
            return Ok(refusal.into());
        }
        let mut reservations = match kept {
            Ok(reservations) => reservations,
            Err(refusal) => return Ok(refusal.into()),
        };
        let red_kind = match self.red_kind(red, build) {
            Ok(kind) => kind,
            Err(refusal) => return Ok(refusal.into()),
        };
        let red_tests = match self.by_reports(red, &reds, (base, base_fails), &candidates) {
            Ok(tests) => tests,
            Err(refusal) => return Ok(refusal.into()),
        };
        if red == TreeRole::Split {
            reservations.insert(0, Reservation::SplitByAgent);
        } else if red == TreeRole::RedJudge {
            reservations.insert(0, Reservation::OwnManifest { paths: self.own_manifests() });
        }
        let strength = match (reservations.is_empty(), base_fails) {
            (true, false) => Strength::Proven,
            (true, true) => Strength::ProvenByReport,
            (false, _) => Strength::Weaker,
        };
        if base_fails && strength == Strength::Weaker {
            reservations.push(Reservation::BaseFails);
        }
        Ok(Decision { red_kind, red_tests, reservations, ..Decision::accepted(strength) })
    }

    /// Decides a change without a test of its own: it must fix a test that fails on the base each
    /// time, and break none.
    fn fixes_red_test(&self, or: ProofRefusal) -> Step<Decision> {
        let first = self.first_of(&[TreeRole::Candidate, TreeRole::Base]);
        if !first.is_empty() {
            return Err(first);
        }
        let base = match self.outcome_of(TreeRole::Base, 1)? {
            TreeOutcome::Passes(_) => return Ok(or.into()),
            TreeOutcome::CouldNotRun(why) => return Ok(could_not_run(TreeRole::Base, why)),
            TreeOutcome::Fails(record) => record,
        };
        if let TreeOutcome::CouldNotRun(why) = self.outcome_of(TreeRole::Candidate, 1)? {
            return Ok(could_not_run(TreeRole::Candidate, why));
        }
        if let Err(refusal) = self.runners_may_change() {
            return Ok(refusal.into());
        }
        let mut missing = Vec::new();
        // Those of the base may include one that passes: what fails only at times is not fixed.
        let reds = self.told(TreeRole::Base, &mut missing);
        let candidates = self.told(TreeRole::Candidate, &mut missing);
        if !missing.is_empty() {
            return Err(missing);
        }
        let tests = reds
            .and_then(|reds| self.by_reports(TreeRole::Base, &reds, (base, true), &candidates?));
        Ok(match tests {
            Err(refusal) => refusal.into(),
            Ok(red_tests) => Decision { red_tests, ..Decision::accepted(Strength::ProvenByReport) },
        })
    }

    /// Checks that `verify` runs the tests of the change: it must fail with them made unreadable.
    /// Passes if none of the files can be made unreadable.
    fn check_tests_run(
        &self,
        red: TreeRole,
        missing: &mut Vec<(TreeRole, RunKind)>,
    ) -> Result<(), ProofRefusal> {
        let role = TreeRole::Silenced;
        let paths = self.trees().silenced(red);
        if paths.is_empty() {
            return Ok(());
        }
        match self.or_missing(role, RunKind::FIRST, missing) {
            Some(record) if passed(record) => {
                let paths = paths.into_iter().map(|(path, _, _)| path).collect();
                Err(ProofRefusal::TestsNotRun { paths })
            }
            Some(record) => must_have_begun(role, record),
            None => Ok(()),
        }
    }

    /// Returns the judge files that the whole change touches.
    fn judges(&self) -> Vec<TreePath> {
        let changes = self.inputs.policy.of_class(self.inputs.diff, PathClass::Judge);
        changes.map(|change| change.path.clone()).collect()
    }

    fn red_kind(
        &self,
        role: TreeRole,
        build: Option<&RunRecord>,
    ) -> Result<Option<RedKind>, ProofRefusal> {
        let kind = build.and_then(|build| match &build.result {
            RunResult::Passed => Some(RedKind::Assertion),
            RunResult::Failed { .. } => Some(RedKind::DoesNotBuild),
            RunResult::CouldNotRun { .. } => None,
        });
        match (self.inputs.policy.config().red, kind) {
            (RedMeans::Any, _) | (RedMeans::Assertion, Some(RedKind::Assertion)) => Ok(kind),
            (RedMeans::Assertion, Some(RedKind::DoesNotBuild)) => {
                Err(ProofRefusal::DoesNotBuild { role })
            }
            (RedMeans::Assertion, None) => match build.map(|build| &build.result) {
                Some(RunResult::CouldNotRun { why }) => {
                    Err(ProofRefusal::CouldNotRun { role, why: why.clone() })
                }
                // Unreachable: the policy's check asks for `build`. It is no proof in any case.
                Some(RunResult::Passed | RunResult::Failed { .. }) | None => {
                    Err(ProofRefusal::DoesNotBuild { role })
                }
            },
        }
    }

    /// Returns how often the change must fail without its code and pass with it.
    fn repeats(&self) -> u32 {
        let quick = || {
            let first = self.run(TreeRole::Candidate, RunKind::FIRST);
            first.is_some_and(|record| record.millis <= QUICK)
        };
        let by_time = || if quick() { REPEATS.1 } else { REPEATS.0 };
        self.inputs.policy.config().repeats.unwrap_or_else(by_time)
    }

    /// Returns what the runs of `role` amount to if it must pass `times` times, or the runs that
    /// are missing.
    ///
    /// One failure decides nothing: the tree is run again until it has passed `times` times, and at
    /// least twice, or has failed twice.
    fn outcome_of(&self, role: TreeRole, times: u32) -> Step<TreeOutcome<'_>> {
        let Some(first) = self.run(role, RunKind::FIRST) else {
            return Err(vec![(role, RunKind::FIRST)]);
        };
        if !passed(first) && self.run(role, RunKind::Verify(2)).is_none() {
            if let RunResult::CouldNotRun { why } = &first.result
                && why.was_not_begun()
            {
                return Ok(TreeOutcome::CouldNotRun(why));
            }
            return Err(vec![(role, RunKind::Verify(2))]);
        }
        let known = |nth| self.run(role, RunKind::Verify(nth));
        // The first two failures by number, so that it does not matter which run ends first.
        let in_order = (1..=times.max(2) + 1).map_while(known);
        let failures: Vec<&RunRecord> = in_order.filter(|record| !passed(record)).take(2).collect();
        let asks = if failures.is_empty() { times } else { times.max(2) + 1 };
        if failures.len() < 2 {
            let missing: Vec<_> = (1..=asks)
                .filter(|nth| known(*nth).is_none())
                .map(|nth| (role, RunKind::Verify(nth)))
                .collect();
            return if missing.is_empty() {
                let record = (1..=asks).filter_map(known).find(|record| passed(record));
                Ok(record.map_or(TreeOutcome::Fails(first), TreeOutcome::Passes))
            } else {
                Err(missing)
            };
        }
        let fails = |record: &&&RunRecord| matches!(record.result, RunResult::Failed { .. });
        let decisive = failures.iter().find(fails);
        Ok(match (decisive, failures.first().map(|record| &record.result)) {
            (Some(record), _) => TreeOutcome::Fails(record),
            (None, Some(RunResult::CouldNotRun { why })) => TreeOutcome::CouldNotRun(why),
            (None, _) => TreeOutcome::Fails(first),
        })
    }

    /// As [`Proof::outcome_of`]; adds the runs that it lacks to `missing` and returns `None`.
    pub(super) fn later(
        &self,
        role: TreeRole,
        times: u32,
        missing: &mut Vec<(TreeRole, RunKind)>,
    ) -> Option<TreeOutcome<'_>> {
        self.outcome_of(role, times).map_err(|more| missing.extend(more)).ok()
    }

    pub(super) fn or_missing(
        &self,
        role: TreeRole,
        kind: RunKind,
        missing: &mut Vec<(TreeRole, RunKind)>,
    ) -> Option<&RunRecord> {
        let record = self.run(role, kind);
        if record.is_none() {
            missing.push((role, kind));
        }
        record
    }

    /// Returns the runs of `role` whose reports are compared where the base fails, as many as must
    /// agree in any proof. A run that gave no result is made once more; two of them are a refusal.
    fn told(
        &self,
        role: TreeRole,
        missing: &mut Vec<(TreeRole, RunKind)>,
    ) -> Result<Vec<&RunRecord>, ProofRefusal> {
        let times = self.repeats();
        let mut runs: Vec<&RunRecord> = (1..=times)
            .filter_map(|nth| self.or_missing(role, RunKind::Verify(nth), missing))
            .collect();
        let lost = |runs: &[&RunRecord]| {
            runs.iter().filter(|record| no_result(record, true).is_some()).count()
        };
        if lost(&runs) == 1 {
            runs.extend(self.or_missing(role, RunKind::Verify(times + 1), missing));
        }
        let why = runs.iter().find_map(|record| no_result(record, true));
        if let Some(why) = why
            && lost(&runs) > 1
        {
            return Err(ProofRefusal::CouldNotRun { role, why: why.clone() });
        }
        runs.retain(|record| no_result(record, true).is_none());
        Ok(runs)
    }

    /// Returns the first run of each of `roles` that was not run at all.
    fn first_of(&self, roles: &[TreeRole]) -> Vec<(TreeRole, RunKind)> {
        let first = |role: &TreeRole| (*role, RunKind::FIRST);
        let absent = |role: &&TreeRole| self.run(**role, RunKind::FIRST).is_none();
        roles.iter().filter(absent).map(first).collect()
    }

    fn run(&self, role: TreeRole, kind: RunKind) -> Option<&'a RunRecord> {
        let tree = self.results.trees.get(&role)?.clone();
        let command = self.command(kind).1;
        self.results.runs.get(&ResultKey { kind, tree, command })
    }

    fn command(&self, kind: RunKind) -> (Vec<String>, Digest) {
        let policy = self.inputs.policy;
        let argv = match kind {
            RunKind::Verify(_) => self.verify.to_vec(),
            RunKind::Build => policy.config().build.clone().unwrap_or_default(),
        };
        let command = policy.digest(&argv, self.inputs.conditions);
        (argv, command)
    }

    fn wanted(&self, role: TreeRole, kind: RunKind) -> NeededRun {
        let (argv, command) = self.command(kind);
        let of = self.whole.as_deref().filter(|_| role.is_of_whole()).unwrap_or(self);
        NeededRun { role, kind, recipe: of.trees().recipe(role, self.red()), argv, command }
    }

    pub(super) fn trees(&self) -> Trees<'_> {
        let Self { inputs, tests, runners, unmarked, .. } = self;
        Trees { inputs, tests, runners, unmarked }
    }

    /// Returns the tree that must be red: that of the change's test files, or that of the first
    /// commit if there are none or if they pass without the code, and it does not.
    fn red(&self) -> TreeRole {
        let tests = self.inputs.policy.of_class(self.inputs.diff, PathClass::Test).next();
        let passes = |role| self.run(role, RunKind::FIRST).is_some_and(passed);
        let vacuous = passes(TreeRole::Red) && !passes(TreeRole::Split);
        if (tests.is_none() || vacuous) && matches!(self.split(), Some(Ok(()))) {
            TreeRole::Split
        } else {
            TreeRole::Red
        }
    }

    /// Refuses a change that is accepted with a weaker proof than the policy wants.
    fn strong_enough(&self, decision: Decision) -> Decision {
        match (self.inputs.policy.config().least, &decision.outcome) {
            (Least::Proven, ProofOutcome::Accepted(Strength::Weaker)) => {
                let why = decision.reservations.iter().map(ToString::to_string).collect();
                let refused = Decision::from(ProofRefusal::TooWeak { why });
                Decision { reservations: decision.reservations, ..refused }
            }
            (Least::Proven | Least::Weaker, _) => decision,
        }
    }

    fn report(&self, decision: Decision) -> ProofReport {
        let runs = self.results.trees.keys().flat_map(|role| {
            let role = *role;
            let nths = (1..=self.repeats().max(2) + 1).map(RunKind::Verify);
            nths.chain([RunKind::Build]).filter_map(move |kind| {
                let tree = self.results.trees.get(&role)?;
                let record = self.run(role, kind)?;
                Some(RunReport {
                    role,
                    kind,
                    tree: tree.clone(),
                    argv: self.command(kind).0,
                    result: record.result.clone(),
                    tail: record.tail.clone(),
                    millis: record.millis,
                })
            })
        });
        let permit = match &decision.outcome {
            ProofOutcome::Accepted(_) => None,
            ProofOutcome::Refused(refusal) => refusal.permit(),
        };
        ProofReport {
            permit: permit.map(|permit| self.inputs.permits.label(permit).to_owned()),
            unheeded: None,
            outcome: decision.outcome,
            red_kind: decision.red_kind,
            red_tests: decision.red_tests,
            reservations: decision.reservations,
            no_red: decision.no_red,
            runs: runs.collect(),
            paths: report::paths(self.inputs, &self.tests, &self.unmarked),
            removed_test_lines: report::removed_test_lines(&self.tests, self.inputs.blobs),
        }
    }
}

/// Returns why a failing run cannot count as red, if it gave no result. Where the same command
/// passes on the base, a crash, a hang or a missing function (exit code 127 of a shell) is as red
/// as any other failure.
fn no_result(record: &RunRecord, base_fails: bool) -> Option<&CouldNotRun> {
    match &record.result {
        RunResult::CouldNotRun { why } => (base_fails || why.was_not_begun()).then_some(why),
        RunResult::Passed | RunResult::Failed { .. } => None,
    }
}

/// Refuses a failing run whose command was never started; any other failure shows that the tests
/// are run.
pub(super) fn must_have_begun(role: TreeRole, record: &RunRecord) -> Result<(), ProofRefusal> {
    match no_result(record, false) {
        Some(why) => Err(ProofRefusal::CouldNotRun { role, why: why.clone() }),
        None => Ok(()),
    }
}

fn could_not_run(role: TreeRole, why: &CouldNotRun) -> Decision {
    ProofRefusal::CouldNotRun { role, why: why.clone() }.into()
}

pub(super) fn passed(record: &RunRecord) -> bool {
    match record.result {
        RunResult::Passed => true,
        RunResult::Failed { .. } | RunResult::CouldNotRun { .. } => false,
    }
}
