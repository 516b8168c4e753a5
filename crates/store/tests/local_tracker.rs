//! The local tracker, as the command line and the loop use it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;

use afk_core::ids::RepoName;
use afk_core::issue::{BlockerState, IssueChange, Permission};
use afk_store::local_tracker::{LocalTracker, TrackerError};
use afk_store::{Store, StoreErrorKind};
use jiff::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_770_000_000 + second).unwrap()
}

async fn tracker(dir: &tempfile::TempDir) -> LocalTracker {
    let store = Store::open(&dir.path().join("afk.db")).await.unwrap();
    let granted = BTreeMap::from([("user:bob".to_owned(), Permission::Write)]);
    LocalTracker::new(store, "user:ann", granted)
}

#[tokio::test]
async fn an_issue_from_new_to_closed_asked_for_twice_and_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = tracker(&dir).await;
    let (ann, own) = (LocalTracker::user("ann"), LocalTracker::own_account());
    let repo: RepoName = "o/web".parse().unwrap();
    let issue = tracker.create(&repo, " Add a door ", "Blocked by #9", &ann, at(0)).await.unwrap();
    assert_eq!(issue.to_string(), "o/web#1");
    let second = tracker.create(&repo, "Paint it", "", &ann, at(1)).await.unwrap();
    let elsewhere =
        tracker.create(&"o/api".parse().unwrap(), "Other", "", &ann, at(1)).await.unwrap();
    assert_eq!((second.number, elsewhere.number), (2, 1));

    for expected in [true, false] {
        let put = tracker.label(&issue, "ready-for-agent", &ann, at(2)).await.unwrap();
        assert_eq!(put, expected);
        assert_eq!(tracker.label(&issue, "agent", &own, at(3)).await.unwrap(), expected);
    }
    let ready = tracker.list_ready(&repo, "ready-for-agent").await.unwrap();
    assert_eq!(ready.len(), 1);
    assert_eq!(ready[0].title, "Add a door");
    assert_eq!(ready[0].labels, ["ready-for-agent", "agent"]);

    assert!(tracker.edit(&issue, Some("Add two doors"), Some("x"), &ann, at(4)).await.unwrap());
    assert!(!tracker.edit(&issue, Some("Add two doors"), Some("x"), &ann, at(5)).await.unwrap());
    for expected in [true, false] {
        assert_eq!(tracker.unlabel(&issue, "agent", &own, at(6)).await.unwrap(), expected);
        assert_eq!(tracker.close(&issue, &own, at(7)).await.unwrap(), expected);
    }
    assert_eq!(tracker.list_ready(&repo, "ready-for-agent").await.unwrap(), []);
    assert_eq!(tracker.blocker(&issue).await, BlockerState::Closed);
    for expected in [true, false] {
        assert_eq!(tracker.reopen(&issue, &ann, at(8)).await.unwrap(), expected);
    }
    assert_eq!(tracker.blocker(&issue).await, BlockerState::Open);
    assert_eq!(tracker.blocker(&"o/web#77".parse().unwrap()).await, BlockerState::Gone);

    let events = tracker.events(&issue).await.unwrap();
    let told: Vec<_> = events.into_iter().map(|e| (e.at, e.actor.unwrap().id, e.what)).collect();
    let label = |label: &str| IssueChange::Labeled { label: label.into() };
    let event = |second, who: &str, what| (at(second), who.to_owned(), what);
    assert_eq!(
        told,
        [
            event(2, "user:ann", label("ready-for-agent")),
            event(3, "afk", label("agent")),
            event(4, "user:ann", IssueChange::Renamed),
            event(4, "user:ann", IssueChange::Edited),
            event(6, "afk", IssueChange::Unlabeled { label: "agent".into() }),
            event(7, "afk", IssueChange::Closed),
            event(8, "user:ann", IssueChange::Reopened),
        ]
    );
}

