//! The mirror: how it is made, kept up to date and read, and the clones that are made from it.

use std::path::Path;

use afk_core::change::TreePath;
use afk_core::ids::Oid;
use afk_core::run::UnfinishedWork;
use afk_local::git::{
    Blob, BlobAt, BlobLimits, Git, GitError, Limits, Mirror, RemoteUrl, RunClone, Unsupported,
    status_argv,
};

use crate::fixture::{World, agent, gits, run_id, script, write};

#[tokio::test]
async fn a_mirror_is_made_once_and_follows_the_remote() {
    for git in gits() {
        let world = World::new(&git).await;
        world.must(&world.seed, &["tag", "v1"]);
        world.must(&world.seed, &["branch", "old"]);
        world.must(&world.seed, &["push", "-q", "origin", "v1", "old"]);
        // The leftovers of a killed process.
        write(&world.mirror.dir().with_extension("git.making").join("half"), "x");
        world.mirror.ensure().await.unwrap();
        world.mirror.ensure().await.unwrap();
        let first = world.mirror.known_head("main").await.unwrap();
        assert_eq!(first, Some(world.oid(&world.seed, "HEAD")));
        assert_eq!(world.mirror.default_branch().await.unwrap(), "main");

        world.must(&world.seed, &["push", "-q", "origin", ":old"]);
        world.must(&world.seed, &["push", "-q", "origin", "HEAD:refs/heads/old/new"]);
        let second = world.commit("a", "1", "second");
        assert_eq!(world.mirror.known_head("main").await.unwrap(), first);
        assert_eq!(world.mirror.head("main").await.unwrap(), Some(second.clone()));
        assert_eq!(world.mirror.head("none").await.unwrap(), None);
        world.mirror.fetch().await.unwrap();
        assert_eq!(world.mirror.known_head("main").await.unwrap(), Some(second.clone()));
        assert!(world.mirror.contains(&second, "main").await.unwrap());
        assert!(!world.mirror.contains(&second, "old/new").await.unwrap());
        assert!(!world.mirror.contains(&"1".repeat(40).parse().unwrap(), "main").await.unwrap());
        let refs = world.must(world.mirror.dir(), &["for-each-ref", "--format=%(refname)"]);
        assert_eq!(refs, "refs/heads/main\nrefs/heads/old/new\nrefs/tags/v1");
    }
}

#[tokio::test]
async fn many_fetch_at_once_and_a_killed_ones_locks_are_swept() {
    for git in gits() {
        let world = World::new(&git).await;
        let ensure = || async { world.mirror.ensure().await };
        let (a, b, c) = tokio::join!(ensure(), ensure(), ensure());
        a.and(b).and(c).unwrap();
        let head = world.commit("a", "1", "second");
        write(&world.mirror.dir().join("refs/heads/main.lock"), "");
        write(&world.mirror.dir().join("packed-refs.lock"), "");
        let fetch = || async { world.mirror.fetch().await };
        let (a, b, c, d) = tokio::join!(fetch(), fetch(), fetch(), fetch());
        a.and(b).and(c).and(d).unwrap();
        assert_eq!(world.mirror.known_head("main").await.unwrap(), Some(head));
    }
}

#[tokio::test]
async fn what_is_wrong_with_git_or_the_remote_is_named() {
    for git in gits() {
        let world = World::new(&git).await;
        let at = |path: &Path| {
            let url = RemoteUrl::parse(path.to_str().unwrap()).unwrap();
            Mirror::new(world.git.clone(), world.path("other.git"), url)
        };
        let gone = at(&world.path("gone")).ensure().await.unwrap_err();
        assert!(matches!(gone, GitError::NotARepository { .. }), "{gone:?}");
        let empty = world.path("empty");
        world.must(&world.seed, &["init", "-q", "--bare", empty.to_str().unwrap()]);
        let none = at(&empty).ensure().await.unwrap_err();
        assert!(matches!(none, GitError::Empty { .. }), "{none:?}");
        assert!(!world.path("other.git").exists());

        let folder = world.path("bin");
        let open = |binary: std::path::PathBuf| {
            let folder = folder.clone();
            async move { Git::open(&binary, &folder, Vec::new(), Limits::default()).await }
        };
        let missing = open(world.path("no-git")).await.unwrap_err();
        assert!(matches!(missing, GitError::NotFound { .. }), "{missing:?}");
        let old = world.path("old-git");
        script(&old, "echo git version 2.38.1");
        let old = open(old).await.unwrap_err();
        assert!(old.to_string().contains("2.38.1, but 2.39"), "{old}");
    }
}

