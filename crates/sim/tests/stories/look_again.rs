//! What could not be read or done is looked at again soon, even where the next poll is an hour
//! away: polls are rare where webhooks wake us, and nobody sends a webhook because we failed.

use afk_core::ids::{At, RepoName};
use afk_engine::driver::Until;
use afk_engine::ports::Switch;
use afk_sim::story::{Story, enroll, good_work, repo};
use afk_sim::world::{Fault, When, World};
use jiff::SignedDuration;

use crate::driver::drive;

/// How soon an issue is dispatched once nothing is in its way.
const SOON: SignedDuration = SignedDuration::from_secs(30);

/// A story with a released issue, and an hour between polls.
fn hourly() -> Story {
    Story::new().with_issue(vec![good_work()]).configure(|config| config.poll_seconds = 3600)
}

/// How long it is since `then`.
fn since(world: &World, then: At) -> SignedDuration {
    world.now.duration_since(then)
}

/// Drives until a run is admitted, which must happen soon after `repair` has returned that it repaired.
async fn dispatched_soon(
    story: &Story,
    mut repair: impl FnMut(&mut World, SignedDuration) -> bool,
) {
    let began = story.sim.with(|world| world.now);
    let mut repaired_at = None;
    drive(story, Until::Shutdown, |world| {
        let repaired = match repaired_at {
            Some(repaired) => repaired,
            None if repair(world, since(world, began)) => *repaired_at.insert(world.now),
            None => return false,
        };
        if !world.store.all().is_empty() {
            return true;
        }
        let waited = since(world, repaired);
        assert!(waited <= SOON, "not dispatched {waited} after it was repaired: {:?}", world.calls);
        false
    })
    .await;
    assert!(repaired_at.is_some());
}

#[tokio::test]
async fn whatever_fails_once_before_an_issue_is_dispatched_is_tried_again_soon() {
    let whole = hourly();
    drive(&whole, Until::Shutdown, |world| !world.store.all().is_empty()).await;
    let calls = whole.sim.with(|world| world.calls.clone());
    let admits = calls.iter().position(|call| *call == "store.admit").unwrap();
    for call in 0..=admits {
        for when in [When::Before, When::After] {
            // A failure of the start is reported, and ends the driver.
            if calls[..call].iter().filter(|one| **one == "store.beat").count() == 0 {
                continue;
            }
            let story = hourly();
            let fault = Fault { call, when, kills: false };
            story.sim.with(|world| world.fault = Some(fault));
            println!("{when:?} {} fails", calls[call]);
            dispatched_soon(&story, |_, _| true).await;
        }
    }
}

#[tokio::test]
async fn what_is_out_of_order_is_noticed_when_it_works_again() {
    for name in [
        "store.live",
        "store.live_runs",
        "store.comments_read_until",
        "store.switches",
        "tracker.ready",
        "tracker.issue",
        "tracker.labelled",
        "tracker.permission",
        "executor.ready",
        "jobs.ready",
        "git.remote_head",
    ] {
        for refuses in [false, true] {
            let story = hourly();
            story.sim.with(|world| {
                if refuses { world.refusing.insert(name) } else { world.broken.insert(name) }
            });
            println!("{name}, refusing: {refuses}");
            // At most three tries have failed by then.
            dispatched_soon(&story, |world, after| {
                let repaired = after >= SignedDuration::from_secs(25);
                if repaired {
                    world.broken.clear();
                    world.refusing.clear();
                }
                repaired
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_and_not_the_poll() {
    let story = hourly();
    let until = story.sim.with(|world| {
        let until = world.now.checked_add(SignedDuration::from_mins(10)).unwrap();
        world.tracker.limited.insert(repo("o/r"), until);
        until
    });
    dispatched_soon(&story, |world, _| world.now >= until).await;
    story.sim.with(|world| {
        let early = world.tracker.asked.iter().filter(|asked| asked.at < until);
        assert_eq!(early.count(), 1, "the first told us, and nobody asks before the limit ends");
    });
}

/// How often the tracker listed the ready issues of a repo.
fn listed(world: &World, repo: &RepoName) -> usize {
    let of_repo = world.tracker.asked.iter().filter(|asked| asked.repo == *repo);
    of_repo.filter(|asked| asked.call == "tracker.ready").count()
}

#[tokio::test]
async fn only_what_failed_is_looked_at_again_and_ever_less_often() {
    let story = Story::new().configure(|config| {
        config.poll_seconds = 900;
        enroll(config, "o/quiet");
    });
    // A repo that never answers again, at a tracker that answers for the other.
    story.sim.with(|world| world.mute_trackers([repo("o/r")]));
    let began = story.sim.with(|world| world.now);
    let mut after_minutes = 0;
    let over = |world: &mut World| {
        if since(world, began) <= SignedDuration::from_mins(2) {
            after_minutes = listed(world, &repo("o/r"));
        }
        since(world, began) >= SignedDuration::from_secs(890)
    };
    drive(&story, Until::Shutdown, over).await;
    story.sim.with(|world| {
        assert_eq!(listed(world, &repo("o/quiet")), 1);
        assert!((3..=6).contains(&after_minutes), "{after_minutes} in the first two minutes");
        let all = listed(world, &repo("o/r"));
        assert!((5..=9).contains(&all), "{all} in a quarter of an hour");
    });
}

#[tokio::test]
async fn what_a_switch_held_back_begins_when_it_is_lifted() {
    for switch in [Switch::Halt, Switch::Pause, Switch::Freeze(repo("o/r"))] {
        let story = hourly();
        story.switch(&switch, true);
        // The repo was read a moment ago, so the poll leaves it out.
        story.engine.wake(&repo("o/r"));
        dispatched_soon(&story, |world, after| {
            assert!(world.store.all().is_empty(), "{switch:?} holds it back");
            let lifts = after >= SignedDuration::from_mins(3);
            if lifts {
                world.throw(&switch, None);
            }
            lifts
        })
        .await;
    }
}
