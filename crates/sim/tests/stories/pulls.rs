//! The loop where people decide what lands, by pull requests.

use afk_core::plan::End;
use afk_core::request::Request;
use afk_core::run::{CancelHow, PullState};
use afk_engine::ports::Switch;
use afk_sim::story::{Story, ask, good_work, pulls, repo, seven};
use afk_sim::world::{Script, World};
use jiff::SignedDuration;

/// A story whose pull request is open.
async fn open(scripts: Vec<Script>) -> Story {
    let story = Story::new().with_issue(scripts).configure(pulls);
    story.until("opened", |world| !world.pulls.opened.is_empty()).await;
    story.rounds(3).await;
    story
}

fn state(world: &World) -> PullState {
    world.pulls.pulls.values().next().unwrap().state.clone()
}

#[tokio::test]
async fn what_people_merge_landed_and_needs_no_second_proof() {
    let story = open(vec![good_work()]).await;
    let judged = story.count("jobs.start");
    // No clock runs while people decide, however long they take.
    for _ in 0..200 {
        story.sim.advance(SignedDuration::from_mins(5));
        story.tick().await.unwrap();
    }
    assert_eq!(story.run().conclusion, None);
    story.sim.with(|world| world.people_merge(&repo("o/r")));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(story.count("jobs.start") - judged, 1, "the stage alone");
    story.sim.with(|world| {
        assert_eq!(run.landed().unwrap().commit, world.git.remotes[&repo("o/r")]);
        assert!(!world.calls.contains(&"pullrequests.close"));
        assert_eq!(world.git.branches.len(), 0, "its branch is gone");
        let spec = &world.pulls.pulls.values().next().unwrap().spec;
        assert_eq!((spec.onto.as_str(), world.pulls.opened.len()), ("main", 1));
        assert!(spec.body.contains("Refs #7") && !spec.body.contains("AFK-Run"), "{}", spec.body);
    });
}

#[tokio::test]
async fn what_was_merged_with_more_is_proved_afterwards() {
    let story = open(vec![good_work()]).await;
    let judged = story.count("jobs.start");
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "fine")]);
        world.people_merge(&repo("o/r"));
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert!(story.count("jobs.start") - judged > 1, "proved anew");
    let landed = run.landed().unwrap();
    assert!(landed.proof.as_ref().unwrap().accepted() && landed.guardrails.is_some());
    assert_ne!(Some(&landed.base), run.start.as_ref().map(|start| &start.base));
}

#[tokio::test]
async fn what_the_proof_refuses_after_it_was_merged_is_handed_over() {
    let story = open(vec![good_work()]).await;
    story.sim.with(|world| {
        // On top of this, the tests of the change pass without it.
        world.somebody_lands(&repo("o/r"), &[("src/lib", "one two")]);
        let key = world.pulls.pulls.keys().next().unwrap().clone();
        let record = world.pulls.pulls.get_mut(&key).unwrap();
        let commit = world.git.remotes[&repo("o/r")].clone();
        record.state = PullState::Merged { commit };
    });
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("landed and is green, but"), "{}", story.why());
}

#[tokio::test]
async fn what_people_close_cancels_the_run() {
    for closed in [PullState::Closed, PullState::Superseded] {
        let story = open(vec![good_work()]).await;
        story.sim.with(|world| world.people_close(&repo("o/r"), &closed));
        let run = story.settle().await;
        story.ended(End::Released);
        assert_eq!(run.cancel.map(|cancel| cancel.how), Some(CancelHow::PullClosed));
        assert!(story.why().contains("the pull request was closed"), "{}", story.why());
        story.sim.with(|world| {
            let issue = &world.tracker.issues[&seven()];
            assert!(!issue.has("ready-for-agent") && issue.issue.open, "not begun again");
            assert_eq!(world.git.branches.len(), 0);
        });
    }
}

#[tokio::test]
async fn a_run_that_ends_takes_its_pull_request_back() {
    let story = open(vec![good_work()]).await;
    story.sim.with(|world| ask(world, "stop", Request::Stop));
    story.settle().await;
    story.ended(End::Released);
    assert_eq!(story.sim.with(|world| state(world)), PullState::Closed);
}

#[tokio::test]
async fn what_was_merged_while_the_run_was_stopped_is_followed() {
    let story = open(vec![good_work()]).await;
    story.sim.with(|world| {
        ask(world, "stop", Request::Stop);
        world.people_merge(&repo("o/r"));
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert!(run.landed().is_some() && run.cancel.is_some());
}

#[tokio::test]
async fn a_frozen_repo_gets_no_pull_request() {
    let story = Story::new().with_issue(vec![good_work()]).configure(pulls);
    let broken = |on: bool| {
        story.sim.with(|world| {
            world.broken = on.then_some("pullrequests.open").into_iter().collect();
        });
    };
    broken(true);
    let tried = |world: &mut World| world.calls.contains(&"pullrequests.open");
    story.until("tried", tried).await;
    let frozen = Switch::Freeze(repo("o/r"));
    story.switch(&frozen, true);
    broken(false);
    story.rounds(5).await;
    assert_eq!(story.sim.with(|world| world.pulls.opened.len()), 0);
    story.switch(&frozen, false);
    story.sim.with(|world| world.pulls.merging = true);
    story.settle().await;
    story.ended(End::Done);
}
