//! What speaks against a change that is red and green: its changes to judge files, the tests as
//! they were, tests that `verify` does not hear.

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

/// How the tree of `role` is made for the story.
fn recipe(story: &Story, role: TreeRole) -> TreeRecipe {
    let (all, blobs) = diff(&story.changes);
    let mut policy = ProofPolicy::compile(story.config.clone(), story.verify.clone(), []).unwrap();
    policy.add_scripts(story.scripts.iter().map(|name| path(name)));
    let inputs = ProofInputs {
        policy: &policy,
        diff: &all,
        first: None,
        blobs: &blobs,
        since: None,
        permits: &story.permits,
        conditions: &Conditions::default(),
    };
    let tests = super::super::test_changes::test_changes(&policy, &all, &blobs);
    let unmarked = super::super::test_changes::unmarked(&policy, &all, &blobs);
    let runners = super::super::scripts::runners(&policy, &all, &blobs);
    let (inputs, tests, runners, unmarked) = (&inputs, &tests, &runners, &unmarked);
    super::super::trees::Trees { inputs, tests, runners, unmarked }.recipe(role, Red)
}

#[test]
fn a_judge_of_the_changes_own_turns_nothing_green() {
    // Nothing shows that the new runner still runs every old test.
    check("honest", &with(MAKE), yes(Strength::Weaker));
    let reservation = || Reservation::ChangesRunner { paths: vec![path("Makefile")] };
    assert_eq!(with(MAKE).play(|_| 0).reservations, [reservation()]);
    let least = with(MAKE).set(|s| s.config.least = Least::Proven);
    let why = vec![reservation().to_string()];
    check("honest, and too weak", &least, no(ProofRefusal::TooWeak { why }));
    let conftest = "def pytest_collection_modifyitems(items):\n    items.clear()\n";
    for (name, new) in [
        ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = \"--ignore=tests/a.py\"\n"),
        ("tests/conftest.py", conftest),
    ] {
        let deselects = with((name, None, file(new)));
        check(name, &deselects, yes(Strength::Weaker));
        let reservation = Reservation::ChangesRunner { paths: vec![path(name)] };
        assert_eq!(deselects.play(|_| 0).reservations, [reservation], "{name}");
    }
    // By the reports, every test that passes on the base is still run.
    let cases = [("a", TestOutcome::Passed), ("new", TestOutcome::Passed)];
    let reported = with(MAKE)
        .set(|s| s.config.junit = Some("junit.xml".into()))
        .report(Base, PASS, &cases[..1])
        .report(Candidate, PASS, &cases);
    check("with reports", &reported, yes(Strength::Proven));
    let runs = with(MAKE).play(|_| 0).runs;
    assert!(runs.iter().any(|run| run.role == RedJudge) && runs.iter().any(|run| run.role == Kept));
    let disabled = with(MAKE).with(RedJudge, Judge(1), PASS);
    let paths = vec![path("Makefile")];
    check("disabled", &disabled, no(ProofRefusal::JudgeTurnsGreen { paths }));
    let deselects = with(MAKE).always(Kept, FAIL);
    check("deselects the old tests", &deselects, hides(&["Makefile"]));
    let once = with(MAKE).with(Kept, Judge(1), FAIL);
    check("failed once by chance", &once, yes(Strength::Weaker));
    // A lock file steers nothing; it is only added to the red tree.
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
    // The new runner looks at the tree and runs nothing; with the old one, the new test fails.
    let tells = with(MAKE).always(OldRunner, FAIL);
    let label = "tests-may-change".to_owned();
    let refused = ProofRefusal::NeedsItsRunner { paths: paths(), label };
    check("tells trees apart", &tells, no(refused));
    let allowed = tells.set(|s| s.config.allow_deleted_tests = true);
    check("allowed", &allowed, yes(Strength::Weaker));
    let once = with(MAKE).with(OldRunner, Judge(1), FAIL);
    check("failed once by chance", &once, yes(Strength::Weaker));
    // A folder of tests that the old runner did not know.
    let new = with(MAKE).with(OldRunnerSilenced, Judge(1), PASS);
    check("heard by its own alone", &new, yes(Strength::Weaker));
    let reservations = || {
        [Reservation::ChangesRunner { paths: paths() }, Reservation::OwnRunner { paths: paths() }]
    };
    assert_eq!(new.play(|_| 0).reservations, reservations());
    let least = new.set(|s| s.config.least = Least::Proven);
    let why = reservations().map(|one| one.to_string()).into();
    check("too weak", &least, no(ProofRefusal::TooWeak { why }));
    // A manifest that steers nothing is no runner.
    let lock = with(("package-lock.json", file("a"), file("b"))).always(OldRunner, FAIL);
    check("lock file", &lock, yes(Strength::Proven));
}

