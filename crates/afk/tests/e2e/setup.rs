//! A new machine: the first configuration, and what `doctor` says about what is missing.

use serde_json::{Value, json};

use crate::support::{Said, afk, clean, finish, git, write};
use crate::world::{REPO, World, honest, strings};

/// A folder with an empty home and a repository that has these files.
fn project(remote: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::Builder::new().prefix("afk-e2e-").tempdir().unwrap();
    let web = root.path().join("web");
    std::fs::create_dir_all(root.path().join("home")).unwrap();
    std::fs::create_dir_all(&web).unwrap();
    git(&web, &["init", "-q", "--initial-branch=main"]);
    if !remote.is_empty() {
        git(&web, &["remote", "add", "origin", remote]);
    }
    for (name, text) in files {
        write(&web.join(name), text);
    }
    root
}

/// `afk` in the repository.
#[track_caller]
fn here(root: &tempfile::TempDir, args: &[&str]) -> Said {
    let mut command = afk(&root.path().join("home"), args);
    command.current_dir(root.path().join("web"));
    finish(command)
}

#[test]
fn a_first_configuration_is_valid_and_disarmed_for_each_language() {
    for (name, text, verify) in [
        ("Cargo.toml", "[package]\n", json!(["cargo", "test", "--quiet"])),
        ("go.mod", "module x\n", json!(["go", "test", "./..."])),
        ("package.json", "{\"scripts\": {\"test\": \"true\"}}", json!(["npm", "test"])),
        ("tests/test_a.py", "", json!(["python3", "-m", "unittest", "discover", "-s", "tests"])),
        ("Makefile", "test:\n\ttrue\n", json!(["make", "test"])),
        ("test.sh", "true\n", json!(["sh", "test.sh"])),
    ] {
        let root = project("git@forge.example:you/web.git", &[(name, text)]);
        let made = here(&root, &["init", "--json"]).ended(0).json();
        assert_eq!((&made["repo"], &made["written"]), (&json!("you/web"), &json!(true)), "{name}");
        assert_eq!(made["proposal"]["verify"], verify, "{name}");
        let file = root.path().join("home/.config/afk/config.toml");
        let written = std::fs::read_to_string(&file).unwrap();
        assert_eq!(made["text"], json!(written));
        let checked = here(&root, &["config", "check", "--json"]).ended(0).json();
        assert_eq!((&checked["ok"], &checked["warnings"]), (&json!(true), &json!([])), "{written}");
        assert!(written.contains("kill_switch = true\nallowlist = []"), "{written}");
        // The next steps that it proposes work.
        here(&root, &["enroll", "you/web"]).ended(0);
    }
}

