//! Many repos under one control plane: the trouble of one repo is not the others', less capacity
//! stops nobody who works, and time without a control plane counts for nobody.

use std::collections::BTreeSet;

use afk_core::ids::{At, RepoName};
use afk_core::plan::End;
use afk_core::run::Transition;
use afk_sim::story::{Story, config, enroll, good_work, repo, start};
use afk_sim::world::{Fault, Script, When};
use jiff::SignedDuration;

/// Armed repos, each with a released issue `#7` and an agent that follows `script`.
fn fleet(names: &[&str], script: fn() -> Script) -> Story {
    let mut all = config();
    all.max_concurrent_runs = 9;
    for name in names.iter().filter(|name| **name != "o/r") {
        enroll(&mut all, name);
    }
    let story = Story::new().configure(|now| *now = all);
    story.sim.with(|world| {
        for name in names {
            world.file(&format!("{name}#7"), "Say two.", &["ready-for-agent"], "ann");
            world.agents.scripts.insert(repo(name), vec![script()].into());
            if *name != "o/r" {
                world.somebody_lands(&repo(name), &[("src/lib", "one")]);
            }
        }
    });
    story
}

fn at(second: i64) -> At {
    start().checked_add(SignedDuration::from_secs(second)).unwrap()
}

/// The repos of admitted runs, and how each ended.
fn ended(story: &Story) -> Vec<(String, Option<End>)> {
    let all = story.sim.with(|world| world.store.all());
    let how = |run: &afk_core::run::Run| run.conclusion.as_ref().map(|c| c.end);
    all.iter().map(|run| (run.issue.repo.to_string(), how(run))).collect()
}

/// How many absences each run has recorded, and how long they are in all.
fn absences(story: &Story) -> Vec<(usize, SignedDuration)> {
    story.sim.with(|world| {
        let runs = world.store.all();
        let of = |run: &afk_core::run::Run| {
            let away = world.store.transitions(run.id).into_iter().filter_map(|(_, t)| match t {
                Transition::Away { from, to } => Some(to.duration_since(from)),
                _ => None,
            });
            let away: Vec<_> = away.collect();
            (away.len(), away.iter().fold(SignedDuration::ZERO, |sum, one| sum + *one))
        };
        runs.iter().map(of).collect()
    })
}

#[tokio::test]
async fn proofs_of_many_repos_share_the_places_of_the_machine() {
    let story = fleet(&["o/r", "o/s", "p/q"], good_work);
    story.sim.with(|world| world.jobs.places = Some(2));
    story.settle().await;
    assert!(ended(&story).iter().all(|(_, end)| *end == Some(End::Done)), "{:?}", ended(&story));
    story.sim.with(|world| assert_eq!(world.jobs.most_at_once, 2));
}

