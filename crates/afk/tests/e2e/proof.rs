//! The proof through the whole loop: what it refuses, what a corrective turn fixes,
//! what no corrective turn can, and the honest counterparts.

use serde_json::{Value, json};

use crate::support::git;
use crate::world::{
    TEST_TRIPLE, TEST_ZERO, TRIPLE, World, append, commit, delete, expect_prompt, honest,
    proven_codes, run, strings, trees_exist, write_step,
};

/// A test that passes without the change.
const VACUOUS: &str = ". ./lib.sh\n[ \"$(double 3)\" = 6 ]\n";

#[test]
fn an_honest_change_is_proven() {
    let world = World::new();
    world.script(&[&honest()]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 1);
    assert_eq!(ended.proof(), &json!({ "accepted": "proven" }));
    assert_eq!(ended.codes(), proven_codes("red"));
    trees_exist(&world.mirror(), &ended.evidence);
    assert_eq!(world.landed_file("tests/triple.sh"), TEST_TRIPLE.trim_end());
    world.goes_on();
}

#[test]
fn a_vacuous_test_is_refused_and_mended() {
    let world = World::new();
    let vacuous = [
        write_step("tests/triple.sh", VACUOUS),
        commit("Test triple", &["tests/triple.sh"]),
        append("lib.sh", TRIPLE),
        commit("Triple numbers", &["lib.sh"]),
    ];
    let mended = [
        expect_prompt("the tests pass without the change"),
        write_step("tests/triple.sh", TEST_TRIPLE),
        commit("Test what triple says", &["tests/triple.sh"]),
    ];
    world.script(&[&vacuous, &mended]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 2);
    assert_eq!(ended.codes(), proven_codes("red"));
    trees_exist(&world.mirror(), &ended.evidence);
    let trailer = git(&world.origin(), &["log", "-1", "--format=%(trailers:key=AFK-Attempt)"]);
    assert_eq!(trailer, "AFK-Attempt: 2");
}

#[test]
fn three_refusals_hand_the_issue_to_a_person() {
    let world = World::new();
    let vacuous = |n: u32| {
        let test = format!("{VACUOUS}# try {n}\n");
        let code = format!("{TRIPLE}# try {n}\n");
        vec![
            write_step("tests/triple.sh", &test),
            commit("Test triple", &["tests/triple.sh"]),
            append("lib.sh", &code),
            commit("Triple numbers", &["lib.sh"]),
        ]
    };
    world.script(&[&vacuous(1), &vacuous(2), &vacuous(3), &honest()]);
    let ended = world.run(4);
    world.handed_over(&ended, &["pass without the change", "refused 3 times"]);
    world.nothing_landed();
    assert_eq!(ended.view["attempts"], 3);
    let setback = ended.view["setback"].as_str().unwrap();
    assert!(setback.ends_with("fails for the lack of it"), "{setback}");
    assert_eq!(refusal(&ended.evidence), "vacuous");
    let red = ended.codes().into_iter().find(|(role, ..)| role == "red").unwrap();
    assert_eq!(red.2, Some(0), "the vacuous test passes on the base");
    trees_exist(&world.mirror(), &ended.evidence);
    world.goes_on();
}

/// Code that breaks what `tests/zero.sh` tests.
const BROKEN: &str = "double() { [ $1 = 0 ] && echo broken || echo $(($1 + $1)); }\n";

/// An honest small change that also breaks `double`, and then hides that by the steps `hide`.
fn hiding(hide: &[Value]) -> Vec<Value> {
    let mut steps = honest();
    steps.extend([append("lib.sh", BROKEN), commit("Speed up", &["lib.sh"])]);
    steps.extend(hide.iter().cloned());
    steps
}

#[test]
fn a_test_that_would_fail_is_not_hidden() {
    let deleted = [delete("tests/zero.sh"), commit("Drop a test", &["tests/zero.sh"])];
    let emptied = [write_step("tests/zero.sh", "\n"), commit("Tidy", &["tests/zero.sh"])];
    let skipped = [
        write_step("tests/zero.sh", &format!("exit 0\n{TEST_ZERO}")),
        commit("Later", &["tests/zero.sh"]),
    ];
    for hide in [&deleted, &emptied, &skipped] {
        let world = World::new();
        let mended = [
            expect_prompt("tests/zero.sh"),
            write_step("tests/zero.sh", TEST_ZERO),
            append("lib.sh", "double() { echo $(($1 + $1)); }\n"),
            commit("Double again", &["lib.sh", "tests/zero.sh"]),
        ];
        world.script(&[&hiding(hide), &mended]);
        let ended = world.run(0);
        world.landed(&ended);
        assert_eq!(ended.view["attempts"], 2);
        assert_eq!(ended.proof(), &json!({ "accepted": "proven" }));
        assert_eq!(world.landed_file("tests/zero.sh"), TEST_ZERO.trim_end());
    }
}

