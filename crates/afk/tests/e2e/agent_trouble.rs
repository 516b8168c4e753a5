//! Agents that misbehave: noise, silence, strange commits, processes left behind.

use serde_json::{Value, json};

use crate::support::git;
use crate::world::{
    TEST_TRIPLE, World, append, commit, expect_prompt, honest, run, say, write_step,
};

fn garbage(lines: u32, bytes: u32) -> Value {
    json!({ "garbage": { "lines": lines, "bytes": bytes } })
}

fn exit(code: i32) -> Value {
    json!({ "exit": { "code": code } })
}

fn leave_dirty(path: &str) -> Value {
    json!({ "leave_dirty": { "path": path } })
}

#[test]
fn garbage_and_a_line_of_five_megabytes_are_no_obstacle() {
    let world = World::new();
    let mut steps = vec![garbage(50, 200), garbage(1, 5 << 20)];
    steps.extend(honest());
    steps.push(garbage(1, 5 << 20));
    world.script(&[&steps]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["turns"], 1);
    world.goes_on();
}

#[test]
fn an_agent_that_ends_without_a_word_goes_to_a_person() {
    let world = World::new();
    for (steps, code) in
        [(vec![garbage(3, 100), exit(0)], 0), (vec![exit(0)], 0), (vec![exit(3)], 3)]
    {
        world.script(&[&steps]);
        let ended = world.run(4);
        world.handed_over(&ended, &[&format!("exit code {code}")]);
        world.nothing_landed();
        world.at_rest();
    }
    world.goes_on();
}

#[test]
fn an_agent_that_dies_once_is_tried_again() {
    let mut world = World::new();
    world.set("executor_retries_max", 1);
    world.script(&[&[exit(3)], &honest()]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!((&ended.view["turns"], &ended.view["attempts"]), (&json!(2), &json!(1)));
}

#[test]
fn an_agent_that_says_it_failed_goes_to_a_person() {
    let world = World::new();
    world.script(&[&[json!({ "fail": { "message": "the model said no" } })]]);
    let ended = world.run(4);
    world.handed_over(&ended, &["the model said no"]);
    world.goes_on();
}

#[test]
fn commits_on_another_branch_do_not_count_and_are_named() {
    let world = World::new();
    let mut steps = vec![json!({ "checkout": { "branch": "sidetrack" } })];
    steps.extend(honest());
    steps.push(run(&["git", "switch", "--quiet", "-"]));
    // It is asked once to bring the commits over, and does not.
    world.script(&[&steps, &[expect_prompt("sidetrack")]]);
    let ended = world.run(4);
    world.handed_over(&ended, &["without a commit", "sidetrack does not count"]);
    world.nothing_landed();
    world.goes_on();
}

#[test]
fn a_git_folder_that_is_none_ends_the_run() {
    let world = World::new();
    for spoil in [
        "rm -rf .git",
        "rm -rf .git; ln -s /nonexistent/git .git",
        "rm -rf .git; ln -s . .git",
        "rm .git/HEAD; mkdir .git/HEAD",
    ] {
        let mut steps = honest();
        steps.push(run(&["sh", "-c", spoil]));
        world.script(&[&steps]);
        let ended = world.run(4);
        world.handed_over(&ended, &["unreadable git repository"]);
        world.nothing_landed();
    }
    world.goes_on();
}

#[test]
fn what_is_checked_out_at_the_end_counts_whatever_its_branch() {
    let world = World::new();
    let mut steps = vec![json!({ "checkout": { "branch": "sidetrack" } })];
    steps.extend(honest());
    world.script(&[&steps]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(git(&world.origin(), &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
}

#[test]
fn what_is_left_uncommitted_is_asked_for_once() {
    let world = World::new();
    let mut first = honest();
    first.push(leave_dirty("notes.txt"));
    let second = [expect_prompt("notes.txt"), say("I leave it as it is.")];
    world.script(&[&first, &second]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!((&ended.view["turns"], &ended.view["attempts"]), (&json!(2), &json!(1)));
    let files = git(&world.origin(), &["ls-tree", "-r", "--name-only", "main"]);
    assert!(!files.contains("notes.txt"), "{files}");
    world.goes_on();
}

#[test]
fn what_was_left_uncommitted_counts_once_it_is_committed() {
    let world = World::new();
    let first = [
        write_step("tests/triple.sh", TEST_TRIPLE),
        commit("Test triple", &["tests/triple.sh"]),
        append("lib.sh", crate::world::TRIPLE),
    ];
    let second = [expect_prompt("lib.sh"), commit("Triple numbers", &["lib.sh"])];
    world.script(&[&first, &second]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!((&ended.view["turns"], &ended.view["attempts"]), (&json!(2), &json!(1)));
}

#[test]
fn an_empty_commit_is_no_change() {
    let world = World::new();
    world.script(&[&[commit("Done", &[])], &honest()]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 2);

    let world = World::new();
    let empty = [commit("Done", &[])];
    world.script(&[&empty, &empty, &empty]);
    let ended = world.run(4);
    world.handed_over(&ended, &["change nothing", "refused 3 times"]);
    world.nothing_landed();
    world.goes_on();
}

#[test]
fn a_history_of_its_own_never_lands() {
    let mut world = World::new();
    world.set("landing_refusals_max", 1);
    let steps = [
        run(&["git", "checkout", "--quiet", "--orphan", "fresh"]),
        commit("All new", &["lib.sh", "test.sh", "ci.sh", "tests"]),
    ];
    world.script(&[&steps]);
    let ended = world.run(4);
    world.handed_over(&ended, &["no commit in common"]);
    world.nothing_landed();
    world.goes_on();
}

/// Fault 11 of other bots: a process that an agent leaves behind goes on, as in a session of its
/// own.
#[test]
fn an_agent_that_leaves_processes_behind_leaves_none() {
    let world = World::new();
    let mut steps = honest();
    steps.push(run(&["sh", "-c", "setsid sleep 3600 >/dev/null 2>&1 </dev/null &"]));
    world.script(&[&steps]);
    let ended = world.run(0);
    world.landed(&ended);
    world.goes_on();
}
