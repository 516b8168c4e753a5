//! What is decided inside a write transaction: admissions, versions, fences, sends, journal.

use std::collections::BTreeSet;
use std::time::Duration;

use afk_core::plan::TurnCause;
use afk_core::run::{Candidate, PullSeen, PullState, Transition};
use afk_core::usd::Usd;
use afk_engine::ports::{
    Admission, AdmitLimits, AdmitRefusal, Commit, Committed, DoorbellSend, Filter, Journals as _,
    MemoKey, Notes as _, PortErrorKind, Store as _, Switch, SwitchState,
};
use afk_store::*;
use jiff::SignedDuration;

use crate::support::*;

const REFUSED: fn(AdmitRefusal) -> Admission = Admission::Refused;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_stores_on_one_file_exactly_one_admits_a_run_for_a_repo() {
    let home = Home::new();
    let (left, right) = (home.open().await, home.open().await);
    let free = free();
    for round in 0..20_u128 {
        let issue = format!("o/r{round}#1");
        let (a, b) = tokio::join!(
            admit(&left, round * 2 + 1, &issue, &free),
            admit(&right, round * 2 + 2, &issue, &free)
        );
        let mut both = [a, b];
        both.sort_by_key(|one| *one != Admission::Admitted);
        assert_eq!(both, [Admission::Admitted, REFUSED(AdmitRefusal::Locked)]);
    }
    assert_eq!(left.live().await.unwrap().len(), 20);
}

#[tokio::test]
async fn an_admission_is_refused_for_each_reason_and_done_once() {
    let home = Home::new();
    let store = home.open().await;
    let tight = AdmitLimits { max_at_work: 1, ..free() };
    for (n, issue, answer) in [
        (1, "o/a#1", Admission::Admitted),
        (1, "o/a#1", Admission::Admitted),
        (2, "o/a#2", REFUSED(AdmitRefusal::Locked)),
        (3, "o/b#1", REFUSED(AdmitRefusal::Full)),
    ] {
        assert_eq!(admit(&store, n, issue, &tight).await, answer, "{n} {issue}");
    }
    // The first run has a dollar reserved, and each wants one.
    let cap = |micros| Some(Usd::micros(micros));
    for limits in [capped(cap(999_999), None), capped(None, cap(1_999_999))] {
        assert_eq!(admit(&store, 3, "o/b#1", &limits).await, REFUSED(AdmitRefusal::Spent));
    }
    let thrown = SwitchState { by: "ann".to_owned(), at: at(2), why: "disk".to_owned() };
    for (switch, why) in [
        (Switch::Freeze("o/b".parse().unwrap()), AdmitRefusal::Frozen),
        (Switch::Halt, AdmitRefusal::Stopped),
        (Switch::Pause, AdmitRefusal::Stopped),
    ] {
        store.throw(&switch, &thrown).await.unwrap();
        assert_eq!(admit(&store, 3, "o/b#1", &free()).await, REFUSED(why), "{switch:?}");
        store.lift(&switch, "ann", at(3)).await.unwrap();
    }
    assert_eq!(admit(&store, 3, "o/b#1", &free()).await, Admission::Admitted);
    let just = capped(cap(1_000_000), cap(3_000_000));
    assert_eq!(admit(&store, 4, "o/c#1", &just).await, Admission::Admitted);
}

#[tokio::test]
async fn a_greater_budget_is_committed_only_where_the_caps_have_room() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    admit(&store, 2, "o/b#1", &free()).await;
    let raised = async |micros, expected, limits: AdmitLimits| {
        let mut commit = change(1, expected).await;
        commit.run.budget = Usd::micros(micros);
        commit.limits = Some(limits);
        store.commit(commit).await.unwrap()
    };
    // Each of the two runs has a dollar reserved; the run's own is not counted twice.
    let cap = |micros| Some(Usd::micros(micros));
    let spent = Committed::Refused(AdmitRefusal::Spent);
    assert_eq!(raised(2_000_001, 1, capped(cap(2_000_000), None)).await, spent);
    assert_eq!(raised(2_000_001, 1, capped(None, cap(3_000_000))).await, spent);
    assert_eq!(store.load(run_id(1)).await.unwrap().unwrap().version, 1);
    let both = capped(cap(2_000_000), cap(3_000_000));
    assert_eq!(raised(2_000_000, 1, both).await, Committed::Yes { version: 2 });
    // A commit that reserves less passes every cap, however low that is now.
    assert_eq!(raised(1, 2, capped(cap(3_000_000), None)).await, Committed::Yes { version: 3 });
}

