//! What is decided inside a write: admissions, versions, fences, sends, spend, journal.

use afk_store::*;
use jiff::SignedDuration;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_stores_on_one_file_exactly_one_admits_a_run_for_a_repo() {
    let home = Home::new();
    let (left, right) = (home.open().await, home.open().await);
    for round in 0..20_u128 {
        let issue = format!("o/r{round}#1");
        let (a, b) = tokio::join!(
            admit(&left, round * 2 + 1, &issue, FREE),
            admit(&right, round * 2 + 2, &issue, FREE)
        );
        let won = |x: &Admission<Refusal>| usize::from(*x == Admission::Admitted);
        assert_eq!(won(&a) + won(&b), 1, "{a:?} {b:?}");
        let busy = |x: &Admission<Refusal>| matches!(x, Admission::RepoBusy { .. });
        assert!(busy(&a) || busy(&b), "{a:?} {b:?}");
    }
    assert_eq!(left.live_runs().await.unwrap().len(), 20);
}

#[tokio::test]
async fn an_admission_is_refused_for_each_reason_and_done_once() {
    let home = Home::new();
    let store = home.open().await;
    let refused = |r| Admission::Refused(r);
    let tight = Caps { max_live: 1, ..FREE };

    assert_eq!(admit(&store, 1, "o/a#1", tight).await, Admission::Admitted);
    assert_eq!(admit(&store, 1, "o/a#1", tight).await, Admission::AlreadyAdmitted { version: 1 });
    assert!(matches!(admit(&store, 2, "o/a#2", tight).await, Admission::RepoBusy { .. }));
    assert_eq!(admit(&store, 3, "o/b#1", tight).await, refused(Refusal::Capacity { live: 1 }));
    let repo_cap = Caps { repo_day: Some(999_999), ..FREE };
    assert_eq!(admit(&store, 3, "o/b#1", repo_cap).await, refused(Refusal::RepoSpend { total: 0 }));
    // The first run has a million reserved: no room for a second million.
    let all_cap = Caps { all_day: Some(1_999_999), ..FREE };
    assert_eq!(
        admit(&store, 3, "o/b#1", all_cap).await,
        refused(Refusal::AllSpend { total: 1_000_000 })
    );
    let throw = async |name: SwitchName, on| {
        store.set_switch(name, on, "{}", "user:ann", at(2)).await.unwrap();
    };
    for (name, refusal) in [
        (SwitchName::Freeze("o/b".parse().unwrap()), Refusal::Frozen),
        (SwitchName::Pause, Refusal::Paused),
        (SwitchName::Halt, Refusal::Halted),
    ] {
        throw(name.clone(), true).await;
        assert_eq!(admit(&store, 3, "o/b#1", FREE).await, refused(refusal));
        throw(name, false).await;
    }
    assert_eq!(admit(&store, 3, "o/b#1", FREE).await, Admission::Admitted);
    let switches = store.switches().await.unwrap();
    assert_eq!(switches.halt.map(|s| (s.on, s.by)), Some((false, "user:ann".to_owned())));
}

#[tokio::test]
async fn a_switch_that_cannot_be_understood_is_a_halt() {
    let home = Home::new();
    let store = home.open().await;
    let mut raw = home.raw().await;
    sql(&mut raw, "INSERT INTO switches VALUES ('freeze:???', 0, '{}', 'x', 0)").await.unwrap();
    assert!(store.switches().await.unwrap().halted());
    assert_eq!(admit(&store, 1, "o/a#1", FREE).await, Admission::Refused(Refusal::Halted));
    sql(&mut raw, "DELETE FROM switches; INSERT INTO switches VALUES ('halt', 7, 'x', 'x', 0)")
        .await
        .unwrap();
    assert!(store.switches().await.unwrap().halted());
}

#[tokio::test]
async fn a_commit_on_an_old_version_writes_nothing() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", FREE).await;
    let first = store.commit(change(1, 1)).await.unwrap();
    assert_eq!(first, CommitOutcome::Committed { version: 2 });
    let mut late = change(1, 1);
    late.sends.push(send("s"));
    assert_eq!(store.commit(late).await.unwrap(), CommitOutcome::Conflict { actual: 2 });
    assert_eq!(store.journal(run_id(1), 1, 10).await.unwrap().len(), 2);
    assert_eq!(store.outbox_backlog().await.unwrap(), (0, None));

    let missing = store.commit(change(9, 1)).await.unwrap_err();
    assert!(matches!(missing.kind(), StoreErrorKind::NotFound(_)), "{missing}");
    let mut bad = change(1, 2);
    bad.state = "{".into();
    let bad = store.commit(bad).await.unwrap_err();
    assert!(bad.to_string().contains("refuses the state of a run: not JSON"), "{bad}");
}

#[tokio::test]
async fn a_run_that_is_over_frees_its_repo_and_stays_over() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", FREE).await;
    store.commit(Commit { live: false, ..change(1, 1) }).await.unwrap();
    let again = store.commit(change(1, 2)).await.unwrap_err();
    assert!(matches!(again.kind(), StoreErrorKind::Finished(_)), "{again}");
    assert_eq!(admit(&store, 2, "o/a#1", FREE).await, Admission::Admitted);
    let filter = RunFilter { live: Some(false), ..RunFilter::default() };
    let over: Vec<_> = store.runs(&filter, 9).await.unwrap().iter().map(|r| r.run).collect();
    assert_eq!(over, [run_id(1)]);
}

