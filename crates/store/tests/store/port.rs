//! What people read from the store later, and rows in it that cannot be read.

use std::collections::BTreeSet;
use std::time::Duration;

use afk_core::plan::End;
use afk_core::run::Conclusion;
use afk_engine::ports::{Filter, Store as _, Switch, SwitchState, Switches};
use afk_store::Store;

use crate::support::*;

#[tokio::test]
async fn who_lifted_a_switch_and_when_stays() {
    let home = Home::new();
    let store = home.open().await;
    let thrown = SwitchState { by: "bob".to_owned(), at: at(1), why: "disk".to_owned() };
    let switches = [Switch::Halt, Switch::Pause, Switch::Freeze("o/a".parse().unwrap())];
    for switch in &switches {
        store.throw(switch, &thrown).await.unwrap();
    }
    let now = store.switches().await.unwrap();
    let frozen = now.frozen.into_iter().map(|(_, freeze)| freeze.thrown);
    let all: Vec<_> = now.halt.into_iter().chain(now.pause).chain(frozen).collect();
    assert_eq!(all, vec![thrown; 3]);
    for switch in &switches {
        store.lift(switch, "ann", at(2)).await.unwrap();
    }
    assert_eq!(store.switches().await.unwrap(), Switches::default());
    let rows: Vec<(i64, String, i64)> = sqlx::query_as("SELECT is_on, by, at FROM switches")
        .fetch_all(&mut home.raw().await)
        .await
        .unwrap();
    assert_eq!(rows, vec![(0, "ann".to_owned(), at(2).as_microsecond()); 3]);
}

#[tokio::test]
async fn a_doorbell_that_cannot_be_read_is_given_up_and_in_no_others_way() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    let good = bell(1, 0);
    let mut commit = change(1, 1).await;
    commit.sends = vec![good.clone()];
    store.commit(commit).await.unwrap();
    let mut raw = home.raw().await;
    let odd = "INSERT INTO outbox (id, run, kind, body_json, not_before) \
               SELECT 'odd', run, kind, '{}', not_before FROM outbox";
    sql(&mut raw, odd).await.unwrap();
    let ttl = Duration::from_secs(10);
    let claimed = store.claim("me", ttl, at(6), 10, &BTreeSet::new()).await.unwrap();
    let claimed: Vec<_> = claimed.into_iter().map(|one| one.doorbell).collect();
    assert_eq!(claimed, [good.doorbell]);
    assert_eq!(store.outbox_backlog().await.unwrap().0, 1, "the other waits no more");
    let why: String = sqlx::query_scalar("SELECT last_error FROM outbox WHERE id = 'odd'")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert!(why.contains("a doorbell"), "{why}");
}

#[tokio::test]
async fn what_was_handed_to_a_person_is_found_until_the_issue_has_a_newer_run() {
    let home = Home::new();
    let store = home.open().await;
    let back = async || {
        let filter = Filter { handed_back: true, ..Filter::default() };
        let found = store.runs(&filter).await.unwrap();
        found.iter().map(|one| one.run.id).collect::<Vec<_>>()
    };
    for (n, how) in [(1, End::NeedsHuman), (2, End::Done), (3, End::Frozen)] {
        admit(&store, n, &format!("o/r{n}#1"), &free()).await;
        let mut commit = end(n, 1).await;
        commit.run.conclusion = Some(Conclusion { end: how, why: String::new(), at: at(1) });
        store.commit(commit).await.unwrap();
    }
    assert_eq!(back().await, [run_id(3), run_id(1)]);
    admit(&store, 4, "o/r3#1", &free()).await;
    assert_eq!(back().await, [run_id(1)]);
}

#[tokio::test]
async fn a_row_that_is_older_than_the_names_is_claimed_without_one() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    let mut commit = change(1, 1).await;
    commit.sends = vec![bell(1, 0)];
    store.commit(commit).await.unwrap();
    sql(&mut home.raw().await, "UPDATE outbox SET name = NULL").await.unwrap();
    let ttl = Duration::from_secs(10);
    let nameless = BTreeSet::from([None]);
    assert_eq!(store.claim("me", ttl, at(6), 10, &nameless).await.unwrap().len(), 0);
    let claimed = store.claim("me", ttl, at(6), 10, &BTreeSet::new()).await.unwrap();
    assert_eq!(claimed.iter().map(|one| &one.name).collect::<Vec<_>>(), [&None]);
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
        admit(&store, id, &format!("o/r{n}#1"), &free()).await;
    }
    assert_eq!(beginning(&store, "0199f").await, [ids[2]]);
    assert_eq!(beginning(&store, "01990000-0000-0000-0000-000000000001").await, [ids[1]]);
    assert_eq!(beginning(&store, "0199").await.len(), 2, "no more than asked for");
    assert_eq!(beginning(&store, "019").await, [ids[2], ids[1]]);
    assert_eq!(beginning(&store, "0198").await, Vec::<u128>::new());
    assert_eq!(beginning(&store, "0199g").await, Vec::<u128>::new());
}
