//! The pages about a freeze, and who has heard of it.

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::freeze::{Acknowledged, Paging};
use afk_core::ids::RepoName;
use afk_engine::ports::{Page, Store as _, Switch, SwitchState};
use afk_store::StorePort;
use afk_store::SwitchName;

use crate::support::*;

fn repo() -> RepoName {
    "o/r".parse().unwrap()
}

/// The doorbell of a page.
fn bell(nth: u32) -> Doorbell {
    let issue = "o/r#7".parse().unwrap();
    Doorbell::new(&Ring {
        run: run_id(1),
        issue: &issue,
        kind: DoorbellKind::Frozen,
        reason: None,
        detail: "red",
        link: None,
        nth,
    })
}

/// A store with a freeze that run 1 caused.
async fn frozen(home: &Home) -> StorePort {
    let store = home.open().await;
    admit(&store, 1, "o/r#7", FREE).await;
    let value = serde_json::json!({ "why": "red", "paging": Paging::begun(run_id(1), at(0)) });
    let (name, value) = (SwitchName::Freeze(repo()), value.to_string());
    store.set_switch(name, true, &value, "run 1", at(0)).await.unwrap();
    StorePort::new(store, |_| false)
}

async fn paging(port: &StorePort) -> Option<Paging> {
    port.switches().await.unwrap().freeze_of(&repo()).and_then(|freeze| freeze.paging.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_control_planes_one_puts_a_page_into_the_outbox() {
    let home = Home::new();
    let left = frozen(&home).await;
    let right = StorePort::new(home.open().await, |_| false);
    let before = Paging::begun(run_id(1), at(0));
    let after = Paging { nth: 1, last: at(10), ..before.clone() };
    let bell = bell(1);
    let page = Page { before: &before, after: &after, doorbell: &bell };
    let repo = repo();
    let (a, b) = tokio::join!(left.page(&repo, &page), right.page(&repo, &page));
    assert_ne!(a.unwrap(), b.unwrap());
    assert_eq!(paging(&left).await, Some(after.clone()));
    let hour = std::time::Duration::from_hours(1);
    let due = left.claim("me", hour, at(10), 9).await.unwrap();
    assert_eq!(due.iter().map(|due| &due.doorbell).collect::<Vec<_>>(), [&bell]);

    // The next one waits until this one is delivered.
    let later = Paging { nth: 2, last: at(20), ..after.clone() };
    let bell_of_two = self::bell(2);
    let next = Page { before: &after, after: &later, doorbell: &bell_of_two };
    assert!(!left.page(&repo, &next).await.unwrap());
    left.rung(&due[0].id, "me", at(11)).await.unwrap();
    assert!(left.page(&repo, &next).await.unwrap());
}

#[tokio::test]
async fn who_has_heard_first_stays_and_a_person_ends_the_pages() {
    let home = Home::new();
    let port = frozen(&home).await;
    let by = |by: &str, second| Acknowledged { by: by.to_owned(), at: at(second) };
    for (who, second) in [("ann", 5), ("bob", 6)] {
        let freeze = port.acknowledge(&repo(), &by(who, second)).await.unwrap().unwrap();
        assert_eq!((freeze.thrown.why.as_str(), freeze.thrown.by.as_str()), ("red", "run 1"));
        assert_eq!(freeze.paging.unwrap().acknowledged, Some(by("ann", 5)));
    }
    let before = Paging::begun(run_id(1), at(0));
    let after = Paging { nth: 1, last: at(10), ..before.clone() };
    let page = Page { before: &before, after: &after, doorbell: &bell(1) };
    assert!(!port.page(&repo(), &page).await.unwrap(), "somebody has heard meanwhile");

    let state = SwitchState { by: "bob".to_owned(), at: at(20), why: "mine".to_owned() };
    port.switch(&Switch::Freeze(repo()), Some(&state)).await.unwrap();
    let mine = port.acknowledge(&repo(), &by("bob", 21)).await.unwrap().unwrap();
    assert_eq!((mine.thrown, mine.paging), (state, None));
    port.switch(&Switch::Freeze(repo()), None).await.unwrap();
    assert_eq!(port.acknowledge(&repo(), &by("bob", 22)).await.unwrap(), None);
    assert!(!port.page(&repo(), &page).await.unwrap(), "it is lifted");
}

#[tokio::test]
async fn a_freeze_that_cannot_be_read_freezes_all_the_same() {
    let home = Home::new();
    let store = home.open().await;
    let name = SwitchName::Freeze(repo());
    store.set_switch(name, true, r#"{"else":1}"#, "x", at(0)).await.unwrap();
    let port = StorePort::new(store, |_| false);
    let switches = port.switches().await.unwrap();
    let freeze = switches.freeze_of(&repo()).unwrap();
    assert_eq!((freeze.thrown.why.as_str(), &freeze.paging), (r#"{"else":1}"#, &None));
}
