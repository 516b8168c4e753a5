//! A machine that lacks something: git, bubblewrap, the agent's CLI, disk space.

use std::ffi::OsString;
use std::path::Path;

use crate::support::{Said, finish, write_program};
use crate::world::{Ended, World, honest};

/// The search path with `folder` before everything else.
fn path_with(folder: &Path) -> OsString {
    let mut all = vec![folder.to_owned()];
    all.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    std::env::join_paths(all).unwrap()
}

#[track_caller]
fn run_with_path(world: &World, folder: &Path) -> (String, Said) {
    let issue = world.issue("Triple numbers");
    let mut command = world.command(&["run", &issue, "--json"]);
    command.env("PATH", path_with(folder));
    (issue, finish(command))
}

#[test]
fn a_git_that_is_too_old_is_refused() {
    let world = World::new();
    let bin = world.path("bin");
    write_program(&bin.join("git"), "echo 'git version 2.20.0'");
    let (_, said) = run_with_path(&world, &bin);
    said.ended(6).complains(&["2.20.0", "2.39", "update it"]);
    world.nothing_landed();
    world.goes_on();
}

#[test]
fn no_git_at_all_is_refused() {
    let world = World::new();
    let issue = world.issue("Triple numbers");
    let mut command = world.command(&["run", &issue]);
    command.env("PATH", world.path("home"));
    finish(command).ended(6).complains(&["git was not found", "install git"]);
    world.goes_on();
}

/// A folder with a bubblewrap that fails as if the kernel permitted it nothing.
fn refused_bubblewrap(world: &World) -> std::path::PathBuf {
    let bin = world.path("bin");
    write_program(
        &bin.join("bwrap"),
        "echo 'bwrap: No permissions to create a namespace' >&2; exit 1",
    );
    bin
}

/// Fault 9 of other bots: a sandbox that is installed but cannot start. `doctor` tries it and says
/// so, and no run begins, in which every command of the agent would fail.
#[test]
fn without_bubblewrap_a_required_sandbox_refuses() {
    let world = World::new();
    let bin = refused_bubblewrap(&world);
    let remedy = ["a full sandbox is required", "install bubblewrap", "or set sandbox = "];
    world.script(&[&honest()]);
    let mut doctor = world.command(&["doctor", "--quick", "--json"]);
    doctor.env("PATH", path_with(&bin));
    let report = finish(doctor);
    let found: serde_json::Value = serde_json::from_str(&report.out).unwrap();
    let found = found["findings"].as_array().unwrap().iter();
    let sandbox = found.filter(|one| one["about"] == "sandbox").collect::<Vec<_>>();
    let [sandbox] = sandbox[..] else { panic!("{}", report.out) };
    assert_eq!(sandbox["state"], "failure", "{sandbox}");
    for part in ["No permissions to create a namespace", remedy[1]] {
        assert!(sandbox.to_string().contains(part), "{sandbox}");
    }
    let (issue, said) = run_with_path(&world, &bin);
    said.ended(6).complains(&remedy);
    untouched(&world, &issue);
    // The loop says the same of every ready issue, and takes none.
    let mut tick = world.command(&["tick", "--poll", "--watch"]);
    tick.env("PATH", path_with(&bin));
    finish(tick).ended(0);
    untouched(&world, &issue);
    let mut explain = world.command(&["explain", &issue]);
    explain.env("PATH", path_with(&bin));
    let said = finish(explain).ended(3);
    assert!(said.out.contains("machine") && said.out.contains(remedy[0]), "{}", said.out);
    world.nothing_landed();
    world.goes_on();
}

