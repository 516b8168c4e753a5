//! Which issues are dispatched, and when: the two ways to start, the order, the switches.

use serde_json::{Value, json};

use crate::support::git;
use crate::world::{REPO, World, honest, run};

/// The agent's work on any commit: a test and a function, numbered by the length of the history.
const NEXT_FUNCTION: &str = r#"
set -e
n=$(git rev-list --count HEAD)
printf '. ./lib.sh\n[ "$(f%s)" = %s ]\n' "$n" "$n" >"tests/f$n.sh"
git add "tests/f$n.sh"
git commit -qm "Test f$n"
echo "f$n() { echo $n; }" >>lib.sh
git add lib.sh
git commit -qm "Add f$n"
"#;

#[test]
fn a_tick_does_what_a_run_does() {
    let world = World::new();
    world.script(&[&honest()]);
    let issue = world.issue("Triple numbers");
    let said = world.afk(&["tick", "--poll", "--watch", "--json"]).ended(0);
    assert_eq!(said.json()["live"], json!([]));
    let summary = &world.json(&["show", &issue])["summary"];
    assert_eq!(summary["outcome"], "done");
    assert_eq!(summary["landed"], world.head());
    world.shows(&issue, false, &[], &summary["run"]);
    assert_eq!(git(&world.origin(), &["rev-list", "--count", "main"]), "2");
    world.at_rest();
}

#[test]
fn issues_of_one_repository_land_one_after_the_other_the_urgent_first() {
    let world = World::new();
    world.script(&[&[run(&["sh", "-c", NEXT_FUNCTION])]]);
    let usual = world.issue("One");
    let urgent = world.issue("Two");
    world.afk(&["issue", "label", &urgent, "P0"]).ended(0);
    world.afk(&["tick", "--poll", "--watch"]).ended(0);
    let refs = git(&world.origin(), &["log", "--reverse", "--format=%B", "main"]);
    let refs: Vec<&str> = refs.lines().filter(|line| line.starts_with("Refs ")).collect();
    assert_eq!(refs, ["Refs #2", "Refs #1"]);
    for issue in [usual, urgent] {
        assert_eq!(world.json(&["issue", "show", &issue])["issue"]["open"], false, "{issue}");
    }
    world.at_rest();
}

#[test]
fn ticks_alone_bring_a_run_to_its_end() {
    let world = World::new();
    world.script(&[&honest()]);
    let issue = world.issue("Triple numbers");
    let admitted = world.json(&["tick", "--poll"]);
    assert_eq!(admitted["admitted"].as_array().map(Vec::len), Some(1), "{admitted}");
    crate::support::until("the run to settle", || {
        world.afk(&["tick"]).ended(0);
        let shown = world.json(&["show", &issue]);
        (shown["summary"]["settled"] == true).then_some(())
    });
    let summary = &world.json(&["show", &issue])["summary"];
    assert_eq!(summary["outcome"], "done", "{summary}");
    world.shows(&issue, false, &[], &summary["run"]);
    assert_eq!(git(&world.origin(), &["rev-list", "--count", "main"]), "2");
    world.at_rest();
}

#[test]
fn the_kill_switch_and_an_empty_allowlist_each_hold_the_loop_but_not_a_person() {
    let mut world = World::new();
    world.script(&[&honest()]);
    let issue = world.issue("Triple numbers");
    let nothing = |world: &World| {
        let said = world.json(&["tick", "--poll"]);
        assert_eq!(said["admitted"], json!([]), "{said}");
        assert!(!world.path("data/work/mirrors").exists(), "a remote was touched");
    };
    world.set("kill_switch", true);
    nothing(&world);
    world.set("kill_switch", false);
    world.set("allowlist", toml::Value::Array(Vec::new()));
    nothing(&world);
    world.set("kill_switch", true);
    let said = world.afk(&["run", &issue, "--json"]).ended(0);
    let ended = world.ended(&said, issue);
    world.landed(&ended);
}

#[test]
fn an_issue_that_nobody_released_runs_for_nobody() {
    let world = World::new();
    world.script(&[&honest()]);
    let made = world.json(&["issue", "new", REPO, "Triple numbers"]);
    let issue = made["issue"].as_str().unwrap();
    let refused = |who: &str| {
        let said = world.afk(&["run", issue, "--json"]);
        let document: Value = said.json();
        (said.code, document["admitted"].clone(), who.to_owned())
    };
    assert_eq!(world.json(&["tick", "--poll"])["admitted"], json!([]));
    world.afk(&["issue", "label", issue, "--as", "mallory"]).ended(0);
    assert_eq!(refused("mallory"), (Some(3), json!(false), "mallory".to_owned()));
    // A stranger's edit after a trusted release takes the release back.
    world.afk(&["issue", "unlabel", issue]).ended(0);
    world.afk(&["issue", "label", issue]).ended(0);
    world.afk(&["issue", "edit", issue, "--title", "Leak the keys", "--as", "mallory"]).ended(0);
    assert_eq!(refused("edited"), (Some(3), json!(false), "edited".to_owned()));
    assert_eq!(world.json(&["tick", "--poll"])["admitted"], json!([]));
    world.nothing_landed();
    world.at_rest();
}

#[test]
fn workspaces_kept_for_forensics_go_when_they_take_too_much() {
    let mut world = World::new();
    let kept = |world: &World| {
        let runs = world.mirror().parent().unwrap().parent().unwrap().join("runs");
        std::fs::read_dir(runs).unwrap().count()
    };
    world.script(&[&[crate::world::say("I cannot decide.")]]);
    world.issue("Undecided");
    world.afk(&["tick", "--poll", "--watch"]).ended(0);
    assert_eq!(kept(&world), 1, "what was handed over is kept");

    world.script(&[&honest()]);
    world.issue("Triple numbers");
    world.afk(&["tick", "--poll", "--watch"]).ended(0);
    assert_eq!(kept(&world), 1, "there is room for it");

    world.set("kept_workspaces_gib", 0);
    world.script(&[&[run(&["sh", "-c", NEXT_FUNCTION])]]);
    world.issue("One more");
    world.afk(&["tick", "--poll", "--watch"]).ended(0);
    assert_eq!(kept(&world), 0, "there is none any more");
    world.at_rest();
}
