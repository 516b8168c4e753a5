//! Whether what was tested before a change still holds with it, judged as before.
//!
//! Used by `decide`, which asks for the runs that are missing. The candidate is run with the tests
//! and what runs them as they were. Where that fails but the candidate passes, it matters what the
//! change did to the tests: tests that are gone, skipped or no longer run hide a failure, while
//! edited lines change what is demanded. A script that runs the tests may also be what they test:
//! the tests as they were must pass with its new version, too. A corrective change must pass the
//! tests that its run landed, and those of before the run: an earlier landing may have taken away
//! what would notice that the fix breaks something. On a base that fails, such a run fails, too,
//! and the reports say whether it breaks a test. Tests that are gone from among the code are in none
//! of these runs, so they are only named.

use super::decide::{Allowance, Proof, TreeOutcome, must_have_begun, passed};
use super::grown::only_grows;
use super::lost_tests::losing_tests;
use super::policy::ExistingTests;
use super::refusal::ProofRefusal;
use super::report::{NoRed, Reservation};
use super::result::{CouldNotRun, RunKind, RunRecord, RunResult};
use super::test_changes::{TestChange, TestFate};
use super::trees::{SHARES, is_blanked};
use super::{PathClass, TreeRole};
use crate::change::TreePath;

/// Runs that are still needed.
type Missing = Vec<(TreeRole, RunKind)>;

