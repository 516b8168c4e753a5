//! The loop where people take an issue back.

use afk_core::plan::End;
use afk_core::run::CancelHow;
use afk_engine::switches::Brake;
use afk_sim::story::{Story, good_work, repo, seven, unlabel};
use afk_sim::world::{Script, World, person};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

/// Takes the issue back while its agent works, and asserts how that was understood.
async fn taken_back(how: CancelHow, take: impl Fn(&mut World)) {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.marked().await;
    story.rounds(2).await;
    story.sim.with(|world| take(world));
    let run = story.settle().await;
    story.ended(End::Withdrawn);
    assert_eq!(run.cancel.map(|cancel| cancel.how), Some(how));
    story.sim.with(|world| {
        let issue = &world.tracker.issues[&seven()];
        assert!(!issue.has("agent-in-progress"), "{how:?}");
        assert!(!issue.has("ready-for-human"), "{how:?}");
        assert!(world.rung().is_empty(), "a cancel rings no bell");
        assert!(world.alive(run.id).is_empty());
    });
    story.rounds(5).await;
    let runs = story.sim.with(|world| world.store.all().len());
    assert_eq!(runs, 1, "{how:?}: not dispatched again");
}

#[tokio::test]
async fn a_person_takes_an_issue_back() {
    let ann = || person("ann");
    taken_back(CancelHow::Closed, |world| {
        world.set_open(&seven(), false, &ann());
    })
    .await;
    taken_back(CancelHow::Unreadied, |world| unlabel(world, "ready-for-agent", "ann")).await;
    taken_back(CancelHow::Unlocked, |world| unlabel(world, "agent-in-progress", "ann")).await;
    taken_back(CancelHow::Unenrolled, |world| world.config.allowlist.clear()).await;
}

#[tokio::test]
async fn a_label_that_is_merely_not_seen_is_put_back() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.marked().await;
    story.rounds(2).await;
    story.sim.with(|world| {
        let labels = &mut world.tracker.issues.get_mut(&seven()).unwrap().issue.labels;
        labels.clear();
    });
    story.rounds(3).await;
    assert_eq!(story.run().cancel, None);
    story.sim.with(|world| assert!(world.tracker.issues[&seven()].has("agent-in-progress")));
}

#[tokio::test]
async fn taken_back_after_the_landing_its_verdict_is_followed() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    story.sim.with(|world| world.set_open(&seven(), false, &person("ann")));
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn taken_back_after_the_landing_a_slow_stage_is_let_to_its_end() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.jobs.hanging.insert("ci".to_owned()));
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    story.sim.with(|world| world.set_open(&seven(), false, &person("ann")));
    story.rounds(20).await;
    assert_eq!(story.count("jobs.stop"), 0, "its verdict is awaited");
    story.sim.with(|world| world.jobs.hanging.clear());
    story.settle().await;
    story.ended(End::Done);
}

/// The tracker's clock may be minutes apart from ours. What people did after the admission counts,
/// and what they did before it is no cancel.
#[tokio::test]
async fn a_cancel_does_not_depend_on_the_trackers_clock() {
    for minutes in [-10, 0, 10] {
        let skewed = || {
            let story = Story::new();
            story.sim.with(|world| world.tracker.skew = SignedDuration::from_mins(minutes));
            story
        };
        let story = skewed().with_issue(vec![Script::hangs()]);
        story.marked().await;
        story.sim.with(|world| unlabel(world, "ready-for-agent", "ann"));
        let run = story.settle().await;
        story.ended(End::Withdrawn);
        assert_eq!(run.cancel.map(|cancel| cancel.how), Some(CancelHow::Unreadied), "{minutes}");

        // Ann had closed the issue and opened it again; later a forge closes it because of our own
        // commit.
        let story = skewed().with_issue(vec![Script::hangs()]);
        story.sim.with(|world| {
            world.set_open(&seven(), false, &person("ann"));
            world.set_open(&seven(), true, &person("ann"));
        });
        story.marked().await;
        story.sim.with(|world| {
            world.set_open(&seven(), false, &person("afk"));
            world.agents.turns.values_mut().next().expect("a turn").script = good_work();
        });
        let run = story.settle().await;
        story.ended(End::Done);
        assert_eq!(run.cancel, None, "{minutes}");
    }
}

#[tokio::test]
async fn a_run_that_a_person_began_is_cancelled_by_the_removal_of_its_repo_alone() {
    for enrolled in [true, false] {
        let story = Story::new().with_issue(vec![good_work()]).configure(|config| {
            config.kill_switch = true;
            config.allowlist.retain(|_| enrolled);
        });
        let brake = Brake::new(CancellationToken::new());
        brake.read(story.engine.ports()).await;
        story.engine.dispatch_by_hand(&seven(), &brake).await.unwrap().unwrap();
        story.marked().await;
        story.sim.with(|world| world.config.allowlist.clear());
        story.settle().await;
        story.ended(if enrolled { End::Withdrawn } else { End::Done });
    }
}

/// A forge that has the labels of the configuration already, in another spelling.
#[tokio::test]
async fn a_label_is_taken_off_and_put_on_as_the_forge_spells_it() {
    let spelled = |scripts| {
        let story = Story::new();
        story.sim.with(|world| {
            for label in ["Ready-For-Agent", "Agent-In-Progress", "READY-FOR-HUMAN"] {
                world.tracker.make_label(&repo("o/r"), label);
            }
        });
        story.with_issue(scripts)
    };
    let labels =
        |story: &Story| story.sim.with(|world| world.tracker.issues[&seven()].issue.labels.clone());

    let story = spelled(vec![Script::acts(Vec::new())]);
    story.marked().await;
    assert_eq!(labels(&story), ["Ready-For-Agent", "Agent-In-Progress"]);
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(labels(&story), ["READY-FOR-HUMAN"]);
    let written = story.count("tracker.label");
    story.rounds(5).await;
    assert_eq!(story.count("tracker.label"), written, "it is told");
    assert_eq!(story.sim.with(|world| world.store.all().len()), 1, "not dispatched again");

    let story = spelled(vec![good_work()]);
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(labels(&story), Vec::<String>::new());

    for (label, how) in
        [("ready-for-agent", CancelHow::Unreadied), ("agent-in-progress", CancelHow::Unlocked)]
    {
        let story = spelled(vec![Script::hangs()]);
        story.marked().await;
        let written = story.count("tracker.label");
        story.rounds(2).await;
        assert_eq!(story.count("tracker.label"), written, "it is there");
        story.sim.with(|world| unlabel(world, label, "ann"));
        let run = story.settle().await;
        story.ended(End::Withdrawn);
        assert_eq!(run.cancel.map(|cancel| cancel.how), Some(how));
        assert_eq!(labels(&story), Vec::<String>::new());
    }
}
