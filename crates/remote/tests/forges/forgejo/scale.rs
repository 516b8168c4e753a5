//! The cost of a repo in which nothing happens, and of one with a long history: one request, and
//! nothing after it.

use afk_core::run::PullState;
use afk_engine::ports::{PullRequests as _, Tracker};
use afk_fakes::forgejo::{Kind, Route};
use afk_sim::world::person;
use jiff::SignedDuration;
use uuid::Builder;

use crate::support::{OnForgejo, READY, repo, tracker};

const ISSUES: usize = 60;

/// Reads what the loop reads at every poll.
async fn poll(home: &OnForgejo, tracker: &dyn Tracker) {
    let repo = repo("o/r");
    let since = home.now() - SignedDuration::from_secs(600);
    assert_eq!(tracker.ready(&repo, READY).await.unwrap().len(), ISSUES);
    tracker.comments_since(&repo, since).await.unwrap();
    for n in 1..=2 {
        let issue = format!("o/r#{n}").parse().unwrap();
        assert!(!tracker.issue(&issue).await.unwrap().events.is_empty());
        assert_eq!(tracker.comments(&issue).await.unwrap().len(), 1);
    }
}

fn routes(home: &OnForgejo) -> Vec<Option<Route>> {
    home.fake.take_requests().into_iter().map(|one| one.route).collect()
}

#[tokio::test]
async fn a_quiet_poll_costs_one_request_and_a_change_what_it_changed() {
    for kind in [Kind::Forgejo, Kind::Gitea] {
        let home = OnForgejo::new(kind);
        for n in 1..=ISSUES {
            home.sim.with(|world| world.file(&format!("o/r#{n}"), "Do it.", &[READY], "ann"));
            home.later(5);
        }
        home.sim.with(|world| {
            for n in 1..=2 {
                let issue = format!("o/r#{n}").parse().unwrap();
                world.write_comment(&issue, "hello", &person("eve"));
            }
        });
        let tracker = home.tracker();
        poll(&home, &*tracker).await;
        let first = routes(&home).len();
        for _ in 0..2 {
            home.later(60);
            poll(&home, &*tracker).await;
            assert_eq!(routes(&home), [Some(Route::Issues)]);
        }
        // Another process on the same store.
        let other = home.restarted();
        home.later(60);
        poll(&home, &*self::tracker(&other)).await;
        assert_eq!(routes(&home), [Some(Route::Issues)]);
        // Only the issue that changed is read again.
        home.later(60);
        home.sim.with(|world| {
            world.set_label(&"o/r#1".parse().unwrap(), "bug", true, &person("ann"));
        });
        poll(&home, &*tracker).await;
        let mut asked = routes(&home);
        asked.sort_by_key(|route| format!("{route:?}"));
        println!("{kind:?}: first {first} requests, quiet 1, after a change {}", asked.len());
        let issues = [Route::Dependencies, Route::Issue, Route::IssueComments, Route::Issues];
        let expected = issues.into_iter().chain([Route::RepoComments, Route::Timeline]);
        assert_eq!(asked, expected.map(Some).collect::<Vec<_>>());
        home.done(&format!("quiet_{kind:?}"));
    }
}

/// Gitea lists every pull request that the repo ever had.
#[tokio::test]
async fn a_look_at_a_pull_request_reads_none_that_are_much_older_than_its_run() {
    let home = OnForgejo::new(Kind::Gitea);
    let old = home.pushed("old");
    for n in 0..110 {
        home.fake.pull_from_fork(&old.repo, &format!("old/{n}"), &old.commit, PullState::Closed);
    }
    home.later(48 * 3600);
    let began = home.now().as_millisecond().unsigned_abs();
    let run = Builder::from_unix_timestamp_millis(began, &[7; 10]).into_uuid();
    let spec = home.pushed(&format!("afk/try/{run}/1"));
    let opened = home.forges.open(&spec).await.unwrap();
    routes(&home);
    assert_eq!(home.forges.look(&spec.repo, &spec.branch).await.unwrap(), opened);
    assert_eq!(routes(&home), [Some(Route::Pulls)]);
    // The whole list is read for a branch whose name does not tell when its run began.
    assert!(home.forges.look(&spec.repo, "afk/try/1/1").await.is_err());
    assert_eq!(routes(&home), [Some(Route::Pulls); 3]);
    home.done("a_look_at_a_pull_request");
}