#[tokio::test]
async fn the_comments_of_a_repo_are_read_from_the_release_of_its_first_run_on() {
    let home = Home::new();
    let store = home.open().await;
    assert!(store.comments_read_until().await.unwrap().is_empty());
    admit(&store, 1, "o/a#1", &free()).await;
    let first = store.load(run_id(1)).await.unwrap().unwrap().run.released_at();
    let repo = "o/a".parse().unwrap();
    assert_eq!(store.comments_read_until().await.unwrap(), [(repo, first)].into());
    // A refused admission begins no reading of comments.
    admit(&store, 2, "o/b#1", &AdmitLimits { max_at_work: 1, ..free() }).await;
    assert_eq!(store.comments_read_until().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_switch_that_cannot_be_understood_stops_everything() {
    let home = Home::new();
    let store = home.open().await;
    let mut raw = home.raw().await;
    for row in ["('freeze:???', 1, '{}', 'x', 0)", "('slow', 0, '{}', 'x', 0)"] {
        let insert = format!("DELETE FROM switches; INSERT INTO switches VALUES {row}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&mut raw).await.unwrap();
        let error = store.switches().await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Permanent, "{error}");
        let told = error.chain();
        assert!(told.contains("this binary does not know: upgrade it"), "{told}");
        assert!(store.admit(&run(1, "o/a#1").await, &free(), at(0)).await.is_err());
    }
    sql(&mut raw, "DELETE FROM switches; INSERT INTO switches VALUES ('halt', 7, 'x', 'x', 0)")
        .await
        .unwrap();
    assert_eq!(store.switches().await.unwrap().halt.unwrap().why, "x");
    assert_eq!(admit(&store, 1, "o/a#1", &free()).await, REFUSED(AdmitRefusal::Stopped));
}

#[tokio::test]
async fn a_commit_on_an_old_version_writes_nothing() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    let first = store.commit(change(1, 1).await).await.unwrap();
    assert_eq!(first, Committed::Yes { version: 2 });
    let mut late = change(1, 1).await;
    late.sends.push(bell(1, 0));
    assert_eq!(store.commit(late).await.unwrap(), Committed::Conflict);
    assert_eq!(store.journal(run_id(1), 0).await.unwrap().len(), 2);
    assert_eq!(store.outbox_backlog().await.unwrap(), (0, None));

    let missing = store.commit(change(9, 1).await).await.unwrap_err();
    assert_eq!(missing.kind, PortErrorKind::NotFound, "{missing}");
    let mut large = change(1, 2).await;
    large.run.pinned.body = "x".repeat(17 << 20);
    let large = store.commit(large).await.unwrap_err().chain();
    assert!(large.contains("afk.db refuses a document: 1") && large.contains("allowed"), "{large}");
}

#[tokio::test]
async fn a_run_that_stepped_aside_frees_its_repo_and_takes_it_only_when_it_is_free() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    let step = async |n: u128, version, transition: Transition, limits: Option<&AdmitLimits>| {
        let mut commit = change(n, version).await;
        commit.run = store.load(run_id(n)).await.unwrap().unwrap().run;
        commit.run.apply(at(5), transition.clone());
        store.commit(Commit { transition, limits: limits.cloned(), ..commit }).await.unwrap()
    };
    let cap = |micros| Some(Usd::micros(micros));
    let stepped = step(1, 1, Transition::SteppedAside, None).await;
    assert_eq!(stepped, Committed::Yes { version: 2 });
    // Neither the repo, nor a place, nor its dollar is kept; its own issue is.
    let tight = AdmitLimits { max_at_work: 1, ..capped(None, cap(1_000_000)) };
    assert_eq!(admit(&store, 2, "o/a#1", &free()).await, REFUSED(AdmitRefusal::Locked));
    assert_eq!(admit(&store, 2, "o/a#2", &tight).await, Admission::Admitted);
    assert_eq!(store.live().await.unwrap().len(), 2);
    // It gets nothing while another has it, nor without asking.
    let no = |why| Committed::Refused(why);
    let took = Transition::TookUp { budget: Usd::dollars(1) };
    assert_eq!(step(1, 2, took.clone(), None).await, no(AdmitRefusal::Locked));
    assert_eq!(step(1, 2, took.clone(), Some(&free())).await, no(AdmitRefusal::Locked));
    assert_eq!(step(2, 1, Transition::SteppedAside, None).await, Committed::Yes { version: 2 });
    admit(&store, 3, "o/b#1", &free()).await;
    let full = AdmitLimits { max_at_work: 1, ..free() };
    assert_eq!(step(1, 2, took.clone(), Some(&full)).await, no(AdmitRefusal::Full));
    let poor = capped(None, cap(1_999_999));
    assert_eq!(step(1, 2, took.clone(), Some(&poor)).await, no(AdmitRefusal::Spent));
    assert_eq!(store.journal(run_id(1), 0).await.unwrap().len(), 2, "nothing is written");
    assert_eq!(step(1, 2, took.clone(), Some(&free())).await, Committed::Yes { version: 3 });
    assert_eq!(step(2, 2, took, Some(&free())).await, no(AdmitRefusal::Locked));
}

