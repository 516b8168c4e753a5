//! What a commit's `.gitignore` files ignore, with every git that is installed.

use std::collections::BTreeSet;

use afk_core::change::TreePath;

use crate::fixture::{World, gits, write};

#[tokio::test]
async fn a_base_ignores_what_git_ignores() {
    for git in gits() {
        let world = World::ready(&git).await;
        let without = world.commit("src/a", "a\n", "nothing is ignored");
        write(&world.seed.join("web/.gitignore"), "deep\n!keep.log\n");
        write(&world.seed.join("kept.log"), "there before\n");
        std::os::unix::fs::symlink("../.gitignore", world.seed.join("src/.gitignore")).unwrap();
        let lines = "# comment\n*.log\n/only\ndist/\n!fine.log\n\\#odd\n:(glob)*\n";
        let base = world.commit(".gitignore", lines, "lines");
        world.mirror.fetch().await.unwrap();

        let paths = |all: &[&str]| -> BTreeSet<TreePath> {
            all.iter().filter_map(|path| TreePath::new(path.as_bytes())).collect()
        };
        let ignored = paths(&[
            "a.log",
            "x/y.log",
            "only",
            "dist/a/b",
            "web/deep/q",
            "#odd",
            "a\nb.log",
            ":(glob)x",
            "-n.log",
            "src/b.log",
            "web/\u{e4}.log",
        ]);
        let others = paths(&[
            "a.txt",
            "x/only",
            "fine.log",
            "web/keep.log",
            "deep",
            "kept.log",
            "src/a",
            "# comment",
            // Git does not check out such paths; each is a breach anyway.
            "../a.log",
            "a//b.log",
            ".git/a.log",
        ]);
        let all = ignored.union(&others).cloned().collect();
        assert_eq!(world.mirror.ignored(&base, &all).await.unwrap(), ignored);
        assert_eq!(world.mirror.ignored(&without, &all).await.unwrap(), paths(&[]));
        assert_eq!(world.mirror.ignored(&base, &paths(&[])).await.unwrap(), paths(&[]));
        // As many as a change may have, and more.
        let many: BTreeSet<TreePath> = (0..2_000)
            .flat_map(|n| [format!("many/{n}/a.log"), format!("many/{n}/a.txt")])
            .filter_map(|path| TreePath::new(path.as_bytes()))
            .collect();
        assert_eq!(world.mirror.ignored(&base, &many).await.unwrap().len(), 2_000);
        let left = std::fs::read_dir(world.mirror.dir()).unwrap();
        let scratch = left.flatten().filter(|e| e.file_name().to_string_lossy().contains("index"));
        assert_eq!(scratch.count(), 0);
    }
}
