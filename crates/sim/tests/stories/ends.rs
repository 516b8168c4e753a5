//! The loop where a run comes to its end: time or money is used up, something cannot be stopped, an
//! issue is gone, or a doorbell does not ring.

use afk_core::doorbell::DoorbellKind;
use afk_core::plan::{End, TurnCause};
use afk_core::request::Request;
use afk_core::usd::Usd;
use afk_engine::outbox::{MOST_ATTEMPTS, RingCounts};
use afk_engine::ports::Switch;
use afk_sim::story::{Story, ask, breaking_work, fixing_work, good_work, repo, seven};
use afk_sim::world::{Act, Script, Send, World, person};
use jiff::SignedDuration;

fn hangs() -> Script {
    Script { tool_open: true, ..Script::hangs() }
}

#[tokio::test]
async fn a_run_ends_at_its_deadline() {
    let patient = 24 * 60 * 60;
    let story = Story::new()
        .with_issue(vec![hangs()])
        .configure(|config| config.tool_timeout_seconds = patient);
    for _ in 0..90 {
        story.sim.advance(SignedDuration::from_mins(9));
        story.rounds(1).await;
    }
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("deadline"), "{}", story.why());
    story.sim.with(|world: &mut World| assert!(world.alive(world.store.all()[0].id).is_empty()));
}

#[tokio::test]
async fn a_tool_that_never_ends_is_stopped_after_its_time_and_the_turn_tried_again() {
    let story = Story::new().with_issue(vec![hangs(), good_work()]);
    // Longer than an agent without an open tool may be silent.
    for _ in 0..10 {
        story.sim.advance(SignedDuration::from_mins(9));
        story.rounds(1).await;
    }
    let turns = |story: &Story| story.run().attempts[0].turns.len();
    assert_eq!(turns(&story), 1);
    for _ in 0..10 {
        story.sim.advance(SignedDuration::from_mins(9));
        story.rounds(1).await;
    }
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(turns(&story), 2);
}

#[tokio::test]
async fn a_budget_that_is_spent_ends_the_run() {
    let files = vec![("src/lib", Some("untested"))];
    let mut dear = Script::acts(vec![Act::Commit { message: "Work", files }]);
    dear.cost = afk_core::usd::Usd::dollars(100);
    let story = Story::new().with_issue(vec![dear, good_work()]);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    let turns = run.attempts.iter().flat_map(|attempt| &attempt.turns);
    assert_eq!(turns.map(|turn| turn.cause).collect::<Vec<_>>(), [TurnCause::Opening]);
    assert!(story.why().contains("budget"), "{}", story.why());
}

#[tokio::test]
async fn an_agent_that_cannot_be_stopped_freezes_its_repo() {
    let cost = Usd::dollars(7);
    let story = Story::new().with_issue(vec![Script { cost, ..hangs() }]);
    story.marked().await;
    story.sim.with(|world| {
        world.agents.stubborn = true;
        world.set_open(&seven(), false, &person("ann"));
    });
    story.until("concluded", |world| world.store.all()[0].conclusion.is_some()).await;
    let conclusion = story.run().conclusion.unwrap();
    assert_eq!(conclusion.end, End::Frozen);
    assert!(conclusion.why.contains("could not be stopped"), "{}", conclusion.why);
    assert!(story.sim.with(|world| world.store.switches.freeze_of(&repo("o/r")).is_some()));
    // Nothing is reserved for the turn any more: what it has streamed is charged with the end.
    let ledger = story.run().ledger();
    assert_eq!((ledger.total(), ledger.has_estimates()), (cost, true));

    // People are told while the agent still works; the run is settled only once it does not.
    story.until("told", |world| world.tracker.issues[&seven()].comments.len() == 1).await;
    story.sim.with(|world| {
        let issue = &world.tracker.issues[&seven()];
        assert!(issue.has("ready-for-human") && issue.has("agent-in-progress"));
        assert!(world.store.all()[0].settled_at.is_none());
        world.agents.stubborn = false;
    });
    story.settle().await;
    story.ended(End::Frozen);
    story.sim.with(|world| assert!(!world.tracker.issues[&seven()].has("agent-in-progress")));
}