/// What is recorded until people's merge of the run's pull request is.
fn merged() -> [Transition; 4] {
    let oid = |digit: &str| digit.repeat(40).parse().unwrap();
    let candidate = Candidate::new(oid("b"), oid("1"), oid("c"), oid("e"), at(3));
    let state = PullState::Merged { commit: oid("d") };
    let seen = PullSeen { link: "https://code/1".to_owned(), state };
    [
        Transition::TurnBegun { cause: TurnCause::Opening, reserved: Usd::ZERO, attempt: true },
        Transition::Integrated { candidate: Box::new(candidate) },
        Transition::PullBegun,
        Transition::PullSeen { seen },
    ]
}

#[tokio::test]
async fn however_many_were_merged_in_one_repo_they_take_one_place() {
    let home = Home::new();
    let store = home.open().await;
    let step = async |n: u128, version, transitions: &[Transition]| {
        let mut commit = change(n, version).await;
        commit.run = store.load(run_id(n)).await.unwrap().unwrap().run;
        for one in transitions {
            commit.run.apply(at(5), one.clone());
        }
        let done = store.commit(commit).await.unwrap();
        assert_eq!(done, Committed::Yes { version: version + 1 });
    };
    let two = AdmitLimits { max_at_work: 2, ..free() };
    for n in [1, 2] {
        assert_eq!(admit(&store, n, &format!("o/a#{n}"), &two).await, Admission::Admitted);
        step(n, 1, &[Transition::SteppedAside]).await;
    }
    assert_eq!(admit(&store, 3, "o/a#3", &two).await, Admission::Admitted);
    for n in [1, 2] {
        step(n, 2, &merged()).await;
        assert!(store.load(run_id(n)).await.unwrap().unwrap().run.wants_lock());
    }
    assert_eq!(admit(&store, 4, "o/b#1", &two).await, Admission::Admitted);
    assert_eq!(admit(&store, 5, "o/c#1", &two).await, REFUSED(AdmitRefusal::Full));
}

