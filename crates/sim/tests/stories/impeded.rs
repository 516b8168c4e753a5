//! The loop where something is in the way of its passes: it is shown while it lasts, and the plan
//! decides what becomes of the run.

use afk_core::doorbell::DoorbellKind;
use afk_core::impediment::Impediment;
use afk_core::plan::End;
use afk_engine::ports::Switch;
use afk_sim::story::{Story, breaking_work, fixing_work, good_work, repo, seven};
use afk_sim::world::{Script, World, person};
use jiff::SignedDuration;

/// Lets minutes pass in which the control plane ticks now and then.
async fn minutes_pass(story: &Story, minutes: u32) {
    for _ in 0..minutes {
        story.sim.advance(SignedDuration::from_mins(1));
        story.rounds(1).await;
    }
}

/// How many rows of this kind the journal of the newest run has.
fn rows(story: &Story, kind: &str) -> usize {
    let run = story.run().id;
    let rows = story.sim.with(|world| world.store.transitions(run));
    rows.iter().filter(|(_, row)| row.kind() == kind).count()
}

fn comment(story: &Story) -> String {
    story.sim.with(|world| world.tracker.issues[&seven()].comments[0].body.clone())
}

#[tokio::test]
async fn an_error_that_repeats_is_shown_while_it_lasts() {
    for broken in ["git.fetch_head", "git.prepare_mirror"] {
        let story = Story::new().with_issue(vec![good_work()]);
        story.sim.with(|world| world.broken.insert(broken));
        minutes_pass(&story, 12).await;
        let run = story.run();
        let told = run.impediment().map(Impediment::sentence);
        assert_eq!(told, Some(format!("{broken} is out of order")));
        let shown = format!("keeps trying: {broken} is out of order");
        assert!(comment(&story).contains(&shown), "{}", comment(&story));
        assert_eq!(rows(&story, "impeded"), 1, "one row, however many passes");

        story.sim.with(|world| world.broken.clear());
        story.settle().await;
        story.ended(End::Done);
        assert_eq!((rows(&story, "impeded"), rows(&story, "unimpeded")), (1, 1));
        assert!(!comment(&story).contains("tries again"), "{}", comment(&story));
    }
}

#[tokio::test]
async fn passes_that_fail_now_and_then_fill_no_journal() {
    let story = Story::new().with_issue(vec![Script { tool_open: true, ..Script::hangs() }]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    for n in 0..60 {
        story.sim.with(|world| match n % 2 {
            0 => drop(world.broken.insert("jobs.renew")),
            _ => world.broken.clear(),
        });
        minutes_pass(&story, 1).await;
    }
    let (impeded, well) = (rows(&story, "impeded"), rows(&story, "unimpeded"));
    assert!((2..=12).contains(&impeded) && well == impeded, "{impeded} {well}");
}

#[tokio::test]
async fn a_trackers_error_is_shown_and_holds_nothing_up() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.refusing.insert("tracker.label"));
    let landed = |world: &mut World| world.store.all().iter().any(|run| run.landed().is_some());
    story.until("landed", landed).await;
    let told = story.run().impediment().map(Impediment::sentence);
    assert_eq!(told.as_deref(), Some("tracker.label does not let us in"));
    story.sim.with(|world| world.refusing.clear());
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn what_only_a_person_can_mend_ends_the_run_with_its_reason() {
    for refusing in ["git.prepare", "executor.start", "git.merge", "git.push"] {
        let story = Story::new().with_issue(vec![good_work()]);
        story.sim.with(|world| world.refusing.insert(refusing));
        story.settle().await;
        story.ended(End::NeedsHuman);
        story.handed_over(DoorbellKind::NeedsHuman);
        assert_eq!(story.why(), format!("{refusing} does not let us in"));
    }
}

#[tokio::test]
async fn what_only_a_person_can_mend_freezes_over_a_red_landing() {
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
    let red = |world: &mut World| world.agents.turns.len() == 2;
    story.until("a fix", red).await;
    story.sim.with(|world| world.refusing.insert("git.fetch_head"));
    story.settle().await;
    story.ended(End::Frozen);
    assert!(story.why().contains("git.fetch_head does not let us in"), "{}", story.why());
}

#[tokio::test]
async fn an_agent_is_stopped_before_its_run_ends_at_an_obstacle() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| world.refusing.insert("jobs.renew"));
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("jobs.renew does not let us in"), "{}", story.why());
    story.sim.with(|world: &mut World| assert!(world.alive(world.store.all()[0].id).is_empty()));
}

#[tokio::test]
async fn an_obstacle_waits_for_a_halt_to_be_lifted_and_a_cancel_lets_go() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.switch(&Switch::Halt, true);
    story.sim.with(|world| world.refusing.insert("jobs.renew"));
    story.rounds(40).await;
    assert!(story.run().conclusion.is_none(), "the lock is kept");
    story.sim.with(|world| {
        world.set_open(&seven(), false, &person("ann"));
    });
    story.settle().await;
    story.ended(End::Withdrawn);
}

#[tokio::test]
async fn a_run_of_which_nothing_can_be_seen_is_frozen_when_its_time_is_over() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| world.broken.insert("jobs.alive"));
    minutes_pass(&story, 5).await;
    story.switch(&Switch::Halt, true);
    minutes_pass(&story, 5).await;
    story.switch(&Switch::Halt, false);
    for _ in 0..13 * 12 {
        story.sim.advance(SignedDuration::from_mins(5));
        story.rounds(1).await;
        if story.run().conclusion.is_some() {
            break;
        }
    }
    let ended = story.run().conclusion.expect("it ends");
    assert_eq!(ended.end, End::Frozen);
    let why = "the run's deadline has passed; what the run had started could not be stopped; the \
               last error was: jobs.alive is out of order";
    assert_eq!(ended.why, why);
    story.sim.with(|world| {
        assert!(world.store.switches.freeze_of(&repo("o/r")).is_some());
        world.broken.clear();
    });
    story.settle().await;
    story.ended(End::Frozen);
}
