//! Plays the proof's rules through: a change, given results of its runs, a decision.

mod judged;
mod permitted;
mod protected;
mod totality;

use std::collections::BTreeMap;

use super::RunKind::{Build, Verify as Judge};
use super::TreeRole::{
    Base, BaseSilenced, Candidate, Kept, KeptBlank, KeptGrown, KeptScripts, KeptWhole,
    KeptWholeBlank, LeftSilenced, OldRunner, OldRunnerSilenced, Red, RedJudge, Silenced, Split,
};
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
    /// The diff of the newest change alone, if the run landed before.
    since: Option<Vec<(&'static str, Side<'static>, Side<'static>)>>,
    permits: Permits,
    /// Scripts that `verify` runs although it does not name them.
    scripts: Vec<&'static str>,
    /// How the runs end that end otherwise than those of an honest change.
    ends: BTreeMap<(TreeRole, RunKind), RunRecord>,
}

fn ended(code: i32) -> RunRecord {
    let result = RunResult::from_exit_code(code);
    RunRecord { result, tail: format!("ended {code}"), millis: 5_000, report: None }
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

/// How the runs of an honest change end.
fn as_it_must(role: TreeRole, kind: RunKind) -> i32 {
    match (role, kind) {
        (_, Build) | (Base | Candidate | OldRunner, Judge(_)) => PASS,
        (Kept | KeptBlank | KeptGrown | KeptScripts | KeptWhole | KeptWholeBlank, Judge(_)) => PASS,
        (Red | Split | RedJudge, Judge(_)) => FAIL,
        (Silenced | OldRunnerSilenced | LeftSilenced(_) | BaseSilenced(_), Judge(_)) => FAIL,
    }
}

fn permits() -> Permits {
    Permits::none("no-test-needed", "tests-may-change")
}

/// An honest change with a test of its own: base passes, red fails, candidate passes.
fn honest() -> Story {
    Story {
        config: ProofPolicyConfig::default(),
        verify: Verify::Command(vec!["make".into(), "check".into()]),
        changes: vec![CODE, ("tests/new.rs", None, file("test\n"))],
        first: None,
        since: None,
        permits: permits(),
        scripts: Vec::new(),
        ends: BTreeMap::new(),
    }
}

/// An honest change whose test stands in the code.
fn inline() -> Story {
    let first = file("one\ntest\n");
    Story {
        changes: vec![("src/lib.rs", file("one\n"), file("two\ntest\n"))],
        first: Some(vec![("src/lib.rs", file("one\n"), first)]),
        ..honest()
    }
}

/// Adds the blobs that `diff` names.
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

    /// Makes every run of `role` end with this result.
    fn always(mut self, role: TreeRole, code: i32) -> Self {
        for nth in 1..=7 {
            self.ends.insert((role, Judge(nth)), ended(code));
        }
        self
    }

    fn report(mut self, role: TreeRole, code: i32, cases: &[(&str, TestOutcome)]) -> Self {
        for nth in 1..=7 {
            self.ends.insert((role, Judge(nth)), reported(code, cases));
        }
        self
    }

    fn end(&self, role: TreeRole, kind: RunKind) -> RunRecord {
        // Unless a test says otherwise, it makes no difference whether new tests are there.
        let told = |role| self.ends.get(&(role, kind)).cloned();
        let known = told(role).or_else(|| match role {
            KeptBlank => told(Kept),
            KeptWholeBlank => told(KeptWhole),
            _ => None,
        });
        known.unwrap_or_else(|| ended(as_it_must(role, kind)))
    }

    fn set(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Plays the proof to its decision; `pick` says which of the wanted runs ends first.
    fn play(&self, mut pick: impl FnMut(usize) -> usize) -> ProofReport {
        let mut policy =
            ProofPolicy::compile(self.config.clone(), self.verify.clone(), []).unwrap();
        let (all, blobs) = diff(&self.changes);
        policy.forget_shadows(&all);
        policy.add_scripts(self.scripts.iter().map(|name| path(name)));
        let first = self.first.as_ref().map(|changes| diff(changes));
        let mut blobs = blobs;
        if let Some((first, more)) = &first {
            add(&mut blobs, first, more);
        }
        let since = self.since.as_ref().map(|changes| diff(changes));
        if let Some((since, more)) = &since {
            add(&mut blobs, since, more);
        }
        let inputs = ProofInputs {
            policy: &policy,
            diff: &all,
            first: first.as_ref().map(|(first, _)| first),
            blobs: &blobs,
            since: since.as_ref().map(|(since, _)| since),
            permits: &self.permits,
            conditions: &Conditions::default(),
        };
        let mut results = ProofResults::default();
        for _ in 0..60 {
            match next(&inputs, &results) {
                ProofStep::Decided(report) => return *report,
                ProofStep::Run(wanted) => {
                    assert!(!wanted.is_empty(), "a step that asks for nothing never ends");
                    let wanted = &wanted[pick(wanted.len()) % wanted.len()];
                    assert!(!wanted.argv.is_empty());
                    let tree = oid(format!("{:?}", wanted.role).as_bytes());
                    results.trees.insert(wanted.role, tree.clone());
                    let end = self.end(wanted.role, wanted.kind);
                    let known = results.runs.insert(wanted.key(tree), end);
                    assert!(known.is_none(), "asked for what is known: {wanted:?}");
                }
            }
        }
        panic!("no decision after 60 runs");
    }
}

#[allow(clippy::needless_pass_by_value)] // Made for each call.
fn check(name: &str, story: &Story, expected: ProofOutcome) {
    let report = story.play(|_| 0);
    assert_eq!(report.outcome, expected, "{name}");
    // The decision does not depend on which run ends first.
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

#[test]
fn honest_changes_are_proven_and_others_are_not() {
    check("honest", &honest(), yes(Strength::Proven));
    let vacuous = honest().with(Red, Judge(1), PASS);
    check("vacuous test", &vacuous, no(ProofRefusal::Vacuous { role: Red }));
    let flaky = honest().with(Red, Judge(2), PASS);
    check("flaky red", &flaky, no(ProofRefusal::Flaky { role: Red }));
    let broken = honest().always(Candidate, FAIL);
    check("candidate fails", &broken, no(ProofRefusal::CandidateFails));
    let base = honest().always(Base, FAIL);
    check("fails for another reason", &base, no(ProofRefusal::BaseFails));
    let both = honest().always(Base, FAIL).always(Candidate, FAIL);
    check("base and candidate fail", &both, no(ProofRefusal::BaseFails));
    let untested = honest().set(|s| s.changes.truncate(1));
    check("no test", &untested, no(ProofRefusal::NoTest));
}

#[test]
fn a_failure_that_decides_is_asked_again() {
    let flaky = honest().with(Candidate, Judge(1), FAIL);
    check("candidate failed once", &flaky, yes(Strength::Proven));
    assert_eq!(flaky.play(|_| 0).flaky(), [Candidate]);
    let later = honest().with(Candidate, Judge(2), FAIL);
    check("candidate failed later", &later, yes(Strength::Proven));
    let twice = flaky.with(Candidate, Judge(3), FAIL);
    check("the third decides", &twice, no(ProofRefusal::CandidateFails));
    let base = honest().with(Base, Judge(1), FAIL);
    check("base failed once", &base, yes(Strength::Proven));
    let base = base.with(Base, Judge(3), FAIL);
    check("base failed twice", &base, no(ProofRefusal::BaseFails));
    let lost = honest().with(Candidate, Judge(1), 137);
    check("candidate was killed once", &lost, yes(Strength::Proven));
}

#[test]
fn what_is_quick_is_asked_more_often() {
    let quick = |story: Story| {
        story.set(|s| {
            for (role, nth) in [Base, Candidate, Red, Silenced].into_iter().zip([1; 4]) {
                let record = RunRecord { millis: 20, ..s.end(role, Judge(nth)) };
                s.ends.insert((role, Judge(nth)), record);
            }
        })
    };
    let runs =
        |story: &Story, role| story.play(|_| 0).runs.iter().filter(|run| run.role == role).count();
    assert_eq!((runs(&honest(), Red), runs(&honest(), Candidate)), (2, 2));
    let honest = || quick(honest());
    assert_eq!((runs(&honest(), Red), runs(&honest(), Candidate)), (6, 6));
    let flaky = honest().with(Red, Judge(6), PASS);
    check("flaky at last", &flaky, no(ProofRefusal::Flaky { role: Red }));
    let twice = honest().with(Candidate, Judge(3), FAIL).with(Candidate, Judge(6), FAIL);
    check("fails at times", &twice, no(ProofRefusal::CandidateFails));
    let set = honest().set(|s| s.config.repeats = Some(3));
    assert_eq!((runs(&set, Red), runs(&set, Candidate)), (3, 3));
}

#[test]
fn a_refusal_says_whose_it_is_and_shows_its_output() {
    let base = [ProofRefusal::BaseFails, ProofRefusal::NoReport { role: Base }];
    let hangs = |role| ProofRefusal::CouldNotRun { role, why: CouldNotRun::Timeout };
    assert!(hangs(Base).is_of_the_base() && !hangs(Candidate).is_of_the_base());
    let change = [
        ProofRefusal::NoTest,
        ProofRefusal::CandidateFails,
        ProofRefusal::NoReport { role: Candidate },
    ];
    for refusal in &base {
        assert!(refusal.is_of_the_base(), "{refusal}");
    }
    for refusal in &change {
        assert!(!refusal.is_of_the_base(), "{refusal}");
    }
    let broken = honest().always(Candidate, FAIL).play(|_| 0);
    assert_eq!(broken.decisive_tail(), Some("ended 1"));
    let base = honest().always(Base, 7).play(|_| 0);
    assert_eq!(base.decisive_tail(), Some("ended 7"));
    assert_eq!(honest().play(|_| 0).decisive_tail(), None);
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
    use CouldNotRun::{NotFound, OutOfMemory, Signal, Timeout, TooManyProcesses, TooMuchOutput};
    let sandbox = || CouldNotRun::Sandbox { detail: "it did not start: no space".to_owned() };
    let lose = |story: Story, role, why: &CouldNotRun| {
        story.set(|s| {
            for nth in 1..=7 {
                let result = RunResult::CouldNotRun { why: why.clone() };
                s.ends.insert((role, Judge(nth)), RunRecord { result, ..ended(PASS) });
            }
        })
    };
    let told_nothing = |role, why: &CouldNotRun| lose(honest(), role, why);
    for role in [Base, Candidate, Red, Silenced] {
        let refusal = ProofRefusal::CouldNotRun { role, why: sandbox() };
        check("no sandbox", &told_nothing(role, &sandbox()), no(refusal));
    }
    let limits = [Timeout, OutOfMemory, TooManyProcesses, TooMuchOutput];
    for why in limits.into_iter().chain([Signal { number: 9 }, NotFound]) {
        for role in [Base, Candidate] {
            let refusal = ProofRefusal::CouldNotRun { role, why: why.clone() };
            check("could not run", &told_nothing(role, &why), no(refusal));
        }
        // A base that hangs or crashes, too, is the reason, and not the change.
        let of_base = || no(ProofRefusal::CouldNotRun { role: Base, why: why.clone() });
        let both = || lose(told_nothing(Base, &why), Candidate, &why);
        check("the base, too", &both(), of_base());
        let green = both().set(|s| s.config.require_red_proof = RequireRedProof::Never);
        check("the base, too, where no red is asked for", &green, of_base());
        let red_base = told_nothing(Candidate, &why).always(Base, FAIL);
        check("the base fails", &red_base, no(ProofRefusal::BaseFails));
        let reported = red_base.set(|s| s.config.junit = Some("junit.xml".into()));
        let told_apart = reported.report(Base, FAIL, &[("a", TestOutcome::Failed)]);
        let refusal = ProofRefusal::CouldNotRun { role: Candidate, why: why.clone() };
        check("the base fails, with a report", &told_apart, no(refusal));
        // The same command passes on the base: a crash or a missing function is as red as any.
        for role in [Red, Silenced] {
            check("crashes", &told_nothing(role, &why), yes(Strength::Proven));
        }
    }
}

#[test]
fn tests_among_the_code_are_split_by_the_first_commit() {
    check("honest", &inline(), yes(Strength::Weaker));
    assert_eq!(inline().play(|_| 0).reservations, [Reservation::SplitByAgent]);
    let vacuous = inline().with(Split, Judge(1), PASS);
    check("first commit passes", &vacuous, no(ProofRefusal::Vacuous { role: Split }));
    let flaky = inline().with(Split, Judge(2), PASS);
    check("flaky", &flaky, no(ProofRefusal::Flaky { role: Split }));
    let paths = vec![path("src/lib.rs")];
    let comment = inline().with(Silenced, Judge(1), PASS);
    check("stands in a comment", &comment, no(ProofRefusal::TestsNotRun { paths }));
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
    // A test file that is only data for the inline test is not red by itself.
    let fixture = inline().set(|s| s.changes.push(("tests/fixtures/a.txt", None, file("a\n"))));
    let fixture = fixture.with(Red, Judge(1), PASS);
    check("fixture", &fixture, yes(Strength::Weaker));
    let least = inline().set(|s| s.config.least = Least::Proven);
    let why = vec![Reservation::SplitByAgent.to_string()];
    check("too weak", &least, no(ProofRefusal::TooWeak { why }));
}

#[test]
fn a_mark_on_a_test_among_the_code_is_taken_off_again() {
    let (old, new) = ("#[test]\nfn old() {}\n", "#[test]\nfn new() {}\n");
    let base = format!("one\n{old}");
    let first = format!("{base}{new}");
    let marked: &'static str =
        "two\n#[test]\n#[ignore]\nfn old() {}\n#[ignore]\n#[test]\nfn new() {}\n";
    let (base, first): (&'static str, &'static str) = (&*base.leak(), &*first.leak());
    let story = || {
        inline().set(|s| {
            s.changes = vec![("src/lib.rs", file(base), file(marked))];
            s.first = Some(vec![("src/lib.rs", file(base), file(first))]);
        })
    };
    let (paths, label) = (vec![path("src/lib.rs")], "tests-may-change".to_owned());
    let skipped = story().always(Kept, FAIL);
    let refusal = ProofRefusal::HidesFailures { paths: paths.clone(), label };
    check("skipped, and they fail", &skipped, no(refusal));
    check("skipped, and they pass", &story(), yes(Strength::Weaker));
    let reservations = story().play(|_| 0).reservations;
    assert_eq!(
        reservations,
        [Reservation::SplitByAgent, Reservation::RemovesTests { paths: paths.clone() }]
    );
    assert_eq!(story().play(|_| 0).paths[0].fate, Some(TestFate::SkipMarked));
    // The same if the change also has a test in a file of its own.
    let beside = story().set(|s| s.changes.push(("tests/new.rs", None, file("test\n"))));
    check("beside a test", &beside.always(Kept, FAIL), skipped.play(|_| 0).outcome);
}

#[test]
fn a_module_that_verify_names_is_code_if_the_base_has_it() {
    let verify = ["python3", "-m", "unittest", "calc"].map(str::to_owned).to_vec();
    let story = |base: Side<'static>| {
        honest().set(|s| {
            s.verify = Verify::Command(verify.clone());
            s.changes[0] = ("calc.py", base, file("two\n"));
        })
    };
    check("edited", &story(file("one\n")), yes(Strength::Proven));
    let label = "no-test-needed".to_owned();
    let refused = ProofRefusal::NothingToTest { what: Untestable::Judge, label };
    check("new", &story(None), no(refused));
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
    check("fixes all", &green, yes(Strength::ProvenByReport));

    let broken = |cases| no(ProofRefusal::Breaks { tests: cases });
    let breaks = story().report(Candidate, FAIL, &[("a", Failed), ("new", Passed)]);
    check("breaks", &breaks, broken(vec!["a".to_owned()]));
    let more = [("a", Passed), ("b", Failed), ("new", Passed), ("other", Failed)];
    let fails = story().report(Candidate, FAIL, &more);
    check("a new test fails", &fails, broken(vec!["other".to_owned()]));
    for lost in [&[("new", Passed)][..], &[("a", Skipped), ("new", Passed)]] {
        let lost = story().report(Candidate, FAIL, lost);
        check("loses", &lost, broken(vec!["a".to_owned()]));
        let allowed = lost.set(|s| s.config.allow_deleted_tests = true);
        check("may lose", &allowed, yes(Strength::ProvenByReport));
    }
    let vacuous = story().report(Red, FAIL, &[("a", Passed), ("b", Failed), ("new", Passed)]);
    check("vacuous", &vacuous, no(ProofRefusal::NoRedTest));
    let flaky = story().set(|s| {
        s.ends.insert((Red, Judge(2)), reported(FAIL, &[("b", Failed), ("new", Passed)]));
    });
    check("flaky", &flaky, no(ProofRefusal::NoRedTest));
    let at = |story: Story, role, nth, code, cases: &[(&str, TestOutcome)]| {
        story.set(|s| {
            s.ends.insert((role, Judge(nth)), reported(code, cases));
        })
    };
    // An old test that fails at times covers no new one that never does.
    let passes = [("a", Passed), ("b", Passed), ("new", Passed)];
    let covered = at(vacuous, Candidate, 1, PASS, &passes);
    check("passed once by chance", &covered, no(ProofRefusal::NoRedTest));
    let breaks = [("a", Failed), ("b", Failed), ("new", Passed)];
    let once = at(story(), Candidate, 1, FAIL, &breaks);
    check("broke a test once by chance", &once, yes(Strength::ProvenByReport));
    let lost = story().with(Candidate, Judge(2), 137);
    check("was killed once", &lost, yes(Strength::ProvenByReport));
    let lost = lost.with(Candidate, Judge(3), 137);
    let why = CouldNotRun::Signal { number: 9 };
    let refusal = ProofRefusal::CouldNotRun { role: Candidate, why };
    check("was killed twice", &lost, no(refusal));
    for role in [Base, Red, Candidate] {
        let none = story().always(role, FAIL);
        check("no report", &none, no(ProofRefusal::NoReport { role }));
    }
    // The change has only code, and fixes a test that fails already.
    let code = |changes: usize| story().set(|s| s.changes.truncate(changes));
    let passes = [("a", Passed), ("b", Passed)];
    let fixes = || code(1).report(Candidate, PASS, &passes);
    check("code fixes", &fixes(), yes(Strength::ProvenByReport));
    assert_eq!(fixes().play(|_| 0).red_tests, ["b"]);
    check("fixes nothing", &code(1), no(ProofRefusal::NoRedTest));
    let flaky = at(fixes(), Base, 2, PASS, &passes);
    check("passes on the base at times", &flaky, no(ProofRefusal::NoRedTest));
    let flaky = at(fixes(), Candidate, 2, FAIL, &[("a", Passed), ("b", Failed)]);
    check("fails with it at times", &flaky, no(ProofRefusal::NoRedTest));
    let green_base = fixes().report(Base, PASS, &passes);
    check("nothing to fix", &green_base, no(ProofRefusal::NoTest));
}

#[test]
fn on_a_failing_base_the_tests_as_they_were_hold_by_the_reports() {
    use TestOutcome::{Failed, Passed};
    let story = |new: Side<'static>| {
        let cases = [("a", Passed), ("b", Failed), ("new", Passed)];
        honest()
            .set(|s| s.config.junit = Some("junit.xml".into()))
            .set(|s| s.changes.push(("tests/old.rs", file("one\ntwo\nthree\nfour\n"), new)))
            .report(Base, FAIL, &[("a", Passed), ("b", Failed)])
            .report(Red, FAIL, &[("a", Passed), ("b", Failed), ("new", Failed)])
            .report(Candidate, FAIL, &cases)
            .report(Kept, FAIL, &cases[..2])
    };
    let edited = || story(file("one\ntwo\n"));
    check("edited, and they hold", &edited(), yes(Strength::ProvenByReport));
    let broken = [("a", Failed), ("b", Failed)];
    let weaker = edited().report(Kept, FAIL, &broken);
    check("changes what they demand", &weaker, yes(Strength::Weaker));
    let paths = || vec![path("tests/old.rs")];
    let reservations = [Reservation::ChangesTests { paths: paths() }, Reservation::BaseFails];
    assert_eq!(weaker.play(|_| 0).reservations, reservations);
    let must_hold = weaker.set(|s| s.config.existing_tests = ExistingTests::MustHold);
    check("must hold", &must_hold, no(ProofRefusal::ChangesTests { paths: paths() }));
    let once = edited().set(|s| {
        s.ends.insert((Kept, Judge(1)), reported(FAIL, &broken));
    });
    check("failed once by chance", &once, yes(Strength::ProvenByReport));
    check("no report", &edited().always(Kept, FAIL), yes(Strength::Weaker));
    check("all pass", &edited().always(Kept, PASS), yes(Strength::ProvenByReport));
    // A new test writes over the old one when it runs, or code names it.
    let added = |role: TreeRole| {
        let story = edited().set(|s| s.changes.truncate(2));
        story.report(Kept, FAIL, &broken).report(role, FAIL, &broken)
    };
    let label = || "tests-may-change".to_owned();
    let hides = |paths| no(ProofRefusal::HidesFailures { paths, label: label() });
    check("overwritten", &added(KeptBlank), hides(vec![path("tests/new.rs")]));
    let named = added(Kept).report(KeptBlank, FAIL, &[("a", Passed), ("b", Failed)]);
    check("named", &named, yes(Strength::ProvenByReport));

    let skipped = || story(file("#[ignore]\none\ntwo\nthree\nfour\n"));
    check("skipped, and they hold", &skipped(), yes(Strength::Weaker));
    let hidden = skipped().report(Kept, FAIL, &broken);
    check("skipped, and they fail", &hidden, hides(paths()));
    let allowed = hidden.set(|s| s.config.allow_deleted_tests = true);
    check("allowed", &allowed, yes(Strength::Weaker));
    // What the tests as they were say depends on the runner.
    let runner = edited().set(|s| s.changes.push(("Makefile", file("a\n"), file("b\n"))));
    check("another runner", &runner, hides(vec![path("Makefile")]));
    let allowed = runner.set(|s| s.config.allow_deleted_tests = true);
    check("allowed runner", &allowed, yes(Strength::ProvenByReport));
    let tool = edited().set(|s| {
        s.config.allow_deleted_tests = true;
        s.scripts = vec!["tools/check.sh"];
        s.changes.push(("tools/check.sh", file("a\n"), file("b\n")));
    });
    check("a script that runs them", &tool, yes(Strength::ProvenByReport));
    let breaks = tool.report(KeptScripts, FAIL, &broken);
    check("a script that they test", &breaks, yes(Strength::Weaker));
}

