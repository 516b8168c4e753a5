//! A clone as a manipulated agent leaves it, and a control plane that fetches from it.
//!
//! Each test plants an attack, shows that it works with plain git, and then that it does not work
//! through the adapter.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use afk_local::git::{GitError, RunClone};

use crate::fixture::{World, gits, plain, run_id, script, write};

/// Does everything that the control plane ever does with a clone.
async fn touch(world: &World, clone: &RunClone, boxed: bool) -> Result<(), GitError> {
    let upload = if boxed { world.boxed_upload_pack(clone) } else { World::bare_upload_pack() };
    let seen = clone.advertised(&world.mirror, &upload).await;
    let fetched = clone.fetch_head(&world.mirror, run_id(), "1", &upload).await;
    let found = RunClone::find(&world.mirror, run_id(), &clone.dir).await;
    seen.map(drop).and(fetched.map(drop)).and(found.map(drop))
}

fn append(path: &Path, text: &str) {
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn hooks_and_configuration_of_the_clone_are_not_obeyed() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, "new", "x");
        let tool = world.path("tool");
        script(&tool, &format!("{}; exit 1", world.fire()));
        let inside = clone.dir.join(".git");
        for hook in ["pre-push", "post-checkout", "reference-transaction", "post-index-change"] {
            script(&inside.join("hooks").join(hook), &world.fire());
        }
        let tool = tool.display();
        append(
            &inside.join("config"),
            &format!(
                "[core]\n\tfsmonitor = {tool}\n\tsshCommand = {tool}\n\tpager = {tool}\n\
                 \talternateRefsCommand = {tool}\n\tgitProxy = {tool}\n\teditor = {tool}\n\
                 [uploadpack]\n\tpackObjectsHook = {tool}\n[credential]\n\thelper = !{tool}\n\
                 [filter \"x\"]\n\tclean = {tool}\n\tprocess = {tool}\n[diff]\n\texternal = {tool}\n"
            ),
        );
        write(&clone.dir.join(".gitattributes"), "* filter=x\n");
        plain(&git, &clone.dir, &["status"]);
        assert!(world.fired(), "plain git obeys it, so that this test can fail");
        for boxed in [true, false] {
            touch(&world, &clone, boxed).await.unwrap();
            assert!(!world.fired(), "boxed: {boxed}");
        }
    }
}

#[tokio::test]
async fn a_promised_object_is_not_gone_for() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, "new", "x");
        let tool = world.path("tool");
        script(&tool, &format!("{}; exit 1", world.fire()));
        let inside = clone.dir.join(".git");
        let blob = world.oid(&clone.dir, "HEAD:new").to_string();
        std::fs::remove_file(inside.join("objects").join(&blob[..2]).join(&blob[2..])).unwrap();
        append(
            &inside.join("config"),
            &format!(
                "[core]\n\tsshCommand = {}\n\trepositoryFormatVersion = 1\n\
                 [extensions]\n\tpartialClone = promise\n\
                 [remote \"promise\"]\n\turl = ssh://x/y\n\tpromisor = true\n",
                tool.display()
            ),
        );
        plain(&git, &clone.dir, &["-c", "protocol.ssh.allow=always", "cat-file", "-p", &blob]);
        assert!(world.fired(), "plain git goes for it, so that this test can fail");
        for boxed in [true, false] {
            touch(&world, &clone, boxed).await.unwrap_err();
            assert!(!world.fired(), "boxed: {boxed}");
        }
    }
}

