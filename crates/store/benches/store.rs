//! Durable commits a second, by how many tasks commit at once.
//!
//! A plain loop rather than a statistics harness: the number of interest is the
//! throughput of the group commit on the disk below, printed for people.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use afk_core::ids::RunId;
use afk_store::{Admission, Commit, CommitOutcome, JournalEntry, NewRun, Store};
use jiff::Timestamp;
use jiff::civil::date;
use uuid::Uuid;

const WINDOW: Duration = Duration::from_secs(3);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // Not /tmp: that may be memory, which flushes for nothing.
    let dir = tempfile::tempdir_in(".").unwrap();
    for tasks in [1, 8, 64, 256] {
        let file = dir.path().join(format!("{tasks}.db"));
        let (commits, took) = runtime.block_on(measure(&file, tasks));
        let rate = commits as f64 / took.as_secs_f64();
        println!("{tasks:>4} committers: {rate:>8.0} durable commits/s");
    }
}

async fn measure(file: &std::path::Path, tasks: u128) -> (u64, Duration) {
    let store = Store::open(file).await.unwrap();
    for n in 1..=tasks {
        let new = NewRun {
            run: RunId::new(Uuid::from_u128(n)),
            issue: format!("o/r{n}#1").parse().unwrap(),
            state: "{}".into(),
            reserve: 0,
            at: Timestamp::UNIX_EPOCH,
            day: date(2026, 3, 1),
            journal: JournalEntry { kind: "admitted".into(), body: "{}".into() },
            sends: vec![],
        };
        let admitted = store.admit(new, |_| Ok::<(), ()>(())).await.unwrap();
        assert_eq!(admitted, Admission::Admitted);
    }
    let start = Instant::now();
    let workers: Vec<_> =
        (1..=tasks).map(|n| tokio::spawn(work(store.clone(), n, start + WINDOW))).collect();
    let mut commits = 0;
    for worker in workers {
        commits += worker.await.unwrap();
    }
    let took = start.elapsed();
    store.close().await;
    (commits, took)
}

async fn work(store: Store, n: u128, until: Instant) -> u64 {
    // About what a run's state weighs.
    let state = format!(r#"{{"pad":"{}"}}"#, "x".repeat(2000));
    let mut version = 1;
    while Instant::now() < until {
        let commit = Commit {
            run: RunId::new(Uuid::from_u128(n)),
            expected_version: version,
            state: state.clone(),
            live: true,
            reserved: 0,
            at: Timestamp::UNIX_EPOCH,
            journal: JournalEntry { kind: "step".into(), body: r#"{"pass":1}"#.into() },
            sends: vec![],
            ledger: vec![],
            fence: None,
            freeze: None,
        };
        let outcome = store.commit(commit).await.unwrap();
        version += 1;
        assert_eq!(outcome, CommitOutcome::Committed { version });
    }
    version - 1
}