#[tokio::test]
async fn a_run_that_is_over_frees_its_repo_and_stays_over() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    store.commit(end(1, 1).await).await.unwrap();
    let again = store.commit(change(1, 2).await).await.unwrap_err();
    assert!(again.chain().contains("live again: it has ended"), "{again}");
    assert_eq!(admit(&store, 2, "o/a#1", &free()).await, Admission::Admitted);
    let live: Vec<_> = store.live().await.unwrap().iter().map(|one| one.run.id).collect();
    assert_eq!(live, [run_id(2)]);
    let filter = Filter {
        repo: Some("o/a".parse().unwrap()),
        issue: Some(1),
        limit: 0,
        ..Filter::default()
    };
    assert_eq!(store.runs(&filter).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_holder_that_lost_its_lease_cannot_commit() {
    let home = Home::new();
    let store = home.open_with(|owner| owner == "gone").await;
    admit(&store, 1, "o/a#1", &free()).await;
    let key = format!("run:{}", run_id(1));
    let lease = async |owner: &str, second| {
        store.lease(&key, owner, Duration::from_secs(30), at(second)).await.unwrap()
    };
    let commit = async |generation, version| {
        let commit = change(1, version).await;
        store.commit(afk_engine::ports::Commit { generation, ..commit }).await.unwrap()
    };
    // The holder renews the lease, even an expired one that nobody else took.
    for (owner, second, generation) in [
        ("p1", 0, Some(1)),
        ("p2", 29, None),
        ("p1", 29, Some(1)),
        ("p1", 60, Some(1)),
        ("p2", 90, Some(2)),
        ("p1", 91, None),
        ("gone", 130, Some(3)),
        // The lease of a dead process need not expire first.
        ("p1", 131, Some(4)),
    ] {
        assert_eq!(lease(owner, second).await, generation, "{owner} at {second}");
        let held = store.lease_holder(&key).await.unwrap().unwrap();
        assert_eq!(held.owner == owner, generation.is_some(), "{owner} at {second}");
    }
    assert_eq!(commit(3, 1).await, Committed::Fenced);
    assert_eq!(commit(4, 1).await, Committed::Yes { version: 2 });
    store.unlease(&key, "p2").await.unwrap();
    assert_eq!(commit(4, 2).await, Committed::Yes { version: 3 }, "it was not p2's to let go of");
    store.unlease(&key, "p1").await.unwrap();
    assert_eq!(commit(4, 3).await, Committed::Fenced);
    assert_eq!(lease("p3", 131).await, Some(6));
}

#[tokio::test]
async fn the_lease_of_a_clock_that_was_ahead_is_not_waited_out() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    let (key, ttl) = (format!("run:{}", run_id(1)), Duration::from_secs(30));
    let lease =
        async |owner: &str, second| store.lease(&key, owner, ttl, at(second)).await.unwrap();
    assert_eq!(lease("p1", 1000).await, Some(1));
    // By a small step back, the lease is in force.
    for (second, generation) in [(1029, None), (995, None), (970, None), (969, Some(2))] {
        let held = store.lease_holder(&key).await.unwrap().unwrap();
        assert_eq!(held.holds(ttl, at(second)), generation.is_none(), "at {second}");
        assert_eq!(lease("p2", second).await, generation, "at {second}");
    }
    let late = afk_engine::ports::Commit { generation: 1, ..change(1, 1).await };
    assert_eq!(store.commit(late).await.unwrap(), Committed::Fenced);
}

#[tokio::test]
async fn a_send_is_claimed_by_one_retried_and_delivered() {
    let home = Home::new();
    let (store, other) = (home.open().await, home.open().await);
    admit(&store, 1, "o/a#1", &free()).await;
    let mut bells = [bell(1, 0), bell(1, 1), bell(1, 2)];
    bells.sort_by_key(DoorbellSend::id);
    let [a, b, c] = bells.clone().map(|bell| bell.id());
    let mut commit = change(1, 1).await;
    commit.sends = bells.to_vec();
    store.commit(commit).await.unwrap();
    let mut again = change(1, 2).await;
    again.sends = vec![bells[0].clone()];
    store.commit(again).await.unwrap();

    let claim = async |store: &Store, owner: &str, second, n| {
        let ttl = Duration::from_secs(10);
        let sends = store.claim(owner, ttl, at(second), n, &BTreeSet::new()).await.unwrap();
        sends.into_iter().map(|send| (send.id, send.attempts)).collect::<Vec<_>>()
    };
    let row = |id: &String, attempts| (id.clone(), attempts);
    assert_eq!(claim(&store, "p1", 0, 9).await, []);
    assert_eq!(claim(&store, "p1", 1, 2).await, [row(&a, 0), row(&b, 0)]);
    assert_eq!(claim(&other, "p2", 2, 9).await, [row(&c, 0)]);
    store.rung(&a, "p1", at(3)).await.unwrap();
    // p1 does not hold the claim on c: the call has no effect.
    store.rung(&c, "p1", at(3)).await.unwrap();
    other.not_rung(&c, "p2", "503", Some(at(60)), at(3)).await.unwrap();
    // p1 died while it held the claim on b, which expires.
    assert_eq!(claim(&other, "p2", 11, 9).await, [row(&b, 1)]);
    store.rung(&b, "p1", at(12)).await.unwrap();
    assert_eq!(store.outbox_backlog().await.unwrap(), (2, Some(at(1))));
    other.rung(&b, "p2", at(12)).await.unwrap();
    assert_eq!(claim(&other, "p2", 99, 9).await, [row(&c, 1)]);
    assert_eq!(store.outbox_backlog().await.unwrap(), (1, Some(at(60))));
}

