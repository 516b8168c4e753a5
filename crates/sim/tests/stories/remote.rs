//! The loop where others use the remote, too: it is rewritten, things are taken out of it, it
//! refuses, it is busy.

use afk_core::config::History;
use afk_core::doorbell::DoorbellKind;
use afk_core::plan::{End, TurnCause};
use afk_core::run::Run;
use afk_sim::story::{
    Story, breaking_work, causes, far, fixing_work, good_work, polled, pulls, repo, seven, tested,
};
use afk_sim::world::{PushFate, World};

/// Rounds until the run of `o/r#7` has landed something.
async fn landed(story: &Story) {
    let landed = |world: &mut World| world.store.all().iter().any(|run| run.landed().is_some());
    story.until("landed", landed).await;
}

/// Somebody takes the newest commit of `o/r` out by force.
fn rewind(story: &Story) {
    story.sim.with(|world| world.somebody_rewinds(&repo("o/r")).expect("a commit to take out"));
}

fn hang_ci(world: &mut World, on: bool) {
    if on {
        world.jobs.hanging.insert("ci".to_owned());
    } else {
        world.jobs.hanging.clear();
    }
}

#[tokio::test]
async fn what_people_took_out_again_is_not_closed_as_done() {
    for agents_far in [false, true] {
        let story = Story::new().with_issue(vec![good_work()]);
        story.sim.with(|world| {
            hang_ci(world, true);
            if agents_far {
                far(world);
            }
        });
        landed(&story).await;
        rewind(&story);
        if agents_far {
            // The agent pushed two commits.
            rewind(&story);
        }
        story.sim.with(|world| hang_ci(world, false));
        story.settle().await;
        story.ended(End::NeedsHuman);
        story.handed_over(DoorbellKind::NeedsHuman);
        assert!(story.why().contains("somebody took it out again"), "{}", story.why());
    }
}

#[tokio::test]
async fn what_people_merged_and_took_out_again_is_not_closed_as_done() {
    let story = Story::new().with_issue(vec![good_work()]).configure(pulls);
    story.sim.with(|world| {
        hang_ci(world, true);
        world.pulls.merging = true;
    });
    landed(&story).await;
    rewind(&story);
    story.sim.with(|world| hang_ci(world, false));
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("somebody took it out again"), "{}", story.why());
}

#[tokio::test]
async fn nobody_is_paid_to_mend_what_people_took_out() {
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
    story.sim.with(|world| hang_ci(world, true));
    landed(&story).await;
    rewind(&story);
    story.sim.with(|world| hang_ci(world, false));
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(causes(&run), [TurnCause::Opening]);
    assert!(story.why().contains("somebody took it out again"), "{}", story.why());
    story.sim.with(|world| {
        assert!(world.store.switches.freeze_of(&repo("o/r")).is_none(), "the branch is not red");
    });
}

#[tokio::test]
async fn a_correction_does_not_land_without_what_it_corrects() {
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
    let second = |world: &mut World| world.calls.iter().filter(|c| **c == "executor.start").count();
    story.until("a fix", |world| second(world) == 2).await;
    rewind(&story);
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("somebody took it out again"), "{}", story.why());
    assert_eq!(story.count("git.push"), 1);
}

#[tokio::test]
async fn a_commit_that_cannot_be_looked_for_is_not_closed_either() {
    let story = Story::new().with_issue(vec![good_work()]);
    landed(&story).await;
    story.sim.with(|world| world.broken.insert("git.landed"));
    story.rounds(20).await;
    assert!(story.run().conclusion.is_none(), "it is waited for");
    let (what, _) = story.run().current_error(story.sim.with(|world| world.now)).expect("an error");
    assert!(what.contains("git.landed"), "{what}");
    story.sim.with(|world| world.broken.clear());
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn a_commit_that_can_never_be_looked_for_is_handed_over() {
    let story = Story::new().with_issue(vec![good_work()]);
    landed(&story).await;
    story.sim.with(|world| world.broken.insert("git.landed"));
    for _ in 0..14 * 12 {
        story.sim.advance(jiff::SignedDuration::from_mins(5));
        story.rounds(1).await;
    }
    story.settle().await;
    story.ended(End::NeedsHuman);
    let why = story.why();
    assert!(why.contains("it could not be read whether") && why.contains("git.landed"), "{why}");
}

/// A story whose agent works on top of a commit that is then purged.
async fn purged(history: History) -> Story {
    let story = Story::new().with_issue(vec![good_work()]).configure(|config| {
        for table in config.repos.values_mut() {
            table.history = history;
        }
    });
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("customers", "all of them")]);
    });
    story.marked().await;
    rewind(&story);
    story
}

