//! The pages about a freeze, and its acknowledgement.

use std::collections::BTreeSet;
use std::time::Duration;

use afk_core::freeze::{Acknowledgement, Paging};
use afk_core::ids::RepoName;
use afk_engine::ports::{Page, Store as _, Switch, SwitchState};
use afk_store::Store;

use crate::support::*;

fn repo() -> RepoName {
    "o/a".parse().unwrap()
}

/// A store with a freeze that run 1 caused.
async fn frozen(home: &Home) -> Store {
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    let mut commit = change(1, 1).await;
    (commit.freeze, commit.at) = (Some("red".to_owned()), at(0));
    store.commit(commit).await.unwrap();
    store
}

async fn paging(port: &Store) -> Option<Paging> {
    port.switches().await.unwrap().freeze_of(&repo()).and_then(|freeze| freeze.paging.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_control_planes_one_puts_a_page_into_the_outbox() {
    let home = Home::new();
    let left = frozen(&home).await;
    let right = home.open().await;
    let before = Paging::begun(run_id(1), at(0));
    let after = Paging { nth: 1, last: at(10), ..before.clone() };
    let sends = |nth| [bell_of("a", 1, nth), bell_of("b", 1, nth)];
    let first = sends(1);
    let page = Page { before: &before, after: &after, sends: &first };
    let repo = repo();
    let (a, b) = tokio::join!(left.page(&repo, &page), right.page(&repo, &page));
    assert_ne!(a.unwrap(), b.unwrap());
    assert_eq!(paging(&left).await, Some(after.clone()));
    let claim = async |second, busy: &str| {
        let (hour, busy) = (Duration::from_hours(1), BTreeSet::from([Some(busy.to_owned())]));
        left.claim("me", hour, at(second), 9, &busy).await.unwrap()
    };
    let due = claim(10, "none").await;
    let rung: Vec<_> = due.iter().map(|due| (due.name.as_deref(), &due.doorbell)).collect();
    assert_eq!(rung, [(Some("a"), &first[0].doorbell), (Some("b"), &first[1].doorbell)]);

    // For each doorbell the next page waits until this one is delivered there.
    let later = Paging { nth: 2, last: at(20), ..after.clone() };
    let second = sends(2);
    let next = Page { before: &after, after: &later, sends: &second };
    assert!(!left.page(&repo, &next).await.unwrap());
    left.rung(&due[1].id, "me", at(11)).await.unwrap();
    assert!(left.page(&repo, &next).await.unwrap());
    assert_eq!(claim(20, "b").await.len(), 0);
    let due = claim(20, "a").await;
    assert_eq!(due.iter().map(|due| due.name.as_deref()).collect::<Vec<_>>(), [Some("b")]);
}

#[tokio::test]
async fn who_acknowledged_first_stays_and_a_persons_freeze_keeps_the_pages() {
    let home = Home::new();
    let port = frozen(&home).await;
    let by = |by: &str, second| Acknowledgement { by: by.to_owned(), at: at(second) };
    for (who, second) in [("ann", 5), ("bob", 6)] {
        let freeze = port.acknowledge(&repo(), &by(who, second)).await.unwrap().unwrap();
        assert_eq!((freeze.thrown.why.as_str(), freeze.thrown.by), ("red", run_id(1).to_string()));
        assert_eq!(freeze.paging.unwrap().acknowledged, Some(by("ann", 5)));
    }
    let before = Paging::begun(run_id(1), at(0));
    let after = Paging { nth: 1, last: at(10), ..before.clone() };
    let page = Page { before: &before, after: &after, sends: &[bell(1, 1)] };
    assert!(!port.page(&repo(), &page).await.unwrap(), "somebody acknowledged meanwhile");

    let state = SwitchState { by: "bob".to_owned(), at: at(20), why: "mine".to_owned() };
    port.throw(&Switch::Freeze(repo()), &state).await.unwrap();
    let mine = port.acknowledge(&repo(), &by("bob", 21)).await.unwrap().unwrap();
    assert_eq!(mine.thrown, state);
    assert_eq!(mine.paging.unwrap().acknowledged, Some(by("ann", 5)));
    port.lift(&Switch::Freeze(repo()), "bob", at(22)).await.unwrap();
    assert_eq!(port.acknowledge(&repo(), &by("bob", 22)).await.unwrap(), None);
    assert!(!port.page(&repo(), &page).await.unwrap(), "it is lifted");
    port.throw(&Switch::Freeze(repo()), &state).await.unwrap();
    assert_eq!(paging(&port).await, None, "no run froze it");
}

#[tokio::test]
async fn whoever_freezes_what_a_run_froze_acknowledges_it() {
    let home = Home::new();
    let port = frozen(&home).await;
    let state = SwitchState { by: "bob".to_owned(), at: at(20), why: "mine".to_owned() };
    port.throw(&Switch::Freeze(repo()), &state).await.unwrap();
    let by = Acknowledgement { by: "bob".to_owned(), at: at(20) };
    let acknowledged = Paging { acknowledged: Some(by), ..Paging::begun(run_id(1), at(0)) };
    assert_eq!(paging(&port).await, Some(acknowledged));
}

#[tokio::test]
async fn a_freeze_that_cannot_be_read_freezes_all_the_same() {
    let home = Home::new();
    let store = home.open().await;
    let insert = r#"INSERT INTO switches VALUES ('freeze:o/a', 1, '{"else":1}', 'x', 0)"#;
    sql(&mut home.raw().await, insert).await.unwrap();
    let switches = store.switches().await.unwrap();
    let freeze = switches.freeze_of(&repo()).unwrap();
    assert_eq!((freeze.thrown.why.as_str(), &freeze.paging), (r#"{"else":1}"#, &None));
    let state = SwitchState { by: "bob".to_owned(), at: at(20), why: "mine".to_owned() };
    store.throw(&Switch::Freeze(repo()), &state).await.unwrap();
    let switches = store.switches().await.unwrap();
    assert_eq!(switches.freeze_of(&repo()).unwrap().thrown, state);
}