#[tokio::test]
async fn objects_are_read_raw_and_policy_only_from_a_plain_blob() {
    for git in gits() {
        let world = World::ready(&git).await;
        let base = world.oid(&world.seed, "HEAD");
        write(&world.seed.join(".gitattributes"), "secret -diff\n");
        write(&world.seed.join("secret"), "key\n");
        write(&world.seed.join("large"), &"x".repeat(5000));
        write(&world.seed.join(".afk/WORKFLOW.md"), "policy\n");
        script(&world.seed.join("exec"), "true");
        std::os::unix::fs::symlink("/etc/passwd", world.seed.join("link")).unwrap();
        std::os::unix::fs::symlink("/etc", world.seed.join("linked")).unwrap();
        let module = format!("160000,{base},module");
        std::fs::create_dir(world.seed.join("module")).unwrap();
        world.must(&world.seed, &["update-index", "--add", "--cacheinfo", &module]);
        let head = world.commit("odd\n\"name", "x", "more\n\nAFK-Run: not one\n");
        world.mirror.fetch().await.unwrap();

        let raw = world.mirror.raw_diff(&base, &head).await.unwrap();
        let raw = String::from_utf8(raw).unwrap();
        let fields: Vec<_> = raw.split('\0').filter(|f| !f.is_empty()).collect();
        assert_eq!(fields.len(), 18, "{raw:?}");
        assert!(fields.contains(&"odd\n\"name") && fields.contains(&"secret"));
        let id = |path: &str| world.oid(&world.seed, &format!("HEAD:{path}"));
        let ids = [id("secret"), id("large"), "2".repeat(40).parse().unwrap(), head.clone()];
        let limits = BlobLimits { each: 4096, total: 1 << 20 };
        let blobs = world.mirror.blobs(&ids, limits).await.unwrap();
        let expected = [
            Blob::Bytes(b"key\n".to_vec()),
            Blob::TooLarge { size: 5000 },
            Blob::Missing,
            Blob::NotABlob,
        ];
        assert_eq!(blobs, expected);

        let at = async |path: &str| world.mirror.blob_at(&head, path, 100).await.unwrap();
        assert_eq!(at(".afk/WORKFLOW.md").await, BlobAt::File(b"policy\n".to_vec()));
        assert_eq!(at("none").await, BlobAt::Absent);
        assert!(world.mirror.blob_at(&head, "../../etc/passwd", 100).await.is_err());
        assert_eq!(at("link").await, BlobAt::NotPlain { mode: "120000".into() });
        assert_eq!(at("linked/passwd").await, BlobAt::NotPlain { mode: "120000".into() });
        assert_eq!(at("module/a").await, BlobAt::NotPlain { mode: "160000".into() });
        assert_eq!(at("none/a/b").await, BlobAt::Absent);
        assert_eq!(at("exec").await, BlobAt::NotPlain { mode: "100755".into() });
        assert_eq!(at(".afk").await, BlobAt::NotPlain { mode: "040000".into() });
        assert_eq!(at("large").await, BlobAt::TooLarge { size: 5000 });
        assert_eq!(at("*").await, BlobAt::Absent);
        let asked = [".afk", ".afk/WORKFLOW.md", "exec", "large", "link", "none"];
        let asked = asked.map(|path| TreePath::new(path.as_bytes()).unwrap());
        let read = world.mirror.file_contents(&head, &asked.into(), 100).await.unwrap();
        let read: Vec<String> = read.keys().map(ToString::to_string).collect();
        assert_eq!(read, [".afk/WORKFLOW.md", "exec"]);

        let commits = world.mirror.commits(&base, &head).await.unwrap();
        assert_eq!(commits.len(), 1);
        assert_eq!(commits[0].message, b"more\n\nAFK-Run: not one\n");
        assert_eq!(commits[0].parents, vec![base]);
        let head =
            world.commit("sub/.gitattributes", "*.key filter=git-crypt diff=git-crypt\n", "c");
        world.mirror.fetch().await.unwrap();
        let found = world.mirror.unsupported(&head).await.unwrap();
        assert_eq!(found, Some(Unsupported::Submodule { path: "module".to_owned() }));
    }
}

