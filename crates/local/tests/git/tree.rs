//! Composing trees and checking them out.

use std::os::unix::fs::PermissionsExt as _;

use afk_local::git::{Entry, GitError, Mode};

use crate::fixture::{World, gits, script, write};

#[tokio::test]
async fn a_tree_is_composed_with_an_index_of_its_own() {
    for git in gits() {
        let world = World::ready(&git).await;
        write(&world.seed.join("src/a"), "a\n");
        write(&world.seed.join("file"), "f\n");
        let base = world.commit("tests/t", "old\n", "base");
        std::fs::remove_file(world.seed.join("file")).unwrap();
        script(&world.seed.join("file/inside"), "true");
        write(&world.seed.join("src/a"), "changed\n");
        let head = world.commit("tests/t", "new\n", "head");
        world.mirror.fetch().await.unwrap();
        let id = |path: &str| world.oid(&world.seed, &format!("{head}:{path}"));
        let put = |path: &str, mode| Entry { path: path.into(), object: Some((mode, id(path))) };
        let entries = [
            put("tests/t", Mode::File),
            put("file/inside", Mode::Executable),
            Entry { path: b"file".to_vec(), object: None },
            Entry { path: b"README".to_vec(), object: None },
        ];
        let tree = world.mirror.compose(&base, &entries).await.unwrap();
        assert_eq!(world.mirror.compose(&base, &entries).await.unwrap(), tree);
        let listed = world.must(world.mirror.dir(), &["ls-tree", "-r", tree.as_str()]);
        let paths: Vec<_> = listed.lines().filter_map(|l| l.split('\t').nth(1)).collect();
        assert_eq!(paths, ["file/inside", "src/a", "tests/t"]);
        assert!(listed.starts_with("100755"), "{listed}");
        let old = world.oid(&world.seed, &format!("{base}:src/a"));
        assert!(listed.contains(old.as_str()) && listed.contains(id("tests/t").as_str()));

        for path in ["", "a\0b", ".git/config", "../x", "a/../b"] {
            let entry = Entry { path: path.into(), object: Some((Mode::File, old.clone())) };
            assert!(world.mirror.compose(&base, &[entry]).await.is_err(), "{path:?}");
        }
        let missing = "3".repeat(40).parse().unwrap();
        let entry = Entry { path: b"m".to_vec(), object: Some((Mode::File, missing)) };
        assert!(world.mirror.compose(&base, &[entry]).await.is_err());
        let left = std::fs::read_dir(world.mirror.dir()).unwrap();
        let index = left.flatten().filter(|e| e.file_name().to_string_lossy().contains("index"));
        assert_eq!(index.count(), 0);
    }
}

#[tokio::test]
async fn a_checkout_holds_the_tree_and_nothing_else() {
    for git in gits() {
        let world = World::ready(&git).await;
        let fire = world.fire();
        let attributes = "* filter=evil\nhidden export-ignore\nident ident\n";
        write(&world.seed.join(".gitattributes"), attributes);
        write(&world.seed.join("hidden"), "h\n");
        script(&world.seed.join("bin/run"), "true");
        std::os::unix::fs::symlink("/etc/passwd", world.seed.join("link")).unwrap();
        let head = world.commit("a b\n", "x\n", "content");
        world.mirror.fetch().await.unwrap();
        let tree = world.mirror.tree_of(&head).await.unwrap();
        let dir = world.spaces.root().join("runs/check/one");
        // A half-written checkout, and one that was stamped for another tree.
        write(&dir.with_extension("making").join("half"), "x");
        write(&dir.join("stale"), "x");
        write(&dir.with_extension("tree"), &"4".repeat(40));
        world.mirror.checkout(&tree, &dir).await.unwrap();
        let mut names: Vec<_> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [".gitattributes", "README", "a b\n", "bin", "hidden", "link"]);
        let link = std::fs::read_link(dir.join("link")).unwrap();
        assert_eq!(link.to_str(), Some("/etc/passwd"));
        let mode = std::fs::metadata(dir.join("bin/run")).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111);
        let mode = std::fs::metadata(dir.join("hidden")).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0);

        // The same tree is left alone, another one replaces it.
        write(&dir.join("built"), "x");
        world.mirror.checkout(&tree, &dir).await.unwrap();
        assert!(dir.join("built").exists());
        let first = world.mirror.tree_of(&world.oid(&world.seed, "HEAD~1")).await.unwrap();
        world.mirror.checkout(&first, &dir).await.unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);

        // Filters that are configured for the user's git are not used.
        let smudge = format!("filter.evil.smudge={fire}; cat");
        let plain = world.path("plain");
        let url = world.origin.to_str().unwrap();
        world.must(&world.seed, &["-c", &smudge, "clone", "-q", url, plain.to_str().unwrap()]);
        assert!(world.fired(), "plain git runs the filter, so that this test can fail");
        let unknown = world.mirror.checkout(&"5".repeat(40).parse().unwrap(), &dir).await;
        assert!(!matches!(unknown, Ok(()) | Err(GitError::Timeout { .. })));
        assert!(!world.fired());
    }
}
