//! What speaks against a change that is red and green: its own judge, the tests as they were, tests
//! that nobody hears.

use super::*;

const MAKE: (&str, Side<'static>, Side<'static>) = (
    "Makefile",
    Some((crate::change::Mode::Regular, b"test:\n")),
    Some((crate::change::Mode::Regular, b"test:\n\t@true\n")),
);

const OLD: Option<(crate::change::Mode, &[u8])> =
    Some((crate::change::Mode::Regular, b"one\ntwo\nthree\nfour\n"));

fn with(change: (&'static str, Side<'static>, Side<'static>)) -> Story {
    honest().set(|s| s.changes.push(change))
}

fn hides(paths: &[&str]) -> ProofOutcome {
    let (paths, label) = (paths.iter().map(|p| path(p)).collect(), "tests-may-change".to_owned());
    no(ProofRefusal::HidesFailures { paths, label })
}

#[test]
fn a_judge_of_the_changes_own_turns_nothing_green() {
    check("honest", &with(MAKE), yes(Strength::Proven));
    let runs = with(MAKE).play(|_| 0).runs;
    assert!(runs.iter().any(|run| run.role == RedJudge) && runs.iter().any(|run| run.role == Kept));
    let disabled = with(MAKE).with(RedJudge, Judge(1), PASS);
    let paths = vec![path("Makefile")];
    check("disabled", &disabled, no(ProofRefusal::JudgeTurnsGreen { paths }));
    let deselects = with(MAKE).always(Kept, FAIL);
    check("deselects the old tests", &deselects, hides(&["Makefile"]));
    let once = with(MAKE).with(Kept, Judge(1), FAIL);
    check("failed once by chance", &once, yes(Strength::Proven));
    // A lock file steers nothing: it is only taken along for the red.
    let lock = with(("package-lock.json", file("a"), file("b")));
    check("lock file", &lock, yes(Strength::Proven));
    let deaf = with(("package-lock.json", file("a"), file("b"))).always(Kept, FAIL);
    check("lock file, old tests fail", &deaf, hides(&["tests/new.rs"]));
    let turned = lock.with(RedJudge, Judge(1), PASS);
    let paths = vec![path("package-lock.json")];
    check("a dependency that passes", &turned, no(ProofRefusal::JudgeTurnsGreen { paths }));
}

#[test]
fn a_runner_of_the_changes_own_is_not_the_only_one_that_hears_its_tests() {
    let paths = || vec![path("Makefile")];
    // It looks at the tree, and runs nothing; run as before, the new test fails.
    let tells = with(MAKE).always(OldRunner, FAIL);
    let label = "tests-may-change".to_owned();
    let refused = ProofRefusal::NeedsItsRunner { paths: paths(), label };
    check("tells trees apart", &tells, no(refused));
    let allowed = tells.set(|s| s.config.allow_deleted_tests = true);
    check("allowed", &allowed, yes(Strength::Weaker));
    let once = with(MAKE).with(OldRunner, Judge(1), FAIL);
    check("failed once by chance", &once, yes(Strength::Proven));
    // A folder of tests that the old one did not know.
    let new = with(MAKE).with(OldRunnerSilenced, Judge(1), PASS);
    check("heard by its own alone", &new, yes(Strength::Weaker));
    assert_eq!(new.play(|_| 0).reservations, [Reservation::OwnRunner { paths: paths() }]);
    let least = new.set(|s| s.config.least = Least::Proven);
    let why = vec![Reservation::OwnRunner { paths: paths() }.to_string()];
    check("too weak", &least, no(ProofRefusal::TooWeak { why }));
    // A manifest that steers nothing is no runner.
    let lock = with(("package-lock.json", file("a"), file("b"))).always(OldRunner, FAIL);
    check("lock file", &lock, yes(Strength::Proven));
}

#[test]
fn tests_that_nobody_hears_prove_nothing() {
    let deaf = honest().with(Silenced, Judge(1), PASS);
    let paths = vec![path("tests/new.rs")];
    check("not heard", &deaf, no(ProofRefusal::NotHeard { paths: paths.clone() }));
    let alone = deaf.set(|s| s.changes = s.changes.split_off(1));
    check("tests alone, not heard", &alone, no(ProofRefusal::NotHeard { paths }));
}

#[test]
fn what_was_tested_before_still_holds() {
    let edited = with(("tests/old.rs", OLD, file("one\ntwo\n")));
    check("edited, and the old ones pass", &edited, yes(Strength::Proven));
    let weaker = edited.always(Kept, FAIL);
    check("changes what they demand", &weaker, yes(Strength::Weaker));
    let paths = vec![path("tests/old.rs")];
    let reservation = Reservation::ChangesTests { paths: paths.clone() };
    assert_eq!(weaker.play(|_| 0).reservations, [reservation]);
    let must_hold = weaker.set(|s| s.config.existing_tests = ExistingTests::MustHold);
    check("must hold", &must_hold, no(ProofRefusal::ChangesTests { paths: paths.clone() }));

    let gone: [(&str, Side<'static>); 3] = [
        ("deleted", None),
        ("emptied", file("\n")),
        ("skipped", file("#[ignore]\none\ntwo\nthree\nfour\n")),
    ];
    for (name, new) in gone {
        let removed = with(("tests/old.rs", OLD, new));
        check(name, &removed, yes(Strength::Weaker));
        let reservation = Reservation::RemovesTests { paths: paths.clone() };
        assert_eq!(removed.play(|_| 0).reservations, [reservation], "{name}");
        let hides_it = removed.always(Kept, FAIL);
        check(name, &hides_it, hides(&["tests/old.rs"]));
        let allowed = hides_it.set(|s| s.config.allow_deleted_tests = true);
        check(name, &allowed, yes(Strength::Weaker));
        let must_hold = with(("tests/old.rs", OLD, new))
            .set(|s| s.config.existing_tests = ExistingTests::MustHold);
        check(name, &must_hold, no(ProofRefusal::DeletedTests { paths: paths.clone() }));
    }
}

#[test]
fn old_tests_hold_without_the_new_ones() {
    // The new test writes over the old one when it runs.
    let overwrites = honest().always(Kept, FAIL);
    check("overwritten", &overwrites, hides(&["tests/new.rs"]));
}

#[test]
fn a_moved_test_is_heard_where_it_is_now() {
    let moved = || {
        honest().set(|s| {
            s.changes.push(("tests/old.rs", OLD, None));
            s.changes.push(("tests/sub/old.rs", None, file("one\ntwo\nthree\n4\n")));
        })
    };
    check("moved, and the old one passes", &moved(), yes(Strength::Proven));
    let edited = moved().always(Kept, FAIL);
    check("moved and edited", &edited, yes(Strength::Weaker));
    let away = edited.with(MovedSilenced, Judge(1), PASS);
    check("moved out of the way", &away, hides(&["tests/old.rs"]));
}

#[test]
fn a_fix_proves_the_whole_of_the_runs_work() {
    // It landed a test and code; the fix takes both away again, and the stage is green.
    let undone = honest().set(|s| {
        s.changes = vec![
            ("src/lib.rs", file("one\n"), file("one\n# mended\n")),
            ("tests/new.rs", None, file("\n")),
        ];
        s.since = Some(vec![
            ("src/lib.rs", file("two # TODO\n"), file("one\n# mended\n")),
            ("tests/new.rs", file("test\n"), file("\n")),
        ]);
    });
    let blank = undone.with(Red, Judge(1), PASS);
    check("undone", &blank, no(ProofRefusal::Vacuous { role: Red }));
    // Another small feature beside it does not hide that the landed test is gone.
    let covered = honest().set(|s| {
        s.since = Some(vec![("tests/first.rs", OLD, file("\n"))]);
    });
    check("under cover", &covered.always(Kept, FAIL), hides(&["tests/first.rs"]));
    // Only tests are left, and they pass without anything.
    let hollow = honest().set(|s| {
        s.changes = vec![("tests/new.rs", None, file("true\n"))];
        s.since = Some(vec![CODE, ("tests/new.rs", file("test\n"), file("true\n"))]);
    });
    check("hollow", &hollow, no(ProofRefusal::TakenBack));
    let mended = honest().set(|s| s.since = Some(vec![CODE]));
    check("mended", &mended, yes(Strength::Proven));
}