#[tokio::test]
async fn a_runs_commits_are_found_by_their_trailers() {
    for git in gits() {
        let world = World::ready(&git).await;
        let base = world.oid(&world.seed, "HEAD");
        let run = run_id();
        let ours = world.commit("a", "1", &format!("s\n\nAFK-Run: {run}\nAFK-Attempt: 2"));
        let theirs = "0198c0de-0000-7000-8000-0000000000bb";
        world.commit("a", "2", &format!("s\n\nAFK-Run: {theirs}\nAFK-Attempt: 1"));
        world.commit("a", "3", "plain");
        world.mirror.fetch().await.unwrap();
        let find = async |n, since| world.mirror.find_trailer("main", run, n, since).await.unwrap();
        assert_eq!(find(2, &base).await, Some(ours.clone()));
        assert_eq!(find(1, &base).await, None);
        assert_eq!(find(2, &ours).await, None);
    }
}

#[tokio::test]
async fn a_runs_commit_is_found_in_a_long_history_that_was_rewritten() {
    for git in gits() {
        let world = World::ready(&git).await;
        let base = world.oid(&world.seed, "HEAD");
        let old = "commit refs/heads/rewritten\ncommitter a <a@b> 1 +0000\ndata 4\nold\n\n";
        let file = world.path("stream");
        std::fs::write(&file, old.repeat(10_001)).unwrap();
        let import = std::process::Command::new(&git)
            .args(["fast-import", "--quiet"])
            .current_dir(&world.seed)
            .stdin(std::fs::File::open(&file).unwrap())
            .status();
        assert!(import.unwrap().success());
        world.must(&world.seed, &["checkout", "-q", "rewritten"]);
        let run = run_id();
        let message = format!("s\n\nAFK-Run: {run}\nAFK-Attempt: 2");
        world.must(&world.seed, &["commit", "-q", "--allow-empty", "-m", &message]);
        world.must(&world.seed, &["push", "-q", "-f", "origin", "HEAD:main"]);
        world.mirror.fetch().await.unwrap();

        let ours = world.oid(&world.seed, "HEAD");
        let many = world.mirror.commits(&base, &ours).await.unwrap_err();
        assert!(matches!(many, GitError::TooMany { .. }), "{many:?}");
        let find = async |n| world.mirror.find_trailer("main", run, n, &base).await.unwrap();
        assert_eq!(find(2).await, Some(ours));
        assert_eq!(find(1).await, None);
    }
}

#[tokio::test]
async fn a_branch_that_was_renamed_on_the_remote_has_nothing_any_more() {
    for git in gits() {
        let world = World::ready(&git).await;
        let base = world.oid(&world.seed, "HEAD");
        let later = world.commit("a", "1", "later");
        world.mirror.fetch().await.unwrap();
        let after = async |branch: &str, commit: &Oid| {
            let found = world.mirror.descendants(branch, commit, 10).await.unwrap();
            found.into_iter().map(|commit| commit.id).collect::<Vec<_>>()
        };
        assert_eq!(after("main", &base).await, std::slice::from_ref(&later));

        world.must(&world.origin, &["branch", "-m", "main", "trunk"]);
        world.mirror.fetch().await.unwrap();
        assert_eq!(world.mirror.default_branch().await.unwrap(), "trunk");
        assert_eq!(after("main", &base).await, Vec::<Oid>::new());
        assert_eq!(after("trunk", &base).await, [later]);
        let unknown = "1".repeat(40).parse().unwrap();
        assert_eq!(after("trunk", &unknown).await, Vec::<Oid>::new());
    }
}