#[test]
fn a_file_that_is_there_is_left_as_it_is() {
    let root = project("/srv/you/web.git", &[("test.sh", "true\n"), ("ci.sh", "true\n")]);
    let file = root.path().join("home/.config/afk/config.toml");
    write(&file, "# mine\n");
    let said = here(&root, &["init"]).ended(2);
    said.complains(&["never overwrites a file", "to add you/web to it", "    afk enroll"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine\n");
    // The command that it proposes does what `init` would have done.
    let line = said.err.lines().find(|line| line.trim().starts_with("afk enroll")).unwrap();
    let mut shell = clean("sh", &root.path().join("home"));
    let program = env!("CARGO_BIN_EXE_afk");
    shell.arg("-c").arg(line.trim().replacen("afk", program, 1));
    shell.current_dir(root.path().join("web"));
    finish(shell).ended(0);
    let shown = std::fs::read_to_string(&file).unwrap();
    assert!(shown.contains("# mine") && shown.contains("\"ci.sh\""), "{shown}");
    here(&root, &["config", "check"]).ended(0);
}

#[test]
fn print_writes_nothing_and_no_repository_is_no_obstacle() {
    let root = project("", &[]);
    let shown = here(&root, &["init", "--print"]).ended(0).out;
    assert!(shown.contains("# [repos.\"local/web\"]"), "{shown}");
    let elsewhere = || afk(&root.path().join("home"), &["init", "--print"]);
    let shown = finish(elsewhere()).ended(0).out;
    assert!(shown.contains("# No git repository was found here"), "{shown}");
    let mut with_nothing = elsewhere();
    with_nothing.env("PATH", "/nowhere");
    let shown = finish(with_nothing).ended(0).out;
    assert!(shown.contains("The Claude CLI was not found"), "{shown}");
    assert_eq!(std::fs::read_dir(root.path().join("home")).unwrap().count(), 0);
}

#[test]
fn where_git_is_missing_or_refuses_nothing_is_written() {
    let root = project("/srv/you/web.git", &[("test.sh", "true\n")]);
    let init = |name: &str, value: &str| {
        let mut command = afk(&root.path().join("home"), &["init"]);
        command.current_dir(root.path().join("web")).env(name, value);
        finish(command)
    };
    init("PATH", "/nowhere").ended(6).complains(&["git was not found: install git"]);
    let said = init("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1").ended(2);
    said.complains(&["git refuses to work in this folder", "dubious ownership", "safe.directory"]);
    // What would be written can be seen, and says the same.
    let print = |name: &str, value: &str, why: &str| {
        let mut command = afk(&root.path().join("home"), &["init", "--print"]);
        command.current_dir(root.path().join("web")).env(name, value);
        let said = finish(command).ended(0);
        said.complains(&["it is not known whether", why]);
        let told = said.out.lines().any(|line| line.starts_with('#') && line.contains(why));
        assert!(told && !said.out.contains("No git repository was found"), "{}", said.out);
    };
    print("PATH", "/nowhere", "git was not found: install git");
    print("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1", "dubious ownership");
    assert_eq!(std::fs::read_dir(root.path().join("home")).unwrap().count(), 0);
}

#[test]
fn a_table_that_is_not_complete_is_answered_with_the_command_that_completes_it() {
    let root = project("/srv/you/web.git", &[("README.md", "# Nothing yet\n")]);
    for code in [0, 2] {
        let said = here(&root, &["init"]).ended(code);
        said.complains(&["\n    afk enroll --verify 'COMMAND'"]);
    }
    let remote = "https://me:s3cret@forge.example/you/web.git";
    let root = project(remote, &[("test.sh", "true\n")]);
    for (args, code) in [(["init"], 0), (["enroll"], 2)] {
        let said = here(&root, &args).ended(code);
        said.complains(&["must contain no user", "--remote https://forge.example/you/web.git"]);
        assert!(!format!("{}{}", said.out, said.err).contains("s3cret"), "{}", said.err);
    }
}

/// The finding of `afk doctor` about one thing of a group.
#[track_caller]
fn finding(report: &Value, group: &str, about: &str) -> Value {
    let all = report["findings"].as_array().unwrap();
    let found = all.iter().find(|one| one["group"] == group && one["about"] == about);
    found.unwrap_or_else(|| panic!("nothing on {group} {about}: {report:#}")).clone()
}

#[track_caller]
fn doctor(world: &World, code: i32) -> Value {
    world.afk(&["doctor", "--json"]).ended(code).json()
}

#[test]
fn a_sound_installation_has_no_failure() {
    let world = World::new();
    let report = doctor(&world, 0);
    for (group, about) in [
        ("configuration", "file"),
        ("configuration", "allowlist"),
        ("machine", "git"),
        ("machine", "sandbox"),
        ("machine", "hosts"),
        ("machine", "leftovers"),
        (REPO, "remote"),
        (REPO, "programs"),
        (REPO, "policy"),
        (REPO, "tests"),
        (REPO, "workable"),
    ] {
        assert_eq!(finding(&report, group, about)["state"], "ok", "{group} {about}");
    }
    let shown = world.afk(&["doctor", "--fix", "--all"]).ended(0).out;
    assert!(shown.contains("there are none to create"), "{shown}");
    assert!(!shown.contains('✗'), "{shown}");
    world.at_rest();
}

#[test]
fn what_is_missing_is_named_with_its_mending() {
    let mut world = World::with(&[
        (".afk/WORKFLOW.md", "+++\nbugdet_usd = 1\n+++\n"),
        (".gitattributes", "secret filter=git-crypt\n"),
    ]);
    world.set("kill_switch", true);
    world.set_repo("verify", strings(&["no-such-program"]));
    world.set_repo("agent", "claude");
    world.set("agents.claude.program", "/nowhere/claude");
    let report = doctor(&world, 6);
    for (group, about, says, remedy) in [
        ("machine", "Claude CLI", "/nowhere/claude", None),
        (REPO, "programs", "no-such-program", Some("install it")),
        (
            REPO,
            "policy",
            ".afk/WORKFLOW.md:2: bugdet_usd is not a key of a policy",
            Some("default branch"),
        ),
        (
            REPO,
            "workable",
            ".gitattributes sends files through git-crypt",
            Some("leave this repository to people"),
        ),
    ] {
        let found = finding(&report, group, about);
        assert_eq!(found["state"], "failure", "{found}");
        assert!(found["says"].as_str().unwrap().contains(says), "{found}");
        let told = found["remedy"].as_str().unwrap_or_default();
        assert!(remedy.is_none_or(|remedy| told.contains(remedy)), "{found}");
    }
    assert_eq!(finding(&report, "configuration", "kill switch")["state"], "note");
    world.set_repo("remote", world.path("nowhere").to_str().unwrap());
    let report = doctor(&world, 6);
    assert_eq!(finding(&report, REPO, "remote")["state"], "failure");
    world.at_rest();
}

/// `verify` on the default branch: it passes and is remembered, it fails, it hangs.
#[test]
fn the_doctor_runs_verify_as_the_loop_does() {
    let mut world = World::new();
    let verified = |world: &World, code: i32, more: &[&str]| {
        let args = [&["doctor", "--json", "--verify"], more].concat();
        finding(&world.afk(&args).ended(code).json(), REPO, "verify")
    };
    let head = world.head();
    let passes = verified(&world, 0, &[]);
    let says = passes["says"].as_str().unwrap();
    assert_eq!(passes["state"], "ok", "{passes}");
    assert!(says.starts_with(&format!("passes on main at {} in ", &head[..8])), "{says}");
    assert!(passes["seconds"].as_f64().unwrap() > 0.0);
    let again = verified(&world, 0, &[REPO]);
    assert!(again["says"].as_str().unwrap().ends_with("as it did before"), "{again}");
    assert_eq!(again["seconds"], passes["seconds"], "it was not run again");
    world.script(&[&honest()]);
    let ended = world.run(0);
    world.landed(&ended);
    world.at_rest();

    world.land_anew("tests/bad.sh", "echo this is why; exit 1\n");
    let fails = verified(&world, 6, &[REPO]);
    assert_eq!(fails["state"], "failure");
    assert!(fails["says"].as_str().unwrap().starts_with("fails (exit code 1) on main at"));
    assert!(fails["output"].as_str().unwrap().contains("this is why"), "{fails}");
    assert!(fails["remedy"].as_str().unwrap().contains("fix the default branch"), "{fails}");
    let shown = world.afk(&["doctor"]).ended(6);
    assert!(shown.out.contains("│ this is why"), "{}", shown.out);
    assert!(shown.err.contains("o/calc: verify"), "{}", shown.err);

    world.set_repo("verify", strings(&["sh", "-c", "sleep 1000"]));
    world.set_repo("verify_timeout_seconds", 1);
    let hangs = verified(&world, 6, &[]);
    assert!(hangs["says"].as_str().unwrap().contains("could not run"), "{hangs}");
    assert!(hangs["remedy"].as_str().unwrap().contains("verify_timeout_seconds"), "{hangs}");
    world.afk(&["doctor", "--verify", "o/other"]).ended(2).complains(&["o/other"]);
    world.at_rest();
    let left =
        |name: &str| std::fs::read_dir(world.path("data").join(name)).map_or(0, Iterator::count);
    assert_eq!((left("work/jobs"), left("work/runs")), (0, 0), "nothing lies about");
}

#[test]
fn a_bad_configuration_is_told_and_the_machine_all_the_same() {
    let mut world = World::new();
    world.set("kill_swich", true);
    let report = doctor(&world, 2);
    let found = finding(&report, "configuration", "file");
    assert!(found["says"].as_str().unwrap().contains("did you mean `kill_switch`?"), "{found}");
    assert_eq!(finding(&report, "machine", "git")["state"], "ok");
    assert!(!world.path("data/afk.db").exists(), "it made nothing");
}

#[test]
fn a_release_by_nobody_trusted_and_a_repository_without_tests_are_told() {
    let mut world = World::new();
    world.set_repo("proof.tests", strings(&["nothing/**"]));
    world.json(&["issue", "new", REPO, "Title", "--as", "eve"]);
    world.afk(&["issue", "label", "o/calc#1", "--as", "eve"]).ended(0);
    let report = doctor(&world, 0);
    let release = finding(&report, REPO, "release");
    assert_eq!(release["state"], "warning");
    assert!(release["says"].as_str().unwrap().starts_with("o/calc#1: "), "{release}");
    assert_eq!(finding(&report, REPO, "tests")["state"], "warning");
}