impl Proof<'_> {
    /// Checks that what was tested before still holds, and that the change's own tests pass, with
    /// what ran the tests before; returns the reservations that this adds to the proof.
    pub(super) fn as_before(
        &self,
        red: TreeRole,
        no_red: Option<&NoRed>,
        missing: &mut Missing,
    ) -> Result<Vec<Reservation>, ProofRefusal> {
        let kept = self.kept(no_red == Some(&NoRed::OnlyTests), missing);
        let of_whole = self.kept_of_whole(None, missing);
        let by_old_runner = self.by_old_runner(red, missing);
        let mut reservations = kept?;
        reservations.extend(of_whole?);
        let own_runner = by_old_runner?.filter(|own| !reservations.contains(own));
        reservations.extend(own_runner);
        Ok(reservations)
    }

    /// Checks that the change's own tests pass with what ran the tests before: a runner that the
    /// change brings could tell the trees apart and run nothing on some. If the old runner does not
    /// hear the tests, or lacks only what the change adds for them, the proof is weaker.
    fn by_old_runner(
        &self,
        red: TreeRole,
        missing: &mut Missing,
    ) -> Result<Option<Reservation>, ProofRefusal> {
        if self.runners.is_empty() || self.trees().silenced(red).is_empty() {
            return Ok(None);
        }
        let asked = self.later(TreeRole::OldRunner, 1, missing);
        let silenced = self.or_missing(TreeRole::OldRunnerSilenced, RunKind::FIRST, missing);
        let (Some(asked), Some(silenced)) = (asked, silenced) else { return Ok(None) };
        let paths = self.runners.clone();
        match asked {
            TreeOutcome::CouldNotRun(why @ CouldNotRun::Sandbox { .. }) => {
                let (role, why) = (TreeRole::OldRunner, why.clone());
                Err(ProofRefusal::CouldNotRun { role, why })
            }
            TreeOutcome::Fails(_) | TreeOutcome::CouldNotRun(_)
                if self.tests_may_change().is_none() && !self.reconfigured().is_empty() =>
            {
                let label = self.inputs.permits.tests_label.clone();
                Err(ProofRefusal::NeedsItsRunner { paths, label })
            }
            TreeOutcome::Passes(_) if !passed(silenced) => {
                must_have_begun(TreeRole::OldRunnerSilenced, silenced).map(|()| None)
            }
            TreeOutcome::Passes(_) | TreeOutcome::Fails(_) | TreeOutcome::CouldNotRun(_) => {
                Ok(Some(Reservation::OwnRunner { paths }))
            }
        }
    }

    /// Returns the judge files to which the change does more than to add fixtures, or the names of
    /// new files, which its tests may need. They may also test a changed script, and so need it as
    /// it is now.
    fn reconfigured(&self) -> Vec<TreePath> {
        let (policy, newest, blobs) = (self.inputs.policy, self.inputs.newest(), self.inputs.blobs);
        let judges = policy.of_class(newest, PathClass::Judge).filter(|change| {
            self.runners.contains(&change.path) && !only_grows(change, policy, newest, blobs)
        });
        judges.map(|change| change.path.clone()).collect()
    }

    /// Checks that what was tested before still holds, judged as before; returns the reservations
    /// that this adds to the proof. `alone` says that the change has only tests, and so may take
    /// none away.
    fn kept(&self, alone: bool, missing: &mut Missing) -> Result<Vec<Reservation>, ProofRefusal> {
        if self.leaves_tests_alone() {
            return self.without(self.lost_among_code(), alone);
        }
        let Some(asked) = self.later(TreeRole::Kept, 1, missing) else { return Ok(Vec::new()) };
        match asked {
            TreeOutcome::Passes(_) => return self.kept_with_scripts(alone, missing),
            TreeOutcome::CouldNotRun(why) => self.begun(TreeRole::Kept, why)?,
            TreeOutcome::Fails(_) => {}
        }
        if self.tests.iter().any(is_blanked) {
            // Code or a list may name a new test file, which must then exist.
            match self.later(TreeRole::KeptBlank, 1, missing) {
                None => return Ok(Vec::new()),
                Some(TreeOutcome::Passes(_)) => return self.kept_with_scripts(alone, missing),
                Some(TreeOutcome::Fails(_) | TreeOutcome::CouldNotRun(_)) => {}
            }
        }
        // A source that existing code calls must be in the list that is linked.
        let is_judge = |path: &TreePath| self.inputs.policy.class(path) == PathClass::Judge;
        if self.trees().lists_sources() && self.runners.iter().all(is_judge) {
            match self.later(TreeRole::KeptGrown, 1, missing) {
                None => return Ok(Vec::new()),
                Some(TreeOutcome::Passes(_)) => {
                    let mut reservations = self.takes_away(alone, missing)?;
                    reservations.push(Reservation::OwnRunner { paths: self.runners.clone() });
                    return Ok(reservations);
                }
                Some(TreeOutcome::Fails(_) | TreeOutcome::CouldNotRun(_)) => {}
            }
        }
        self.fails_as_before(self.hiding(), missing)
    }

    /// As `kept`, for a change with which the tests as they were pass: where the change touches
    /// scripts that run them, they must also pass with these as they are now.
    fn kept_with_scripts(
        &self,
        alone: bool,
        missing: &mut Missing,
    ) -> Result<Vec<Reservation>, ProofRefusal> {
        if self.trees().has_new_scripts() {
            match self.later(TreeRole::KeptScripts, 1, missing) {
                None => return Ok(Vec::new()),
                Some(TreeOutcome::Passes(_)) => return self.takes_away(alone, missing),
                Some(TreeOutcome::CouldNotRun(why)) => self.begun(TreeRole::KeptScripts, why)?,
                Some(TreeOutcome::Fails(_)) => {}
            }
            return self.fails_as_before(self.hiding_beside_scripts(), missing);
        }
        self.takes_away(alone, missing)
    }

    /// Returns the reservations, or the refusal, for a change with which the tests as they were
    /// fail; where nothing is known that is `hiding` it, tests may be run no longer.
    fn fails_as_before(
        &self,
        mut hiding: Vec<TreePath>,
        missing: &mut Missing,
    ) -> Result<Vec<Reservation>, ProofRefusal> {
        if hiding.is_empty() {
            hiding = self.no_longer_run(|_| true, missing)?;
        }
        self.holds_no_longer(hiding)
    }

    /// Checks, for a corrective change, that what was tested before the run's first landing still
    /// holds; by the reports if `failing_base` is a run of a base that fails. Returns the
    /// reservation that this adds to the proof.
    fn kept_of_whole(
        &self,
        failing_base: Option<&RunRecord>,
        missing: &mut Missing,
    ) -> Result<Option<Reservation>, ProofRefusal> {
        let Some(whole) = self.whole.as_deref().filter(|whole| !whole.leaves_tests_alone()) else {
            return Ok(None);
        };
        let more = whole.tests.iter().any(is_blanked) || whole.trees().lists_sources();
        let blank = more.then_some(TreeRole::KeptWholeBlank);
        for role in [TreeRole::KeptWhole].into_iter().chain(blank) {
            let holds = match failing_base {
                Some(base) => whole.holds_by_report(role, base, missing)?,
                None => whole.holds(role, missing)?,
            };
            match holds {
                None | Some(true) => return Ok(None),
                Some(false) => {}
            }
        }
        whole.why_no_longer(whole.hiding()).map(Some)
    }

    /// Whether the tree of `role` passes. Returns `None` if a run is missing.
    fn holds(&self, role: TreeRole, missing: &mut Missing) -> Result<Option<bool>, ProofRefusal> {
        Ok(match self.later(role, 1, missing) {
            None => None,
            Some(TreeOutcome::Passes(_)) => Some(true),
            Some(TreeOutcome::Fails(_)) => Some(false),
            Some(TreeOutcome::CouldNotRun(why)) => {
                self.begun(role, why)?;
                Some(false)
            }
        })
    }

    /// As `kept`, on a base that fails: by the reports, the candidate with the tests as they were
    /// must break no test that passes on `base`. Which tests are run is not asked, because the
    /// reports name them.
    pub(super) fn kept_by_report(
        &self,
        base: &RunRecord,
        missing: &mut Missing,
    ) -> Result<Vec<Reservation>, ProofRefusal> {
        let newest = self.newest_by_report(base, missing);
        let of_whole = self.kept_of_whole(Some(base), missing);
        let mut reservations = newest?;
        reservations.extend(of_whole?);
        Ok(reservations)
    }

    fn newest_by_report(
        &self,
        base: &RunRecord,
        missing: &mut Missing,
    ) -> Result<Vec<Reservation>, ProofRefusal> {
        self.runners_may_change()?;
        if self.leaves_tests_alone() {
            return self.without(self.lost_among_code(), false);
        }
        let blank = self.tests.iter().any(is_blanked).then_some(TreeRole::KeptBlank);
        for role in [TreeRole::Kept].into_iter().chain(blank) {
            match self.holds_by_report(role, base, missing)? {
                None => return Ok(Vec::new()),
                Some(true) => return self.scripts_by_report(base, missing),
                Some(false) => {}
            }
        }
        self.holds_no_longer(self.hiding())
    }

    /// As `kept_with_scripts`, by the reports.
    fn scripts_by_report(
        &self,
        base: &RunRecord,
        missing: &mut Missing,
    ) -> Result<Vec<Reservation>, ProofRefusal> {
        if self.trees().has_new_scripts() {
            match self.holds_by_report(TreeRole::KeptScripts, base, missing)? {
                None => return Ok(Vec::new()),
                Some(true) => {}
                Some(false) => return self.holds_no_longer(self.hiding_beside_scripts()),
            }
        }
        self.without(self.removed_tests(), false)
    }

    /// Whether the tree of `role` breaks no test that passes on `base`, by its report; asked again
    /// before the answer is no. Returns `None` if a run is missing.
    fn holds_by_report(
        &self,
        role: TreeRole,
        base: &RunRecord,
        missing: &mut Missing,
    ) -> Result<Option<bool>, ProofRefusal> {
        for nth in [1, 2] {
            let Some(record) = self.or_missing(role, RunKind::Verify(nth), missing) else {
                return Ok(None);
            };
            if let RunResult::CouldNotRun { why } = &record.result {
                self.begun(role, why)?;
            }
            let holds = match (&base.report, &record.report) {
                (Some(base), Some(report)) => self.breaks_nothing(base, report).is_ok(),
                (None, _) | (_, None) => passed(record),
            };
            if holds {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }

    /// Whether the change touches neither tests that can be put back nor what runs them.
    fn leaves_tests_alone(&self) -> bool {
        self.tests.is_empty() && self.runners.is_empty() && self.unmarked.is_empty()
    }

    /// Refuses, on a base that fails, a change of what runs the tests that nobody permitted: with
    /// the runner as it was, such a base fails whatever the change does, so the tests as they were
    /// cannot clear a change of the runner.
    pub(super) fn runners_may_change(&self) -> Result<(), ProofRefusal> {
        if self.runners.is_empty() || self.tests_may_change().is_some() {
            return Ok(());
        }
        let (paths, label) = (self.runners.clone(), self.inputs.permits.tests_label.clone());
        Err(ProofRefusal::HidesFailures { paths, label })
    }

    /// Refuses a run whose command was never started. But the old runner beside newer lock files
    /// may ask for what cannot be fetched: then the change needs its own runner, and this is no
    /// fault of the machine.
    fn begun(&self, role: TreeRole, why: &CouldNotRun) -> Result<(), ProofRefusal> {
        let of_change = matches!(why, CouldNotRun::NotFetched { .. }) && !self.runners.is_empty();
        if why.was_not_begun() && !of_change {
            return Err(ProofRefusal::CouldNotRun { role, why: why.clone() });
        }
        Ok(())
    }

    /// Returns what of the change may hide that the tests as they were fail.
    fn hiding(&self) -> Vec<TreePath> {
        let mut hiding = self.runners.clone();
        hiding.extend(self.restored_tests());
        hiding.extend(self.landed_tests());
        hiding
    }

    /// As `hiding`, but without scripts that run the tests, where these are as they are now.
    fn hiding_beside_scripts(&self) -> Vec<TreePath> {
        let class = |path: &TreePath| self.inputs.policy.class(path);
        let judges = self.runners.iter().filter(|path| class(path) == PathClass::Judge);
        let tests = self.restored_tests().into_iter().chain(self.landed_tests());
        // The marks that skip tests in a script are taken off, but a script among the tests stays.
        let stays = |path: &TreePath| class(path) == PathClass::Test && self.runners.contains(path);
        judges.cloned().chain(tests.filter(|path| !stays(path))).collect()
    }

    /// Returns the reservations, or the refusal, for a change with which the tests as they were
    /// fail; `hiding` is what hides that.
    fn holds_no_longer(&self, hiding: Vec<TreePath>) -> Result<Vec<Reservation>, ProofRefusal> {
        let mut reservations = vec![self.why_no_longer(hiding)?];
        reservations.extend(self.without(self.lost_among_code(), false)?);
        Ok(reservations)
    }

    /// Returns the reservation, or the refusal, for that failure alone.
    fn why_no_longer(&self, hiding: Vec<TreePath>) -> Result<Reservation, ProofRefusal> {
        if !hiding.is_empty() {
            return if let Some(allowed) = self.tests_may_change() {
                Ok(Reservation::HidingAllowed { paths: hiding, by: allowed.by })
            } else {
                let label = self.inputs.permits.tests_label.clone();
                Err(ProofRefusal::HidesFailures { paths: hiding, label })
            };
        }
        let edited = |test: &&TestChange<'_>| {
            test.fate != TestFate::Added && !self.runners.contains(&test.change.path)
        };
        let paths: Vec<TreePath> =
            self.tests.iter().filter(edited).map(|t| t.change.path.clone()).collect();
        if paths.is_empty() {
            // The old tests pass only together with the new ones.
            let paths = self.tests.iter().map(|test| test.change.path.clone()).collect();
            let label = self.inputs.permits.tests_label.clone();
            return Err(ProofRefusal::HidesFailures { paths, label });
        }
        if self.must_hold() {
            Err(ProofRefusal::ChangesTests { paths })
        } else {
            Ok(Reservation::ChangesTests { paths })
        }
    }

    /// Returns the reservations, or the refusal, for tests that the change takes away, or may take
    /// away by what it does to the runner, although they pass as they were. Reports name every test
    /// that is no longer run.
    fn takes_away(
        &self,
        alone: bool,
        missing: &mut Missing,
    ) -> Result<Vec<Reservation>, ProofRefusal> {
        let mut removed = self.removed_tests();
        // Where code changed, the tests as they were have passed on it by now, so that only moved
        // tests may have been lost.
        let asked = |fate| alone || fate == TestFate::Moved;
        removed.extend(self.no_longer_run(asked, missing)?);
        let mut reservations = self.without(removed, alone)?;
        let paths = self.reconfigured();
        if !paths.is_empty() && self.inputs.policy.config().junit.is_none() {
            reservations.push(Reservation::ChangesRunner { paths });
        }
        Ok(reservations)
    }

    /// Returns the reservations, or the refusal, for a change without the `removed` tests.
    fn without(
        &self,
        removed: Vec<TreePath>,
        alone: bool,
    ) -> Result<Vec<Reservation>, ProofRefusal> {
        match (removed.is_empty(), self.tests_may_change()) {
            (true, _) => Ok(Vec::new()),
            (false, None) if self.must_hold() || alone => {
                Err(ProofRefusal::DeletedTests { paths: removed })
            }
            (false, _) => Ok(vec![Reservation::RemovesTests { paths: removed }]),
        }
    }

    /// Whether existing tests must pass as they were.
    fn must_hold(&self) -> bool {
        self.inputs.policy.config().existing_tests == ExistingTests::MustHold
    }

    /// Returns the existing tests that are still there, and that `verify` ran on the base, but
    /// hears no longer as or where they are now.
    fn no_longer_run(
        &self,
        chosen: impl Fn(TestFate) -> bool,
        missing: &mut Missing,
    ) -> Result<Vec<TreePath>, ProofRefusal> {
        let mut no_longer_run = Vec::new();
        for share in (0..).take(SHARES) {
            let trees = self.trees();
            let tests: Vec<&TestChange<'_>> = trees.share(share).collect();
            if !tests.iter().any(|test| chosen(test.fate)) {
                continue;
            }
            let left = TreeRole::LeftSilenced(share);
            match self.or_missing(left, RunKind::FIRST, missing) {
                None => continue,
                Some(record) if passed(record) => {}
                Some(record) => {
                    must_have_begun(left, record)?;
                    continue;
                }
            }
            // A file that `verify` did not hear on the base is no test.
            let base = TreeRole::BaseSilenced(share);
            match self.or_missing(base, RunKind::FIRST, missing) {
                Some(record) if !passed(record) => {
                    must_have_begun(base, record)?;
                    no_longer_run.extend(tests.iter().map(|test| test.change.path.clone()));
                }
                Some(_) | None => {}
            }
        }
        Ok(no_longer_run)
    }

    /// Returns the tests that are gone or skipped, also those that are gone from among the code.
    fn removed_tests(&self) -> Vec<TreePath> {
        let (mut removed, mut lost) = (self.restored_tests(), self.lost_among_code());
        lost.retain(|path| !removed.contains(path));
        removed.extend(lost);
        removed
    }

    /// Returns the code files from which tests are gone. No run has these again, so they are not
    /// why the tests as they were fail.
    fn lost_among_code(&self) -> Vec<TreePath> {
        let inputs = self.inputs;
        losing_tests(inputs.policy, inputs.newest(), inputs.blobs).into_iter().cloned().collect()
    }

    /// Returns the tests that are gone or skipped and that the tests as they were have again.
    fn restored_tests(&self) -> Vec<TreePath> {
        let removes = self.tests.iter().filter(|test| test.fate.removes());
        let unmarked = self.unmarked.iter().map(|(path, _, _)| path.clone());
        removes.map(|test| test.change.path.clone()).chain(unmarked).collect()
    }

    /// Returns the tests that the run itself landed and that its corrective change edits: they say
    /// what the issue asks for.
    fn landed_tests(&self) -> Vec<TreePath> {
        if self.inputs.since.is_none() {
            return Vec::new();
        }
        let landed = |test: &&TestChange<'_>| {
            let mut whole = self.inputs.diff.changes.iter();
            let change = whole.find(|change| change.path == test.change.path);
            // A path that the whole change does not touch is as it was before the run.
            let first = change.map_or(&test.change.new, |change| &change.old);
            let still = test.change.old.is_some() && !test.fate.removes();
            still && test.change.old != *first
        };
        self.tests.iter().filter(landed).map(|test| test.change.path.clone()).collect()
    }

    /// Returns the permission to remove tests, if a person or the configuration gives it.
    pub(super) fn tests_may_change(&self) -> Option<Allowance> {
        let by = self.inputs.permits.tests_may_change.clone();
        let allowed = by.is_some() || self.inputs.policy.config().allow_deleted_tests;
        allowed.then_some(Allowance { by })
    }
}