#[test]
fn a_runner_that_only_grew_makes_the_proof_weaker() {
    let one = "import pytest\n\n@pytest.fixture\ndef one():\n    return 1\n";
    let two = "import pytest\n\n@pytest.fixture\ndef one():\n    return 1\n\n\
               @pytest.fixture\ndef two():\n    return 2\n";
    let list = with(("Makefile", file("OBJS = calc.o\n"), file("OBJS = calc.o triple.o\n")));
    let list = list.set(|s| s.changes.push(("triple.c", None, file("code\n"))));
    let edited = list.set(|s| s.changes.push(("tests/old.rs", OLD, file("one\ntwo\n"))));
    let taken = |role| {
        let take = recipe(&edited, role).take.into_iter();
        take.map(|(path, _)| path.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(taken(KeptBlank), ["Makefile", "tests/old.rs"]);
    assert_eq!(taken(KeptGrown), ["tests/old.rs"]);
    let list = edited.set(|s| s.changes.truncate(4));
    let fixture = with(("tests/conftest.py", file(one), file(two)));
    for (name, story) in [("tests/conftest.py", fixture), ("Makefile", list)] {
        check(name, &story, yes(Strength::Proven));
        let needed = story.always(OldRunner, FAIL);
        check(name, &needed, yes(Strength::Weaker));
        let reservation = Reservation::OwnRunner { paths: vec![path(name)] };
        assert_eq!(needed.play(|_| 0).reservations, [reservation], "{name}");
        // Code that calls the new source cannot be linked without it.
        let linked = needed.always(Kept, FAIL);
        let is_list = name == "Makefile";
        check(name, &linked, if is_list { yes(Strength::Weaker) } else { hides(&[name]) });
        let reservations = linked.play(|_| 0).reservations;
        assert_eq!(reservations.len(), usize::from(is_list), "{name}: {reservations:?}");
        let hidden = linked.always(KeptGrown, FAIL);
        check(name, &hidden, hides(&[name]));
        // Another runner that it changes may tell the trees apart.
        let beside = |s: &mut Story| s.changes.push(("ci.mk", file("a\n"), file("b\n")));
        let other = hidden.always(Kept, PASS).set(beside);
        let mut paths = vec![path("ci.mk"), path(name)];
        paths.sort();
        let label = "tests-may-change".to_owned();
        check(name, &other, no(ProofRefusal::NeedsItsRunner { paths, label }));
    }
}

#[test]
fn a_script_that_runs_the_tests_is_judged_as_what_calls_it() {
    let run = |name: &'static str| {
        let (old, new) = (file("all\nof them\n"), file("all\nof them\nnew\n"));
        with((name, old, new)).set(|s| s.scripts = vec![name])
    };
    for name in ["scripts/run-tests.sh", "tests/run.sh"] {
        check(name, &run(name), yes(Strength::Proven));
        check(name, &run(name).always(Kept, FAIL), hides(&[name]));
        // The change's tests may test the very script.
        let needed = run(name).always(OldRunner, FAIL);
        check(name, &needed, yes(Strength::Weaker));
        let reservation = Reservation::OwnRunner { paths: vec![path(name)] };
        assert_eq!(needed.play(|_| 0).reservations, [reservation], "{name}");
    }
    // A test that is run by its name is a test, and a script that nothing runs is code.
    let weaker = run("tests/old.sh").always(Kept, FAIL);
    check("a test", &weaker, yes(Strength::Weaker));
    let other = run("scripts/other.sh").set(|s| s.scripts.clear());
    check("not run", &other, yes(Strength::Proven));
    assert!(other.play(|_| 0).runs.iter().all(|run| run.role != OldRunner));
    // A script beside the tests alone is a part of them.
    let alone = run("tests/run.sh").set(|s| s.changes = s.changes.split_off(1));
    check("tests alone", &alone, yes(Strength::NoRed));
}

#[test]
fn a_script_that_runs_the_tests_may_be_what_they_test() {
    let script = ("tools/check.sh", file("one\n"), file("two\n"));
    let story = |old: &'static str, now: Side<'static>| {
        with(script).set(|s| {
            s.scripts = vec!["tools/check.sh"];
            s.changes.push((old, OLD, now));
        })
    };
    let asked = |story: &Story| story.play(|_| 0).runs.iter().any(|run| run.role == KeptScripts);
    let deleted = || story("tests/old.sh", None);
    check("deleted", &deleted(), yes(Strength::Weaker));
    let breaks = deleted().always(KeptScripts, FAIL);
    check("deleted, and it fails", &breaks, hides(&["tests/old.sh"]));
    assert_eq!(breaks.play(|_| 0).decisive_tail(), Some("ended 1"));
    let once = deleted().with(KeptScripts, Judge(1), FAIL);
    check("failed once by chance", &once, yes(Strength::Weaker));
    let allowed = breaks.set(|s| s.config.allow_deleted_tests = true);
    check("allowed", &allowed, yes(Strength::Weaker));
    let edited = || story("tests/old.sh", file("one\ntwo\n"));
    check("edited", &edited(), yes(Strength::Proven));
    let breaks = edited().always(KeptScripts, FAIL);
    check("edited, and it fails", &breaks, yes(Strength::Weaker));
    let paths = || vec![path("tests/old.sh")];
    assert_eq!(breaks.play(|_| 0).reservations, [Reservation::ChangesTests { paths: paths() }]);
    let deaf = breaks.with(LeftSilenced(0), Judge(1), PASS);
    check("edited, and not heard", &deaf, hides(&["tests/old.sh"]));
    let must_hold = edited().always(KeptScripts, FAIL).set(|s| {
        s.config.existing_tests = ExistingTests::MustHold;
    });
    check("must hold", &must_hold, no(ProofRefusal::ChangesTests { paths: paths() }));
    let named = deleted().always(Kept, FAIL).always(KeptBlank, PASS).always(KeptScripts, FAIL);
    check("a new test is named", &named, hides(&["tests/old.sh"]));
    // A makefile that leaves an old test out.
    let leaves = with(script).set(|s| {
        s.scripts = vec!["tools/check.sh"];
        s.changes.push(MAKE);
    });
    check("left out", &leaves.always(KeptScripts, FAIL), hides(&["Makefile"]));
    // Nothing is put back: the candidate itself is that tree.
    let added = with(script).set(|s| s.scripts = vec!["tools/check.sh"]);
    assert!(!asked(&added) && !asked(&with(MAKE)) && asked(&edited()));

    // Old tests are as they were, where they are now; new ones and the script are as they are.
    let moved = edited().set(|s| {
        s.changes.push(("tests/moved.sh", OLD, None));
        s.changes.push(("tests/sub/moved.sh", None, file("one\ntwo\nthree\n4\n")));
        s.changes.push(MAKE);
    });
    let made = recipe(&moved, KeptScripts);
    let take: Vec<_> = made.take.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(take, ["Makefile", "tests/old.sh", "tests/sub/moved.sh"]);
    assert!(made.take.iter().all(|(_, entry)| entry.is_some()) && made.write.is_empty());
}

#[test]
fn a_runner_among_the_tests_stays_readable_where_it_must_hear_them() {
    let script = ("tests/run.sh", file("all\n"), file("all\nnew\n"));
    let run = || with(script).set(|s| s.scripts = vec!["tests/run.sh"]);
    let written = |story: &Story| {
        let write = recipe(story, OldRunnerSilenced).write.into_iter();
        write.map(|(path, _, _)| path.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(written(&run()), ["tests/new.rs"]);
    let deaf = run().with(OldRunnerSilenced, Judge(1), PASS);
    check("deaf", &deaf, yes(Strength::Weaker));
    let reservation = Reservation::OwnRunner { paths: vec![path("tests/run.sh")] };
    assert_eq!(deaf.play(|_| 0).reservations, [reservation]);
    // Nothing but the runner was changed: the tree is the same as with the tests readable.
    let alone = run().set(|s| s.changes.retain(|change| change.0 != "tests/new.rs"));
    assert_eq!(recipe(&alone, OldRunnerSilenced), recipe(&alone, OldRunner));
}

#[test]
fn tests_of_a_new_package_fail_with_its_manifest_and_without_its_code() {
    let package = |manifest: &'static str| {
        honest().always(Red, PASS).set(|s| {
            let one = file("[workspace]\nmembers = [\"a\"]\n");
            let two = file("[workspace]\nmembers = [\"a\", \"new\"]\n");
            s.changes = vec![
                ("Cargo.toml", one, two),
                ("new/Cargo.toml", None, file(manifest)),
                ("new/src/lib.rs", None, file("code\n")),
                ("new/tests/a.rs", None, file("test\n")),
            ];
        })
    };
    let plain = || package("[package]\nname = \"new\"\n");
    check("honest", &plain(), yes(Strength::Weaker));
    let reservation = Reservation::OwnManifest { paths: vec![path("new/Cargo.toml")] };
    assert_eq!(plain().play(|_| 0).reservations, [reservation]);
    let runs = plain().play(|_| 0).runs;
    assert_eq!(runs.iter().filter(|run| run.role == RedJudge).count(), 2);
    // It makes no difference that the first commit has the test.
    let first = plain().always(Split, PASS).set(|s| {
        s.first = Some(vec![("new/tests/a.rs", None, file("test\n"))]);
    });
    check("with a commit for the test", &first, yes(Strength::Weaker));
    let vacuous = plain().with(RedJudge, Judge(1), PASS);
    check("vacuous", &vacuous, no(ProofRefusal::Vacuous { role: RedJudge }));
    let flaky = plain().with(RedJudge, Judge(2), PASS);
    check("flaky", &flaky, no(ProofRefusal::Flaky { role: RedJudge }));
    let deaf = plain().with(Silenced, Judge(1), PASS);
    check(
        "not heard",
        &deaf,
        no(ProofRefusal::TestsNotRun { paths: vec![path("new/tests/a.rs")] }),
    );
    let vacuous = no(ProofRefusal::Vacuous { role: Red });
    let steers = package("[package]\nname = \"new\"\n[lib]\npath = \"lib.rs\"\n");
    check("a manifest that steers", &steers, vacuous.clone());
    let beside = plain().set(|s| s.changes.push(("tests/b.rs", None, file("test\n"))));
    check("a test elsewhere", &beside, vacuous.clone());
    let old = plain().set(|s| s.changes[1].1 = file("[package]\nname = \"old\"\n"));
    check("no new package", &old, vacuous);
}

#[test]
fn tests_that_nobody_hears_prove_nothing() {
    let deaf = honest().with(Silenced, Judge(1), PASS);
    let paths = vec![path("tests/new.rs")];
    check("not heard", &deaf, no(ProofRefusal::TestsNotRun { paths: paths.clone() }));
    let alone = deaf.set(|s| s.changes = s.changes.split_off(1));
    check("tests alone, not heard", &alone, no(ProofRefusal::TestsNotRun { paths }));
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

    let gone: [(&str, Side<'static>); 4] = [
        ("deleted", None),
        ("emptied", file("\n")),
        ("skipped", file("#[ignore]\none\ntwo\nthree\nfour\n")),
        ("for another system", file("#[cfg(windows)]\none\ntwo\nthree\nfour\n")),
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
fn a_makefile_among_fixtures_runs_no_tests() {
    let makefile = ("tests/fixtures/two/Makefile", None, file("all:\n"));
    check("beside code", &with(makefile), yes(Strength::Proven));
    let alone = with(makefile).set(|s| s.changes = s.changes.split_off(1));
    check("beside tests alone", &alone, yes(Strength::NoRed));
    let edited = with(("tests/fixtures/two/Makefile", OLD, file("one\ntwo\n")));
    let edited = edited.always(Kept, FAIL);
    check("edited, and the tests fail", &edited, yes(Strength::Weaker));
    let paths = || vec![path("tests/fixtures/two/Makefile")];
    assert_eq!(edited.play(|_| 0).reservations, [Reservation::ChangesTests { paths: paths() }]);
    let named = with(makefile).set(|s| {
        s.verify = Verify::Command(["make", "-C", "tests/fixtures/two"].map(str::to_owned).into());
    });
    let green = named.with(RedJudge, Judge(1), PASS);
    check("verify runs it", &green, no(ProofRefusal::JudgeTurnsGreen { paths: paths() }));
}

#[test]
fn a_test_that_is_gone_from_the_code_is_missed() {
    let old = file("one\n#[test]\nfn rejects() {}\n");
    let story = |new: &'static str| honest().set(|s| s.changes[0] = ("src/lib.rs", old, file(new)));
    let kept = story("two\n#[test]\nfn rejects() {}\n");
    check("kept", &kept, yes(Strength::Proven));
    let gone = || story("two\n");
    check("gone", &gone(), yes(Strength::Weaker));
    let paths = || vec![path("src/lib.rs")];
    let removes = || Reservation::RemovesTests { paths: paths() };
    assert_eq!(gone().play(|_| 0).reservations, [removes()]);
    assert_eq!(gone().play(|_| 0).paths[0].fate, Some(TestFate::Deleted));
    let moved = gone().set(|s| s.changes[1].2 = file("#[test]\nfn rejects() {}\n"));
    check("moved", &moved, yes(Strength::Proven));
    let least = gone().set(|s| s.config.least = Least::Proven);
    check("too weak", &least, no(ProofRefusal::TooWeak { why: vec![removes().to_string()] }));
    let must_hold = gone().set(|s| s.config.existing_tests = ExistingTests::MustHold);
    check("must hold", &must_hold, no(ProofRefusal::DeletedTests { paths: paths() }));

    // It is not why a test that the change edits fails as it was.
    let edited = gone().set(|s| s.changes.push(("tests/old.rs", OLD, file("one\ntwo\n"))));
    let edited = edited.always(Kept, FAIL);
    check("beside an edited one", &edited, yes(Strength::Weaker));
    let changes = Reservation::ChangesTests { paths: vec![path("tests/old.rs")] };
    assert_eq!(edited.play(|_| 0).reservations, [changes, removes()]);
    // The new test stands among the code, too, so that nothing can be put back.
    let split = inline().set(|s| {
        s.changes = vec![("src/lib.rs", old, file("two\ntest\n"))];
        let first = file("one\n#[test]\nfn rejects() {}\ntest\n");
        s.first = Some(vec![("src/lib.rs", old, first)]);
    });
    check("split", &split, yes(Strength::Weaker));
    assert_eq!(split.play(|_| 0).reservations, [Reservation::SplitByAgent, removes()]);
    // A whole file of tests that no pattern takes for one.
    let file_of_tests = file("class Polls(TestCase):\n    def test_vote(self):\n        vote()\n");
    let django = with(("polls/tests.py", file_of_tests, None));
    check("a file of tests", &django, yes(Strength::Weaker));
}

#[test]
fn old_tests_hold_without_the_new_ones() {
    // The new test writes over the old one when it runs.
    let overwrites = honest().always(Kept, FAIL);
    check("overwritten", &overwrites, hides(&["tests/new.rs"]));
    // Code or a list names the new test: it is there, but empty.
    let named = overwrites.always(KeptBlank, PASS);
    check("named", &named, yes(Strength::Proven));
    let edited = named.set(|s| s.changes.push(("tests/old.rs", OLD, file("one\ntwo\n3\n"))));
    check("named, beside an edited one", &edited, yes(Strength::Proven));
}

#[test]
fn new_tests_are_gone_or_empty_beside_the_old_ones() {
    let story = honest().always(Kept, FAIL).set(|s| {
        s.changes.push(("tests/fixtures/a.json", None, file("{}\n")));
        s.changes.push(("tests/fixtures/b.sh", None, file("true\n")));
        let (old, new) = ("use a\none\n  two\n\nfour\n", "use a\none\n  two\n\n3\n3\n");
        s.changes.push(("tests/old.rs", file(old), file(new)));
        let to = ("tests/sub/moved.rs", None, file("def one():\ndef two():\n"));
        s.changes.extend([("tests/moved.rs", to.2, None), to]);
    });
    let (all, blobs) = diff(&story.changes);
    let policy = ProofPolicy::compile(ProofPolicyConfig::default(), honest().verify, []).unwrap();
    let tests = super::super::test_changes::test_changes(&policy, &all, &blobs);
    let inputs = ProofInputs {
        policy: &policy,
        diff: &all,
        first: None,
        blobs: &blobs,
        since: None,
        permits: &permits(),
        conditions: &Conditions::default(),
    };
    let (runners, unmarked) = (&[], &[]);
    let trees = super::super::trees::Trees { inputs: &inputs, tests: &tests, runners, unmarked };
    let recipe = |role| {
        let recipe = trees.recipe(role, Red);
        let take: Vec<_> =
            recipe.take.iter().map(|(path, entry)| (path.to_string(), entry.is_some())).collect();
        let write: Vec<_> = recipe.write.into_iter().map(|(p, _, t)| (p.to_string(), t)).collect();
        (take, write)
    };
    let took = |paths: &[(&str, bool)]| -> Vec<(String, bool)> {
        paths.iter().map(|(path, put)| ((*path).to_owned(), *put)).collect()
    };
    let all = [
        ("tests/fixtures/a.json", false),
        ("tests/fixtures/b.sh", false),
        ("tests/new.rs", false),
        ("tests/sub/moved.rs", false),
        ("tests/moved.rs", true),
        ("tests/old.rs", true),
    ];
    assert_eq!(recipe(Kept), (took(&all), vec![]));
    // Data that only tests read stays as it is.
    let written = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
    let empty = ["tests/fixtures/b.sh", "tests/new.rs", "tests/sub/moved.rs"];
    assert_eq!(recipe(KeptBlank), (took(&all[4..]), empty.map(|path| written(path, "")).to_vec()));
    let left = |role, path, text| assert_eq!(recipe(role), (vec![], vec![written(path, text)]));
    left(LeftSilenced(0), "tests/sub/moved.rs", UNREADABLE);
    left(LeftSilenced(1), "tests/old.rs", "use a\n@)]}>`\n@)]}>`\n\n3\n3\n");
    assert_eq!(recipe(LeftSilenced(2)), (vec![], vec![]));
    left(BaseSilenced(0), "tests/moved.rs", UNREADABLE);
    left(BaseSilenced(1), "tests/old.rs", UNREADABLE);
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
    let away = edited.with(LeftSilenced(0), Judge(1), PASS);
    check("moved out of the way", &away, hides(&["tests/old.rs"]));
    let never = away.with(BaseSilenced(0), Judge(1), PASS);
    check("nobody heard it before", &never, yes(Strength::Weaker));
    // The same if the old test passes with its old content.
    let away = moved().with(LeftSilenced(0), Judge(1), PASS);
    check("moved away, and it passes", &away, yes(Strength::Weaker));
    let paths = || vec![path("tests/old.rs")];
    assert_eq!(away.play(|_| 0).reservations, [Reservation::RemovesTests { paths: paths() }]);
    let must_hold = away.set(|s| s.config.existing_tests = ExistingTests::MustHold);
    check("must hold", &must_hold, no(ProofRefusal::DeletedTests { paths: paths() }));
}

#[test]
fn an_edited_test_is_heard_as_it_is_now() {
    let edited = |paths: &'static [&'static str]| {
        let story = honest().always(Kept, FAIL);
        story.set(|s| {
            for path in paths {
                s.changes.push((path, OLD, file("cat <<X\none\ntwo\nthree\nfour\nX\n")));
            }
        })
    };
    check("heard", &edited(&["tests/old.rs"]), yes(Strength::Weaker));
    let deaf = |story: Story, share| story.with(LeftSilenced(share), Judge(1), PASS);
    let hidden = deaf(edited(&["tests/old.rs"]), 0);
    check("in a text, after an exit, behind a trap", &hidden, hides(&["tests/old.rs"]));
    let never = hidden.with(BaseSilenced(0), Judge(1), PASS);
    check("nobody heard it before", &never, yes(Strength::Weaker));
    // An honest edit of another test does not cover it.
    let two = || edited(&["tests/a.rs", "tests/b.rs"]);
    check("heard, both", &two(), yes(Strength::Weaker));
    check("under cover", &deaf(two(), 1), hides(&["tests/b.rs"]));
    let both = deaf(deaf(two(), 1), 0);
    check("neither", &both, hides(&["tests/a.rs", "tests/b.rs"]));
    let allowed = both.set(|s| s.config.allow_deleted_tests = true);
    check("allowed", &allowed, yes(Strength::Weaker));
}

#[test]
fn a_fix_proves_the_whole_of_the_runs_work() {
    // The run landed a test and code; the fix takes both away again, and the stage is green.
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
    // Another small feature in the fix does not hide that the landed test is gone.
    let covered = honest().set(|s| {
        s.since = Some(vec![("tests/first.rs", OLD, file("\n"))]);
    });
    check("under cover", &covered.always(Kept, FAIL), hides(&["tests/first.rs"]));
    // The fix puts another feature in its place, and changes the landed test to demand that.
    let swapped = |before: Side<'static>| {
        honest().always(Kept, FAIL).set(|s| {
            let now = file("one\ntwo\n3\n4\n");
            s.changes.push(("tests/first.rs", before, now));
            s.since = Some(vec![CODE, ("tests/first.rs", OLD, now)]);
        })
    };
    check("swapped", &swapped(None), hides(&["tests/first.rs"]));
    check("a test of before the run", &swapped(OLD), yes(Strength::Weaker));
    let restored = swapped(None).set(|s| s.changes.truncate(2));
    check("taken back", &restored, hides(&["tests/first.rs"]));
    // Only tests are left, and they pass without any code.
    let hollow = honest().set(|s| {
        s.changes = vec![("tests/new.rs", None, file("true\n"))];
        s.since = Some(vec![CODE, ("tests/new.rs", file("test\n"), file("true\n"))]);
    });
    check("hollow", &hollow, no(ProofRefusal::TakenBack));
    let mended = honest().set(|s| s.since = Some(vec![CODE]));
    check("mended", &mended, yes(Strength::Proven));
}

#[test]
fn a_fix_passes_what_was_tested_before_the_run() {
    // What the run landed first took the test away, and the fix breaks what it tested.
    let landed = |change| with(change).set(|s| s.since = Some(vec![CODE]));
    let deleted = || landed(("tests/old.rs", OLD, None));
    check("deleted", &deleted(), yes(Strength::Proven));
    let breaks = deleted().always(KeptWhole, FAIL);
    check("deleted, and it fails", &breaks, hides(&["tests/old.rs"]));
    assert_eq!(breaks.play(|_| 0).decisive_tail(), Some("ended 1"));
    // Neither a failure by chance nor one for lack of a new test's file is what is shown.
    let chance = deleted().always(KeptWhole, FAIL).with(Kept, Judge(1), 7);
    assert_eq!(chance.play(|_| 0).decisive_tail(), Some("ended 1"));
    let new = vec![CODE, ("tests/new.rs", None, file("test\n"))];
    let lacks = deleted().set(|s| s.since = Some(new)).always(KeptWhole, FAIL);
    let lacks = lacks.always(Kept, 7).always(KeptBlank, PASS);
    check("a new file is named", &lacks, hides(&["tests/old.rs"]));
    assert_eq!(lacks.play(|_| 0).decisive_tail(), Some("ended 1"));
    let once = deleted().with(KeptWhole, Judge(1), FAIL);
    check("failed once by chance", &once, yes(Strength::Proven));
    let named = deleted().always(KeptWhole, FAIL).always(KeptWholeBlank, PASS);
    check("a new test is named", &named, yes(Strength::Proven));
    let allowed = breaks.set(|s| s.config.allow_deleted_tests = true);
    check("allowed", &allowed, yes(Strength::Weaker));
    check("another runner", &landed(MAKE).always(KeptWhole, FAIL), hides(&["Makefile"]));
    let edited = landed(("tests/old.rs", OLD, file("one\ntwo\n"))).always(KeptWhole, FAIL);
    check("edited", &edited, yes(Strength::Weaker));
    let reservation = Reservation::ChangesTests { paths: vec![path("tests/old.rs")] };
    assert_eq!(edited.play(|_| 0).reservations, [reservation]);
    let first = deleted().set(|s| s.since = None);
    assert!(first.play(|_| 0).runs.iter().all(|run| run.role != KeptWhole));

    // On a base that fails, the reports say whether the old tests hold.
    let cases = [("a", TestOutcome::Passed), ("b", TestOutcome::Failed)];
    let new = |outcome| [&cases[..], &[("new", outcome)]].concat();
    let reported = edited
        .set(|s| s.config.junit = Some("junit.xml".into()))
        .report(Base, FAIL, &cases)
        .report(Red, FAIL, &new(TestOutcome::Failed))
        .report(Candidate, FAIL, &new(TestOutcome::Passed));
    let holds = reported.report(KeptWhole, FAIL, &cases);
    check("by report", &holds, yes(Strength::ProvenByReport));
    let broken = holds.report(KeptWhole, FAIL, &[("a", TestOutcome::Failed)]);
    check("by report, broken", &broken, yes(Strength::Weaker));
}

#[test]
fn the_tests_of_before_the_run_are_put_back_for_a_fix() {
    let story = with(("tests/old.rs", OLD, None)).set(|s| s.since = Some(vec![CODE]));
    let (whole, blobs) = diff(&story.changes);
    let (since, _) = diff(&[CODE]);
    let policy = ProofPolicy::compile(story.config.clone(), story.verify.clone(), []).unwrap();
    let inputs = ProofInputs {
        policy: &policy,
        diff: &whole,
        first: None,
        blobs: &blobs,
        since: Some(&since),
        permits: &story.permits,
        conditions: &Conditions::default(),
    };
    let mut results = ProofResults::default();
    let recipe = loop {
        let ProofStep::Run(wanted) = next(&inputs, &results) else { panic!("it was not asked") };
        if let Some(found) = wanted.iter().find(|one| one.role == KeptWhole) {
            break found.recipe.clone();
        }
        for one in wanted {
            let tree = oid(format!("{:?}", one.role).as_bytes());
            results.trees.insert(one.role, tree.clone());
            results.runs.insert(one.key(tree), ended(as_it_must(one.role, one.kind)));
        }
    };
    let take: Vec<_> = recipe.take.iter().map(|(p, e)| (p.to_string(), e.is_some())).collect();
    let expected = [("tests/new.rs", false), ("tests/old.rs", true)];
    assert_eq!(take, expected.map(|(path, put)| (path.to_owned(), put)));
}
