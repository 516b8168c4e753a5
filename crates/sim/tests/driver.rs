//! The driver: tasks of live runs, woken by time, until all is settled.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use afk_core::plan::End;
use afk_core::request::{Asked, Request};
use afk_core::usd::Usd;
use afk_engine::driver::{Drive, Until};
use afk_engine::ports::Switch;
use afk_sim::story::{Story, good_work, repo, seven, story_of};
use afk_sim::world::{Fault, Script, When, World, person};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

/// Drives the story while the world goes on, half a second at a time, until the
/// driver ends by itself or `stop` says so.
async fn drive(story: &Story, until: Until, mut stop: impl FnMut(&mut World) -> bool) -> bool {
    let shutdown = CancellationToken::new();
    let (engine, token) = (story.engine.clone(), shutdown.clone());
    let driving =
        tokio::spawn(async move { engine.drive(Drive { dispatch: true, until }, &token).await });
    for _ in 0..2_000 {
        // Everyone who can go on does, before time does.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        if driving.is_finished() {
            driving.await.unwrap().unwrap();
            return true;
        }
        if story.sim.with(&mut stop) {
            shutdown.cancel();
        }
        story.sim.with(World::step);
        story.sim.advance(SignedDuration::from_millis(500));
    }
    panic!("the driver never ended\n{}", story.sim.with(|world| story_of(world)));
}

#[tokio::test]
async fn it_works_an_issue_to_its_end_and_stops_when_idle() {
    let story = Story::new().with_issue(vec![good_work()]);
    drive(&story, Until::Idle, |_| false).await;
    story.ended(End::Done);
    story.sim.with(|world| {
        assert_eq!(world.rung.len(), 1, "the bell is rung before it stops");
        assert!(!world.tracker.issues[&seven()].issue.open);
    });
}

#[tokio::test]
async fn a_port_that_fails_once_ends_no_driver() {
    for call in (0..160).step_by(7) {
        for when in [When::Before, When::After] {
            let story = Story::new().with_issue(vec![good_work()]);
            // The first calls are the start, which says what is wrong and ends.
            let fault = Fault { call: call + 3, when, kills: false };
            story.sim.with(|world| world.fault = Some(fault));
            let over = |world: &mut World| {
                world.store.all().iter().any(|run| run.settled_at.is_some())
                    && world.store.outbox.values().all(|send| send.rung)
            };
            drive(&story, Until::Shutdown, over).await;
            story.ended(End::Done);
            story.sim.with(|world| {
                assert_eq!(world.git.history(&repo("o/r")).len(), 2, "{fault:?}");
                assert_eq!(world.tracker.issues[&seven()].comments.len(), 1, "{fault:?}");
            });
        }
    }
}

/// A waiting run looks by itself each half minute; a request does not wait for that.
#[tokio::test]
async fn a_request_reaches_a_run_that_waits_within_two_seconds() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    let mut asked_at = None;
    drive(&story, Until::Shutdown, |world| {
        // After its first look at the turn it rests.
        if !world.tracker.issues[&seven()].has("agent-in-progress") {
            return false;
        }
        let run = world.store.all()[0].clone();
        let since = *asked_at.get_or_insert_with(|| {
            let what = Request::Budget { usd: Usd::dollars(20) };
            let asked = Asked { id: "a".to_owned(), by: person("ann"), at: world.now, what };
            world.ask(run.id, &asked);
            world.now
        });
        let waited = world.now.duration_since(since);
        assert!(waited <= SignedDuration::from_secs(2), "not taken after {waited}");
        run.budget == Usd::dollars(20)
    })
    .await;
    assert!(asked_at.is_some());
    let asks = story.count("store.open_requests");
    assert!(asks > 0, "it was seen by the reading beside the switches");
}

#[tokio::test]
async fn a_halt_reaches_a_running_agent_within_seconds() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    let mut halted_at = None;
    drive(&story, Until::Shutdown, |world| {
        if world.agents.turns.is_empty() {
            return false;
        }
        let since = *halted_at.get_or_insert_with(|| {
            let state = afk_engine::ports::SwitchState {
                by: "ann".to_owned(),
                at: world.now,
                why: "stop".to_owned(),
            };
            world.throw(&Switch::Halt, Some(&state));
            world.now
        });
        let run = world.store.all()[0].id;
        let waited = world.now.duration_since(since);
        assert!(waited < SignedDuration::from_secs(10), "it is still alive");
        world.alive(run).is_empty()
    })
    .await;
    assert!(halted_at.is_some());
}

#[tokio::test]
async fn an_edit_of_the_configuration_does_not_wait_for_the_poll() {
    let story = Story::new().with_issue(vec![good_work()]).configure(|config| {
        config.kill_switch = true;
        config.poll_seconds = 3_600;
    });
    let began = story.sim.with(|world| world.now);
    drive(&story, Until::Shutdown, |world| {
        if world.now.duration_since(began) > SignedDuration::from_secs(30) {
            world.config.kill_switch = false;
        }
        assert!(world.now.duration_since(began) < SignedDuration::from_mins(10), "not dispatched");
        !world.store.all().is_empty()
    })
    .await;
}