#[tokio::test]
async fn a_grace_that_was_once_begun_does_not_run_on_in_the_next_turn() {
    let story = Story::new().with_issue(vec![hangs(), hangs()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.switch(&Switch::Halt, true);
    story.round().await.unwrap();
    // The halt is lifted before any pass saw the turn at rest.
    story.switch(&Switch::Halt, false);
    story.until("the second turn", |world| world.agents.turns.len() == 2).await;
    story.sim.advance(SignedDuration::from_mins(5));
    story.sim.with(|world| {
        world.set_open(&seven(), false, &person("ann"));
    });
    story.settle().await;
    story.ended(End::Withdrawn);
}

#[tokio::test]
async fn what_cannot_be_stopped_freezes_its_repo_where_nothing_can_be_seen_either() {
    let story = Story::new().with_issue(vec![hangs()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| {
        world.agents.stubborn = true;
        world.broken.extend(["jobs.renew", "jobs.stop"]);
    });
    for _ in 0..90 {
        story.sim.advance(SignedDuration::from_mins(9));
        story.rounds(1).await;
        if story.run().stopping_since.is_some() {
            break;
        }
    }
    story.rounds(20).await;
    assert!(story.run().conclusion.is_none(), "it has a grace");
    story.until("concluded", |world| world.store.all()[0].conclusion.is_some()).await;
    assert_eq!(story.run().conclusion.unwrap().end, End::Frozen);
    assert!(story.why().contains("could not be stopped"), "{}", story.why());
    story.until("told", |world| world.tracker.issues[&seven()].comments.len() == 1).await;
    story.sim.with(|world| {
        assert!(world.tracker.issues[&seven()].has("ready-for-human"));
        world.agents.stubborn = false;
        world.broken.clear();
    });
    story.settle().await;
}

#[tokio::test]
async fn an_issue_that_was_deleted_holds_its_repo_for_an_hour() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| world.delete_issue(&seven()));
    story.until("concluded", |world| world.store.all()[0].conclusion.is_some()).await;
    story.rounds(60).await;
    assert!(story.run().settled_at.is_none(), "its tracker may have lost it for a moment only");
    story.sim.advance(SignedDuration::from_hours(1));
    story.settle().await;
    story.ended(End::Done);
}

/// Only a person can mend an unreadable issue, and nobody does: the repo is held for a day, and not
/// for ever.
#[tokio::test]
async fn an_issue_that_cannot_be_read_holds_its_repo_for_a_day() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| world.tracker.unreadable.insert(seven()));
    story.until("concluded", |world| world.store.all()[0].conclusion.is_some()).await;
    story.sim.advance(SignedDuration::from_hours(2));
    story.rounds(60).await;
    assert!(story.run().settled_at.is_none(), "a person may mend it");
    story.sim.advance(SignedDuration::from_hours(23));
    story.settle().await;
    story.ended(End::Done);
}

/// An issue with more comments than are read holds its repo for a day, and not for ever: all but
/// the comment is shown.
#[tokio::test]
async fn comments_that_cannot_be_read_hold_a_repo_for_a_day() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| world.tracker.unreadable.insert(seven()));
    story.until("concluded", |world| world.store.all()[0].conclusion.is_some()).await;
    story.sim.with(|world| {
        world.tracker.unreadable.clear();
        world.tracker.talkative.insert(seven());
    });
    story.sim.advance(SignedDuration::from_hours(2));
    story.rounds(60).await;
    assert!(story.run().settled_at.is_none(), "a person may mend it");
    story.sim.advance(SignedDuration::from_hours(23));
    story.settle().await;
    story.ended(End::Done);
    story.sim.with(|world| {
        let record = &world.tracker.issues[&seven()];
        assert!(!record.issue.open && record.issue.labels.is_empty(), "{record:?}");
    });
}

#[tokio::test]
async fn an_issue_that_comes_back_within_the_hour_shows_the_end_of_its_run() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    let record = story.sim.with(|world| {
        let record = world.tracker.issues[&seven()].clone();
        world.delete_issue(&seven());
        record
    });
    story.until("concluded", |world| world.store.all()[0].conclusion.is_some()).await;
    story.sim.with(|world| world.tracker.issues.insert(seven(), record));
    story.settle().await;
    story.ended(End::Done);
    story.sim.with(|world| assert!(!world.tracker.issues[&seven()].issue.open));
}

/// Lets hours pass, five minutes at a time, because more would count as time in which no control
/// plane ran. Stops at the end of the run, if that is sooner.
async fn hours_pass(story: &Story, hours: u32) {
    for _ in 0..hours * 12 {
        if story.run().conclusion.is_none() {
            story.sim.advance(SignedDuration::from_mins(5));
            story.rounds(1).await;
        }
    }
}

