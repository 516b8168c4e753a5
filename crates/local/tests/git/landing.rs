//! Merging, committing and pushing: deterministic, without force, and every answer understood.

use afk_core::ids::Oid;
use afk_local::git::{
    Git, Identity, Limits, MergeOutcome, Mirror, PushOutcome, Rejection, RunClone,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use crate::fixture::{World, gits, run_id, script, write};

/// Makes a candidate: the run's work merged onto the mirror's `main`.
async fn candidate(world: &World, clone: &RunClone) -> (Oid, Oid) {
    let upload = world.boxed_upload_pack(clone);
    let head = clone.fetch_head(&world.mirror, run_id(), "1", &upload).await.unwrap();
    let base = world.mirror.known_head("main").await.unwrap().unwrap();
    let outcome = world.mirror.merge(&base, &head).await.unwrap();
    let MergeOutcome::Clean { tree } = outcome else { panic!("{outcome:?}") };
    (base.clone(), commit(world, &tree, &base).await)
}

async fn commit(world: &World, tree: &Oid, base: &Oid) -> Oid {
    let (author, us) = (Identity::new("agent", "a@x"), Identity::new("afk", "afk@x"));
    let message = b"do it\n\nRefs #7\n";
    let parents = [base.clone()];
    let made = world.mirror.commit_tree(tree, &parents, message, &author, &us, 1_700_000_000);
    made.await.unwrap()
}

#[tokio::test]
async fn a_change_is_merged_committed_pushed_and_seen_on_the_remote() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, "new", "x");
        world.commit("other", "y", "meanwhile");
        world.mirror.fetch().await.unwrap();
        let (base, first) = candidate(&world, &clone).await;
        let (_, second) = candidate(&world, &clone).await;
        assert_eq!(first, second);
        let raw = world.must(world.mirror.dir(), &["cat-file", "-p", first.as_str()]);
        assert!(raw.contains("author agent <a@x> 1700000000 +0000\n"), "{raw}");
        assert!(raw.ends_with("\n\ndo it\n\nRefs #7"), "{raw}");
        assert_eq!(raw.matches("parent").count(), 1);

        assert_eq!(world.mirror.push(&first, "main").await.unwrap(), PushOutcome::Landed);
        assert_eq!(world.mirror.push(&first, "main").await.unwrap(), PushOutcome::Landed);
        assert_eq!(world.mirror.head("main").await.unwrap(), Some(first.clone()));
        world.mirror.fetch().await.unwrap();
        assert!(world.mirror.contains(&first, "main").await.unwrap());
        let tried = world.mirror.push(&first, "afk/try/1/1").await.unwrap();
        assert_eq!(tried, PushOutcome::Landed);
        assert_eq!(world.mirror.head("afk/try/1/1").await.unwrap(), Some(first.clone()));
        for _ in 0..2 {
            world.mirror.remove_try("afk/try/1/1").await.unwrap();
            assert_eq!(world.mirror.head("afk/try/1/1").await.unwrap(), None);
        }
        for other in ["main", "afk/else", "../main", "afk/try/../../heads/main"] {
            world.mirror.remove_try(other).await.unwrap_err();
        }
        assert_eq!(world.mirror.head("main").await.unwrap(), Some(first.clone()));
        // Moving the branch back is no fast-forward, and nothing is forced.
        assert_eq!(world.mirror.push(&base, "main").await.unwrap(), PushOutcome::Moved);
    }
}

#[tokio::test]
async fn conflicts_name_their_paths_and_strangers_are_told() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, "README", "mine\n");
        let theirs = world.commit("README", "theirs\n", "meanwhile");
        world.mirror.fetch().await.unwrap();
        let upload = world.boxed_upload_pack(&clone);
        let head = clone.fetch_head(&world.mirror, run_id(), "1", &upload).await.unwrap();
        let outcome = world.mirror.merge(&theirs, &head).await.unwrap();
        assert_eq!(outcome, MergeOutcome::Conflict { paths: vec![b"README".to_vec()] });

        world.must(&clone.dir, &["checkout", "-q", "--orphan", "stranger"]);
        world.work(&clone, "README", "alone\n");
        let head = clone.fetch_head(&world.mirror, run_id(), "2", &upload).await.unwrap();
        let outcome = world.mirror.merge(&theirs, &head).await.unwrap();
        assert_eq!(outcome, MergeOutcome::Unrelated);
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_a_race_is_a_race() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, "new", "x");
        let (_, ours) = candidate(&world, &clone).await;
        let hook = world.origin.join("hooks/pre-receive");
        script(&hook, "echo tickets are closed on fridays >&2; exit 1");
        let outcome = world.mirror.push(&ours, "main").await.unwrap();
        let message = "tickets are closed on fridays".to_owned();
        assert_eq!(outcome, PushOutcome::Refused(Rejection::Hook { message }));
        std::fs::remove_file(&hook).unwrap();

        world.commit("other", "y", "somebody was faster");
        assert_eq!(world.mirror.push(&ours, "main").await.unwrap(), PushOutcome::Moved);

        std::fs::rename(&world.origin, world.path("elsewhere")).unwrap();
        let gone = world.mirror.push(&ours, "main").await.unwrap_err();
        assert!(gone.to_string().starts_with("no git repository at file:///"), "{gone}");
    }
}