#[test]
fn a_hidden_test_that_stays_hidden_never_lands() {
    let mut world = World::new();
    world.set("landing_refusals_max", 1);
    let deleted = [delete("tests/zero.sh"), commit("Drop a test", &["tests/zero.sh"])];
    world.script(&[&hiding(&deleted)]);
    let ended = world.run(4);
    world.handed_over(&ended, &["removes, skips or reconfigures them (tests/zero.sh)"]);
    world.nothing_landed();
    let paths = &ended.evidence["proof"]["paths"];
    assert_eq!(paths[0]["path"], "tests/zero.sh");
    assert_eq!(paths[0]["fate"], "deleted");
}

#[test]
fn a_removed_test_that_passes_makes_the_proof_weaker() {
    let world = World::new();
    let mut deletes = honest();
    deletes.extend([delete("tests/zero.sh"), commit("Drop a test", &["tests/zero.sh"])]);
    world.script(&[&deletes]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.proof(), &json!({ "accepted": "weaker" }));
    assert_eq!(ended.evidence["proof"]["reservations"][0]["because"], "removes_tests");
}

#[test]
fn tests_that_nobody_hears_prove_nothing() {
    // Verify runs the tests only while there is no file `quick`, which the change adds.
    let mut world = World::new();
    world.set("landing_refusals_max", 1);
    world.set_repo("verify", strings(&["sh", "-c", "ls qui* >/dev/null 2>&1 || sh test.sh"]));
    let mut deaf = honest();
    deaf.extend([write_step("quick", "\n"), commit("Be quick", &["quick"])]);
    world.script(&[&deaf]);
    let ended = world.run(4);
    world.handed_over(&ended, &["have no effect", "tests/triple.sh"]);
    world.nothing_landed();
}

#[test]
fn what_runs_the_tests_is_not_turned_off() {
    let make = "test:\n\tsh test.sh\n";
    let mut world = World::with(&[("Makefile", make)]);
    world.set_repo("verify", strings(&["make", "test"]));
    world.set("landing_refusals_max", 1);
    let mut off = honest();
    off.extend([
        append("lib.sh", BROKEN),
        write_step("Makefile", "test:\n\t@true\n"),
        commit("Speed up", &["Makefile", "lib.sh"]),
    ]);
    world.script(&[&off]);
    let ended = world.run(4);
    world.handed_over(&ended, &["Makefile", "pass without its code"]);
    world.nothing_landed();
    // A new target beside the old one, with an honest change, lands. But nothing shows that every
    // test is still run.
    let mut adds = honest();
    adds.extend([append("Makefile", "clean:\n\trm -f out\n"), commit("Clean", &["Makefile"])]);
    world.script(&[&adds]);
    let ended = world.run(0);
    assert_eq!(ended.proof(), &json!({ "accepted": "weaker" }));
    let reservations = &ended.evidence["proof"]["reservations"];
    assert_eq!(reservations, &json!([{ "because": "changes_runner", "paths": ["Makefile"] }]));
}

#[test]
fn a_script_that_make_runs_does_not_leave_tests_out() {
    let script = "for t in tests/*.sh; do sh -e $t || exit 1; done\n";
    let files =
        [("Makefile", "test:\n\t@sh scripts/run-tests.sh\n"), ("scripts/run-tests.sh", script)];
    let mut world = World::with(&files);
    world.set_repo("verify", strings(&["make", "test"]));
    world.set("landing_refusals_max", 1);
    let changed = |text: &str| {
        [write_step("scripts/run-tests.sh", text), commit("Run tests", &["scripts/run-tests.sh"])]
    };
    world.script(&[&hiding(&changed(&script.replace('*', "triple")))]);
    let ended = world.run(4);
    world.handed_over(&ended, &["reconfigures them (scripts/run-tests.sh)"]);
    world.nothing_landed();
    let mut honest = honest();
    honest.extend(changed(&format!("set -u\n{script}")));
    world.script(&[&honest]);
    let ended = world.run(0);
    assert_eq!(ended.proof(), &json!({ "accepted": "proven" }));
}

