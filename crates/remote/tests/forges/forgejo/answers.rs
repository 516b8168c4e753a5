//! Bad answers: each must become an error of the right kind, or the request be repeated, and
//! nothing may be lost.

use afk_core::ids::IssueRef;
use afk_core::issue::{Comment, IssueChange};
use afk_core::run::PullState;
use afk_engine::ports::{PortErrorKind, PullRequests};
use afk_fakes::forgejo::{Fault, Kind, Route};
use afk_sim::world::person;

use crate::support::{OnForgejo, READY, TOKEN, repo, run, said};

#[tokio::test]
async fn what_is_not_json_is_never_an_empty_list() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.released("o/r#1");
    for route in [Route::Issues, Route::Issue, Route::Timeline, Route::Dependencies] {
        for fault in [Fault::Html, Fault::Mislabelled, Fault::Truncated] {
            home.later(90);
            home.fake.fail(route, fault);
            home.tracker().forget(&issue);
            let error = home.tracker().issue(&issue).await.unwrap_err();
            assert_eq!(error.kind, PortErrorKind::Transient, "{route:?} {fault:?}");
        }
    }
    assert_eq!(home.tracker().issue(&issue).await.unwrap().events.len(), 1);
    home.done("what_is_not_json");
}

#[tokio::test]
async fn an_answer_that_stays_away_is_an_error_that_passes() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    for storm in [[Fault::Status(502); 3], [Fault::Status(503); 3], [Fault::Broken; 3]] {
        for fault in storm {
            home.fake.fail(Route::Issues, fault);
        }
        let error = tracker.ready(&issue.repo, READY).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Transient, "{storm:?}: {}", said(&error));
        assert!(error.chain().contains("GET /api/v1/repos/o/r/issues"), "{}", said(&error));
        assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
        home.later(90);
    }
    // A credential that is refused for a part of an issue makes the whole issue unreadable.
    home.fake.fail(Route::Timeline, Fault::Unauthorized);
    tracker.forget(&issue);
    let error = tracker.issue(&issue).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Auth, "{}", said(&error));
    assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 1);
    home.done("an_answer_that_stays_away");
}

#[tokio::test]
async fn clocks_that_differ_hide_nothing() {
    for hours in [-3, 3] {
        let home = OnForgejo::new(Kind::Forgejo);
        home.sim.with(|world| world.tracker.skew = jiff::SignedDuration::from_hours(hours));
        let issue = home.released("o/r#1");
        let tracker = home.tracker();
        assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
        home.later(90);
        home.sim.with(|world| world.set_label(&issue, READY, false, &person("bea")));
        assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap(), [], "{hours}");
        assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 2, "{hours}");
        home.done("clocks_that_differ");
    }
}

#[tokio::test]
async fn a_write_is_never_sent_twice_by_itself() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.released("o/r#1");
    for fault in [Fault::Status(502), Fault::Lost(502), Fault::Broken, Fault::Html] {
        home.fake.fail(Route::EditIssue, fault);
        let before = home.fake.requests().len();
        let error = home.tracker().close(&issue).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Transient, "{fault:?}: {}", said(&error));
        assert_eq!(home.fake.requests().len(), before + 1, "{fault:?}");
    }
    home.tracker().close(&issue).await.unwrap();
    home.done("a_write_is_never_sent_twice");
}

#[tokio::test]
async fn a_lost_answer_to_a_comment_leaves_one_comment() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.released("o/r#1");
    let body = format!("ours\n{}", afk_core::comment::marker(run()));
    home.fake.fail(Route::PostComment, Fault::Lost(502));
    let tracker = home.tracker();
    assert!(tracker.comment(&issue, run(), &body).await.is_err());
    let id = tracker.comment(&issue, run(), &body).await.unwrap();
    let comments = tracker.comments(&issue).await.unwrap();
    assert_eq!(comments.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), [id]);
    home.done("a_lost_answer_to_a_comment");
}

#[tokio::test]
async fn a_wrong_token_is_an_error_that_a_person_fixes_and_a_rotated_one_counts_at_once() {
    let home = OnForgejo::new(Kind::Forgejo);
    home.released("o/r#1");
    home.fake.rotate("another");
    let error = home.tracker().ready(&repo("o/r"), READY).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Auth, "{}", said(&error));
    assert!(!error.chain().contains(TOKEN), "{}", error.chain());
    home.secrets.set("TOKEN", "another");
    assert_eq!(home.tracker().ready(&repo("o/r"), READY).await.unwrap().len(), 1);
    home.done("a_wrong_token");
}

#[tokio::test]
async fn another_host_sees_no_token() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.released("o/r#1");
    for status in [301, 302, 307] {
        home.later(90);
        home.fake.fail(Route::Issues, Fault::Elsewhere(status));
        let error = home.tracker().ready(&issue.repo, READY).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Permanent, "{}", said(&error));
    }
    assert_eq!(home.fake.strayed(), []);
    home.done("another_host");
}

#[tokio::test]
async fn a_limit_pauses_the_account_and_ends() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.released("o/r#1");
    home.fake.fail(Route::Issues, Fault::RetryAfter(30));
    let tracker = home.tracker();
    let error = tracker.ready(&issue.repo, READY).await.unwrap_err();
    assert!(matches!(error.kind, PortErrorKind::RateLimited { .. }), "{}", said(&error));
    let before = home.fake.requests().len();
    assert!(tracker.ready(&repo("o/other"), READY).await.is_err());
    assert_eq!(home.fake.requests().len(), before, "nothing is sent meanwhile");
    home.later(40);
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
    home.done("a_limit");
}