#[tokio::test]
async fn a_send_is_due_if_its_time_is_too_far_away_because_the_clock_was_set_back() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    let mut commit = change(1, 1).await;
    commit.sends = vec![bell(1, 0)];
    store.commit(commit).await.unwrap();
    let claim = async |second| {
        let ttl = Duration::from_secs(10);
        store.claim("p1", ttl, at(second), 9, &BTreeSet::new()).await.unwrap().len()
    };
    assert_eq!(claim(1).await, 1);
    store.not_rung(&bell(1, 0).id(), "p1", "429", Some(at(3601)), at(1)).await.unwrap();
    for (second, due) in [(3600, 0), (1, 0), (0, 1)] {
        assert_eq!(claim(second).await, due, "at {second}");
    }
}

#[tokio::test]
async fn the_claim_of_a_dead_deliverer_whose_clock_was_ahead_is_not_waited_out() {
    let home = Home::new();
    let store = home.open().await;
    admit(&store, 1, "o/a#1", &free()).await;
    let mut commit = change(1, 1).await;
    commit.sends = vec![bell(1, 0)];
    store.commit(commit).await.unwrap();
    let claim = async |owner, second| {
        let ttl = Duration::from_secs(10);
        store.claim(owner, ttl, at(second), 9, &BTreeSet::new()).await.unwrap().len()
    };
    assert_eq!(claim("p1", 1000).await, 1);
    // By a small step back, the claim is in force.
    for (second, free) in [(1009, 0), (995, 0), (990, 0), (989, 1)] {
        assert_eq!(claim("p2", second).await, free, "at {second}");
    }
}

#[tokio::test]
async fn an_absence_is_noticed_after_a_clock_that_was_ahead_is_set_back() {
    let home = Home::new();
    let store = home.open().await;
    let within = SignedDuration::from_mins(10);
    let beat = async |second| store.beat(at(second), within).await.unwrap();
    assert_eq!(beat(100_000).await, None);
    // By a small step back, the note stays.
    assert_eq!(beat(99_950).await, None);
    assert_eq!(store.last_beat().await.unwrap(), Some(at(100_000)));
    assert_eq!(beat(1000).await, None);
    assert_eq!(store.last_beat().await.unwrap(), Some(at(1000)));
    assert_eq!(beat(1601).await, Some(at(1000)));
}

