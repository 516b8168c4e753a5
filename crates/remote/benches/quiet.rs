//! The cost of a quiet tick over a hundred repositories at GitHub, with twenty ready issues each
//! and two live runs: the number of requests, and the CPU time. `cargo xtask bench` prints both
//! beside their goals.
//!
//! The loop runs on this thread, and the fake forge on another one, which is not counted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../tests/forges/quiet.rs"]
mod quiet;
#[allow(dead_code, reason = "tests use the rest")]
#[path = "../tests/forges/support.rs"]
mod support;

use quiet::{Quiet, cpu_of_this_thread};

/// How many ticks are measured, a minute apart; their median counts. Not more, because issues are
/// read again after a quarter of an hour.
const TIMES: usize = 9;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let quiet = Quiet::new().await;
        let (mut times, mut most) = (Vec::with_capacity(TIMES), 0);
        for _ in 0..TIMES {
            quiet.home.later(60);
            let before = cpu_of_this_thread();
            let (requests, free) = quiet.tick().await;
            times.push(cpu_of_this_thread() - before);
            assert!(free, "something was asked that was not free");
            most = most.max(requests);
        }
        times.sort_by(f64::total_cmp);
        println!("quiet tick: {:.3} ms of CPU", times[TIMES / 2]);
        println!("quiet tick: {most} requests");
    });
}