#[tokio::test]
async fn what_the_server_refuses_says_why() {
    let home = OnForgejo::new(Kind::Forgejo);
    let (one, two) = (home.released("o/r#1"), home.released("o/r#2"));
    let tracker = home.tracker();
    // The issue waits for another one, so the server does not close it.
    home.fake.depend(&one, &two, true, &person("ann"));
    let error = tracker.close(&one).await.unwrap_err();
    assert!(error.chain().contains("open dependencies"), "{}", said(&error));
    home.fake.lock(&two);
    let error = tracker.close(&two).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Auth, "{}", said(&error));
    assert!(error.chain().contains("locked"), "{}", said(&error));
    let three = home.released("o/old#3");
    home.fake.archive(&three.repo);
    let error = tracker.comment(&three, run(), "hello").await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Permanent, "{}", said(&error));
    assert!(error.chain().contains("423"), "{}", said(&error));
    home.done("what_the_server_refuses");
}

#[tokio::test]
async fn permissions_need_an_administrator() {
    let home = OnForgejo::of(crate::support::world(), Kind::Forgejo, false);
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    let view = tracker.issue(&issue).await.unwrap();
    let ann = view.events[0].actor.clone().unwrap();
    let error = tracker.permission(&issue.repo, &ann).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Auth, "{}", said(&error));
    home.done("permissions_need_an_administrator");
}

#[tokio::test]
async fn a_lost_answer_to_a_pull_request_opens_one() {
    let home = OnForgejo::new(Kind::Gitea);
    let spec = home.pushed("afk/try/1/1");
    home.fake.fail(Route::OpenPull, Fault::Lost(502));
    assert!(home.forges.open(&spec).await.is_err());
    let opened = home.forges.open(&spec).await.unwrap();
    assert!(opened.link.contains("/pulls/"), "{}", opened.link);
    home.sim.with(|world| assert_eq!(world.pulls.opened.len(), 1));
    home.done("a_lost_answer_to_a_pull_request");
}

#[tokio::test]
async fn a_pull_request_that_the_server_fails_to_load_hides_no_other() {
    for kind in [Kind::Forgejo, Kind::Gitea] {
        let home = OnForgejo::new(kind);
        let spec = home.pushed("afk/try/1/1");
        let look = async || home.forges.look(&spec.repo, &spec.branch).await;
        let theirs =
            home.fake.pull_from_fork(&spec.repo, &spec.branch, &spec.commit, PullState::Open);
        home.fake.break_pull(theirs, true);
        let opened = home.forges.open(&spec).await.unwrap();
        assert_eq!(look().await.unwrap(), opened);
        // Whether ours is the one that is not shown cannot be told.
        let ours = opened.link.rsplit('/').next().unwrap().parse().unwrap();
        home.fake.break_pull(ours, true);
        let error = look().await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Transient, "{}", said(&error));
        assert!(home.forges.open(&spec).await.is_err(), "it is refused");
        assert_eq!(home.sim.with(|world| world.pulls.opened.len()), 1);
        home.fake.break_pull(ours, false);
        assert_eq!(look().await.unwrap(), opened);
        home.done(&format!("a_pull_request_that_is_not_loaded_{kind:?}"));
    }
}

#[tokio::test]
async fn texts_however_long_make_no_issue_unreadable() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.released("o/r#1");
    for n in 0..110 {
        home.later(600);
        home.sim.with(|world| {
            world.write_comment(&issue, &format!("{n}{}", "x".repeat(200_000)), &person("eve"));
        });
    }
    home.later(600);
    home.sim.with(|world| world.set_label(&issue, READY, false, &person("bea")));
    home.later(90);
    let tracker = home.tracker();
    let comments = tracker.comments(&issue).await.unwrap();
    assert_eq!(comments.len(), 110);
    assert!(comments[0].body.starts_with("0x") && comments[109].body.starts_with("109x"));
    let labels = |what: &IssueChange| {
        matches!(what, IssueChange::Labeled { .. } | IssueChange::Unlabeled { .. })
    };
    let events = tracker.issue(&issue).await.unwrap().events;
    assert_eq!(events.iter().filter(|one| labels(&one.what)).count(), 2);
    home.done("long_texts");
}

#[tokio::test]
async fn texts_however_long_make_no_repo_unreadable() {
    let home = OnForgejo::new(Kind::Forgejo);
    let tracker = home.tracker();
    let issue = home.released("o/r#1");
    let since = home.now();
    home.later(90);
    let long = "x".repeat(400_000);
    home.sim.with(|world| {
        for n in 2..=60 {
            let noise = world.file(&format!("o/r#{n}"), &long, &[], "eve");
            world.write_comment(&noise, &format!("{n}{long}"), &person("eve"));
        }
        // One entry that nobody can read, among the others of both lists.
        let whole = "x".repeat(17 << 20);
        let noise = world.file("o/r#61", &whole, &[], "eve");
        world.write_comment(&noise, &whole, &person("eve"));
        world.write_comment(&issue, "the last one", &person("ann"));
    });
    home.later(90);
    let ready = tracker.ready(&issue.repo, READY).await;
    let ready = ready.unwrap_or_else(|error| panic!("{}", said(&error)));
    assert_eq!(ready.iter().map(|one| &one.issue).collect::<Vec<_>>(), [&issue]);
    let comments = tracker.comments_since(&issue.repo, since).await;
    let comments = comments.unwrap_or_else(|error| panic!("{}", said(&error)));
    let last = |(of, comment): &(IssueRef, Comment)| *of == issue && comment.body == "the last one";
    assert_eq!((comments.len(), comments.iter().filter(|one| last(one)).count()), (60, 1));
    // A change is noticed among them.
    home.later(90);
    home.sim.with(|world| world.set_label(&issue, READY, false, &person("bea")));
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap(), []);
    home.done("long_lists");
}
