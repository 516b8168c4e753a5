//! The loop after a landing that is red, or about which no stage has an answer.

use afk_core::doorbell::DoorbellKind;
use afk_core::ids::JobOf;
use afk_core::plan::{End, RedCause, TurnCause};
use afk_core::verdict::StageAnswer;
use afk_engine::ports::Switch;
use afk_sim::story::{
    Story, breaking_work, causes, fixing_work, flooding_work, good_work, repo, seven,
};
use afk_sim::world::{Act, Script, TurnState, World, person};
use jiff::SignedDuration;

#[tokio::test]
async fn a_red_stage_is_mended_forward() {
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward]);
    assert!(run.first_red_at.is_some());
    story.sim.with(|world| {
        let fix = &world.agents.turns_of(&repo("o/r"))[1].request;
        assert!(fix.prompt.contains("is red") && !fix.prompt.contains("# The issue"));
        assert!(
            fix.opening_prompt.contains("is red") && fix.opening_prompt.contains("# The issue"),
            "{}",
            fix.opening_prompt
        );
        assert_eq!(world.git.history(&repo("o/r")).len(), 3);
        let shown = &world.tracker.issues[&seven()].comments[0].body;
        assert!(shown.contains("_Fix-forward: 1 attempt._"), "{shown}");
    });
}

#[tokio::test]
async fn a_stage_that_a_change_makes_print_for_ever_is_red() {
    let story = Story::new().with_issue(vec![flooding_work(), fixing_work()]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward]);
    let told =
        story.sim.with(|world| world.agents.turns_of(&repo("o/r"))[1].request.prompt.clone());
    assert!(told.contains("more output than it may"), "{told}");
}

#[tokio::test]
async fn a_fix_that_is_red_too_is_still_ours() {
    let story = Story::new().with_issue(vec![breaking_work(), still_breaking(), fixing_work()]);
    let run = story.settle().await;
    story.ended(End::Done);
    let expected = [TurnCause::Opening, TurnCause::FixForward, TurnCause::FixForward];
    assert_eq!(causes(&run), expected);
    let reds: Vec<_> = run.attempts.iter().flat_map(|a| &a.candidates).map(|c| c.red).collect();
    assert_eq!(reds, [Some(RedCause::Ours), Some(RedCause::Ours), None]);
}

#[tokio::test]
async fn a_refused_fix_is_still_judged_as_a_fix() {
    // Refused because it fails verify.
    let wrong = Script::acts(vec![Act::Commit {
        message: "Mend the wrong thing",
        files: vec![("src/note", Some("fine")), ("src/lib", Some("lost"))],
    }]);
    let right = Script::acts(vec![Act::Commit {
        message: "Put it back",
        files: vec![("src/lib", Some("one two"))],
    }]);
    let story = Story::new().with_issue(vec![breaking_work(), wrong, right]);
    let run = story.settle().await;
    story.ended(End::Done);
    let expected = [TurnCause::Opening, TurnCause::FixForward, TurnCause::Refused];
    assert_eq!(causes(&run), expected);
}

#[tokio::test]
async fn fixes_that_mend_nothing_freeze_the_repo() {
    let story = Story::new()
        .with_issue(vec![breaking_work()])
        .configure(|config| config.fix_forward_max_attempts = 2);
    let run = story.settle().await;
    story.ended(End::Frozen);
    story.handed_over(DoorbellKind::Frozen);
    assert_eq!(run.fix_forwards(), 2);
    story.sim.with(|world| {
        assert!(world.store.switches.freeze_of(&repo("o/r")).is_some());
        world.file("o/r#8", "Next.", &["ready-for-agent"], "ann");
    });
    story.rounds(5).await;
    assert_eq!(story.sim.with(|world| world.store.all().len()), 1, "a frozen repo is left alone");
}

#[tokio::test]
async fn a_red_base_is_not_ours() {
    let story = Story::new().with_issue(vec![good_work(), fixing_work()]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "BREAKS-CI")]);
    });
    story
        .until("attributed", |world| {
            let run = world.store.all().pop();
            run.is_some_and(|run| run.landed().is_some_and(|landed| landed.red.is_some()))
        })
        .await;
    assert_eq!(story.run().landed().and_then(|landed| landed.red), Some(RedCause::NotOurs));
    // What comes after it and is red, too, changes nothing.
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/more", "theirs, too")]);
    });
    story.rounds(5).await;
    assert_eq!(causes(&story.run()), [TurnCause::Opening], "nothing is paid for it");
    // Somebody mends the branch: that descendant counts for our commit, whatever comes later.
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "fine")]);
        world.somebody_lands(&repo("o/r"), &[("src/later", "BREAKS-CI")]);
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!((run.first_red_at, run.fix_forwards()), (None, 0), "no clock of ours ran");
}