#[tokio::test]
async fn a_repo_that_fails_is_asked_less_and_less_and_the_others_go_on() {
    let story = fleet(&["o/r", "o/s"], good_work);
    story.sim.with(|world| world.mute_trackers([repo("o/s")]));
    story.rounds(60).await;
    assert_eq!(ended(&story), [("o/r".to_owned(), Some(End::Done))]);
    {
        // It was asked after 0, 10 and 30 seconds, and is asked again after 70.
        let troubles = story.engine.troubles();
        let (name, trouble) = troubles.all().next().unwrap();
        assert_eq!((name.as_str(), trouble.failures), ("o/s", 3));
        assert_eq!((trouble.since, trouble.until), (at(0), at(70)));
        assert!(trouble.why.contains("does not answer"), "{}", trouble.why);
    }
    story.sim.with(|world| world.mute_trackers([]));
    story.rounds(60).await;
    assert_eq!(ended(&story)[1], ("o/s".to_owned(), Some(End::Done)));
    assert_eq!(story.engine.troubles().all().count(), 0, "an answer ends it");
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_to_its_reset_by_its_account_alone() {
    let story = fleet(&["o/r", "o/s"], good_work);
    story.sim.with(|world| world.tracker.limited.insert(repo("o/s"), at(100)));
    story.rounds(100).await;
    assert_eq!(ended(&story), [("o/r".to_owned(), Some(End::Done))]);
    assert_eq!(story.engine.troubles().all().next().unwrap().1.failures, 1, "asked once");
    story.rounds(30).await;
    assert_eq!(ended(&story)[1], ("o/s".to_owned(), Some(End::Done)));
}

#[tokio::test]
async fn a_rate_limit_of_one_repo_holds_for_all_that_share_its_account() {
    let story = fleet(&["o/r", "o/s", "p/q"], good_work);
    story.sim.with(|world| {
        for name in ["o/r", "o/s"] {
            world.tracker.homes.insert(repo(name), "o".to_owned());
        }
        world.tracker.limited.insert(repo("o/s"), at(100));
    });
    story.rounds(1).await;
    let asked = |story: &Story| story.count("tracker.ready");
    let first = asked(&story);
    story.rounds(99).await;
    assert_eq!(ended(&story), [("p/q".to_owned(), Some(End::Done))]);
    assert!(first <= 3, "each of them at most once, side by side");
    story.rounds(60).await;
    assert!(ended(&story).iter().all(|(_, end)| *end == Some(End::Done)), "{:?}", ended(&story));
}

#[tokio::test]
async fn repos_that_a_limit_kept_from_being_read_come_first_after_it() {
    let all: BTreeSet<RepoName> = (0..150).map(|n| repo(&format!("o/n{n:03}"))).collect();
    let story = Story::new().configure(|now| {
        for name in &all {
            enroll(now, name.as_str());
        }
    });
    story.sim.with(|world| {
        for name in &all {
            world.tracker.homes.insert(name.clone(), "o".to_owned());
        }
    });
    for _ in 0..3 {
        story.sim.with(|world| {
            let quota = (60, SignedDuration::from_mins(1));
            world.tracker.limits.quotas.insert("o".to_owned(), quota);
        });
        story.rounds(1).await;
        story.sim.advance(SignedDuration::from_mins(3));
    }
    let read: BTreeSet<RepoName> = story.sim.with(|world| {
        let calls = world.tracker.asked.iter();
        let calls = calls.filter(|call| call.call == "tracker.ready" && call.told.is_none());
        calls.map(|call| call.repo.clone()).collect()
    });
    let never: Vec<_> = all.difference(&read).collect();
    assert!(never.is_empty(), "never read: {never:?}");
}

#[tokio::test]
async fn a_live_run_waits_out_the_rate_limit_of_its_tracker() {
    let story = fleet(&["o/r"], good_work);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    let now = story.sim.with(|world| world.now);
    let reset = now.checked_add(SignedDuration::from_secs(90)).unwrap();
    story.sim.with(|world| world.tracker.limited.insert(repo("o/r"), reset));
    let asked =
        || story.sim.with(|world| world.calls.iter().filter(|c| c.starts_with("tracker.")).count());
    story.rounds(1).await;
    let told = asked();
    story.rounds(10).await;
    assert_eq!(asked(), told, "asked before the limit is over");
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn capacity_that_shrinks_stops_no_run_and_begins_none() {
    let story =
        fleet(&["o/r", "o/s", "o/t"], good_work).configure(|config| config.max_concurrent_runs = 2);
    story.until("two turns", |world| world.agents.turns.len() == 2).await;
    story.sim.with(|world| world.config.max_concurrent_runs = 1);
    let mut most = 0;
    for _ in 0..60 {
        let _ = story.round().await;
        let all = story.sim.with(|world| world.store.all());
        let live = all.iter().filter(|run| run.settled_at.is_none()).count();
        // The third run begins only when no other works.
        if all.len() == 3 {
            most = most.max(live);
        }
    }
    assert_eq!(most, 1);
    assert!(ended(&story).iter().all(|(_, end)| *end == Some(End::Done)), "{:?}", ended(&story));
    assert_eq!(ended(&story).len(), 3);
}

#[tokio::test]
async fn ticks_far_apart_are_time_away_and_a_crash_in_between_loses_and_doubles_none() {
    let away = SignedDuration::from_mins(25);
    for when in [When::Before, When::After] {
        for commit in 0..3 {
            let story = fleet(&["o/r", "o/s"], Script::hangs);
            story.until("two turns", |world| world.agents.turns.len() == 2).await;
            let _ = story.tick().await;
            let from = story.sim.with(|world| world.store.beat.unwrap());
            story.sim.advance(away);
            // The same in another world, without a fault, shows the number of the call.
            let fault = Fault { call: place_of(commit).await, when, kills: true };
            story.sim.with(|world| {
                world.calls.clear();
                world.fault = Some(fault);
            });
            assert!(story.deadly_round().await, "it dies");
            story.sim.with(|world| world.fault = None);
            let story = story.restarted("second");
            // The dead process's leases run out.
            story.sim.advance(SignedDuration::from_secs(40));
            let _ = story.tick().await;
            let to = story.sim.with(|world| world.now);
            for (times, sum) in absences(&story) {
                let text = format!("{when:?} {commit}: {times} times, {sum} of {}", to - from);
                assert!((1..=2).contains(&times), "{text}");
                // The whole absence, but for the ten minutes that count for nothing.
                assert!(sum >= away && sum <= to.duration_since(from), "{text}");
            }
        }
    }
}

/// The number of a commit, or of the note behind the commits, among the calls of a tick after an
/// absence.
async fn place_of(commit: usize) -> usize {
    let story = fleet(&["o/r", "o/s"], Script::hangs);
    story.until("two turns", |world| world.agents.turns.len() == 2).await;
    let _ = story.tick().await;
    story.sim.advance(SignedDuration::from_mins(25));
    story.sim.with(|world| world.calls.clear());
    let _ = story.tick().await;
    story.sim.with(|world| {
        let marks = ["store.commit", "store.beat"];
        let mut found = world.calls.iter().enumerate().filter(|(_, name)| marks.contains(name));
        // The note that finds the absence comes before the commits.
        found.nth(commit + 1).unwrap().0
    })
}

#[tokio::test]
async fn ticks_close_together_are_no_time_away() {
    let story = fleet(&["o/r"], Script::hangs);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.advance(SignedDuration::from_mins(9));
    let _ = story.tick().await;
    assert_eq!(absences(&story), [(0, SignedDuration::ZERO)]);
}
