//! Resets an idle clone to another commit: nothing that was in it is lost, and nothing that the
//! agent planted runs outside the box.

use std::process::Command;

use afk_core::ids::Oid;
use afk_local::git::{RunClone, reset, status_argv};

use crate::fixture::{World, gits, plain, run_id, script, write};

/// Runs a command in the box, and returns its exit code.
fn boxed(world: &World, clone: &RunClone, argv: &[String]) -> i32 {
    let line = [&world.in_box(clone)[..], argv].concat();
    let output = Command::new(&line[0]).args(&line[1..]).output().unwrap();
    if !output.status.success() {
        eprintln!("{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.code().unwrap()
}

/// Runs a whole reset, in the engine's order; returns the commit of the leftovers.
async fn reset_onto(world: &World, clone: &RunClone, onto: &Oid) -> Oid {
    assert_eq!(boxed(world, clone, &reset::unlock()), 0);
    assert_eq!(boxed(world, clone, &reset::abandon()), 0);
    let whole = boxed(world, clone, &reset::add()) == 0;
    assert_eq!(boxed(world, clone, &reset::commit()), 0);
    let upload = world.boxed_upload_pack(clone);
    let left = clone.fetch_head(&world.mirror, run_id(), "leftovers-2", &upload).await.unwrap();
    assert_eq!(boxed(world, clone, &reset::checkout(onto)), 0);
    if whole {
        assert_eq!(boxed(world, clone, &reset::clean()), 0);
    }
    left
}

/// What is not committed in the clone, as git lists it.
fn status(world: &World, clone: &RunClone) -> String {
    let argv: Vec<String> = status_argv().into_iter().map(str::to_owned).collect();
    let line = [world.in_box(clone), argv].concat();
    let output = Command::new(&line[0]).args(&line[1..]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Creates a clone of a repository that ignores `built`, and a default branch that has moved since.
async fn moved(world: &World) -> (RunClone, Oid) {
    world.commit(".gitignore", "built\n", "ignore");
    world.commit("edited", "old\n", "edited");
    world.mirror.fetch().await.unwrap();
    let clone = world.clone().await;
    let onto = world.commit("theirs", "landed\n", "what landed");
    world.mirror.fetch().await.unwrap();
    (clone, onto)
}

#[tokio::test]
async fn everything_that_did_not_land_is_kept_and_the_default_head_stands() {
    for git in gits() {
        let world = World::ready(&git).await;
        let (clone, onto) = moved(&world).await;
        let committed = world.work(&clone, "committed", "but not landed");
        write(&clone.dir.join("built"), "long work");
        write(&clone.dir.join("edited"), "new\n");
        write(&clone.dir.join("staged"), "in the index");
        world.must(&clone.dir, &["add", "staged"]);
        write(&clone.dir.join("deep/er/un tracked"), "nobody added it");
        std::fs::remove_file(clone.dir.join("README")).unwrap();

        let left = reset_onto(&world, &clone, &onto).await;
        assert_eq!(world.oid(&clone.dir, "HEAD"), onto);
        assert_eq!(status(&world, &clone), "");
        assert_eq!(std::fs::read_to_string(clone.dir.join("theirs")).unwrap(), "landed\n");
        assert_eq!(std::fs::read_to_string(clone.dir.join("edited")).unwrap(), "old\n");
        assert!(clone.dir.join("README").exists() && !clone.dir.join("deep").exists());
        assert!(clone.dir.join("built").exists(), "what is ignored stays");
        // The branch that the agent works on is the one that moved.
        let branch = world.must(&clone.dir, &["symbolic-ref", "--short", "HEAD"]);
        assert!(branch.starts_with("afk/7-"), "{branch}");

        let mirror = world.mirror.dir();
        let kept = world.oid(mirror, &format!("refs/afk/{}/leftovers-2", run_id()));
        assert_eq!(kept, left);
        let shown = |path: &str| world.must(mirror, &["show", &format!("{left}:{path}")]);
        assert_eq!(shown("edited"), "new");
        assert_eq!(shown("staged"), "in the index");
        assert_eq!(shown("deep/er/un tracked"), "nobody added it");
        assert_eq!(shown("committed"), "but not landed");
        assert!(!plain(&git, mirror, &["cat-file", "-e", &format!("{left}:README")]).0);
        assert_eq!(world.oid(mirror, &format!("{left}^")), committed);

        // A repetition after a crash finds what was kept, and changes nothing.
        assert_eq!(reset_onto(&world, &clone, &onto).await, left);
        assert_eq!(world.oid(&clone.dir, "HEAD"), onto);
        assert_eq!(status(&world, &clone), "");
    }
}

#[tokio::test]
async fn what_a_stopped_git_left_behind_is_in_nobodys_way() {
    for git in gits() {
        let world = World::ready(&git).await;
        let (clone, onto) = moved(&world).await;
        world.work(&clone, "edited", "one side\n");
        world.must(&clone.dir, &["checkout", "-q", "-b", "other", "HEAD~1"]);
        world.work(&clone, "edited", "the other side\n");
        let (merged, _) = plain(&git, &clone.dir, &["rebase", "@{-1}"]);
        assert!(!merged, "it conflicts and stays half done");
        write(&clone.dir.join(".git/index.lock"), "");
        let (works, _) = plain(&git, &clone.dir, &["add", "-A"]);
        assert!(!works, "plain git is stopped by it, so that this test can fail");
        let left = reset_onto(&world, &clone, &onto).await;
        assert_eq!(world.oid(&clone.dir, "HEAD"), onto);
        assert_eq!(status(&world, &clone), "");
        let text = world.must(world.mirror.dir(), &["show", &format!("{left}:edited")]);
        assert!(text.contains("one side") && text.contains("the other side"), "{text}");
        // And the next commit is a plain one.
        world.work(&clone, "fix", "1");
        assert_eq!(world.oid(&clone.dir, "HEAD~1"), onto);
    }
}

#[tokio::test]
async fn a_file_that_git_cannot_take_stays_where_it_is() {
    for git in gits() {
        let world = World::ready(&git).await;
        let (clone, onto) = moved(&world).await;
        let inner = clone.dir.join("fixture");
        std::fs::create_dir(&inner).unwrap();
        world.must(&inner, &["init", "-q"]);
        write(&inner.join("precious"), "x");
        write(&clone.dir.join("beside"), "taken");
        let left = reset_onto(&world, &clone, &onto).await;
        assert_eq!(world.oid(&clone.dir, "HEAD"), onto);
        assert!(
            inner.join("precious").exists(),
            "a repository of its own without a commit is not a loss"
        );
        let beside = world.must(world.mirror.dir(), &["show", &format!("{left}:beside")]);
        assert_eq!(beside, "taken");
    }
}

#[tokio::test]
async fn nothing_that_is_planted_runs_outside_the_box() {
    for git in gits() {
        let world = World::ready(&git).await;
        let (clone, onto) = moved(&world).await;
        let tool = world.path("tool");
        script(&tool, &format!("{}; cat", world.fire()));
        let (tool, inside) = (tool.display(), clone.dir.join(".git"));
        for hook in ["pre-commit", "post-commit", "post-checkout", "reference-transaction"] {
            script(&inside.join("hooks").join(hook), &world.fire());
        }
        let planted = format!(
            "{}\n[core]\n\tfsmonitor = {tool}\n\teditor = {tool}\n\talternateRefsCommand = {tool}\n\
             [commit]\n\tgpgSign = true\n[gpg]\n\tprogram = {tool}\n\
             [filter \"x\"]\n\tclean = {tool}\n\tsmudge = {tool}\n",
            std::fs::read_to_string(inside.join("config")).unwrap()
        );
        write(&inside.join("config"), &planted);
        write(&clone.dir.join(".gitattributes"), "* filter=x\n");
        write(&clone.dir.join("left"), "over");
        for argv in [reset::add(), reset::commit()] {
            let args: Vec<&str> = argv[1..].iter().map(String::as_str).collect();
            plain(&git, &clone.dir, &args);
        }
        assert!(world.fired(), "without the box a filter fires, so that this test can fail");
        world.must(
            &clone.dir,
            &[
                "-c",
                "core.hooksPath=/dev/null",
                "-c",
                "core.fsmonitor=",
                "update-ref",
                "HEAD",
                clone.base.as_str(),
            ],
        );
        world.fired();
        write(&clone.dir.join("left"), "over again");
        reset_onto(&world, &clone, &onto).await;
        assert!(!world.fired());
        assert_eq!(world.oid(&clone.dir, "HEAD"), onto);
    }
}

#[tokio::test]
async fn who_comes_after_a_commit_is_told_by_first_parents_oldest_first() {
    for git in gits() {
        let world = World::ready(&git).await;
        let ours = world.commit("ours", "1", "ours");
        world.must(&world.seed, &["checkout", "-q", "-b", "side", "HEAD~1"]);
        write(&world.seed.join("side"), "1");
        world.must(&world.seed, &["add", "-A"]);
        world.must(&world.seed, &["commit", "-q", "-m", "beside"]);
        let beside = world.oid(&world.seed, "HEAD");
        world.must(&world.seed, &["checkout", "-q", "-"]);
        world.must(&world.seed, &["merge", "-q", "--no-ff", "-m", "merged", "side"]);
        let merged = world.oid(&world.seed, "HEAD");
        let last = world.commit("last", "1", "last");
        world.mirror.fetch().await.unwrap();
        let after = async |commit: &Oid, at_most| {
            let found = world.mirror.descendants("main", commit, at_most).await.unwrap();
            found.into_iter().map(|commit| commit.id).collect::<Vec<_>>()
        };
        assert_eq!(after(&ours, 10).await, [merged.clone(), last.clone()]);
        assert_eq!(after(&ours, 1).await, [merged], "the oldest are asked first");
        assert_eq!(after(&last, 10).await, Vec::<Oid>::new());
        assert_eq!(after(&beside, 0).await, Vec::<Oid>::new());
    }
}
