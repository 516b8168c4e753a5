//! What survives restarts and races: the lock, the record, the freeze.

use afk_core::plan::{End, TurnCause};
use afk_engine::Engine;
use afk_engine::ports::Switch;
use afk_sim::story::{Story, breaking_work, causes, fixing_work, good_work, repo, seven};
use afk_sim::world::{Fault, Script, When, World, person};

use super::admitted;

#[tokio::test]
async fn fault_3_an_escalated_issue_is_not_dispatched_again() {
    let story = Story::new().with_issue(Vec::new());
    story.settle().await;
    story.ended(End::NeedsHuman);
    story.rounds(30).await;
    assert_eq!(admitted(&story).len(), 1);
    story.sim.with(|world| {
        assert_eq!(world.tracker.issues[&seven()].issue.labels, ["ready-for-human"]);
    });
}

#[tokio::test]
async fn fault_4_a_freeze_holds_the_repo_until_a_person_lifts_it() {
    let story = Story::new()
        .with_issue(vec![breaking_work()])
        .configure(|config| config.fix_forward_max_attempts = 1);
    story.settle().await;
    story.ended(End::Frozen);
    story.sim.with(|world| {
        world.file("o/r#8", "Next.", &["ready-for-agent"], "ann");
    });
    let story = story.restarted("after the freeze");
    story.rounds(10).await;
    assert_eq!(admitted(&story), ["o/r#7"], "nothing lands on the red branch");
    story.switch(&Switch::Freeze(repo("o/r")), false);
    story.until("the next", |world| world.store.all().len() == 2).await;
}

#[tokio::test]
async fn fault_7_attempts_clocks_and_threads_survive_a_restart() {
    let story = Story::new()
        .with_issue(vec![breaking_work()])
        .configure(|config| config.fix_forward_max_attempts = 3);
    let mut story = story;
    for n in 1..=3 {
        story
            .until("another fix", |world| world.store.all().iter().any(|r| r.fix_forwards() == n))
            .await;
        story = story.restarted(&format!("restart {n}"));
    }
    let run = story.settle().await;
    story.ended(End::Frozen);
    assert_eq!(run.fix_forwards(), 3, "counted over every restart");
    story.sim.with(|world| {
        let turns = world.agents.turns_of(&repo("o/r"));
        let threads: Vec<_> = turns.iter().map(|turn| turn.request.thread).collect();
        assert!(threads.iter().all(|thread| *thread == threads[0]), "one thread");
    });
}

#[tokio::test]
async fn fault_8_the_lock_is_the_stores_and_no_label() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.until("marked", |world| world.tracker.issues[&seven()].has("agent-in-progress")).await;
    story.sim.with(|world| {
        // A stale write has removed the label, without an event.
        world.tracker.issues.get_mut(&seven()).unwrap().issue.labels.clear();
        world.file("o/r#8", "Next.", &["ready-for-agent"], "ann");
    });
    story.rounds(10).await;
    assert_eq!(admitted(&story), ["o/r#7"], "one live run a repo, whatever labels say");
    // The forge closes the issue while the run is at work: the agent is stopped before the repo is
    // free.
    story.sim.with(|world| world.set_open(&seven(), false, &person("ann")));
    story
        .until("the next", |world| {
            let runs = world.store.all();
            let live = runs.iter().filter(|run| run.settled_at.is_none()).count();
            assert!(live <= 1, "two live runs on one repo");
            runs.len() == 2
        })
        .await;
}

#[tokio::test]
async fn fault_9_neither_a_crash_nor_a_second_poller_gives_two_agents() {
    // The process dies right after the agent was started, before the label is on.
    let story = Story::new().with_issue(vec![good_work()]);
    story.until("opened", |world| world.calls.contains(&"git.prepare")).await;
    let mut died = false;
    for offset in 0..40 {
        let call = story.sim.with(|world| world.calls.len()) + offset;
        story.sim.with(|world| {
            world.fault = Some(Fault { call, when: When::After, kills: true });
        });
        died |= story.deadly_round().await;
    }
    assert!(died, "no call of the dispatch died");
    story.sim.with(|world| world.fault = None);
    let story = story.restarted("second");
    let third = Engine::new(story.sim.ports(), "third");
    for _ in 0..20 {
        let stop = tokio_util::sync::CancellationToken::new();
        let (a, b) = tokio::join!(story.engine.tick(true, &stop), third.tick(true, &stop));
        a.unwrap();
        b.unwrap();
        story.sim.with(World::step);
        story.sim.advance(jiff::SignedDuration::from_secs(5));
    }
    story.settle().await;
    story.ended(End::Done);
    story.sim.with(|world| assert_eq!(world.agents.turns.len(), 1));
}

#[tokio::test]
async fn fault_20_a_failing_doorbell_repeats_nothing_but_itself() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.break_doorbells(true));
    story.until("over", |world| world.store.all().iter().any(|run| run.settled_at.is_some())).await;
    let told = |world: &mut World| {
        let issue = &world.tracker.issues[&seven()];
        let writes = ["tracker.label", "tracker.edit", "tracker.comment", "tracker.close"];
        let writes = world.calls.iter().filter(|call| writes.contains(*call)).count();
        (issue.events.len(), issue.comments.clone(), world.archive.len(), writes)
    };
    let before = story.sim.with(told);
    for _ in 0..20 {
        story.sim.advance(jiff::SignedDuration::from_mins(5));
        story.rounds(1).await;
    }
    assert!(story.count("doorbells.ring") > 3, "it is tried again");
    assert_eq!(story.sim.with(told), before, "and nothing else is");
    story.sim.with(|world| world.break_doorbells(false));
    story.sim.advance(jiff::SignedDuration::from_mins(20));
    story.settle().await;
    story.sim.with(|world| assert_eq!(world.rung().len(), 1));
}

#[tokio::test]
async fn fault_16_a_switch_stops_corrective_turns_too() {
    // The kill switch only keeps new runs from beginning; a halt and a freeze stop what is under
    // way.
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
    story
        .until("red", |world| world.store.all().iter().any(|run| run.first_red_at.is_some()))
        .await;
    story.switch(&Switch::Halt, true);
    story.rounds(20).await;
    let live = story.run();
    story.sim.with(|world| assert!(world.alive(live.id).is_empty(), "nothing works"));
    let turns = story.sim.with(|world| world.agents.turns.len());
    story.rounds(20).await;
    assert_eq!(story.sim.with(|world| world.agents.turns.len()), turns, "none is begun");
    story.switch(&Switch::Halt, false);
    let run = story.settle().await;
    story.ended(End::Done);
    let fixes = causes(&run).into_iter().filter(|cause| *cause == TurnCause::FixForward).count();
    assert_eq!(fixes, 1);
}
