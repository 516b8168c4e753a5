//! Changes that no test can fail for, and whose permission lets them land.

use super::*;

fn by(label: &str) -> Permitted {
    let by = crate::ids::Actor { id: "42".into(), login: "ann".into(), bot: false };
    Permitted { label: label.to_owned(), by, at: crate::ids::At::UNIX_EPOCH }
}

fn only(changes: &[(&'static str, Side<'static>, Side<'static>)]) -> Story {
    honest().set(|s| s.changes = changes.to_vec())
}

fn untestable(what: Untestable) -> ProofOutcome {
    no(ProofRefusal::NothingToTest { what, label: "no-test-needed".to_owned() })
}

#[test]
fn what_cannot_be_tested_lands_by_somebodys_word() {
    let docs = || only(&[("docs/a.md", file("a"), file("b"))]);
    check("docs", &docs(), untestable(Untestable::Exempt));
    assert_eq!(docs().play(|_| 0).runs, [], "nothing is run for what is refused anyway");
    let closes = docs().set(|s| s.config.exempt_closes = true);
    check("docs close issues", &closes, yes(Strength::NoRed));
    assert_eq!(closes.play(|_| 0).no_red, Some(NoRed::ExemptCloses));
    let make = || only(&[("Makefile", file("a"), file("b"))]);
    check("make file", &make(), untestable(Untestable::Judge));
    let with_test = make().set(|s| s.changes.push(("tests/a.rs", None, file("a\n"))));
    check("make file and tests", &with_test, untestable(Untestable::Judge));
    let code = || only(&[CODE]);
    check("refactoring", &code(), no(ProofRefusal::NoTest));
    for story in [docs(), make(), code()] {
        let refused = story.play(|_| 0).outcome;
        let ProofOutcome::Refused(refusal) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal.permit(), Some(Permit::NoTestNeeded));
        let allowed = story.set(|s| s.permits.no_test_needed = Some(by("no-test-needed")));
        check("allowed", &allowed, yes(Strength::NoRed));
        let report = allowed.play(|_| 0);
        assert!(report.headline().contains("ann (label no-test-needed) allowed it"));
        let broken = allowed.always(Candidate, FAIL);
        check("allowed, and broken", &broken, no(ProofRefusal::CandidateFails));
    }
    let always = docs().set(|s| s.config.require_red_proof = RequireRedProof::Always);
    check("docs, always", &always, no(ProofRefusal::NoTest));
}

#[test]
fn a_permit_for_no_test_is_none_for_hiding_tests() {
    let gutted = honest().set(|s| {
        s.changes = vec![CODE, ("tests/old.rs", file("a\nb\n"), None)];
        s.permits.no_test_needed = Some(by("no-test-needed"));
    });
    let gutted = gutted.always(Kept, FAIL);
    let (paths, label) = (vec![path("tests/old.rs")], "tests-may-change".to_owned());
    let refusal = ProofRefusal::HidesFailures { paths, label };
    assert_eq!(refusal.permit(), Some(Permit::TestsMayChange));
    check("gutted", &gutted, no(refusal));
    let both = gutted.set(|s| s.permits.tests_may_change = Some(by("tests-may-change")));
    check("both", &both, yes(Strength::NoRed));
    let headline = both.play(|_| 0).headline();
    assert!(headline.contains("ann (label tests-may-change) allowed"), "{headline}");
}

#[test]
fn tests_alone_need_no_code() {
    let tests = || only(&[("tests/a.rs", file("a\n"), file("a\nb\n"))]);
    check("tests alone", &tests(), yes(Strength::NoRed));
    assert_eq!(tests().play(|_| 0).no_red, Some(NoRed::OnlyTests));
    check("failing", &tests().always(Candidate, FAIL), no(ProofRefusal::CandidateFails));
    let gutted = only(&[("tests/a.rs", file("a\n"), file(""))]);
    let paths = vec![path("tests/a.rs")];
    check("gutted", &gutted, no(ProofRefusal::DeletedTests { paths }));
    let allowed = gutted.set(|s| s.permits.tests_may_change = Some(by("tests-may-change")));
    check("allowed", &allowed, yes(Strength::NoRed));
    // Nothing shows that the removed line is not needed any more.
    let paths = || vec![path("tests/a.rs")];
    let taken = || no(ProofRefusal::DeletedTests { paths: paths() });
    let weakened = only(&[("tests/a.rs", file("a\n"), file("b\n"))]);
    check("weakened", &weakened, taken());
    let old = file("a1\na2\na3\n");
    let moved = |now| only(&[("tests/a.rs", old, None), ("tests/b.rs", None, now)]);
    check("moved", &moved(old), yes(Strength::NoRed));
    check("moved and weakened", &moved(file("a1\na2\n")), taken());
    let away = moved(old).with(LeftSilenced(0), Judge(1), PASS);
    check("moved away", &away, taken());
    let wrapped = tests().with(LeftSilenced(0), Judge(1), PASS);
    check("its lines are a comment now", &wrapped, taken());
    let allowed = wrapped.set(|s| s.permits.tests_may_change = Some(by("tests-may-change")));
    check("allowed", &allowed, yes(Strength::NoRed));
    let grown = only(&[(
        "tests/a.py",
        file("from a import b\nfor n in (\n    1\n):\n"),
        file("from a import b, c\nfor n in (\n    1,\n    2\n):\n"),
    )]);
    check("grown lines", &grown, yes(Strength::NoRed));
    // On a base that fails, the exit code does not tell that a new test fails.
    let reports = |added: &[(&str, TestOutcome)]| {
        let old = ("old", TestOutcome::Failed);
        let story = tests().set(|s| s.config.junit = Some("junit.xml".into()));
        let story = story.report(Base, FAIL, &[old]).report(Kept, FAIL, &[old]);
        story.report(Candidate, FAIL, &[&[old][..], added].concat())
    };
    let passes = reports(&[("new", TestOutcome::Passed)]);
    check("on a base that fails", &passes, yes(Strength::NoRed));
    let fails = reports(&[("new", TestOutcome::Failed)]);
    let broken = ProofRefusal::Breaks { tests: vec!["new".to_owned()] };
    check("failing on a base that fails", &fails, no(broken));
    let dependency = tests().set(|s| s.changes.push(("Cargo.lock", file("a"), file("b"))));
    check("with a dependency of theirs", &dependency, yes(Strength::NoRed));
}

#[test]
fn a_policy_may_ask_for_no_red() {
    let untested = || {
        honest().set(|s| {
            s.changes.truncate(1);
            s.config.require_red_proof = RequireRedProof::Never;
        })
    };
    check("never", &untested(), yes(Strength::NoRed));
    assert_eq!(untested().play(|_| 0).no_red, Some(NoRed::Policy));
    let red = untested().always(Candidate, FAIL);
    check("never, red", &red, no(ProofRefusal::CandidateFails));
    let cases = |other| [("old", TestOutcome::Failed), ("other", other)];
    let as_before = || {
        untested()
            .set(|s| s.config.junit = Some("junit.xml".into()))
            .report(Base, FAIL, &cases(TestOutcome::Passed))
            .report(Candidate, FAIL, &cases(TestOutcome::Passed))
    };
    check("as red as before", &as_before(), yes(Strength::NoRed));
    let worse = as_before().report(Candidate, FAIL, &cases(TestOutcome::Failed));
    let tests = vec!["other".to_owned()];
    check("redder than before", &worse, no(ProofRefusal::Breaks { tests }));
    // The same holds for the tests as they were, and for what runs them.
    let edited = |kept| {
        let old = ("tests/old.rs", file("a\nb\n"), file("a\nc\n"));
        as_before().set(|s| s.changes.push(old)).report(Kept, FAIL, &cases(kept))
    };
    check("edited tests hold", &edited(TestOutcome::Passed), yes(Strength::NoRed));
    let weaker = edited(TestOutcome::Failed);
    check("edited tests do not", &weaker, yes(Strength::NoRed));
    let paths = || vec![path("tests/old.rs")];
    assert_eq!(weaker.play(|_| 0).reservations, [Reservation::ChangesTests { paths: paths() }]);
    let must_hold = weaker.set(|s| s.config.existing_tests = ExistingTests::MustHold);
    check("they must", &must_hold, no(ProofRefusal::ChangesTests { paths: paths() }));
    let runner = as_before().set(|s| s.changes.push(("Makefile", file("a"), file("b"))));
    let (paths, label) = (vec![path("Makefile")], "tests-may-change".to_owned());
    check("another runner", &runner, no(ProofRefusal::HidesFailures { paths, label }));
    // Base and candidate must pass, whether or not a red is asked for.
    let base = untested().always(Base, FAIL);
    check("base fails", &base, no(ProofRefusal::BaseFails));
    let lost = |story: Story| {
        story
            .set(|s| s.config.junit = Some("junit.xml".into()))
            .report(Base, PASS, &[("a", TestOutcome::Passed), ("b", TestOutcome::Passed)])
            .report(Candidate, PASS, &[("a", TestOutcome::Passed)])
    };
    let breaks = || no(ProofRefusal::Breaks { tests: vec!["b".to_owned()] });
    check("a test is lost", &lost(untested()), breaks());
    let tests = only(&[("tests/a.rs", file("a\n"), file("a\nb\n"))]);
    check("tests alone lose one", &lost(tests), breaks());
    let none = honest().set(|s| s.verify = Verify::None);
    check("no verify", &none, yes(Strength::NoVerify));
}