#[tokio::test]
async fn a_clone_is_made_once_borrows_and_cannot_push() {
    for git in gits() {
        let world = World::ready(&git).await;
        let folders = world.spaces.run(run_id());
        write(&folders.dir.join("clone.making/half"), "x");
        let clone = world.clone().await;
        assert_eq!(std::fs::read_to_string(clone.dir.join("README")).unwrap(), "one\n");
        assert_eq!(world.must(&clone.dir, &["status", "--porcelain"]), "");
        let branch = world.must(&clone.dir, &["symbolic-ref", "--short", "HEAD"]);
        assert_eq!(branch, "afk/7-000000aa");
        let count = world.must(&clone.dir, &["count-objects", "-v"]);
        assert!(count.contains("count: 0\n") && count.contains("in-pack: 0"), "{count}");
        let pushed = crate::fixture::plain(&git, &clone.dir, &["push", "origin", "HEAD:main"]);
        assert!(!pushed.0, "{}", pushed.1);
        let who = world.must(&clone.dir, &["config", "--local", "user.name"]);
        assert_eq!(who, "agent");

        // If requested again, it is the same clone, with what was done in it, and its own base.
        let work = world.work(&clone, "new", "x");
        world.commit("b", "1", "moved");
        world.mirror.fetch().await.unwrap();
        let again = world.clone().await;
        assert_eq!(again, clone);
        assert_eq!(world.oid(&clone.dir, "HEAD"), work);

        // The clone still works after the remote's history was rewritten and the mirror tidied.
        world.must(&world.seed, &["checkout", "-q", "--orphan", "fresh"]);
        world.must(&world.seed, &["commit", "-q", "-m", "rewritten"]);
        world.must(&world.seed, &["push", "-q", "-f", "origin", "HEAD:main"]);
        world.mirror.fetch().await.unwrap();
        world.mirror.tidy().await.unwrap();
        world.must(&clone.dir, &["fsck", "--full", "--strict"]);

        // Afterwards the run is over.
        world.spaces.remove_run(run_id()).unwrap();
        world.mirror.forget(run_id()).await.unwrap();
        world.mirror.forget(run_id()).await.unwrap();
        assert_eq!(world.mirror.run_ref(run_id(), "base").await.unwrap(), None);
        world.mirror.tidy().await.unwrap();
        world.must(world.mirror.dir(), &["fsck", "--full"]);
    }
}

#[tokio::test]
async fn an_old_object_goes_only_when_no_clone_can_borrow_it() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        let mirror = world.mirror.dir().to_owned();
        write(&world.seed.join("nobody"), "what no ref reaches");
        let blob = world.must(&world.seed, &["hash-object", "nobody"]);
        let (folder, rest) = blob.trim().split_at(2);
        let path = mirror.join("objects").join(folder).join(rest);
        world.must(&world.seed, &["hash-object", "-w", "nobody"]);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(world.seed.join(".git/objects").join(folder).join(rest), &path).unwrap();
        let month = std::time::SystemTime::now() - std::time::Duration::from_hours(31 * 24);
        let age = |path: &std::path::Path| {
            let file = std::fs::File::options().read(true).open(path).unwrap();
            file.set_times(std::fs::FileTimes::new().set_modified(month)).unwrap();
        };
        age(&path);
        let there = || crate::fixture::plain(&git, &mirror, &["cat-file", "-e", blob.trim()]).0;

        // The clone has no copy of objects that it can borrow.
        write(&clone.dir.join("nobody"), "what no ref reaches");
        world.must(&clone.dir, &["add", "nobody"]);
        world.mirror.tidy().await.unwrap();
        assert!(there(), "the clone's index needs it");
        world.must(&clone.dir, &["fsck", "--full", "--strict"]);

        world.spaces.remove_run(run_id()).unwrap();
        world.mirror.forget(run_id()).await.unwrap();
        // Objects that were kept are in a pack now, and count as old as the pack.
        for entry in std::fs::read_dir(mirror.join("objects/pack")).unwrap().flatten() {
            age(&entry.path());
        }
        world.mirror.tidy().await.unwrap();
        assert!(!there(), "nobody can need it");
    }
}

