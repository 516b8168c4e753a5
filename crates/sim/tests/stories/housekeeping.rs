//! Housekeeping by the clock: when it is due, once, without touching live runs, across restarts,
//! each chore whatever becomes of the others, and each mirror in its turn.

use std::collections::BTreeSet;

use afk_engine::Engine;
use afk_sim::story::{Story, enroll, good_work, pulls, repo};
use afk_sim::world::{Fault, Script, When};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

const CHORES: [&str; 5] =
    ["git.clean", "jobs.sweep", "archive.prune", "store.forget_results", "git.tidy"];
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// Keeps house with `engines` for so many minutes; returns each chore that was begun, with the
/// minute.
async fn minutes(story: &Story, engines: &[&Engine], n: i64) -> Vec<(i64, &'static str)> {
    let stop = CancellationToken::new();
    let tasks: Vec<_> = engines
        .iter()
        .map(|engine| {
            let (engine, stop) = ((*engine).clone(), stop.clone());
            tokio::spawn(async move { engine.housekeeping(&stop).await })
        })
        .collect();
    let mut seen = story.sim.with(|world| world.calls.len());
    let mut begun = Vec::new();
    for minute in 0..=n {
        // Everything that can go on does, before time passes.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        story.sim.with(|world| {
            let new = world.calls[seen..].iter().filter(|name| CHORES.contains(name));
            begun.extend(new.map(|name| (minute, *name)));
            seen = world.calls.len();
        });
        if minute < n {
            story.sim.advance(MINUTE);
        }
    }
    stop.cancel();
    for task in tasks {
        task.await.unwrap();
    }
    begun
}

/// Every chore, at each of these minutes.
fn all_at(at: &[i64]) -> Vec<(i64, &'static str)> {
    at.iter().flat_map(|minute| CHORES.map(|chore| (*minute, chore))).collect()
}

#[tokio::test]
async fn every_chore_is_done_once_an_hour_from_the_first_minute_on() {
    let story = Story::new();
    let begun = minutes(&story, &[&story.engine], 185).await;
    assert_eq!(begun, all_at(&[1, 61, 121, 181]));
}

#[tokio::test]
async fn ticks_alone_do_every_chore_once_an_hour() {
    let story = Story::new();
    let stop = CancellationToken::new();
    let mut begun = Vec::new();
    for minute in 0..125 {
        let before = story.sim.with(|world| world.calls.len());
        story.tick().await.unwrap();
        story.engine.do_due_chores(&stop).await;
        story.sim.with(|world| {
            let new = world.calls[before..].iter().filter(|name| CHORES.contains(name));
            begun.extend(new.map(|name| (minute, *name)));
        });
        story.sim.advance(MINUTE);
    }
    assert_eq!(begun, all_at(&[0, 60, 120]));
    // Nobody who comes next, the daemon included, begins it again, and nothing is begun after an
    // interrupt.
    let begun = minutes(&story, &[&story.engine], 50).await;
    assert_eq!(begun, []);
    stop.cancel();
    story.sim.advance(SignedDuration::from_hours(9));
    let before = story.sim.with(|world| world.calls.len());
    story.engine.do_due_chores(&stop).await;
    assert_eq!(story.sim.with(|world| world.calls.len()), before);
}

#[tokio::test]
async fn the_chores_of_a_tick_end_within_their_bound() {
    for hanging in CHORES {
        let story = Story::new();
        story.sim.with(|world| world.hanging.insert(hanging));
        let (engine, stop) = (story.engine.clone(), CancellationToken::new());
        let kept = tokio::spawn(async move { engine.do_due_chores(&stop).await });
        let mut waited = 0;
        while !kept.is_finished() {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            story.sim.advance(MINUTE);
            waited += 1;
            assert!(waited < 5, "{hanging}");
        }
        kept.await.unwrap();
    }
}

#[tokio::test]
async fn two_control_planes_do_it_once() {
    let story = Story::new();
    let second = Engine::new(story.sim.ports(), "second");
    let begun = minutes(&story, &[&story.engine, &second], 60).await;
    assert_eq!(begun, all_at(&[1]));
}

#[tokio::test]
async fn restarts_neither_repeat_it_nor_put_it_off() {
    let mut story = Story::new();
    let mut at = Vec::new();
    // None of these processes lives for an hour.
    for life in 0..60 {
        story = story.restarted(&format!("life {life}"));
        let begun = minutes(&story, &[&story.engine], 4).await;
        at.extend(begun.iter().filter(|(_, c)| *c == CHORES[0]).map(|(m, _)| life * 4 + m));
        assert!(begun.is_empty() || begun.len() == CHORES.len(), "{begun:?}");
    }
    assert_eq!(at[0], 1);
    assert!(at.len() >= 4, "four hours: {at:?}");
    for pair in at.windows(2) {
        assert!((60..=65).contains(&(pair[1] - pair[0])), "{at:?}");
    }
    // After a long absence it is due at once.
    story.sim.advance(SignedDuration::from_hours(9));
    let story = story.restarted("back");
    assert_eq!(minutes(&story, &[&story.engine], 30).await, all_at(&[1]));
}