#[tokio::test]
async fn what_was_purged_does_not_come_back_with_the_change() {
    let story = purged(History::Squash).await;
    let run = story.settle().await;
    story.ended(End::Done);
    story.sim.with(|world| {
        let head = &world.git.remotes[&repo("o/r")];
        let files = world.git.files_of(head).unwrap();
        assert_eq!(files["src/lib"], "one two", "the work is there");
        assert!(!files.contains_key("customers"), "{files:?}");
        let history = world.git.history(&repo("o/r"));
        assert_eq!(history.len(), 2);
        assert!(!history[0].message.contains("Somebody else"), "{}", history[0].message);
    });
    let landed = run.landed().unwrap();
    assert_ne!(landed.since(), &landed.base);
}

#[tokio::test]
async fn what_was_purged_while_the_change_was_judged_does_not_come_back_either() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("customers", "all of them")]);
    });
    story.until("a candidate", |world| world.calls.contains(&"git.keep")).await;
    rewind(&story);
    story.settle().await;
    story.ended(End::Done);
    story.sim.with(|world| {
        let files = world.git.files_of(&world.git.remotes[&repo("o/r")]).unwrap();
        assert!(!files.contains_key("customers"), "{files:?}");
    });
}

#[tokio::test]
async fn history_that_would_bring_back_what_was_purged_is_handed_over() {
    let story = purged(History::Merge).await;
    story.settle().await;
    story.ended(End::NeedsHuman);
    let why = story.why();
    assert!(why.contains("was rewritten") && why.contains("history = \"merge\""), "{why}");
    assert_eq!(story.count("git.push"), 0);
}

#[tokio::test]
async fn a_change_of_what_was_purged_is_handed_over() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/lib", "one and a half")]);
    });
    story.marked().await;
    rewind(&story);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    let why = story.why();
    assert!(why.contains("was rewritten") && why.contains("src/lib"), "{why}");
    assert_eq!(causes(&run), [TurnCause::Opening], "nobody is paid to merge it");
}

#[tokio::test]
async fn a_remote_that_refuses_is_tried_a_few_times_and_handed_over_in_its_own_words() {
    for before_landing in [false, true] {
        let story = Story::new().with_issue(vec![good_work()]);
        let story = if before_landing { story.configure(tested) } else { story };
        let words = "permission to o/r denied to the deploy key";
        story.sim.with(|world| world.git.refusing.insert(repo("o/r"), words.to_owned()));
        let refused = |world: &mut World| {
            let runs = world.store.all();
            runs.iter().any(|run| run.current_error(world.now).is_some())
        };
        story.until("a refusal is shown", refused).await;
        let (what, _) = story.run().current_error(story.sim.with(|world| world.now)).unwrap();
        assert!(what.contains(words), "{what}");
        story.settle().await;
        story.ended(End::NeedsHuman);
        let why = story.why();
        assert!(why.contains(words) && why.contains("tried 4 times"), "{why}");
        assert_eq!(story.count("git.push"), 4, "before landing: {before_landing}");
        story.sim.with(|world| {
            let comment = &world.tracker.issues[&seven()].comments[0].body;
            assert!(comment.contains("(1 turn): a candidate that did not land"), "{comment}");
        });
    }
}

#[tokio::test]
async fn a_refusal_that_passes_costs_nothing_but_time() {
    for refusals in [1, 3] {
        let story = Story::new().with_issue(vec![good_work()]);
        story.sim.with(|world| {
            let fate = PushFate::Refused("cannot lock ref 'refs/heads/main'");
            world.git.fates = std::iter::repeat_n(fate, refusals).collect();
        });
        let run = story.settle().await;
        story.ended(End::Done);
        assert_eq!(story.count("git.push"), refusals + 1);
        assert_eq!(run.attempts[0].candidates.len(), 1, "the branch has not moved");
    }
}