#[tokio::test]
async fn head_status_and_stray_branches_are_seen_from_outside() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        let side = world.work(&clone, "side", "1");
        world.must(&clone.dir, &["branch", "side"]);
        world.must(&clone.dir, &["checkout", "-q", "--detach", "HEAD~1"]);
        let head = world.work(&clone, "new", "1");
        let upload = world.boxed_upload_pack(&clone);
        let seen = clone.advertised(&world.mirror, &upload).await.unwrap();
        assert_eq!((seen.head.as_ref(), seen.branch.as_deref()), (Some(&head), None));
        let stray: Vec<_> = seen.elsewhere(&clone.base).into_iter().map(|(_, o)| o).collect();
        assert_eq!(stray, vec![&side, &side]);

        let status = |clone: &RunClone| {
            let argv = status_argv();
            let output = std::process::Command::new(argv[0])
                .args(&argv[1..])
                .current_dir(&clone.dir)
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(status(&clone), "");
        write(&clone.dir.join("left over"), "x");
        assert_eq!(status(&clone), "?? left over\0");

        let fetched = clone.fetch_head(&world.mirror, run_id(), "1", &upload).await.unwrap();
        assert_eq!(fetched, head);
        // The first fetch counts.
        world.work(&clone, "later", "1");
        let again = clone.fetch_head(&world.mirror, run_id(), "1", &upload).await.unwrap();
        assert_eq!(again, head);
    }
}

#[tokio::test]
async fn a_branch_with_a_dash_is_a_branch_and_no_option() {
    for git in gits() {
        let world = World::ready(&git).await;
        let evil = format!("--upload-pack={};x", world.fire().replace(' ', "${IFS}"));
        let full = "refs/heads/-x";
        world.must(&world.seed, &["push", "-q", "origin", &format!("HEAD:{full}")]);
        world.must(&world.origin, &["symbolic-ref", "HEAD", full]);
        world.mirror.fetch().await.unwrap();
        assert_eq!(world.mirror.default_branch().await.unwrap(), "-x");
        let head = world.mirror.known_head("-x").await.unwrap().unwrap();
        assert_eq!(world.mirror.head("-x").await.unwrap(), Some(head.clone()));
        let dir = world.spaces.prepare(run_id()).unwrap().clone;
        let bad = RunClone::create(&world.mirror, run_id(), &dir, &head, "a b", &agent()).await;
        assert!(matches!(bad, Err(GitError::BadName { .. })));
        let made = RunClone::create(&world.mirror, run_id(), &dir, &head, "-y", &agent()).await;
        assert_eq!(made.unwrap().base, head);
        let odd = world.mirror.head(&evil).await;
        assert!(matches!(odd, Ok(None) | Err(GitError::BadName { .. })), "{odd:?}");
        assert!(!world.fired());
    }
}