#[test]
fn on_a_passing_base_reports_are_compared_too() {
    use TestOutcome::{Failed, Passed, Skipped};
    let story = || {
        honest()
            .set(|s| s.config.junit = Some("junit.xml".into()))
            .report(Base, PASS, &[("a", Passed)])
            .report(Red, FAIL, &[("a", Passed), ("new", Failed)])
            .report(Candidate, PASS, &[("a", Passed), ("new", Passed)])
    };
    check("honest", &story(), yes(Strength::Proven));
    assert_eq!(story().play(|_| 0).red_tests, ["new"]);
    let lost = story().report(Candidate, PASS, &[("a", Skipped), ("new", Passed)]);
    check("loses", &lost, no(ProofRefusal::Breaks { tests: vec!["a".to_owned()] }));
    let other = story().report(Red, FAIL, &[("a", Passed)]);
    check("red without a test", &other, no(ProofRefusal::NoRedTest));
    // Tests that do not build leave no report.
    let unbuilt = story().always(Red, FAIL);
    check("does not build", &unbuilt, yes(Strength::Proven));
    assert_eq!(unbuilt.play(|_| 0).red_tests, ["new"]);
    let none = story().always(Candidate, PASS);
    check("no report", &none, no(ProofRefusal::NoReport { role: Candidate }));
    // If the first commit's lines are among the code, the reports must show a new test.
    let split = |cases: &[(&str, TestOutcome)]| {
        inline()
            .set(|s| s.config.junit = Some("junit.xml".into()))
            .report(Base, PASS, &[("a", Passed)])
            .report(Candidate, PASS, cases)
    };
    check("inline", &split(&[("a", Passed), ("new", Passed)]), yes(Strength::Weaker));
    for cases in [&[("a", Passed)][..], &[("a", Passed), ("new", Skipped)]] {
        check("inline, not run", &split(cases), no(ProofRefusal::NoRedTest));
    }
}