#[tokio::test]
async fn a_holder_that_lost_its_lease_cannot_commit() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", FREE).await;
    let ttl = SignedDuration::from_secs(30);
    let old = store.lease("run:1", "p1", ttl, at(0)).await.unwrap().unwrap();
    assert_eq!(store.lease("run:1", "p2", ttl, at(29)).await.unwrap(), None);
    assert_eq!(store.lease("run:1", "p1", ttl, at(29)).await.unwrap(), None);
    assert_eq!(store.lease_holder("run:1").await.unwrap().unwrap().owner, "p1");
    let new = store.lease("run:1", "p2", ttl, at(30)).await.unwrap().unwrap();
    assert!(new.generation > old.generation);
    assert_eq!(store.renew(&old, ttl, at(31)).await.unwrap(), None);
    assert!(!store.release(&old).await.unwrap());

    let under = |lease: &afk_store::Lease, v| Commit { fence: Some(lease.fence()), ..change(1, v) };
    assert_eq!(
        store.commit(under(&old, 1)).await.unwrap(),
        CommitOutcome::Fenced { generation: new.generation }
    );
    assert_eq!(
        store.commit(under(&new, 1)).await.unwrap(),
        CommitOutcome::Committed { version: 2 }
    );
    let new = store.renew(&new, ttl, at(40)).await.unwrap().unwrap();
    assert_eq!(new.until, at(70));
    assert!(store.release(&new).await.unwrap());
    assert!(matches!(store.commit(under(&new, 2)).await.unwrap(), CommitOutcome::Fenced { .. }));
    assert!(store.lease("run:1", "p3", ttl, at(41)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_send_is_claimed_by_one_retried_and_delivered() {
    let home = Home::new();
    let (store, other) = (home.open().await, home.open().await);
    admit(&store, 1, "o/a#1", FREE).await;
    let sends = vec![send("b"), send("a"), send("c")];
    store.commit(Commit { sends, ..change(1, 1) }).await.unwrap();
    store.commit(Commit { sends: vec![send("a")], ..change(1, 2) }).await.unwrap();

    let ttl = SignedDuration::from_secs(10);
    let claim = async |store: &Store, owner: &str, second, n| {
        let sends = store.outbox_claim(owner, at(second), ttl, n).await.unwrap();
        sends.into_iter().map(|s| (s.id, s.attempt)).collect::<Vec<_>>()
    };
    let row = |id: &str, attempt| (id.to_owned(), attempt);
    assert_eq!(claim(&store, "p1", 4, 9).await, []);
    assert_eq!(claim(&store, "p1", 5, 2).await, [row("a", 1), row("b", 1)]);
    assert_eq!(claim(&other, "p2", 6, 9).await, [row("c", 1)]);
    assert!(store.outbox_done("a", "p1", at(7)).await.unwrap());
    assert!(!store.outbox_done("a", "p1", at(7)).await.unwrap());
    assert!(!store.outbox_done("c", "p1", at(7)).await.unwrap());
    assert!(other.outbox_failed("c", "p2", "503", Some(at(60)), at(7)).await.unwrap());
    // p1 died with b in hand: its claim ends by time.
    assert_eq!(claim(&other, "p2", 15, 9).await, [row("b", 2)]);
    assert!(!store.outbox_done("b", "p1", at(16)).await.unwrap());
    assert!(other.outbox_failed("b", "p2", "gone", None, at(16)).await.unwrap());
    assert_eq!(claim(&other, "p2", 99, 9).await, [row("c", 2)]);
    assert_eq!(store.outbox_backlog().await.unwrap(), (1, Some(at(60))));
}

#[tokio::test]
async fn spend_is_charged_once_a_turn_and_an_estimate_gives_way() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", FREE).await;
    let entry = |micro_usd, estimated| LedgerEntry {
        session: "s".into(),
        process: "p".into(),
        turn: "1".into(),
        day: DAY,
        micro_usd,
        estimated,
        body: "{}".into(),
    };
    for (version, (given, expected)) in [
        ((70, true), 70),
        ((90, true), 90),
        ((80, false), 80),
        ((500, true), 80),
        ((81, false), 81),
    ]
    .into_iter()
    .enumerate()
    {
        let ledger = vec![entry(given.0, given.1)];
        let commit = Commit { ledger, reserved: 5, ..change(1, version as u64 + 1) };
        store.commit(commit).await.unwrap();
        assert_eq!(store.spend_of_run(run_id(1)).await.unwrap(), expected);
    }
    let repo = "o/a".parse().unwrap();
    for repo in [None, Some(&repo)] {
        assert_eq!(store.spend_today(repo, DAY).await.unwrap().total(), 86);
    }
    let elsewhere = "o/b".parse().unwrap();
    assert_eq!(store.spend_today(Some(&elsewhere), DAY).await.unwrap().total(), 0);
    assert_eq!(store.spend_today(None, DAY.tomorrow().unwrap()).await.unwrap().spent, 0);
}

#[tokio::test]
async fn the_journal_cannot_be_changed_and_a_change_made_all_the_same_is_named() {
    let home = Home::new();
    let store = home.open().await;
    let run = run_id(1);
    admit(&store, 1, "o/a#1", FREE).await;
    for version in 1..5 {
        store.commit(change(1, version)).await.unwrap();
    }
    assert_eq!(store.verify_journal(run).await.unwrap(), JournalReport::Intact { rows: 5 });

    let mut raw = home.raw().await;
    for refused in [
        "UPDATE journal SET kind = 'x' WHERE run_seq = 3",
        "DELETE FROM journal WHERE run_seq = 3",
        "INSERT OR REPLACE INTO journal SELECT seq, run, run_seq, at, 'x', body_json, prev_hash, \
         hash FROM journal WHERE run_seq = 3",
    ] {
        let error = sql(&mut raw, refused).await.unwrap_err();
        assert!(error.contains("the journal is append-only"), "{error}");
    }
    let broken = |run_seq, seq, fault| JournalReport::Broken { run_seq, seq, fault };
    sql(&mut raw, "DROP TRIGGER journal_is_not_edited; DROP TRIGGER journal_is_not_cut")
        .await
        .unwrap();
    for (damage, mend, expected) in [
        (
            "UPDATE journal SET body_json = '[9]' WHERE run_seq = 3",
            "UPDATE journal SET body_json = '[2]' WHERE run_seq = 3",
            broken(3, Some(3), JournalFault::Edited),
        ),
        (
            "UPDATE journal SET at = at + 1 WHERE run_seq = 1",
            "UPDATE journal SET at = at - 1 WHERE run_seq = 1",
            broken(1, Some(1), JournalFault::Edited),
        ),
        (
            "UPDATE runs SET journal_hash = 'x'",
            "UPDATE runs SET journal_hash = (SELECT hash FROM journal WHERE run_seq = 5)",
            broken(5, None, JournalFault::HeadDiffers),
        ),
        (
            "CREATE TABLE cut AS SELECT * FROM journal WHERE run_seq = 5; \
             DELETE FROM journal WHERE run_seq = 5",
            "INSERT INTO journal SELECT * FROM cut",
            broken(5, None, JournalFault::Missing),
        ),
        (
            "DELETE FROM journal WHERE run_seq = 2",
            "SELECT 1",
            broken(2, None, JournalFault::Missing),
        ),
    ] {
        sql(&mut raw, damage).await.unwrap();
        assert_eq!(store.verify_journal(run).await.unwrap(), expected, "{damage}");
        sql(&mut raw, mend).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failing_write_in_a_group_undoes_itself_alone() {
    let home = Home::new();
    let store = home.open().await;
    for n in 1..=60 {
        admit(&store, n, &format!("o/r{n}#1"), FREE).await;
    }
    // Every third is an error inside the transaction, every third a conflict.
    let tasks: Vec<_> = (1..=60)
        .map(|n: u128| {
            let store = store.clone();
            tokio::spawn(async move {
                match n % 3 {
                    0 => store.commit(change(n + 1000, 1)).await.is_err(),
                    1 => {
                        store.commit(change(n, 7)).await.unwrap()
                            == CommitOutcome::Conflict { actual: 1 }
                    }
                    _ => {
                        store.commit(change(n, 1)).await.unwrap()
                            == CommitOutcome::Committed { version: 2 }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    for n in 1..=60 {
        let rows = if n % 3 == 2 { 2 } else { 1 };
        let report = store.verify_journal(run_id(n)).await.unwrap();
        assert_eq!(report, JournalReport::Intact { rows });
    }
    // A panic in the caller's decision is that caller's error alone.
    let panicked =
        store.admit(new_run(99, "o/p#1"), |_| -> Result<(), ()> { panic!("caller's own") }).await;
    assert_eq!(*panicked.unwrap_err().kind(), StoreErrorKind::Closed);
    assert_eq!(admit(&store, 99, "o/p#1", FREE).await, Admission::Admitted);
}

#[tokio::test]
async fn a_closed_store_has_done_what_was_asked_and_refuses_more() {
    let home = Home::new();
    let store = home.open().await;
    let clone = store.clone();
    let pending = tokio::spawn(async move { admit(&clone, 1, "o/a#1", FREE).await });
    assert_eq!(pending.await.unwrap(), Admission::Admitted);
    store.close().await;
    let error = store.commit(change(1, 1)).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::Closed);
    let again = home.open().await;
    assert_eq!(again.load(run_id(1)).await.unwrap().map(|r| r.version), Some(1));
}

#[tokio::test]
async fn a_result_is_remembered_by_its_key() {
    let home = Home::new();
    let store = home.open().await;
    store.remember("proof", "t1", "d1", "1", at(0)).await.unwrap();
    store.remember("proof", "t1", "d1", "2", at(1)).await.unwrap();
    assert_eq!(store.memo("proof", "t1", "d1").await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.memo("proof", "t1", "d2").await.unwrap(), None);
}