#[tokio::test]
async fn a_branch_that_always_moves_is_raced_for_half_an_hour() {
    let story = Story::new().with_issue(vec![good_work()]).configure(|config| {
        config.race_timeout_seconds = 60;
    });
    let fate = PushFate::Overtaken(vec![("src/other", "theirs")]);
    story.sim.with(|world| {
        world.git.fates = std::iter::repeat_n(fate, 100).collect();
    });
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("times within"), "{}", story.why());
    let candidates = run.attempts[0].candidates.len();
    assert!((5..12).contains(&candidates), "{candidates} candidates");
}

#[tokio::test]
async fn a_branch_that_calms_down_is_caught_up_with() {
    let story = Story::new().with_issue(vec![good_work()]);
    let fate = PushFate::Overtaken(vec![("src/other", "theirs")]);
    story.sim.with(|world| {
        world.git.fates = std::iter::repeat_n(fate, 12).collect();
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.attempts[0].candidates.len(), 13, "no count ends it");
}

#[tokio::test]
async fn what_is_taken_out_the_moment_it_lands_is_not_pushed_again() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.git.fates.push_back(PushFate::TakenOut));
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(story.count("git.push"), 1);
    assert!(story.why().contains("somebody took it out again"), "{}", story.why());
}

#[tokio::test]
async fn another_default_branch_than_the_run_began_with_is_handed_over() {
    for at in ["executor.start", "git.keep", "git.landed"] {
        let story = Story::new().with_issue(vec![good_work()]);
        story.sim.with(|world| world.broken.insert("git.push"));
        story.until("so far", |world| world.calls.contains(&at)).await;
        story.sim.with(|world| {
            world.git.switched.insert(repo("o/r"), "trunk".to_owned());
            world.broken.clear();
        });
        story.settle().await;
        story.ended(End::NeedsHuman);
        let why = story.why();
        assert!(why.contains("is trunk now, and was main"), "{at}: {why}");
        story.sim.with(|world| assert_eq!(world.git.history(&repo("o/r")).len(), 1, "{at}"));
    }
}

/// The default branch of `o/r` is `trunk` from now on, which stands where `main` stands.
fn switch(world: &mut World) {
    world.git.switched.insert(repo("o/r"), "trunk".to_owned());
}

/// The same, and there is no `main` any more.
fn rename(world: &mut World) {
    switch(world);
    world.git.renamed.insert(repo("o/r"));
}

#[tokio::test]
async fn what_landed_counts_on_the_branch_that_has_become_the_default() {
    for (is_renamed, agents_far) in [(false, false), (true, false), (false, true)] {
        let story = Story::new().with_issue(vec![good_work()]);
        story.sim.with(|world| {
            hang_ci(world, true);
            if agents_far {
                far(world);
            }
        });
        landed(&story).await;
        story.sim.with(|world| {
            if is_renamed {
                rename(world);
            } else {
                switch(world);
            }
            hang_ci(world, false);
        });
        story.settle().await;
        story.ended(End::Done);
    }
}

#[tokio::test]
async fn what_the_new_default_branch_never_had_is_handed_over_as_that() {
    let scripts = [vec![good_work()], vec![breaking_work(), fixing_work()]];
    for (n, scripts) in scripts.into_iter().enumerate() {
        let story = Story::new().with_issue(scripts);
        story.sim.with(|world| hang_ci(world, true));
        landed(&story).await;
        let run = story.run();
        let base = run.start.as_ref().map(|start| start.base.clone()).unwrap();
        story.sim.with(|world| {
            switch(world);
            world.git.branches.insert((repo("o/r"), "trunk".to_owned()), base);
            hang_ci(world, false);
        });
        let run = story.settle().await;
        story.ended(End::NeedsHuman);
        story.handed_over(DoorbellKind::NeedsHuman);
        let why = story.why();
        assert!(why.contains("is trunk now, and was main"), "{n}: {why}");
        assert!(why.contains("trunk does not have it"), "{n}: {why}");
        assert!(!why.contains("took it out"), "{n}: {why}");
        assert_eq!(causes(&run), [TurnCause::Opening], "{n}: nobody is paid to fix it");
    }
}

