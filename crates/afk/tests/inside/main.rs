//! What a corrupted agent can try from inside its run, and what a hostile project
//! can try from verify and stages: none of it gets out, and the run ends honestly.
//!
//! Every attack is first tried outside by the same user, and must work there, so that
//! its failure in the run means something. In the run each writes its verdict into a
//! file that the agent lands, where the test reads it. What is planted to fire later
//! (hooks, configuration, another `.git`) would leave a file, with its name, in a folder
//! that no box shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]
#![allow(clippy::print_stderr, reason = "a test that is left out says so")]
#![allow(clippy::format_push_string, reason = "a test may be plain")]

#[path = "../common/mod.rs"]
mod common;
mod scene;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::{ISSUE, Plan, git, honest, sh, texts};
use scene::{PLANT, Scene, as_user, named, nobody};
use serde_json::Value;

fn a_turn_that_attacks(user: Option<u32>) {
    let mut scene = Scene::new(&Plan { user, ..Plan::default() });
    let attacks = scene.attacks();
    scene.controls(&attacks);
    let mut steps = scene.plants();
    steps.extend(scene.tries(&attacks));
    let mut turn = honest(steps);
    turn.extend([
        sh("cp \"$HOME/verdicts\" verdicts.txt"),
        common::commit("Write down what was tried", &["verdicts.txt"]),
    ]);
    scene.world.script(&[turn]);
    scene.world.ok(&["run", ISSUE]);
    scene.world.assert_done_once();
    let verdicts = scene.world.landed_file("verdicts.txt");
    let worked: Vec<&str> = verdicts.lines().filter(|line| !line.ends_with(": stopped")).collect();
    assert!(worked.is_empty(), "{worked:#?}");
    assert_eq!(verdicts.lines().count(), attacks.len(), "{verdicts}");
    scene.unharmed();
    assert_eq!(scene.world.landed_file("hello.sh"), common::FIXED);
    println!("{} attacks of a turn stopped, each works outside", attacks.len());
}

#[test]
fn a_turn_that_attacks_as_we_are() {
    a_turn_that_attacks(None);
}

#[test]
fn a_turn_that_attacks_as_nobody() {
    if let Some(user) = nobody("a_turn_that_attacks_as_nobody") {
        a_turn_that_attacks(Some(user));
    }
}

/// Verify and stage try the attacks that only read; the first that works makes them red.
fn judges_that_attack(user: Option<u32>) {
    // The words name the world, which is made with them: so they come by a file of the gate.
    let line = "sh @GATE@/attacks.sh || exit 3".to_owned();
    let plan = Plan {
        verify: line.clone(),
        stage: line,
        user,
        turns: vec![honest(vec![])],
        ..Plan::default()
    };
    let mut scene = Scene::new(&plan);
    let attacks = scene.attacks();
    scene.controls(&attacks);
    fs::write(scene.world.path("gate/attacks.sh"), scene.lines(&attacks)).unwrap();
    // The control of the lines: outside, the first of them fails.
    let outside = as_user(user, "sh").arg(scene.world.path("gate/attacks.sh")).output().unwrap();
    assert_eq!(outside.status.code(), Some(3), "{}", texts(&outside).0);
    scene.world.ok(&["run", ISSUE]);
    scene.world.assert_done_once();
    let evidence = scene.world.json(&["evidence", ISSUE]);
    let tried = attacks.iter().filter(|attack| attack.reads).count();
    let words = format!("{tried} attacks in vain");
    assert!(evidence.to_string().contains(&words), "{evidence:#}");
    scene.unharmed();
    println!("{tried} attacks of verify and stage stopped");
}

#[test]
fn judges_that_attack_as_we_are() {
    judges_that_attack(None);
}

#[test]
fn judges_that_attack_as_nobody() {
    if let Some(user) = nobody("judges_that_attack_as_nobody") {
        judges_that_attack(Some(user));
    }
}

/// Checks that the run landed honestly, or was refused with nothing landed; returns which.
fn honest_or_refused(scene: &mut Scene) -> Value {
    let output = scene.world.afk(&["run", ISSUE]);
    let (out, err) = texts(&output);
    let page = scene.world.show();
    match page["summary"]["outcome"].as_str() {
        Some("done") => scene.world.assert_done_once(),
        Some("needs-human" | "needs_human") => {
            assert_eq!(scene.world.landed().len(), 1, "{page:#}");
        }
        _ => panic!("no end: {out}\n{err}\n{page:#}"),
    }
    scene.unharmed();
    println!("{}: {}", page["summary"]["outcome"], page["summary"]["why"]);
    page
}

