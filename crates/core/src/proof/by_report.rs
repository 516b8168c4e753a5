//! Compares the results of runs test by test, by their test reports.

use std::collections::BTreeMap;

use super::TreeRole;
use super::decide::Proof;
use super::junit::{JunitReport, TestOutcome};
use super::refusal::ProofRefusal;
use super::result::{RunRecord, RunResult};

/// The report of a repo that has no tests yet.
static NO_TESTS: JunitReport = JunitReport(BTreeMap::new());

impl Proof<'_> {
    /// Returns the tests that fail in each of `reds`, without the change, and pass in each of
    /// `candidates`, with it. Refuses a change with which a test does not pass that passes on the
    /// base or is new. Without reports, the list is empty, and a base that fails is refused.
    pub(super) fn by_reports(
        &self,
        red: TreeRole,
        reds: &[&RunRecord],
        (base, base_fails): (&RunRecord, bool),
        candidates: &[&RunRecord],
    ) -> Result<Vec<String>, ProofRefusal> {
        if self.inputs.policy.config().junit.is_none() {
            return if base_fails { Err(ProofRefusal::BaseFails) } else { Ok(Vec::new()) };
        }
        let (base, candidate, others) = self.unbroken(base, candidates)?;
        let reports: Option<Vec<&JunitReport>> =
            reds.iter().map(|record| record.report.as_ref()).collect();
        let Some((first, rest)) = reports.as_ref().and_then(|all| all.split_first()) else {
            // Tests that do not build leave no report; if the base passes, the exit code is enough.
            return if base_fails {
                Err(ProofRefusal::NoReport { role: red })
            } else {
                let new = candidate.with(TestOutcome::Passed);
                let new: Vec<String> =
                    new.filter(|test| base.outcome(test).is_none()).map(str::to_owned).collect();
                // Lines among the code are a test only if the candidate runs one that the base
                // lacks.
                let none = new.is_empty() && red == TreeRole::Split;
                if none { Err(ProofRefusal::NoRedTest) } else { Ok(new) }
            };
        };
        let fails = |test: &str| {
            rest.iter().all(|report| report.outcome(test) == Some(TestOutcome::Failed))
        };
        let passes = |test: &str| {
            let mut all = others.iter().chain([&candidate]);
            all.all(|report| report.outcome(test) == Some(TestOutcome::Passed))
        };
        let failed = first.with(TestOutcome::Failed);
        let tests: Vec<String> =
            failed.filter(|test| fails(test) && passes(test)).map(str::to_owned).collect();
        if tests.is_empty() { Err(ProofRefusal::NoRedTest) } else { Ok(tests) }
    }

    /// Checks by the candidate's runs that it breaks nothing; a run that says otherwise counts only
    /// if the next one does, too. Returns the reports of the base, of the first of these runs, and
    /// of the others.
    pub(super) fn unbroken<'r>(
        &self,
        base: &'r RunRecord,
        candidates: &[&'r RunRecord],
    ) -> Result<(&'r JunitReport, &'r JunitReport, Vec<&'r JunitReport>), ProofRefusal> {
        let mut all = candidates.iter().copied().map(|record| self.reports(base, record));
        let none = || Err(ProofRefusal::NoReport { role: TreeRole::Candidate });
        let (base, first) = all.next().unwrap_or_else(none)?;
        let others = all.map(|reports| reports.map(|(_, report)| report));
        let others: Vec<&JunitReport> = others.collect::<Result<_, _>>()?;
        match (self.breaks_nothing(base, first), others.first()) {
            (Ok(()), _) => {}
            (Err(_), Some(next)) if self.breaks_nothing(base, next).is_ok() => {}
            (Err(refusal), _) => return Err(refusal),
        }
        Ok((base, first, others))
    }

    /// Returns the reports of base and candidate, or the refusal if one is missing.
    pub(super) fn reports<'r>(
        &self,
        base: &'r RunRecord,
        candidate: &'r RunRecord,
    ) -> Result<(&'r JunitReport, &'r JunitReport), ProofRefusal> {
        if self.inputs.policy.config().junit.is_none() {
            return Err(ProofRefusal::BaseFails);
        }
        let missing = |role| ProofRefusal::NoReport { role };
        let base = match (&base.report, &base.result) {
            (Some(report), _) => report,
            // The base passes without a report: it has no tests yet.
            (None, RunResult::Passed) => &NO_TESTS,
            (None, RunResult::Failed { .. } | RunResult::CouldNotRun { .. }) => {
                return Err(missing(TreeRole::Base));
            }
        };
        let candidate = candidate.report.as_ref().ok_or_else(|| missing(TreeRole::Candidate))?;
        Ok((base, candidate))
    }

    /// Checks that every test that passes on the base passes with the candidate, and that no test
    /// fails that did not run on the base: nothing else would tell of it where both fail.
    pub(super) fn breaks_nothing(
        &self,
        base: &JunitReport,
        candidate: &JunitReport,
    ) -> Result<(), ProofRefusal> {
        let lost_is_fine = self.tests_may_change().is_some();
        let broken = base.with(TestOutcome::Passed).filter(|test| match candidate.outcome(test) {
            Some(TestOutcome::Passed) => false,
            Some(TestOutcome::Failed) => true,
            // A test that is missing may have been lost in a crash.
            Some(TestOutcome::Skipped) | None => !lost_is_fine,
        });
        let new = candidate.with(TestOutcome::Failed).filter(|test| match base.outcome(test) {
            Some(TestOutcome::Skipped) | None => true,
            Some(TestOutcome::Passed | TestOutcome::Failed) => false,
        });
        let tests: Vec<String> = broken.chain(new).map(ToOwned::to_owned).collect();
        if tests.is_empty() { Ok(()) } else { Err(ProofRefusal::Breaks { tests }) }
    }
}