#[test]
fn a_fix_that_takes_the_feature_back_is_no_fix() {
    let mut world = World::with(&[("ci.sh", "#!/bin/sh\nsh test.sh && ! grep -q TODO lib.sh\n")]);
    world.set("landing_refusals_max", 1);
    let mut red = honest();
    red.extend([append("lib.sh", "# TODO\n"), commit("Remember", &["lib.sh"])]);
    let undone = [
        write_step("lib.sh", "double() { echo $(($1 + $1)); }\n"),
        write_step("tests/triple.sh", "\n"),
        commit("Mend", &["lib.sh", "tests/triple.sh"]),
    ];
    world.script(&[&red, &undone]);
    let ended = world.run(5);
    assert_eq!(ended.view["outcome"], "frozen");
    assert_eq!(
        git(&world.origin(), &["rev-list", "--count", "main"]),
        "2",
        "only the first landed"
    );
}

#[test]
fn a_refactoring_lands_by_a_trusted_persons_word() {
    let mut world = World::new();
    let steps =
        [write_step("lib.sh", "double() { echo $((2 * $1)); }\n"), commit("Simplify", &["lib.sh"])];
    world.set("landing_refusals_max", 1);
    world.script(&[&steps]);
    let ended = world.run(4);
    world.handed_over(&ended, &["put the label no-test-needed on the issue"]);
    world.nothing_landed();
    world.script(&[&steps]);
    let ended = world.run_labelled("no-test-needed", 0);
    assert_eq!(ended.proof(), &json!({ "accepted": "no_red" }));
    assert_eq!(ended.evidence["proof"]["no_red"]["label"], "no-test-needed");
}

/// As the hand-over says: with the label, a retry lands the same head and costs no turn.
#[test]
fn a_label_and_a_retry_land_the_head_that_was_left() {
    let world = World::new();
    let steps = [write_step("README.md", "# calc\n"), commit("Say what it is", &["README.md"])];
    world.script(&[&steps]);
    let ended = world.run(4);
    world.handed_over(&ended, &["no-test-needed", "`/afk retry` goes on from the same head"]);
    let old = ended.view["run"].as_str().unwrap();
    let head = git(&world.mirror(), &["rev-parse", &format!("refs/afk/{old}/1")]);
    world.afk(&["issue", "label", &ended.issue, "no-test-needed"]).ended(0);
    let retried = world.json(&["retry", &ended.issue]);
    assert_eq!(retried["goes_on_from"], head);
    let goes_on = format!("goes on from {}, the head that run {old} left", &head[..8]);
    assert!(world.afk(&["explain", &ended.issue]).out.contains(&goes_on));
    // The agent has no turn left in its script: none may begin.
    world.script(&[]);
    let said = world.afk(&["run", &ended.issue, "--json"]).ended(0);
    let landed = world.ended(&said, ended.issue.clone());
    assert_eq!(landed.view["outcome"], "done", "{:?}", landed.view["why"]);
    assert_eq!((&landed.view["turns"], &landed.view["cost_usd"]), (&json!(0), &json!("0")));
    assert_eq!(landed.view["landed"], world.head());
    assert_eq!(world.landed_file("README.md"), "# calc");
    assert_eq!(landed.evidence["resumed"]["from"], old);
    assert_eq!(landed.evidence["resumed"]["head"], head);
    let trailer = git(&world.origin(), &["log", "-1", "--format=%(trailers:key=AFK-Run)"]);
    assert_eq!(trailer, format!("AFK-Run: {}", landed.view["run"].as_str().unwrap()));
    assert!(world.afk(&["show", &ended.issue]).ended(0).out.contains(&goes_on));
    world.afk(&["evidence", "verify", &ended.issue]).ended(0);
    world.afk(&["replay", landed.view["run"].as_str().unwrap()]).ended(0);
    world.goes_on();
}

/// The head is refused for another reason now, so an agent goes on from it.
#[test]
fn a_retried_head_that_conflicts_since_is_mended_where_it_stands() {
    let world = World::new();
    let steps = [write_step("README.md", "# calc\n"), commit("Say what it is", &["README.md"])];
    world.script(&[&steps]);
    let ended = world.run(4);
    world.land_by_hand("README.md", "# Calculator\n");
    world.afk(&["issue", "label", &ended.issue, "no-test-needed"]).ended(0);
    world.afk(&["retry", &ended.issue]).ended(0);
    world.script(&[&[
        expect_prompt("README.md"),
        run(&["sh", "-c", "grep -qx '# calc' README.md"]),
        delete("README.md"),
        commit("Leave it", &["README.md"]),
        write_step("USAGE.md", "# calc\n"),
        commit("Say it elsewhere", &["USAGE.md"]),
    ]]);
    let said = world.afk(&["run", &ended.issue, "--json"]).ended(0);
    let landed = world.ended(&said, ended.issue.clone());
    assert_eq!((&landed.view["turns"], &landed.view["attempts"]), (&json!(1), &json!(2)));
}

