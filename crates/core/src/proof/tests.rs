//! The proof's rules, played through: a change, a world that answers runs, a decision.

mod protected;
mod totality;

use std::collections::BTreeMap;

use super::*;
use crate::change::TreePath;
use crate::change::testing::{Side, diff, file, oid};

const PASS: i32 = 0;
const FAIL: i32 = 1;
const MISSING: i32 = 127;

/// A change and how each run of it ends.
struct Story {
    config: ProofPolicyConfig,
    verify: Verify,
    changes: Vec<(&'static str, Side<'static>, Side<'static>)>,
    first: Option<Vec<(&'static str, Side<'static>, Side<'static>)>>,
    corrective: bool,
    ends: BTreeMap<(TreeRole, RunKind), RunRecord>,
}

fn ended(code: i32) -> RunRecord {
    let result = RunResult::from_exit_code(code);
    RunRecord { result, tail: format!("ended {code}"), report: None }
}

fn reported(code: i32, cases: &[(&str, TestOutcome)]) -> RunRecord {
    let cases = cases.iter().map(|(name, outcome)| ((*name).to_owned(), *outcome)).collect();
    RunRecord { report: Some(JunitReport(cases)), ..ended(code) }
}

const CODE: (&str, Side<'static>, Side<'static>) = (
    "src/lib.rs",
    Some((crate::change::Mode::Regular, b"one\n")),
    Some((crate::change::Mode::Regular, b"two\n")),
);

/// An honest change with a test of its own: base passes, red fails, candidate passes.
fn honest() -> Story {
    use RunKind::{Build, Verify as Judge, VerifyAgain};
    use TreeRole::{Base, Candidate, Red, Split};
    let ends = [
        ((Base, Judge), PASS),
        ((Red, Judge), FAIL),
        ((Red, VerifyAgain), FAIL),
        ((Red, Build), PASS),
        ((Split, Judge), FAIL),
        ((Split, VerifyAgain), FAIL),
        ((Split, Build), PASS),
        ((Candidate, Judge), PASS),
    ];
    Story {
        config: ProofPolicyConfig::default(),
        verify: Verify::Command(vec!["make".into(), "check".into()]),
        changes: vec![CODE, ("tests/new.rs", None, file("test\n"))],
        first: None,
        corrective: false,
        ends: ends.map(|(run, code)| (run, ended(code))).into(),
    }
}

/// The honest change whose test stands in the code.
fn inline() -> Story {
    let first = file("one\ntest\n");
    Story {
        changes: vec![("src/lib.rs", file("one\n"), file("two\ntest\n"))],
        first: Some(vec![("src/lib.rs", file("one\n"), first)]),
        ..honest()
    }
}

/// Adds the content that `diff` is about.
fn add(blobs: &mut Blobs, diff: &Diff, more: &Blobs) {
    for entry in diff.changes.iter().flat_map(|c| [&c.old, &c.new]).flatten() {
        if let Some(blob) = more.get(entry) {
            blobs.insert(entry.oid.clone(), blob.clone());
        }
    }
}

impl Story {
    fn with(mut self, role: TreeRole, kind: RunKind, code: i32) -> Self {
        self.ends.insert((role, kind), ended(code));
        self
    }

    fn report(mut self, role: TreeRole, code: i32, cases: &[(&str, TestOutcome)]) -> Self {
        for kind in [RunKind::Verify, RunKind::VerifyAgain] {
            self.ends.insert((role, kind), reported(code, cases));
        }
        self
    }

    fn set(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Plays it to the decision; `pick` says which of the wanted runs ends first.
    fn play(&self, mut pick: impl FnMut(usize) -> usize) -> ProofReport {
        let policy = ProofPolicy::compile(self.config.clone(), self.verify.clone(), []).unwrap();
        let (all, blobs) = diff(&self.changes);
        let first = self.first.as_ref().map(|changes| diff(changes));
        let mut blobs = blobs;
        if let Some((first, more)) = &first {
            add(&mut blobs, first, more);
        }
        let inputs = ProofInputs {
            policy: &policy,
            diff: &all,
            first: first.as_ref().map(|(first, _)| first),
            blobs: &blobs,
            corrective: self.corrective,
            conditions: &Conditions::default(),
        };
        let mut results = ProofResults::default();
        for _ in 0..20 {
            match next(&inputs, &results) {
                ProofStep::Decided(report) => return *report,
                ProofStep::Run(wanted) => {
                    assert!(!wanted.is_empty(), "a step that asks for nothing never ends");
                    let wanted = &wanted[pick(wanted.len()) % wanted.len()];
                    assert!(!wanted.argv.is_empty());
                    let tree = oid(format!("{:?}", wanted.role).as_bytes());
                    results.trees.insert(wanted.role, tree.clone());
                    let end = self.ends[&(wanted.role, wanted.kind)].clone();
                    let known = results.runs.insert(wanted.key(tree), end);
                    assert!(known.is_none(), "asked for what is known: {wanted:?}");
                }
            }
        }
        panic!("no decision after 20 runs");
    }
}

#[allow(clippy::needless_pass_by_value)] // Made for each call.
fn check(name: &str, story: &Story, expected: ProofOutcome) {
    let report = story.play(|_| 0);
    assert_eq!(report.outcome, expected, "{name}");
    // What is decided does not hang on which run ends first.
    assert_eq!(story.play(|n| n - 1).outcome, expected, "{name}, in the other order");
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<ProofReport>(&json).unwrap(), report, "{name}: {json}");
}

fn yes(strength: Strength) -> ProofOutcome {
    ProofOutcome::Accepted(strength)
}

fn no(refusal: ProofRefusal) -> ProofOutcome {
    ProofOutcome::Refused(refusal)
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

use RunKind::{Build, Verify as Judge, VerifyAgain};
use TreeRole::{Base, Candidate, Red, Split};

#[test]
fn honest_changes_are_proven_and_others_are_not() {
    check("honest", &honest(), yes(Strength::Proven));
    let vacuous = honest().with(Red, Judge, PASS);
    check("vacuous test", &vacuous, no(ProofRefusal::Vacuous { role: Red }));
    let flaky = honest().with(Red, VerifyAgain, PASS);
    check("flaky red", &flaky, no(ProofRefusal::Flaky { role: Red }));
    let broken = honest().with(Candidate, Judge, FAIL);
    check("candidate fails", &broken, no(ProofRefusal::CandidateFails));
    let base = honest().with(Base, Judge, FAIL);
    check("fails for another reason", &base, no(ProofRefusal::BaseFails));
    let both = honest().with(Base, Judge, FAIL).with(Candidate, Judge, FAIL);
    check("base and candidate fail", &both, no(ProofRefusal::BaseFails));
    let untested = honest().set(|s| s.changes.truncate(1));
    check("no test", &untested, no(ProofRefusal::NoTest));
}

#[test]
fn a_refusal_says_whose_it_is_and_shows_its_output() {
    let base = [ProofRefusal::BaseFails, ProofRefusal::NoReport { role: Base }];
    let change = [
        ProofRefusal::NoTest,
        ProofRefusal::CandidateFails,
        ProofRefusal::NoReport { role: Candidate },
    ];
    for refusal in &base {
        assert!(refusal.is_of_the_base() && !refusal.could_not_run(), "{refusal}");
    }
    for refusal in &change {
        assert!(!refusal.is_of_the_base() && !refusal.could_not_run(), "{refusal}");
    }
    let broken = honest().with(Candidate, Judge, FAIL).play(|_| 0);
    assert_eq!(broken.telling_tail(), Some("ended 1"));
    let base = honest().with(Base, Judge, 7).play(|_| 0);
    assert_eq!(base.telling_tail(), Some("ended 7"));
    assert_eq!(honest().play(|_| 0).telling_tail(), None);
}

#[test]
fn a_report_names_ten_and_counts_the_rest() {
    let names = |n: usize| (1..=n).map(|i| format!("t{i}")).collect::<Vec<_>>();
    let removed =
        |count| RemovedLines { path: path("tests/a.rs"), count, first: vec!["a".to_owned()] };
    let shown = |n, count| {
        let report = honest().play(|_| 0);
        let report =
            ProofReport { red_tests: names(n), removed_test_lines: vec![removed(count)], ..report };
        report.to_string()
    };
    let ten = shown(10, 1);
    assert!(ten.contains("- fixed: t1, t2, t3, t4, t5, t6, t7, t8, t9, t10\n"), "{ten}");
    assert!(ten.ends_with("- 1 line removed from tests/a.rs\n"), "{ten}");
    let more = shown(12, 2);
    assert!(more.contains(", t10 and 2 more\n"), "{more}");
    assert!(more.ends_with("- 2 lines removed from tests/a.rs\n"), "{more}");
}

#[test]
fn a_run_that_told_nothing_is_never_proof() {
    for (role, kind) in [(Base, Judge), (Candidate, Judge), (Red, Judge), (Red, VerifyAgain)] {
        for why in [CouldNotRun::Timeout, CouldNotRun::Signal { number: 9 }, CouldNotRun::NotFound]
        {
            let story = honest().set(|s| {
                let result = RunResult::CouldNotRun { why: why.clone() };
                s.ends.insert((role, kind), RunRecord { result, ..ended(PASS) });
            });
            let refusal = ProofRefusal::CouldNotRun { role, why: why.clone() };
            assert!(refusal.could_not_run());
            check("could not run", &story, no(refusal));
        }
    }
}

#[test]
fn changes_that_need_no_test() {
    let docs = honest().set(|s| s.changes = vec![("docs/a.md", file("a"), file("b"))]);
    check("docs", &docs, yes(Strength::Exempt));
    assert_eq!(docs.play(|_| 0).runs, [], "nothing is run for an exempt change");
    let always = RequireRedProof::Always;
    let asked = docs.set(|s| s.config.require_red_proof = always);
    check("docs, always", &asked, no(ProofRefusal::NoTest));

    let tests = honest().set(|s| s.changes = vec![("tests/a.rs", file("a"), file("b"))]);
    check("tests alone", &tests, yes(Strength::Exempt));
    let failing = tests.set(|s| {
        s.ends.insert((Candidate, Judge), ended(FAIL));
    });
    check("failing tests alone", &failing, no(ProofRefusal::CandidateFails));

    let never = RequireRedProof::Never;
    let untested = honest().set(|s| {
        s.changes.truncate(1);
        s.config.require_red_proof = never;
    });
    check("never", &untested, yes(Strength::NotRequired));
    check("never, red", &untested.with(Candidate, Judge, FAIL), no(ProofRefusal::CandidateFails));

    let red = |other| [("old", TestOutcome::Failed), ("other", other)];
    let as_before = honest()
        .set(|s| {
            s.changes = vec![("tests/a.rs", file("a"), file("b"))];
            s.config.junit = Some("junit.xml".into());
        })
        .report(Base, FAIL, &red(TestOutcome::Passed))
        .report(Candidate, FAIL, &red(TestOutcome::Passed));
    check("as red as before", &as_before, yes(Strength::Exempt));
    let worse = as_before.report(Candidate, FAIL, &red(TestOutcome::Failed));
    let tests = vec!["other".to_owned()];
    check("redder than before", &worse, no(ProofRefusal::Breaks { tests }));

    let none = honest().set(|s| s.verify = Verify::None);
    check("no verify", &none, yes(Strength::NoVerify));
}

#[test]
fn a_corrective_commit_has_its_red_proof() {
    let mend = || {
        honest().set(|s| {
            s.changes.truncate(1);
            s.corrective = true;
        })
    };
    check("mends", &mend(), yes(Strength::RedVerdict));
    check("base fails", &mend().with(Base, Judge, FAIL), yes(Strength::RedVerdict));
    let worse = mend().with(Base, Judge, FAIL).with(Candidate, Judge, FAIL);
    check("still fails", &worse, no(ProofRefusal::CandidateFails));
    let timeout = mend().with(Candidate, Judge, MISSING);
    let why = CouldNotRun::NotFound;
    check("told nothing", &timeout, no(ProofRefusal::CouldNotRun { role: Candidate, why }));
}

#[test]
fn tests_among_the_code_are_split_by_the_first_commit() {
    check("honest", &inline(), yes(Strength::WeakerSplitByAgent));
    let vacuous = inline().with(Split, Judge, PASS);
    check("first commit passes", &vacuous, no(ProofRefusal::Vacuous { role: Split }));
    let flaky = inline().with(Split, VerifyAgain, PASS);
    check("flaky", &flaky, no(ProofRefusal::Flaky { role: Split }));
    check("no first commit", &inline().set(|s| s.first = None), no(ProofRefusal::NoTest));
    let at = || path("src/lib.rs");
    let deletes = inline().set(|s| {
        s.first = Some(vec![("src/lib.rs", file("one\n"), file("test\n"))]);
    });
    let fault = SplitFault::DeletesLine { path: at() };
    check("deletes a line", &deletes, no(ProofRefusal::NotSplit { fault }));
    let gone = inline().set(|s| s.changes = vec![("src/lib.rs", file("one\n"), file("two\n"))]);
    let fault = SplitFault::LineGone { path: at() };
    check("test is gone", &gone, no(ProofRefusal::NotSplit { fault }));
}

#[test]
fn a_build_tells_what_red_is() {
    let build = |code| {
        honest().set(|s| {
            s.config.build = Some(vec!["make".into(), "build".into()]);
            s.ends.insert((Red, Build), ended(code));
        })
    };
    let assertion = |code| build(code).set(|s| s.config.red = RedMeans::Assertion);
    check("assertion", &build(PASS), yes(Strength::Proven));
    assert_eq!(build(PASS).play(|_| 0).red_kind, Some(RedKind::Assertion));
    check("does not build", &build(FAIL), yes(Strength::Proven));
    assert_eq!(build(FAIL).play(|_| 0).red_kind, Some(RedKind::DoesNotBuild));
    check("unknown", &build(MISSING), yes(Strength::Proven));
    assert_eq!(build(MISSING).play(|_| 0).red_kind, None);
    check("wanted", &assertion(PASS), yes(Strength::Proven));
    check("wanted, no", &assertion(FAIL), no(ProofRefusal::DoesNotBuild { role: Red }));
    let why = CouldNotRun::NotFound;
    check("wanted, unknown", &assertion(MISSING), no(ProofRefusal::CouldNotRun { role: Red, why }));
}

#[test]
fn on_a_failing_base_reports_decide() {
    use TestOutcome::{Failed, Passed, Skipped};
    let story = || {
        honest()
            .set(|s| s.config.junit = Some("junit.xml".into()))
            .report(Base, FAIL, &[("a", Passed), ("b", Failed)])
            .report(Red, FAIL, &[("a", Passed), ("b", Failed), ("new", Failed)])
            .report(Candidate, FAIL, &[("a", Passed), ("b", Failed), ("new", Passed)])
    };
    check("honest", &story(), yes(Strength::ProvenByReport));
    assert_eq!(story().play(|_| 0).red_tests, ["new"]);
    let green = story().report(Candidate, PASS, &[("a", Passed), ("b", Passed), ("new", Passed)]);
    check("mends all", &green, yes(Strength::ProvenByReport));

    let broken = |cases| no(ProofRefusal::Breaks { tests: cases });
    let breaks = story().report(Candidate, FAIL, &[("a", Failed), ("new", Passed)]);
    check("breaks", &breaks, broken(vec!["a".to_owned()]));
    for lost in [&[("new", Passed)][..], &[("a", Skipped), ("new", Passed)]] {
        let lost = story().report(Candidate, FAIL, lost);
        check("loses", &lost, broken(vec!["a".to_owned()]));
        let allowed = lost.set(|s| s.config.allow_deleted_tests = true);
        check("may lose", &allowed, yes(Strength::ProvenByReport));
    }
    let vacuous = story().report(Red, FAIL, &[("a", Passed), ("b", Failed), ("new", Passed)]);
    check("vacuous", &vacuous, no(ProofRefusal::NoRedTest));
    let flaky = story().set(|s| {
        s.ends.insert((Red, VerifyAgain), reported(FAIL, &[("b", Failed), ("new", Passed)]));
    });
    check("flaky", &flaky, no(ProofRefusal::NoRedTest));
    for role in [Base, Red, Candidate] {
        let none = story().with(role, Judge, FAIL);
        check("no report", &none, no(ProofRefusal::NoReport { role }));
    }
}

#[test]
fn the_report_reads_well() {
    let proven = honest().set(|s| s.config.build = Some(vec!["make".into()])).play(|_| 0);
    insta::assert_snapshot!(proven.to_string().trim_end(), @r"
    proven: the base passes, its tests fail without the change (twice) and pass with it (red: assertion)
    - the base, tree 7b47361a: passes
    - the base with only the change's tests, tree ba19e9c3: fails (exit code 1)
    - the base with only the change's tests (again), tree ba19e9c3: fails (exit code 1)
    - the base with only the change's tests (build), tree ba19e9c3: passes
    - the candidate, tree b2452d1e: passes
    ");
    let refused = honest().with(Red, Judge, PASS).play(|_| 0);
    insta::assert_snapshot!(refused.to_string().trim_end(), @r"
    the tests pass without the change (the base with only the change's tests passes); write one that fails for the lack of it
    - the base, tree 7b47361a: passes
    - the base with only the change's tests, tree ba19e9c3: passes
    - the candidate, tree b2452d1e: passes
    ");
    assert_eq!(refused.telling_tail(), Some("ended 0"));
}