/// Our breaking work has landed, and somebody lands `theirs` on it before the fix lands.
async fn fixed_on_theirs(theirs: &'static [(&'static str, &'static str)], fix: Script) -> Story {
    let story = Story::new().with_issue(vec![breaking_work(), fix, fixing_work()]);
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    story.sim.with(|world| world.somebody_lands(&repo("o/r"), theirs));
    story
        .until("the fix attributed", |world| {
            let run = world.store.all().pop();
            let landed = run.and_then(|run| run.landed().cloned());
            world.git.past_heads.len() == 2 && landed.is_some_and(|one| one.red.is_some())
        })
        .await;
    story
}

fn still_breaking() -> Script {
    Script::acts(vec![Act::Commit {
        message: "Try",
        files: vec![("src/note", Some("still BREAKS-CI"))],
    }])
}

#[tokio::test]
async fn a_fix_that_stands_on_somebody_elses_red_is_not_ours() {
    let story = fixed_on_theirs(&[("src/theirs", "BREAKS-CI")], fixing_work()).await;
    let run = story.run();
    assert_eq!(run.landed().and_then(|landed| landed.red), Some(RedCause::NotOurs));
    story.rounds(5).await;
    assert_eq!(causes(&story.run()), [TurnCause::Opening, TurnCause::FixForward]);
    story.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("src/theirs", "mended")]));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.fix_forwards(), 1, "their red costs none");
}

#[tokio::test]
async fn a_fix_that_mends_nothing_is_ours_whoever_landed_below_it() {
    // Theirs is red because of what we had landed, and of nothing else.
    let story = fixed_on_theirs(&[("src/theirs", "fine")], still_breaking()).await;
    let run = story.run();
    assert_eq!(run.landed().and_then(|landed| landed.red), Some(RedCause::Ours));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.fix_forwards(), 2);
}

#[tokio::test]
async fn what_somebody_does_to_our_own_files_excuses_nothing() {
    let theirs = &[("src/note", "their BREAKS-CI")];
    let story = fixed_on_theirs(theirs, still_breaking()).await;
    let run = story.run();
    assert_eq!(run.landed().and_then(|landed| landed.red), Some(RedCause::Ours));
    story.settle().await;
    story.ended(End::Done);
}

/// Good work whose stage could not run, so that nothing is known of the landed commit.
async fn voided() -> Story {
    let story = Story::new().with_issue(vec![good_work(), fixing_work()]);
    story.sim.with(|world| world.jobs.absent.insert("ci".to_owned()));
    story
        .until("void", |world| {
            let run = world.store.all().pop();
            let landed = run.and_then(|run| run.landed().cloned());
            landed.is_some_and(|one| one.stages.iter().any(|s| s.answer == StageAnswer::Void))
        })
        .await;
    story.sim.with(|world| world.jobs.absent.clear());
    story
}

#[tokio::test]
async fn a_stage_that_could_not_run_costs_nothing_and_a_descendant_speaks() {
    let story = voided().await;
    story.rounds(5).await;
    assert_eq!(causes(&story.run()), [TurnCause::Opening]);
    story.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("src/theirs", "fine")]));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!((run.first_red_at, run.fix_forwards()), (None, 0));
    let link = run.landed().and_then(|landed| landed.stages[0].link.clone()).unwrap();
    assert!(link.contains("descendant"), "{link}");
}

#[tokio::test]
async fn a_red_that_a_later_commit_brought_is_not_ours() {
    let story = voided().await;
    story.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("src/theirs", "BREAKS-CI")]));
    story.rounds(10).await;
    let run = story.run();
    assert_eq!(run.landed().and_then(|landed| landed.red), Some(RedCause::NotOurs));
    assert_eq!((causes(&run), run.first_red_at), (vec![TurnCause::Opening], None));
    story.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("src/theirs", "mended")]));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening]);
}