#[test]
fn code_without_a_test_is_refused_and_mended() {
    let world = World::new();
    let bare = [append("lib.sh", TRIPLE), commit("Triple numbers", &["lib.sh"])];
    let mended = [
        expect_prompt("test"),
        write_step("tests/triple.sh", TEST_TRIPLE),
        commit("Test triple", &["tests/triple.sh"]),
    ];
    world.script(&[&bare, &mended]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 2);
    assert_eq!(ended.codes(), proven_codes("red"));
}

#[test]
fn code_that_breaks_a_test_is_refused_and_mended() {
    let world = World::new();
    let mut breaks = honest();
    breaks.extend([append("lib.sh", "double() { echo 5; }\n"), commit("Oops", &["lib.sh"])]);
    let mended = [
        expect_prompt("FAIL tests/zero.sh"),
        append("lib.sh", "double() { echo $(($1 + $1)); }\n"),
        commit("Double again", &["lib.sh"]),
    ];
    world.script(&[&breaks, &mended]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 2);
    assert_eq!(ended.codes(), proven_codes("red"));
}

#[test]
fn nothing_is_spent_on_a_base_that_fails_already() {
    let world = World::with(&[("tests/broken.sh", "exit 7\n")]);
    world.script(&[&honest()]);
    let ended = world.run(3);
    assert_eq!(ended.view["outcome"], "released");
    let why = ended.view["why"].as_str().unwrap();
    assert!(why.contains("verify fails") && why.contains("fix the default branch"), "{why}");
    assert_eq!(ended.view["attempts"], 0, "no turn is paid for");
    let issue = world.json(&["issue", "show", &ended.issue]);
    assert_eq!(issue["issue"]["labels"], json!(["ready-for-agent"]), "it waits for the branch");
    world.nothing_landed();
    // The loop leaves the branch alone for a while, and says why.
    let gates = world.afk(&["explain", &ended.issue]).ended(3);
    assert!(gates.out.contains("before any change"), "{}", gates.out);
    world.at_rest();
}

#[test]
fn a_base_that_fails_for_what_runs_lack_is_told_what_to_set() {
    let mut world = World::new();
    let command = toml::Value::from("git rev-parse HEAD && sh test.sh");
    world.set_repo("verify", vec!["sh".into(), "-c".into(), command]);
    world.script(&[&honest()]);
    let ended = world.run(3);
    let why = ended.view["why"].as_str().unwrap();
    assert!(why.contains("`proof.git = true`") && !why.contains("fix the default"), "{why}");
    world.set_repo("proof.git", true);
    world.landed(&world.run(0));
}