#[test]
fn the_report_reads_well() {
    let proven = honest().set(|s| s.config.build = Some(vec!["make".into()])).play(|_| 0);
    insta::assert_snapshot!(proven.to_string().trim_end(), @r"
    proven: the base passes, its tests fail without the change and pass with it (red: assertion)
    - the base, tree 7b47361a: passes
    - the base with only the change's tests, tree ba19e9c3: fails (exit code 1)
    - the base with only the change's tests (again), tree ba19e9c3: fails (exit code 1)
    - the base with only the change's tests (build), tree ba19e9c3: passes
    - the candidate, tree b2452d1e: passes
    - the candidate (again), tree b2452d1e: passes
    - the candidate with the tests as they were, tree c159e746: passes
    - the candidate with its tests made unreadable, tree 472d834b: fails (exit code 1)
    ");
    let refused = honest().with(Red, Judge(1), PASS).play(|_| 0);
    insta::assert_snapshot!(refused.to_string().trim_end(), @r"
    the tests pass without the change (the base with only the change's tests passes); write one that fails for the lack of it
    - the base, tree 7b47361a: passes
    - the base with only the change's tests, tree ba19e9c3: passes
    - the candidate, tree b2452d1e: passes
    ");
    assert_eq!(refused.decisive_tail(), Some("ended 0"));
}
