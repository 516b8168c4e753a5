//! Measures durable commits a second, by the number of tasks that commit at once.
//!
//! A plain loop rather than a statistics harness: the figure of interest is the throughput of the
//! group commit on the disk below, printed for people.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use afk_core::ids::RunId;
use afk_core::run::{Run, Transition};
use afk_engine::ports::{Admission, AdmitLimits, Commit, Committed, DayCaps, Store as _};
use afk_sim::story::{Story, good_work};
use afk_store::Store;
use jiff::Timestamp;
use uuid::Uuid;

const WINDOW: Duration = Duration::from_secs(3);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // Not in /tmp, which may be in memory, where a flush costs nothing.
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
    let told = Story::new().with_issue(vec![good_work()]);
    told.until("admitted", |world| !world.store.all().is_empty()).await;
    let mut run = told.run();
    // About the size of a real run's record.
    run.pinned.body = "x".repeat(2000);
    let now = Timestamp::UNIX_EPOCH;
    let limits =
        AdmitLimits { max_at_work: u32::MAX, caps: DayCaps { repo: None, all: None, start: now } };
    let runs: Vec<Run> = (1..=tasks)
        .map(|n| Run {
            id: RunId::new(Uuid::from_u128(n)),
            issue: format!("o/r{n}#1").parse().unwrap(),
            ..run.clone()
        })
        .collect();
    for run in &runs {
        assert_eq!(store.admit(run, &limits, now).await.unwrap(), Admission::Admitted);
    }
    let start = Instant::now();
    let workers: Vec<_> = runs
        .into_iter()
        .map(|run| tokio::spawn(work(store.clone(), run, start + WINDOW)))
        .collect();
    let mut commits = 0;
    for worker in workers {
        commits += worker.await.unwrap();
    }
    let took = start.elapsed();
    store.close().await;
    (commits, took)
}

async fn work(store: Store, run: Run, until: Instant) -> u64 {
    let now = Timestamp::UNIX_EPOCH;
    let mut version = 1;
    while Instant::now() < until {
        let step = Transition::Away { from: now, to: now };
        let outcome = store.commit(Commit::new(run.clone(), version, 0, step, now)).await.unwrap();
        version += 1;
        assert_eq!(outcome, Committed::Yes { version });
    }
    version - 1
}
