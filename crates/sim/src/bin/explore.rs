//! Tells many seeds, two at a time, and prints what was told and what broke.
//!
//! `cargo xtask sim` builds and starts it. Each seed is told by one thread alone, so
//! that it is the same whoever tells it.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use afk_sim::explore::{Report, Scenario, explore, shrink};

/// Threads that tell.
const TELLERS: usize = 2;
/// Failing seeds after which no other is told.
const ENOUGH: usize = 5;

#[derive(Default)]
struct Told {
    seeds: u64,
    runs: u64,
    steps: u64,
    calls: u64,
    faults: u64,
    crashes: u64,
    broken: Vec<(u64, String)>,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().ok());
    let (Some(Some(from)), Some(Some(seeds)), Some(Some(seconds))) =
        (args.next(), args.next(), args.next())
    else {
        println!("usage: explore FROM SEEDS SECONDS");
        return ExitCode::from(2);
    };
    let (next, told) = (AtomicU64::new(from), Mutex::new(Told::default()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..TELLERS {
            scope.spawn(|| {
                while began.elapsed() < Duration::from_secs(seconds) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from.saturating_add(seeds) || !note(&told, seed, &explore(seed)) {
                        break;
                    }
                }
            });
        }
    });
    let told = told.into_inner().unwrap_or_default();
    let Told { seeds, runs, steps, calls, faults, crashes, mut broken } = told;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{seeds} scenarios, seeds {from}..{}: {runs} runs, {steps} steps ({calls} port calls), \
         {faults} faults injected, {crashes} crashes survived, in {seconds:.1} s: \
         {:.0} seeds/s, {:.0} steps/s",
        from + seeds,
        seeds as f64 / seconds,
        steps as f64 / seconds,
    );
    broken.sort();
    for (seed, wrong) in &broken {
        println!("seed {seed}: {wrong}");
    }
    if let Some((seed, _)) = broken.first() {
        let (small, report) = shrink(&Scenario::new(*seed));
        println!("\nseed {seed}, cut down to what it takes:\n{small:#?}\n{}", report.tail);
        println!("tell it again: cargo xtask sim --seed {seed}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Adds what a seed told; whether to go on.
fn note(told: &Mutex<Told>, seed: u64, report: &Report) -> bool {
    let Ok(mut told) = told.lock() else { return false };
    told.seeds += 1;
    told.steps += report.steps;
    told.runs += u64::from(report.runs);
    told.calls += report.calls;
    told.faults += u64::from(report.faults);
    told.crashes += u64::from(report.crashes);
    if let Some(wrong) = &report.wrong {
        told.broken.push((seed, wrong.clone()));
    }
    told.broken.len() < ENOUGH
}