#[tokio::test]
async fn only_so_many_descendants_are_asked() {
    let story = voided().await;
    story.sim.with(|world| {
        world.jobs.absent.insert("ci".to_owned());
        for n in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"] {
            world.somebody_lands(&repo("o/r"), &[("src/theirs", n)]);
        }
    });
    story.rounds(40).await;
    let ours = story.run().landed().unwrap().commit.to_string();
    let asked = story.sim.with(|world| {
        let stages = world.jobs.started.iter().filter(|key| key.of() == Some(JobOf::Stage));
        stages.filter(|key| !key.to_string().contains(&ours)).count()
    });
    assert_eq!(asked, 10, "ten after ours, each once");
}

#[tokio::test]
async fn a_red_commit_that_a_hundred_passes_see_has_one_corrective_turn() {
    let story = Story::new().with_issue(vec![breaking_work(), Script::hangs()]);
    story.until("a fix", |world| world.agents.turns.len() == 2).await;
    story.rounds(100).await;
    let run = story.run();
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward]);
    story.sim.with(|world| {
        let turns = world.agents.turns_of(&repo("o/r"));
        assert_eq!(turns.len(), 2);
        assert_eq!(turns[1].state, TurnState::Running);
        let resets = world.jobs.started.iter().filter(|key| key.of() == Some(JobOf::Reset));
        assert_eq!(resets.count(), 6, "and one reset, of six steps");
        assert!(world.wrong.is_empty(), "{:?}", world.wrong);
    });
}

#[tokio::test]
async fn a_turn_without_a_commit_spends_its_attempt() {
    let idle = || Script::acts(Vec::new());
    let story = Story::new().with_issue(vec![breaking_work(), idle(), fixing_work()]);
    let run = story.settle().await;
    story.ended(End::Done);
    let expected = [TurnCause::Opening, TurnCause::FixForward, TurnCause::FixForward];
    assert_eq!((causes(&run), run.fix_forwards()), (expected.to_vec(), 2));
    let story = Story::new()
        .with_issue(vec![breaking_work(), idle(), fixing_work()])
        .configure(|config| config.fix_forward_max_attempts = 1);
    let run = story.settle().await;
    story.ended(End::Frozen);
    assert_eq!((causes(&run).len(), run.fix_forwards()), (2, 1), "strictly");
}

#[tokio::test]
async fn a_fix_stands_on_the_default_head_and_what_was_left_is_kept() {
    let mut first = breaking_work();
    first.acts.push(Act::Dirty("scratch"));
    // The agent is asked about its uncommitted file once, and the file stays.
    let story = Story::new().with_issue(vec![first, Script::acts(Vec::new()), Script::hangs()]);
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    story.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("src/theirs", "fine")]));
    story.until("a fix", |world| world.agents.turns.len() == 3).await;
    let run = story.run();
    let reset = run.attempts[1].reset.clone().unwrap();
    assert_eq!(run.base(), Some(&reset.onto));
    story.sim.with(|world| {
        let workspace = &world.git.workspaces[&run.id];
        assert_eq!(workspace.head, world.git.remotes[&repo("o/r")]);
        assert_eq!((&workspace.head, workspace.dirty.len()), (&reset.onto, 0));
        let kept = &world.git.kept[&(run.id, "leftovers-2".to_owned())];
        assert_eq!(reset.leftovers.as_ref(), Some(kept));
        assert!(world.git.files_of(kept).unwrap().contains_key("scratch"));
    });
}

#[tokio::test]
async fn the_clock_runs_from_our_first_red_and_stands_while_people_decide() {
    let idle = Script::acts(Vec::new());
    let story = Story::new().with_issue(vec![breaking_work(), idle, fixing_work()]);
    story.until("a fix", |world| world.agents.turns.len() == 2).await;
    story.switch(&Switch::Halt, true);
    story.rounds(3).await;
    for _ in 0..61 {
        story.sim.advance(SignedDuration::from_mins(1));
        story.tick().await.unwrap();
    }
    story.switch(&Switch::Halt, false);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.fix_forwards(), 2, "an hour of halt is none of the clock's");
}