#[tokio::test]
async fn a_red_run_whose_passes_all_fail_is_frozen_when_its_time_is_over() {
    let story = Story::new().with_issue(vec![breaking_work(), Script::hangs(), fixing_work()]);
    story.until("a fix", |world| world.agents.turns.len() == 2).await;
    story.sim.with(|world| {
        world.broken.insert("git.fetch_head");
        let turn = world.agents.turns.values_mut().last().unwrap();
        turn.script = fixing_work();
    });
    hours_pass(&story, 11).await;
    assert!(story.run().conclusion.is_none(), "it may go better yet");
    hours_pass(&story, 3).await;
    story.settle().await;
    story.ended(End::Frozen);
    story.handed_over(DoorbellKind::Frozen);
    story.sim.with(|world| {
        assert!(world.store.switches.freeze_of(&repo("o/r")).is_some());
    });
}

#[tokio::test]
async fn a_run_whose_requests_cannot_be_answered_is_handed_over_when_its_time_is_over() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| {
        world.broken.insert("store.answer");
        ask(world, "a", Request::Retry);
    });
    hours_pass(&story, 13).await;
    let ended = story.run().conclusion.map(|ended| ended.end);
    assert_eq!(ended, Some(End::NeedsHuman));
}

#[tokio::test]
async fn a_bell_that_does_not_ring_is_rung_until_it_does() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.break_doorbells(true));
    story.until("over", |world| world.store.all().iter().any(|run| run.settled_at.is_some())).await;
    for _ in 0..20 {
        story.sim.advance(SignedDuration::from_mins(2));
        story.rounds(1).await;
    }
    assert!(story.count("doorbells.ring") > 5);
    let told = async || {
        story.sim.advance(SignedDuration::from_mins(11));
        let ticked = story.tick().await.unwrap();
        (ticked.doorbells.rung, ticked.doorbells.not_rung)
    };
    assert_eq!(told().await, (0, 1));
    story.sim.with(|world| world.break_doorbells(false));
    assert_eq!(told().await, (1, 0));
    story.settle().await;
    story.sim.with(|world| assert_eq!(world.rung().len(), 1));
}

/// How often this doorbell rang.
fn rings(story: &Story, name: &str) -> usize {
    story.sim.with(|world| world.doorbells.rung.iter().filter(|(rung, _)| rung == name).count())
}

#[tokio::test]
async fn a_bell_that_never_rings_delays_and_repeats_no_other_and_is_given_up() {
    let story = Story::new().with_issue(vec![Script::acts(Vec::new())]);
    story.sim.with(|world| {
        world.add_webhook();
        world.doorbells.broken.insert("webhook".to_owned());
    });
    story.until("over", |world| world.store.all().iter().any(|run| run.settled_at.is_some())).await;
    story.rounds(1).await;
    assert_eq!((rings(&story, "terminal"), rings(&story, "webhook")), (1, 0));
    let (mut given_up, mut hours) = (0, 0);
    while given_up == 0 {
        hours += 1;
        assert!(hours < 48, "it is tried for ever");
        for _ in 0..6 {
            story.sim.advance(SignedDuration::from_mins(10));
            given_up += story.tick().await.unwrap().doorbells.given_up;
        }
    }
    assert!(hours > 20, "given up after {hours} hours");
    assert_eq!(story.count("doorbells.ring"), 1 + MOST_ATTEMPTS as usize);
    assert_eq!((rings(&story, "terminal"), rings(&story, "webhook")), (1, 0));
    story.sim.advance(SignedDuration::from_hours(1));
    assert_eq!(story.tick().await.unwrap().doorbells, RingCounts::default(), "for good");
    story.ended(End::NeedsHuman);
}

#[tokio::test]
async fn each_bell_rings_for_what_it_is_for() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(World::add_webhook);
    story.settle().await;
    assert_eq!((rings(&story, "terminal"), rings(&story, "webhook")), (1, 0));
}

#[tokio::test]
async fn a_row_of_old_rings_every_bell() {
    let story = Story::new().with_issue(vec![Script::acts(Vec::new())]);
    story.sim.with(|world| world.break_doorbells(true));
    story.until("kept", |world| !world.store.outbox.is_empty()).await;
    story.sim.with(|world| {
        world.break_doorbells(false);
        world.add_webhook();
        let rows = std::mem::take(&mut world.store.outbox).into_values();
        let old = rows.map(|send| (send.doorbell.id.to_string(), Send { name: None, ..send }));
        world.store.outbox = old.collect();
    });
    story.sim.advance(SignedDuration::from_mins(11));
    story.settle().await;
    assert_eq!((rings(&story, "terminal"), rings(&story, "webhook")), (1, 1));
}
