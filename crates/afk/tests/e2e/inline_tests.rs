//! Tests in the same files as the code: the agent's first commit counts as the test, if the
//! commits are split honestly.

use serde_json::{Value, json};

use crate::world::{
    INLINE_TRIPLE, LIB, TRIPLE, World, append, commit, expect_prompt, proven_codes, run,
    trees_exist, write_step,
};

fn honest() -> Vec<Value> {
    vec![
        append("lib.sh", INLINE_TRIPLE),
        commit("Test triple", &["lib.sh"]),
        append("lib.sh", TRIPLE),
        commit("Triple numbers", &["lib.sh"]),
    ]
}

/// A corrective turn that takes the dishonest commits back and makes honest ones.
fn mended(reason: &str) -> Vec<Value> {
    let mut steps =
        vec![expect_prompt(reason), run(&["git", "reset", "--quiet", "--hard", "HEAD~2"])];
    steps.extend(honest());
    steps
}

/// Checks that the dishonest split is refused for `reason`, and that an honest one then lands.
#[track_caller]
fn refused_and_mended(world: &World, dishonest: &[Value], reason: &str) {
    world.script(&[dishonest, &mended(reason)]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 2);
    assert_eq!(ended.proof(), &json!({ "accepted": "weaker" }));
}

#[test]
fn an_honest_split_is_accepted_as_weaker() {
    let world = World::new();
    world.script(&[&honest()]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 1);
    assert_eq!(ended.proof(), &json!({ "accepted": "weaker" }));
    assert_eq!(ended.codes(), proven_codes("split"));
    trees_exist(&world.mirror(), &ended.evidence);
}

#[test]
fn a_first_commit_that_changes_a_line_is_no_test() {
    let broken = LIB.replace("$1 + $1", "$1 + $1 + 0");
    let dishonest = [
        write_step("lib.sh", &format!("{broken}{INLINE_TRIPLE}")),
        commit("Test triple", &["lib.sh"]),
        write_step("lib.sh", &format!("{LIB}{INLINE_TRIPLE}{TRIPLE}")),
        commit("Triple numbers", &["lib.sh"]),
    ];
    refused_and_mended(&World::new(), &dishonest, "deletes or changes a line of lib.sh");
}

#[test]
fn a_test_that_is_gone_at_the_end_is_no_test() {
    let dishonest = [
        append("lib.sh", INLINE_TRIPLE),
        commit("Test triple", &["lib.sh"]),
        write_step("lib.sh", &format!("{LIB}test_triple() {{ true; }}\n{TRIPLE}")),
        commit("Triple numbers", &["lib.sh"]),
    ];
    refused_and_mended(&World::new(), &dishonest, "is no longer in the candidate");
}

#[test]
fn a_first_commit_that_passes_alone_is_no_test() {
    let dishonest = [
        append("lib.sh", "test_six() { [ \"$(double 3)\" = 6 ]; }\n"),
        commit("Test triple", &["lib.sh"]),
        append("lib.sh", TRIPLE),
        commit("Triple numbers", &["lib.sh"]),
    ];
    refused_and_mended(&World::new(), &dishonest, "pass without the change");
}

#[test]
fn three_dishonest_splits_hand_the_issue_to_a_person() {
    let world = World::new();
    let again = |n: u32| {
        let code = format!("triple() {{ echo $(($1 + $1 + $1)); }} # {n}\n");
        let reset = run(&["git", "reset", "--quiet", "--hard", "HEAD~2"]);
        let steps = vec![
            append("lib.sh", "test_six() { [ \"$(double 3)\" = 6 ]; }\n"),
            commit("Test triple", &["lib.sh"]),
            append("lib.sh", &code),
            commit("Triple numbers", &["lib.sh"]),
        ];
        if n == 1 { steps } else { std::iter::once(reset).chain(steps).collect() }
    };
    world.script(&[&again(1), &again(2), &again(3)]);
    let ended = world.run(4);
    world.handed_over(&ended, &["pass without the change", "refused 3 times"]);
    world.nothing_landed();
    let split = ended.codes().into_iter().find(|(role, ..)| role == "split").unwrap();
    assert_eq!(split.2, Some(0));
    trees_exist(&world.mirror(), &ended.evidence);
}