#[tokio::test]
async fn the_journal_cannot_be_changed_and_a_change_made_all_the_same_is_named() {
    let home = Home::new();
    let store = home.open().await;
    let run = run_id(1);
    admit(&store, 1, "o/a#1", &free()).await;
    for version in 1..5 {
        store.commit(change(1, version).await).await.unwrap();
    }
    assert_eq!(store.verify_journal(run).await.unwrap(), JournalReport::Intact { rows: 5 });
    assert_eq!(store.chain(run).await.unwrap().len(), 5);
    let rest: Vec<_> = store.journal(run, 3).await.unwrap().iter().map(|row| row.seq).collect();
    assert_eq!(rest, [4, 5]);

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
            "CREATE TABLE was AS SELECT body_json FROM journal WHERE run_seq = 3; \
             UPDATE journal SET body_json = '[9]' WHERE run_seq = 3",
            "UPDATE journal SET body_json = (SELECT body_json FROM was) WHERE run_seq = 3",
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
        admit(&store, n, &format!("o/r{n}#1"), &free()).await;
    }
    // Every third is an error inside the transaction, every third a conflict.
    let tasks: Vec<_> = (1..=60)
        .map(|n: u128| {
            let store = store.clone();
            tokio::spawn(async move {
                match n % 3 {
                    0 => store.commit(change(n + 1000, 1).await).await.is_err(),
                    1 => store.commit(change(n, 7).await).await.unwrap() == Committed::Conflict,
                    _ => {
                        store.commit(change(n, 1).await).await.unwrap()
                            == Committed::Yes { version: 2 }
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
}

#[tokio::test]
async fn a_closed_store_has_done_what_was_asked_and_refuses_more() {
    let home = Home::new();
    let store = home.open().await;
    let clone = store.clone();
    let pending = tokio::spawn(async move { admit(&clone, 1, "o/a#1", &free()).await });
    assert_eq!(pending.await.unwrap(), Admission::Admitted);
    store.close().await;
    let error = store.commit(change(1, 1).await).await.unwrap_err();
    assert!(error.chain().contains("is closed: the write was not done"), "{error}");
    let again = home.open().await;
    assert_eq!(again.load(run_id(1)).await.unwrap().map(|one| one.version), Some(1));
}

#[tokio::test]
async fn a_result_is_remembered_by_its_key() {
    let home = Home::new();
    let store = home.open().await;
    let key = |command: &str| MemoKey {
        kind: "proof".to_owned(),
        tree: "t1".to_owned(),
        command: command.to_owned(),
    };
    store.remember(&key("d1"), &1.into(), at(0)).await.unwrap();
    store.remember(&key("d1"), &2.into(), at(1)).await.unwrap();
    assert_eq!(store.recall(&key("d1")).await.unwrap(), Some(2.into()));
    assert_eq!(store.recall(&key("d2")).await.unwrap(), None);
}

#[tokio::test]
async fn old_results_of_these_kinds_are_forgotten_however_many_there_are() {
    let home = Home::new();
    let store = home.open().await;
    let key = |kind: &str, tree: u32| MemoKey {
        kind: kind.to_owned(),
        tree: tree.to_string(),
        command: "d".to_owned(),
    };
    for n in 0..250 {
        let kind = ["verify", "verify-again", "verify-build"][n as usize % 3];
        store.remember(&key(kind, n), &n.into(), at(0)).await.unwrap();
    }
    let stay = [key("verify", 900), key("base-fails", 1), key("very", 1)];
    for (kept, second) in stay.iter().zip([5, 0, 0]) {
        store.remember(kept, &1.into(), at(second)).await.unwrap();
    }
    store.write("verify", "note", &1.into(), at(0)).await.unwrap();
    // Remembered again since, so it is not old.
    store.remember(&key("verify", 0), &1.into(), at(9)).await.unwrap();
    assert_eq!(store.forget_results("verify", at(5)).await.unwrap(), 249);
    assert_eq!(store.forget_results("verify", at(5)).await.unwrap(), 0);
    for kept in stay.iter().chain([&key("verify", 0)]) {
        assert_eq!(store.recall(kept).await.unwrap(), Some(1.into()), "{kept:?}");
    }
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM results")
        .fetch_one(&mut home.raw().await)
        .await
        .unwrap();
    assert_eq!(left, 5);
}

#[tokio::test]
async fn a_note_is_kept_by_its_kind_and_key_and_is_no_result() {
    let home = Home::new();
    let store = home.open().await;
    store.write("bell", "k", &1.into(), at(0)).await.unwrap();
    store.write("bell", "k", &serde_json::json!({ "ts": "2" }), at(1)).await.unwrap();
    let again = home.open().await;
    let read = async |kind, key| again.read(kind, key).await.unwrap();
    assert_eq!(read("bell", "k").await, Some(serde_json::json!({ "ts": "2" })));
    assert_eq!(read("bell", "other").await, None);
    assert_eq!(read("other", "k").await, None);
    let result = MemoKey { kind: "bell".to_owned(), tree: "k".to_owned(), command: "d".to_owned() };
    assert_eq!(again.recall(&result).await.unwrap(), None);
}
