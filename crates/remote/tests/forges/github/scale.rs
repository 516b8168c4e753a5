//! The cost of a repo in which nothing happens: one conditional request, answered with 304.

use afk_core::ids::RepoName;
use afk_engine::ports::Tracker;
use afk_sim::world::person;
use jiff::SignedDuration;

use crate::quiet::{ISSUES, Quiet, REPOS, cpu_of_this_thread, file, repos};
use crate::support::{OnGitHub, READY, tracker};

/// A hundred repos with twenty ready issues each, in two of which runs are alive.
fn installation(home: &OnGitHub) -> Vec<RepoName> {
    let repos = repos();
    home.sim.with(|world| {
        file(world);
        for repo in &repos {
            let first = format!("{repo}#1").parse().unwrap();
            world.write_comment(&first, "hello", &person("eve"));
        }
    });
    // Issues that were updated within the last seconds are not cached.
    home.later(5);
    home.fake.leave(100_000);
    repos
}

/// Reads what the loop reads at every poll.
async fn poll(home: &OnGitHub, tracker: &dyn Tracker, repos: &[RepoName]) {
    let since = home.now() - SignedDuration::from_secs(600);
    for repo in repos {
        assert_eq!(tracker.ready(repo, READY).await.unwrap().len(), ISSUES);
        tracker.comments_since(repo, since).await.unwrap();
    }
    for repo in &repos[..2] {
        let issue = format!("{repo}#1").parse().unwrap();
        assert!(!tracker.issue(&issue).await.unwrap().events.is_empty());
        assert_eq!(tracker.comments(&issue).await.unwrap().len(), 1);
    }
}

/// The number of requests since the last call, and whether each was answered with "not modified".
fn count(home: &OnGitHub) -> (usize, bool) {
    let requests = home.requests();
    (requests.len(), requests.iter().all(|one| one.status == 304))
}

/// Counts the requests of the whole loop; `cargo xtask bench` measures its cost in a release build.
#[tokio::test]
async fn a_quiet_tick_over_a_hundred_repos_with_two_live_runs_costs_a_hundred_free_requests() {
    let quiet = Quiet::new().await;
    let left = quiet.home.fake.left();
    let mut cpu = 0.0;
    for _ in 0..3 {
        quiet.home.later(60);
        let before = cpu_of_this_thread();
        assert_eq!(quiet.tick().await, (REPOS, true));
        cpu = cpu_of_this_thread() - before;
    }
    assert_eq!(quiet.home.fake.left(), left, "not modified is free");
    println!("a tick: {REPOS} requests, {cpu:.1} ms of CPU, in a build of this kind");
    quiet.home.done("a_quiet_tick");
}

#[tokio::test]
async fn a_quiet_poll_of_a_hundred_repos_costs_a_hundred_free_requests() {
    let home = OnGitHub::new();
    let repos = installation(&home);
    let tracker = home.tracker();
    poll(&home, &*tracker, &repos).await;
    let (first, _) = count(&home);
    let left = home.fake.left();
    let mut cpu = 0.0;
    for _ in 0..2 {
        home.later(60);
        let before = cpu_of_this_thread();
        poll(&home, &*tracker, &repos).await;
        cpu = cpu_of_this_thread() - before;
        assert_eq!(count(&home), (REPOS, true));
    }
    assert_eq!(home.fake.left(), left, "not modified is free");
    println!(
        "{REPOS} repos, {ISSUES} ready issues each: first poll {first} requests, then {REPOS}, \
         in {cpu:.1} ms of CPU, by no other process"
    );
    home.done("a_quiet_poll");
}

#[tokio::test]
async fn another_process_with_the_same_notes_pays_the_same() {
    let home = OnGitHub::new();
    let repos = installation(&home);
    poll(&home, &*home.tracker(), &repos).await;
    home.requests();
    for _ in 0..2 {
        home.later(60);
        let forges = home.restarted();
        poll(&home, &*tracker(&forges), &repos).await;
        assert_eq!(count(&home), (REPOS, true));
    }
    home.done("another_process");
}

#[tokio::test]
async fn one_change_costs_what_changed() {
    let home = OnGitHub::new();
    let repos = installation(&home);
    let tracker = home.tracker();
    poll(&home, &*tracker, &repos).await;
    home.requests();
    home.later(60);
    let issue = format!("{}#1", repos[0]).parse().unwrap();
    home.sim.with(|world| world.set_body(&issue, "Do it well.", &person("ann")));
    home.later(5);
    poll(&home, &*tracker, &repos).await;
    let requests = home.requests();
    let whole: Vec<_> = requests.iter().filter(|one| one.status != 304).collect();
    // The list, the repo's comments, the issue with its four parts, and its comments.
    assert_eq!(whole.len(), 7, "{whole:#?}");
    assert_eq!(requests.len(), REPOS + 6);
    home.done("one_change");
}