#[tokio::test]
async fn a_swapped_git_file_leads_nowhere() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, "new", "x");
        let tool = world.path("tool");
        script(&tool, &format!("{}; exit 1", world.fire()));
        let evil = world.path("evil.git");
        std::fs::rename(clone.dir.join(".git"), &evil).unwrap();
        append(&evil.join("config"), &format!("[core]\n\tfsmonitor = {}\n", tool.display()));
        write(&clone.dir.join(".git"), &format!("gitdir: {}\n", evil.display()));
        plain(&git, &clone.dir, &["status"]);
        assert!(world.fired(), "plain git obeys it, so that this test can fail");
        // Without a box the link leads out (and is not followed even there), in the box to nothing.
        touch(&world, &clone, true).await.unwrap_err();
        touch(&world, &clone, false).await.unwrap();
        assert!(!world.fired());
        world.mirror.forget(run_id()).await.unwrap();
        // The same by a symlink.
        std::fs::remove_file(clone.dir.join(".git")).unwrap();
        std::os::unix::fs::symlink(&evil, clone.dir.join(".git")).unwrap();
        world.mirror.keep(run_id(), "base", &clone.base).await.unwrap();
        touch(&world, &clone, true).await.unwrap_err();
        touch(&world, &clone, false).await.unwrap();
        assert!(!world.fired());
    }
}

#[tokio::test]
async fn a_clone_that_became_a_symlink_or_a_bundle_is_refused() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, "new", "x");
        let bundle = world.path("b.bundle");
        world.must(&clone.dir, &["bundle", "create", "-q", bundle.to_str().unwrap(), "HEAD"]);
        let aside = clone.dir.with_extension("aside");
        let inside = clone.dir.join(".git");
        std::fs::rename(&inside, clone.dir.join("kept")).unwrap();
        std::fs::copy(&bundle, &inside).unwrap();
        let spec = "HEAD:refs/heads/taken";
        world.must(&world.seed, &["fetch", "-q", inside.to_str().unwrap(), spec]);
        touch(&world, &clone, true).await.unwrap_err();
        std::fs::rename(&clone.dir, &aside).unwrap();
        std::os::unix::fs::symlink("/", &clone.dir).unwrap();
        let refused = RunClone::find(&world.mirror, run_id(), &clone.dir).await.unwrap_err();
        assert!(refused.to_string().contains("not a folder"), "{refused}");
    }
}

#[tokio::test]
async fn poisoned_alternates_read_nothing_through_the_box() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        // Somebody else's repository, on the same disk.
        let other = world.path("private");
        std::fs::create_dir(&other).unwrap();
        world.must(&other, &["init", "-q"]);
        write(&other.join("key"), "private\n");
        world.must(&other, &["add", "-A"]);
        world.must(&other, &["commit", "-q", "-m", "private"]);
        let theirs = world.oid(&other, "HEAD");
        let info = clone.dir.join(".git/objects/info/alternates");
        append(&info, &format!("{}\n", other.join(".git/objects").display()));
        write(&clone.dir.join(".git/HEAD"), &format!("{theirs}\n"));

        let boxed = world.boxed_upload_pack(&clone);
        let refused = clone.fetch_head(&world.mirror, run_id(), "1", &boxed).await;
        assert!(refused.is_err(), "{refused:?}");
        assert!(!world.mirror.has(&theirs).await.unwrap());
        let bare = World::bare_upload_pack();
        let taken = clone.fetch_head(&world.mirror, run_id(), "2", &bare).await.unwrap();
        assert_eq!(taken, theirs, "without the box it is read, so that this test can fail");
    }
}