/// A red landing is fixed forward in a workspace that the first turn has filled with plants.
fn a_reset_over_plants(user: Option<u32>) {
    let stage = "if grep -q broken hello.sh; then echo it is broken; exit 1; fi".to_owned();
    let mut scene = Scene::new(&Plan { stage, user, ..Plan::default() });
    let mut red = honest(vec![]);
    red.extend([
        sh("echo '# broken' >> hello.sh"),
        common::commit("Break it", &["hello.sh"]),
        sh("echo precious > scratch; mkdir -p deep/er; echo more > deep/er/file"),
    ]);
    red.extend(scene.plants());
    // The dirt is asked about, and stays.
    let idle = vec![sh("echo started >> \"$HOME/starts\"")];
    let mend = vec![
        sh("test ! -e scratch && test ! -e deep && grep -q broken hello.sh"),
        common::write("hello.sh", common::FIXED),
        common::commit("Mend it", &["hello.sh"]),
    ];
    scene.world.script(&[red, idle, mend]);
    scene.world.ok(&["run", ISSUE]);
    let page = scene.world.show();
    assert_eq!(page["summary"]["outcome"], "done", "{page:#}");
    let attempts = page["run"]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{page:#}");
    assert!(attempts[1]["reset"]["leftovers"].is_string(), "{:#}", attempts[1]);
    assert_eq!(scene.world.landed().len(), 3, "the first, the red one and its fix");
    assert_eq!(scene.world.landed_file("hello.sh"), common::FIXED);
    scene.unharmed();
}

#[test]
fn a_reset_over_plants_as_we_are() {
    a_reset_over_plants(None);
}

#[test]
fn a_reset_over_plants_as_nobody() {
    if let Some(user) = nobody("a_reset_over_plants_as_nobody") {
        a_reset_over_plants(Some(user));
    }
}

#[test]
fn another_git_folder_in_place_of_the_clones() {
    let mut scene = Scene::new(&Plan::default());
    let canary = scene.fill("@WORLD@/canary");
    let mut turn = honest(vec![]);
    turn.push(sh(&format!(
        "cp -r .git \"$HOME/evil\"\nprintf '#!/bin/sh\\ntouch {canary}/swapped\\n' > \"$HOME/tool\"\n\
         chmod +x \"$HOME/tool\"\ngit --git-dir=\"$HOME/evil\" config core.fsmonitor \"$HOME/tool\"\n\
         git --git-dir=\"$HOME/evil\" config core.worktree \"$PWD\"\nrm -rf .git\n\
         echo \"gitdir: $HOME/evil\" > .git"
    )));
    scene.world.script(&vec![turn; 5]);
    honest_or_refused(&mut scene);
}

#[test]
fn alternates_that_name_another_repository() {
    let mut scene = Scene::new(&Plan::default());
    let private = scene.world.path("private");
    fs::create_dir(&private).unwrap();
    git(&private, &["init", "-q"]);
    fs::write(private.join("secret"), "CANARY-OF-THE-PRIVATE-REPOSITORY\n").unwrap();
    let oid = git(&private, &["hash-object", "-w", "secret"]).trim().to_owned();
    let mut turn = honest(vec![]);
    turn.push(sh(&format!(
        "echo {private}/.git/objects >> .git/objects/info/alternates\n\
         git update-index --add --cacheinfo 100644,{oid},stolen.txt\n\
         t=$(git write-tree --missing-ok)\n\
         c=$(git commit-tree $t -p HEAD -m 'Take it along')\ngit update-ref HEAD $c\n\
         printf x > stolen.txt; git update-index --assume-unchanged stolen.txt",
        private = private.display()
    )));
    scene.world.script(&vec![turn; 5]);
    let page = honest_or_refused(&mut scene);
    assert_ne!(page["summary"]["outcome"], "done", "a commit without its objects cannot land");
    let origin = scene.world.path("origin.git");
    let stolen = Command::new("git").args(["cat-file", "-e", &oid]).current_dir(origin).status();
    assert!(!stolen.unwrap().success(), "the origin has the secret");
    assert!(!page.to_string().contains("CANARY-OF-THE-PRIVATE"));
}

#[test]
fn alternates_that_are_gone() {
    // This one ends with a person and keeps its folders: what was planted would be found.
    let mut scene = Scene::new(&Plan::default());
    let mut turn = honest(scene.plants());
    turn.push(sh(
        "rm -f .git/objects/info/alternates; echo /nowhere > .git/objects/info/alternates",
    ));
    scene.world.script(&vec![turn; 5]);
    honest_or_refused(&mut scene);
    let runs = scene.world.path("data/work/runs");
    let kept = fs::read_dir(&runs).unwrap().flatten().map(|entry| entry.path());
    let kept: Vec<PathBuf> = kept.filter(|run| run.join("clone/.git/hooks").exists()).collect();
    assert_eq!(kept.len(), 1, "the workspace is kept");
    // The control of the search.
    fs::write(kept[0].join(PLANT), "").unwrap();
    assert_eq!(named(&scene.world.path(""), PLANT), [kept[0].join(PLANT)]);
}