#[tokio::test]
async fn a_clock_that_was_ahead_and_is_set_back_does_not_put_it_off() {
    let story = Story::new();
    assert_eq!(minutes(&story, &[&story.engine], 30).await, all_at(&[1]));
    story.sim.advance(SignedDuration::from_hours(-24));
    assert_eq!(minutes(&story, &[&story.engine], 65).await, all_at(&[1, 61]));
}

#[tokio::test]
async fn what_a_live_run_needs_is_spared_and_what_a_settled_one_left_is_not() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.rounds(5).await;
    let live = story.sim.with(|world| world.store.all()[0].id);
    minutes(&story, &[&story.engine], 2).await;
    let spared = |story: &Story| {
        story.sim.with(|world| (world.git.spared.clone(), world.jobs.spared.clone()))
    };
    let only = BTreeSet::from([live]);
    assert_eq!(spared(&story), (only.clone(), only));
    let busy = |story: &Story| story.sim.with(|world| world.jobs.busy.clone());
    assert_eq!(busy(&story), BTreeSet::from([repo("o/r")]), "its agent uses the caches");

    // While people decide on its pull request, a run keeps its jobs, and uses no caches.
    let story = Story::new().with_issue(vec![good_work()]).configure(pulls);
    story.until("aside", |world| world.store.all().iter().any(|one| !one.holds_lock())).await;
    minutes(&story, &[&story.engine], 2).await;
    let only = BTreeSet::from([story.run().id]);
    assert_eq!((spared(&story), busy(&story)), ((only.clone(), only), BTreeSet::new()));

    let story = Story::new().with_issue(vec![good_work()]);
    story.settle().await;
    minutes(&story, &[&story.engine], 2).await;
    assert_eq!(spared(&story), (BTreeSet::new(), BTreeSet::new()));
    assert_eq!(busy(&story), BTreeSet::new());
}

#[tokio::test]
async fn a_chore_that_fails_stops_no_other_and_is_tried_the_next_time() {
    for failing in CHORES {
        let story = Story::new();
        let stop = CancellationToken::new();
        story.engine.do_chores(SignedDuration::from_mins(20), &stop).await.unwrap();
        let call = story.sim.with(|world| world.calls.iter().position(|name| *name == failing));

        let story = Story::new();
        let fault = Fault { call: call.unwrap(), when: When::Before, kills: false };
        story.sim.with(|world| world.fault = Some(fault));
        let done = story.engine.do_chores(SignedDuration::from_mins(20), &stop).await.unwrap();
        assert_eq!(done.failed, 1, "{failing}");
        let called = story.sim.with(|world| world.calls.clone());
        assert!(CHORES.iter().all(|chore| called.contains(chore)), "{failing}: {called:?}");
        assert_eq!(
            story.engine.do_chores(SignedDuration::from_mins(20), &stop).await.unwrap().failed,
            0,
            "{failing}"
        );
    }
}

#[tokio::test]
async fn results_of_jobs_are_forgotten_after_a_month_and_nothing_else_is() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.settle().await;
    let others = ["base-fails t c", "bell k ", "housekeeping mirrors last"];
    story.sim.with(|world| {
        for key in others {
            world.store.memos.insert(key.to_owned(), (1.into(), world.now));
        }
    });
    let held = || story.sim.with(|world| world.store.memos.keys().cloned().collect::<Vec<_>>());
    let before = held();
    assert!(before.len() > others.len(), "no result of a job: {before:?}");
    let stop = CancellationToken::new();
    for (days, left) in [(29, before.len()), (2, others.len())] {
        story.sim.advance(SignedDuration::from_hours(24 * days));
        let done = story.engine.do_chores(SignedDuration::from_mins(20), &stop).await.unwrap();
        assert_eq!((held().len(), done.failed), (left, 0));
        assert_eq!(done.forgotten, (before.len() - left) as u64);
    }
    assert_eq!(held(), others);
}

#[tokio::test]
async fn a_store_that_fails_once_puts_it_off_by_minutes() {
    let story = Story::new();
    story.sim.with(|world| {
        world.fault = Some(Fault { call: world.calls.len(), when: When::Before, kills: false });
    });
    assert_eq!(minutes(&story, &[&story.engine], 30).await, all_at(&[6]));
}

/// A story with so many repos; the fake notes each call about a mirror.
fn with_repos(names: &[&str]) -> Story {
    Story::new().configure(|config| {
        for name in names {
            enroll(config, name);
        }
    })
}

fn tidied(story: &Story) -> Vec<String> {
    story.sim.with(|world| world.git.tidied.drain(..).map(|repo| repo.to_string()).collect())
}

#[tokio::test]
async fn what_was_not_reached_is_packed_the_next_time() {
    let story = with_repos(&["o/s", "o/t", "o/u", "o/v"]);
    // Each mirror hangs, and is given up after ten minutes, so one round reaches two of them.
    story.sim.with(|world| world.hanging.insert("git.tidy"));
    minutes(&story, &[&story.engine], 22).await;
    story.sim.with(|world| world.hanging.clear());
    assert_eq!(tidied(&story), ["o/r", "o/s"]);

    // Another control plane goes on where it stopped, and then all of them have their turns again.
    let story = story.restarted("second");
    minutes(&story, &[&story.engine], 60).await;
    assert_eq!(tidied(&story), ["o/t", "o/u", "o/v", "o/r", "o/s"]);
}
