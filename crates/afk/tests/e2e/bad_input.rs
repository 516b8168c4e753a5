//! Configurations and remotes that cannot work: a clear message, a stable code,
//! and nothing lost or locked.

use crate::support::{afk, finish, git, write, write_program};
use crate::world::{REPO, World, honest, strings};

#[test]
fn a_malformed_configuration_is_pointed_at() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("afk.toml");
    write(&file, "kill_switch = false\nallowlist = [\"o/calc\"\n\n[repos\n");
    for command in
        [&["status"][..], &["tick", "--poll"], &["run", "o/calc#1"], &["config", "check"]]
    {
        let mut command = afk(root.path(), command);
        let said = finish({
            command.arg("--config").arg(&file);
            command
        });
        // Problems are the result of `config check`, so they may be on standard output.
        let all = format!("{}{}", said.out, said.err);
        assert_eq!(said.code, Some(2), "{all}");
        assert!(all.contains("afk.toml:") && all.contains("is not TOML"), "{all}");
        let place = all.split("afk.toml:").nth(1).unwrap();
        let line: u32 = place.split(':').next().unwrap().parse().unwrap();
        assert!((2..=4).contains(&line), "{all}");
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "something was made");
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("afk.toml");
    write(&file, "kill_swich = false\n");
    let mut command = afk(root.path(), &["tick", "--poll"]);
    command.arg("--config").arg(&file);
    let said = finish(command).ended(2);
    said.complains(&["afk.toml:1:1", "kill_swich", "did you mean `kill_switch`?"]);
}

#[test]
fn a_wrong_value_from_a_variable_is_named() {
    let world = World::new();
    let mut command = world.command(&["tick", "--poll"]);
    command.env("AFK_KILL_SWITCH", "perhaps");
    finish(command).ended(2).complains(&["AFK_KILL_SWITCH"]);
    world.at_rest();
}

/// Checks that the machine gate refuses `run` because of `why`, and that the issue stays ready.
fn left_ready(world: &World, why: &str) {
    let issue = world.issue("Triple numbers");
    let refused = world.json_of(3, &["run", &issue]);
    let gates = refused["gates"].as_array().unwrap();
    let machine = gates.iter().find(|gate| gate["gate"] == "machine").unwrap();
    assert!(machine["why"].as_str().is_some_and(|told| told.contains(why)), "{machine}");
    let shown = world.json(&["issue", "show", &issue]);
    assert_eq!(shown["issue"]["labels"], serde_json::json!(["ready-for-agent"]), "{shown}");
    world.at_rest();
}

#[test]
fn a_remote_that_is_no_repository_leaves_the_issue_ready() {
    let mut world = World::new();
    std::fs::create_dir(world.path("empty")).unwrap();
    let good = world.origin();
    for remote in ["empty", "nowhere"] {
        let path = world.path(remote);
        world.set_repo("remote", path.to_str().unwrap());
        left_ready(&world, remote);
    }
    world.set_repo("remote", good.to_str().unwrap());
    world.goes_on();
}

#[test]
fn a_remote_without_a_commit_leaves_the_issue_ready() {
    let mut world = World::new();
    git(&world.path("home"), &["init", "-q", "--bare", world.path("bare.git").to_str().unwrap()]);
    let (bare, good) = (world.path("bare.git"), world.origin());
    world.set_repo("remote", bare.to_str().unwrap());
    left_ready(&world, "no default branch with a commit");
    world.set_repo("remote", good.to_str().unwrap());
    world.goes_on();
}

#[test]
fn a_remote_that_refuses_the_push_is_quoted() {
    let world = World::new();
    let hook = world.origin().join("hooks/pre-receive");
    write_program(&hook, "echo 'main is closed for the season' >&2\nexit 1");
    world.script(&[&honest()]);
    let ended = world.run(4);
    world.handed_over(&ended, &["refused the push", "main is closed for the season"]);
    world.nothing_landed();
    std::fs::remove_file(hook).unwrap();
    world.goes_on();
}

#[test]
fn an_issue_or_a_repository_that_is_not_there_is_named() {
    let world = World::new();
    let missing = format!("{REPO}#77");
    world.afk(&["run", &missing]).ended(2).complains(&[&missing]);
    world.afk(&["run", "o/other#1"]).ended(2).complains(&["o/other is not configured"]);
    world.afk(&["run", "nonsense"]).ended(2).complains(&["nonsense"]);
    world.at_rest();
}

#[test]
fn an_enrolled_repository_without_a_table_is_named() {
    let mut world = World::new();
    world.set("allowlist", strings(&[REPO, "o/forgotten"]));
    let said = world.afk(&["tick", "--poll"]).ended(2);
    said.complains(&["allowlist.1: is enrolled but not configured"]);
}

#[test]
fn a_hook_that_fails_goes_to_a_person_with_its_words() {
    let mut world = World::new();
    for hook in ["after_create", "before_run"] {
        let argv = strings(&["sh", "-c", "echo no room for this >&2; exit 9"]);
        world.set_repo(&format!("hooks.{hook}"), argv);
        let ended = world.run(4);
        world.handed_over(&ended, &[hook, "exit code 9", "no room for this"]);
        world.nothing_landed();
        world.set_repo(&format!("hooks.{hook}"), strings(&["true"]));
    }
    world.goes_on();
}

#[test]
fn a_script_that_cannot_be_followed_leaves_the_issue_ready() {
    let mut world = World::new();
    let nowhere = world.path("no-script.json");
    world.set("agents.scripted.script", nowhere.to_str().unwrap());
    let issue = world.issue("Triple numbers");
    let remedy = ["no-script.json", "correct `script`"];
    world.afk(&["run", &issue]).ended(6).complains(&remedy);
    let shown = world.json(&["issue", "show", &issue]);
    assert_eq!(shown["issue"]["labels"], serde_json::json!(["ready-for-agent"]));
    // One that cannot be followed, which would fail every turn in the same way.
    let broken = world.path("broken.json");
    std::fs::write(&broken, "{\"turns\": [{\"steps\": [{\"sing\": {}}]}]}").unwrap();
    world.set("agents.scripted.script", broken.to_str().unwrap());
    world.afk(&["run", &issue]).ended(6).complains(&["broken.json", "no step \"sing\""]);
    let script = world.path("script.json");
    world.set("agents.scripted.script", script.to_str().unwrap());
    world.goes_on();
}