#[tokio::test]
async fn a_comment_is_edited_in_place_by_its_author_alone() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = tracker(&dir).await;
    let (ann, own) = (LocalTracker::user("ann"), LocalTracker::own_account());
    let repo: RepoName = "o/web".parse().unwrap();
    let issue = tracker.create(&repo, "One", "", &ann, at(0)).await.unwrap();
    let other = tracker.create(&repo, "Two", "", &ann, at(0)).await.unwrap();
    let id = tracker.comment(&issue, "first", &own, at(1)).await.unwrap();
    assert!(tracker.edit_comment(&issue, &id, "second", &own, at(2)).await.unwrap());
    assert!(!tracker.edit_comment(&issue, &id, "second", &own, at(3)).await.unwrap());
    for (issue, id, who) in [(&issue, id.as_str(), &ann), (&other, &id, &own), (&issue, "x", &own)]
    {
        let refused = tracker.edit_comment(issue, id, "no", who, at(4)).await;
        assert!(matches!(refused, Err(TrackerError::NotTheirs { .. })));
    }
    let comments = tracker.comments(&issue).await.unwrap();
    let told: Vec<_> = comments.iter().map(|c| (c.at, c.body.as_str())).collect();
    assert_eq!(told, [(at(1), "second")]);
}

#[tokio::test]
async fn permission_is_the_keepers_what_was_granted_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = tracker(&dir).await;
    for (id, expected) in [
        ("user:ann", Permission::Admin),
        ("user:bob", Permission::Write),
        ("user:eve", Permission::None),
        ("ann", Permission::None),
        ("afk", Permission::None),
        ("", Permission::None),
    ] {
        assert_eq!(tracker.permission(id), expected, "{id}");
    }
}

#[tokio::test]
async fn what_no_issue_can_have_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = tracker(&dir).await;
    let ann = LocalTracker::user("ann");
    let repo: RepoName = "o/web".parse().unwrap();
    for bad in ["", "  ", "two\nlines", &"x".repeat(1001)] {
        assert!(tracker.create(&repo, bad, "", &ann, at(0)).await.is_err(), "{bad:?}");
    }
    let issue = tracker.create(&repo, "One", "", &ann, at(0)).await.unwrap();
    for bad in ["", "a,b", "a\nb", &"x".repeat(101)] {
        assert!(tracker.label(&issue, bad, &ann, at(0)).await.is_err(), "{bad:?}");
    }
    let missing = tracker.label(&"o/web#9".parse().unwrap(), "x", &ann, at(0)).await;
    let Err(TrackerError::Store(error)) = missing else { panic!("{missing:?}") };
    assert_eq!(*error.kind(), StoreErrorKind::NotFound("issue o/web#9".into()));
}

#[tokio::test]
async fn a_label_keeps_its_spelling_and_is_found_in_any() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = tracker(&dir).await;
    let (ann, own) = (LocalTracker::user("ann"), LocalTracker::own_account());
    let repo: RepoName = "o/web".parse().unwrap();
    let issue = tracker.create(&repo, "Add a door", "", &ann, at(0)).await.unwrap();
    assert!(tracker.label(&issue, "Ready-For-Agent", &ann, at(1)).await.unwrap());
    assert!(!tracker.label(&issue, "ready-for-agent", &ann, at(2)).await.unwrap());
    for label in ["ready-for-agent", "READY-FOR-AGENT"] {
        let ready = tracker.list_ready(&repo, label).await.unwrap();
        let labels: Vec<_> = ready.into_iter().map(|issue| issue.labels).collect();
        assert_eq!(labels, [["Ready-For-Agent"]], "{label}");
    }
    assert_eq!(tracker.list_ready_everywhere("ready-for-agent").await.unwrap().len(), 1);
    assert!(tracker.unlabel(&issue, "ready-for-agent", &own, at(3)).await.unwrap());
    assert!(!tracker.unlabel(&issue, "ready-for-agent", &own, at(4)).await.unwrap());
    assert_eq!(tracker.list_ready(&repo, "Ready-For-Agent").await.unwrap(), []);
}