#[tokio::test]
async fn a_fix_for_a_branch_that_is_not_the_default_any_more_does_not_land() {
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
    let second = |world: &mut World| world.calls.iter().filter(|c| **c == "executor.start").count();
    story.until("a fix", |world| second(world) == 2).await;
    story.sim.with(switch);
    story.settle().await;
    story.ended(End::Frozen);
    let why = story.why();
    assert!(why.contains("is trunk now") && why.contains("nothing more was pushed"), "{why}");
    assert_eq!(story.count("git.push"), 1);
}

#[tokio::test]
async fn a_renamed_default_branch_holds_no_repo() {
    let story = Story::new().with_issue(vec![good_work()]).configure(polled);
    story.sim.with(|world| hang_ci(world, true));
    landed(&story).await;
    // From now on, the commits after it may have been asked, too.
    let linked = |world: &mut World| {
        let runs = world.store.all();
        let mut landed = runs.iter().filter_map(Run::landed);
        landed.any(|one| one.stages.iter().any(|stage| stage.link.is_some()))
    };
    story.until("an answer with a link", linked).await;
    story.sim.with(|world| {
        rename(world);
        hang_ci(world, false);
    });
    story.settle().await;
    story.ended(End::Done);
    assert!(story.count("git.descendants") > 0);
    story.sim.with(|world| {
        world.file("o/r#8", "Say three.", &["ready-for-agent"], "ann");
        world.agents.scripts.insert(repo("o/r"), vec![good_work()].into());
    });
    let next = |run: &Run| run.issue.number == 8 && run.start.is_some();
    story.until("the next issue", |world| world.store.all().iter().any(next)).await;
    assert_eq!(story.run().start.map(|start| start.branch).as_deref(), Some("trunk"));
}

#[tokio::test]
async fn what_cannot_be_listed_for_the_cleanup_holds_the_repo_for_a_day_and_not_for_ever() {
    let story = Story::new().with_issue(vec![good_work()]).configure(polled);
    story.sim.with(|world| world.broken.insert("git.descendants"));
    let ended = |run: &Run| run.conclusion.is_some();
    story.until("an end", |world| world.store.all().iter().any(ended)).await;
    story.sim.advance(jiff::SignedDuration::from_hours(23));
    story.rounds(5).await;
    assert_eq!(story.run().settled_at, None, "it is tried again");
    story.sim.advance(jiff::SignedDuration::from_hours(1));
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(story.count("git.release"), 1);
}

#[tokio::test]
async fn what_cannot_be_removed_holds_the_repo_for_a_day_and_not_for_ever() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.broken.insert("git.release"));
    let ended = |run: &Run| run.conclusion.is_some();
    story.until("an end", |world| world.store.all().iter().any(ended)).await;
    story.sim.with(|world| world.file("o/r#8", "Say three.", &["ready-for-agent"], "ann"));
    story.sim.advance(jiff::SignedDuration::from_hours(23));
    story.rounds(5).await;
    assert_eq!(story.run().settled_at, None, "it is tried again");
    story.sim.advance(jiff::SignedDuration::from_hours(1));
    story.until("the next run", |world| world.store.all().len() == 2).await;
    let first = story.sim.with(|world| world.store.all().remove(0));
    assert_eq!(first.conclusion.unwrap().end, End::Done);
    assert!(first.settled_at.is_some());
}

#[tokio::test]
async fn a_remote_that_is_away_for_a_moment_is_waited_for() {
    for (away, end) in [(5, End::Done), (15, End::NeedsHuman)] {
        let story = Story::new().with_issue(vec![good_work()]);
        story.marked().await;
        story.sim.with(|world| world.git.gone.insert(repo("o/r")));
        for _ in 0..away {
            story.sim.advance(jiff::SignedDuration::from_secs(59));
            story.rounds(1).await;
        }
        story.sim.with(|world| world.git.gone.clear());
        story.settle().await;
        story.ended(end);
        let why = story.why();
        assert!(end == End::Done || why.contains("no git repository at"), "{why}");
    }
}