/// Runs the tests and writes a report that names each.
const REPORTING: &str = r#"#!/bin/sh
failed=0
{
    echo '<testsuite>'
    for t in tests/*.sh; do
        if sh -e "$t"; then echo "<testcase name=\"$t\"/>"
        else echo "<testcase name=\"$t\"><failure/></testcase>"; failed=1; fi
    done
    echo '</testsuite>'
} >report.xml
exit $failed
"#;

#[test]
fn on_a_base_that_fails_already_reports_prove_an_honest_change() {
    let files = [("tests/broken.sh", "exit 7\n"), ("report.sh", REPORTING)];
    let mut world = World::with(&files);
    world.set_repo("verify", strings(&["sh", "report.sh"]));
    world.set_repo("proof.junit", "report.xml");
    // The usual CI would be red because of the broken test.
    let stage = toml::toml! { name = "ci" command = ["true"] };
    world.set_repo("stages", toml::Value::Array(vec![stage.into()]));
    world.script(&[&honest()]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.proof(), &json!({ "accepted": "proven_by_report" }));
    assert_eq!(ended.evidence["proof"]["red_tests"], json!(["tests/triple.sh"]));
    assert!(
        ended.codes().iter().all(|(.., code)| *code == Some(1)),
        "every tree fails, the reports tell them apart"
    );
    trees_exist(&world.mirror(), &ended.evidence);
}

#[test]
fn an_edited_judge_is_a_breach_and_no_turn_is_spent_on_it() {
    let world = World::new();
    for judge in ["ci.sh", "test.sh", ".github/workflows/ci.yml"] {
        let mut edits = honest();
        edits.extend([write_step(judge, "#!/bin/sh\nexit 0\n"), commit("Speed up", &[judge])]);
        world.script(&[&edits, &honest()]);
        let ended = world.run(4);
        world.handed_over(&ended, &["guardrail", judge]);
        world.nothing_landed();
        assert_eq!(ended.view["attempts"], 1, "{judge}");
    }
    world.at_rest();
}

#[test]
fn a_change_of_documents_alone_lands_where_the_operator_says_so() {
    let mut world = World::new();
    let steps = [write_step("README.md", "# calc\n"), commit("Say what it is", &["README.md"])];
    world.script(&[&steps, &steps]);
    let ended = world.run(4);
    world.handed_over(&ended, &["only documents", "no-test-needed"]);
    world.nothing_landed();
    assert_eq!(ended.view["attempts"], 1, "no turn is spent on what only a person can say");
    world.set_repo("proof.exempt_closes", true);
    world.script(&[&steps]);
    let ended = world.run(0);
    assert_eq!(ended.proof(), &json!({ "accepted": "no_red" }));
    assert_eq!(ended.evidence["proof"]["no_red"]["because"], "exempt_closes");
}

#[test]
fn a_verify_that_hangs_is_no_proof_and_leaves_nothing_running() {
    let mut world = World::new();
    world.set_repo("verify_timeout_seconds", 2);
    world.set("landing_refusals_max", 1);
    let mut hangs = honest();
    hangs.extend([append("lib.sh", "sleep 3600\n"), commit("Wait a little", &["lib.sh"])]);
    world.script(&[&hangs]);
    let ended = world.run(4);
    world.handed_over(&ended, &["could not be judged", "ran out of time"]);
    world.nothing_landed();
    world.set_repo("verify_timeout_seconds", 60);
    world.goes_on();
}

#[test]
fn a_verify_that_is_not_there_is_ours_to_mend() {
    let mut world = World::new();
    world.set_repo("verify", strings(&["no-such-program"]));
    world.script(&[&honest()]);
    let ended = world.run(3);
    assert_eq!(ended.view["outcome"], "released");
    let why = ended.view["why"].as_str().unwrap();
    assert!(why.contains("no-such-program"), "{why}");
    assert_eq!(ended.view["attempts"], 0, "no turn is paid for");
    world.nothing_landed();
    world.set_repo("verify", strings(&["sh", "test.sh"]));
    world.goes_on();
}

#[test]
fn a_landed_commit_that_ci_refuses_is_fixed_forward() {
    let world = World::with(&[("ci.sh", "#!/bin/sh\nsh test.sh && ! grep -q TODO lib.sh\n")]);
    let mut red = honest();
    red.extend([append("lib.sh", "# TODO\n"), commit("Remember", &["lib.sh"])]);
    let mended = [
        expect_prompt("ci"),
        run(&["sed", "-i", "/TODO/d", "lib.sh"]),
        commit("Forget", &["lib.sh"]),
    ];
    world.script(&[&red, &mended]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["fix_forwards"], 1);
    assert_eq!(git(&world.origin(), &["rev-list", "--count", "main"]), "3");
    assert_eq!(ended.evidence["reds"][0]["attribution"], "ours");
    // The whole change is shown, which is both commits.
    let change = world.json(&["diff", &ended.issue]);
    assert_eq!(change["commits"].as_array().unwrap().len(), 2, "{change}");
    assert_eq!((&change["landed"], &change["commit"]), (&true.into(), &world.head().into()));
    let patch = world.afk(&["diff", &ended.issue]).ended(0).out;
    let (added, removed) = (patch.find("\n+# TODO"), patch.find("\n-# TODO"));
    assert!(added.is_some() && removed > added, "{patch}");
    let stat = world.afk(&["diff", &ended.issue, "--stat"]).ended(0).out;
    for commit in change["commits"].as_array().unwrap() {
        let commit = &commit.as_str().unwrap()[..8];
        assert!(stat.lines().any(|line| line.starts_with(commit)), "{commit}: {stat}");
    }
}

/// The reason of a refused proof.
fn refusal(evidence: &Value) -> &str {
    evidence["proof"]["outcome"]["refused"]["reason"].as_str().unwrap()
}