/// Makes a tree object that git itself would refuse to make.
fn bad_tree(world: &World, clone: &RunClone, entry: &str, mode: &str) -> String {
    let dir = &clone.dir;
    let blob = world.oid(dir, &format!("{}:README", clone.base));
    let mut bytes = format!("{mode} {entry}\0").into_bytes();
    let digits = blob.as_str().as_bytes().chunks(2);
    bytes.extend(digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()));
    let mut child = Command::new(&world.binary)
        .args(["hash-object", "-t", "tree", "-w", "--literally", "--stdin"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn malicious_objects_are_refused_and_none_stays() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        let upload = world.boxed_upload_pack(&clone);
        let attacks = [(".git", "100644"), ("..", "100644"), (".GIT", "100644"), ("a/b", "100644")];
        for (n, (entry, mode)) in attacks.into_iter().enumerate() {
            let base = clone.base.as_str();
            let tree = bad_tree(&world, &clone, entry, mode);
            let made = world.must(&clone.dir, &["commit-tree", &tree, "-p", base, "-m", "bad"]);
            write(&clone.dir.join(".git/HEAD"), &format!("{made}\n"));
            let name = format!("{n}");
            let refused = clone.fetch_head(&world.mirror, run_id(), &name, &upload).await;
            let refused = refused.unwrap_err();
            assert!(matches!(refused, GitError::Unsound { .. }), "{entry}: {refused:?}");
            let id = made.parse().unwrap();
            assert!(!world.mirror.has(&id).await.unwrap(), "{entry} stays");
            assert_eq!(world.mirror.run_ref(run_id(), &name).await.unwrap(), None);
            // A fetch without the check accepts the object, so that this test can fail.
            let naive = world.path(&format!("naive-{n}"));
            world.must(&world.seed, &["init", "-q", naive.to_str().unwrap()]);
            let url = clone.dir.to_str().unwrap();
            world.must(&naive, &["fetch", "-q", url, "HEAD:refs/heads/x"]);
        }
        let packs = std::fs::read_dir(world.mirror.objects().join("pack")).unwrap();
        let left = packs.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("tmp_"));
        assert_eq!(left.count(), 0);
        world.must(world.mirror.dir(), &["fsck", "--full", "--strict"]);
    }
}

#[tokio::test]
async fn heads_that_are_no_commits_and_shallow_histories_are_refused() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        let upload = world.boxed_upload_pack(&clone);
        let blob = world.oid(&clone.dir, "HEAD:README");
        write(&clone.dir.join(".git/HEAD"), &format!("{blob}\n"));
        let refused = clone.fetch_head(&world.mirror, run_id(), "1", &upload).await;
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(world.mirror.run_ref(run_id(), "1").await.unwrap(), None);

        write(&clone.dir.join(".git/HEAD"), &format!("{}\n", clone.base));
        let head = world.work(&clone, "new", "x");
        let head = { head }.to_string();
        write(&clone.dir.join(".git/shallow"), &format!("{head}\n"));
        let refused = clone.fetch_head(&world.mirror, run_id(), "2", &upload).await;
        assert!(refused.is_err(), "{refused:?}");
        assert!(!world.mirror.dir().join("shallow").exists());
    }
}

#[tokio::test]
async fn odd_refs_and_replaced_objects_change_nothing() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        let head = world.work(&clone, "new", "x");
        for name in ["refs/heads/-x", "refs/heads/$(touch x)", "refs/heads/;id", "refs/afk/x/1"] {
            let name = name.replace(' ', "${IFS}");
            world.must(&clone.dir, &["update-ref", &name, head.as_str()]);
        }
        let evil = world.must(&clone.dir, &["commit-tree", "HEAD~1^{tree}", "-m", "evil"]);
        world.must(&clone.dir, &["replace", "-f", head.as_str(), &evil]);
        let refs = |world: &World| world.must(world.mirror.dir(), &["for-each-ref"]);
        let before = refs(&world);
        let upload = world.boxed_upload_pack(&clone);
        let seen = clone.advertised(&world.mirror, &upload).await.unwrap();
        assert_eq!(seen.head.as_ref(), Some(&head));
        assert!(seen.branches.contains_key("-x") && seen.branches.contains_key(";id"));
        clone.fetch_head(&world.mirror, run_id(), "1", &upload).await.unwrap();
        assert_eq!(refs(&world).lines().count(), before.lines().count() + 1);

        // A replacement in the mirror itself would not be followed either.
        let spec = format!("{evil}:refs/heads/evil");
        let mirror = world.mirror.dir();
        world.must(mirror, &["fetch", "-q", clone.dir.to_str().unwrap(), &spec]);
        world.must(mirror, &["replace", "-f", head.as_str(), &evil]);
        let commits = world.mirror.commits(&clone.base, &head).await.unwrap();
        assert_eq!(commits[0].message, b"work\n");
        assert_ne!(world.must(mirror, &["log", "-1", "--format=%s", head.as_str()]), "work");
    }
}
