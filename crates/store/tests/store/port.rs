//! The store as the engine sees it: what of it people ask later, and what is in its way.

use std::time::Duration;

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_engine::ports::{Store as _, Switch, SwitchState};
use afk_store::StorePort;
use afk_store::{NewRun, NewSend, Store};

use crate::support::*;

#[tokio::test]
async fn who_lifted_a_switch_and_when_stays() {
    let home = Home::new();
    let store = home.open().await;
    let port = StorePort::new(store.clone(), |_| false);
    let thrown = SwitchState { by: "bob".to_owned(), at: at(1), why: "disk".to_owned() };
    for switch in [Switch::Halt, Switch::Pause, Switch::Freeze("o/a".parse().unwrap())] {
        port.switch(&switch, Some(&thrown)).await.unwrap();
        port.lift(&switch, "ann", at(2)).await.unwrap();
    }
    let now = store.switches().await.unwrap();
    let all = now.freezes.values().chain(now.halt.as_ref()).chain(now.pause.as_ref());
    let all: Vec<_> = all.map(|one| (one.on, one.by.as_str(), one.at)).collect();
    assert_eq!(all, [(false, "ann", Some(at(2))); 3]);
}

#[tokio::test]
async fn a_doorbell_that_cannot_be_read_is_given_up_and_in_no_others_way() {
    let home = Home::new();
    let store = home.open().await;
    let issue = "o/a#1".parse().unwrap();
    let good = Doorbell::new(&Ring {
        run: run_id(1),
        issue: &issue,
        kind: DoorbellKind::Done,
        reason: None,
        detail: "",
        link: None,
        nth: 0,
    });
    let body = serde_json::to_string(&good).unwrap();
    let sends = vec![send("odd"), NewSend { body, ..send("good") }];
    let run = NewRun { sends, ..new_run(1, "o/a#1") };
    store.admit(run, |facts| FREE.check(facts)).await.unwrap();
    let port = StorePort::new(store.clone(), |_| false);
    let ttl = Duration::from_secs(10);
    let claimed = port.claim("me", ttl, at(6), 10).await.unwrap();
    let claimed: Vec<_> = claimed.iter().map(|one| (one.id.as_str(), &one.doorbell)).collect();
    assert_eq!(claimed, [("good", &good)]);
    assert_eq!(store.outbox_backlog().await.unwrap().0, 1, "the other waits no more");
    let why: String = sqlx::query_scalar("SELECT last_error FROM outbox WHERE id = 'odd'")
        .fetch_one(&mut home.raw().await)
        .await
        .unwrap();
    assert!(why.contains("a doorbell"), "{why}");
}

async fn beginning(store: &Store, prefix: &str) -> Vec<u128> {
    let ids = store.runs_beginning(prefix, 2).await.unwrap();
    ids.iter().map(|id| id.uuid().as_u128()).collect()
}

#[tokio::test]
async fn runs_are_found_by_the_beginning_of_their_ids() {
    let home = Home::new();
    let store = home.open().await;
    let ids = [0x0199_0000_u128 << 96, (0x0199_0000_u128 << 96) + 1, 0x0199_f000_u128 << 96];
    for (n, id) in ids.into_iter().enumerate() {
        admit(&store, id, &format!("o/r{n}#1"), FREE).await;
    }
    assert_eq!(beginning(&store, "0199f").await, [ids[2]]);
    assert_eq!(beginning(&store, "01990000-0000-0000-0000-000000000001").await, [ids[1]]);
    assert_eq!(beginning(&store, "0199").await.len(), 2, "no more than asked for");
    assert_eq!(beginning(&store, "019").await, [ids[2], ids[1]]);
    assert_eq!(beginning(&store, "0198").await, Vec::<u128>::new());
    assert_eq!(beginning(&store, "0199g").await, Vec::<u128>::new());
}