#[tokio::test]
async fn a_clock_that_is_spent_freezes() {
    let idle = Script::acts(Vec::new());
    let story = Story::new()
        .with_issue(vec![breaking_work(), idle, fixing_work()])
        .configure(|config| config.fix_forward_max_seconds = 60);
    story.until("a fix", |world| world.agents.turns.len() == 2).await;
    story.sim.advance(SignedDuration::from_secs(60));
    let run = story.settle().await;
    story.ended(End::Frozen);
    assert_eq!(run.fix_forwards(), 1);
}

#[tokio::test]
async fn a_red_base_that_nobody_mends_is_handed_over_at_the_deadline() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "BREAKS-CI")]);
    });
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    story.rounds(6).await;
    hang_on(&story, 65).await;
    story.settle().await;
    story.ended(End::NeedsHuman);
    let freeze = story.sim.with(|world| world.store.switches.freeze_of(&repo("o/r")).cloned());
    assert_eq!(freeze, None, "their red freezes nobody");
}

/// Lets so many minutes of a story pass in which only what hangs is at work.
async fn hang_on(story: &Story, minutes: u32) {
    // In steps, because all at once would count as time in which no control plane ran.
    for _ in 0..minutes / 5 {
        story.sim.advance(SignedDuration::from_mins(5));
        story.rounds(2).await;
    }
}

#[tokio::test]
async fn a_slow_stage_that_is_red_by_us_is_mended_forward() {
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
    let slow = |hangs: bool| {
        story.sim.with(|world| {
            world.jobs.hanging = hangs.then(|| "ci".to_owned()).into_iter().collect();
        });
    };
    slow(true);
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    // The stage takes forty minutes on our commit, and as long on its base.
    for _ in 0..2 {
        hang_on(&story, 40).await;
        slow(false);
        story.sim.with(World::step);
        slow(true);
    }
    slow(false);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward]);
}

#[tokio::test]
async fn a_stage_that_never_answers_freezes_at_its_deadline() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.jobs.hanging.insert("ci".to_owned()));
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    hang_on(&story, 70).await;
    story.settle().await;
    story.ended(End::Frozen);
}

#[tokio::test]
async fn what_our_own_commit_closed_is_open_again_for_a_person() {
    let story = Story::new().with_issue(vec![breaking_work()]);
    let story = story.configure(|config| config.fix_forward_max_attempts = 0);
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    story.sim.with(|world| world.set_open(&seven(), false, &person("afk")));
    story.settle().await;
    story.ended(End::Frozen);
    story.handed_over(DoorbellKind::Frozen);
}

#[tokio::test]
async fn a_stage_that_fails_by_chance_costs_nothing_and_is_told() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.jobs.flakes = 1);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening]);
    let limits = story.sim.with(|world| world.config.limits(&world.config.repos[&repo("o/r")]));
    assert!(run.evidence(limits.stages.as_ref()).stages.iter().any(|stage| stage.flaky));
}

#[tokio::test]
async fn a_stage_that_hangs_by_our_change_is_mended_forward() {
    let story = Story::new().with_issue(vec![good_work(), fixing_work()]);
    let story = story.configure(|config| {
        for table in config.repos.values_mut() {
            for stage in &mut table.stages {
                stage.timeout_seconds = Some(20);
            }
        }
    });
    // The stage hangs only on what landed: its base is asked once the hang is over.
    story.sim.with(|world| world.jobs.hanging.insert("ci".to_owned()));
    let red = |world: &mut World| {
        let runs = world.store.all();
        let landed = runs.first().and_then(|run| run.landed());
        landed.and_then(|landed| landed.stage("ci")).is_some_and(afk_core::run::Stage::is_red)
    };
    story.until("it failed twice", red).await;
    story.sim.with(|world| world.jobs.hanging.clear());
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward]);
}

#[tokio::test]
async fn a_stage_that_is_down_for_the_base_too_is_asked_again_until_it_is_back() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.jobs.failing.insert("ci".to_owned()));
    let blameless = |world: &mut World| {
        world.store.all()[0].landed().is_some_and(|one| one.red == Some(RedCause::NotOurs))
    };
    story.until("attributed", |world| !world.store.all().is_empty() && blameless(world)).await;
    story.rounds(100).await;
    let asked = story.sim.with(|world| {
        let stages = world.jobs.started.iter().filter(|key| key.of() == Some(JobOf::Stage));
        stages.count()
    });
    assert!((4..20).contains(&asked), "{asked} askings in 100 s");
    story.sim.with(|world| world.jobs.failing.clear());
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening]);
}
