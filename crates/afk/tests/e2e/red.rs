//! Whose fault a red stage is: the same stage is run on the base of the run's commit, in real git.
//!
//! The stage fails while the file `ours` or `theirs` has the word `broken`; verify does not
//! look at either. Somebody else's commits are pushed by plain git from the seed clone.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Said, finish, git, until, write};
use crate::world::{Ended, World, append, commit, honest, strings, write_step};

const CI: &str = "! grep -qs broken *";

fn world(files: &[(&str, &str)], before_landing: bool) -> World {
    world_with(files, before_landing, CI)
}

fn world_with(files: &[(&str, &str)], before_landing: bool, stage: &str) -> World {
    let mut world = World::with(files);
    let mut ci = toml::Table::new();
    ci.insert("name".to_owned(), "ci".into());
    ci.insert("command".to_owned(), strings(&["sh", "-c", stage]));
    ci.insert("before_landing".to_owned(), before_landing.into());
    world.set_repo("stages", toml::Value::Array(vec![ci.into()]));
    if before_landing {
        world.set_repo("landing", "tested");
    }
    world
}

/// Pushes somebody else's commit to the default branch; returns its id.
#[track_caller]
fn somebody_lands(world: &World, path: &str, text: &str) -> String {
    let (seed, origin) = (world.path("seed"), world.origin());
    let origin = origin.to_str().unwrap();
    git(&seed, &["pull", "-q", "--ff-only", origin, "main"]);
    write(&seed.join(path), text);
    git(&seed, &["add", "--all"]);
    git(&seed, &["commit", "-q", "-m", "Somebody else's work"]);
    git(&seed, &["push", "-q", origin, "HEAD:main"]);
    git(&seed, &["rev-parse", "HEAD"])
}

/// Works `issue` to its end, and calls `meanwhile` beside that.
fn worked(world: &World, issue: &str, meanwhile: impl FnOnce()) -> Said {
    std::thread::scope(|scope| {
        let command = world.command(&["run", issue, "--json"]);
        let run = scope.spawn(move || finish(command));
        meanwhile();
        run.join().unwrap()
    })
}

/// Waits for a candidate of the run on `issue` for which `is` holds.
#[track_caller]
fn candidate(world: &World, issue: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        let said = world.afk(&["show", issue, "--json"]);
        let page: Value = serde_json::from_str(&said.out).ok()?;
        let attempts = page["run"]["attempts"].as_array()?.iter();
        let mut all = attempts.filter_map(|attempt| attempt["candidates"].as_array()).flatten();
        all.find(|one| is(one)).cloned()
    })
}

fn no_try_is_left(origin: &Path) {
    let refs = git(origin, &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs, "refs/heads/main");
}

#[test]
fn a_try_on_a_red_base_waits_for_its_mend_and_lands() {
    let world = world(&[("theirs", "broken\n")], true);
    world.script(&[&honest()]);
    let base = world.head();
    let issue = world.issue("Triple numbers");
    let said = worked(&world, &issue, || {
        let red = candidate(&world, &issue, "a red base", |one| one["red_bases"] != json!([]));
        assert_eq!(red["red_bases"], json!([base]));
        somebody_lands(&world, "theirs", "fine\n");
    });
    let ended = world.ended(&said.ended(0), issue);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 1, "no refusal, no turn for it");
    no_try_is_left(&world.origin());
    world.goes_on();
}

#[test]
fn a_try_on_a_base_that_nobody_mends_names_it() {
    let mut world = world(&[("theirs", "broken\n")], true);
    world.set("stage_timeout_seconds", 5);
    world.script(&[&honest()]);
    let base = world.head();
    let ended = world.run(4);
    world.handed_over(&ended, &["stage ci fails on", &base[..8], "main", "nobody fixed"]);
    assert_eq!(ended.view["attempts"], 1);
    no_try_is_left(&world.origin());
    world.nothing_landed();
    world.at_rest();
}

/// Lands `ours` broken, then a fix of it on top of what somebody lands meanwhile.
fn fix_on(theirs: (&str, &str), fix: &str) -> (World, Ended) {
    let mut world = world(&[], false);
    let gate = world.path("gate");
    std::fs::create_dir(&gate).unwrap();
    world.set_repo("read", strings(&[gate.to_str().unwrap()]));
    world.set("fix_forward_max_attempts", 1);
    world.set("stage_timeout_seconds", 20);
    let breaks = [honest(), vec![write_step("ours", "broken\n"), commit("Add ours", &["ours"])]];
    let open = gate.join("open");
    let wait = json!({ "wait": { "until_file": open } });
    let mends = [wait, write_step("ours", fix), commit("Mend ours", &["ours"])];
    world.script(&[&breaks.concat(), &mends]);
    let issue = world.issue("Triple numbers");
    let mut below = String::new();
    let said = worked(&world, &issue, || {
        candidate(&world, &issue, "a red landing", |one| one["red"] == "ours");
        below = somebody_lands(&world, theirs.0, theirs.1);
        write(&open, "");
    });
    let ended = world.ended(&said, issue);
    assert_eq!(ended.evidence["base"], below, "the fix stands on theirs");
    (world, ended)
}

#[test]
fn a_fix_on_somebody_elses_red_freezes_nobody() {
    let (world, ended) = fix_on(("theirs", "broken\n"), "fine\n");
    world.handed_over(&ended, &["stage ci is red"]);
    assert_eq!(ended.evidence["reds"][1]["attribution"], "base", "{}", ended.evidence["reds"]);
    world.at_rest();
}

#[test]
fn a_fix_that_mends_nothing_is_ours_on_whatever_it_stands() {
    let (_, ended) = fix_on(("theirs", "fine\n"), "broken still\n");
    assert_eq!(ended.view["outcome"], "frozen", "{}", ended.view);
    assert_eq!(ended.evidence["reds"][1]["attribution"], "ours", "{}", ended.evidence["reds"]);
}

#[test]
fn no_proof_finds_what_a_stage_left_in_a_cache() {
    let plant = "echo runner > \"$CARGO_HOME/config.toml\" || true";
    let world = world_with(&[], false, plant);
    world.script(&[&honest()]);
    world.landed(&world.run(0));
    let looks = "[ ! -e \"${CARGO_HOME:-$HOME/.cargo}/config.toml\" ]\n";
    world.script(&[&[
        write_step("tests/cache.sh", &format!(". ./lib.sh\n{looks}[ \"$(halve 6)\" = 3 ]\n")),
        commit("Test halve", &["tests/cache.sh"]),
        append("lib.sh", "halve() { echo $(($1 / 2)); }\n"),
        commit("Halve numbers", &["lib.sh"]),
    ]]);
    world.landed(&world.run(0));
}
