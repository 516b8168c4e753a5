//! Seeds of the explorer: a fixed number of them, those that once found something,
//! and that the same seed tells the same story.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::time::Instant;

use afk_sim::explore::{Scenario, explore, run_bad, shrink};
use afk_sim::fakes::Bad;

/// Seeds that are always told.
const SEEDS: u64 = 60;
/// Seeds that once found something.
const REGRESSIONS: &str = include_str!("../seeds/regressions.txt");
/// Seeds within which every known-bad loop must be caught.
const CAUGHT: u64 = 150;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Tells a seed; a failing one is cut down and printed.
fn tell(seed: u64) -> (afk_sim::explore::Report, bool) {
    let report = explore(seed);
    if let Some(wrong) = &report.wrong {
        let (small, told) = shrink(&Scenario::new(seed));
        println!("seed {seed}: {wrong}");
        println!("cut down: {small:#?}\n{}: {}", told.wrong.unwrap_or_default(), told.tail);
    }
    let wrong = report.wrong.is_some();
    (report, wrong)
}

/// `AFK_SIM_FROM`, `AFK_SIM_SEEDS` and `AFK_SIM_SECONDS` choose other seeds and more.
#[test]
fn no_seed_breaks_an_invariant() {
    let from = number("AFK_SIM_FROM").unwrap_or(0);
    let seeds = number("AFK_SIM_SEEDS").unwrap_or(SEEDS);
    let seconds = number("AFK_SIM_SECONDS").unwrap_or(u64::MAX);
    let began = Instant::now();
    let (mut told, mut calls, mut faults, mut crashes, mut runs) = (0_u64, 0, 0, 0, 0);
    let mut failed = Vec::new();
    let known = REGRESSIONS.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok());
    for seed in known.chain(from..from + seeds) {
        if began.elapsed().as_secs() >= seconds || failed.len() >= 5 {
            break;
        }
        let (report, wrong) = tell(seed);
        told += 1;
        calls += report.calls;
        faults += report.faults;
        crashes += report.crashes;
        runs += report.runs;
        if wrong {
            failed.push(seed);
        }
    }
    println!(
        "{told} seeds from {from}: {runs} runs, {calls} calls, {faults} faults, \
         {crashes} crashes, {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert!(failed.is_empty(), "seeds {failed:?}");
}

#[test]
fn the_same_seed_twice_tells_the_same_story() {
    for seed in 0..6 {
        let first = explore(seed);
        assert_eq!(first, explore(seed), "seed {seed}");
        assert_ne!(first.hash, explore(seed + 1).hash, "seed {seed}");
    }
}

#[test]
fn every_known_bad_loop_is_caught() {
    let mut missed = Vec::new();
    for bad in Bad::ALL {
        let told = (0..CAUGHT).find_map(|seed| {
            let wrong = run_bad(&Scenario::new(seed), Some(bad)).wrong?;
            Some((seed + 1, wrong))
        });
        match told {
            Some((seeds, wrong)) => println!("{bad:?}: {seeds} seeds: {wrong}"),
            None => missed.push(bad),
        }
    }
    assert!(missed.is_empty(), "not caught in {CAUGHT} seeds: {missed:?}");
}