#[tokio::test]
async fn what_cannot_be_worked_is_told_by_its_name() {
    for git in gits() {
        let world = World::ready(&git).await;
        let head = world.oid(&world.seed, "HEAD");
        assert_eq!(world.mirror.unsupported(&head).await.unwrap(), None);
        let with = async |path: &str, text: &str| {
            let head = world.commit(path, text, "more");
            world.mirror.fetch().await.unwrap();
            world.mirror.unsupported(&head).await.unwrap()
        };
        // A comment and another attribute do not count.
        assert_eq!(with(".gitattributes", "# a filter=lfs\n*.sh text eol=lf\n").await, None);
        let file = || "sub/.gitattributes".to_owned();
        let crypt = with(&file(), "*.key filter=git-crypt diff=git-crypt\n").await;
        assert_eq!(crypt, Some(Unsupported::GitCrypt { file: file() }));
        let lfs = with(&file(), "*.dat filter=lfs diff=lfs merge=lfs -text\n").await;
        assert_eq!(lfs, Some(Unsupported::Lfs { file: file() }));
        let module = with(".gitmodules", "[submodule]\n").await;
        assert_eq!(module, Some(Unsupported::Submodule { path: ".gitmodules".to_owned() }));

        // The remote is a person's own work tree.
        let remote = RemoteUrl::parse(world.seed.to_str().unwrap()).unwrap();
        let mirror = Mirror::new(world.git.clone(), world.path("other.git"), remote);
        let folder = world.seed.clone();
        assert_eq!(mirror.checked_out().await.unwrap(), Some(folder));
        let follow = ["config", "receive.denyCurrentBranch", "updateInstead"];
        world.must(&world.seed, &follow);
        assert_eq!(mirror.checked_out().await.unwrap(), None);
        assert_eq!(world.mirror.checked_out().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_clone_has_the_tags_of_what_it_stands_on() {
    for git in gits() {
        let world = World::new(&git).await;
        world.must(&world.seed, &["tag", "-a", "v1.0", "-m", "v1.0"]);
        world.commit("a", "1", "on top");
        world.must(&world.seed, &["checkout", "-q", "-b", "side"]);
        world.must(&world.seed, &["commit", "-q", "--allow-empty", "-m", "elsewhere"]);
        world.must(&world.seed, &["tag", "v2.0"]);
        world.must(&world.seed, &["push", "-q", "origin", "v1.0", "v2.0"]);
        world.mirror.ensure().await.unwrap();
        let clone = world.clone().await;
        let version = world.must(&clone.dir, &["describe", "--tags"]);
        assert!(version.starts_with("v1.0-1-g"), "{version}");
        assert_eq!(world.must(&clone.dir, &["tag"]), "v1.0", "not what it has not got");
    }
}

#[tokio::test]
async fn a_damaged_mirror_is_told_and_made_anew() {
    type Damage = fn(&std::path::Path);
    let empty: Damage = |mirror| {
        std::fs::remove_dir_all(mirror).unwrap();
        std::fs::create_dir(mirror).unwrap();
    };
    let packs: Damage = |mirror| {
        for pack in std::fs::read_dir(mirror.join("objects/pack")).unwrap() {
            std::fs::remove_file(pack.unwrap().path()).unwrap();
        }
    };
    let head: Damage = |mirror| write(&mirror.join("refs/heads/main"), "");
    for git in gits() {
        for damage in [empty, packs, head] {
            let world = World::ready(&git).await;
            assert!(!world.mirror.is_damaged().await);
            damage(world.mirror.dir());
            assert!(world.mirror.is_damaged().await);
            let tip = world.commit("b", "1", "meanwhile");
            world.mirror.remake().await.unwrap();
            assert!(!world.mirror.is_damaged().await);
            assert_eq!(world.mirror.known_head("main").await.unwrap(), Some(tip));
        }
    }
}

#[tokio::test]
async fn what_git_has_not_finished_in_a_clone_is_seen() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, "a", "1");
        world.work(&clone, "b", "1");
        let upload = world.boxed_upload_pack(&clone);
        let look = async |name: &str| {
            let shown = clone.advertised(&world.mirror, &upload).await.unwrap();
            clone.fetch_head(&world.mirror, run_id(), name, &upload).await.unwrap();
            clone.unfinished(&world.mirror, run_id(), &shown).await.unwrap()
        };
        assert_eq!(look("1").await, []);
        // A branch that HEAD contains has no work that would be lost.
        world.must(&clone.dir, &["branch", "behind", "HEAD~1"]);
        world.must(&clone.dir, &["branch", "same"]);
        assert_eq!(look("2").await, []);
        world.must(&clone.dir, &["checkout", "-q", "-b", "side"]);
        world.work(&clone, "c", "1");
        world.must(&clone.dir, &["checkout", "-q", "-"]);
        let side = UnfinishedWork::Branch { branch: "side".to_owned() };
        assert_eq!(look("3").await, std::slice::from_ref(&side));
        write(&clone.dir.join("a"), "2");
        world.must(&clone.dir, &["stash", "-q"]);
        assert_eq!(look("4").await, [side, UnfinishedWork::Stash]);
        world.must(&clone.dir, &["stash", "drop", "-q"]);
        world.must(&clone.dir, &["branch", "-q", "-D", "side"]);
        // In the middle of a rebase, HEAD has only a part of the run's own branch.
        world.work(&clone, "d", "1");
        let edit = ["-c", "sequence.editor=sed -i 1abreak", "rebase", "-q", "-i", "HEAD~2"];
        world.must(&clone.dir, &edit);
        let rebase = UnfinishedWork::Operation { what: "a rebase".to_owned() };
        let own = UnfinishedWork::OwnBranch { branch: "afk/7-000000aa".to_owned() };
        assert_eq!(look("5").await, [rebase, own]);
        world.must(&clone.dir, &["rebase", "--continue"]);
        assert_eq!(look("6").await, []);
    }
}