/// Fault 8 of other bots: a push that is refused because it changes workflows is taken for a race,
/// and tried again for ever.
#[tokio::test]
async fn fault_8_a_push_that_is_refused_for_its_workflows_is_a_permission_and_no_race() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, ".github/workflows/ci.yml", "on: push\n");
        let (base, ours) = candidate(&world, &clone).await;
        let says = "refusing to allow a GitHub App to create or update workflow \
                    `.github/workflows/ci.yml` without `workflows` permission";
        script(&world.origin.join("hooks/pre-receive"), &format!("echo '{says}' >&2; exit 1"));
        for _ in 0..2 {
            let outcome = world.mirror.push(&ours, "main").await.unwrap();
            let message = says.to_owned();
            assert_eq!(outcome, PushOutcome::Refused(Rejection::Permission { message }));
        }
        assert_eq!(world.mirror.head("main").await.unwrap(), Some(base), "nothing moved");
    }
}

#[tokio::test]
async fn a_push_that_is_cut_off_is_unknown_and_leaves_nothing_running() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, "new", "x");
        let (_, ours) = candidate(&world, &clone).await;
        let started = world.path("started");
        let line = format!("touch {}; exec sleep 1000", started.display());
        script(&world.origin.join("hooks/pre-receive"), &line);

        let cancel = CancellationToken::new();
        let under = world.mirror.under(cancel.clone());
        let (outcome, ()) = tokio::join!(under.push(&ours, "main"), async {
            crate::limits::until("the push is under way", || started.exists()).await;
            cancel.cancel();
        });
        assert!(matches!(outcome, Ok(PushOutcome::Unknown { .. })), "{outcome:?}");
        assert!(under.push(&ours, "main").await.is_err(), "a halt starts no push");

        let limits = Limits { network: Duration::from_millis(700), ..Limits::default() };
        let short = Git::bounded(&world.git, limits);
        let mirror = Mirror::new(short, world.mirror.dir().into(), world.mirror.remote().clone());
        let outcome = mirror.push(&ours, "main").await.unwrap();
        assert!(matches!(outcome, PushOutcome::Unknown { .. }), "{outcome:?}");
        assert_ne!(world.mirror.head("main").await.unwrap(), Some(ours));
        let hook = world.origin.to_str().unwrap().to_owned();
        crate::limits::until("nothing is left of it", || !crate::limits::alive(&hook)).await;
    }
}

#[tokio::test]
async fn a_push_obeys_no_hook_of_the_mirror_or_the_clone() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, "new", "x");
        let (_, ours) = candidate(&world, &clone).await;
        for dir in [world.mirror.dir().to_owned(), clone.dir.join(".git")] {
            for name in ["pre-push", "reference-transaction", "post-checkout", "post-index-change"]
            {
                script(&dir.join("hooks").join(name), &world.fire());
            }
        }
        let url = world.origin.to_str().unwrap();
        let spec = format!("{ours}:refs/heads/plain");
        world.must(world.mirror.dir(), &["push", "-q", url, &spec]);
        assert!(world.fired(), "plain git runs the hook, so that this test can fail");
        assert_eq!(world.mirror.push(&ours, "main").await.unwrap(), PushOutcome::Landed);
        world.mirror.fetch().await.unwrap();
        world.mirror.keep(run_id(), "candidate", &ours).await.unwrap();
        assert!(!world.fired());
        write(&world.path("done"), "");
    }
}

#[tokio::test]
async fn a_change_is_put_on_a_rewritten_branch_without_what_was_purged() {
    for git in gits() {
        let world = World::new(&git).await;
        let kept = world.oid(&world.seed, "HEAD");
        let purged = world.commit("customers", "all of them\n", "by mistake");
        world.mirror.ensure().await.unwrap();
        let clone = world.clone().await;
        world.work(&clone, "new", "x");
        let upload = world.boxed_upload_pack(&clone);
        let head = clone.fetch_head(&world.mirror, run_id(), "1", &upload).await.unwrap();
        assert!(world.mirror.stands_on(&head, &purged).await.unwrap());

        world.must(&world.seed, &["push", "-q", "-f", "origin", "HEAD~1:main"]);
        world.mirror.fetch().await.unwrap();
        let now = world.mirror.known_head("main").await.unwrap().unwrap();
        assert_eq!(now, kept);
        assert!(!world.mirror.stands_on(&now, &purged).await.unwrap());
        let MergeOutcome::Clean { tree } =
            world.mirror.transplant(&now, &purged, &head).await.unwrap()
        else {
            panic!("it does not conflict")
        };
        let files = world.must(world.mirror.dir(), &["ls-tree", "--name-only", tree.as_str()]);
        assert_eq!(files, "README\nnew");

        // A change to lines that were purged conflicts.
        world.work(&clone, "customers", "none\n");
        let head = clone.fetch_head(&world.mirror, run_id(), "2", &upload).await.unwrap();
        let outcome = world.mirror.transplant(&now, &purged, &head).await.unwrap();
        assert_eq!(outcome, MergeOutcome::Conflict { paths: vec![b"customers".to_vec()] });
    }
}

#[tokio::test]
async fn a_lock_or_a_name_in_the_way_of_a_push_is_a_refusal_that_names_it() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        world.work(&clone, "new", "x");
        let (_, ours) = candidate(&world, &clone).await;
        let said = async |branch: &str| match world.mirror.push(&ours, branch).await.unwrap() {
            PushOutcome::Refused(why) => why.to_string(),
            other => panic!("{other:?}"),
        };
        let lock = world.origin.join("refs/heads/main.lock");
        std::fs::write(&lock, "").unwrap();
        let why = said("main").await;
        assert!(why.contains("main.lock"), "{why}");
        std::fs::remove_file(&lock).unwrap();

        world.must(&world.seed, &["push", "-q", "origin", "HEAD:refs/heads/afk"]);
        let why = said("afk/try/1/1").await;
        assert!(why.contains("the branch afk is in the way"), "{why}");
    }
}