#[test]
fn without_bubblewrap_a_preferred_sandbox_says_partial() {
    let mut world = World::new();
    world.set("sandbox", "preferred");
    let bin = refused_bubblewrap(&world);
    world.script(&[&honest()]);
    let (issue, said) = run_with_path(&world, &bin);
    let ended: Ended = world.ended(&said.ended(0), issue);
    world.landed(&ended);
    assert_eq!(ended.evidence["sandbox"], "partial");
    let mut status = world.command(&["status", "--json"]);
    status.env("PATH", path_with(&bin));
    let said = finish(status).ended(0).json();
    assert!(said["sandbox"].as_str().unwrap().starts_with("partial"), "{said}");
    world.goes_on();
}

#[test]
fn a_missing_claude_cli_refuses_and_never_gets_lost() {
    let mut world = World::new();
    world.set_repo("agent", "claude");
    let nowhere = world.path("no-claude");
    world.set("agents.claude.program", nowhere.to_str().unwrap());
    let issue = world.issue("Triple numbers");
    let remedy = ["the Claude CLI is not at", "agents.claude.program"];
    world.afk(&["run", &issue]).ended(6).complains(&remedy);
    untouched(&world, &issue);
    world.afk(&["tick", "--poll", "--watch"]).ended(0);
    untouched(&world, &issue);
    let said = world.json(&["status"]);
    let gates = said["ready"][0]["gates"]["gates"].as_array().unwrap();
    let machine = gates.iter().find(|gate| gate["gate"] == "machine").unwrap();
    assert!(machine["why"].as_str().unwrap().contains(remedy[0]), "{machine}");
    world.nothing_landed();
    world.set_repo("agent", "scripted");
    world.goes_on();
}

/// Checks that the issue is as it was released: nothing was begun.
#[track_caller]
fn untouched(world: &World, issue: &str) {
    let shown = world.json(&["issue", "show", issue]);
    assert_eq!(shown["issue"]["labels"], serde_json::json!(["ready-for-agent"]));
    assert_eq!(shown["comments"], serde_json::json!([]));
    world.at_rest();
}

/// A small file system mounted at a folder, until it is dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// Mounts it; none, with a visible line, if this user may not mount.
    fn at(folder: &Path, size: &str) -> Option<Self> {
        let mut mount = crate::support::clean("mount", Path::new("/"));
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "afk-e2e"]).arg(folder);
        let said = finish(mount);
        if said.code == Some(0) {
            return Some(Self(folder.to_owned()));
        }
        eprintln!("SKIPPED: cannot mount a small file system: {}", said.err.trim());
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut umount = crate::support::clean("umount", Path::new("/"));
        umount.arg("--lazy").arg(&self.0);
        finish(umount);
    }
}

#[test]
fn a_disk_without_room_for_a_run_leaves_the_issue_ready() {
    let mut world = World::new();
    let small = world.path("small");
    std::fs::create_dir(&small).unwrap();
    let Some(disk) = SmallDisk::at(&small, "64m") else { return };
    world.set("data_dir", small.to_str().unwrap());
    let issue = world.issue("Triple numbers");
    world.afk(&["run", &issue]).ended(6).complains(&["free", "small"]);
    untouched(&world, &issue);
    world.afk(&["tick", "--poll", "--watch"]).ended(0);
    untouched(&world, &issue);
    drop(disk);
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let mut world = World::new();
    let small = world.path("small");
    std::fs::create_dir(&small).unwrap();
    let Some(disk) = SmallDisk::at(&small, "4m") else { return };
    world.set("data_dir", small.to_str().unwrap());
    let issue = world.issue("Triple numbers");
    // Fills what is left, to the last byte.
    let filler = small.join("filler");
    let _ = std::fs::write(&filler, vec![0_u8; 8 << 20]);
    let said = world.afk(&["run", &issue, "--json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("full") || said.err.contains("No space"), "{said:?}");
    std::fs::remove_file(filler).unwrap();
    let shown = world.json(&["issue", "show", &issue]);
    assert_eq!(shown["issue"]["open"], true);
    assert_eq!(shown["issue"]["labels"], serde_json::json!(["ready-for-agent"]));
    world.at_rest();
    drop(disk);
}
