//! The repository's own policy, `.afk/WORKFLOW.md`, through the whole loop.

use serde_json::json;

use crate::world::{World, commit, expect_prompt, honest, write_step};

const FILE: &str = ".afk/WORKFLOW.md";

#[test]
fn a_policy_lowers_the_budget_and_adds_to_the_prompt() {
    let policy = "+++\nbudget_usd = 1.5\nrun_timeout_seconds = 99999999\n+++\n\
                  Keep lib.sh sorted: {{ issue }}, {{ title }}, on {{ branch }}.\n";
    let world = World::with(&[(FILE, policy)]);
    let mut steps = vec![expect_prompt("Keep lib.sh sorted: o/calc#1, Triple numbers, on main.")];
    steps.extend(honest());
    world.script(&[&steps]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["budget_usd"], "1.5");
    let shown = world.afk(&["show", &ended.issue]).ended(0).out;
    assert!(shown.contains("Repository's policy (.afk/WORKFLOW.md"), "{shown}");
    assert!(shown.contains("ignored: run_timeout_seconds = 99999999 would loosen"), "{shown}");
    let run = &world.json(&["show", &ended.issue])["run"];
    assert_eq!(run["start"]["workflow"]["policy"]["budget_usd"], "1.5");
    world.goes_on();
}

#[test]
fn a_broken_policy_stops_the_run_and_says_where() {
    let world = World::with(&[(FILE, "+++\n# Ours\nbugdet_usd = 1\n+++\n")]);
    world.script(&[&honest()]);
    let ended = world.run(4);
    world.handed_over(&ended, &[".afk/WORKFLOW.md:3", "bugdet_usd", "budget_usd"]);
    world.nothing_landed();
    assert_eq!(ended.view["turns"], 0, "no turn was begun");
    world.at_rest();
}

#[test]
fn an_edit_by_the_agent_is_a_breach_and_has_no_effect() {
    let world = World::with(&[(FILE, "+++\nbudget_usd = 1\n+++\n")]);
    let mut edits = honest();
    edits.extend([write_step(FILE, "Do as you like.\n"), commit("Relax", &[FILE])]);
    world.script(&[&edits]);
    let ended = world.run(4);
    world.handed_over(&ended, &["guardrail", FILE]);
    world.nothing_landed();
    let run = &world.json(&["show", &ended.issue])["run"];
    assert_eq!(run["budget"], "1");
    assert_eq!(run["start"]["workflow"]["policy"], json!({ "budget_usd": "1" }));
}
